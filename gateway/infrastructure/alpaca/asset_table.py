"""Which symbol the venue means: Alpaca's positions and activities say `BTCUSD` where all else says `BTC/USD`.

An asset's id and symbol never part, so what was read once is kept; it is a dictionary, not a cache. Symbols
are never cut: a position's asset id, or the whole spelling without its slash, is looked up in the venue's own
table. What the table does not name, or names twice, keeps the venue's spelling, so that nothing is traded
under a guess.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

from gateway.domain.models.reference import Asset
from gateway.domain.types import AssetClass, CallContext

RELOAD_INTERVAL_MIN_S: Final = 60.0
"""An id that stays unknown makes the table be read again at most this often."""

EQUITY_LENGTH_MAX: Final = 5
"""Letters of an equity's symbol without its suffix; crypto pairs without their slash have more."""

ReadAssets = Callable[[CallContext, AssetClass], Awaitable[list[Asset]]]


class AssetTable:
    """Asset id → symbol, and spelling without the slash → symbol, of crypto; equities are spelled alike everywhere.

    Args:
        read_assets: `MarketDataAdapter.list_assets`.
        monotonic: Seconds.
    """

    def __init__(self, read_assets: ReadAssets, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._read_assets = read_assets
        self._monotonic = monotonic
        self._by_id: dict[str, str] = {}
        self._by_spelling: dict[str, set[str]] = {}
        self._read_at: float | None = None
        self._reading = asyncio.Lock()

    def learn(self, assets: Iterable[Asset]) -> None:
        """Add what an answer says."""
        for asset in assets:
            self._by_id[asset.asset_id] = asset.symbol
            self._by_spelling.setdefault(asset.symbol.replace("/", ""), set()).add(asset.symbol)

    async def ensure_ids(self, context: CallContext, asset_ids: Iterable[str]) -> None:
        """Read the venue's table if an id is not in it yet.

        Raises:
            VenueUnreachable: It could not be read; VenueRateLimited, VenueAuthentication as well.
        """
        await self._ensure(context, self._by_id, asset_ids)

    async def ensure_spellings(self, context: CallContext, spellings: Iterable[str]) -> None:
        """Read the venue's table if a spelling that no equity has is not in it yet; raises as `ensure_ids`."""
        longer = [text for text in spellings if len(text) > EQUITY_LENGTH_MAX and text.isalnum()]
        await self._ensure(context, self._by_spelling, longer)

    def symbol_of_id(self, asset_id: str) -> str | None:
        """The gateway's spelling; None when the table does not name the id."""
        return self._by_id.get(asset_id)

    def symbol_of_spelling(self, spelling: str) -> str:
        """The gateway's spelling of what was written without its slash; anything else as it is."""
        symbols = self._by_spelling.get(spelling, set())
        return next(iter(symbols)) if len(symbols) == 1 else spelling

    async def _ensure(self, context: CallContext, table: Mapping[str, object], wanted: Iterable[str]) -> None:
        missing = [name for name in wanted if name not in table]
        if not missing:
            return
        async with self._reading:
            if all(name in table for name in missing) or self._read_lately():
                return
            self.learn(await self._read_assets(context, AssetClass.CRYPTO))
            self._read_at = self._monotonic()

    def _read_lately(self) -> bool:
        return self._read_at is not None and self._monotonic() - self._read_at < RELOAD_INTERVAL_MIN_S
