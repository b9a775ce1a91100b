"""Planted bugs of stopping: the kill switch, cancels, and what is held back."""

from __future__ import annotations

from typing import Any

from gateway.application.cancellations import Cancellations
from gateway.application.trading_engine import TradingEngine
from gateway.application.trading_state import TradingStates
from gateway.domain.models.risk import TradingState
from gateway.services.account import BalanceService
from tests.chaos.planted.registry import Patch, bug


@bug("I13", needs="a stop while orders are under way")
def stop_looked_at_by_nobody(patch: Patch) -> None:
    """The state is set, kept and told, and neither the door nor the last hop asks for it."""
    patch.set(TradingStates, "check", lambda self, clearance: None)
    patch.set(TradingStates, "check_door", lambda self: None)


@bug("I13", needs="a crash while trading is stopped")
def stop_forgotten_at_a_restart(patch: Patch) -> None:
    """A new life begins ACTIVE."""

    def begin(self: Any, *arguments: Any, **named: Any) -> None:
        was(self, *arguments, **named)
        self._state = TradingState(version=self._state.version)

    was = patch.set(TradingStates, "__init__", begin)


@bug("I14", needs="cancels while trading is stopped")
def cancels_wait_at_the_door(patch: Patch) -> None:
    """What keeps new orders out keeps cancels out, too."""

    async def cancel(self: Any, *arguments: Any) -> Any:
        self._states.check_door()
        return await was_cancel(self, *arguments)

    async def cancel_orders(self: Any, *arguments: Any) -> Any:
        self._states.check_door()
        return await was_cancel_orders(self, *arguments)

    was_cancel = patch.set(TradingEngine, "cancel", cancel)
    was_cancel_orders = patch.set(TradingEngine, "cancel_orders", cancel_orders)


@bug("I29", needs="orders that end")
def reservations_never_released(patch: Patch) -> None:
    """What an order held back is held back for ever."""
    patch.set(BalanceService, "release", lambda self, order_id: None)
    patch.set(BalanceService, "acknowledge", lambda self, order_id: None)


@bug("I7", needs="cancels of open orders")
def cancels_owed_and_never_sent(patch: Patch) -> None:
    """A cancel is journaled, and nobody sends it."""
    patch.set(Cancellations, "_pursue", lambda self, order: None)
