"""SqliteOrderArchive: orders that can change no more, after they have left memory.

Promises what `OrderArchive` promises: such an order is found by every name it has, as it was, with what its keys stand
for, until it is `keep_days` old. Its events are the journal's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from gateway.domain.models.orders import ArchivedOrder, KeyEntry, Order
from gateway.infrastructure.persistence.codec import decode, encode
from gateway.infrastructure.persistence.database import Database

_TABLES: Final = ("archive_keys", "archive_venue_orders", "archive")

_GONE: Final = (
    "SELECT order_id FROM archive WHERE archive_time_ns < ? AND last_sequence NOT IN (SELECT sequence FROM events) "
    "ORDER BY archive_time_ns LIMIT ?"
)
"""As long as an event of an order is kept, the order is."""
DROP_ORDERS_MAX: Final = 512
"""Orders forgotten in one transaction: orders that are to be sent wait for it."""


class SqliteOrderArchive:
    """Implements `OrderArchive`.

    Args:
        moved: Told of each order that is in it now, and its last event.
    """

    def __init__(self, database: Database, moved: Callable[[str, int], None]) -> None:
        self._database = database
        self._moved = moved
        self._is_empty = not self.count

    @property
    def count(self) -> int:
        """Orders in it."""
        return int(self._database.reader.execute("SELECT count(*) FROM archive").fetchone()[0])

    async def put(self, orders: Sequence[ArchivedOrder], now_ns: int) -> None:
        """Take orders in, or anew; durable when this returns.

        Raises:
            JournalUnavailable: They stay where they are.
        """
        rows = [
            (
                known.order.order_id, known.last_sequence, now_ns, encode(known.order), known.order.strategy_id,
                known.order.create_time_ns,
            )
            for known in orders
        ]  # fmt: skip
        keys = [
            (known.order.strategy_id, key, entry.order_id, encode(entry))
            for known in orders
            for key, entry in known.keys.items()
        ]
        names = [
            (venue_order.venue_order_id, known.order.order_id)
            for known in orders
            for venue_order in known.order.venue_orders
        ]

        def store(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT OR REPLACE INTO archive VALUES (?, ?, ?, ?, ?, ?)", rows)
            connection.executemany("INSERT OR REPLACE INTO archive_keys VALUES (?, ?, ?, ?)", keys)
            connection.executemany("INSERT OR REPLACE INTO archive_venue_orders VALUES (?, ?)", names)

        await self._database.write(store, len(rows) + len(keys) + len(names))
        self._is_empty = False
        for known in orders:
            self._moved(known.order.order_id, known.last_sequence)

    async def drop_before(self, time_ns: int) -> None:
        """Forget orders that were taken in before an instant, with their names."""
        while gone := self._database.reader.execute(_GONE, (time_ns, DROP_ORDERS_MAX)).fetchall():
            await self._database.write(partial(_drop, gone), len(_TABLES) * len(gone))

    def order(self, order_id: str) -> Order | None:
        """One order by its id."""
        body = self._find("SELECT body FROM archive WHERE order_id = ?", order_id)
        return None if body is None else decode(Order, body)

    def key(self, strategy_id: str, client_order_id: str) -> KeyEntry | None:
        """What a key stands for."""
        query = "SELECT entry FROM archive_keys WHERE strategy_id = ? AND client_order_id = ?"
        entry = self._find(query, strategy_id, client_order_id)
        return None if entry is None else decode(KeyEntry, entry)

    def order_id_at_venue(self, venue_order_id: str) -> str | None:
        """The order that a venue order stands for."""
        found = self._find("SELECT order_id FROM archive_venue_orders WHERE venue_order_id = ?", venue_order_id)
        return None if found is None else str(found)

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
        if self._is_empty:
            return ()
        book = "" if strategy_id is None else "strategy_id = ? AND "
        direction = "ASC" if oldest_first else "DESC"
        rows = self._database.reader.execute(
            f"SELECT body FROM archive WHERE {book}(create_time_ns, order_id) > (?, ?) "  # noqa: S608 - words of ours
            f"AND (create_time_ns, order_id) < (?, ?) ORDER BY create_time_ns {direction}, order_id {direction} "
            "LIMIT ?",
            (*(() if strategy_id is None else (strategy_id,)), *after, *before, limit),
        )
        return [decode(Order, row[0]) for row in rows]

    def last_sequence(self, order_id: str) -> int:
        """Of an order's newest event when it was taken in; 0 when it is not in it."""
        return int(self._find("SELECT last_sequence FROM archive WHERE order_id = ?", order_id) or 0)

    def _find(self, query: str, *values: str) -> Any:
        if self._is_empty:
            return None
        row = self._database.reader.execute(query, values).fetchone()
        return None if row is None else row[0]


def _drop(order_ids: list[tuple[str]], connection: sqlite3.Connection) -> None:
    for table in _TABLES:
        connection.executemany(f"DELETE FROM {table} WHERE order_id = ?", order_ids)  # noqa: S608 - names of ours
