"""Every pre-trade check as a pure function. What runs them, in which order, is `application.risk_manager`'s."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal


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
