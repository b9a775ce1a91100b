"""What SIGUSR1 does, from the first moment of a process to its last: everything open is canceled, or will be.

Promises: one that comes before the gateway is made is kept for it; one that comes while the gateway ends, when nobody
may be left to record or to cancel, is kept for the next life by the file KILL.
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Final, Protocol

from gateway.infrastructure.kill_file import KillFile

SET_BY_SIGNAL: Final = "signal"
REASON: Final = "The process was sent SIGUSR1."


class Killable(Protocol):
    """A gateway, as far as it is stopped."""

    def kill(self, reason: str, set_by: str) -> None:
        """Stop everything; returns at once."""
        ...


class Killer:
    """Takes the signal.

    Args:
        folder: The data directory.
    """

    def __init__(self, folder: Path) -> None:
        self._file = KillFile(folder)
        self._gateway: Killable | None = None
        self._is_wanted = False
        self._is_ending = False

    def listen(self) -> None:
        """From now on; inside the event loop."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self.kill)

    def kill(self) -> None:
        """Stop everything."""
        self._is_wanted = True
        if self._is_ending:
            self._file.leave()
        if self._gateway is not None:
            self._gateway.kill(REASON, SET_BY_SIGNAL)

    def arm(self, gateway: Killable) -> None:
        """From now on this is what is stopped."""
        self._gateway = gateway
        if self._is_wanted:
            self.kill()

    def note_ending(self) -> None:
        """The gateway begins to end."""
        self._is_ending = True

    def outlive_loop(self) -> None:
        """The gateway has ended and the event loop is about to: what is left of the process only leaves the file."""
        self._gateway, self._is_ending = None, True
        asyncio.get_running_loop().remove_signal_handler(signal.SIGUSR1)
        signal.signal(signal.SIGUSR1, lambda _number, _frame: self.kill())
