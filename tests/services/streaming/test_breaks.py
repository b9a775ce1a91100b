"""Breaks of a feed: what of it is missed, by whom, and what is said of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from gateway.domain.errors import VenueUnreachable
from gateway.domain.models.market_data import Page, SubscriptionSet, Trade
from gateway.domain.types import Channel, DataFeed
from tests.services.streaming.conftest import Corridor, Reader, eventually
from tests.services.streaming.venue import SECOND_NS, quote, trade
from trading_gateway.v1 import common_pb2

T = Channel.TRADES


async def broken(corridor: Corridor, *symbols: str) -> Reader:
    """A reader who had one trade of each symbol when the feed broke."""
    reader = await corridor.live(*symbols, channel=T)
    corridor.publish(*(trade(symbol, 1) for symbol in symbols))
    await reader.until(lambda r: len(r.values) == len(symbols))
    corridor.venue.connection.cut()
    await reader.until(lambda r: r.of("stale_symbols"))
    return reader


async def test_a_break_within_the_back_fill_of_another_tells_what_the_first_swallowed(corridor: Corridor) -> None:
    reader = await broken(corridor, "AAPL")
    corridor.venue.pages[""] = Page((trade("AAPL", 2), trade("AAPL", 3), trade("AAPL", 4), trade("AAPL", 5)))
    corridor.venue.gate = asyncio.Event()
    corridor.venue.connection.answer()  # RECONCILING: the back-fill waits at the gate
    await reader.until(lambda r: r.of("feeds")[-1].state == common_pb2.FEED_STATE_RECONCILING)
    corridor.publish(trade("AAPL", 4))  # 2 and 3 were swallowed
    corridor.venue.connection.cut()  # before they were read; 5 is swallowed
    corridor.venue.gate.set()
    corridor.venue.connection.answer()
    await reader.until(lambda r: len(r.of("gaps")) == 2)
    assert [(gap.backfilled, gap.backfilled_count) for gap in reader.of("gaps")] == [(False, 0), (True, 1)]
    first, second = reader.of("gaps")
    assert first.to_time.ToNanoseconds() <= second.from_time.ToNanoseconds()
    assert [value.trade_id for value in reader.values] == [1, 4, 5]


async def test_what_another_read_during_the_break_hides_nothing_that_was_missed(corridor: Corridor) -> None:
    first = await corridor.read("AAPL", channel=T, skip_snapshot=True)
    await first.until(lambda r: r.of("acks"))
    corridor.venue.connection.cut()
    await eventually(lambda: any(f.state == common_pb2.FEED_STATE_DISCONNECTED for f in first.of("feeds")))
    corridor.clocks.ahead_s += 60
    now_ns = corridor.clocks.wall()
    missed = [replace(trade("AAPL", n), time_ns=now_ns - (5 - n) * SECOND_NS) for n in (2, 3, 4)]
    corridor.venue.newest[T, "AAPL"] = missed[-1]
    second = await corridor.read("AAPL", channel=T)  # its snapshot is read while the feed is down
    await second.until(lambda r: r.values)
    corridor.venue.pages[""] = Page(tuple(missed))
    corridor.venue.connection.answer()
    gap = (await first.until(lambda r: r.of("gaps")))[0]
    assert (gap.backfilled, gap.backfilled_count) == (True, 3)
    assert [value.trade_id for value in first.values] == [2, 3, 4]


async def test_half_a_back_fill_is_nobodys_newest(corridor: Corridor, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = await broken(corridor, "AAPL")

    async def list_trades(context: Any, feed: Any, symbols: Any, **options: Any) -> Page[Any]:
        if options["page_token"]:
            raise VenueUnreachable("REST is down now")
        return Page((trade("AAPL", 2), trade("AAPL", 3)), "more")

    monkeypatch.setattr(corridor.venue, "list_trades", list_trades, raising=False)
    corridor.venue.newest[T, "AAPL"] = trade("AAPL", 9)  # what the venue really has
    corridor.venue.connection.answer()
    await reader.until(lambda r: r.of("gaps"))
    await reader.until(lambda r: r.values[-1].trade_id == 9)
    held = corridor.service.newest(T, DataFeed.IEX, "AAPL")
    assert isinstance(held, Trade)
    assert held.trade_id == 9
    late = await corridor.live("AAPL", channel=T)
    assert [(value.trade_id, value.stale) for value in late.values] == [(9, False)]


async def test_the_last_of_what_was_made_up_for_is_the_newest(corridor: Corridor) -> None:
    reader = await broken(corridor, "AAPL")
    corridor.venue.pages[""] = Page((trade("AAPL", 2), trade("AAPL", 3), trade("AAPL", 4)))
    corridor.venue.newest[T, "AAPL"] = trade("AAPL", 4)
    corridor.venue.connection.answer()
    await reader.until(lambda r: r.of("gaps"))
    late = await corridor.live("AAPL", channel=T)
    assert [(value.trade_id, value.stale) for value in late.values] == [(4, False)]
    held = corridor.service.newest(T, DataFeed.IEX, "AAPL")
    assert isinstance(held, Trade)
    assert held.trade_id == 4


async def test_a_symbol_that_the_venue_let_go_and_took_again_is_a_gap(corridor: Corridor) -> None:
    reader = await corridor.live("AAPL", "MSFT", channel=T)
    corridor.publish(trade("AAPL", 1), trade("MSFT", 1))
    await reader.until(lambda r: len(r.values) == 2)
    listener = corridor.venue.connection.listener
    listener.on_subscriptions(SubscriptionSet({T: frozenset({"MSFT"})}))
    # Trades 2 and 3 of AAPL are not brought.
    listener.on_subscriptions(SubscriptionSet({T: frozenset({"AAPL", "MSFT"})}))
    corridor.publish(trade("AAPL", 4))
    await reader.until(lambda r: r.values[-1].trade_id == 4)
    assert [list(gap.symbols) for gap in reader.of("gaps")] == [["AAPL"]]


async def test_it_is_one_before_its_first_value_too(corridor: Corridor) -> None:
    reader = await corridor.read("AAPL", channel=T, skip_snapshot=True)
    await reader.until(lambda r: r.of("acks"))
    listener = corridor.venue.connection.listener
    listener.on_subscriptions(SubscriptionSet({T: frozenset()}))
    listener.on_subscriptions(SubscriptionSet({T: frozenset({"AAPL"})}))
    corridor.publish(trade("AAPL", 4))
    await reader.until(lambda r: r.values)
    assert [list(gap.symbols) for gap in reader.of("gaps")] == [["AAPL"]]


async def test_who_came_while_it_was_made_up_for_lacks_nothing_from_before(corridor: Corridor) -> None:
    await broken(corridor, "AAPL")
    corridor.venue.gate = asyncio.Event()
    corridor.venue.pages[""] = Page((trade("AAPL", 2),))
    corridor.venue.connection.answer()
    joined_ns = corridor.clocks.wall()
    second = await corridor.read("AAPL", channel=T, skip_snapshot=True)
    await second.until(lambda r: r.of("acks"))
    corridor.venue.connection.cut()
    corridor.venue.gate.set()
    corridor.venue.connection.answer()
    [gap] = await second.until(lambda r: r.of("gaps"))
    assert gap.from_time.ToNanoseconds() >= joined_ns
    assert not second.values


async def test_a_second_break_tells_a_newcomer_nothing_of_the_first(corridor: Corridor) -> None:
    first = await corridor.read("AAPL", skip_snapshot=True)
    await first.until(lambda r: r.of("acks"))
    corridor.venue.connection.cut()
    corridor.venue.connection.answer()  # live again; nothing comes, so the first hole stays open
    corridor.clocks.ahead_s += 600
    joined_ns = corridor.clocks.wall()
    second = await corridor.read("MSFT", skip_snapshot=True)
    await second.until(lambda r: r.of("acks"))
    corridor.venue.connection.cut()
    corridor.venue.connection.answer()
    corridor.publish(quote("MSFT", 1))
    [gap] = await second.until(lambda r: r.of("gaps"))
    assert gap.from_time.ToNanoseconds() >= joined_ns
