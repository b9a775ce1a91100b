"""KillWatch: kills when the file KILL appears, and as long as it is there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from gateway.application.trading_state import TradingStates
from gateway.domain.errors import GatewayError
from gateway.domain.models.risk import TradingMode
from gateway.domain.types import MS_PER_SECOND

SET_BY_FILE: Final = "file"
REASON: Final = "The file KILL is in the data directory."

_log = structlog.get_logger(__name__)


class KillWatch:
    """Polls.

    Args:
        is_wanted: Whether the file is there.
        period_ms: Between looks.
        sleep: Seconds, as `asyncio.sleep`.
    """

    def __init__(
        self,
        states: TradingStates,
        is_wanted: Callable[[], Awaitable[bool]],
        period_ms: int,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._states = states
        self._is_wanted = is_wanted
        self._period_s = period_ms / MS_PER_SECOND
        self._sleep = sleep

    async def run(self) -> None:
        """Look until canceled."""
        while True:
            try:
                await self.look()
            except Exception:  # whatever it is: nobody else looks for the file
                _log.critical("kill_file_unseen", exc_info=True)
            await self._sleep(self._period_s)

    async def look(self) -> None:
        """Kill, if that is wanted and not done."""
        if self._states.is_killed or not await self._is_wanted():
            return
        try:
            await self._states.set(TradingMode.KILLED, REASON, SET_BY_FILE)
        except GatewayError as error:
            _log.critical("kill_not_durable", detail=str(error))
