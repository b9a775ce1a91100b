"""The audit log: append-only, chained rows of the data directory's file, or in memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, Final

import orjson

from gateway.domain.models.audit import FIRST_HASH, AuditAction, AuditEntry, AuditRecord, chained
from gateway.infrastructure.persistence.database import Database

_WRITE: Final = "INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_READ: Final = """
SELECT sequence, time_ns, actor, action, subject, outcome, detail, hash FROM audit WHERE sequence > ? ORDER BY sequence
"""


class SqliteAuditLog:
    """Implements `AuditLog` in the data directory's file."""

    def __init__(self, database: Database) -> None:
        self._database = database
        row = database.reader.execute("SELECT sequence, hash FROM audit ORDER BY sequence DESC LIMIT 1").fetchone()
        self._sequence, self._hash = (0, FIRST_HASH) if row is None else (int(row[0]), bytes(row[1]))

    @property
    def head(self) -> tuple[int, bytes]:
        """The newest sequence and its hash."""
        return self._sequence, self._hash

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        """Record them, all or none; see `AuditLog.append`."""

        def store(connection: sqlite3.Connection) -> tuple[int, bytes]:
            # On the writer's thread, one after the other: nobody else makes rows, so the chain cannot fork.
            row = connection.execute("SELECT sequence, hash FROM audit ORDER BY sequence DESC LIMIT 1").fetchone()
            sequence, before = (0, FIRST_HASH) if row is None else (int(row[0]), bytes(row[1]))
            for entry in entries:
                sequence, before = sequence + 1, chained(before, entry)
                connection.execute(_WRITE, _row(AuditRecord(sequence, entry, before)))
            return sequence, before

        self._sequence, self._hash = await self._database.write(store, len(entries))

    def read(self, after: int = 0) -> Iterator[AuditRecord]:
        """Every record behind a sequence, in order."""
        return read_audit(self._database.reader, after)


class MemoryAuditLog:
    """Implements `AuditLog`; forgotten with the process."""

    def __init__(self) -> None:
        self._records: list[AuditRecord] = []

    @property
    def head(self) -> tuple[int, bytes]:
        """The newest sequence and its hash."""
        return (self._records[-1].sequence, self._records[-1].hash) if self._records else (0, FIRST_HASH)

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        """Record them."""
        for entry in entries:
            sequence, before = self.head
            self._records.append(AuditRecord(sequence + 1, entry, chained(before, entry)))

    def read(self, after: int = 0) -> Iterator[AuditRecord]:
        """Every record behind a sequence, in order."""
        return iter(self._records[after:])


def read_audit(connection: sqlite3.Connection, after: int = 0) -> Iterator[AuditRecord]:
    """Records over a connection of one's own, also while a gateway writes.

    Raises:
        sqlite3.Error: The file has no audit log, or cannot be read.
        ValueError: A row is not one that was ever written.
    """
    for sequence, time_ns, actor, action, subject, outcome, detail, chain in connection.execute(_READ, (after,)):
        entry = AuditEntry(time_ns, actor, AuditAction(action), subject, outcome, orjson.loads(detail))
        yield AuditRecord(sequence, entry, bytes(chain))


def _row(record: AuditRecord) -> tuple[Any, ...]:
    entry = record.entry
    detail = orjson.dumps(dict(entry.detail), option=orjson.OPT_SORT_KEYS).decode()
    return (
        record.sequence, entry.time_ns, entry.actor, entry.action.value, entry.subject, entry.outcome, detail,
        record.hash,
    )  # fmt: skip
