"""AssetService: what can be traded, and how it is spelled. MarketCalendarService: when.

Symbols have one spelling. Another one is refused, and the right one is named: by the asset table, never by cutting
strings (`BTCUSDT` is no `BTC/USDT` until the venue says so).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Final
from zoneinfo import ZoneInfo

from gateway.domain.errors import (
    FieldInvalid,
    FieldViolation,
    GatewayError,
    MarketClosed,
    SymbolUnknown,
)
from gateway.domain.interfaces import MarketDataRepository
from gateway.domain.models.market_data import Page
from gateway.domain.models.reference import Asset, MarketClock, MarketDay
from gateway.domain.page_tokens import list_digest, read_page_token, write_page_token
from gateway.domain.types import NANOS_PER_SECOND, AssetClass, CallContext, TimeInForce, is_symbol
from gateway.services.cache import CacheService
from gateway.services.recovery import ErrorService

ASSETS_STALENESS_MAX_MS: Final = 24 * 3_600_000
DAYS_STALENESS_MAX_MS: Final = 3_600_000
CLOCK_STALENESS_MAX_MS: Final = 1_000
ASSETS_PAGE_SIZE_DEFAULT: Final = 1_000
ASSETS_PAGE_SIZE_MAX: Final = 10_000
ATTEMPT_AGAIN_MS: Final = 60_000
"""A symbol that is not in the table may be new: the table is read again, at most this often."""
AUCTION_CUT_OFF_S: Final = {TimeInForce.OPG: 120, TimeInForce.CLS: 600}
"""So long before its auction the venue takes no more orders for it. Source: Alpaca, 9:28 for opg and 15:50 for cls."""
AUCTIONS_AGAIN: Final = time(19)
"""From then on, New York time, orders for the next day's auctions are taken. Source: Alpaca."""
NEVER_CLOSES_S: Final = 23 * 3_600
"""A session of this length has no auctions."""
_NEW_YORK: Final = ZoneInfo("America/New_York")
_CLASSES: Final = (AssetClass.US_EQUITY, AssetClass.CRYPTO)


@dataclass(frozen=True, slots=True)
class AssetFilter:
    """Which assets to list; filters combine, empty is no filter."""

    asset_class: AssetClass | None = None
    status: str = "active"
    exchange: str = ""
    attributes: frozenset[str] = frozenset()
    symbols: frozenset[str] = frozenset()

    def matches(self, asset: Asset) -> bool:
        """Whether an asset is in it."""
        return (
            (self.asset_class is None or asset.asset_class is self.asset_class)
            and (not self.status or asset.status == self.status)
            and (not self.exchange or asset.exchange == self.exchange)
            and self.attributes.issubset(asset.attributes)
            and (not self.symbols or asset.symbol in self.symbols)
        )

    def digest(self) -> str:
        """What a page token is bound to."""
        content: dict[str, object] = {
            "asset_class": self.asset_class and self.asset_class.value,
            "status": self.status,
            "exchange": self.exchange,
            "attributes": sorted(self.attributes),
            "symbols": sorted(self.symbols),
        }
        return list_digest("ListAssets", content)


class _Table:
    """Every asset, by its symbol, its id and its spelling without separators."""

    def __init__(self, assets: Sequence[Asset], asked_at: float) -> None:
        self.asked_at = asked_at
        self.assets = sorted(assets, key=lambda asset: asset.symbol)
        self.by_symbol = {asset.symbol: asset for asset in self.assets}
        self.by_id = {asset.asset_id: asset for asset in self.assets}
        self.by_letters = {_letters(asset.symbol): asset for asset in self.assets if not asset.symbol.isalnum()}


