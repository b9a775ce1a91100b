"""Books over the durable journal: what is told again is what was told, from memory, from disk, after a restart."""

from __future__ import annotations

import asyncio
import itertools
import random
import shutil
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.application.order_log import FOLD_SLICE_EVENTS
from gateway.application.order_manager import OrderManager
from gateway.application.order_retention import ARCHIVE_SLICE_ORDERS, OrderRetention, Retention
from gateway.domain.errors import JournalUnavailable, OrderNotFound
from gateway.domain.models.orders import (
    Failure,
    JournalEvent,
    OrderChanges,
    OrderEvent,
    OrderEventKind,
    OrderFilter,
    OrderRef,
    OrderRequest,
    VenueOrder,
)
from gateway.domain.types import AssetClass, OrderState
from gateway.infrastructure.persistence.database import FILE_NAME, Database, back_up
from gateway.infrastructure.persistence.memory_journal import MemoryJournal, random_epoch
from gateway.infrastructure.persistence.order_journal import SqliteOrderJournal
from tests.emulator.exchange.desk import make_spec

DAY_NS = 86_400 * 10**9
TAIL = 16
SPEC = make_spec("AAPL", "buy", 10, limit_price="100")
Start = Callable[..., OrderManager]


def opened(folder: Path) -> SqliteOrderJournal:
    return SqliteOrderJournal(Database(folder, 1, random_epoch))


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Makes a manager over the journal of one directory, as a new process does."""
    managers: list[OrderManager] = []

    def start_one(folder: Path = tmp_path, orders_max: int = 1_000) -> OrderManager:
        managers.append(OrderManager(opened(folder), lambda: 1, orders_max, TAIL))
        return managers[-1]

    yield start_one
    for manager in managers:
        await manager._journal.close()


class Life:
    """Writes what may happen to orders.

    Args:
        seed: Same seed, same events.
    """

    def __init__(self, manager: OrderManager, seed: int = 1) -> None:
        self.manager = manager
        self._random = random.Random(seed)
        self._number = 0
        self.now_ns = 1

    async def order(self, *, ends: bool = True, strategy_id: str = "") -> str:
        """One order from its key to its end, or until it works."""
        self._number += 1
        strategy_id = strategy_id or self._random.choice(["a", "b"])
        key, order_id = f"k{self._number}", f"order-{self._number}"
        request = OrderRequest(strategy_id, key, SPEC, 9)
        await self._record(order_id, strategy_id, OrderEventKind.RECORDED, request=request, fingerprint=f"{key:f<64}")
        await self._record(order_id, strategy_id, OrderEventKind.SUBMITTED)
        venue = VenueOrder(
            f"v{self._number}", f"{strategy_id}.{key}", "new", "AAPL", AssetClass.US_EQUITY, SPEC.side,
            SPEC.order_type, SPEC.time_in_force, quantity=Decimal(10), limit_price=Decimal(100),
        )  # fmt: skip
        await self._record(order_id, strategy_id, OrderEventKind.WORKING, venue_order=venue)
        if self._random.random() < 0.5:
            await self._record(
                order_id, strategy_id, OrderEventKind.REPLACE_REQUESTED, client_order_id=f"{key}-r",
                changes=OrderChanges(limit_price=Decimal(99)), fingerprint="r" * 64,
            )  # fmt: skip
            failure = Failure("ORDER_REJECTED", "no", {"key": "spent"})
            await self._record(
                order_id, strategy_id, OrderEventKind.REPLACE_REJECTED, client_order_id=f"{key}-r", failure=failure
            )
        if ends:
            status = self._random.choice(["canceled", "filled", "expired"])
            kind = {"canceled": "canceled", "filled": "fill", "expired": "expired"}[status]
            filled = Decimal(10) if status == "filled" else Decimal(0)
            venue = replace(venue, venue_status=status, filled_quantity=filled)
            await self._record(order_id, strategy_id, OrderEventKind(kind), venue_order=venue)
        return order_id

    async def _record(self, order_id: str, strategy_id: str, kind: OrderEventKind, **fields: object) -> None:
        event = JournalEvent(kind, order_id, strategy_id, self.now_ns, self.now_ns, **fields)  # type: ignore[arg-type]
        await self.manager.record([event])


async def everything(manager: OrderManager, strategy_id: str | None, page: int = 7) -> list[OrderEvent]:
    found: list[OrderEvent] = []
    after = manager.log.oldest(strategy_id) - 1
    while events := await manager.log.read(strategy_id, after, page):
        found += events
        after = events[-1].sequence
    return found


async def test_old_pages_are_what_was_told_live(start: Start) -> None:
    manager = start()
    live: dict[str | None, list[OrderEvent]] = {None: [], "a": [], "b": []}

    def note(event: JournalEvent, order: object) -> None:
        live[None].append(OrderEvent(event.sequence, event, order))  # type: ignore[arg-type]
        live[event.strategy_id].append(OrderEvent(event.book_sequence, event, order))  # type: ignore[arg-type]

    manager.news.add_listener(note)
    life = Life(manager)
    await asyncio.gather(*(life.order(ends=number % 3 > 0) for number in range(40)))
    assert len(live[None]) > 5 * TAIL
    for where in (manager, start()):
        for strategy_id, told in live.items():
            for page in (1, 7, FOLD_SLICE_EVENTS + 3, 10_000):
                assert await everything(where, strategy_id, page) == told
            assert where.log.head(strategy_id) == len(told)
            for event in told:
                assert where.log.chain_hash(strategy_id, event.sequence) == event.event.chain_hash[:8]
            with pytest.raises(KeyError):
                where.log.chain_hash(strategy_id, len(told) + 1)
        await manager._journal.close()


async def test_a_restart_changes_no_order_and_no_key(start: Start) -> None:
    manager = start()
    life = Life(manager)
    for number in range(30):
        await life.order(ends=number % 2 == 0)
    again = start()
    assert (await again.list(OrderFilter(None), 500, "")) == (await manager.list(OrderFilter(None), 500, ""))
    assert again.open_orders() == manager.open_orders()
    for number in range(1, 31):
        for key in (f"k{number}", f"k{number}-r"):
            for strategy_id in "ab":
                assert again.key(strategy_id, key) == manager.key(strategy_id, key)
    await Life(again).manager.record([again_event(again, OrderEventKind.CANCEL_REQUESTED)])
    assert again.log.head(None) == manager.log.head(None) + 1


def again_event(manager: OrderManager, kind: OrderEventKind) -> JournalEvent:
    order = manager.open_orders()[0]
    return JournalEvent(kind, order.order_id, order.strategy_id, 5, 5)


async def test_a_page_of_old_events_lets_others_run(start: Start) -> None:
    manager = start()
    life = Life(manager)
    for _ in range(150):
        await life.order()
    gaps: list[float] = []
    is_done = False

    async def watch() -> None:
        last = time.perf_counter()
        while not is_done:
            await asyncio.sleep(0)
            now = time.perf_counter()
            gaps.append(now - last)
            last = now

    watching = asyncio.create_task(watch())
    assert len(await manager.log.read(None, 0, 512)) == 512
    is_done = True
    await watching
    assert len(gaps) >= 512 // FOLD_SLICE_EVENTS
    assert sorted(gaps)[len(gaps) // 2] < 0.02


# Retention.


def retention_of(manager: OrderManager, now_ns: Callable[[], int], **settings: int) -> OrderRetention:
    return OrderRetention(manager, manager._journal, now_ns, asyncio.sleep, Retention(**settings))


async def test_old_terminal_orders_leave_memory_and_are_still_answered(start: Start) -> None:
    manager = start(orders_max=32)
    life = Life(manager)
    retention = retention_of(manager, lambda: life.now_ns)
    opened_first = [await life.order(ends=False) for _ in range(5)]
    known = {}
    for _ in range(100):
        order_id = await life.order()
        known[order_id] = manager.order(order_id)
        manager.check_room()
        await retention.sweep()
        assert len(manager._index) <= 32
    for where in (manager, start(orders_max=32)):
        assert len(where._index) <= 32
        for order_id, order in known.items():
            assert where.get(OrderRef(order_id=order_id)) == order
            assert where.find_by_venue_id(order.venue_order_id) == order
            entry = where.key(order.strategy_id, order.client_order_id)
            assert entry is not None
            assert (entry.order_id, entry.fingerprint) == (order_id, f"{order.client_order_id:f<64}")
            assert where.get(OrderRef(client_order_id=order.client_order_id, strategy_id=order.strategy_id)) == order
        replaced = [
            number for number in range(6, 106) if where.key("a", f"k{number}-r") or where.key("b", f"k{number}-r")
        ]
        assert len(replaced) > 30
        assert [order.order_id for order in where.open_orders()] == opened_first
        assert await everything(where, None) == await everything(manager, None)
        with pytest.raises(OrderNotFound):
            where.get(OrderRef(order_id="order-999"))


async def test_orders_leave_a_few_at_a_time(start: Start) -> None:
    """However many are to go at once, say after a pause: others run in between, and nothing else is forgotten."""
    manager = start()
    life = Life(manager)
    for number in range(3 * ARCHIVE_SLICE_ORDERS):
        await life.order(ends=number % 50 != 7)
    await life.order(ends=False)
    remembered = []
    sweeping = asyncio.create_task(retention_of(manager, lambda: life.now_ns, events_max=1).sweep())
    while not sweeping.done():
        remembered.append(len(manager._index))
        await asyncio.sleep(0)
    steps = {before - after for before, after in itertools.pairwise(remembered)}
    assert max(steps) <= ARCHIVE_SLICE_ORDERS
    assert len(manager._index) == manager.open_count == 5
    everywhere = OrderFilter(None), OrderFilter("a"), OrderFilter("b")
    left, *of_each = ([order.order_id for order in manager._index.scan(wanted, 99, None)[0]] for wanted in everywhere)
    assert (
        sorted(left) == sorted(itertools.chain(*of_each)) == sorted(order.order_id for order in manager.open_orders())
    )
    assert len((await manager.list(OrderFilter(None), 500, "")).items) == 3 * ARCHIVE_SLICE_ORDERS + 1


async def test_open_orders_alone_fill_it_up(start: Start) -> None:
    manager = start(orders_max=8)
    life = Life(manager)
    for _ in range(9):
        await life.order(ends=False)
    await retention_of(manager, lambda: 1).sweep()
    assert manager.open_count == 9
    with pytest.raises(JournalUnavailable, match="remembers as many orders"):
        manager.check_room()


async def test_something_happens_to_an_archived_order_after_all(start: Start) -> None:
    manager = start(orders_max=4)
    life = Life(manager)
    ids = [await life.order() for _ in range(12)]
    await retention_of(manager, lambda: 1).sweep()
    assert manager._index.order(ids[0]) is None
    order = manager.order(ids[0])
    entry = manager.key(order.strategy_id, order.client_order_id)
    event = JournalEvent(OrderEventKind.RECONCILED, ids[0], order.strategy_id, 3, 3, venue_order=order.venue_order)
    changed = await manager.record([event])
    assert changed.version == order.version + 1
    for where in (manager, start(orders_max=4)):
        assert where.order(ids[0]) == changed
        assert where.key(order.strategy_id, order.client_order_id) == entry
        assert (await everything(where, None))[-1].order == changed


async def test_events_go_by_age_and_those_of_open_orders_stay(start: Start) -> None:
    manager = start()
    life = Life(manager)
    old_open = await life.order(ends=False)
    old = [await life.order() for _ in range(10)]
    before = manager.order(old_open)
    life.now_ns = 8 * DAY_NS
    young = [await life.order() for _ in range(5)]
    first_young = manager._journal.first_since(life.now_ns)
    await retention_of(manager, lambda: life.now_ns + 1, events_days=7).sweep()
    for where in (manager, start()):
        assert where._journal.oldest == where.log.oldest(None) == first_young
        events = await everything(where, None)
        assert {event.order.order_id for event in events} == set(young)
        assert [event.sequence for event in events] == list(range(first_young, where.log.head(None) + 1))
        for strategy_id in "ab":
            book = await everything(where, strategy_id)
            assert [event.sequence for event in book] == list(
                range(where.log.oldest(strategy_id), where.log.head(strategy_id) + 1)
            )
        assert where.order(old_open) == before
        assert [where.order(order_id).state.is_terminal for order_id in old] == [True] * 10
    rows = manager._journal._database.reader.execute(
        "SELECT DISTINCT order_id FROM events WHERE sequence < ?", (first_young,)
    )  # type: ignore[attr-defined]
    assert old_open in {row[0] for row in rows}
    await manager.record([JournalEvent(OrderEventKind.CANCEL_REQUESTED, old_open, before.strategy_id, 9, 9)])
    assert (await everything(manager, None))[-1].order.state is OrderState.PENDING_CANCEL


async def test_events_go_by_number(start: Start) -> None:
    manager = start()
    life = Life(manager)
    for _ in range(30):
        await life.order()
    head = manager.log.head(None)
    await retention_of(manager, lambda: life.now_ns, events_max=20).sweep()
    assert manager.log.oldest(None) == head - 19
    assert len(await everything(manager, None)) == 20


@pytest.mark.parametrize("seed", range(6))
async def test_nothing_drifts_whatever_leaves_when(start: Start, seed: int) -> None:
    """Orders, sweeps and restarts at random: both books and every order are as in a journal that keeps everything."""
    print(f"seed {seed}")
    rng = random.Random(seed)
    whole = OrderManager(MemoryJournal(), lambda: 1, 100_000)
    manager = start(orders_max=24)
    lives = [Life(manager, seed), Life(whole, seed)]
    for _ in range(60):
        ends = rng.random() < 0.8
        for life in lives:
            life.now_ns += DAY_NS // 4
            await life.order(ends=ends)
        if rng.random() < 0.3:
            await retention_of(manager, lambda: lives[0].now_ns, events_days=rng.randint(1, 9)).sweep()
        if rng.random() < 0.1:
            manager = lives[0].manager = start(orders_max=24)
    for number in range(1, 61):
        assert manager.order(f"order-{number}") == whole.order(f"order-{number}")
    for strategy_id in (None, "a", "b"):
        kept = await everything(manager, strategy_id)
        assert kept
        same = [event for event in await everything(whole, strategy_id) if event.sequence >= kept[0].sequence]
        assert [(e.sequence, e.event.kind, e.order) for e in kept] == [
            (e.sequence, e.event.kind, e.order) for e in same
        ]


# Back-ups.


async def test_a_restored_back_up_that_is_written_on_is_another_chain(start: Start, tmp_path: Path) -> None:
    manager = start()
    life = Life(manager)
    for _ in range(5):
        await life.order()
    saved = tmp_path / "saved"
    count = await asyncio.to_thread(back_up, tmp_path, saved)
    for _ in range(3):
        await life.order()
    lost = manager.log.head(None)
    hashes = [manager.log.chain_hash(None, sequence) for sequence in range(1, lost + 1)]
    restored_dir = tmp_path / "restored"
    restored_dir.mkdir()
    shutil.copy(saved, restored_dir / FILE_NAME)
    restored = start(restored_dir)
    assert restored.log.epoch == manager.log.epoch
    assert restored.log.head(None) == count < lost
    other = Life(restored, seed=99)
    other._number, other.now_ns = 500, 2
    for _ in range(6):
        await other.order()
    for sequence in range(1, lost + 1):
        is_same = restored.log.chain_hash(None, sequence) == hashes[sequence - 1]
        assert is_same == (sequence <= count)
