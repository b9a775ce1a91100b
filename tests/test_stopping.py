"""Stopping as an operator does it: the command line, a signal, a file, and what a restart remembers."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from gateway.infrastructure.kill_file import KILL_FILE
from tests.test_serve import NOBODY, ask, serving
from trading_gateway import Client
from trading_gateway.v1 import trading_pb2 as pb

WAIT_S_MAX = 15.0


def state(target: str) -> dict[str, Any]:
    """What `state --json` says."""
    found: dict[str, Any] = json.loads(ask("state", "--target", target, "--json").stdout)
    return found


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S_MAX
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def resume(target: str, *arguments: str) -> Result:
    return ask("resume", "--target", target, "--reason", "looked into", *arguments)


def resting(client: Client, key: str) -> pb.Order:
    answer = client.submit_order(
        client_order_id=key, symbol="AAPL", side="buy", quantity="1", order_type="limit", limit_price="1",
        time_in_force="day",
    )  # fmt: skip
    return answer.order


@pytest.mark.slow
def test_every_way_to_stop_and_the_one_way_on(tmp_path: Path) -> None:
    with serving("--data-dir", str(tmp_path)) as (process, target), Client(target) as client:
        assert ask("state", "--target", target).stdout.startswith("ACTIVE (version 0: never set)")
        resting(client, "one")
        killed = ask("kill", "--target", target, "--reason", "a drill")
        assert killed.exit_code == 0, killed.stderr
        assert "KILLED since" in killed.stdout
        assert "set by local (version 1): a drill" in killed.stdout
        assert "orders covered: 1 CANCELED; nothing is open at the venue" in killed.stdout
        blind = ask("halt", "--target", target)
        assert blind.exit_code == 1
        assert "INVALID_ARGUMENT" in blind.stderr
        assert "trading-gateway resume" in blind.stderr
        unseen = resume(target)
        assert unseen.exit_code == 2
        assert "--expected-version 1" in unseen.stderr
        assert resume(target, "--expected-version", "7").exit_code == 1
        assert resume(target, "--expected-version", "1").stdout.startswith("ACTIVE since")
        two = resting(client, "two")

        process.send_signal(signal.SIGUSR1)
        until(lambda: state(target)["mode"] == "TRADING_MODE_KILLED")
        assert state(target)["set_by"] == "signal"
        until(lambda: client.get_order(two).state == pb.ORDER_STATE_CANCELED)
        assert resume(target, "--expected-version", "3").exit_code == 0
        three = resting(client, "three")

        (tmp_path / KILL_FILE).touch()
        until(lambda: state(target)["mode"] == "TRADING_MODE_KILLED")
        until(lambda: client.get_order(three).state == pb.ORDER_STATE_CANCELED)
        refused = resume(target, "--expected-version", "5")
        assert refused.exit_code == 1
        assert "KILL" in refused.stderr
        (tmp_path / KILL_FILE).unlink()
        lighter = resume(target, "--expected-version", "5", "--to", "reducing", "--json")
        assert json.loads(lighter.stdout)["trading_state"]["mode"] == "TRADING_MODE_REDUCING"
        assert ask("halt", "--target", target).exit_code == 0

    with serving("--data-dir", str(tmp_path)) as (_, target):
        assert (state(target)["mode"], state(target)["version"]) == ("TRADING_MODE_HALTED", "7")
        unheard = ask("reduce", "--target", NOBODY)
        assert unheard.exit_code == 1
        assert "Is the gateway running?" in unheard.stderr
        assert "kill -USR1" in unheard.stderr
