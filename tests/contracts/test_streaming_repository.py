"""StreamingRepository: what every road to a venue owes."""

from __future__ import annotations

import pytest

from gateway.domain.models.market_data import SubscriptionSet
from gateway.domain.models.orders import OrderChanges
from gateway.domain.types import Channel, DataFeed, FeedState
from tests.contracts.roads import Road
from tests.contracts.specs import market, resting
from tests.infrastructure.alpaca.listeners import MarketNotes, OrderNotes


def wanted(**channels: str) -> SubscriptionSet:
    return SubscriptionSet({Channel(name): frozenset(symbols.split()) for name, symbols in channels.items()})


@pytest.mark.parametrize(("feed", "symbol"), [(DataFeed.IEX, "AAPL"), (DataFeed.CRYPTO_US, "BTC/USD")])
async def test_from_the_first_subscription_on(emulated: Road, feed: DataFeed, symbol: str) -> None:
    notes = MarketNotes()
    connection = await emulated.streaming.open_market_data(feed, notes)
    assert notes.states == []
    await connection.set_subscriptions(wanted(quotes=symbol, trades=symbol, bars=symbol))
    await emulated.until(lambda: notes.states and notes.states[-1][0] is FeedState.LIVE)
    assert notes.state_names() == ["connecting", "live"]
    acknowledged = {channel: symbols for channel, symbols in notes.sets[-1].symbols.items() if symbols}
    assert acknowledged == wanted(quotes=symbol, trades=symbol, bars=symbol).symbols
    await emulated.advance(50.0)
    await emulated.advance(50.0)
    await emulated.until(lambda: notes.quotes and notes.trades and notes.bars)
    for value in (*notes.quotes, *notes.trades, *notes.bars):
        assert (value.symbol, value.feed) == (symbol, feed)
    times = [quote.time_ns for quote in notes.quotes]
    assert times == sorted(times)
    await connection.close()
    await connection.close()


async def test_subscriptions_change_while_it_runs(emulated: Road) -> None:
    notes = MarketNotes()
    connection = await emulated.streaming.open_market_data(DataFeed.IEX, notes)
    await connection.set_subscriptions(wanted(quotes="AAPL"))
    await emulated.until(lambda: notes.sets)
    await connection.set_subscriptions(wanted(quotes="MSFT"))
    await emulated.until(lambda: notes.sets[-1].symbols[Channel.QUOTES] == {"MSFT"})
    notes.frames.clear()
    await emulated.advance(5.0)
    await emulated.until(lambda: notes.quotes)
    assert {quote.symbol for quote in notes.quotes} == {"MSFT"}
    await connection.set_subscriptions(wanted())
    await emulated.until(lambda: notes.states[-1][0] is FeedState.DISCONNECTED)
    notes.frames.clear()
    await emulated.advance(5.0)
    assert notes.quotes == []
    await connection.set_subscriptions(wanted(quotes="AAPL"))
    await emulated.until(lambda: notes.states[-1][0] is FeedState.LIVE)
    await connection.close()


async def test_a_feed_has_one_connection(emulated: Road) -> None:
    first = await emulated.streaming.open_market_data(DataFeed.IEX, MarketNotes())
    with pytest.raises(RuntimeError):
        await emulated.streaming.open_market_data(DataFeed.IEX, MarketNotes())
    await first.close()
    second = await emulated.streaming.open_market_data(DataFeed.IEX, MarketNotes())
    await second.close()


async def test_orders_are_followed_to_their_end(emulated: Road) -> None:
    notes = OrderNotes()
    connection = await emulated.streaming.open_order_updates(notes)
    await emulated.until(lambda: notes.states and notes.states[-1][0] is FeedState.RECONCILING)
    assert notes.state_names() == ["connecting", "reconciling"]
    await emulated.trading.submit_order(emulated.context(), "default.fill", market())
    await emulated.advance(1.0)
    await emulated.until(lambda: [told.event for told in notes.updates] == ["new", "fill"])
    new, fill = notes.updates
    assert (new.order.venue_client_order_id, fill.order.venue_status) == ("default.fill", "filled")
    assert fill.execution_id
    assert fill.price is not None
    assert (fill.quantity, fill.position_quantity) == (fill.order.quantity, fill.order.quantity)
    assert fill.event_time_ns is not None

    old = await emulated.trading.submit_order(emulated.context(), "default.old", resting())
    await emulated.advance(1.0)
    changed = OrderChanges(quantity=old.quantity and old.quantity + 1)
    new_order = await emulated.trading.replace_order(emulated.context(), old.venue_order_id, "default.new", changed)
    await emulated.advance(1.0)
    await emulated.trading.cancel_order(emulated.context(), new_order.venue_order_id)
    await emulated.advance(1.0)
    await emulated.until(lambda: notes.updates[-1].event == "canceled")
    about = [told.order.venue_client_order_id for told in notes.updates if told.event in ("replaced", "canceled")]
    assert about == ["default.old", "default.new"]
    assert notes.unreadable == []
    with pytest.raises(RuntimeError):
        await emulated.streaming.open_order_updates(OrderNotes())
    await connection.close()
    await connection.close()


async def test_nothing_is_told_after_close(emulated: Road) -> None:
    notes = OrderNotes()
    connection = await emulated.streaming.open_order_updates(notes)
    await emulated.until(lambda: notes.states and notes.states[-1][0] is FeedState.RECONCILING)
    await connection.close()
    await emulated.trading.submit_order(emulated.context(), "default.later", market())
    await emulated.advance(1.0)
    assert notes.updates == []
