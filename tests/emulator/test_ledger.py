"""The ledger: what was asked and done, line by line; the state of the account; and what it refuses to read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.models.orders import OrderChanges
from gateway.domain.types import NANOS_PER_SECOND
from gateway.emulator.exchange import ExchangeConfig, NewOrder, Refusal, SessionRule, make_assets
from gateway.emulator.ledger import LEDGER_FILE, Durability, Ledger, LedgerError
from gateway.emulator.recorded import RecordedExchange
from gateway.emulator.reopening import open_exchange
from tests.emulator.exchange.desk import Desk, instant, make_spec
from tests.emulator.exchange.storms import memory

START_NS = instant("2024-01-03 10:00")
ASSETS = make_assets()


def opened(data_dir: Path | None, config: ExchangeConfig | None = None, **options: Any) -> RecordedExchange:
    return open_exchange(config or ExchangeConfig(), ASSETS, START_NS, data_dir, **options)


def a_small_day(exchange: RecordedExchange) -> Desk:
    desk = Desk(exchange=exchange)
    desk.quote("AAPL", 100.0, 100.0)
    desk.buy("AAPL", 10, client_order_id="k1")
    resting = desk.buy("AAPL", 5, limit_price=90)
    changed = desk.change(resting, limit_price=91)
    desk.quote("AAPL", 91.0, 91.0, size=3)
    desk.cancel(changed)
    desk.exchange.configure(desk.now_ns, no_shorting=True)
    desk.exchange.close_position(desk.now_ns, "AAPL", percentage=Decimal(50))
    return desk


def lines(data_dir: Path) -> list[bytes]:
    return (data_dir / LEDGER_FILE).read_bytes().splitlines(keepends=True)


def test_the_account_is_there_again(tmp_path: Path) -> None:
    with opened(tmp_path) as exchange:
        desk = a_small_day(exchange)
        remembered, cash = memory(exchange), desk.cash
    with opened(tmp_path) as again:
        assert memory(again) == remembered
        assert again.order_by_client_id("k1").status == "filled"
        assert again.account(desk.now_ns).cash == cash
        assert again.drain_updates() == [], "what was told is not told again"
        with pytest.raises(Refusal, match="must be unique"):
            again.submit(desk.now_ns, NewOrder(make_spec("AAPL", "buy", 1), "k1"))


def test_each_line_is_an_object_and_tells_what_was_asked_and_what_became_of_it() -> None:
    with opened(None) as exchange:
        desk = Desk(exchange=exchange)
        desk.quote("AAPL", 100.0, 100.0, ask_size=4)
        raw = b'{"symbol": "AAPL", "qty": "10"}'
        desk.wait()
        order = exchange.submit(desk.now_ns, NewOrder(make_spec("AAPL", "buy", 10), "k1"), raw=raw)
        with pytest.raises(Refusal):
            desk.sell("AAPL", 100)
        told = exchange.ledger.entries(after=1)
    assert [entry["n"] for entry in told] == list(range(2, 2 + len(told)))
    assert [entry["op"] for entry in told] == ["quote", "submit", "done", "submit", "done"]
    assert told[1]["raw"] == raw.decode()
    assert told[1]["order"]["client_order_id"] == "k1"
    assert (told[2]["of"], told[2]["order_id"]) == (3, order.id)
    fill = told[2]["events"][1]
    assert (fill["event"], fill["quantity"], fill["price"], fill["position"]) == ("partial_fill", "4", "100.0", "4")
    assert told[4]["refusal"]["code"] == 40310000
    assert told[4]["events"] == []


def test_lines_are_json_with_a_checksum_in_front(tmp_path: Path) -> None:
    with opened(tmp_path) as exchange:
        a_small_day(exchange)
    assert all({"crc", "n", "op"} <= json.loads(line).keys() for line in lines(tmp_path))


def test_quotes_that_change_nothing_are_not_recorded() -> None:
    with opened(None) as exchange:
        desk = Desk(exchange=exchange)
        desk.quote("AAPL", 100.0, 100.0)
        desk.buy("AAPL", 10, limit_price=90)
        before = exchange.ledger.sequence
        for step in range(200):
            desk.quote("AAPL", 95.0 + step / 100, 96.0 + step / 100)
            desk.quote("MSFT", 40.0, 40.0)
            desk.trade("AAPL", 95.0)
        assert exchange.ledger.sequence <= before + 2, "the equity was noted twice"
        desk.quote("AAPL", 90.0, 90.0)
        kinds = [entry["op"] for entry in exchange.ledger.entries(after=before)]
        assert kinds[-3:] == ["trade", "quote", "done"], "the print before it, the quote, and the fill"


def test_entries_are_paged_by_number() -> None:
    with opened(None) as exchange:
        for step in range(400):
            exchange.cancel_all(START_NS + step)
        assert exchange.ledger.sequence == 801
        numbers, after = list[int](), 0
        while page := exchange.ledger.entries(after, 100):
            numbers += [entry["n"] for entry in page]
            after = numbers[-1]
        assert numbers == list(range(1, 802))


def test_a_torn_last_line_is_dropped_wherever_it_was_torn(tmp_path: Path) -> None:
    with opened(tmp_path / "whole") as exchange:
        a_small_day(exchange)
    written = lines(tmp_path / "whole")
    whole = b"".join(written)
    outcome, command = len(whole) - len(written[-1]), len(whole) - len(written[-1]) - len(written[-2])
    with opened(tmp_path / "whole") as exchange:
        remembered = memory(exchange)
    for length in {command, command + 1, outcome - 1, outcome, outcome + 1, len(whole) - 1}:
        data_dir = tmp_path / str(length)
        data_dir.mkdir()
        (data_dir / LEDGER_FILE).write_bytes(whole[:length])
        with opened(data_dir) as exchange:
            assert (memory(exchange) == remembered) == (length >= outcome), "a recorded command has happened"
        if length >= outcome:
            assert b"".join(lines(data_dir)) == whole, "its outcome is written again"


def damaged_middle(written: list[bytes]) -> list[bytes]:
    middle = len(written) // 2
    return [*written[:middle], written[middle].replace(b'"t":1', b'"t":2'), *written[middle + 1 :]]


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (damaged_middle, "is damaged at line"),
        (lambda written: written[:3] + written[4:], "line 4 is numbered 5"),
        (lambda written: [*written, b"{}\n"], "is damaged at line"),
        (lambda written: [*written, b"\x00" * 10 + b"\n"], "is damaged at line"),
        (lambda written: [*written, written[-1]], "is numbered"),
        (lambda written: [written[0][:-5] + b"\n", *written[1:]], "is damaged at line 1"),
    ],
)
def test_anything_else_that_is_wrong_refuses(
    tmp_path: Path, damage: Callable[[list[bytes]], list[bytes]], sentence: str
) -> None:
    with opened(tmp_path) as exchange:
        a_small_day(exchange)
    broken = b"".join(damage(lines(tmp_path)))
    (tmp_path / LEDGER_FILE).write_bytes(broken)
    with pytest.raises(LedgerError, match=sentence):
        opened(tmp_path)
    assert (tmp_path / LEDGER_FILE).read_bytes() == broken, "it is left as it is"


def rewritten(data_dir: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """The same ledger with some entries changed, checksums right."""
    with Ledger(data_dir / LEDGER_FILE) as old:
        entries = list(old.replay())
    (data_dir / LEDGER_FILE).unlink()
    with Ledger(data_dir / LEDGER_FILE) as new:
        for entry in entries:
            change(entry)
            new.append({name: value for name, value in entry.items() if name != "n"})


def test_a_result_that_this_version_does_not_reproduce_refuses(tmp_path: Path) -> None:
    with opened(tmp_path) as exchange:
        a_small_day(exchange)

    def other_price(entry: dict[str, Any]) -> None:
        for event in entry.get("events", ()):
            if "price" in event:
                event["price"] = "99.5"

    rewritten(tmp_path, other_price)
    with pytest.raises(LedgerError, match="says other than what this version does"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format": 2}, "not of format 1"),
        ({"op": "quote"}, "not of format 1"),
        ({"account_id": "someone"}, "belongs to account someone"),
    ],
)
def test_another_format_or_account_refuses(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    opened(tmp_path).close()
    rewritten(tmp_path, lambda entry: entry.update(change))
    with pytest.raises(LedgerError, match=sentence):
        opened(tmp_path)


def test_an_account_keeps_what_it_began_with_and_other_settings_change_from_now_on(tmp_path: Path) -> None:
    config = ExchangeConfig(seed=3, cash=Decimal(5000))
    with opened(tmp_path, config) as exchange:
        Desk(exchange=exchange).hold("AAPL", 1, 100.0)
    other = ExchangeConfig(seed=4, cash=Decimal(9), session=SessionRule.NYSE, crypto_fee_bps=Decimal(0))
    with opened(tmp_path, other) as exchange:
        assert exchange.config == replace(other, seed=3, cash=Decimal(5000))
        assert exchange.account(START_NS).cash == 4900
        remembered = memory(exchange)
    with opened(tmp_path, other) as exchange:
        assert memory(exchange) == remembered


def test_assets_may_change_between_lives(tmp_path: Path) -> None:
    with opened(tmp_path) as exchange:
        Desk(exchange=exchange).hold("AAPL", 1, 100.0)
    tape = make_assets(["XXX"])
    for _ in range(2):
        with open_exchange(ExchangeConfig(), tape, START_NS, tmp_path) as exchange:
            assert [asset.symbol for asset in exchange.assets(status="active")] == ["XXX"]
            assert [position.symbol for position in exchange.positions(START_NS)] == ["AAPL"]
    with opened(tmp_path) as exchange:
        assert exchange.asset("AAPL").tradable


def test_a_full_ledger_refuses_orders_first_and_takes_cancels_a_while_longer(tmp_path: Path) -> None:
    with opened(tmp_path, bytes_max=30_000) as exchange:
        order, order_ids = NewOrder(make_spec("AAPL", "buy", 1, limit_price=1)), list[str]()
        while exchange.ledger.size_bytes <= 27_000:
            order_ids.append(exchange.submit(START_NS, order).id)
        with pytest.raises(Refusal, match="nearly full"):
            exchange.submit(START_NS, order)
        exchange.cancel(START_NS + 1000, order_ids[0])
        with pytest.raises(Refusal, match="nearly full"):
            exchange.replace(START_NS + 1000, order_ids[1], OrderChanges(limit_price=Decimal(2)))
        while exchange.ledger.size_bytes < 29_900:
            exchange.cancel(START_NS + 1001, order_ids[0])
        with pytest.raises(LedgerError, match="is full"):
            exchange.cancel(START_NS + 1001, order_ids[1])
        assert exchange.order(order_ids[1]).is_open, "what cannot be recorded does not happen"
    assert (tmp_path / LEDGER_FILE).stat().st_size <= 30_000


def test_what_the_disk_will_not_take_does_not_happen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path, durability=Durability.DISK) as exchange:
        resting = exchange.submit(START_NS, NewOrder(make_spec("AAPL", "buy", 1, limit_price=1)))
        remembered, size = memory(exchange), exchange.ledger.size_bytes

        def no_space(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fdatasync", no_space)
        with pytest.raises(LedgerError, match="No space left"):
            exchange.cancel(START_NS, resting.id)
        monkeypatch.undo()
        assert memory(exchange) == remembered
        assert (tmp_path / LEDGER_FILE).stat().st_size == size
        exchange.cancel(START_NS, resting.id)
    with opened(tmp_path) as again:
        assert again.order(resting.id).status == "canceled"


def test_an_outcome_that_cannot_be_written_is_owed_and_nothing_happens_before_it_is_paid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as exchange:
        resting = exchange.submit(START_NS, NewOrder(make_spec("AAPL", "buy", 1, limit_price=1)))
        append, calls = exchange.ledger.append, iter([True, False, False])

        def fails_after_one(entry: dict[str, Any]) -> int:
            if not next(calls, True):
                raise LedgerError("no space")
            return append(entry)

        monkeypatch.setattr(exchange.ledger, "append", fails_after_one)
        exchange.cancel(START_NS, resting.id)
        assert not exchange.order(resting.id).is_open, "its command was recorded, so it has happened"
        with pytest.raises(LedgerError, match="no space"):
            exchange.cancel_all(START_NS)
        exchange.cancel_all(START_NS)
        remembered = memory(exchange)
    with opened(tmp_path) as again:
        assert memory(again) == remembered


def test_an_outcome_of_many_events_goes_over_several_lines(tmp_path: Path) -> None:
    order = NewOrder(make_spec("AAPL", "buy", 1, limit_price=1))
    with opened(tmp_path) as exchange:
        for _ in range(1234):
            exchange.submit(START_NS, order)
        exchange.cancel_all(START_NS)
        outcome = exchange.ledger.entries(after=exchange.ledger.sequence - 3)
        assert [len(entry["events"]) for entry in outcome] == [500, 500, 234]
        remembered = memory(exchange)
    whole = (tmp_path / LEDGER_FILE).read_bytes()
    (tmp_path / LEDGER_FILE).write_bytes(whole[:-10])
    with opened(tmp_path) as again:
        assert memory(again) == remembered
    assert (tmp_path / LEDGER_FILE).read_bytes() == whole


WRITER = """
import sys
from pathlib import Path
from tests.emulator.test_ledger import *
exchange = opened(Path(sys.argv[1]))
desk = Desk(exchange=exchange)
for step in range(100_000):
    desk.quote("AAPL", 100.0, 100.0, size=3)
    order = desk.buy("AAPL", 1) if step % 2 else desk.sell("AAPL", 1)
    print(order.id, flush=True)
"""


def test_what_was_answered_survives_kill_9(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, cwd=root)
    assert writer.stdout is not None
    answered = [writer.stdout.readline().decode().strip() for _ in range(50)]
    writer.send_signal(signal.SIGKILL)
    answered += [line.decode().strip() for line in writer.stdout.readlines() if line.endswith(b"\n")]
    writer.wait(10)
    writer.stdout.close()
    with opened(tmp_path) as exchange:
        assert all(exchange.order(order_id).status == "filled" for order_id in answered)
        known = {entry["order_id"] for entry in exchange.ledger.entries() if "order_id" in entry}
    assert known >= set(answered)


def test_time_never_runs_backwards_in_the_ledger(tmp_path: Path) -> None:
    with opened(tmp_path) as exchange:
        exchange.on_quote(START_NS + NANOS_PER_SECOND, "AAPL", 100.0, 10.0, 100.0, 10.0)
        late = exchange.submit(START_NS, NewOrder(make_spec("AAPL", "buy", 1)))
        assert late.submitted_ns == START_NS + NANOS_PER_SECOND
        remembered = memory(exchange)
    with opened(tmp_path) as again:
        assert memory(again) == remembered
