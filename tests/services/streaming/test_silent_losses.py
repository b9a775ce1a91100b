"""What could be old, missing or turned back without a word: symbols that the venue lets go, holes that nobody saw."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from gateway.domain.models.market_data import Page, SubscriptionSet
from gateway.domain.types import Channel, DataFeed, FeedState
from gateway.services.streaming import HubTimes, StreamLimits, silence, stray_symbols
from tests.services.streaming.conftest import Corridor, eventually
from tests.services.streaming.venue import SECOND_NS, bar, quote, trade
from trading_gateway.v1 import common_pb2

MINUTE_NS = 60 * SECOND_NS


@pytest.fixture
def limits() -> StreamLimits:
    times = HubTimes(linger_s=0.05, ack_timeout_s=5.0, snapshot_wait_s=5.0, silence_s=60.0)
    return StreamLimits(500, 65_536, times=times)


async def test_a_symbol_that_the_venue_lets_go_is_vouched_for_no_more(corridor: Corridor) -> None:
    reader = await corridor.live("AAPL", "MSFT")
    corridor.publish(quote("AAPL", 1), quote("MSFT", 1))
    await reader.until(lambda r: len(r.values) == 2)
    corridor.venue.refuses = frozenset({"MSFT"})
    corridor.venue.connection.answer()
    await reader.until(lambda r: r.of("stale_symbols"))
    assert reader.of("stale_symbols") == ["MSFT"]
    assert corridor.service.newest(Channel.QUOTES, DataFeed.IEX, "MSFT") is None
    assert corridor.service.newest(Channel.QUOTES, DataFeed.IEX, "AAPL") is not None
    corridor.venue.newest[Channel.QUOTES, "MSFT"] = quote("MSFT", 7)
    corridor.venue.refuses = frozenset()
    corridor.venue.connection.answer()
    await reader.until(lambda r: len(r.values) == 3)
    assert (reader.values[-1].bid_price, reader.values[-1].snapshot, reader.values[-1].stale) == (100.07, True, False)


async def test_what_is_read_while_the_venue_does_not_bring_it_is_read_again(corridor: Corridor) -> None:
    """It may be old before the venue brings the symbol again, and nobody would ever know."""
    await corridor.live("AAPL")
    corridor.venue.newest[Channel.QUOTES, "MSFT"] = quote("MSFT", 1)
    corridor.venue.gate = asyncio.Event()
    reader = await corridor.read("MSFT")
    asked = (Channel.QUOTES.value, ("MSFT",))
    await eventually(lambda: asked in corridor.venue.requests)
    for refused in (frozenset({"MSFT"}), frozenset[str]()):
        corridor.venue.refuses = refused
        corridor.venue.connection.answer()
    corridor.venue.gate.set()
    await reader.until(lambda r: [value.stale for value in r.values] == [True, False])
    assert corridor.venue.requests.count(asked) == 2


async def test_a_hole_of_one_symbol_begins_with_its_own_last_value(
    corridor: Corridor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stray_symbols, "LOOK_INTERVAL_S", 0.03)
    monkeypatch.setattr(silence, "PROOF_S", 0.02)
    reader = await corridor.live("BUSY", "LOST", channel=Channel.TRADES)
    number, began, last_ns = 0, time.monotonic(), 0
    corridor.venue.newest[Channel.TRADES, "LOST"] = trade("LOST", 100_000)
    corridor.venue.pages[""] = Page((trade("LOST", 99_999),))
    async with asyncio.timeout(5):
        while not reader.of("gaps"):
            number += 1
            lost = replace(trade("LOST", number), receive_time_ns=time.time_ns())
            if time.monotonic() < began + 0.2:
                last_ns = lost.receive_time_ns
                corridor.publish(lost)
            corridor.publish(trade("BUSY", number))
            await asyncio.sleep(0.005)
    [gap] = reader.of("gaps")
    assert gap.from_time.ToNanoseconds() == last_ns
    assert corridor.venue.pages_asked[0]["start_ns"] <= last_ns
    assert [value.trade_id for value in reader.values if value.backfill] == [99_999]


@pytest.mark.parametrize(
    "terms", [{"min_interval_ms": 200}, {"max_batch_delay_ms": 200}], ids=["held back", "in a batch"]
)
async def test_what_waits_in_a_group_does_not_follow_what_was_read_after_it(
    corridor: Corridor, terms: dict[str, int]
) -> None:
    reader = await corridor.live("AAPL", **terms)
    corridor.publish(quote("AAPL", 1))
    await reader.until(lambda r: len(r.values) == 1)
    corridor.publish(quote("AAPL", 2))  # it waits
    corridor.venue.connection.cut()
    corridor.venue.newest[Channel.QUOTES, "AAPL"] = quote("AAPL", 5)
    corridor.venue.connection.answer()
    await reader.until(lambda r: r.values[-1].bid_price == quote("AAPL", 5).bid_price)
    await asyncio.sleep(0.25)
    told = [value.time.ToNanoseconds() for value in reader.values]
    assert told == sorted(told)
    assert not reader.values[-1].stale


async def test_a_break_before_the_first_value_is_a_hole_too(corridor: Corridor) -> None:
    """The bar of a minute that ended during the break would be missing without a word."""
    reader = await corridor.live("AAPL", channel=Channel.BARS)
    live_by_ns = corridor.clocks.wall()
    corridor.venue.connection.cut()
    running = replace(bar("AAPL"), start_time_ns=live_by_ns // MINUTE_NS * MINUTE_NS)
    corridor.clocks.ahead_s += 125
    corridor.venue.pages[""] = Page((running,))
    corridor.venue.connection.answer()
    await reader.until(lambda r: r.of("gaps") and r.values)
    assert [value.start_time.ToNanoseconds() for value in reader.values if value.backfill] == [running.start_time_ns]
    [gap] = reader.of("gaps")
    assert 0 < gap.from_time.ToNanoseconds() <= live_by_ns


async def test_no_hole_reaches_back_behind_the_connection_that_broke(corridor: Corridor) -> None:
    first = await corridor.live("AAPL")
    corridor.publish(quote("AAPL", 1))
    await first.close()
    await eventually(lambda: not corridor.venue.connection.is_connected)
    corridor.clocks.ahead_s += 3_600
    before_ns = corridor.clocks.wall()
    second = await corridor.live("AAPL", skip_snapshot=True)
    corridor.venue.connection.cut()
    corridor.venue.connection.answer()
    corridor.publish(quote("AAPL", 2, receive_ns=corridor.clocks.wall()))
    await second.until(lambda r: r.of("gaps"))
    [gap] = second.of("gaps")
    assert before_ns <= gap.from_time.ToNanoseconds() <= gap.to_time.ToNanoseconds()


async def test_a_feed_that_is_to_be_connected_anew_is_though_the_first_try_fails(
    corridor: Corridor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.services.streaming.subscriptions.CHANGE_RETRY_S", 0.01)
    reader = await corridor.live("AAPL")
    connection, failures = corridor.venue.connection, [OSError()]
    accept = connection.set_subscriptions

    async def set_subscriptions(wanted: SubscriptionSet) -> None:
        if failures:
            raise failures.pop()
        await accept(wanted)

    monkeypatch.setattr(connection, "set_subscriptions", set_subscriptions)
    [hub] = corridor.service._hubs.values()
    hub._reconnect(FeedState.MUTE, "mute")
    await reader.until(lambda r: r.statuses[-1].feeds and r.statuses[-1].feeds[-1].state == common_pb2.FEED_STATE_LIVE)
    assert not failures
