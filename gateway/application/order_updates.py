"""Readers of the order log: snapshot, resume, live, heartbeats, gaps. Never dropped, never conflated."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import struct
import zlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

from gateway.application.order_feed import OrderFeed
from gateway.application.order_manager import OrderManager
from gateway.domain.errors import Draining, EpochChanged, ResumeTokenCompacted, ResumeTokenInvalid, SlowConsumer
from gateway.domain.models.market_data import FeedStatus, Gap
from gateway.domain.models.orders import JournalEvent, Order, OrderEvent
from gateway.domain.types import MS_PER_SECOND, NANOS_PER_MS

EVENTS_PER_READ: Final = 512
"""One page of the log."""
NOTICES_MAX: Final = 256
"""News of the feed that a reader has not read yet; the oldest go first, the present state is the last."""
TOKEN_VERSION: Final = 1
_BOOK_BYTES: Final = 8
_CHECK_BYTES: Final = 4
_TOKEN: Final = struct.Struct(f">B{_BOOK_BYTES}s8sQ8s")


@dataclass(frozen=True, slots=True)
class Book:
    """Whose events: one strategy's, or (None) the account's: every strategy and orders from outside."""

    strategy_id: str | None


@dataclass(frozen=True, slots=True)
class StartSnapshot:
    """Begin with the open orders, then live."""


@dataclass(frozen=True, slots=True)
class StartAfter:
    """Everything after a token, then live."""

    resume_token: str


@dataclass(frozen=True, slots=True)
class StartLive:
    """Only what happens from now on."""


StreamStart = StartSnapshot | StartAfter | StartLive


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
    costs the same however slow it is. One that falls behind what the log keeps is told so.

    Args:
        wall: Nanoseconds since the Unix epoch.
    """

    def __init__(self, orders: OrderManager, feed: OrderFeed, wall: Callable[[], int]) -> None:
        self._orders = orders
        self._log = orders.log
        self._feed = feed
        self._wall = wall
        self._readers: set[_Reader] = set()
        self._is_draining = False
        orders.add_listener(self._on_event)
        feed.add_listener(self._on_notice)

    @property
    def reader_count(self) -> int:
        """Readers now."""
        return len(self._readers)

    async def follow(self, book: Book, start: StreamStart, heartbeat_ms: int) -> AsyncIterator[Step]:
        """The steps of a book from `start` on, until the reader stops or the gateway drains.

        Args:
            book: Whose events.
            start: Where to begin.
            heartbeat_ms: Silence after which a heartbeat is sent.

        Raises:
            ResumeTokenInvalid: Garbled, or another book's.
            EpochChanged: Of another life of the journal.
            ResumeTokenCompacted: Older than what is kept, or in the future.
            SlowConsumer: The reader fell behind what is kept; metadata has its `resume_token`.
            Draining: The gateway is shutting down; metadata has the `resume_token`.
        """
        reader = _Reader(book, self._feed.status)
        self._readers.add(reader)  # before anything is read: nothing falls between history and live
        try:
            if isinstance(start, StartAfter):
                reader.position = self._position(book, start.resume_token)
            else:
                reader.position = self._log.head(book.strategy_id)
            if isinstance(start, StartSnapshot):
                for step in self._snapshot(reader):
                    yield step
            while True:
                async for step in self._due(reader):
                    yield step
                if self._is_draining:
                    raise Draining("The gateway is shutting down.", metadata={"resume_token": self._token(reader)})
                if not await reader.woken(heartbeat_ms / MS_PER_SECOND):
                    yield self._step(reader, self._heartbeat())
        finally:
            self._readers.discard(reader)

    def drain(self) -> None:
        """End every stream, with a token, once it has told what happened."""
        self._is_draining = True
        for reader in self._readers:
            reader.wake()

    def _snapshot(self, reader: _Reader) -> list[Step]:
        """The open orders as of the reader's position, taken at once."""
        orders = self._orders.open_orders(reader.book.strategy_id)
        payloads: list[Payload] = [SnapshotBegin(len(orders)), *(SnapshotOrder(order) for order in orders)]
        steps = [Step(reader.position, "", payload) for payload in payloads]
        return [*steps, self._step(reader, SnapshotEnd(len(orders)))]

    async def _due(self, reader: _Reader) -> AsyncIterator[Step]:
        """What happened since the reader's position, then what is to be said of the feed."""
        strategy_id = reader.book.strategy_id
        while reader.position < self._log.head(strategy_id):
            if reader.position + 1 < self._log.oldest(strategy_id):
                raise SlowConsumer(
                    "The reader fell behind what is kept.", metadata={"last_sequence": str(reader.position)}
                )
            for event in self._log.read(strategy_id, reader.position, EVENTS_PER_READ):
                reader.position = event.sequence
                yield self._step(reader, event)
        while reader.notices:
            yield self._step(reader, reader.notices.popleft())

    def _heartbeat(self) -> Heartbeat:
        last_ns = self._feed.last_message_ns
        age_ms = None if last_ns is None else max(0, (self._wall() - last_ns) // NANOS_PER_MS)
        return Heartbeat(self._feed.is_live, age_ms)

    def _step(self, reader: _Reader, payload: Payload) -> Step:
        return Step(reader.position, self._token(reader), payload)

    def _token(self, reader: _Reader) -> str:
        chain_hash = self._log.chain_hash(reader.book.strategy_id, reader.position)
        return write_token(reader.book, self._log.epoch, reader.position, chain_hash)

    def _position(self, book: Book, token: str) -> int:
        """The sequence that a token stands for, if it may be continued from."""
        epoch, sequence, chain_hash = read_token(book, token)
        if epoch != self._log.epoch:
            raise EpochChanged("The token belongs to another life of the journal: begin with a snapshot.")
        oldest = self._log.oldest(book.strategy_id)
        if not oldest - 1 <= sequence <= self._log.head(book.strategy_id):
            raise ResumeTokenCompacted(
                "The events after the token are gone, or it lies in the future.",
                metadata={"oldest_sequence": str(oldest)},
            )
        try:
            known = self._log.chain_hash(book.strategy_id, sequence)
        except KeyError:  # the position just before the oldest: its own event is gone, those after it are not
            return sequence
        if known != chain_hash:
            raise EpochChanged("The journal was written anew since: begin with a snapshot.")
        return sequence

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

    __slots__ = ("_signal", "book", "notices", "position")

    def __init__(self, book: Book, status: FeedStatus) -> None:
        self.book = book
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


def write_token(book: Book, epoch: str, sequence: int, chain_hash: bytes) -> str:
    """Version, book, epoch, sequence and hash, with a check sum: opaque to clients."""
    body = _TOKEN.pack(TOKEN_VERSION, _book_id(book), bytes.fromhex(epoch), sequence, chain_hash)
    return base64.urlsafe_b64encode(body + _check_sum(body)).decode()


def read_token(book: Book, token: str) -> tuple[str, int, bytes]:
    """Epoch, sequence and hash.

    Raises:
        ResumeTokenInvalid: Garbled, or another book's.
    """
    try:
        raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
    except (ValueError, UnicodeEncodeError):
        raw = b""
    body, check_sum = raw[: _TOKEN.size], raw[_TOKEN.size :]
    if len(raw) != _TOKEN.size + _CHECK_BYTES or check_sum != _check_sum(body):
        raise ResumeTokenInvalid("The resume token is garbled.")
    version, book_id, epoch, sequence, chain_hash = _TOKEN.unpack(body)
    if version != TOKEN_VERSION or book_id != _book_id(book):
        raise ResumeTokenInvalid("The resume token belongs to another book.")
    return epoch.hex(), sequence, chain_hash


def _book_id(book: Book) -> bytes:
    name = b"account" if book.strategy_id is None else b"strategy:" + book.strategy_id.encode()
    return hashlib.blake2b(name, digest_size=_BOOK_BYTES).digest()


def _check_sum(body: bytes) -> bytes:
    return zlib.crc32(body).to_bytes(_CHECK_BYTES, "big")
