"""OrderLog: the journal's events by book, each with the order as it was after it.

Promises: sequences of a book are 1, 2, 3, ... without a gap; what is read once is read the same again. A book is one
strategy's orders, or (None) the account's, whose sequence is the journal's own. The newest events are in memory; older
ones come from the journal, and their orders are folded again from their own events, a slice at a time, so that nobody
else waits. Holds as much as the journal keeps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from gateway.domain.interfaces import OrderJournal
from gateway.domain.models.orders import JournalEvent, Order, OrderEvent, OrderEventKind
from gateway.domain.order_lifecycle import apply

TAIL_EVENTS_MAX: Final = 20_000
"""Events in memory, with their orders: some 3 KB each. A quarter more before the oldest go, so that it is rare."""
FOLD_SLICE_EVENTS: Final = 64
"""Events of an older page that are read and folded before others get their turn: about a millisecond."""
TOKEN_HASH_BYTES: Final = 8
_NO_HASH: Final = bytes(TOKEN_HASH_BYTES)

_Noted = tuple[JournalEvent, Order]


class _Tail:
    """The newest events of one book, `before` being the sequence just before them."""

    __slots__ = ("before", "noted")

    def __init__(self, before: int) -> None:
        self.before = before
        self.noted: list[_Noted] = []

    @property
    def head(self) -> int:
        return self.before + len(self.noted)

    def drop(self, count: int) -> None:
        del self.noted[:count]
        self.before += count


class OrderLog:
    """What readers of books read; written by OrderManager alone.

    Args:
        tail_events_max: Events kept in memory.
    """

    def __init__(self, journal: OrderJournal, tail_events_max: int = TAIL_EVENTS_MAX) -> None:
        self._journal = journal
        self._tail_events_max = tail_events_max
        self._drop_at = tail_events_max + max(1, tail_events_max // 4)
        self._account = _Tail(0)
        self._books: dict[str, _Tail] = {}
        self._oldest: dict[str, tuple[int, int]] = {}

    @property
    def epoch(self) -> str:
        """The journal's life."""
        return self._journal.epoch

    def note(self, event: JournalEvent, order: Order) -> None:
        """The next event of the journal, and the order after it."""
        account, noted = self._account, (event, order)
        assert event.sequence == account.before + len(account.noted) + 1, "events are noted in order"
        account.noted.append(noted)
        if event.book_sequence:
            book = self._books.get(event.strategy_id)
            if book is None:
                book = self._books[event.strategy_id] = _Tail(event.book_sequence - 1)
            book.noted.append(noted)
        if len(account.noted) > self._drop_at:
            self._trim()

    def note_replayed(self, event: JournalEvent, order: Order) -> None:
        """An event of an earlier life; before it some may be missing, whose orders are archived."""
        if event.sequence <= self._journal.head - self._tail_events_max:
            return  # too old to be kept in memory
        if event.sequence != self._account.head + 1:
            self._account, self._books = _Tail(event.sequence - 1), {}
        self.note(event, order)

    def begin(self) -> None:
        """The replay is done: everything from now on is noted."""
        if self._account.head != self._journal.head:
            self._account, self._books = _Tail(self._journal.head), {}
        for strategy_id, head in self._journal.book_heads().items():
            if strategy_id not in self._books:
                self._books[strategy_id] = _Tail(head)

    def head(self, strategy_id: str | None) -> int:
        """The sequence of a book's newest event; 0 when it has none."""
        if strategy_id is None:
            return self._account.head
        book = self._books.get(strategy_id)
        return book.head if book is not None else 0

    def oldest(self, strategy_id: str | None) -> int:
        """The sequence of the oldest event of a book that is kept; head + 1 when there is none."""
        if strategy_id is None:
            return self._journal.oldest
        if strategy_id not in self._books:  # whatever names callers think of, only books are remembered
            return 1
        known = self._oldest.get(strategy_id)
        if known is None or known[0] != self._journal.oldest:
            known = self._oldest[strategy_id] = (self._journal.oldest, self._journal.book_oldest(strategy_id))
        return known[1]

    async def read(self, strategy_id: str | None, after: int, limit: int) -> list[OrderEvent]:
        """At most `limit` events of a book with a sequence greater than `after`, in order."""
        tail = self._account if strategy_id is None else self._books.get(strategy_id)
        if tail is None or after < tail.before:
            return await self._read_older(strategy_id, after, limit)
        start = after - tail.before
        noted = tail.noted[start : start + limit]
        return [OrderEvent(after + place, event, order) for place, (event, order) in enumerate(noted, 1)]

    def record_time_ns(self, strategy_id: str | None, sequence: int) -> int:
        """When the first event of a book with this sequence, or a greater one, was recorded.

        Raises:
            KeyError: In the future.
        """
        tail = self._account if strategy_id is None else self._books.get(strategy_id)
        if tail is not None and tail.before < sequence <= tail.head:
            return tail.noted[sequence - tail.before - 1][0].record_time_ns
        found = self._journal.read(sequence - 1, 1, strategy_id)
        if not found:
            raise KeyError(sequence)
        return found[0].record_time_ns

    def chain_hash(self, strategy_id: str | None, sequence: int) -> bytes:
        """What binds a book up to a sequence: the first bytes of the journal's hash at that event.

        Raises:
            KeyError: Compacted away, or in the future.
        """
        tail = self._account if strategy_id is None else self._books.get(strategy_id)
        if tail is not None and tail.before < sequence <= tail.head:
            return tail.noted[sequence - tail.before - 1][0].chain_hash[:TOKEN_HASH_BYTES]
        if strategy_id is not None and sequence == 0:
            return _NO_HASH
        return self._journal.chain_hash(sequence, strategy_id)[:TOKEN_HASH_BYTES]

    async def _read_older(self, strategy_id: str | None, after: int, limit: int) -> list[OrderEvent]:
        found: list[OrderEvent] = []
        orders: dict[str, Order] = {}
        while len(found) < limit:
            events = self._journal.read(after, min(FOLD_SLICE_EVENTS, limit - len(found)), strategy_id)
            if not events:
                break
            await self._begin(orders, events)
            for event in events:
                order = orders[event.order_id] = self._after(orders.get(event.order_id), event)
                sequence = event.sequence if strategy_id is None else event.book_sequence
                found.append(OrderEvent(sequence, event, order))
            after = found[-1].sequence
            await asyncio.sleep(0)
        return found

    async def _begin(self, orders: dict[str, Order], events: Sequence[JournalEvent]) -> None:
        """Fold the orders of a slice as they were before it."""
        firsts = {event.order_id: event for event in reversed(events) if event.order_id not in orders}
        begun = {
            order_id: first.sequence for order_id, first in firsts.items() if first.kind is not OrderEventKind.RECORDED
        }
        if not begun:
            return
        earlier = self._journal.read_order_events(list(begun), max(begun.values()) - 1)
        for count, event in enumerate(earlier):
            if event.sequence < begun[event.order_id]:
                orders[event.order_id] = self._after(orders.get(event.order_id), event)
            if count % FOLD_SLICE_EVENTS == FOLD_SLICE_EVENTS - 1:
                await asyncio.sleep(0)

    def _after(self, order: Order | None, event: JournalEvent) -> Order:
        """The order after an event; one whose beginning is gone was archived before it, and is as it was then."""
        if order is None and event.kind is not OrderEventKind.RECORDED:
            order = self._journal.archive.order(event.order_id)
            if order is not None:
                return order
        return apply(order, event)

    def _trim(self) -> None:
        """Let the oldest of the tail go, from every book that they are in."""
        count = len(self._account.noted) - self._tail_events_max
        gone: dict[str, int] = {}
        for event, _ in self._account.noted[:count]:
            if event.book_sequence:
                gone[event.strategy_id] = gone.get(event.strategy_id, 0) + 1
        self._account.drop(count)
        for strategy_id, of_book in gone.items():
            self._books[strategy_id].drop(of_book)
