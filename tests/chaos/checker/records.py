"""The three records together, the figures of the run, and what several invariants derive from them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Final

import orjson

from tests.chaos.checker.fold import Standing, standing_of
from tests.chaos.checker.histories import History, Key
from tests.chaos.checker.journal import ACCOUNT_BOOK, Journal, Row, read_sqlite
from tests.chaos.checker.ledger import Ledger, VenueOrder
from tests.chaos.checker.plain import Json

NANOS_PER_MS: Final = 1_000_000
CLOCK_TOLERANCE_MS: Final = 1
"""Between two processes that read one machine's clock."""
LATE_MS: Final = 50
"""So long after valid_until, or after a kill, a request that had left may still arrive."""
SETTLE_MS: Final = 60_000
RTO_MS: Final = 30_000
"""After everything is healed an order must be taken within this time."""
DEADLINE_GRACE_MS: Final = 1_000
ORDERS_PER_SECOND_MIN: Final = 50
IN_FLIGHT_MIN: Final = 20
INITIAL_CASH_USD: Final = Decimal(100_000)
FEE_BPS: Final = Decimal(25)
"""Of crypto: from the coins of a buy, from the dollars of a sell."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The figures of a run.

    Attributes:
        transit_ms: The longest that a proxy between the gateway and the venue held a request back.
        initial_cash: US dollars.
        is_void_judged: Whether a run in which too little happened is void.
    """

    settle_ms: int = SETTLE_MS
    transit_ms: int = 0
    rto_ms: int = RTO_MS
    initial_cash: Decimal = INITIAL_CASH_USD
    fee_bps: Decimal = FEE_BPS
    is_void_judged: bool = True

    @property
    def late_ns(self) -> int:
        """How late a request may arrive."""
        return (LATE_MS + self.transit_ms) * NANOS_PER_MS


class Records:
    """What the checker looks at.

    Args:
        ledger, journal, history: Lines as the package's docstring describes them.
    """

    def __init__(
        self,
        ledger: Iterable[Json],
        journal: Iterable[Json],
        history: Iterable[Json],
        settings: Settings | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.venue = Ledger(ledger)
        self.journal = Journal(journal)
        self.clients = History(history)

    @classmethod
    def read(
        cls, ledgers: Iterable[Path], journal: Path, histories: Iterable[Path], settings: Settings | None = None
    ) -> Records:
        """From files.

        Raises:
            OSError, ValueError, KeyError, sqlite3.Error: They cannot be read.
        """
        rows = read_sqlite(journal) if _is_sqlite(journal) else _lines(journal)
        return cls(_all_lines(ledgers), rows, _all_lines(histories), settings)

    @cached_property
    def strategies(self) -> frozenset[str]:
        """Everybody whose orders are ours."""
        return frozenset(self.clients.strategies | self.journal.strategies)

    def key_of(self, client_id: str) -> Key | None:
        """Strategy and key of an id that the gateway made; None for any other."""
        strategy_id, dot, key = client_id.partition(".")
        return (strategy_id, key) if dot and strategy_id in self.strategies else None

    def at_venue(self, key: Key) -> list[VenueOrder]:
        """The orders that stand at the venue under a key."""
        ids = self.venue.by_client_id.get(f"{key[0]}.{key[1]}", ())
        return [self.venue.orders[venue_order_id] for venue_order_id in ids]

    @cached_property
    def standings(self) -> dict[str, Standing]:
        """Where each order stands at the end, by the journal."""
        return {order_id: standing_of(rows) for order_id, rows in self.journal.by_order.items()}

    @cached_property
    def fills(self) -> list[Row]:
        """The journal's rows with an execution."""
        return [row for row in self.journal.rows if row.fill is not None]

    @cached_property
    def was_wiped(self) -> bool:
        """Whether the run lost its journal: then orders of ours may be found without a row."""
        return bool(self.clients.named("journal_wiped"))

    @cached_property
    def journal_began_ns(self) -> int:
        """Streams opened before this instant followed a journal that is gone."""
        wiped = self.clients.named("journal_wiped")
        return wiped[-1].time_ns if wiped else 0

    def row_of(self, book: str, sequence: int) -> Row | None:
        """A book's row by the book's own sequence; None when it is not kept."""
        rows = self.journal.by_book.get(book)
        if not rows:
            return None
        first = rows[0].sequence if book == ACCOUNT_BOOK else rows[0].book_sequence or 1
        index = sequence - first
        return rows[index] if 0 <= index < len(rows) else None

    def rows_of_order_up_to(self, order_id: str, book: str, sequence: int) -> int:
        """How many rows of an order a book has up to a sequence."""
        rows = self.journal.by_order.get(order_id, [])
        if book == ACCOUNT_BOOK:
            return bisect_right(rows, sequence, key=lambda row: row.sequence)
        return bisect_right(rows, sequence, key=lambda row: row.book_sequence or 0)


def _is_sqlite(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(16) == b"SQLite format 3\x00"


def _all_lines(paths: Iterable[Path]) -> Iterator[Json]:
    for path in paths:
        yield from _lines(path)


def _lines(path: Path) -> Iterator[Json]:
    """JSON lines; one that its writer, killed, did not finish is left out."""
    with path.open("rb") as file:
        for line in file:
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError:
                if line.strip() and line.lstrip()[:1] != b"{":
                    raise ValueError(f"{path}: not a line of JSON: {line[:80]!r}") from None
