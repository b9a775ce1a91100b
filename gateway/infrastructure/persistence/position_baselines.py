"""Where the holdings stand that the journal's fills are counted from: in the journal's own file, or in memory."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

import orjson

from gateway.domain.models.account import PositionBaseline
from gateway.domain.types import format_decimal
from gateway.infrastructure.persistence.database import Database

_KEY: Final = "position_baseline"


class SqlitePositionBaselines:
    """Implements `PositionBaselineStore` as one fact of the file.

    As JSON: `[sequence, {symbol: quantity}, {symbol: bought}]`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def current(self) -> PositionBaseline | None:
        """The newest; None while the account was never compared."""
        text = self._database.meta(_KEY)
        if text is None:
            return None
        sequence, positions, bought = orjson.loads(text)
        return PositionBaseline(sequence, _read(positions), _read(bought))

    async def put(self, baseline: PositionBaseline) -> None:
        """Keep another one in its place."""
        figures = [baseline.sequence, _written(baseline.positions), _written(baseline.bought)]
        row = (_KEY, orjson.dumps(figures).decode())
        await self._database.write(
            lambda connection: connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", row)
        )


class MemoryPositionBaselines:
    """Implements `PositionBaselineStore`; forgotten with the process."""

    def __init__(self) -> None:
        self._current: PositionBaseline | None = None

    def current(self) -> PositionBaseline | None:
        """The newest."""
        return self._current

    async def put(self, baseline: PositionBaseline) -> None:
        """Take another one."""
        self._current = baseline


def _read(quantities: Mapping[str, str]) -> dict[str, Decimal]:
    return {symbol: Decimal(quantity) for symbol, quantity in quantities.items()}


def _written(quantities: Mapping[str, Decimal]) -> dict[str, str]:
    return {symbol: format_decimal(quantity) for symbol, quantity in quantities.items()}
