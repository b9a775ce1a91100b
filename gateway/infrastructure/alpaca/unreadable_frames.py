"""Frames of one connection that could not be read: told soon, seldom, and all of them counted.

A venue gone mad must neither wake every stream of its feed with each frame nor fill a disk. What is told, and where
to, is left to the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

UNREADABLE_INTERVAL_S: Final = 1.0
"""After one was told, those that follow are counted for so long before their number is told."""


class UnreadableFrames:
    """Tells the first at once, and at most once in UNREADABLE_INTERVAL_S how many came since.

    Args:
        tell: Takes how many there were, and what to say of them.
    """

    def __init__(self, tell: Callable[[int, str], None]) -> None:
        self._tell = tell
        self._untold = 0
        self._last = ""
        self._timer: asyncio.TimerHandle | None = None

    def note(self, detail: str) -> None:
        """One more."""
        if self._timer is None:
            self._tell(1, detail)
            self._count()
        else:
            self._untold += 1
            self._last = detail

    def end(self) -> None:
        """The connection is over: tell what is left; the first of the next one is told at once again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._tell_untold()

    def _count(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(UNREADABLE_INTERVAL_S, self._on_counted)

    def _on_counted(self) -> None:
        self._timer = None
        if self._tell_untold():
            self._count()

    def _tell_untold(self) -> bool:
        count, self._untold = self._untold, 0
        if count:
            self._tell(count, f"{count} more, the last: {self._last}")
        return count > 0
