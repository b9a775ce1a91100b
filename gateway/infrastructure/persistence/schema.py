"""The tables of the journal's file, and how an older file becomes a present one.

Promises: each migration is one transaction; a file that a later version wrote is refused, untouched.

- `meta`: facts about the whole file. `epoch` is the random id of its life; `venue` and `account_id` pin it;
  `oldest_sequence` is the oldest event that a stream can still be told, `oldest_hash` the chain just before it.
- `events`: a row per event. `sequence` is the account book's, `book_sequence` the strategy's own (NULL for orders
  from outside), `previous` the sequence of the same order's event before it (0 for its first), `body` JSON as `codec`
  writes it, `chain` = blake2b(chain before ‖ body), 16 bytes; before the first stands blake2b(epoch).
- `archive`, `archive_keys`, `archive_venue_orders`: orders that can change no more and have left memory, as they were,
  and every name they have. Their events stay as long as streams can resume from them, and not longer.
- `venue_requests`: what went over the wire about an order. No events: they have no place in a book or in the chain;
  `sequence` is that of the newest event before a row, with which it goes.
- `trading_states`: append-only; the newest row is in force.
- `audit`: who did what; append-only. `hash` = SHA-256(hash before ‖ the entry's canonical JSON).
- `tokens`: who may call, and at which venue; of a secret only its SHA-256. Sets are JSON lists.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Final

_FIRST: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE events (
    sequence INTEGER PRIMARY KEY,
    strategy_id TEXT NOT NULL,
    book_sequence INTEGER,
    order_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    record_time_ns INTEGER NOT NULL,
    body BLOB NOT NULL,
    chain BLOB NOT NULL,
    previous INTEGER NOT NULL
);
CREATE UNIQUE INDEX events_by_book ON events (strategy_id, book_sequence) WHERE book_sequence IS NOT NULL;
CREATE TABLE archive (
    order_id TEXT PRIMARY KEY,
    last_sequence INTEGER NOT NULL,
    archive_time_ns INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX archive_by_time ON archive (archive_time_ns);
CREATE TABLE archive_keys (
    strategy_id TEXT NOT NULL,
    client_order_id TEXT NOT NULL,
    order_id TEXT NOT NULL,
    entry BLOB NOT NULL,
    PRIMARY KEY (strategy_id, client_order_id)
) WITHOUT ROWID;
CREATE TABLE archive_venue_orders (venue_order_id TEXT PRIMARY KEY, order_id TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE trading_states (
    version INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    mode TEXT NOT NULL,
    reason TEXT NOT NULL,
    set_by TEXT NOT NULL,
    automatic INTEGER NOT NULL,
    set_time_ns INTEGER NOT NULL
)
"""

_NAMES_BY_ORDER: Final = """
CREATE INDEX archive_keys_by_order ON archive_keys (order_id);
CREATE INDEX archive_venue_orders_by_order ON archive_venue_orders (order_id)
"""
"""So that forgetting an order does not look through every name there is."""

_TOKENS: Final = """
CREATE TABLE tokens (
    token_id TEXT PRIMARY KEY,
    strategy_id TEXT NOT NULL,
    scopes TEXT NOT NULL,
    secret_hash BLOB NOT NULL,
    create_time_ns INTEGER NOT NULL,
    expire_time_ns INTEGER NOT NULL,
    symbols TEXT NOT NULL,
    max_order_notional TEXT,
    networks TEXT NOT NULL,
    certificate TEXT NOT NULL,
    revoke_time_ns INTEGER,
    last_used_time_ns INTEGER
) WITHOUT ROWID
"""

_STORIES: Final = """
CREATE TABLE venue_requests (
    number INTEGER PRIMARY KEY,
    order_id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    method TEXT NOT NULL,
    path TEXT NOT NULL,
    send_time_ns INTEGER,
    end_time_ns INTEGER NOT NULL,
    status INTEGER NOT NULL,
    venue_request_id TEXT NOT NULL
);
CREATE INDEX venue_requests_by_order ON venue_requests (order_id, number);
ALTER TABLE archive ADD COLUMN strategy_id TEXT NOT NULL DEFAULT '';
ALTER TABLE archive ADD COLUMN create_time_ns INTEGER NOT NULL DEFAULT 0;
UPDATE archive SET strategy_id = json_extract(CAST(body AS TEXT), '$.strategy_id'),
    create_time_ns = json_extract(CAST(body AS TEXT), '$.create_time_ns');
CREATE INDEX archive_by_creation ON archive (create_time_ns, order_id);
CREATE INDEX archive_by_book ON archive (strategy_id, create_time_ns, order_id)
"""
"""What was asked of the venue about an order, and lists that go on where memory ends."""

_AUDIT: Final = """
CREATE TABLE audit (
    sequence INTEGER PRIMARY KEY,
    time_ns INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    outcome TEXT NOT NULL,
    detail TEXT NOT NULL,
    hash BLOB NOT NULL
)
"""

_VENUE_OF_TOKENS: Final = """
ALTER TABLE tokens ADD COLUMN venue TEXT NOT NULL DEFAULT '';
UPDATE tokens SET venue = coalesce((SELECT value FROM meta WHERE key = 'venue'), '')
"""
"""A directory that was served already belongs to one venue, and so do its tokens; elsewhere nobody knows any more."""

MIGRATIONS: Final[tuple[str, ...]] = (_FIRST, _NAMES_BY_ORDER, _TOKENS, _STORIES, _AUDIT, _VENUE_OF_TOKENS)
"""What makes version n + 1 of version n; only ever added to."""
SCHEMA_VERSION: Final = len(MIGRATIONS)


class DatabaseRefused(Exception):
    """The file must not be used; the text says why and what to do."""


def migrate(connection: sqlite3.Connection, now_ns: int, new_epoch: Callable[[], str]) -> None:
    """Bring a file, or a new one, to the present version.

    Raises:
        DatabaseRefused: A later version wrote it.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = check_version(connection)
        for script in MIGRATIONS[version:]:
            for statement in script.split(";"):
                connection.execute(statement)
        if version < SCHEMA_VERSION:
            facts = {"schema_version": str(SCHEMA_VERSION)}
            if not version:
                facts |= {"epoch": new_epoch(), "created_time_ns": str(now_ns), "oldest_sequence": "1"}
            connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", facts.items())
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def check_version(connection: sqlite3.Connection) -> int:
    """The version of a file; 0 of a new one.

    Raises:
        DatabaseRefused: A later version wrote it.
    """
    known = connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'meta'").fetchone()[0]
    version = int(meta(connection, "schema_version") or 0) if known else 0
    if version > SCHEMA_VERSION:
        raise DatabaseRefused(
            f"the journal has schema version {version}, and this build knows {SCHEMA_VERSION}: "
            "run the version that wrote it, or a later one."
        )
    return version


def meta(connection: sqlite3.Connection, key: str) -> str | None:
    """One of the facts about the whole file."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else str(row[0])
