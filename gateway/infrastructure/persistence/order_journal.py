"""SqliteOrderJournal: the append-only record of everything that happened to orders, in the data directory's file.

Promises what `OrderJournal` promises. Sequences, book sequences and the chain are given on the event loop, in the
order of the calls; what cannot be written as a body raises there and records nothing. Everything that is asked for
while a commit is under way goes into the next one: one transaction, one fsync. Callers are answered in the order of
their sequences. The whole chain is checked when the file is opened, so that a journal that is not what was written
never becomes anybody's orders.

The chain: `blake2b(chain before ‖ body)`, 16 bytes, beginning with `blake2b(epoch)`; tokens carry its first 8.
"""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import orjson
import structlog

from gateway.domain.errors import JournalUnavailable
from gateway.domain.models.orders import JournalEvent, OrderEventKind
from gateway.infrastructure.persistence.codec import BodyUnreadable, decode, encode
from gateway.infrastructure.persistence.database import Database, DatabaseRefused
from gateway.infrastructure.persistence.order_archive import SqliteOrderArchive
from gateway.infrastructure.persistence.venue_requests import SqliteVenueRequests, insert

CHAIN_BYTES: Final = 16
WAITING_EVENTS_MAX: Final = 65_536
"""Events that wait for the disk; at the bound more are refused."""
EAGER_EVENTS: Final = 64
"""So many are handed to the writer at once, while the loop goes on making more: also behind a commit under way, so that
the next begins when that one ends, and not when the loop has heard of it. Fewer wait, and go together."""
WRITES_MAX: Final = 2
"""Commits that the writer has, the one under way among them."""
ROWS_PER_STATEMENT_MAX: Final = 128
_COLUMNS: Final = 9
_READ_ROWS: Final = "SELECT sequence, book_sequence, chain, body FROM events "
_READ_BACK: Final = (
    "WITH RECURSIVE walk (place) AS (SELECT ? UNION ALL SELECT previous FROM walk JOIN events ON sequence = place "
    "WHERE previous > 0 LIMIT ?) SELECT sequence, book_sequence, chain, body, previous FROM walk "
    "JOIN events ON sequence = place ORDER BY sequence DESC"
)
_LOAD_ROWS: Final = (
    "SELECT sequence, events.strategy_id, book_sequence, events.order_id, events.body, chain, previous, "
    "coalesce(last_sequence, 0) FROM events LEFT JOIN archive USING (order_id) ORDER BY sequence"
)
_COMPACT_ROWS_MAX: Final = 4_096
"""Rows looked at in one transaction while old events go."""

_log = structlog.get_logger(__name__)

Then = Callable[[JournalEvent], object]
_Waiting = tuple[Sequence[JournalEvent], Then | None, "asyncio.Future[None]"]


def insert_sql(rows: int) -> str:
    """One statement for many rows, with its own transaction: the interpreter's lock is let go of once, not per row."""
    row = f"({', '.join('?' * _COLUMNS)})"
    return f"INSERT INTO events VALUES {', '.join([row] * rows)}"  # noqa: S608 - question marks alone


_INSERTS: Final = tuple(insert_sql(rows) for rows in range(1, ROWS_PER_STATEMENT_MAX + 1))


