"""FillLog: the executions in the journal, by the time at which they were traded.

Promises: every fill that the journal still tells is found, whatever became of its order; pages neither repeat nor skip
one while more arrive. Keeps three numbers a fill and reads the rest from the journal. The index is made when it is
first asked for, and brought up to date by each question: it costs nothing while nobody asks.
"""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator, Iterator
from typing import Final

from gateway.domain.interfaces import OrderJournal
from gateway.domain.models.market_data import Page
from gateway.domain.models.orders import Fill, FillFilter
from gateway.domain.page_tokens import list_digest, number_of, read_page_token, write_page_token

FILLS_PAGE_SIZE_MAX: Final = 1_000
PAGE_SCAN_MAX: Final = 50_000
"""Fills looked at for one page: a page may be short, or empty, and still have a token."""
EVENTS_PER_READ: Final = 128
"""Of the journal, before others get their turn: one or two milliseconds."""
FILLS_PER_SLICE: Final = 32
"""Read one by one, before others get their turn: about as long."""
TRIM_AT_EVENTS: Final = 65_536
"""So many events must have gone from the journal before their fills are taken out of the index."""

_Stamp = tuple[int, int]
"""Time of the trade in nanoseconds, and the sequence in the journal."""


class _Rows:
    """The fills of one book, by time, then by sequence."""

    __slots__ = ("sequences", "symbols", "times")

    def __init__(self) -> None:
        self.times: array[int] = array("q")
        self.sequences: array[int] = array("Q")
        self.symbols: array[int] = array("L")

    def add(self, time_ns: int, sequence: int, symbol: int) -> None:
        """The next of the journal; its time may be earlier than that of the one before."""
        place = bisect_right(self.times, time_ns)
        self.times.insert(place, time_ns)
        self.sequences.insert(place, sequence)
        self.symbols.insert(place, symbol)

    def place(self, stamp: _Stamp) -> int:
        """How many come before a stamp."""
        time_ns, sequence = stamp
        low, high = bisect_left(self.times, time_ns), bisect_right(self.times, time_ns)
        return bisect_left(self.sequences, sequence, low, high)

    def without(self, oldest: int) -> _Rows:
        """The same without what is older than a sequence."""
        rows = _Rows()
        for time_ns, sequence, symbol in zip(self.times, self.sequences, self.symbols, strict=True):
            if sequence >= oldest:
                rows.times.append(time_ns)
                rows.sequences.append(sequence)
                rows.symbols.append(symbol)
        return rows


class FillLog:
    """Lists fills."""

    def __init__(self, journal: OrderJournal) -> None:
        self._journal = journal
        self._read_up_to = 0
        self._trimmed_to = 0
        self._account = _Rows()
        self._books: dict[str, _Rows] = {}
        self._symbols: dict[str, int] = {}
        self._catching_up = asyncio.Lock()

    async def page(self, wanted: FillFilter, page_size: int, page_token: str) -> Page[Fill]:
        """One page, newest first unless asked otherwise; at most 1,000.

        Raises:
            PageTokenMismatch: The token belongs to another list, or to another journal.
        """
        digest = _digest(wanted, self._journal.epoch)
        after = _read_token(page_token, digest) if page_token else None
        await self._catch_up()
        rows = self._account if wanted.strategy_id is None else self._books.get(wanted.strategy_id, _Rows())
        symbols = {number for symbol in wanted.symbols if (number := self._symbols.get(symbol)) is not None}
        chosen: list[_Stamp] = []
        last: _Stamp | None = None
        for scanned, place in enumerate(_places(rows, wanted, after)):
            if scanned == PAGE_SCAN_MAX or len(chosen) == min(page_size, FILLS_PAGE_SIZE_MAX):
                break
            last = rows.times[place], rows.sequences[place]
            if (not wanted.symbols or rows.symbols[place] in symbols) and last[1] >= self._journal.oldest:
                chosen.append(last)
        else:
            last = None
        token = write_page_token(digest, *last) if last is not None else ""
        return Page(tuple([fill async for fill in self._bodies(chosen)]), token)

    async def _bodies(self, stamps: list[_Stamp]) -> AsyncIterator[Fill]:
        for count, (_, sequence) in enumerate(stamps, 1):
            for event in self._journal.read(sequence - 1, 1):
                if event.sequence == sequence and event.fill is not None:  # else it was compacted away meanwhile
                    yield event.fill
            if count % FILLS_PER_SLICE == 0:
                await asyncio.sleep(0)

    async def _catch_up(self) -> None:
        """Index what was recorded since; one at a time, and one that is given up leaves off between two reads."""
        async with self._catching_up:
            head = self._journal.head
            while self._read_up_to < head:
                events = self._journal.read(self._read_up_to, EVENTS_PER_READ)
                if not events:
                    break
                for event in events:
                    if event.fill is not None:
                        self._add(event.strategy_id, event.fill, event.sequence)
                self._read_up_to = events[-1].sequence
                await asyncio.sleep(0)
            if self._journal.oldest - self._trimmed_to >= TRIM_AT_EVENTS:
                self._trim(self._journal.oldest)

    def _add(self, strategy_id: str, fill: Fill, sequence: int) -> None:
        symbol = self._symbols.setdefault(fill.symbol, len(self._symbols))
        self._account.add(fill.trade_time_ns, sequence, symbol)
        if strategy_id:
            rows = self._books.get(strategy_id)
            if rows is None:
                rows = self._books[strategy_id] = _Rows()
            rows.add(fill.trade_time_ns, sequence, symbol)

    def _trim(self, oldest: int) -> None:
        self._trimmed_to = oldest
        self._account = self._account.without(oldest)
        books = {strategy_id: rows.without(oldest) for strategy_id, rows in self._books.items()}
        self._books = {strategy_id: rows for strategy_id, rows in books.items() if rows.times}


def _places(rows: _Rows, wanted: FillFilter, after: _Stamp | None) -> Iterator[int]:
    """The rows of a list in its order, beginning behind a position."""
    low = 0 if wanted.start_time_ns is None else bisect_left(rows.times, wanted.start_time_ns)
    high = len(rows.times) if wanted.end_time_ns is None else bisect_right(rows.times, wanted.end_time_ns)
    if after is not None and wanted.oldest_first:
        low = max(low, rows.place((after[0], after[1] + 1)))
    elif after is not None:
        high = min(high, rows.place(after))
    return iter(range(low, high) if wanted.oldest_first else range(high - 1, low - 1, -1))


def _digest(wanted: FillFilter, epoch: str) -> str:
    content: dict[str, object] = {
        "epoch": epoch,
        "strategy_id": wanted.strategy_id,
        "symbols": sorted(wanted.symbols),
        "start": wanted.start_time_ns,
        "end": wanted.end_time_ns,
        "oldest_first": wanted.oldest_first,
    }
    return list_digest("ListFills", content)


def _read_token(token: str, digest: str) -> _Stamp:
    time_text, sequence_text = read_page_token(token, digest, 2)
    return number_of(time_text), number_of(sequence_text)
