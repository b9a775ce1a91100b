"""The floor: whatever was due has happened before anything is asked, and orders fill at the market's prices."""

from __future__ import annotations

import gzip
from decimal import Decimal
from pathlib import Path

from gateway.emulator.bars import MINUTE_NS
from gateway.emulator.floor import CATCH_UP_NS_MAX
from gateway.emulator.market import Event
from gateway.emulator.server import EmulatorOptions
from tests.emulator.host import EmulatorHost, ManualClock
from tests.emulator.rest_client import RestClient

START_NS = 1_790_000_000 * 10**9
QUOTES = """ts_ns,symbol,bid_price,bid_size,bid_exchange,ask_price,ask_size,ask_exchange,conditions
1000000000,XYZ,99.5,100,N,100.5,2,N,R
2000000000,XYZ,100.5,100,N,101.25,3,N,R
3000000000,XYZ,101,100,N,102,100,N,R
"""
TRADES = """ts_ns,symbol,price,size,exchange,conditions,id,taker_side
1000000000,XYZ,100,5,N,,1,
2500000000,XYZ,90,5,D,T,2,
2600000000,XYZ,101,5,N,,3,
"""


class Hearing:
    """Listens to a floor."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_events(self, events) -> None:
        self.events += events

    def on_updates(self, updates) -> None:
        """Not interested."""


def tape(folder: Path) -> EmulatorOptions:
    (folder / "quotes.csv.gz").write_bytes(gzip.compress(QUOTES.encode()))
    (folder / "trades.csv.gz").write_bytes(gzip.compress(TRADES.encode()))
    return EmulatorOptions(tape=folder, tape_start="now", rate_limit=0)


def test_orders_fill_at_the_tapes_bid_and_offer(start_emulator: EmulatorHost, tmp_path: Path) -> None:
    clock = ManualClock(START_NS)
    rest = RestClient(start_emulator(tape(tmp_path), clock=clock))
    clock.advance(s=0.5)
    day = {"symbol": "XYZ", "type": "market", "limit_price": None, "time_in_force": "day"}
    bought = rest.order(**day, qty="4").json()

    def fills() -> list[tuple[str, str]]:
        found = rest.get("/v2/account/activities/FILL", direction="asc")
        return [(fill["price"], fill["qty"]) for fill in found if fill["order_id"] == bought["id"]]

    while not fills():  # the floor keeps up by itself
        pass
    assert fills() == [("100.5", "2")], "the offer shows two"
    clock.advance(s=1)
    while len(fills()) < 2:
        pass
    assert fills() == [("100.5", "2"), ("101.25", "2")], "the next quote shows three more"
    rest.close()


def test_prints_off_the_market_trigger_nothing(start_emulator: EmulatorHost, tmp_path: Path) -> None:
    """A print after hours at 90 does not set off a stop at 95."""
    clock = ManualClock(START_NS)
    rest = RestClient(start_emulator(tape(tmp_path), clock=clock))
    clock.advance(s=0.5)
    rest.order(symbol="XYZ", type="market", limit_price=None, time_in_force="day", qty="2")
    while not rest.get("/v2/positions"):
        pass
    stop = rest.order(symbol="XYZ", side="sell", type="stop", limit_price=None, stop_price="95", qty="1").json()
    clock.advance(s=1.05)
    assert rest.get("/v2/stocks/trades/latest", symbols="XYZ")["trades"]["XYZ"]["p"] == 100
    clock.advance(s=1)
    assert rest.get(f"/v2/orders/{stop['id']}")["status"] == "new"
    assert rest.get("/v2/stocks/trades/latest", symbols="XYZ")["trades"]["XYZ"]["p"] == 101
    rest.close()


def test_what_was_due_has_happened_when_somebody_asks(start_emulator: EmulatorHost) -> None:
    clock = ManualClock(START_NS)
    emulator = start_emulator(clock=clock)
    floor, hearing = emulator.emulator.floor, Hearing()
    emulator.call(lambda: floor.listen(hearing))
    clock.advance(s=1)
    assert emulator.call(floor.now) == START_NS + 10**9
    expected = [event for _, event in floor.market.events(START_NS, START_NS + 10**9)]
    assert hearing.events == expected


def test_a_long_sleep_is_not_made_up_for(start_emulator: EmulatorHost) -> None:
    clock = ManualClock(START_NS)
    emulator = start_emulator(clock=clock)
    floor, hearing = emulator.emulator.floor, Hearing()
    emulator.call(lambda: floor.listen(hearing))
    clock.advance(s=7200)
    now_ns = emulator.call(floor.now)
    heard_ns = [getattr(event, "time_ns", now_ns) for event in hearing.events]
    assert now_ns == START_NS + 7200 * 10**9
    assert min(heard_ns) > now_ns - CATCH_UP_NS_MAX - MINUTE_NS


def test_time_never_runs_backwards(start_emulator: EmulatorHost) -> None:
    clock = ManualClock(START_NS)
    emulator = start_emulator(clock=clock)
    clock.advance(s=-3600)
    assert emulator.call(emulator.emulator.floor.now) == START_NS


def test_positions_are_valued_at_the_market(start_emulator: EmulatorHost) -> None:
    """A new account that has just opened knows the standing prices: buying power is checked against them."""
    rest = RestClient(start_emulator(cash=Decimal(10)))
    refused = rest.order(type="market", limit_price=None, time_in_force="day")
    assert (refused.status_code, refused.json()["message"]) == (403, "insufficient buying power")
    rest.close()
