"""`bars`, `trades` and `quotes --start`: past values as a person asks for them, from a gateway on loopback."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from gateway.cli.app import app
from tests.gateway_host import RunningGateway


@pytest.fixture
def ask(gateway: RunningGateway) -> Any:
    ours = {name: None for name in os.environ if name.startswith(("GATEWAY_", "APCA_", "ALPACA_"))}

    def asked(*arguments: str) -> Result:
        return CliRunner().invoke(app, [*arguments, "--target", gateway.target], env=ours)

    return asked


def test_bars_of_a_day_as_a_table_and_as_json(ask: Any) -> None:
    day = ("--start", "2024-01-02T14:30", "--end", "2024-01-02T16:30+01:00")
    shown = ask("bars", "AAPL", "--timeframe", "15m", *day)
    assert shown.exit_code == 0, shown.output
    heads, *rows = shown.stdout.splitlines()
    assert heads.split() == ["symbol", "start", "open", "high", "low", "close", "volume", "trades", "vwap"]
    quarters = ("14:30", "14:45", "15:00", "15:15", "15:30")
    assert [row.split()[:2] for row in rows] == [["AAPL", f"2024-01-02T{quarter}:00Z"] for quarter in quarters]
    told = json.loads(ask("bars", "AAPL", "--timeframe", "15m", *day, "--json").stdout)
    assert [bar["start_time"] for bar in told["bars"]] == [row.split()[1] for row in rows]


@pytest.mark.parametrize(("command", "noun"), [("trades", "trades"), ("quotes", "quotes")])
def test_the_last_values_of_a_range_and_that_there_are_more(ask: Any, command: str, noun: str) -> None:
    day = ("--start", "2024-01-02T15:00", "--end", "2024-01-02T15:05")
    shown = ask(command, "MSFT", *day, "--limit", "3", "--newest")
    assert shown.exit_code == 0, shown.output
    assert "There are more" in shown.stderr
    times = [row.split()[1] for row in shown.stdout.splitlines()[1:]]
    assert len(times) == 3
    assert times == sorted(times, reverse=True)
    told = json.loads(ask(command, "MSFT", *day, "--limit", "3", "--newest", "--json").stdout)
    assert [value["time"] for value in told[noun]] == times


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("bars", "AAPL", "--timeframe", "0m"), "1m, 15m, 1d"),
        (("trades", "AAPL", "--start", "yesterday"), "2024-01-02T14:30"),
        (("quotes", "AAPL", "--follow", "--start", "2024-01-02"), "--follow"),
        (("trades", "AAPL", "--limit", "10001"), "10000"),
    ],
)
def test_what_cannot_be_meant_is_explained_without_a_request(ask: Any, arguments: tuple[str, ...], hint: str) -> None:
    refused = ask(*arguments)
    assert refused.exit_code == 2
    assert hint in refused.output
