"""The file KILL in the data directory: the way to stop everything that needs nothing but a shell."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

KILL_FILE: Final = "KILL"


class KillFile:
    """Whether it is there, and the making of it.

    Args:
        folder: The data directory; None when there is none, and so no file.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / KILL_FILE
        self._looker = ThreadPoolExecutor(1, thread_name_prefix="kill-file")

    def leave(self) -> bool:
        """Make it, for the next start to find; whether it is there. May block."""
        if self._path is None:
            return False
        try:
            self._path.touch(mode=0o600)
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError:  # it may be there all the same, only not for certain after a loss of power
            return self.is_present()
        return True

    async def look(self) -> bool:
        """As `is_present`, beside the event loop: a file system that writes its journal keeps a look waiting 60 ms."""
        if self._path is None:
            return False
        return await asyncio.get_running_loop().run_in_executor(self._looker, self.is_present)

    def is_present(self) -> bool:
        """Whether there is such a file, whatever is in it. One that cannot be looked for counts as absent."""
        try:
            return self._path is not None and self._path.exists()
        except OSError:
            return False