class SqliteOrderJournal:
    """Implements `OrderJournal`.

    Raises:
        DatabaseRefused: What the file has is not what was written.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._epoch = database.meta("epoch") or ""
        self._oldest = int(database.meta("oldest_sequence") or 1)
        self._oldest_hash = bytes.fromhex(database.meta("oldest_hash") or "") or chain_start(self._epoch)
        self._last: dict[str, int] = {}
        self._book_heads: dict[str, int] = {}
        self._given, self._chain = self._oldest - 1, self._oldest_hash
        try:
            self._load()
        except (sqlite3.DatabaseError, TypeError) as error:  # values of another type are no rows of ours
            raise self._damaged(f"({error})") from None
        self._head = self._given
        self.archive: Final = SqliteOrderArchive(database, self._forget)
        self.requests: Final = SqliteVenueRequests(database, lambda: self._given, self._flush)
        self._waiting: list[_Waiting] = []
        self._parameters: list[Any] = []
        self._is_flush_due = False
        self._writes = 0
        self._has_requests = False
        self._is_followed = True

    @property
    def epoch(self) -> str:
        """The random id of this file's life."""
        return self._epoch

    @property
    def head(self) -> int:
        """The sequence of the newest event; 0 when there is none."""
        return self._head

    @property
    def oldest(self) -> int:
        """The sequence of the oldest event that can still be told; head + 1 when there is none."""
        return self._oldest

    @property
    def fault(self) -> str:
        """Why nothing can be recorded any more; empty while it can."""
        return self._database.fault

    def add_fault_listener(self, listener: Callable[[str], None]) -> None:
        """Tell somebody, once, when recording ends."""
        self._database.add_fault_listener(listener)

    async def append(self, events: Sequence[JournalEvent], then: Then | None = None) -> tuple[JournalEvent, ...]:
        """Record events together; see `OrderJournal.append`."""
        if self._database.fault or len(self._parameters) >= WAITING_EVENTS_MAX * _COLUMNS:
            raise self._database.unavailable()
        bodies = [encode(event) for event in events]
        loop = asyncio.get_running_loop()
        for event, body in zip(events, bodies, strict=True):
            self._give(event, body)
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.append((events, then, future))
        if self._is_crowd:
            self._flush()
        elif not self._is_flush_due and not self._writes:
            self._is_flush_due = True
            loop.call_soon(self._flush)
        await future
        return tuple(events)

    def read(self, after: int, limit: int, strategy_id: str | None = None) -> tuple[JournalEvent, ...]:
        """At most `limit` events of a book, in order."""
        if strategy_id is None:
            condition, values = "WHERE sequence > ? ORDER BY sequence LIMIT ?", (max(after, self._oldest - 1), limit)
            return self._events(condition, values)
        condition = "WHERE strategy_id = ? AND book_sequence > ? AND sequence >= ? ORDER BY book_sequence LIMIT ?"
        return self._events(condition, (strategy_id, after, self._oldest, limit))

    def read_order_events(self, order_ids: Sequence[str], up_to_sequence: int) -> tuple[JournalEvent, ...]:
        """Everything that is kept of some orders, up to a sequence, in order."""
        starts = [last for order_id in order_ids if (last := self._last_of(order_id))]
        walk = (
            "WITH RECURSIVE walk (place) AS (SELECT value FROM json_each(?) UNION ALL "
            "SELECT previous FROM walk JOIN events ON sequence = place WHERE previous > 0) "
        )
        condition = "WHERE sequence IN (SELECT place FROM walk) AND sequence <= ? ORDER BY sequence"
        rows = self._database.reader.execute(
            f"{walk}{_READ_ROWS}{condition}", (orjson.dumps(starts).decode(), up_to_sequence)
        )
        return tuple(_event(*row) for row in rows)

    def read_story(self, order_id: str, limit: int, up_to: int | None = None) -> tuple[Sequence[JournalEvent], int]:
        """The newest events of an order, newest first, and the sequence to go on with; 0 at the end."""
        start = self._last_of(order_id) if up_to is None else up_to
        rows = self._database.reader.execute(_READ_BACK, (start, limit)).fetchall()
        return [_event(*row[:-1]) for row in rows], int(rows[-1][-1]) if len(rows) == limit else 0

    def replay(self) -> Iterator[JournalEvent]:
        """What the orders in memory are made of: everything but what the archive already contains."""
        rows = self._database.reader.execute(
            "SELECT events.sequence, book_sequence, chain, events.body FROM events "
            "LEFT JOIN archive USING (order_id) WHERE sequence > coalesce(last_sequence, 0) ORDER BY sequence"
        )
        for row in rows:
            yield _event(*row)

    def book_heads(self) -> Mapping[str, int]:
        """The sequence of the newest event of each strategy's book."""
        return self._book_heads

    def book_oldest(self, strategy_id: str) -> int:
        """The sequence of the oldest event of a strategy's book that can still be told; its head + 1 without one."""
        row = self._database.reader.execute(
            "SELECT book_sequence FROM events WHERE strategy_id = ? AND book_sequence IS NOT NULL AND sequence >= ? "
            "ORDER BY book_sequence LIMIT 1",
            (strategy_id, self._oldest),
        ).fetchone()
        return self._book_heads.get(strategy_id, 0) + 1 if row is None else int(row[0])

    def first_since(self, record_time_ns: int) -> int:
        """The sequence of the first event recorded at an instant or later; head + 1 when there is none."""
        low, high = self._oldest, self._head + 1
        while low < high:
            middle = (low + high) // 2
            row = self._database.reader.execute(
                "SELECT record_time_ns FROM events WHERE sequence = ?", (middle,)
            ).fetchone()
            if row[0] < record_time_ns:
                low = middle + 1
            else:
                high = middle
        return low

    def chain_hash(self, sequence: int, strategy_id: str | None = None) -> bytes:
        """What binds all events up to a sequence of a book.

        Raises:
            KeyError: Gone, or in the future.
        """
        if strategy_id is not None:
            query = "SELECT chain FROM events WHERE strategy_id = ? AND book_sequence = ?"
            row = self._database.reader.execute(query, (strategy_id, sequence)).fetchone()
            if row is None:
                raise KeyError(sequence)
            return bytes(row[0])
        if sequence == self._oldest - 1:
            return self._oldest_hash
        row = self._database.reader.execute("SELECT chain FROM events WHERE sequence = ?", (sequence,)).fetchone()
        if row is None or sequence < self._oldest:
            raise KeyError(sequence)
        return bytes(row[0])

    async def compact(self, oldest: int) -> None:
        """Let events before a sequence go that no order in memory is made of; see `OrderJournal.compact`."""
        oldest = min(oldest, self._head)  # the newest stays: the next one follows it
        if oldest <= self._oldest:
            return
        before = self.chain_hash(oldest - 1)
        facts = {"oldest_sequence": str(oldest), "oldest_hash": before.hex()}
        await self._database.write(
            lambda connection: connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", facts.items()), 2
        )
        self._oldest, self._oldest_hash = oldest, before
        first = 0
        while first < oldest:
            first = await self._database.write(partial(_delete_some, first, oldest), _COMPACT_ROWS_MAX)
        await self.requests.drop_before(oldest)

    async def close(self) -> None:
        """Record what was asked for, then end. Idempotent."""
        self._flush()
        if self._waiting:
            await asyncio.wait([future for _, _, future in self._waiting])
        self._flush()
        await self._database.close()

    def _give(self, event: JournalEvent, body: bytes) -> None:
        """Its place in the journal, in its book and in the chain."""
        assert not event.sequence, "an event is recorded once"
        order_id, strategy_id = event.order_id, event.strategy_id
        previous = self._last.get(order_id, 0)
        if not previous and event.kind is not OrderEventKind.RECORDED:
            previous = self.archive.last_sequence(order_id)
        self._given = event.sequence = sequence = self._given + 1
        book_sequence = None
        if strategy_id:
            book_sequence = self._book_heads.get(strategy_id, 0) + 1
            self._book_heads[strategy_id] = event.book_sequence = book_sequence
        self._chain = event.chain_hash = chained(self._chain, body)
        self._last[order_id] = sequence
        self._parameters += (
            sequence, strategy_id, book_sequence, order_id, event.kind.value, event.record_time_ns, body, self._chain,
            previous,
        )  # fmt: skip

    def _flush(self) -> None:
        """Hand everything that waits to the writer, if it is idle or a crowd waits; else its end does."""
        self._is_flush_due = False
        if self._writes and not (self._is_crowd and self._writes < WRITES_MAX):
            return
        if not (self._waiting or self.requests.is_waiting):
            return
        batch, self._waiting = self._waiting, []
        parameters, self._parameters = self._parameters, []
        requests = [] if self._has_requests else self.requests.take()  # they leave one commit after the other
        self._has_requests |= bool(requests)
        head = parameters[-_COLUMNS] if parameters else None
        done = partial(self._recorded, batch, head, bool(requests))
        self._writes += 1
        try:
            self._database.submit(
                partial(_insert, parameters, requests), done, len(parameters) // _COLUMNS + len(requests)
            )
        except JournalUnavailable:
            done(None, False)

    @property
    def _is_crowd(self) -> bool:
        return len(self._parameters) >= EAGER_EVENTS * _COLUMNS

    def _recorded(self, batch: list[_Waiting], head: int | None, has_requests: bool, _: object, written: bool) -> None:
        """The writer is done with a batch; the next one begins before anybody is told."""
        self._writes -= 1
        if has_requests:
            self.requests.taken()
            self._has_requests = False
        if written and head is not None:
            self._head = head
        self._flush()
        for events, then, future in batch:
            if written and self._is_followed and then is not None:
                self._is_followed = self._told(events, then)
            if future.done():
                continue
            if written and self._is_followed:
                future.set_result(None)
            else:
                future.set_exception(self._database.unavailable())

    def _told(self, events: Sequence[JournalEvent], then: Then) -> bool:
        """Hand recorded events on; orders that cannot follow the journal must not go on without it."""
        try:
            for event in events:
                then(event)
        except Exception as error:
            _log.exception("journal_listener_failed")
            self._database.latch(f"an event could not be taken in: {type(error).__name__}")
            return False
        return True

    def _events(self, condition: str, values: tuple[Any, ...]) -> tuple[JournalEvent, ...]:
        return tuple(_event(*row) for row in self._database.reader.execute(_READ_ROWS + condition, values))

    def _last_of(self, order_id: str) -> int:
        return self._last.get(order_id) or self.archive.last_sequence(order_id)

    def _forget(self, order_id: str, last_sequence: int) -> None:
        """The archive has an order, up to a sequence."""
        if self._last.get(order_id) == last_sequence:
            del self._last[order_id]

    def _load(self) -> None:
        """Walk the whole file once: nothing missing, nothing changed, nothing out of place."""
        heads: dict[str, int] = {}
        checked: dict[str, int] = {}  # books, as far as nothing of them may be missing
        for row in self._database.reader.execute(_LOAD_ROWS):
            sequence, strategy_id, book_sequence, order_id, body, chain, previous, archived = row
            is_right = True
            if sequence >= self._oldest:
                self._chain = chained(self._chain, body)
                self._given += 1
                is_right = sequence == self._given and chain == self._chain
                if book_sequence is not None:
                    is_right &= book_sequence == checked.get(strategy_id, book_sequence - 1) + 1
                    checked[strategy_id] = book_sequence
            if book_sequence is not None:
                heads[strategy_id] = book_sequence
            if sequence > archived:
                is_right &= previous == self._last.get(order_id, archived)
                self._last[order_id] = sequence
            if not is_right:
                raise self._damaged(f"at event {sequence}")
        self._book_heads = heads

    def _damaged(self, where: str) -> DatabaseRefused:
        return DatabaseRefused(f"{self._database.path} is damaged {where}: restore a back-up of it.")


