"""Which option contracts the synthetic market lists: a bounded chain, a function of the date alone.

For each of UNDERLYINGS, calls and puts at the next EXPIRATIONS monthly expirations (the third Friday; holidays move
nothing here) and at round strike prices around the price that the underlying's noise moves around.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Final

from gateway.domain.option_symbols import OptionSymbol, parse_option_symbol
from gateway.domain.types import NANOS_PER_SECOND
from gateway.emulator.bars import NEW_YORK
from gateway.emulator.exchange.assets import derived_uuid

UNDERLYINGS: Final = {"AAPL": (230, 5), "NVDA": (140, 5), "SPY": (595, 10), "TSLA": (340, 10)}
"""The middle strike price of each, and the step to the next, US dollars."""

EXPIRATIONS: Final = 4
STRIKES_EACH_WAY: Final = 10
"""Strike prices above the middle one, and as many below."""

_FRIDAY: Final = 4
_CLOSE: Final = time(16, 0)
_CACHED_DAYS: Final = 8


@dataclass(frozen=True, slots=True)
class Contract:
    """One option contract.

    Attributes:
        contract_id: A function of the symbol.
        expires_ns: 16:00 in New York on its last day.
    """

    symbol: str
    contract_id: str
    underlying: str
    expiration: date
    expires_ns: int
    is_call: bool
    strike_price: Decimal

    @property
    def name(self) -> str:
        """As `AAPL Dec 18 2026 200 Call`."""
        day, kind = self.expiration.strftime("%b %d %Y"), "Call" if self.is_call else "Put"
        return f"{self.underlying} {day} {self.strike_price} {kind}"


class OptionChain:
    """The contracts of some underlyings.

    Args:
        underlyings: Those of UNDERLYINGS that the market has.
    """

    def __init__(self, underlyings: Iterable[str]) -> None:
        self.underlyings = tuple(symbol for symbol in underlyings if symbol in UNDERLYINGS)
        self._listed = lru_cache(maxsize=_CACHED_DAYS)(self._list)

    def contracts(self, now_ns: int) -> dict[str, Contract]:
        """What is listed at an instant, by symbol, in order."""
        now = datetime.fromtimestamp(now_ns // NANOS_PER_SECOND, NEW_YORK)
        # On its last day a contract is listed until it expires.
        return self._listed(now.date() + timedelta(days=now.time() >= _CLOSE))

    def find(self, symbol: str, now_ns: int) -> Contract | None:
        """A contract that is listed at an instant."""
        option = parse_option_symbol(symbol)
        return None if option is None else self.contracts(now_ns).get(symbol)

    def _list(self, day: date) -> dict[str, Contract]:
        expirations = list(_expirations_from(day))
        found = [
            _contract(OptionSymbol(root, expiration, is_call, Decimal(middle + offset * step)))
            for root in self.underlyings
            for middle, step in (UNDERLYINGS[root],)
            for expiration in expirations
            for is_call in (True, False)
            for offset in range(-STRIKES_EACH_WAY, STRIKES_EACH_WAY + 1)
        ]
        return {contract.symbol: contract for contract in sorted(found, key=_symbol_of)}


def _contract(option: OptionSymbol) -> Contract:
    symbol = str(option)
    closes = datetime.combine(option.expiration, _CLOSE, NEW_YORK)
    return Contract(
        symbol=symbol,
        contract_id=derived_uuid("option", symbol),
        underlying=option.root,
        expiration=option.expiration,
        expires_ns=int(closes.timestamp()) * NANOS_PER_SECOND,
        is_call=option.is_call,
        strike_price=option.strike_price,
    )


def _expirations_from(day: date) -> Iterator[date]:
    """The next third Fridays, the day itself included."""
    year, month, left = day.year, day.month, EXPIRATIONS
    while left:
        first = date(year, month, 1)
        third_friday = first + timedelta(days=(_FRIDAY - first.weekday()) % 7 + 14)
        if third_friday >= day:
            left -= 1
            yield third_friday
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)


def _symbol_of(contract: Contract) -> str:
    return contract.symbol
