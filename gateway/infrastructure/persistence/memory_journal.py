"""The order journal in memory, for tests: gapless, chained, bounded, and gone when the process ends.

Promises what `OrderJournal` promises but for durability: each life has a random epoch of its own, so that a token of an
earlier life is told apart. At the bound the oldest events are told no more; what orders are made of stays.
"""

from __future__ import annotations

import hashlib
import secrets
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Final

from gateway.domain.models.orders import ArchivedOrder, JournalEvent, KeyEntry, Order
from gateway.domain.venue_requests import VenueRequest

EVENTS_MAX: Final = 1_000_000
REQUESTS_MAX: Final = 16_384
HASH_BYTES: Final = 16
EPOCH_BYTES: Final = 8
_COMPACTED_PART: Final = 16
"""At the bound one sixteenth goes at once, so that dropping is rare."""


def random_epoch() -> str:
    """A new life's id."""
    return secrets.token_hex(EPOCH_BYTES)


class MemoryArchive:
    """Implements `OrderArchive`."""

    def __init__(self) -> None:
        self._orders: dict[str, tuple[ArchivedOrder, int]] = {}
        self._keys: dict[tuple[str, str], KeyEntry] = {}
        self._venue_orders: dict[str, str] = {}

    @property
    def count(self) -> int:
        """Orders in it."""
        return len(self._orders)

    async def put(self, orders: Sequence[ArchivedOrder], now_ns: int) -> None:
        """Take orders in, or anew."""
        for known in orders:
            order = known.order
            self._orders[order.order_id] = (known, now_ns)
            self._keys |= {(order.strategy_id, key): entry for key, entry in known.keys.items()}
            self._venue_orders |= {venue_order.venue_order_id: order.order_id for venue_order in order.venue_orders}

    async def drop_before(self, time_ns: int) -> None:
        """Forget orders that were taken in before an instant."""
        kept = {order_id: taken for order_id, taken in self._orders.items() if taken[1] >= time_ns}
        self._orders = kept
        self._keys = {key: entry for key, entry in self._keys.items() if entry.order_id in kept}
        self._venue_orders = {name: order_id for name, order_id in self._venue_orders.items() if order_id in kept}

    def order(self, order_id: str) -> Order | None:
        """One order by its id."""
        taken = self._orders.get(order_id)
        return taken[0].order if taken is not None else None

    def key(self, strategy_id: str, client_order_id: str) -> KeyEntry | None:
        """What a key stands for."""
        return self._keys.get((strategy_id, client_order_id))

    def order_id_at_venue(self, venue_order_id: str) -> str | None:
        """The order that a venue order stands for."""
        return self._venue_orders.get(venue_order_id)

    def created(
        self,
        strategy_id: str | None,
        after: tuple[int, str],
        before: tuple[int, str],
        limit: int,
        *,
        oldest_first: bool,
    ) -> Sequence[Order]:
        """The first orders between two stamps."""
        orders = (taken[0].order for taken in self._orders.values())
        found = [
            ((order.create_time_ns, order.order_id), order)
            for order in orders
            if after < (order.create_time_ns, order.order_id) < before and strategy_id in (None, order.strategy_id)
        ]
        found.sort(key=lambda stamped: stamped[0], reverse=not oldest_first)
        return [order for _, order in found[:limit]]

    def last_sequence(self, order_id: str) -> int:
        """Of an order's newest event when it was taken in; 0 when it is not in it."""
        taken = self._orders.get(order_id)
        return taken[0].last_sequence if taken is not None else 0


class MemoryVenueRequests:
    """Implements `VenueRequestLog`: the newest of each order."""

    def __init__(self) -> None:
        self._number = 0
        self._requests: deque[tuple[int, VenueRequest]] = deque(maxlen=REQUESTS_MAX)

    def note(self, request: VenueRequest) -> None:
        """Keep one."""
        self._number += 1
        self._requests.append((self._number, request))

    def read(self, order_id: str, limit: int, before: int | None = None) -> Sequence[tuple[int, VenueRequest]]:
        """The newest of an order, newest first."""
        found = (
            row
            for row in reversed(self._requests)
            if row[1].order_id == order_id and (before is None or row[0] < before)
        )
        return list(islice(found, limit))


