"""The in-process repositories: the domain's nouns and errors, straight from the floor."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from gateway.domain.errors import OrderNotFound, OrderRejected, OutcomeUnknown, SymbolUnknown, VenueUnreachable
from gateway.domain.interfaces import VenueOrderFilter
from gateway.domain.models.market_data import SubscriptionSet, Timeframe, TimeframeUnit
from gateway.domain.models.orders import OrderChanges, OrderSpec
from gateway.domain.types import (
    NANOS_PER_SECOND,
    AssetClass,
    CallContext,
    Caller,
    Channel,
    DataFeed,
    FeedState,
)
from gateway.emulator.exchange import ExchangeConfig, SimulatedExchange, make_assets
from gateway.emulator.floor import TradingFloor
from gateway.emulator.in_process import InProcessVenue
from gateway.emulator.market import SyntheticMarket
from tests.emulator.exchange.desk import instant, make_spec

CONTEXT = CallContext(Caller(), deadline=1e12)
START_NS = instant("2024-01-03 10:00")
SIP = DataFeed.SIP


class Recorder:
    """A listener of either kind of feed."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("on_"):
            raise AttributeError(name)
        return lambda *facts: self.heard.append((name.removeprefix("on_"), facts))

    def of(self, name: str) -> list[Any]:
        return [facts for kind, facts in self.heard if kind == name]


class World:
    """A venue and its clock."""

    def __init__(self) -> None:
        self.now_ns = START_NS
        market = SyntheticMarket(1)
        exchange = SimulatedExchange(ExchangeConfig(), make_assets(market.symbols), START_NS)
        self.venue = InProcessVenue(TradingFloor(exchange, market, self.clock), self.clock)
        self.trading, self.account, self.market_data, self.streaming = self.venue.repositories

    def clock(self) -> int:
        return self.now_ns

    def wait(self, seconds: int) -> None:
        self.now_ns += seconds * NANOS_PER_SECOND
        self.venue.catch_up()

    async def submit(self, key: str, spec: OrderSpec) -> Any:
        return await self.trading.submit_order(CONTEXT, key, spec)


@pytest.fixture
def world() -> World:
    return World()


async def test_an_order_fills_and_everything_agrees(world: World) -> None:
    accepted = await world.submit("default.k1", make_spec("AAPL", "buy", 10))
    assert accepted.venue_status == "pending_new"
    world.wait(5)
    order = await world.trading.get_order(CONTEXT, accepted.venue_order_id)
    assert (order.venue_status, order.venue_client_order_id) == ("filled", "default.k1")
    account = await world.account.get_account(CONTEXT)
    [position] = await world.account.list_positions(CONTEXT)
    fills = await world.account.list_fill_activities(CONTEXT)
    spent = sum(fill.quantity * fill.price for fill in fills.items if fill.quantity and fill.price)
    assert order.filled_average_price is not None
    assert account.cash == 100_000 - spent == 100_000 - order.filled_quantity * order.filled_average_price
    assert (position.symbol, position.quantity, position.cost_basis) == ("AAPL", Decimal(10), spent)


async def test_a_refusal_is_an_order_rejected_with_the_venues_words(world: World) -> None:
    with pytest.raises(OrderRejected) as caught:
        await world.submit("default.k1", make_spec("AAPL", "buy", 1_000_000))
    assert caught.value.metadata["venue_code"] == "40310000"
    assert caught.value.metadata["venue_message"] == "insufficient buying power"
    assert not caught.value.is_bad_value
    with pytest.raises(OrderRejected) as caught:
        await world.submit("default.k2", make_spec("AAPL", "buy", 1, limit_price="1.001"))
    assert caught.value.is_bad_value


async def test_a_used_id_is_an_unknown_outcome_and_is_found(world: World) -> None:
    first = await world.submit("default.k1", make_spec("AAPL", "buy", 1))
    with pytest.raises(OutcomeUnknown) as caught:
        await world.submit("default.k1", make_spec("AAPL", "buy", 1))
    assert caught.value.duplicate_id
    found = await world.trading.find_order(CONTEXT, "default.k1")
    assert found is not None
    assert found.venue_order_id == first.venue_order_id
    assert await world.trading.find_order(CONTEXT, "default.k2") is None


async def test_what_does_not_exist_is_not_found(world: World) -> None:
    with pytest.raises(OrderNotFound):
        await world.trading.get_order(CONTEXT, "none")
    with pytest.raises(OrderNotFound):
        await world.trading.cancel_order(CONTEXT, "none")
    with pytest.raises(OrderRejected) as caught:
        await world.trading.replace_order(CONTEXT, "none", "default.k9", OrderChanges(quantity=Decimal(2)))
    assert caught.value.metadata["venue_http_status"] == "404"
    with pytest.raises(SymbolUnknown):
        await world.market_data.get_latest_quotes(CONTEXT, SIP, ["BTC/USD"])
    with pytest.raises(SymbolUnknown):
        await world.submit("default.k1", make_spec("aapl", "buy", 1))
    with pytest.raises(VenueUnreachable):
        await world.account.list_fill_activities(CONTEXT, page_token="none")


