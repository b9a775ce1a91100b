"""The venue's truth against ours: after a cut, after a restart, and when the feed keeps silent."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from gateway.application.commands import CancelScope, ReplaceRequest
from gateway.application.order_manager import OrderManager
from gateway.domain.errors import ClientOrderIdReused, OrderFeedBlind, VenueUnreachable
from gateway.domain.models.orders import OrderChanges, OrderFilter, OrderRef
from gateway.domain.types import FeedState, OrderState
from tests.application.rig import Rig, settle
from tests.emulator.exchange.desk import make_spec

BUY = make_spec("AAPL", "buy", 10, limit_price="90")


async def test_blind_refuses_new_risk_alone(rig: Rig) -> None:
    await rig.submit("b", make_spec("AAPL", "buy", 10))
    await rig.submit("k", make_spec("MSFT", "buy", 1, limit_price="90"))
    await settle()
    rig.venue.streaming.orders.break_off("cut")
    with pytest.raises(OrderFeedBlind) as caught:
        await rig.submit("k1", BUY)
    assert caught.value.retry_after_ms
    with pytest.raises(OrderFeedBlind):
        await rig.submit("k2", make_spec("AAPL", "sell", 11, limit_price="150"))
    sold = await rig.submit("s", make_spec("AAPL", "sell", 10, reduce_only=True))
    assert sold.order.venue_order_id
    await rig.gateway.engine.cancel(OrderRef(client_order_id="k", strategy_id="default"), 0, rig.call())
    assert rig.trouble.deletes
    assert (await rig.submit("k", make_spec("MSFT", "buy", 1, limit_price="90"))).replayed
    rig.venue.streaming.orders.come_back()
    await settle()
    assert rig.order("s").state is OrderState.FILLED
    assert rig.order("k").state is OrderState.CANCELED
    await rig.submit("k1", BUY)


async def test_a_back_fill_that_fails_is_tried_again(rig: Rig) -> None:
    rig.venue.streaming.orders.break_off("cut")
    inner = rig.trouble._inner.list_orders
    failures = [VenueUnreachable("down"), VenueUnreachable("down"), VenueUnreachable("down")]

    async def failing(*arguments: object, **options: object) -> object:
        if failures:
            raise failures.pop()
        return await inner(*arguments, **options)

    rig.trouble._inner.list_orders = failing
    rig.venue.streaming.orders.come_back()
    await settle()
    assert rig.gateway.feed.status.state is FeedState.RECONCILING
    await rig.clock.advance(5)
    assert rig.gateway.feed.status.state is FeedState.LIVE


async def test_a_back_fill_that_meets_a_bug_is_tried_again_too(rig: Rig) -> None:
    rig.venue.streaming.orders.break_off("cut")
    inner = rig.trouble._inner.list_orders
    failures = [ValueError("a bug")]

    async def failing(*arguments: object, **options: object) -> object:
        if failures:
            raise failures.pop()
        return await inner(*arguments, **options)

    rig.trouble._inner.list_orders = failing
    rig.venue.streaming.orders.come_back()
    await rig.clock.advance(5)
    assert rig.gateway.feed.status.state is FeedState.LIVE


async def test_a_replace_and_a_fill_that_nobody_told_are_followed(rig: Rig) -> None:
    await rig.submit("k1", BUY)
    await settle()
    rig.venue.streaming.orders.is_connected = False  # mute, and "connected"
    venue_id = rig.order("k1").venue_order_id
    for step, price in enumerate((91, 95)):  # by hand, somewhere else
        changes = OrderChanges(limit_price=Decimal(price))
        venue_id = (await rig.venue.trading.replace_order(rig.call(), venue_id, f"hand-{step}", changes)).venue_order_id
    rig.quote("AAPL", 94.0, 95.0)
    await rig.clock.advance(25)
    order = rig.order("k1")
    assert (order.state, order.filled_quantity, order.spec.limit_price) == (OrderState.FILLED, 10, 95)
    assert [known.venue_status for known in order.venue_orders] == ["replaced", "replaced", "filled"]


async def test_an_end_that_nobody_told_is_noticed(rig: Rig) -> None:
    await rig.submit("k1", BUY)
    await settle()
    rig.venue.streaming.orders.is_connected = False  # mute, and "connected"
    rig.exchange.cancel(rig.clock.now_ns, rig.order("k1").venue_order_id)
    rig.floor.publish_updates()
    await rig.clock.advance(25)
    order = rig.order("k1")
    assert order.state is OrderState.CANCELED


async def test_a_fill_that_nobody_told_is_made_up_from_the_account(rig: Rig) -> None:
    await rig.submit("k1", BUY)
    await settle()
    rig.venue.streaming.orders.is_connected = False
    rig.quote("AAPL", 88.0, 89.0, size=4)
    await rig.clock.advance(25)
    order = rig.order("k1")
    assert (order.state, order.filled_quantity) == (OrderState.PARTIALLY_FILLED, 4)
    fills = [event.fill for event in rig.gateway.journal.read(0, 1_000) if event.fill is not None]
    assert [(fill.quantity, fill.price, fill.synthesized) for fill in fills] == [(4, 89, False)]
    rig.venue.streaming.orders.is_connected = True
    rig.quote("AAPL", 88.0, 89.0)
    await settle()
    assert rig.order("k1").state is OrderState.FILLED
    quantities = [e.fill.quantity for e in rig.gateway.journal.read(0, 1_000) if e.fill is not None]
    assert quantities == [4, 6]


async def test_orders_from_outside_are_adopted(rig: Rig) -> None:
    await rig.venue.trading.submit_order(rig.call(), "somebody else's", BUY)
    await rig.venue.trading.submit_order(rig.call(), "6f1c", make_spec("AAPL", "buy", 3))
    await settle()
    page = await rig.gateway.orders.list(OrderFilter(None), 0, "")
    states = {order.state for order in page.items}
    assert states == {OrderState.WORKING, OrderState.FILLED}
    assert all(order.external and not order.strategy_id and not order.client_order_id for order in page.items)
    assert (await rig.gateway.orders.list(OrderFilter("default"), 0, "")).items == ()
    fills = [event.fill for event in rig.gateway.journal.read(0, 1_000) if event.fill is not None]
    assert [fill.quantity for fill in fills] == [3]
    assert rig.gateway.positions.held("AAPL") == 3
    await rig.gateway.engine.cancel_orders(CancelScope(None), rig.call())
    await settle()
    assert rig.gateway.orders.open_count == 0


async def test_a_restart_meets_its_old_orders_again(rig: Rig) -> None:
    bracket = make_spec(
        "AAPL", "buy", 5, limit_price="90", order_class="bracket", take_profit="110", stop_loss="80", tif="gtc"
    )
    before = (await rig.submit("k1", BUY)).order
    await rig.submit("k2", make_spec("AAPL", "buy", 1), strategy_id="other")
    await rig.submit("k3", bracket)
    await settle()
    await rig.restart()
    after = rig.order("k1")
    assert (after.order_id, after.strategy_id, after.external) == (before.order_id, "default", False)
    assert after.state is OrderState.WORKING
    assert rig.order("k2", "other").state is OrderState.FILLED
    assert len(rig.gateway.orders.legs(rig.order("k3"))) == 2
    posts = len(rig.trouble.posts)
    assert (await rig.submit("k1", BUY)).replayed
    assert (await rig.submit("k3", bracket)).replayed
    assert (await rig.submit("k2", make_spec("AAPL", "buy", 1), strategy_id="other")).replayed
    with pytest.raises(ClientOrderIdReused):
        await rig.submit("k1", make_spec("AAPL", "buy", 11, limit_price="90"))
    assert len(rig.trouble.posts) == posts
    assert rig.gateway.positions.held("AAPL") == 1
    rig.quote("AAPL", 89.0, 90.0)
    await settle()
    assert rig.order("k1").state is OrderState.FILLED


async def test_a_chain_of_replaces_is_one_order_after_a_restart(rig: Rig) -> None:
    await rig.submit("k1", BUY)
    await settle()
    ref = OrderRef(client_order_id="k1", strategy_id="default")
    asked = OrderChanges(limit_price=Decimal(91))
    request = ReplaceRequest(ref, "default", "k2", asked, rig.clock.now_ns + 5 * 10**9)
    await rig.gateway.engine.replace(request, rig.call())
    await settle()
    order_id = rig.order("k1").order_id
    await rig.restart()
    order = rig.order("k1")
    assert order.order_id == rig.order("k2").order_id == order_id
    assert (order.state, len(order.venue_orders)) == (OrderState.WORKING, 2)
    assert order.spec.limit_price == 91
    assert (await rig.submit("k1", BUY)).replayed
    assert (await rig.gateway.engine.replace(request, rig.call())).replayed


async def test_refresh_asks_the_venue(rig: Rig) -> None:
    await rig.submit("k1", BUY)
    await settle()
    rig.venue.streaming.orders.is_connected = False
    rig.quote("AAPL", 88.0, 89.0)
    ref = OrderRef(client_order_id="k1", strategy_id="default")
    assert rig.gateway.orders.get(ref).state is OrderState.WORKING
    assert (await rig.gateway.engine.refresh(ref, rig.call())).state is OrderState.FILLED


async def test_an_unreadable_frame_is_looked_up(rig: Rig) -> None:
    await rig.submit("k1", BUY)
    await settle()
    rig.venue.streaming.orders.is_connected = False
    rig.quote("AAPL", 88.0, 89.0)
    rig.gateway.feed.on_unreadable("truncated", rig.order("k1").venue_order_id)
    await rig.clock.advance(1)
    assert rig.order("k1").state is OrderState.FILLED


async def test_a_replayed_journal_gives_the_same_orders(rig: Rig) -> None:
    await rig.submit("k1", make_spec("AAPL", "buy", 10))
    await rig.submit("k2", BUY)
    await settle()
    await rig.gateway.engine.cancel(OrderRef(client_order_id="k2", strategy_id="default"), 0, rig.call())
    await settle()
    before = (await rig.gateway.orders.list(OrderFilter(None), 500, "")).items
    again = OrderManager(rig.gateway.journal, rig.clock.wall)
    assert (await again.list(OrderFilter(None), 500, "")).items == before
    key = again.key("default", "k1")
    assert key is not None
    assert key.fingerprint
    for book in ("default", None):
        assert await again.log.read(book, 0, 100) == await rig.gateway.orders.log.read(book, 0, 100)


async def test_what_an_earlier_life_left_open_is_taken_up(rig: Rig) -> None:
    rig.venue.streaming.orders.is_connected = False
    rig.trouble.hang = asyncio.Event()
    submission = asyncio.create_task(rig.submit("k1", BUY))
    await settle()
    rig.settings["journal"] = rig.gateway.journal
    await rig.gateway.engine.stop(0)  # in the middle of the request
    await asyncio.gather(submission, return_exceptions=True)
    rig.trouble.hang = None
    rig.gateway = rig.new_gateway()
    assert rig.order("k1").state is OrderState.SUBMITTING
    await rig.gateway.engine.start()
    await settle()
    await rig.clock.advance(1)
    assert rig.order("k1").state is OrderState.WORKING
    assert len(rig.trouble.posts) == 1
