"""OrderLog: the journal's events by book, each with the order as it was after it.

Promises: sequences of a book are 1, 2, 3, ... without a gap; what is read once is read the same again. A book is one
strategy's orders, or (None) the account's, whose sequence is the journal's own. Holds as much as the journal keeps.
"""

from __future__ import annotations

from array import array
from collections import deque

from gateway.domain.interfaces import OrderJournal
from gateway.domain.models.orders import JournalEvent, Order, OrderEvent


class _StrategyBook:
    """Where in the journal the events of one strategy are; those compacted away are counted in `before`."""

    __slots__ = ("before", "positions")

    def __init__(self) -> None:
        self.before = 0
        self.positions: array[int] = array("Q")

    @property
    def head(self) -> int:
        return self.before + len(self.positions)


class OrderLog:
    """What readers of books read; written by OrderManager alone."""

    def __init__(self, journal: OrderJournal) -> None:
        self._journal = journal
        self._orders: deque[Order] = deque()
        self._before = journal.oldest - 1
        self._books: dict[str, _StrategyBook] = {}

    @property
    def epoch(self) -> str:
        """The journal's life."""
        return self._journal.epoch

    def note(self, event: JournalEvent, order: Order) -> None:
        """The next event of the journal, and the order after it."""
        assert event.sequence == self._before + len(self._orders) + 1, "events are noted in order"
        self._orders.append(order)
        if event.strategy_id:
            book = self._books.get(event.strategy_id)
            if book is None:
                book = self._books[event.strategy_id] = _StrategyBook()
            book.positions.append(event.sequence)
        while self._before < self._journal.oldest - 1:
            self._orders.popleft()
            self._before += 1

    def head(self, strategy_id: str | None) -> int:
        """The sequence of a book's newest event; 0 when it has none."""
        if strategy_id is None:
            return self._before + len(self._orders)
        book = self._books.get(strategy_id)
        return book.head if book is not None else 0

    def oldest(self, strategy_id: str | None) -> int:
        """The sequence of the oldest event of a book that is kept; head + 1 when there is none."""
        if strategy_id is None:
            return self._before + 1
        book = self._books.get(strategy_id)
        if book is None:
            return 1
        self._trim(book)
        return book.before + 1

    def read(self, strategy_id: str | None, after: int, limit: int) -> list[OrderEvent]:
        """At most `limit` events of a book with a sequence greater than `after`, in order."""
        if strategy_id is None:
            start = after - self._before
            return [
                OrderEvent(event.sequence, event, self._orders[start + offset])
                for offset, event in enumerate(self._journal.read(after, limit))
                if start + offset < len(self._orders)
            ]
        book = self._books.get(strategy_id)
        if book is None:
            return []
        first = after - book.before
        found = []
        for offset, position in enumerate(book.positions[first : first + limit]):
            (event,) = self._journal.read(position - 1, 1)
            found.append(OrderEvent(after + offset + 1, event, self._orders[position - self._before - 1]))
        return found

    def chain_hash(self, strategy_id: str | None, sequence: int) -> bytes:
        """What binds a book up to a sequence: the journal's hash at that event.

        Raises:
            KeyError: Compacted away, or in the future.
        """
        if strategy_id is None:
            return self._journal.chain_hash(sequence)
        if sequence == 0:
            return bytes(8)
        book = self._books.get(strategy_id)
        if book is None or not book.before < sequence <= book.head:
            raise KeyError(sequence)
        return self._journal.chain_hash(book.positions[sequence - book.before - 1])

    def _trim(self, book: _StrategyBook) -> None:
        """Forget positions that the journal has compacted away."""
        gone = 0
        for position in book.positions:
            if position > self._before:
                break
            gone += 1
        if gone:
            del book.positions[:gone]
            book.before += gone