async def test_orders_are_replaced_canceled_and_listed_with_their_legs(world: World) -> None:
    resting = await world.submit("default.k1", make_spec("AAPL", "buy", 1, limit_price=10))
    changed = await world.trading.replace_order(
        CONTEXT, resting.venue_order_id, "default.k2", OrderChanges(limit_price=Decimal(11))
    )
    assert (changed.replaces, changed.limit_price) == (resting.venue_order_id, Decimal(11))
    bracket = make_spec("MSFT", "buy", 1, limit_price=10, order_class="bracket", take_profit=20, stop_loss=5)
    parent = await world.submit("default.k3", bracket)
    assert [leg.venue_status for leg in parent.legs] == ["held", "held"]
    world.wait(1)
    await world.trading.cancel_order(CONTEXT, changed.venue_order_id)
    opened = await world.trading.list_orders(CONTEXT, VenueOrderFilter.OPEN)
    assert [order.venue_client_order_id for order in opened] == ["default.k3"]
    assert len(opened[0].legs) == 2
    everything = await world.trading.list_orders(CONTEXT, VenueOrderFilter.ALL, oldest_first=True)
    assert [order.venue_client_order_id for order in everything] == ["default.k1", "default.k2", "default.k3"]


async def test_order_updates_come_in_order_and_not_while_disconnected(world: World) -> None:
    listener = Recorder()
    connection: Any = await world.streaming.open_order_updates(listener)
    with pytest.raises(RuntimeError):
        await world.streaming.open_order_updates(listener)
    await world.submit("default.k1", make_spec("AAPL", "buy", 1))
    words = [facts[0].event for facts in listener.of("update")]
    assert words == ["new", "fill"]
    connection.break_off("a test")
    await world.submit("default.k2", make_spec("AAPL", "buy", 1, limit_price=1))
    assert len(listener.of("update")) == 2
    connection.come_back()
    await world.submit("default.k3", make_spec("AAPL", "buy", 1, limit_price=1))
    assert listener.of("update")[-1][0].order.venue_client_order_id == "default.k3"
    await connection.close()
    states = [facts[0] for facts in listener.of("state")]
    assert states == [
        FeedState.CONNECTING,
        FeedState.RECONCILING,
        FeedState.DISCONNECTED,
        FeedState.CONNECTING,
        FeedState.RECONCILING,
    ]


async def test_market_data_is_heard_by_subscription(world: World) -> None:
    listener = Recorder()
    connection = await world.streaming.open_market_data(SIP, listener)
    wanted = {Channel.QUOTES: frozenset({"AAPL"}), Channel.BARS: frozenset({"MSFT"})}
    await connection.set_subscriptions(SubscriptionSet(wanted))
    world.wait(61)
    quotes = [quote for facts in listener.of("quotes") for quote in facts[0]]
    assert {quote.symbol for quote in quotes} == {"AAPL"}
    assert {quote.feed for quote in quotes} == {SIP}
    assert [quote.time_ns for quote in quotes] == sorted(quote.time_ns for quote in quotes)
    assert [(facts[0], [bar.symbol for bar in facts[1]]) for facts in listener.of("values")] == [
        (Channel.BARS, ["MSFT"])
    ]
    await connection.set_subscriptions(SubscriptionSet({}))
    heard = len(listener.heard)
    world.wait(5)
    assert len(listener.heard) == heard
    assert [facts[0] for facts in listener.of("state")] == [
        FeedState.CONNECTING,
        FeedState.LIVE,
        FeedState.DISCONNECTED,
    ]
    with pytest.raises(ValueError, match="spelled"):
        await connection.set_subscriptions(SubscriptionSet({Channel.QUOTES: frozenset({"BTC/USD"})}))


async def test_market_data_by_request(world: World) -> None:
    quotes = await world.market_data.get_latest_quotes(CONTEXT, SIP, ["AAPL", "ZZZZ"])
    assert [(quote.symbol, quote.feed, quote.receive_time_ns) for quote in quotes] == [("AAPL", SIP, START_NS)]
    assert len(await world.market_data.get_latest_trades(CONTEXT, DataFeed.CRYPTO_US, ["BTC/USD"])) == 1
    assert len(await world.market_data.get_latest_bars(CONTEXT, SIP, ["SPY"])) == 1
    [snapshot] = await world.market_data.get_snapshots(CONTEXT, SIP, ["AAPL"])
    assert snapshot.daily_bar is not None
    assert not snapshot.daily_bar.final
    assert snapshot.previous_daily_bar is not None
    minute = Timeframe(1, TimeframeUnit.MINUTE)
    span = {"start_ns": START_NS - 600 * NANOS_PER_SECOND, "end_ns": START_NS}
    pages, token = [], ""
    while not pages or token:
        page = await world.market_data.list_bars(
            CONTEXT, SIP, ["MSFT", "AAPL"], minute, **span, page_size=7, page_token=token
        )
        pages += page.items
        token = page.next_page_token
    assert len(pages) == 20
    assert [bar.symbol for bar in pages] == ["AAPL"] * 10 + ["MSFT"] * 10
    assert all(bar.final for bar in pages)


async def test_reference_data(world: World) -> None:
    coins = await world.market_data.list_assets(CONTEXT, AssetClass.CRYPTO)
    assert [asset.symbol for asset in coins] == ["BTC/USD", "ETH/USD"]
    clock = await world.market_data.get_market_clock(CONTEXT)
    assert clock.is_open
    [day] = await world.market_data.list_market_days(CONTEXT, *[instant_date("2024-01-03")] * 2)
    assert day.open_time_ns <= START_NS < day.close_time_ns


def instant_date(text: str) -> Any:
    from datetime import date

    return date.fromisoformat(text)
