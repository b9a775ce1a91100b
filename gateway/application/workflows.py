"""TradingWorkflow: trades of several steps. Closing a position is one: cancel, wait, compute, submit reduce-only."""

from __future__ import annotations

from gateway.application.commands import CloseManyRequest, CloseRequest, CloseResult, Submitted
from gateway.domain.types import CallContext


class TradingWorkflow:
    """Closes positions by explicit orders under the caller's key."""

    async def close_position(self, request: CloseRequest, call: CallContext) -> Submitted:
        """Close one position, or a part of it."""
        raise NotImplementedError

    async def close_positions(self, request: CloseManyRequest, call: CallContext) -> tuple[CloseResult, ...]:
        """Close every position of the account, each as `close_position` does."""
        raise NotImplementedError
