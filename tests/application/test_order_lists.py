"""Lists of orders in memory and in the archive: one list, whatever is where, and whatever moves between two pages."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.application import order_lists
from gateway.application.order_manager import OrderManager
from gateway.domain.models.orders import (
    JournalEvent,
    Order,
    OrderEventKind,
    OrderFilter,
    OrderRef,
    OrderRequest,
    VenueOrder,
)
from gateway.domain.types import AssetClass, OrderSide, OrderState
from gateway.infrastructure.persistence.database import Database
from gateway.infrastructure.persistence.memory_journal import MemoryJournal
from gateway.infrastructure.persistence.order_journal import SqliteOrderJournal
from tests.emulator.exchange.desk import make_spec

ORDERS = 120
FILTERS = (
    OrderFilter(None),
    OrderFilter(None, oldest_first=True),
    OrderFilter("a"),
    OrderFilter("b", oldest_first=True),
    OrderFilter("nobody"),
    OrderFilter(None, states=frozenset({OrderState.DENIED})),
    OrderFilter(None, states=frozenset({OrderState.RECORDED})),
    OrderFilter(None, states=frozenset({OrderState.RECORDED, OrderState.DENIED}), start_time_ns=7),
    OrderFilter("a", symbols=frozenset({"MSFT"}), side=OrderSide.SELL),
    OrderFilter(None, start_time_ns=5, end_time_ns=19),
    OrderFilter("a", end_time_ns=11, oldest_first=True),
)


@pytest.fixture(params=["file", "memory"])
async def manager(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OrderManager]:
    journal = (
        SqliteOrderJournal(Database(tmp_path, 1, lambda: "00" * 8)) if request.param == "file" else MemoryJournal()
    )
    yield OrderManager(journal, lambda: 1)
    await journal.close()


async def filled(manager: OrderManager, dice: random.Random, orders: int = ORDERS) -> None:
    """Orders of two strategies, several to an instant, made out of order, most of them ended."""
    times = [number // 4 for number in range(orders)]
    dice.shuffle(times)
    for number, made_ns in enumerate(times):
        strategy = dice.choice("ab")
        spec = make_spec(dice.choice(("AAPL", "MSFT")), dice.choice(("buy", "sell")), 1)
        asked = OrderRequest(strategy, f"k{number}", spec, 9)
        order_id = f"order-{dice.getrandbits(32):08x}-{number}"
        # The order is as old as its event says, and the journal's times never go back: here only the first counts.
        event = JournalEvent(OrderEventKind.RECORDED, order_id, strategy, made_ns, made_ns, request=asked)
        manager._last_record_ns = 0
        await manager.record([event])
        if dice.random() < 0.8:
            await manager.record([JournalEvent(OrderEventKind.DENIED, order_id, strategy, made_ns, made_ns)])


async def archive_some(manager: OrderManager, dice: random.Random, share: float) -> None:
    """Let ended orders go, in no order."""
    for known in manager.oldest_terminal(ORDERS, 0, ORDERS):
        if dice.random() < share:
            await manager._archive.put([known], 1)
            manager.let_go([known])


def expected(orders: list[Order], wanted: OrderFilter) -> list[str]:
    found = [
        order
        for order in orders
        if wanted.strategy_id in (None, order.strategy_id)
        and (not wanted.states or order.state in wanted.states)
        and (not wanted.symbols or order.spec.symbol in wanted.symbols)
        and wanted.side in (None, order.spec.side)
        and (wanted.start_time_ns is None or order.create_time_ns >= wanted.start_time_ns)
        and (wanted.end_time_ns is None or order.create_time_ns <= wanted.end_time_ns)
    ]
    found.sort(key=lambda order: (order.create_time_ns, order.order_id), reverse=not wanted.oldest_first)
    return [order.order_id for order in found]


@pytest.mark.parametrize("seed", [1, 2])
async def test_every_list_is_whole_while_orders_leave_memory(
    manager: OrderManager, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order_lists, "SLICE_ORDERS", 8)
    dice = random.Random(seed)
    await filled(manager, dice)
    everything = list(manager._index._orders.values())
    await archive_some(manager, dice, 0.4)
    for wanted in FILTERS:
        for size in (1, 7, 500):
            paged: list[str] = []
            token = ""
            while True:
                page = await manager.list(wanted, size, token)
                assert len(page.items) <= size
                paged += [order.order_id for order in page.items]
                token = page.next_page_token
                if not token:
                    break
                await archive_some(manager, dice, 0.01)
            assert paged == expected(everything, wanted), (wanted, size)
    assert manager._archive.count > ORDERS // 3


async def test_a_page_looks_at_a_bounded_part_of_the_archive(
    manager: OrderManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order_lists, "SLICE_ORDERS", 4)
    monkeypatch.setattr(order_lists, "ARCHIVE_SCAN_MAX", 16)
    dice = random.Random(3)
    await filled(manager, dice)
    everything = list(manager._index._orders.values())
    await archive_some(manager, dice, 1.0)
    wanted = OrderFilter("a", symbols=frozenset({"MSFT"}), states=frozenset({OrderState.DENIED}))
    pages, token, found = 0, "", []
    while pages == 0 or token:
        page = await manager.list(wanted, 500, token)
        token, pages = page.next_page_token, pages + 1
        found += [order.order_id for order in page.items]
    assert found == expected(everything, wanted)
    assert pages >= manager._archive.count // 2 // 16


async def test_others_run_while_a_page_is_read(manager: OrderManager) -> None:
    dice = random.Random(4)
    await filled(manager, dice)
    await archive_some(manager, dice, 1.0)
    listing = asyncio.create_task(manager.list(OrderFilter(None, side=OrderSide.BUY), 500, ""))
    turns = 0
    while not listing.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > manager._archive.count // order_lists.SLICE_ORDERS


async def test_an_order_that_came_back_is_as_it_is_in_memory(manager: OrderManager) -> None:
    dice = random.Random(5)
    await filled(manager, dice, 8)
    everything = list(manager._index._orders.values())
    await archive_some(manager, dice, 1.0)
    gone = next(order for order in everything if order.state is OrderState.DENIED)
    seen = VenueOrder(
        "v1", f"{gone.strategy_id}.{gone.client_order_id}", "new", gone.spec.symbol, AssetClass.US_EQUITY,
        gone.spec.side, gone.spec.order_type, gone.spec.time_in_force, quantity=gone.spec.quantity,
    )  # fmt: skip
    back = JournalEvent(OrderEventKind.RESURRECTED, gone.order_id, gone.strategy_id, 99, 99, venue_order=seen)
    assert (await manager.record([back])).state is not OrderState.DENIED
    denied = (await manager.list(OrderFilter(None, states=frozenset({OrderState.DENIED})), 0, "")).items
    assert gone.order_id not in {order.order_id for order in denied}
    assert len(denied) == sum(order.state is OrderState.DENIED for order in everything) - 1
    listed = [order.order_id for order in (await manager.list(OrderFilter(None), 0, "")).items]
    assert listed == expected(everything, OrderFilter(None))


async def test_an_archived_order_is_answered_by_each_of_its_names(manager: OrderManager) -> None:
    await filled(manager, random.Random(6), 8)
    everything = list(manager._index._orders.values())
    await archive_some(manager, random.Random(6), 1.0)
    assert manager._archive.count
    for order in everything:
        assert manager.get(OrderRef(order_id=order.order_id)) == order
        assert manager.get(OrderRef(strategy_id=order.strategy_id, client_order_id=order.client_order_id)) == order
