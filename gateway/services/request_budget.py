"""RequestBudget: the venue's requests a minute as one scheduled resource, by lanes.

Alpaca counts everything of one key together: 200 a minute. Cancels come first, then lookups of orders whose fate is
unknown, then new orders, then reads: each lane leaves a reserve to the more urgent ones. Nobody else counts requests.
The venue's own headers correct the count. May be called from the adapters' threads, hence the lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from gateway.domain.errors import VenueRateLimited
from gateway.domain.types import MS_PER_SECOND, NANOS_PER_SECOND, BudgetLane

RETRY_AFTER_MAX_MS: Final = 60_000
_SECONDS_PER_MINUTE: Final = 60.0

RESERVE_FOR_MORE_URGENT: Final = {
    BudgetLane.CANCEL: 0.0,
    BudgetLane.LOOKUP: 0.1,
    BudgetLane.ORDER: 0.3,
    BudgetLane.READ: 0.5,
}
"""The part of the budget that a lane never touches."""


class RequestBudget:
    """Implements `RequestGate`: a bucket that refills evenly, and at the venue's own reset.

    Args:
        per_minute: The venue's limit; 0 for none. The venue's headers replace it.
        wall: Nanoseconds since the Unix epoch; the venue's reset is told in wall time.
        monotonic: Seconds, as `time.monotonic`.
    """

    def __init__(self, per_minute: int, wall: Callable[[], int], monotonic: Callable[[], float]) -> None:
        self._lock = threading.Lock()
        self._wall = wall
        self._monotonic = monotonic
        self._limit = per_minute
        self._tokens = float(per_minute)
        self._filled_at = monotonic()
        self._reset_s = 0

    def admit(self, lane: BudgetLane) -> None:
        """Count one request.

        Raises:
            VenueRateLimited: Not now; `retry_after_ms` says when.
        """
        with self._lock:
            if self._limit <= 0:
                return
            self._refill()
            missing = 1.0 + RESERVE_FOR_MORE_URGENT[lane] * self._limit - self._tokens
            if missing > 0:
                raise VenueRateLimited(
                    "The account's request budget at the venue is used up.", retry_after_ms=self._wait_ms(missing)
                )
            self._tokens -= 1.0

    def observe(self, limit: int, remaining: int, reset_s: int) -> None:
        """The venue's own count. It only ever corrects ours down, until its reset gives everything back."""
        with self._lock:
            if limit > 0:
                self._limit = limit
            if reset_s < self._reset_s:  # an answer overtaken by a later one
                return
            self._reset_s = reset_s
            self._tokens = min(self._tokens, float(max(remaining, 0)))

    def _refill(self) -> None:
        now = self._monotonic()
        earned = (now - self._filled_at) * self._limit / _SECONDS_PER_MINUTE
        self._filled_at = now
        if self._reset_s and self._wall() >= self._reset_s * NANOS_PER_SECOND:
            self._reset_s = 0
            self._tokens = float(self._limit)
            return
        self._tokens = min(float(self._limit), self._tokens + earned)

    def _wait_ms(self, missing: float) -> int:
        by_refill = missing * _SECONDS_PER_MINUTE / self._limit * MS_PER_SECOND
        if self._reset_s:
            by_reset = (self._reset_s * NANOS_PER_SECOND - self._wall()) / NANOS_PER_SECOND * MS_PER_SECOND
            by_refill = min(by_refill, max(by_reset, 0.0))
        return min(RETRY_AFTER_MAX_MS, int(by_refill) + 1)
