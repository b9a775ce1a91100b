"""Everything that one data directory keeps, opened together: it is one file, with one writer.

Without a data directory all of it is in memory and forgotten with the process; `serve` always has one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.domain.interfaces import (
    AccountPinStore,
    AuditLog,
    IdentityStore,
    OrderJournal,
    PositionBaselineStore,
    TradingStateStore,
)
from gateway.domain.models.account import AccountPin
from gateway.domain.types import Venue
from gateway.infrastructure.persistence.audit_log import MemoryAuditLog, SqliteAuditLog
from gateway.infrastructure.persistence.database import Database, DatabaseRefused
from gateway.infrastructure.persistence.identity_store import MemoryIdentities, SqliteIdentityStore
from gateway.infrastructure.persistence.memory_journal import MemoryJournal, random_epoch
from gateway.infrastructure.persistence.memory_trading_states import MemoryTradingStates
from gateway.infrastructure.persistence.order_journal import SqliteOrderJournal
from gateway.infrastructure.persistence.position_baselines import MemoryPositionBaselines, SqlitePositionBaselines
from gateway.infrastructure.persistence.revocation_file import RevocationFile
from gateway.infrastructure.persistence.trading_state_store import SqliteTradingStateStore

_VENUE: Final = "venue"
_ACCOUNT_ID: Final = "account_id"


class SqliteAccountPins:
    """Implements `AccountPinStore` as two facts of the file."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def current(self) -> AccountPin | None:
        """The pin; None in a new directory."""
        venue, account_id = self._database.meta(_VENUE), self._database.meta(_ACCOUNT_ID)
        return None if venue is None or account_id is None else AccountPin(Venue(venue), account_id)

    async def put(self, pin: AccountPin) -> None:
        """Pin it, once; an older pin stays."""
        rows = [(_VENUE, pin.venue.value), (_ACCOUNT_ID, pin.account_id)]
        await self._database.write(
            lambda connection: connection.executemany("INSERT OR IGNORE INTO meta VALUES (?, ?)", rows), len(rows)
        )


class MemoryAccountPins:
    """Implements `AccountPinStore`; forgotten with the process."""

    def __init__(self) -> None:
        self._pin: AccountPin | None = None

    def current(self) -> AccountPin | None:
        """The pin."""
        return self._pin

    async def put(self, pin: AccountPin) -> None:
        """Pin it, once."""
        self._pin = self._pin or pin


@dataclass(frozen=True, slots=True)
class Stores:
    """What is kept.

    Attributes:
        latch: Ends recording for the life of the process.
    """

    journal: OrderJournal
    trading_states: TradingStateStore
    position_baselines: PositionBaselineStore
    pins: AccountPinStore
    identities: IdentityStore
    audit: AuditLog
    latch: Callable[[str], None]


def open_stores(folder: Path | None, now_ns: int, memory_events_max: int) -> Stores:
    """Open what a data directory keeps.

    Args:
        folder: None: in memory.
        now_ns: Nanoseconds since the Unix epoch.
        memory_events_max: Bound of a journal in memory.

    Raises:
        DatabaseRefused: Damaged, or of a later version.
    """
    if folder is None:
        return Stores(
            MemoryJournal(memory_events_max),
            MemoryTradingStates(),
            MemoryPositionBaselines(),
            MemoryAccountPins(),
            MemoryIdentities(),
            MemoryAuditLog(),
            lambda _: None,
        )
    database = Database(folder, now_ns, random_epoch)
    try:
        states, baselines, pins = (
            SqliteTradingStateStore(database), SqlitePositionBaselines(database), SqliteAccountPins(database),
        )  # fmt: skip
        identities = SqliteIdentityStore(database, _revocations(folder, now_ns))
        audit = SqliteAuditLog(database)
        # What cannot be read is met now, and not when somebody needs it.
        baselines.current(), pins.current(), identities.all()
        return Stores(SqliteOrderJournal(database), states, baselines, pins, identities, audit, database.latch)
    except (sqlite3.DatabaseError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise DatabaseRefused(f"{database.path} is damaged ({error}): restore a back-up of it.") from None


def _revocations(folder: Path, now_ns: int) -> RevocationFile:
    try:
        return RevocationFile(folder, now_ns)
    except OSError as error:
        raise DatabaseRefused(f"which tokens of {folder} have ended cannot be read: {error}") from None
