"""Symbols that orders have asked the price of: their quotes stay subscribed for a while, though nobody streams them.

Promises that the first order in a symbol is followed by a live quote for the next ones, that no more symbols are kept
than may be (the venue's own limit is shared with the streams), and that a symbol without orders is let go. A symbol for
which there is no room costs a request for each order, as the first order did.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

PRICE_LINGER_S: Final = 600.0
"""After the last order that asked for its price."""


class Keeper(Protocol):
    """A hub, as far as it is needed here."""

    def keep(self, symbol: str) -> None:
        """Hold the quotes of a symbol."""
        ...

    def let_go(self, symbol: str) -> None:
        """Hold them no more."""
        ...


class KeptPrices:
    """The symbols of one feed.

    Args:
        symbols_max: How many at once.
        monotonic: Seconds, the clock of the event loop.
    """

    def __init__(self, keeper: Keeper, symbols_max: int, monotonic: Callable[[], float]) -> None:
        self._keeper = keeper
        self._symbols_max = symbols_max
        self._monotonic = monotonic
        self._until: dict[str, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def asked(self, symbol: str) -> None:
        """An order needs the price of this symbol; the next one will, too."""
        now = self._monotonic()
        if symbol not in self._until:
            if len(self._until) >= self._symbols_max:
                return
            self._keeper.keep(symbol)
        self._until[symbol] = now + PRICE_LINGER_S
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PRICE_LINGER_S, self._let_go)

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _let_go(self) -> None:
        now = self._monotonic()
        for symbol in [symbol for symbol, until in self._until.items() if until <= now]:
            del self._until[symbol]
            self._keeper.let_go(symbol)
        self._timer = None
        if self._until:
            wait_s = max(0.0, min(self._until.values()) - now)
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._let_go)
