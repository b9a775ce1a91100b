"""VenueCalls: the contexts in which this room asks the venue on its own account.

What an order needs is not bound to its caller's deadline: the caller may be gone, the order is not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway.domain.models.risk import Clearance
from gateway.domain.types import BudgetLane, CallContext, Caller

CALL_TIMEOUT_S: Final = 10.0
"""No single request to the venue is waited for longer."""
_GATEWAY: Final = Caller(name="gateway")


class VenueCalls:
    """Makes contexts.

    Args:
        monotonic: Seconds, as `time.monotonic`.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic

    def own(self, lane: BudgetLane, timeout_s: float = CALL_TIMEOUT_S, *, order_id: str = "") -> CallContext:
        """For the gateway's own questions; `order_id` where the request belongs to an order's story."""
        return CallContext(_GATEWAY, self._monotonic() + timeout_s, lane, order_id=order_id)

    def on_behalf(self, call: CallContext, lane: BudgetLane, clearance: Clearance, order_id: str) -> CallContext:
        """For a change of an order that a caller asked for, and that outlives it; `clearance` as it was admitted."""
        deadline = self._monotonic() + CALL_TIMEOUT_S
        return CallContext(call.caller, deadline, lane, call.request_id, clearance, order_id)
