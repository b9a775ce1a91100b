"""Prices of the simulation: a walk per symbol, drawn by its seed, shown to the exchange and to the risk checks."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any, Final

from gateway.domain.models.market_data import Quote
from gateway.domain.types import CallContext, DataFeed
from gateway.emulator.floor import TradingFloor

PRICES_USD: Final = {"AAPL": 100.0, "MSFT": 200.0, "NVDA": 50.0, "BTC/USD": 50_000.0, "SPY": 400.0}
"""Where the walks begin."""
PROBE: Final = "SPY"
"""Bought at the end, to see that orders are taken: nothing else is done in it that the venue could object to."""
TRADED: Final = tuple(symbol for symbol in PRICES_USD if symbol != PROBE)
STEP_BPS: Final = 8.0
HALF_SPREAD_BPS: Final = 2.0
SIZE_MAX: Final = 60
"""Shares shown at most: orders are filled in parts."""
_CENTS: Final = 2


class QuietMarket:
    """A `Market` that says nothing by itself: `Prices` does."""

    symbols = tuple(PRICES_USD)

    def open(self, now_ns: int) -> None:
        """Nothing to open."""

    def start(self, now_ns: int) -> None:
        """Nothing to start."""

    def events(self, after_ns: int, until_ns: int) -> Iterator[Any]:
        """None."""
        return iter(())

    def latest_trade(self, symbol: str, now_ns: int) -> None:
        """None."""

    def latest_quote(self, symbol: str, now_ns: int) -> None:
        """None."""


class Prices:
    """`PriceSource`, and what moves the exchange."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self.middles = dict(PRICES_USD)
        self.quotes: dict[str, Quote] = {}

    def move(self, floor: TradingFloor, now_ns: int, symbol: str) -> None:
        """The next quote and print of a symbol."""
        middle = self.middles[symbol]
        middle *= 1 + self._random.uniform(-STEP_BPS, STEP_BPS) / 10_000
        self.middles[symbol] = middle
        half = middle * HALF_SPREAD_BPS / 10_000
        bid, ask = round(middle - half, _CENTS), round(middle + half + 0.01, _CENTS)
        size = float(self._random.randint(1, SIZE_MAX))
        self.quotes[symbol] = Quote(symbol, now_ns, bid, size, ask, size, DataFeed.SIP, now_ns)
        floor.exchange.on_quote(now_ns, symbol, bid, size, ask, size)
        if self._random.random() < 0.5:
            floor.exchange.on_trade(now_ns, symbol, self._random.choice((bid, ask)), size)
        floor.publish_updates()

    async def reference_price(self, symbol: str, call: CallContext) -> Quote | None:
        """What a risk check is judged by."""
        return self.quotes.get(symbol)
