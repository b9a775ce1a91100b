"""Books without a venue: random events of several strategies, of legs and of orders from outside, and their readers.

What a reader should have been given is worked out from the journal's own rows, not by what is tested.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from gateway.application.order_feed import OrderFeed
from gateway.application.order_log import OrderLog
from gateway.application.order_manager import OrderManager
from gateway.application.order_updates import OrderUpdates, Payload, Step, StreamStart
from gateway.application.resume_tokens import Book
from gateway.domain.interfaces import OrderJournal
from gateway.domain.models.orders import (
    Failure,
    Fill,
    JournalEvent,
    OrderEvent,
    OrderEventKind,
    OrderRequest,
    VenueOrder,
)
from gateway.domain.types import NANOS_PER_MS, AssetClass, LegRole, OrderSide, OrderType, TimeInForce
from gateway.infrastructure.persistence.database import Database
from gateway.infrastructure.persistence.memory_journal import MemoryJournal
from gateway.infrastructure.persistence.order_journal import SqliteOrderJournal
from tests.emulator.exchange.desk import make_spec

BEGIN_NS = 1_700_000_000_000_000_000
STRATEGIES = ("momentum", "pairs", "default")
SYMBOLS = ("AAPL", "MSFT", "BTC/USD")
_ENDS = (OrderEventKind.CANCELED, OrderEventKind.EXPIRED)


class Books:
    """A journal, its orders, and everything that reads them; `now_ns` is the clock."""

    def __init__(self, journal: OrderJournal | None = None, tail_events_max: int | None = None) -> None:
        self.journal: OrderJournal = journal or MemoryJournal()
        self.now_ns = BEGIN_NS
        self.orders = OrderManager(self.journal, self.wall)
        if tail_events_max is not None:
            self.orders.log = OrderLog(self.journal, tail_events_max)
            self.orders.log.begin()
        self.feed = OrderFeed(self.orders, self.wall)
        self.updates = OrderUpdates(self.orders, self.feed, self.wall)

    def wall(self) -> int:
        return self.now_ns

    def reader(self, strategy_id: str | None, start: StreamStart, heartbeat_ms: int = 60_000) -> Reader:
        return Reader(self, Book(strategy_id), start, heartbeat_ms)

    async def read(self, strategy_id: str | None, start: StreamStart) -> list[Step]:
        """The steps until nothing more is due; raises what the stream raises."""
        return await self.reader(strategy_id, start).until_idle()

    def rows(self, strategy_id: str | None) -> list[tuple[int, JournalEvent]]:
        """Sequence in the book and event, from the journal's account book alone."""
        events = self.journal.read(0, 10**6)
        if strategy_id is None:
            return [(event.sequence, event) for event in events]
        return [(event.book_sequence, event) for event in events if event.strategy_id == strategy_id]


class Reader:
    """Reads a stream behind the test's back."""

    def __init__(self, books: Books, book: Book, start: StreamStart, heartbeat_ms: int) -> None:
        self.steps: list[Step] = []
        self._head = lambda: books.orders.log.head(book.strategy_id)
        self._stream: AsyncIterator[Step] = books.updates.follow(book, start, heartbeat_ms)
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for step in self._stream:
            self.steps.append(step)

    def of(self, kind: type[Payload]) -> list[Any]:
        return [step.payload for step in self.steps if isinstance(step.payload, kind)]

    async def until_idle(self) -> list[Step]:
        """Until it has said everything: the state of the feed comes after all events that are due."""
        for _ in range(100_000):
            if self.task.done() or (self.steps and self.steps[-1].sequence >= self._head() and self._has_status()):
                break
            await asyncio.sleep(0)
        else:
            raise AssertionError("the stream never came to rest")
        await self.stop()
        return self.steps

    async def stop(self) -> None:
        self.task.cancel()
        (ended,) = await asyncio.gather(self.task, return_exceptions=True)
        if isinstance(ended, Exception):
            raise ended

    def _has_status(self) -> bool:
        return any(not isinstance(step.payload, OrderEvent) for step in self.steps)


def events_of(steps: list[Step]) -> list[tuple[int, JournalEvent]]:
    return [(step.sequence, step.payload.event) for step in steps if isinstance(step.payload, OrderEvent)]


