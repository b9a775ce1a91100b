"""OptionContracts: which option contracts there are. QuotedAssets: everything that market data may be asked of.

Promises: a contract is looked up with all others of its root and expiration, in one request, and then known for a
day: no quote costs a request of its own. A venue lists a million contracts, so that they are never read whole; and who
names thousands of series takes a fifth of the venue's requests at most.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from cachetools import LRUCache

from gateway.domain.errors import FieldInvalid, FieldViolation, SymbolUnknown, VenueRateLimited
from gateway.domain.interfaces import MarketDataRepository
from gateway.domain.models.reference import Asset
from gateway.domain.option_symbols import OptionSymbol, option_symbol_meant, parse_option_symbol
from gateway.domain.types import MS_PER_SECOND, CallContext
from gateway.services.cache import CacheService
from gateway.services.recovery import ErrorService
from gateway.services.reference import AssetService

CONTRACTS_STALENESS_MAX_MS: Final = 24 * 3_600_000
CONTRACTS_AGAIN_MS: Final = 60_000
"""A contract that its series does not have may be new: the series is read again, at most this often."""
LOOK_UPS_PER_MINUTE_MAX: Final = 40
"""Of the venue's 200 requests. What is known already costs none."""
SERIES_KEPT_MAX: Final = 512
"""Roots times expirations, of some hundred contracts each; the least recently used go first."""

SECONDS_PER_MINUTE: Final = 60.0

_Key = tuple[str, date]


@dataclass(frozen=True, slots=True)
class _Series:
    """The contracts of one root and expiration."""

    asked_at: float
    by_symbol: Mapping[str, Asset]


class OptionContracts:
    """Option contracts, by series.

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
        self._looked_up_at: deque[float] = deque(maxlen=LOOK_UPS_PER_MINUTE_MAX)
        self._series: LRUCache[_Key, _Series] = LRUCache(maxsize=SERIES_KEPT_MAX)

    def find(self, option: OptionSymbol) -> Asset | None:
        """The contract from memory; None when it is not there, or was read too long ago. For the hot path."""
        series = self._series.get((option.root, option.expiration))
        if series is None or self._is_older(series, CONTRACTS_STALENESS_MAX_MS):
            return None
        return series.by_symbol.get(str(option))

    async def get(self, option: OptionSymbol, call: CallContext) -> Asset:
        """The contract.

        Raises:
            SymbolUnknown: The venue has none such.
            VenueUnreachable, VenueRateLimited: It could not be asked; the latter also for too many new series.
        """
        found = self.find(option)
        if found is not None:
            return found
        series = await self._load((option.root, option.expiration), call, CONTRACTS_AGAIN_MS)
        contract = series.by_symbol.get(str(option))
        if contract is None:
            raise SymbolUnknown("No option contract has this symbol.")
        return contract

    async def _load(self, key: _Key, call: CallContext, max_age_ms: int) -> _Series:
        series = self._series[key] = await self._cache.get(
            ("option contracts", *key), max_age_ms, lambda: self._read(key, call)
        )
        return series

    async def _read(self, key: _Key, call: CallContext) -> _Series:
        asked_at = self._monotonic()
        self._check_pace(asked_at)
        contracts = await self._errors.read(call, lambda: self._repository.list_option_contracts(call, *key))
        return _Series(asked_at, {contract.symbol: contract for contract in contracts})

    def _check_pace(self, now: float) -> None:
        looked_up = self._looked_up_at
        if len(looked_up) == LOOK_UPS_PER_MINUTE_MAX:
            wait_s = looked_up[0] + SECONDS_PER_MINUTE - now
            if wait_s > 0:
                raise VenueRateLimited(
                    "Too many option series were asked for in a minute.", retry_after_ms=int(wait_s * MS_PER_SECOND) + 1
                )
        looked_up.append(now)

    def _is_older(self, series: _Series, age_ms: int) -> bool:
        return (self._monotonic() - series.asked_at) * MS_PER_SECOND > age_ms


class QuotedAssets:
    """The assets of the corridor: what can be traded, and option contracts. Orders ask `AssetService` itself."""

    def __init__(self, assets: AssetService, contracts: OptionContracts) -> None:
        self._assets = assets
        self._contracts = contracts

    def find(self, symbol: str) -> Asset | None:
        """From memory; None when it is not there."""
        asset = self._assets.find(symbol)
        if asset is not None:
            return asset
        option = parse_option_symbol(symbol)
        return None if option is None else self._contracts.find(option)

    async def get(self, symbol: str, call: CallContext, field: str = "symbol") -> Asset:
        """The asset or the contract of a symbol; `field` is the path that a refusal names.

        Raises:
            FieldInvalid: Malformed, or another spelling of a symbol, which is named.
            SymbolUnknown: Well formed, and nothing has it.
            VenueUnreachable, VenueRateLimited: The venue could not be asked.
        """
        option = parse_option_symbol(symbol)
        if option is not None:
            return await self._contracts.get(option, call)
        right = option_symbol_meant(symbol)
        if right:
            violation = FieldViolation(field, f"is spelled {right} here")
            raise FieldInvalid(f"The symbol is spelled {right} here.", violations=[violation])
        return await self._assets.get(symbol, call, field)
