"""LookupPace: how fast orders whose fate is unknown may be asked for, however many they are.

Promises: of any minute's budget they take LOOKUPS_PART_MAX at most, beside what the last list ran over by; the rest is
left to orders and reads. It only says when: whether a request may go is RequestBudget's to say, here as everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

LOOKUPS_PART_MAX: Final = 0.2
"""Of the budget, in any minute."""
BURST_PART: Final = 0.25
"""Of that, what may leave at once; the rest is spread evenly, so that no minute is spent in its first seconds."""
_SECONDS_PER_MINUTE: Final = 60.0


class LookupPace:
    """A bucket that may be overdrawn by who has begun, and then makes the next one wait longer.

    Args:
        limit: The venue's requests a minute as they are now; 0 for none.
        monotonic: Seconds, as `time.monotonic`.
    """

    def __init__(self, limit: Callable[[], int], monotonic: Callable[[], float]) -> None:
        self._limit = limit
        self._monotonic = monotonic
        self._spent = 0.0
        self._counted_at = monotonic()

    def wait_s(self) -> float:
        """Seconds until the next request may begin; 0 for at once."""
        per_minute = LOOKUPS_PART_MAX * self._limit()
        now = self._monotonic()
        earned = (now - self._counted_at) * per_minute * (1 - BURST_PART) / _SECONDS_PER_MINUTE
        self._counted_at = now
        self._spent = max(0.0, self._spent - earned)
        if per_minute <= 0:
            self._spent = 0.0
            return 0.0
        over = self._spent + 1.0 - max(1.0, per_minute * BURST_PART)
        return max(0.0, over) * _SECONDS_PER_MINUTE / (per_minute * (1 - BURST_PART))

    def spend(self, requests: int = 1) -> None:
        """So many requests have left."""
        self._spent += requests
