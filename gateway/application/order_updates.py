"""OrderUpdates: readers of the journal. Snapshot, resume, live, heartbeats, gaps; never dropped, never conflated.

Promises: what a reader gets of a book is the journal's, in its order, each event once, wherever it begins; a heartbeat
comes after everything up to its sequence; a slow reader costs the others nothing and the gateway no memory, because it
has a position and no queue. Leaves writes that block to the doors of the servicers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from gateway.application.order_feed import OrderFeed
from gateway.application.order_manager import OrderManager
from gateway.application.resume_tokens import Book, TokenWriter, read_token
from gateway.domain.errors import (
    Draining,
    EpochChanged,
    FieldInvalid,
    FieldViolation,
    ResumeTokenCompacted,
    SlowConsumer,
)
from gateway.domain.models.market_data import FeedStatus, Gap
from gateway.domain.models.orders import JournalEvent, Order, OrderEvent, OrderRef
from gateway.domain.types import MS_PER_SECOND, NANOS_PER_MS

EVENTS_PER_READ: Final = 512
"""One page of the log."""
LIVE_EVENTS_MAX: Final = 64
"""A reader that is no further behind is served at once; one that is takes its turn with the others."""
CLOSED_ORDERS_MAX: Final = 10_000
"""Of a snapshot: orders that ended; beyond it a later instant has to do."""
CLOCK_AHEAD_MAX_MS: Final = 60_000
"""How far a caller's clock may be ahead of ours: an instant in the future is a mistake."""
NOTICES_MAX: Final = 256
"""News of the feed that a reader has not read yet; the oldest go first, the present state is the last."""


@dataclass(frozen=True, slots=True)
class StartSnapshot:
    """Begin with the open orders, then live.

    Attributes:
        closed_since_ns: Also with the orders that ended, or changed after their end, at this instant or later, by the
            time of their record; None for none.
    """

    closed_since_ns: int | None = None


@dataclass(frozen=True, slots=True)
class StartAfter:
    """Everything after a token, then live."""

    resume_token: str


@dataclass(frozen=True, slots=True)
class StartSince:
    """Everything recorded at an instant or later, then live; nanoseconds since the Unix epoch."""

    time_ns: int


@dataclass(frozen=True, slots=True)
class StartLive:
    """Only what happens from now on."""


StreamStart = StartSnapshot | StartAfter | StartSince | StartLive


@dataclass(frozen=True, slots=True)
class SnapshotBegin:
    """The snapshot follows: so many orders."""

    count: int


@dataclass(frozen=True, slots=True)
class SnapshotOrder:
    """One order of the snapshot; a leg is an order of its own."""

    order: Order


@dataclass(frozen=True, slots=True)
class SnapshotEnd:
    """The snapshot is complete as of the step's sequence."""

    count: int


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Nothing happened; everything up to the step's sequence has been delivered.

    Attributes:
        upstream_age_ms: Since the venue's order feed last said something; None when it never did.
    """

    upstream_connected: bool
    upstream_age_ms: int | None


Payload = SnapshotBegin | SnapshotOrder | SnapshotEnd | OrderEvent | Heartbeat | FeedStatus | Gap


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a book's stream.

    Attributes:
        sequence: Of the event; messages without an event repeat the last one.
        resume_token: Continues after this step; empty until a snapshot is complete, which nothing can continue.
    """

    sequence: int
    resume_token: str
    payload: Payload


