"""VenueGate: what the adapters ask before a request and right before its first byte: budget and trading state.

The last hop: whatever the rooms above believe, what enlarges a position does not leave while trading is stopped, and
nothing new leaves after its valid_until, however long it waited for a thread, a connection or this process to go on.
"""

from __future__ import annotations

from gateway.application.trading_state import TradingStates
from gateway.domain.types import BudgetLane, CallContext
from gateway.services.request_budget import RequestBudget


class VenueGate:
    """Implements `RequestGate`."""

    def __init__(self, budget: RequestBudget, states: TradingStates) -> None:
        self._states = states
        self.admit = budget.admit
        self.observe = budget.observe
        self.throttled = budget.throttled

    def permit(self, context: CallContext) -> None:
        """Refuse new orders and replaces that may not leave any more.

        Raises:
            TradingStopped: The mode forbids it, or did since it was admitted.
            ExpiredUnsent: Its valid_until has passed.
        """
        if context.lane is BudgetLane.ORDER:
            self._states.check_leaving(context.clearance)
