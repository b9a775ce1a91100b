"""Whether trading goes on: the mode of the account, who set it, and why.

One scope exists: the account. What a mode lets through is said here once; who asks is `application.trading_state`,
at the door and right before the first byte leaves.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

REASON_CHARACTERS_MAX: Final = 256
"""Of the text that says why a mode was set."""


class TradingMode(StrEnum):
    """What may be done; each lets less through than the one before."""

    ACTIVE = "active"
    REDUCING = "reducing"
    HALTED = "halted"
    KILLED = "killed"

    @property
    def severity(self) -> int:
        """0 for ACTIVE, growing with strictness."""
        return _SEVERITY[self]

    def lets_through(self, *, is_reduction: bool) -> bool:
        """Whether a new order may leave; cancels always may.

        Args:
            is_reduction: It can only make a position smaller, whatever else is open.
        """
        return self is TradingMode.ACTIVE or (self is TradingMode.REDUCING and is_reduction)


@dataclass(frozen=True, slots=True)
class Clearance:
    """With which a request that could open or enlarge a position was admitted; shown again before it leaves.

    Attributes:
        is_reduction: It can only make a position smaller, whatever else is open.
        stops: How often trading had been stopped by then: what was admitted before a stop never leaves after it,
            not even when trading goes on again.
        valid_until_ns: From this instant on it must not leave, however long it waited in between; None: no such bound.
    """

    is_reduction: bool
    stops: int
    valid_until_ns: int | None = None


@dataclass(frozen=True, slots=True)
class RiskCheckResult:
    """One check and its outcome, in plain numbers; the order itself is counted in `observed`.

    Attributes:
        reason: The ErrorReason that an order is denied with when it fails.
        observed, limit, headroom: None for a check without numbers; headroom is negative when it fails.
        unit: "USD", "shares" (coins too) or empty.
    """

    reason: str
    passed: bool
    observed: Decimal | None = None
    limit: Decimal | None = None
    headroom: Decimal | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True)
class CancelAnswer:
    """One order in the venue's answer to "cancel everything".

    Attributes:
        http_status: 200 when its cancel was taken; else why it was not.
    """

    venue_order_id: str
    http_status: int

    @property
    def is_taken(self) -> bool:
        """The venue will cancel it."""
        return 200 <= self.http_status < 300


_SEVERITY: Final = {mode: severity for severity, mode in enumerate(TradingMode)}


@dataclass(frozen=True, slots=True)
class TradingState:
    """The mode of the account since an instant.

    Attributes:
        reason: For people.
        set_by: Who: a caller's name, "signal", "file", or what tripped by itself.
        automatic: Set by the gateway itself.
        set_time_ns: Nanoseconds since the Unix epoch.
        version: 1, 2, 3, … with each change; 0 when it was never set.
    """

    mode: TradingMode = TradingMode.ACTIVE
    reason: str = ""
    set_by: str = ""
    automatic: bool = False
    set_time_ns: int = 0
    version: int = 0