class OrderUpdates:
    """Follows books.

    A reader has a position and no queue: it pages through the log at its own pace, is woken when there is more, and
    costs the same however slow it is. One that falls behind what the log keeps is told so. Readers that are far behind
    take turns, a page each, so that a crowd of them does not keep everybody else waiting.

    Args:
        wall: Nanoseconds since the Unix epoch.
    """

    def __init__(self, orders: OrderManager, feed: OrderFeed, wall: Callable[[], int]) -> None:
        self._orders = orders
        self._log = orders.log
        self._feed = feed
        self._wall = wall
        self._readers: dict[_Reader, None] = {}  # woken in the order in which they came
        self._turn = asyncio.Lock()
        self._is_draining = False
        orders.news.add_listener(self._on_event, is_reader=True)
        feed.add_listener(self._on_notice)

    def lags(self) -> Mapping[str, int]:
        """Book → events that its slowest reader has not been handed yet; "" is the account's. From any thread."""
        lags: dict[str, int] = {}
        for reader in tuple(self._readers):
            lag = max(0, self._log.head(reader.book.strategy_id) - reader.position)
            name = reader.book.strategy_id or ""
            lags[name] = max(lags.get(name, 0), lag)
        return lags

    async def follow(self, book: Book, start: StreamStart, heartbeat_ms: int) -> AsyncIterator[Step]:
        """The steps of a book from `start` on, until the reader stops or the gateway drains.

        Args:
            book: Whose events.
            start: Where to begin.
            heartbeat_ms: Silence after which a heartbeat is sent.

        Raises:
            FieldInvalid: An instant in the future, or one with more ended orders since than a snapshot takes.
            ResumeTokenInvalid: Garbled, or another book's.
            EpochChanged: Of another life of the journal.
            ResumeTokenCompacted: Older than what is kept, or in the future.
            SlowConsumer: The reader fell behind what is kept; a token of its position would be compacted.
            Draining: The gateway is shutting down; metadata has the `resume_token`.
        """
        reader = _Reader(book, self._feed.status, TokenWriter(book, self._log.epoch))
        reader.position = self._log.head(book.strategy_id)
        self._readers[reader] = None  # before anything is read: nothing falls between history and live
        try:
            async with aclosing(self._begin(reader, start)) as steps:
                async for step in steps:
                    yield step
            while True:
                async with aclosing(self._due(reader)) as steps:
                    async for step in steps:
                        yield step
                if self._is_draining:
                    raise Draining("The gateway is shutting down.", metadata={"resume_token": self._token(reader)})
                if not await reader.woken(heartbeat_ms / MS_PER_SECOND):
                    yield self._step(reader, self._heartbeat())
        finally:
            self._readers.pop(reader, None)

    def drain(self) -> None:
        """End every stream, with a token, once it has told what happened."""
        self._is_draining = True
        for reader in self._readers:
            reader.wake()

    async def _begin(self, reader: _Reader, start: StreamStart) -> AsyncGenerator[Step]:
        """Set the reader's position; the steps of a snapshot where it begins with one."""
        strategy_id = reader.book.strategy_id
        match start:
            case StartAfter(token):
                reader.position = self._position(reader.book, token)
            case StartSince(time_ns):
                reader.position = self._position_before(strategy_id, time_ns, "start_time")
            case StartLive():
                pass  # it stands at the head from its first moment
            case StartSnapshot(closed_since_ns):
                closed: tuple[str, ...] = ()
                if closed_since_ns is not None:
                    closed = await self._closed_since(reader, closed_since_ns)
                for step in self._snapshot(reader, closed):
                    yield step

    def _snapshot(self, reader: _Reader, closed: tuple[str, ...]) -> Iterator[Step]:
        """The orders as of now, which is the reader's position from here on.

        Ended orders are read as they are sent: an order that can change no more is as it was.
        """
        reader.position = position = self._log.head(reader.book.strategy_id)
        orders = self._orders.open_orders(reader.book.strategy_id)
        opened = {order.order_id for order in orders}
        ended = [order_id for order_id in closed if order_id not in opened]
        count = len(orders) + len(ended)
        yield Step(position, "", SnapshotBegin(count))
        for order in orders:
            yield Step(position, "", SnapshotOrder(order))
        for order_id in ended:
            yield Step(position, "", SnapshotOrder(self._orders.get(OrderRef(order_id=order_id))))
        yield self._step(reader, SnapshotEnd(count))

    async def _closed_since(self, reader: _Reader, time_ns: int) -> tuple[str, ...]:
        """The orders of a book that have ended, and had an event recorded at an instant or later.

        The last events are looked at without letting anybody else run, so the answer holds for the moment it is given.
        """
        strategy_id = reader.book.strategy_id
        position = self._position_before(strategy_id, time_ns, "include_closed_since")
        touched: dict[str, None] = {}
        while position < self._log.head(strategy_id):
            async with self._turn:
                events = await self._log.read(strategy_id, position, EVENTS_PER_READ)
                if not events:
                    break  # they went meanwhile
                for found in events:
                    position = found.sequence
                    if found.order.state.is_terminal:
                        touched[found.order.order_id] = None
                    else:
                        touched.pop(found.order.order_id, None)
                await asyncio.sleep(0)
            if len(touched) > CLOSED_ORDERS_MAX:
                raise _refused(
                    "include_closed_since",
                    f"more than {CLOSED_ORDERS_MAX} orders ended since then: choose a later instant, or list them",
                )
        return tuple(touched)

    async def _due(self, reader: _Reader) -> AsyncGenerator[Step]:
        """What happened since the reader's position, then what is to be said of the feed."""
        strategy_id = reader.book.strategy_id
        while reader.position < self._log.head(strategy_id):
            for event in await self._page(reader):
                reader.position = event.sequence
                yield Step(event.sequence, reader.tokens.write(event.sequence, event.event.chain_hash[:8]), event)
        while reader.notices:
            yield self._step(reader, reader.notices.popleft())

    async def _page(self, reader: _Reader) -> list[OrderEvent]:
        """The next events of a reader; one at a time and with a pause where many are due."""
        strategy_id = reader.book.strategy_id
        if self._log.head(strategy_id) - reader.position <= LIVE_EVENTS_MAX:
            events = await self._log.read(strategy_id, reader.position, LIVE_EVENTS_MAX)
        else:
            async with self._turn:
                events = await self._log.read(strategy_id, reader.position, EVENTS_PER_READ)
                await asyncio.sleep(0)
        if not events or events[0].sequence != reader.position + 1:
            raise SlowConsumer("The reader fell behind what is kept.", metadata={"last_sequence": str(reader.position)})
        return events

    def _heartbeat(self) -> Heartbeat:
        last_ns = self._feed.last_message_ns
        age_ms = None if last_ns is None else max(0, (self._wall() - last_ns) // NANOS_PER_MS)
        return Heartbeat(self._feed.is_live, age_ms)

    def _step(self, reader: _Reader, payload: Payload) -> Step:
        return Step(reader.position, self._token(reader), payload)

    def _token(self, reader: _Reader) -> str:
        return reader.tokens.write(reader.position, self._log.chain_hash(reader.book.strategy_id, reader.position))

    def _position(self, book: Book, token: str) -> int:
        """The sequence that a token stands for, if it may be continued from."""
        epoch, sequence, chain_hash = read_token(book, token)
        if epoch != self._log.epoch:
            raise EpochChanged("The token belongs to another life of the journal: begin with a snapshot.")
        oldest = self._log.oldest(book.strategy_id)
        if not oldest - 1 <= sequence <= self._log.head(book.strategy_id):
            raise _compacted("The events after the token are gone, or it lies in the future.", oldest)
        try:
            known = self._log.chain_hash(book.strategy_id, sequence)
        except KeyError:  # the position just before the oldest: its own event is gone, those after it are not
            return sequence
        if known != chain_hash:
            raise EpochChanged("The journal was written anew since: begin with a snapshot.")
        return sequence

    def _position_before(self, strategy_id: str | None, time_ns: int, field: str) -> int:
        """The sequence just before the first event of a book that was recorded at an instant or later.

        Record times never go back within the journal.
        """
        head = self._log.head(None)
        newest_ns = self._log.record_time_ns(None, head) if head else 0  # our clock may have stepped back since
        if time_ns > max(self._wall(), newest_ns) + CLOCK_AHEAD_MAX_MS * NANOS_PER_MS:
            raise _refused(field, "must not lie in the future")
        oldest_kept = self._log.oldest(None)
        if oldest_kept > 1 and time_ns <= self._log.record_time_ns(None, oldest_kept):
            raise _compacted("Events since that instant are gone.", self._log.oldest(strategy_id))
        low, high = self._log.oldest(strategy_id), self._log.head(strategy_id) + 1
        while low < high:
            middle = (low + high) // 2
            if self._log.record_time_ns(strategy_id, middle) < time_ns:
                low = middle + 1
            else:
                high = middle
        return low - 1

    def _on_event(self, event: JournalEvent, _: Order) -> None:
        for reader in self._readers:
            if reader.book.strategy_id is None or reader.book.strategy_id == event.strategy_id:
                reader.wake()

    def _on_notice(self, notice: FeedStatus | Gap) -> None:
        for reader in self._readers:
            reader.notices.append(notice)
            reader.wake()


class _Reader:
    """One stream: where it is, and what it is to be told of the feed (the state at its beginning first)."""

    __slots__ = ("_signal", "book", "notices", "position", "tokens")

    def __init__(self, book: Book, status: FeedStatus, tokens: TokenWriter) -> None:
        self.book = book
        self.tokens = tokens
        self.position = 0
        self.notices: deque[FeedStatus | Gap] = deque([status], maxlen=NOTICES_MAX)
        self._signal = asyncio.Event()

    def wake(self) -> None:
        self._signal.set()

    async def woken(self, timeout_s: float) -> bool:
        """Wait for more; False when there was none for so long."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._signal.wait()
        except TimeoutError:
            return False
        self._signal.clear()
        return True


def _refused(field: str, description: str) -> FieldInvalid:
    return FieldInvalid.of([FieldViolation(field, description)])


def _compacted(message: str, oldest: int) -> ResumeTokenCompacted:
    return ResumeTokenCompacted(message, metadata={"oldest_sequence": str(oldest)})
