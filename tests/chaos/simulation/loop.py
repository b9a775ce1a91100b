"""An event loop whose time is simulated: it never waits, and what is due happens in the same order always."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any, Final

from gateway.domain.types import NANOS_PER_SECOND

CLOCK_RESOLUTION_S: Final = 1e-9


class Stalled(RuntimeError):
    """Nothing is due, ever, and somebody still waits: a deadlock."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that jumps to its next timer.

    Args:
        start_ns: The wall clock at the beginning, ns since the Unix epoch; the loop's own time begins at 0.
    """

    def __init__(self, start_ns: int) -> None:
        self.now = 0.0
        self._start_ns = start_ns
        super().__init__(_Jumps(self))
        self._clock_resolution = CLOCK_RESOLUTION_S

    def time(self) -> float:
        """Simulated seconds since the beginning."""
        return self.now

    def wall(self) -> int:
        """Simulated nanoseconds since the Unix epoch."""
        return self._start_ns + round(self.now * NANOS_PER_SECOND)


class _Jumps(selectors.SelectSelector):
    """Instead of waiting, time passes."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        """Nothing ever arrives from outside."""
        if timeout is None:
            raise Stalled("nothing is due any more")
        if timeout > 0:
            self._loop.now += timeout
        return []
