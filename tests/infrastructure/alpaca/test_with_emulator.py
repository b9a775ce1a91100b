"""The adapters against the emulator: straight roads that the contract suites do not walk, and its faults."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from gateway.domain.errors import FieldInvalid, OutcomeUnknown, VenueAuthentication, VenueRateLimited, VenueUnreachable
from gateway.domain.interfaces import VenueOrderFilter
from gateway.domain.models.market_data import SubscriptionSet
from gateway.domain.models.simulation import FaultKind, FaultOrder
from gateway.domain.types import Channel, DataFeed, FeedState
from gateway.infrastructure.alpaca.reconnect import BackOff
from gateway.infrastructure.alpaca.streaming_adapter import StreamingAdapter
from gateway.infrastructure.alpaca.trading_adapter import TradingAdapter
from gateway.infrastructure.emulator_control import EmulatorControl
from tests.contracts.specs import market, resting
from tests.emulator.host import EmulatorHost, RunningEmulator
from tests.infrastructure.alpaca.listeners import MarketNotes, OrderNotes
from tests.infrastructure.alpaca.scripted import KEY, SECRET, Gate, context, factory_at, order_context, until

QUICK = BackOff(first_s=0.01, max_s=0.1, spacing_s=0.02, crowded_s=0.1, refused_s=0.2)
QUOTES = SubscriptionSet({Channel.QUOTES: frozenset({"AAPL", "MSFT"})})


@dataclass
class Desk:
    trading: TradingAdapter
    streaming: StreamingAdapter
    gate: Gate


@asynccontextmanager
async def desk_at(url: str) -> AsyncIterator[Desk]:
    gate = Gate()
    async with factory_at(url, gate, read_ms=1_000) as factory:
        streaming = StreamingAdapter(factory, time.time_ns, QUICK, random.Random(7))
        yield Desk(TradingAdapter(factory), streaming, gate)
        await streaming.close()


async def test_an_order_whose_answer_is_lost_is_one_order(emulator: RunningEmulator) -> None:
    emulator.fault("http_504_accepted")
    async with desk_at(emulator.url) as desk:
        with pytest.raises(OutcomeUnknown, match="504"):
            await desk.trading.submit_order(order_context(), "default.k1", market())
        found = await desk.trading.find_order(context(), "default.k1")
        assert found is not None
        assert len(await desk.trading.list_orders(context(), VenueOrderFilter.ALL)) == 1
        assert emulator.requests("POST /v2/orders") == 1


async def test_an_order_that_hangs_is_unknown_and_is_not_there(emulator: RunningEmulator) -> None:
    emulator.fault("request_lost", delay_ms=5_000)
    async with factory_at(emulator.url, read_ms=100) as factory:
        trading = TradingAdapter(factory)
        with pytest.raises(OutcomeUnknown):
            await trading.submit_order(order_context(), "default.k1", market())
        assert await trading.find_order(context(), "default.k1") is None


async def test_too_many_requests_say_when_to_try_again(emulator: RunningEmulator) -> None:
    emulator.fault("http_429")
    async with desk_at(emulator.url) as desk:
        with pytest.raises(VenueRateLimited) as caught:
            await desk.trading.submit_order(order_context(), "default.k1", market())
        assert caught.value.retry_after_ms is not None
        sent = await desk.trading.submit_order(order_context(), "default.k1", market())
        assert sent.venue_client_order_id == "default.k1"


async def test_an_unknown_status_is_kept(emulator: RunningEmulator) -> None:
    emulator.fault("status_unknown")
    async with desk_at(emulator.url) as desk:
        sent = await desk.trading.submit_order(order_context(), "default.k1", resting())
        assert sent.venue_status == "pending_emulation"


async def test_the_venues_own_count_is_told(start_emulator: EmulatorHost) -> None:
    emulator = start_emulator(rate_limit=2)
    async with desk_at(emulator.url) as desk:
        for number in range(2):
            await desk.trading.submit_order(order_context(), f"default.{number}", resting())
        with pytest.raises(VenueRateLimited):
            await desk.trading.submit_order(order_context(), "default.2", resting())
        await asyncio.sleep(0)
        assert [(limit, remaining) for limit, remaining, _ in desk.gate.observed] == [(2, 1), (2, 0), (2, 0)]


async def test_a_wrong_key_is_said_everywhere(start_emulator: EmulatorHost) -> None:
    emulator = start_emulator(key="right", secret="right")
    async with desk_at(emulator.url) as desk:
        with pytest.raises(VenueAuthentication):
            await desk.trading.submit_order(order_context(), "default.k1", market())
        with pytest.raises(VenueAuthentication):
            await desk.trading.find_order(context(), "default.k1")
        prices, orders = MarketNotes(), OrderNotes()
        feed = await desk.streaming.open_market_data(DataFeed.IEX, prices)
        await feed.set_subscriptions(QUOTES)
        await desk.streaming.open_order_updates(orders)
        await until(lambda: len(prices.states) > 1 and len(orders.states) > 1)
        assert (prices.states[1][0], prices.states[1][2]) == (FeedState.DISCONNECTED, 402)
        assert (orders.states[1][0], orders.states[1][2]) == (FeedState.DISCONNECTED, 401)
    right = start_emulator(key=KEY, secret=SECRET)
    async with desk_at(right.url) as desk:
        assert await desk.trading.find_order(context(), "default.k1") is None


async def test_cut_sockets_are_told_and_come_back(emulator: RunningEmulator) -> None:
    async with desk_at(emulator.url) as desk:
        prices, orders = MarketNotes(), OrderNotes()
        feed = await desk.streaming.open_market_data(DataFeed.IEX, prices)
        await feed.set_subscriptions(QUOTES)
        await desk.streaming.open_order_updates(orders)
        await until(lambda: prices.quotes and "reconciling" in orders.state_names())
        for feed_name in ("stocks:iex", "orders"):
            emulator.fault("feed_disconnected", feed_name)
        await until(lambda: prices.state_names() == ["connecting", "live", "disconnected", "connecting", "live"])
        twice = ["connecting", "reconciling"]
        await until(lambda: orders.state_names() == [*twice, "disconnected", *twice])
        seen = len(prices.quotes)
        await until(lambda: len(prices.quotes) > seen)
        assert prices.sets[-1].symbols[Channel.QUOTES] == {"AAPL", "MSFT"}


async def test_a_connection_limit_is_told_and_ends_when_there_is_room(emulator: RunningEmulator) -> None:
    async with desk_at(emulator.url) as first, desk_at(emulator.url) as second:
        held, refused = MarketNotes(), MarketNotes()
        holder = await first.streaming.open_market_data(DataFeed.IEX, held)
        await holder.set_subscriptions(QUOTES)
        await until(lambda: held.quotes)
        waiter = await second.streaming.open_market_data(DataFeed.IEX, refused)
        await waiter.set_subscriptions(QUOTES)
        await until(lambda: any(code == 406 for _, _, code in refused.states))
        await holder.close()
        await until(lambda: refused.quotes)


async def test_faults_are_ordered_over_the_control_routes(emulator: RunningEmulator) -> None:
    control = EmulatorControl(emulator.url)
    async with desk_at(emulator.url) as desk:
        await control.inject(FaultOrder(FaultKind.HTTP_504_ACCEPTED))
        with pytest.raises(OutcomeUnknown):
            await desk.trading.submit_order(order_context(), "default.k1", resting())
        await control.inject(FaultOrder(FaultKind.HTTP_429, "GET /v2/orders*", count=5))
        with pytest.raises(VenueRateLimited):
            await desk.trading.find_order(context(), "default.k1")
        assert [fault.fired for fault in await control.list_faults()] == [1, 1]
        await control.clear_faults()
        assert await control.list_faults() == []
        assert await desk.trading.find_order(context(), "default.k1") is not None
        assert (await control.requests())["POST /v2/orders"] == 1
        with pytest.raises(FieldInvalid, match="does not take this: count is 1 to"):
            await control.inject(FaultOrder(FaultKind.HTTP_429, count=0))
    control.close()
    nobody = EmulatorControl("http://127.0.0.1:1")
    with pytest.raises(VenueUnreachable):
        await nobody.inject(FaultOrder(FaultKind.HTTP_429))
    nobody.close()
