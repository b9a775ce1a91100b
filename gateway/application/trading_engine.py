"""TradingEngine: admit, check, journal, submit, record."""

from __future__ import annotations

from gateway.application.commands import (
    Canceled,
    CanceledMany,
    CancelScope,
    Preview,
    ReplaceRequest,
    Submitted,
)
from gateway.domain.models.orders import Order, OrderRef, OrderRequest, OrderSpec
from gateway.domain.types import CallContext


class TradingEngine:
    """Every command about orders. It owns what it has begun: a caller that goes away cancels nothing."""

    async def start(self) -> None:
        """Begin to listen to the venue's order feed and to reconcile; returns at once."""
        raise NotImplementedError

    async def stop(self, drain_ms: int) -> None:
        """Refuse new orders, wait for those in flight, end all tasks."""
        raise NotImplementedError

    async def submit(self, request: OrderRequest, call: CallContext) -> Submitted:
        """Send an order at most once; the same key again asks what became of it."""
        raise NotImplementedError

    async def preview(self, strategy_id: str, spec: OrderSpec, call: CallContext) -> Preview:
        """The same checks as `submit`; nothing is recorded or sent."""
        raise NotImplementedError

    async def replace(self, request: ReplaceRequest, call: CallContext) -> Submitted:
        """Ask for new values; the end comes on the order stream."""
        raise NotImplementedError

    async def cancel(self, ref: OrderRef, wait_ms: int, call: CallContext) -> Canceled:
        """Owe the order's end; wait at most so long for it to be terminal."""
        raise NotImplementedError

    async def cancel_orders(self, scope: CancelScope, call: CallContext) -> CanceledMany:
        """Owe the end of every open order in scope; never waits for the venue."""
        raise NotImplementedError

    async def refresh(self, ref: OrderRef, call: CallContext) -> Order:
        """Ask the venue about one order first, then answer as OrderManager.get does."""
        raise NotImplementedError
