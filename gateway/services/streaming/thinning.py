"""min_interval: at most one value of a symbol in so much time, the newest; what is left out was asked to be.

Promises that the last value of a burst comes, when its time has come. A value that is held back is still the newest of
its symbol, so that wait does not make it stale: what counts is the time since it might have gone.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.services.streaming.feed_health import Receipt
from gateway.services.streaming.last_values import Stamped


class Thinning:
    """When each symbol may be sent again, and what waits for that. Bounded by the symbols of its group.

    Args:
        min_interval_s: The least time between two values of one symbol.
    """

    def __init__(self, min_interval_s: float) -> None:
        self._min_interval_s = min_interval_s
        self._next_at: dict[str, float] = {}
        self._held: dict[str, Stamped] = {}
        self.due_at: float | None = None

    def is_due(self, now: float) -> bool:
        """Whether something that was held back may go."""
        return self.due_at is not None and self.due_at <= now

    def supersede(self, stamped: Stamped) -> None:
        """A newer value takes the place of the one that is held back, if there is one."""
        if stamped[0].symbol in self._held:
            self._held[stamped[0].symbol] = stamped

    def admit(self, values: Sequence[Stamped], now: float) -> list[Stamped]:
        """What may go now, one value a symbol; the rest is held until it may."""
        for stamped in values:
            self._held[stamped[0].symbol] = stamped
        ready: list[Stamped] = []
        due_at: float | None = None
        for symbol in tuple(self._held):
            next_at = self._next_at.get(symbol, 0.0)
            if next_at <= now:
                value, element, receipt = self._held.pop(symbol)
                if next_at > receipt.received_at:
                    receipt = Receipt(next_at, receipt.epoch)
                ready.append((value, element, receipt))
                self._next_at[symbol] = now + self._min_interval_s
            elif due_at is None or next_at < due_at:
                due_at = next_at
        self.due_at = due_at
        return ready
