"""What is left of a budget, as AccountService.GetQuota tells it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quota:
    """One budget, now.

    Attributes:
        name: `venue:...` is the account's, shared by all; `client:...` is the caller's own.
        limit: How many in a window, or at once where there is no window.
        remaining: How many are left.
        window_ms: The window; None where the limit is on what is held at once.
        reset_time_ns: When it is full again, nanoseconds since the Unix epoch; None where there is no window.
    """

    name: str
    limit: int
    remaining: int
    window_ms: int | None = None
    reset_time_ns: int | None = None