class AssetService:
    """The asset table, read at most once a day and when an unknown symbol is asked for.

    Args:
        monotonic: Seconds, as `time.monotonic`.
    """

    def __init__(
        self,
        repository: MarketDataRepository,
        cache: CacheService,
        errors: ErrorService,
        monotonic: Callable[[], float],
    ) -> None:
        self._repository = repository
        self._cache = cache
        self._errors = errors
        self._monotonic = monotonic
        self._table: _Table | None = None

    async def warm(self, call: CallContext) -> None:
        """Read the table before somebody needs it; a failure is met again, and told, by whoever does."""
        with suppress(GatewayError):
            await self._load(call, ASSETS_STALENESS_MAX_MS)

    def find(self, symbol: str) -> Asset | None:
        """The asset from memory; None when it is not there, or the table is too old. For the hot path."""
        table = self._table
        if table is None or (self._monotonic() - table.asked_at) * 1_000 > ASSETS_STALENESS_MAX_MS:
            return None
        return table.by_symbol.get(symbol)

    async def get(self, symbol: str, call: CallContext, field: str = "symbol") -> Asset:
        """The asset of a symbol.

        Args:
            symbol: As a caller spelled it.
            call: On whose behalf the venue is asked, where it must be.
            field: The path that a refusal names, as `spec.symbol`.

        Raises:
            FieldInvalid: Malformed, or another spelling of a symbol, which is named.
            SymbolUnknown: Well formed, and no asset has it.
        """
        asset = self.find(symbol)
        if asset is not None:
            return asset
        if not _LETTERS_MAX >= len(symbol) > 0:
            raise _misspelled(field, None)
        table = await self._load(call, ASSETS_STALENESS_MAX_MS)
        if is_symbol(symbol) and symbol not in table.by_symbol and _letters(symbol) not in table.by_letters:
            table = await self._load(call, ATTEMPT_AGAIN_MS)
        asset = table.by_symbol.get(symbol)
        if asset is not None:
            return asset
        meant = table.by_letters.get(_letters(symbol))
        if meant is not None or not is_symbol(symbol):
            raise _misspelled(field, meant.symbol if meant else None)
        raise SymbolUnknown("No asset has this symbol.")

    async def get_by_symbol_or_id(self, symbol_or_id: str, call: CallContext, field: str = "symbol_or_id") -> Asset:
        """The asset of a symbol or of the venue's asset id; raises as `get`."""
        table = await self._load(call, ASSETS_STALENESS_MAX_MS)
        asset = table.by_id.get(symbol_or_id)
        return asset if asset is not None else await self.get(symbol_or_id, call, field)

    async def list_assets(self, wanted: AssetFilter, page_size: int, page_token: str, call: CallContext) -> Page[Asset]:
        """One page of assets, by symbol; `page_size` 0 is the default, more than the maximum is cut to it.

        Raises:
            PageTokenMismatch: The token belongs to another list.
        """
        size = min(page_size or ASSETS_PAGE_SIZE_DEFAULT, ASSETS_PAGE_SIZE_MAX)
        digest = wanted.digest()
        after = read_page_token(page_token, digest, 1)[0] if page_token else ""
        table = await self._load(call, ASSETS_STALENESS_MAX_MS)
        found = [asset for asset in table.assets if asset.symbol > after and wanted.matches(asset)]
        token = write_page_token(digest, found[size - 1].symbol) if len(found) > size else ""
        return Page(tuple(found[:size]), token)

    async def _load(self, call: CallContext, max_age_ms: int) -> _Table:
        self._table = await self._cache.get("assets", max_age_ms, lambda: self._read(call))
        return self._table

    async def _read(self, call: CallContext) -> _Table:
        asked_at = self._monotonic()
        assets: list[Asset] = []
        for asset_class in _CLASSES:
            assets += await self._read_class(call, asset_class)
        return _Table(assets, asked_at)

    async def _read_class(self, call: CallContext, asset_class: AssetClass) -> list[Asset]:
        return await self._errors.read(call, lambda: self._repository.list_assets(call, asset_class))


class MarketCalendarService:
    """Sessions and cut-offs of US equities, by the venue's clock; crypto never closes."""

    def __init__(self, repository: MarketDataRepository, cache: CacheService, errors: ErrorService) -> None:
        self._repository = repository
        self._cache = cache
        self._errors = errors

    async def get_clock(self, call: CallContext) -> MarketClock:
        """The venue's clock, at most a second old."""
        return await self._cache.get(
            "clock",
            CLOCK_STALENESS_MAX_MS,
            lambda: self._errors.read(call, lambda: self._repository.get_market_clock(call)),
        )

    async def is_open(self, asset_class: AssetClass, call: CallContext) -> bool:
        """Whether the regular session of an asset class is open now."""
        return asset_class is AssetClass.CRYPTO or (await self.get_clock(call)).is_open

    async def check_cut_off(self, time_in_force: TimeInForce, call: CallContext) -> None:
        """Refuse an order for an auction that the venue takes no more orders for.

        Raises:
            MarketClosed: Between the cut-off and 19:00 of a trading day, New York time.
            VenueUnreachable, VenueRateLimited, VenueAuthentication: The day's hours are not known.
        """
        if time_in_force not in AUCTION_CUT_OFF_S:
            return
        now_ns = (await self.get_clock(call)).time_ns
        today = datetime.fromtimestamp(now_ns // NANOS_PER_SECOND, _NEW_YORK).date()
        for day in await self.list_days(today, today, call):
            if day.close_time_ns - day.open_time_ns >= NEVER_CLOSES_S * NANOS_PER_SECOND:
                return
            auction_ns = day.open_time_ns if time_in_force is TimeInForce.OPG else day.close_time_ns
            cut_off_ns = auction_ns - AUCTION_CUT_OFF_S[time_in_force] * NANOS_PER_SECOND
            again = datetime.combine(today, AUCTIONS_AGAIN, _NEW_YORK).timestamp()
            if cut_off_ns <= now_ns < int(again) * NANOS_PER_SECOND:
                raise MarketClosed(f"Orders for this auction ({time_in_force}) are taken from 19:00 New York time on.")

    async def list_days(self, start: date, end: date, call: CallContext) -> tuple[MarketDay, ...]:
        """Trading days within [start, end], oldest first."""
        days = await self._cache.get(
            ("days", start, end),
            DAYS_STALENESS_MAX_MS,
            lambda: self._errors.read(call, lambda: self._repository.list_market_days(call, start, end)),
        )
        return tuple(days)


_LETTERS_MAX: Final = 64
"""Longer texts are not worth a look at the table."""


def _letters(symbol: str) -> str:
    return "".join(character for character in symbol.upper() if character.isalnum())


def _misspelled(field: str, meant: str | None) -> FieldInvalid:
    if meant is None:
        return FieldInvalid("A symbol is malformed.", violations=[FieldViolation(field, "is not a symbol")])
    description = f"is spelled {meant} here"
    return FieldInvalid(
        f"The symbol {description}.", violations=[FieldViolation(field, description)], metadata={"symbol": meant}
    )