class MemoryJournal:
    """Implements `OrderJournal`.

    Args:
        events_max: Events that can be told.
        new_epoch: Makes the id of this life.
    """

    def __init__(self, events_max: int = EVENTS_MAX, new_epoch: Callable[[], str] = random_epoch) -> None:
        if events_max < 1:
            raise ValueError("events_max must be 1 or more")
        self.archive: Final = MemoryArchive()
        self.requests: Final = MemoryVenueRequests()
        self._epoch = new_epoch()
        self._events_max = events_max
        self._events: list[JournalEvent] = []
        self._kept: list[JournalEvent] = []  # told no more, but orders are made of them, or a book ends with them
        self._before = 0  # the sequence just before the oldest that is told
        self._books: dict[str, int] = {}
        self._hash_before = hashlib.blake2b(self._epoch.encode(), digest_size=HASH_BYTES).digest()
        self._last_hash = self._hash_before

    @property
    def epoch(self) -> str:
        """The random id of this life."""
        return self._epoch

    @property
    def head(self) -> int:
        """The sequence of the newest event; 0 when there is none."""
        return self._before + len(self._events)

    @property
    def oldest(self) -> int:
        """The sequence of the oldest event that can still be told; head + 1 when there is none."""
        return self._before + 1

    @property
    def fault(self) -> str:
        """Memory has none."""
        return ""

    def add_fault_listener(self, listener: Callable[[str], None]) -> None:
        """Nobody is ever told."""

    async def append(
        self, events: Sequence[JournalEvent], then: Callable[[JournalEvent], object] | None = None
    ) -> tuple[JournalEvent, ...]:
        """Record events together and return them with their sequences."""
        sequence = self.head
        for event in events:
            assert not event.sequence, "an event is recorded once"
            sequence += 1
            event.sequence = sequence
            if event.strategy_id:
                event.book_sequence = self._books[event.strategy_id] = self._books.get(event.strategy_id, 0) + 1
            self._last_hash = event.chain_hash = _chained(self._last_hash, event)
            self._events.append(event)
        surplus = len(self._events) - self._events_max
        if surplus > 0:
            self._drop(max(surplus, min(self._events_max // _COMPACTED_PART, len(self._events) - 1)))
        if then is not None:
            for event in events:
                then(event)
        return tuple(events)

    def read(self, after: int, limit: int, strategy_id: str | None = None) -> tuple[JournalEvent, ...]:
        """At most `limit` events of a book, in order."""
        if strategy_id is None:
            start = max(after - self._before, 0)
            return tuple(self._events[start : start + limit])
        book = [event for event in self._events if event.strategy_id == strategy_id and event.book_sequence > after]
        return tuple(book[:limit])

    def read_order_events(self, order_ids: Sequence[str], up_to_sequence: int) -> tuple[JournalEvent, ...]:
        """Every event of some orders up to a sequence, in order."""
        wanted = set(order_ids)
        return tuple(
            event
            for events in (self._kept, self._events)
            for event in events
            if event.order_id in wanted and event.sequence <= up_to_sequence
        )

    def read_story(self, order_id: str, limit: int, up_to: int | None = None) -> tuple[Sequence[JournalEvent], int]:
        """The newest events of an order, newest first, and the sequence to go on with; 0 at the end."""
        head = self.head if up_to is None else up_to
        events = self.read_order_events([order_id], head)[::-1]
        return events[:limit], events[limit].sequence if len(events) > limit else 0

    def replay(self) -> Iterator[JournalEvent]:
        """Everything but what the archive contains already."""
        for events in (self._kept, self._events):
            for event in events:
                if event.sequence > self.archive.last_sequence(event.order_id):
                    yield event

    def book_heads(self) -> Mapping[str, int]:
        """The sequence of the newest event of each strategy's book."""
        return self._books

    def book_oldest(self, strategy_id: str) -> int:
        """The sequence of the oldest event of a strategy's book that can still be told; its head + 1 without one."""
        for event in self._events:
            if event.strategy_id == strategy_id:
                return event.book_sequence
        return self._books.get(strategy_id, 0) + 1

    def first_since(self, record_time_ns: int) -> int:
        """The sequence of the first event recorded at an instant or later; head + 1 when there is none."""
        return self._before + 1 + bisect_left(self._events, record_time_ns, key=lambda event: event.record_time_ns)

    def chain_hash(self, sequence: int, strategy_id: str | None = None) -> bytes:
        """What binds all events up to a sequence of a book.

        Raises:
            KeyError: Gone, or in the future.
        """
        if strategy_id is not None:
            for event in chain(reversed(self._events), reversed(self._kept)):
                if (event.strategy_id, event.book_sequence) == (strategy_id, sequence):
                    return event.chain_hash
            raise KeyError(sequence)
        index = sequence - self._before
        if index == 0:
            return self._hash_before
        if not 0 < index <= len(self._events):
            raise KeyError(sequence)
        return self._events[index - 1].chain_hash

    async def compact(self, oldest: int) -> None:
        """Let events before a sequence be told no more."""
        self._drop(min(oldest, self.head) - self.oldest)

    async def close(self) -> None:
        """Nothing to end."""

    def _drop(self, count: int) -> None:
        if count <= 0:
            return
        self._hash_before = self._events[count - 1].chain_hash
        self._before += count
        gone = [*self._kept, *self._events[:count]]
        self._kept = [event for event in gone if self._is_needed(event)]
        del self._events[:count]

    def _is_needed(self, event: JournalEvent) -> bool:
        """Whether an order in memory is made of it, or the next event of its book follows it."""
        is_newest = event.book_sequence == self._books.get(event.strategy_id)
        return is_newest or event.sequence > self.archive.last_sequence(event.order_id)


def _chained(previous: bytes, event: JournalEvent) -> bytes:
    """The next link: over what identifies the event, not over every figure of it."""
    venue_order = event.venue_order
    text = "|".join(
        (
            event.kind,
            event.order_id,
            str(event.record_time_ns),
            event.fingerprint,
            event.venue_event_id,
            f"{venue_order.venue_order_id}:{venue_order.filled_quantity}" if venue_order is not None else "",
        )
    )
    return hashlib.blake2b(previous + text.encode(), digest_size=HASH_BYTES).digest()
