"""SqliteVenueRequests: the requests to the venue about orders, in a table beside the events.

Promises what `VenueRequestLog` promises. Rows ride in the commits of the journal: one that is noted while an event
waits is durable with it, any other after FLUSH_DELAY_MS at most; what a kill in between takes is a trace, never
what became of its order. Rows have no place in any book and in no chain. They go with the events of their orders, and
the oldest at REQUESTS_MAX.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import structlog

from gateway.domain.venue_requests import VenueRequest
from gateway.infrastructure.persistence.database import Database

FLUSH_DELAY_MS: Final = 50
"""A row waits so long for an event to be written with."""
WAITING_MAX: Final = 16_384
"""Rows that wait for the disk; at the bound more are not kept."""
REQUESTS_MAX: Final = 1_000_000
"""Rows kept, of some 250 bytes; the venue takes fewer than 300,000 requests a day."""
_DROP_ROWS_MAX: Final = 4_096
"""Rows looked at in one transaction while old ones go."""
_TRIM_EVERY: Final = 1_024
"""Rows between two looks at whether there are too many."""
_ROW: Final = "INSERT INTO venue_requests VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_READ: Final = (
    "SELECT number, order_id, method, path, send_time_ns, end_time_ns, status, venue_request_id FROM venue_requests "
    "WHERE order_id = ? AND number < ? ORDER BY number DESC LIMIT ?"
)

_log = structlog.get_logger(__name__)
_Numbered = tuple[int, VenueRequest]


class SqliteVenueRequests:
    """Implements `VenueRequestLog`; written by the journal's commits.

    Args:
        given: The sequence of the newest event that was given one: a row goes with the events up to it.
        flush: Has the journal commit what waits.
    """

    def __init__(self, database: Database, given: Callable[[], int], flush: Callable[[], None]) -> None:
        self._database = database
        self._given = given
        self._flush = flush
        row = database.reader.execute("SELECT coalesce(max(number), 0) FROM venue_requests").fetchone()
        self._number = int(row[0])
        self._waiting: list[_Numbered] = []
        self._rows: list[tuple[Any, ...]] = []
        self._leaving: list[_Numbered] = []
        self._timer: asyncio.TimerHandle | None = None
        self._lost = 0

    def note(self, request: VenueRequest) -> None:
        """Keep one."""
        if self._database.fault or len(self._waiting) >= WAITING_MAX:
            self._lost += 1
            if self._lost == 1:
                _log.error("venue_request_not_kept", order_id=request.order_id)
            return
        self._number += 1
        self._waiting.append((self._number, request))
        self._rows.append(
            (
                self._number, request.order_id, self._given(), request.method, request.path, request.send_time_ns,
                request.end_time_ns, request.status, request.venue_request_id,
            )
        )  # fmt: skip
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_DELAY_MS / 1_000, self._due)

    def read(self, order_id: str, limit: int, before: int | None = None) -> Sequence[_Numbered]:
        """The newest of an order, newest first; those that still wait for the disk among them."""
        first = self._number + 1 if before is None else before
        unwritten = [row for row in (*self._leaving, *self._waiting) if row[1].order_id == order_id and row[0] < first]
        found = unwritten[: -limit - 1 : -1]
        if len(found) < limit:
            below = min(first, unwritten[0][0]) if unwritten else first
            rows = self._database.reader.execute(_READ, (order_id, below, limit - len(found)))
            found += [(number, VenueRequest(*values)) for number, *values in rows]
        return found

    @property
    def is_waiting(self) -> bool:
        """Whether a row waits for a commit."""
        return bool(self._rows)

    def take(self) -> list[tuple[Any, ...]]:
        """The rows for the commit that begins now; the one before it has ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        rows, self._rows = self._rows, []
        self._leaving, self._waiting = self._waiting, []
        return rows

    def taken(self) -> None:
        """The commit has ended; where it failed nothing is ever written again."""
        self._leaving = []

    async def drop_before(self, oldest: int) -> None:
        """Let go what belongs to events before a sequence whose orders are archived.

        Raises:
            JournalUnavailable: The rest stays.
        """
        number: int | None = 0
        while number is not None:
            number = await self._database.write(partial(_drop_some, number, oldest), _DROP_ROWS_MAX)

    def _due(self) -> None:
        self._timer = None
        self._flush()


def insert(rows: list[tuple[Any, ...]], connection: sqlite3.Connection) -> None:
    """Write rows, in a transaction that is under way; now and then what is too much goes in it."""
    connection.executemany(_ROW, rows)
    if (rows[0][0] - 1) // _TRIM_EVERY != rows[-1][0] // _TRIM_EVERY:
        connection.execute("DELETE FROM venue_requests WHERE number <= ?", (rows[-1][0] - REQUESTS_MAX,))


def _drop_some(first: int, oldest: int, connection: sqlite3.Connection) -> int | None:
    """Delete what nobody needs of some rows; the number to go on from, None at the end."""
    last, newest = connection.execute(
        "SELECT max(number), max(sequence) FROM "
        "(SELECT number, sequence FROM venue_requests WHERE number >= ? ORDER BY number LIMIT ?)",
        (first, _DROP_ROWS_MAX),
    ).fetchone()
    if last is None:
        return None
    connection.execute(
        "DELETE FROM venue_requests WHERE number BETWEEN ? AND ? AND sequence < ? AND (order_id = '*' OR EXISTS "
        "(SELECT 1 FROM archive WHERE archive.order_id = venue_requests.order_id AND last_sequence < ?))",
        (first, last, oldest, oldest),
    )
    return int(last) + 1 if newest < oldest else None