def chain_start(epoch: str) -> bytes:
    """What stands before the first link."""
    return hashlib.blake2b(epoch.encode(), digest_size=CHAIN_BYTES).digest()


def chained(before: bytes, body: bytes) -> bytes:
    """The next link."""
    return hashlib.blake2b(before + body, digest_size=CHAIN_BYTES).digest()


def _insert(parameters: list[Any], requests: list[tuple[Any, ...]], connection: sqlite3.Connection) -> None:
    rows = len(parameters) // _COLUMNS
    if rows <= ROWS_PER_STATEMENT_MAX and not requests:
        connection.execute(_INSERTS[rows - 1], parameters)
        return
    connection.execute("BEGIN IMMEDIATE")
    for start in range(0, len(parameters), ROWS_PER_STATEMENT_MAX * _COLUMNS):
        part = parameters[start : start + ROWS_PER_STATEMENT_MAX * _COLUMNS]
        connection.execute(_INSERTS[len(part) // _COLUMNS - 1], part)
    if requests:
        insert(requests, connection)
    connection.execute("COMMIT")


def _delete_some(first: int, oldest: int, connection: sqlite3.Connection) -> int:
    """Delete what nobody needs of some rows; the sequence to go on from, at the end `oldest`.

    The newest event of a book stays whatever its age: the next one's number follows from it.
    """
    row = connection.execute(
        "SELECT max(sequence) FROM (SELECT sequence FROM events WHERE sequence >= ? AND sequence < ? "
        "ORDER BY sequence LIMIT ?)",
        (first, oldest, _COMPACT_ROWS_MAX),
    ).fetchone()
    if row[0] is None:
        return oldest
    connection.execute(
        "DELETE FROM events WHERE sequence BETWEEN ? AND ? "
        "AND EXISTS (SELECT 1 FROM archive WHERE archive.order_id = events.order_id AND last_sequence < ?) "
        "AND (book_sequence IS NULL OR EXISTS (SELECT 1 FROM events later WHERE "
        "later.strategy_id = events.strategy_id AND later.book_sequence > events.book_sequence))",
        (first, row[0], oldest),
    )
    return int(row[0]) + 1


def _event(sequence: int, book_sequence: int | None, chain: bytes, body: bytes) -> JournalEvent:
    try:
        event = decode(JournalEvent, body)
    except BodyUnreadable as error:
        raise DatabaseRefused(f"event {sequence} of the journal: {error}") from None
    event.sequence, event.book_sequence, event.chain_hash = sequence, book_sequence or 0, chain
    return event
