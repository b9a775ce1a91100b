"""RequestBudget: the venue's requests a minute as one scheduled resource, by lanes.

Alpaca counts everything of one key together: 200 a minute. The kill switch always passes; cancels come first, then
lookups of orders whose fate is unknown, then new orders, then reads: each lane leaves a reserve to the more urgent
ones, and new orders never take more than their share of any minute. Nobody else counts requests. The venue's own
headers correct the count, and after a 429 only cancels pass until the venue wants to hear more. May be called from
the adapters' threads, hence the lock.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from gateway.domain.errors import VenueRateLimited
from gateway.domain.models.quota import Quota
from gateway.domain.types import MS_PER_SECOND, NANOS_PER_SECOND, RETRY_AFTER_MAX_MS, BudgetLane

_SECONDS_PER_MINUTE: Final = 60.0

RESERVE_FOR_MORE_URGENT: Final = {
    BudgetLane.CANCEL: 0.0,
    BudgetLane.LOOKUP: 0.2,
    BudgetLane.ORDER: 0.4,
    BudgetLane.READ: 0.5,
}
"""The part of the budget that a lane never touches: a fifth is the cancels' own, another one the lookups'."""
ORDERS_PART_MAX: Final = 0.6
"""Of any minute's budget, what new orders may take."""
CANCELS_BEYOND_MAX: Final = 10
"""Cancels that are tried although nothing is left: our count may be wrong, and a cancel too many costs nothing."""

LATE_MAX_S: Final = 5.0
"""An answer that is read so long after the minute that it speaks of has still ended that minute."""
OVERTAKEN_MAX_S: Final = 120
"""An answer about an earlier minute is older than the last one; beyond this the venue's clock went back."""


class RequestBudget:
    """The counting half of `RequestGate`: a bucket that refills evenly, and at the venue's own reset.

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
        self._reset_at = float("inf")
        self._silent_until = float("-inf")
        self._orders_at: deque[float] = deque()

    @property
    def limit(self) -> int:
        """Requests a minute, as the venue says now; 0 for none."""
        return self._limit

    def quota(self) -> Quota | None:
        """What is left of this minute, for everybody together; None where there is no limit."""
        with self._lock:
            if self._limit <= 0:
                return None
            now = self._monotonic()
            self._refill(now)
            full_in_s = min((self._limit - self._tokens) * _SECONDS_PER_MINUTE / self._limit, self._reset_at - now)
            return Quota(
                "venue:trading",
                self._limit,
                max(0, int(self._tokens)),
                int(_SECONDS_PER_MINUTE * MS_PER_SECOND),
                self._wall() + int(max(0.0, full_in_s) * NANOS_PER_SECOND),
            )

    def admit(self, lane: BudgetLane) -> None:
        """Count one request.

        Raises:
            VenueRateLimited: Not now; `retry_after_ms` says when.
        """
        with self._lock:
            now = self._monotonic()
            if lane not in (BudgetLane.KILL, BudgetLane.CANCEL) and now < self._silent_until:
                raise _refusal((self._silent_until - now) * MS_PER_SECOND)
            if self._limit <= 0:
                return
            self._refill(now)
            if lane is not BudgetLane.KILL:
                self._check(lane, now)
            if lane is BudgetLane.ORDER:
                self._orders_at.append(now)
            self._tokens -= 1.0

    def observe(self, limit: int, remaining: int, reset_s: int) -> None:
        """The venue's own count. It only ever corrects ours down, until its reset gives everything back."""
        with self._lock:
            if limit > 0:
                self._limit = limit
            if 0 < self._reset_s - reset_s <= OVERTAKEN_MAX_S:  # an answer overtaken by a later one
                return
            self._reset_at = self._expected_at(reset_s)
            self._reset_s = reset_s
            self._tokens = min(self._tokens, float(max(remaining, 0)))

    def _expected_at(self, reset_s: int) -> float:
        """When the venue's minute ends, by our monotonic clock: within a minute, whatever the wall clock shows.

        A reset that seems to have passed long ago means that the wall clock is ahead of the venue's, or has stepped:
        taken at its word, it would give everything back at every answer.
        """
        now = self._monotonic()
        left_s = (reset_s * NANOS_PER_SECOND - self._wall()) / NANOS_PER_SECOND
        expected = now + (left_s if -LATE_MAX_S <= left_s <= _SECONDS_PER_MINUTE else _SECONDS_PER_MINUTE)
        return min(expected, self._reset_at) if reset_s == self._reset_s else expected

    def throttled(self, retry_after_ms: int) -> None:
        """The venue answered 429: until then only cancels are tried, and no more is left than what is reserved."""
        with self._lock:
            wait_s = min(retry_after_ms, RETRY_AFTER_MAX_MS) / MS_PER_SECOND
            self._silent_until = max(self._silent_until, self._monotonic() + wait_s)
            kept = 0.0 if self._reset_at < float("inf") else RESERVE_FOR_MORE_URGENT[BudgetLane.ORDER] * self._limit
            self._tokens = min(self._tokens, kept)

    def _check(self, lane: BudgetLane, now: float) -> None:
        beyond = CANCELS_BEYOND_MAX if lane is BudgetLane.CANCEL else 0
        missing = 1.0 + RESERVE_FOR_MORE_URGENT[lane] * self._limit - beyond - self._tokens
        if missing > 0:
            raise _refusal(self._wait_ms(missing))
        if lane is not BudgetLane.ORDER:
            return
        while self._orders_at and self._orders_at[0] <= now - _SECONDS_PER_MINUTE:
            self._orders_at.popleft()
        if len(self._orders_at) >= max(1.0, ORDERS_PART_MAX * self._limit):
            raise _refusal((self._orders_at[0] + _SECONDS_PER_MINUTE - now) * MS_PER_SECOND)

    def _refill(self, now: float) -> None:
        earned = (now - self._filled_at) * self._limit / _SECONDS_PER_MINUTE
        self._filled_at = now
        if now >= self._reset_at:
            self._reset_at = float("inf")
            self._tokens = float(self._limit)
            return
        self._tokens = min(float(self._limit), self._tokens + earned)

    def _wait_ms(self, missing: float) -> float:
        by_refill = missing * _SECONDS_PER_MINUTE / self._limit * MS_PER_SECOND
        return min(by_refill, max((self._reset_at - self._monotonic()) * MS_PER_SECOND, 0.0))


def _refusal(wait_ms: float) -> VenueRateLimited:
    return VenueRateLimited(
        "The account's request budget at the venue is used up.",
        retry_after_ms=min(RETRY_AFTER_MAX_MS, int(wait_ms) + 1),
    )
