"""OrderManager: names, pages, and orders of kinds that the gateway does not place."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from gateway.application.order_manager import OrderManager, order_id_of
from gateway.domain.errors import JournalUnavailable, OrderNotFound, PageTokenMismatch
from gateway.domain.models.orders import JournalEvent, OrderEventKind, OrderFilter, OrderRef, OrderRequest, VenueOrder
from gateway.domain.types import AssetClass, OrderSide, OrderState
from gateway.domain.venue_reports import Report
from gateway.infrastructure.persistence.memory_journal import MemoryJournal
from gateway.servicers.wire.orders import order_to_proto
from tests.application.rig import Rig, settle
from tests.emulator.exchange.desk import make_spec


async def filled(count: int, orders_max: int = 1_000) -> OrderManager:
    """A manager with orders of two strategies, every third of them denied."""
    manager = OrderManager(MemoryJournal(), lambda: 1, orders_max)
    for number in range(count):
        strategy = ("a", "b")[number % 2]
        spec = make_spec(("AAPL", "MSFT")[number % 2], ("buy", "sell")[number % 2], 1)
        order_id = f"order-{number:04}"
        request = OrderRequest(strategy, f"k{number}", spec, 9)
        event = JournalEvent(OrderEventKind.RECORDED, order_id, strategy, number // 3, 0, request=request)
        await manager.record([event])
        if number % 3 == 0:
            await manager.record([JournalEvent(OrderEventKind.DENIED, order_id, strategy, number // 3, 0)])
    return manager


async def test_pages_cover_everything_once() -> None:
    manager = await filled(25)
    for wanted in (
        OrderFilter(None),
        OrderFilter(None, oldest_first=True),
        OrderFilter("a"),
        OrderFilter(None, states=frozenset({OrderState.RECORDED})),
        OrderFilter(None, states=frozenset({OrderState.DENIED})),
        OrderFilter(None, symbols=frozenset({"MSFT"}), side=OrderSide.SELL),
        OrderFilter(None, start_time_ns=2, end_time_ns=5),
    ):
        whole = await manager.list(wanted, 500, "")
        assert whole.next_page_token == ""
        paged, token = [], ""
        while True:
            page = await manager.list(wanted, 4, token)
            paged += page.items
            token = page.next_page_token
            if not token:
                break
        assert tuple(paged) == whole.items
        stamps = [(order.create_time_ns, order.order_id) for order in paged]
        assert stamps == sorted(stamps, reverse=not wanted.oldest_first)
    assert len((await manager.list(OrderFilter(None), 500, "")).items) == 25
    assert len((await manager.list(OrderFilter(None, start_time_ns=2, end_time_ns=5), 500, "")).items) == 12


async def test_a_page_of_heavy_labels_ends_early_and_goes_on() -> None:
    manager = OrderManager(MemoryJournal(), lambda: 1)
    labels = {f"{number:02}" + "😀" * 30: "😀" * 128 for number in range(16)}
    for number in range(300):
        request = OrderRequest("a", f"k{number}", make_spec("AAPL", "buy", 1), 9, labels)
        await manager.record(
            [JournalEvent(OrderEventKind.RECORDED, f"order-{number:04}", "a", number, 0, request=request)]
        )
    first = await manager.list(OrderFilter("a"), 500, "")
    assert 0 < len(first.items) < 300
    assert sum(order_to_proto(order).ByteSize() for order in first.items) < 2 * 1024 * 1024
    seen, token = list(first.items), first.next_page_token
    while token:
        page = await manager.list(OrderFilter("a"), 500, token)
        seen, token = [*seen, *page.items], page.next_page_token
    assert len({order.order_id for order in seen}) == len(seen) == 300


async def test_a_page_token_belongs_to_its_filter() -> None:
    manager = await filled(10)
    token = (await manager.list(OrderFilter(None), 4, "")).next_page_token
    with pytest.raises(PageTokenMismatch):
        await manager.list(OrderFilter("a"), 4, token)
    for forged in ("x", token[:-20], token.replace(".", ""), token.split(".")[0] + ".-1.x"):
        with pytest.raises(PageTokenMismatch):
            await manager.list(OrderFilter(None), 4, forged)


async def test_names() -> None:
    manager = await filled(4)
    order = manager.get(OrderRef(order_id="order-0001"))
    assert manager.get(OrderRef(client_order_id="k1", strategy_id="b")) == order
    for nobody in (
        OrderRef(),
        OrderRef(client_order_id="k1", strategy_id="a"),
        OrderRef(order_id="x"),
        OrderRef(venue_order_id="x"),
    ):
        with pytest.raises(OrderNotFound):
            manager.get(nobody)


async def test_there_is_a_bound() -> None:
    manager = await filled(3, orders_max=4)
    manager.check_room()
    with pytest.raises(JournalUnavailable):
        (await filled(4, orders_max=4)).check_room()


def test_ids_are_the_same_in_every_life() -> None:
    assert order_id_of("default.k1") == order_id_of("default.k1")
    assert order_id_of("default.k1") != order_id_of("default.k2")
    assert len(order_id_of("x")) == 36


async def test_an_order_of_an_unknown_kind_is_listed(rig: Rig) -> None:
    strange = VenueOrder(
        "v1", "from the app", "pondering", "AAPL260116C00200000", AssetClass.UNRECOGNIZED, None, None, None,
        order_class=None, quantity=Decimal(1),
    )  # fmt: skip
    await rig.gateway.orders.observe(Report(strange, 1, backfill=True), park=False)
    [order] = (await rig.gateway.orders.list(OrderFilter(None), 0, "")).items
    assert (order.state, order.external, order.venue_status) == (OrderState.UNRECOGNIZED, True, "pondering")
    assert order_to_proto(order).spec.side == 0


async def test_a_leg_that_comes_before_its_parent_is_parked(rig: Rig) -> None:
    bracket = make_spec(
        "AAPL", "buy", 5, limit_price="90", order_class="bracket", take_profit="110", stop_loss="80", tif="gtc"
    )
    rig.venue.streaming.orders.is_connected = False
    answer = await rig.venue.trading.submit_order(rig.call(), "default.k1", bracket)
    orders = rig.gateway.orders
    assert await orders.observe(Report(replace(answer.legs[0], legs=()), 1, "held")) is None
    assert orders.parked_count == 1
    await orders.observe(Report(answer, 1, backfill=True))
    await orders.release_parked(adopt=False)
    assert orders.parked_count == 0
    assert len(orders.legs(rig.order("k1"))) == 2
    assert not any(order.external for order in orders.open_orders())


async def test_a_parked_report_without_a_parent_is_adopted_in_the_end(rig: Rig) -> None:
    lonely = VenueOrder(
        "v1", "made by the venue", "new", "AAPL", AssetClass.US_EQUITY, OrderSide.SELL, None, None,
        order_class=make_spec("AAPL", "buy", 1, order_class="oto").order_class, quantity=Decimal(1),
    )  # fmt: skip
    assert await rig.gateway.orders.observe(Report(lonely, 1, "new")) is None
    await rig.clock.advance(4)
    await settle()
    assert rig.gateway.orders.find_by_venue_id("v1").external