class Story:
    """Makes events at random, but possible ones: orders begin, are sent, are filled in parts, end, and have legs."""

    def __init__(self, seed: int, books: Books) -> None:
        self.random = random.Random(seed)
        self._books = books
        self._count = 0
        self._open: list[JournalEvent] = []  # the first event of each order that may still change
        self._filled: dict[str, Decimal] = {}

    async def tell(self, events: int) -> None:
        """Record so many more events, some together, the clock going on by up to 3 ms before each."""
        for _ in range(events):
            self._books.now_ns += self.random.randrange(3) * NANOS_PER_MS
            begins = not self._open or self.random.random() < 0.3
            await self._books.orders.record([self._begin() if begins else self._go_on()])

    def _begin(self) -> JournalEvent:
        self._count += 1
        kind = self.random.choice(("ours", "ours", "ours", "leg", "external"))
        parents = [first for first in self._open if first.strategy_id and not first.parent_order_id]
        if kind == "leg" and parents:
            parent = self.random.choice(parents)
            first = self._event(OrderEventKind.RECORDED, f"{parent.order_id}/{self._count}", parent.strategy_id)
            first.parent_order_id, first.leg_role = parent.order_id, self.random.choice(list(LegRole))
            first.venue_order = self._at_venue(first.order_id, "held", Decimal(0))
        elif kind == "external":
            first = self._event(OrderEventKind.RECORDED, f"outside-{self._count}", "")
            first.venue_order = self._at_venue(first.order_id, "new", Decimal(0))
        else:
            first = self._event(OrderEventKind.RECORDED, f"order-{self._count}", self.random.choice(STRATEGIES))
            spec = make_spec(self.random.choice(SYMBOLS), "buy", 10, limit_price="90")
            first.request = OrderRequest(first.strategy_id, f"key-{self._count}", spec, BEGIN_NS)
            first.fingerprint = f"{self._count:064x}"
        self._open.append(first)
        return first

    def _go_on(self) -> JournalEvent:
        first = self.random.choice(self._open)
        order_id = first.order_id
        filled = self._filled.get(order_id, Decimal(0))
        kind = self.random.choice(("submitted", "working", "fill", "fill", "end", "denied"))
        if kind == "submitted" and first.request is not None:
            return self._event(OrderEventKind.SUBMITTED, order_id, first.strategy_id)
        if kind == "denied" and first.request is not None and not filled:
            self._open.remove(first)
            event = self._event(OrderEventKind.NOT_SENT, order_id, first.strategy_id)
            event.failure = Failure("EXPIRED_BEFORE_SEND", "Too old.")
            return event
        if kind == "fill":
            return self._fill(first, filled)
        if kind == "end":
            self._open.remove(first)
            event = self._event(self.random.choice(_ENDS), order_id, first.strategy_id)
            event.venue_order = self._at_venue(order_id, event.kind.value, filled)
            return event
        event = self._event(OrderEventKind.WORKING, order_id, first.strategy_id)
        event.venue_order = self._at_venue(order_id, "partially_filled" if filled else "new", filled)
        return event

    def _fill(self, first: JournalEvent, filled: Decimal) -> JournalEvent:
        filled += self.random.randint(1, 5)
        total = min(filled, Decimal(10))
        self._filled[first.order_id] = total
        is_whole = total == 10
        kind = OrderEventKind.FILL if is_whole else OrderEventKind.PARTIAL_FILL
        event = self._event(kind, first.order_id, first.strategy_id)
        event.venue_order = self._at_venue(first.order_id, "filled" if is_whole else "partially_filled", total)
        event.fill = Fill(
            fill_id=f"fill-{first.order_id}-{total}",
            order_id=first.order_id,
            client_order_id="",
            strategy_id=first.strategy_id,
            venue_order_id=event.venue_order.venue_order_id,
            symbol=event.venue_order.symbol,
            side=OrderSide.BUY,
            quantity=Decimal(1),
            price=Decimal(90),
            cumulative_quantity=total,
            trade_time_ns=self._books.now_ns - self.random.randrange(20) * NANOS_PER_MS,  # often out of order
        )
        if is_whole:
            self._open.remove(first)
        return event

    def _event(self, kind: OrderEventKind, order_id: str, strategy_id: str) -> JournalEvent:
        now_ns = self._books.now_ns
        return JournalEvent(kind, order_id, strategy_id, now_ns, now_ns)

    def _at_venue(self, order_id: str, status: str, filled: Decimal) -> VenueOrder:
        return VenueOrder(
            venue_order_id=f"venue-{order_id}",
            venue_client_order_id=f"outside-{order_id}",
            venue_status=status,
            symbol=SYMBOLS[hash_of(order_id) % len(SYMBOLS)],
            asset_class=AssetClass.US_EQUITY,
            side=OrderSide.BUY,
            order_type=OrderType.LIMIT,
            time_in_force=TimeInForce.DAY,
            quantity=Decimal(10),
            filled_quantity=filled,
            filled_average_price=Decimal(90) if filled else None,
            limit_price=Decimal(90),
        )


def hash_of(text: str) -> int:
    """The same in every process, unlike `hash`."""
    return sum(text.encode())


def sqlite_journal(folder: Path) -> SqliteOrderJournal:
    return SqliteOrderJournal(Database(folder, BEGIN_NS, lambda: "ab" * 8))
