"""The account's trading states: append-only rows beside the journal.

Promises what `TradingStateStore` promises; a file in which one of them is missing or out of place is refused. Leaves
what a mode lets through to `domain.models.risk`.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from gateway.domain.errors import JournalUnavailable
from gateway.domain.models.risk import TradingMode, TradingState
from gateway.infrastructure.persistence.database import Database, DatabaseRefused

_ACCOUNT: Final = "account"
"""The one scope there is."""


class SqliteTradingStateStore:
    """Implements `TradingStateStore` in the data directory's file.

    Raises:
        DatabaseRefused: A state is missing, or out of place.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._current = TradingState()
        rows = database.reader.execute(
            "SELECT scope, mode, reason, set_by, automatic, set_time_ns, version FROM trading_states ORDER BY version"
        )
        for count, (scope, mode, reason, set_by, automatic, set_time_ns, version) in enumerate(rows, 1):
            if scope != _ACCOUNT or version != count:  # one that is passed over might be the one that stopped trading
                raise DatabaseRefused(f"{database.path} is damaged at trading state {count}: restore a back-up of it.")
            self._current = TradingState(
                TradingMode(mode.lower()), reason, set_by, bool(automatic), set_time_ns, version
            )
        self._asked = self._current.version

    def current(self) -> TradingState:
        """The newest; ACTIVE with version 0 before the first."""
        return self._current

    async def append(self, state: TradingState) -> None:
        """Record the next state; see `TradingStateStore.append`."""
        row = (
            state.version, _ACCOUNT, state.mode.name, state.reason, state.set_by, int(state.automatic),
            state.set_time_ns,
        )  # fmt: skip

        def store(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO trading_states VALUES (?, ?, ?, ?, ?, ?, ?)", row)

        if state.version != self._asked + 1:  # a row that the table refuses would be a fault of the whole file
            raise ValueError(f"version {state.version} cannot follow {self._asked}")
        self._asked = state.version
        try:
            await self._database.write(store)
        except JournalUnavailable:
            self._asked = self._current.version  # nothing was recorded: the same version may be asked again
            raise
        self._current = state
