"""How long the event loop stood still: time in which nobody's message could be taken, and no reader is to blame."""

from __future__ import annotations

import asyncio
from typing import Final

LOOK_INTERVAL_S: Final = 0.25
"""Between two timers, whose lateness is what the loop stood still."""


class Standstill:
    """Adds it up while it runs; must be made on the event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stood_s = 0.0
        self._arm()

    def seconds(self) -> float:
        """So long in all, with what a timer that is due by now is late already."""
        return self._stood_s + max(0.0, self._loop.time() - self._due_at)

    def close(self) -> None:
        """Count no more."""
        self._timer.cancel()

    def _arm(self) -> None:
        self._due_at = self._loop.time() + LOOK_INTERVAL_S
        self._timer = self._loop.call_later(LOOK_INTERVAL_S, self._look)

    def _look(self) -> None:
        self._stood_s = self.seconds()
        self._arm()
