"""MemoryTradingStates: the account's trading states in memory: forgotten with the process."""

from __future__ import annotations

from gateway.domain.models.risk import TradingState


class MemoryTradingStates:
    """Implements `TradingStateStore`. Only the newest is kept: nobody reads the others."""

    def __init__(self, state: TradingState | None = None) -> None:
        self._current = state or TradingState()

    def current(self) -> TradingState:
        """The newest; ACTIVE with version 0 before the first."""
        return self._current

    async def append(self, state: TradingState) -> None:
        """Take the next one."""
        assert state.version == self._current.version + 1, "versions have no gaps"
        self._current = state
