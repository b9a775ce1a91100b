"""Which symbol an asset id means: Alpaca's positions say `BTCUSD` where everything else says `BTC/USD`.

An asset's id and symbol never part, so what was read once is kept; it is a dictionary, not a cache. Symbols
are never put together or cut: an id that the venue's table does not name keeps the venue's own spelling and
is marked UNRECOGNIZED, so that nothing is traded under a guess.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from gateway.domain.models.reference import Asset
from gateway.domain.types import AssetClass, CallContext

RELOAD_INTERVAL_MIN_S: Final = 60.0
"""An id that stays unknown makes the table be read again at most this often."""

ReadAssets = Callable[[CallContext, AssetClass], Awaitable[list[Asset]]]


class AssetTable:
    """Asset id → symbol, of crypto; equities are spelled alike everywhere.

    Args:
        read_assets: `MarketDataAdapter.list_assets`.
        monotonic: Seconds.
    """

    def __init__(self, read_assets: ReadAssets, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._read_assets = read_assets
        self._monotonic = monotonic
        self._symbols: dict[str, str] = {}
        self._read_at: float | None = None
        self._reading = asyncio.Lock()

    def learn(self, assets: Iterable[Asset]) -> None:
        """Add what an answer says."""
        self._symbols.update({asset.asset_id: asset.symbol for asset in assets})

    async def ensure(self, context: CallContext, asset_ids: Iterable[str]) -> None:
        """Read the venue's table if an id is not in it yet.

        Raises:
            VenueUnreachable: It could not be read; VenueRateLimited, VenueAuthentication as well.
        """
        missing = [asset_id for asset_id in asset_ids if asset_id not in self._symbols]
        if not missing:
            return
        async with self._reading:
            if all(asset_id in self._symbols for asset_id in missing) or self._read_lately():
                return
            self.learn(await self._read_assets(context, AssetClass.CRYPTO))
            self._read_at = self._monotonic()

    def symbol_of(self, asset_id: str) -> str | None:
        """The gateway's spelling; None when the table does not name the id."""
        return self._symbols.get(asset_id)

    def _read_lately(self) -> bool:
        return self._read_at is not None and self._monotonic() - self._read_at < RELOAD_INTERVAL_MIN_S
