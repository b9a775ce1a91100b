"""`quotes --follow`: what it shows, and that it outlives its connection and ends well."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from gateway.cli.quote_board import QuoteBoard
from tests.clients.cutting import CuttableWire
from trading_gateway import Disconnected, GatewayError
from trading_gateway.v1 import common_pb2, market_data_pb2 as md

SECOND = 1_000_000_000
READ_BYTES = 65_536
LOOK_S = 0.05
WAIT_S_MAX = 20.0


def quote(symbol: str, received_s: int, **fields: Any) -> md.Quote:
    """A quote that the gateway read so many seconds after 1970."""
    made = md.Quote(symbol=symbol, bid_price=10.5, ask_price=10.75, feed=common_pb2.DATA_FEED_IEX, **fields)
    made.receive_time.FromSeconds(received_s)
    return made


def status(**fields: Any) -> md.StreamStatus:
    """A status of a stream whose feed is live."""
    feeds = [common_pb2.FeedStatus(feed="stocks:iex", state=common_pb2.FEED_STATE_LIVE)]
    return md.StreamStatus(feeds=feeds, **fields)


LOST = Disconnected(GatewayError(grpc.StatusCode.UNAVAILABLE, "the wire is cut"), 3)


def rows(board: QuoteBoard, now_s: float) -> dict[str, tuple[str, str]]:
    """Age and marks of each symbol."""
    return {line.symbol: (line.cells[5], line.cells[7]) for line in board.lines(round(now_s * SECOND))}


def test_a_quote_ages_without_a_word() -> None:
    board = QuoteBoard()
    board.take(quote("MSFT", 100))
    board.take(quote("AAPL", 102, snapshot=True))
    assert rows(board, 103.25) == {"AAPL": ("1.2 s", "snapshot"), "MSFT": ("3.2 s", "")}
    assert rows(board, 90) == {"AAPL": ("0.0 s", "snapshot"), "MSFT": ("0.0 s", "")}


def test_what_cannot_be_relied_on_is_marked_until_a_newer_value_comes() -> None:
    board = QuoteBoard()
    for symbol in ("AAPL", "MSFT", "TSLA"):
        board.take(quote(symbol, 100, stale=symbol == "AAPL"))
    board.take(status(stale_symbols=["MSFT"]))
    assert [marks for _, marks in rows(board, 100).values()] == ["stale", "stale", ""]
    board.take(quote("MSFT", 101))
    assert [marks for _, marks in rows(board, 101).values()] == ["stale", "", ""]
    board.take(LOST)
    assert [marks for _, marks in rows(board, 101).values()] == ["stale"] * 3


def test_the_status_has_feeds_holes_refusals_and_counters_over_all_connections() -> None:
    board = QuoteBoard()
    assert board.standing() == ["connecting"]
    refusal = md.SubscriptionAck(symbol="NOPE")
    refusal.status.code, refusal.status.message = 5, "No asset has this symbol."
    board.take(status(acks=[refusal, md.SubscriptionAck(symbol="AAPL")], conflated_total=3))
    board.take(status(conflated_total=5))
    assert board.standing() == ["stocks:iex LIVE", "NOPE: No asset has this symbol."]
    board.take(LOST)
    assert board.standing()[0] == "connection lost, trying again: the wire is cut"
    hole = common_pb2.GapNotice(
        feed="gateway", from_time={"seconds": 60}, to_time={"seconds": 62, "nanos": 500_000_000}
    )
    board.take(status(conflated_total=2, gaps=[hole]))
    assert board.standing() == [
        "stocks:iex LIVE",
        "1 gaps",
        "nothing from gateway 00:01:00.000 to 00:01:02.500",
        "NOPE: No asset has this symbol.",
    ]
    assert board.measures(-0.1) == ["7 conflated", "0 dropped", "lag 0.00 s"]


class Following:
    """`quotes --follow` in a process of its own.

    Args:
        terminal: Its output is a terminal.
    """

    def __init__(self, folder: Path, target: str, *options: str, terminal: bool = False) -> None:
        command = [sys.executable, "-m", "gateway", "quotes", "--follow", *options, "--target", target]
        self._output, self._errors = folder / "output", folder / "errors"
        self._master, terminal_end = pty.openpty() if terminal else (-1, -1)
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                stdout=terminal_end if terminal else output,
                stderr=errors,
                env={**os.environ, "COLUMNS": "120", "TERM": "xterm"},
            )
        if terminal:
            os.close(terminal_end)
            os.set_blocking(self._master, False)
        self._screen = b""

    @property
    def output(self) -> str:
        """What it has said so far."""
        if self._master < 0:
            return self._output.read_text()
        try:
            while read := os.read(self._master, READ_BYTES):
                self._screen += read
        except OSError:  # nothing at the moment, or nobody any more
            pass
        return self._screen.decode(errors="replace")

    @property
    def errors(self) -> str:
        """What it has complained of so far."""
        return self._errors.read_text()

    def until(self, said: Callable[[], bool]) -> None:
        """Wait for something."""
        end = time.monotonic() + WAIT_S_MAX
        while not said():
            assert self._process.poll() is None, self.output + self.errors
            assert time.monotonic() < end, self.output + self.errors
            time.sleep(LOOK_S)

    def interrupt(self) -> int:
        """Ctrl-C; the exit code."""
        self._process.send_signal(signal.SIGINT)
        return self.wait()

    def wait(self) -> int:
        """The exit code."""
        code = self._process.wait(WAIT_S_MAX)
        assert "Traceback" not in self.errors
        return code

    def kill(self) -> None:
        """End it, whatever happened."""
        self._process.kill()
        self._process.wait()
        if self._master >= 0:
            os.close(self._master)


@pytest.fixture
def follow(tmp_path: Path) -> Iterator[Callable[..., Following]]:
    """Starts one, and ends it."""
    started: list[Following] = []

    def start(*arguments: str, **options: Any) -> Following:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(Following(folder, *arguments, **options))
        return started[-1]

    yield start
    for one in started:
        one.kill()


@pytest.fixture
def wire(gateway: Any) -> Iterator[CuttableWire]:
    """A wire to the gateway that can be cut."""
    cuttable = CuttableWire(gateway.target)
    yield cuttable
    cuttable.stop()


def test_lines_go_on_after_the_wire_was_cut(wire: CuttableWire, follow: Callable[..., Following]) -> None:
    followed = follow(wire.target, "AAPL", "MSFT", "NOPE")
    live = re.compile(r"(?m)^(AAPL|MSFT)  +[0-9.]+ .* [0-9.]+ s +iex$")
    followed.until(lambda: {found[1] for found in live.finditer(followed.output)} == {"AAPL", "MSFT"})
    assert wire.cut() == 1
    followed.until(lambda: "again: nothing from gateway " in followed.errors)
    assert followed.errors.startswith("connection lost, trying again: UNAVAILABLE")
    seen = len(followed.output)
    followed.until(lambda: len(live.findall(followed.output[seen:])) >= 2)
    assert followed.interrupt() == 0
    last = followed.output.splitlines()[-1]
    assert re.match(
        r"\d+ conflated · 0 dropped · lag \d\.\d\d s · stocks:iex LIVE · 1 gaps · nothing from gateway", last
    )
    assert last.endswith("NOPE: No asset has this symbol.")


def test_a_terminal_shows_a_table_and_messages_are_lines_of_json(
    gateway: Any, follow: Callable[..., Following]
) -> None:
    table, messages = follow(gateway.target, "AAPL", "MSFT", terminal=True), follow(gateway.target, "AAPL", "--json")
    row = r"{}\s+[0-9.]+\s.*\s[0-9.]+ s\s+iex"
    table.until(lambda: all(re.search(row.format(symbol), table.output) for symbol in ("AAPL", "MSFT")))
    assert re.search(r"0 conflated · 0 dropped · lag 0\.\d\d s · stocks:iex LIVE", table.output)
    messages.until(lambda: '"symbol": "AAPL"' in messages.output)
    assert (table.interrupt(), messages.interrupt()) == (0, 0)
    assert {line[0] + line[-1] for line in messages.output.splitlines()} == {"{}"}


def test_where_no_gateway_is_it_says_so_at_once(follow: Callable[..., Following]) -> None:
    followed = follow("127.0.0.1:9", "AAPL")
    assert followed.wait() == 1
    assert "No gateway answers at 127.0.0.1:9." in followed.errors
