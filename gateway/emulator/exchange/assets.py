"""What can be traded: the domain's `Asset` with Alpaca's numbers, found by any spelling that Alpaca takes.

Crypto is `BTC/USD` in orders and `BTCUSD` in positions; both are accepted, and so are asset ids, in any letter case.
Spellings are looked up in a table, never cut: `BTCUSDT` is not BTC against something.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Final

from gateway.domain.models.reference import Asset
from gateway.domain.types import AssetClass, asset_class_of

ACTIVE: Final = "active"
INACTIVE: Final = "inactive"

_NAMES: Final = {
    "AAPL": ("Apple Inc. Common Stock", "NASDAQ"),
    "MSFT": ("Microsoft Corporation Common Stock", "NASDAQ"),
    "AMZN": ("Amazon.com, Inc. Common Stock", "NASDAQ"),
    "GOOGL": ("Alphabet Inc. Class A Common Stock", "NASDAQ"),
    "META": ("Meta Platforms, Inc. Class A Common Stock", "NASDAQ"),
    "NVDA": ("NVIDIA Corporation Common Stock", "NASDAQ"),
    "TSLA": ("Tesla, Inc. Common Stock", "NASDAQ"),
    "JPM": ("JPMorgan Chase & Co.", "NYSE"),
    "SPY": ("SPDR S&P 500 ETF Trust", "ARCA"),
    "QQQ": ("Invesco QQQ Trust, Series 1", "NASDAQ"),
    "BTC/USD": ("Bitcoin / US Dollar", "CRYPTO"),
    "ETH/USD": ("Ethereum / US Dollar", "CRYPTO"),
}
DEFAULT_SYMBOLS: Final = tuple(_NAMES)

_LONG_MARGIN_PERCENT: Final = Decimal(30)
_SHORT_MARGIN_PERCENT: Final = Decimal(30)
_CRYPTO_MARGIN_PERCENT: Final = Decimal(100)
_COIN_STEP: Final = Decimal("0.000000001")
_CRYPTO_TICK: Final = Decimal("0.01")
_UUID_BYTES: Final = 16


def derived_uuid(*parts: object) -> str:
    """A UUID that is a function of its parts, of the random kind by its looks."""
    digest = hashlib.sha256(":".join(str(part) for part in parts).encode()).digest()
    return str(uuid.UUID(bytes=digest[:_UUID_BYTES], version=4))


def make_asset(symbol: str) -> Asset:
    """An asset with Alpaca's usual numbers; its id is a function of its symbol."""
    name, exchange = _NAMES.get(symbol, (symbol, "NYSE"))
    asset_id = derived_uuid("asset", symbol)
    if asset_class_of(symbol) is AssetClass.CRYPTO:
        return Asset(
            asset_id=asset_id,
            symbol=symbol,
            asset_class=AssetClass.CRYPTO,
            name=name,
            exchange="CRYPTO",
            fractionable=True,
            min_order_size=_COIN_STEP,
            min_trade_increment=_COIN_STEP,
            price_increment=_CRYPTO_TICK,
            margin_requirement_long=_CRYPTO_MARGIN_PERCENT,
            margin_requirement_short=_CRYPTO_MARGIN_PERCENT,
        )
    return Asset(
        asset_id=asset_id,
        symbol=symbol,
        asset_class=AssetClass.US_EQUITY,
        name=name,
        exchange=exchange,
        marginable=True,
        shortable=True,
        easy_to_borrow=True,
        fractionable=True,
        margin_requirement_long=_LONG_MARGIN_PERCENT,
        margin_requirement_short=_SHORT_MARGIN_PERCENT,
    )


def make_assets(symbols: Iterable[str] = DEFAULT_SYMBOLS) -> tuple[Asset, ...]:
    """Assets for the symbols of a market."""
    return tuple(make_asset(symbol) for symbol in symbols)


def position_symbol(symbol: str) -> str:
    """How positions, activities and closing answers spell a symbol: crypto without its slash."""
    return symbol.replace("/", "")


class AssetTable:
    """Assets by symbol, in order; found by any spelling."""

    def __init__(self, assets: Iterable[Asset] = ()) -> None:
        self._by_symbol: dict[str, Asset] = {}
        self._by_spelling: dict[str, str] = {}
        self.replace_all(assets)

    def replace_all(self, assets: Iterable[Asset]) -> None:
        """These are the assets now. Former ones stay known, inactive: positions may be left in them."""
        for symbol, former in self._by_symbol.items():
            self._by_symbol[symbol] = replace(former, status=INACTIVE, tradable=False)
        for asset in assets:
            self._by_symbol[asset.symbol] = asset
            for spelling in (asset.symbol, position_symbol(asset.symbol), asset.asset_id):
                self._by_spelling[spelling.upper()] = asset.symbol

    def find(self, spelling: str) -> Asset | None:
        """By symbol, slashless symbol or asset id, in any letter case."""
        symbol = self._by_spelling.get(spelling.upper())
        return None if symbol is None else self._by_symbol[symbol]

    def __getitem__(self, symbol: str) -> Asset:
        return self._by_symbol[symbol]

    def __iter__(self) -> Iterator[Asset]:
        return iter(self._by_symbol.values())
