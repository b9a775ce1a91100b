"""The file KILL in the data directory: the way to stop everything that needs nothing but a shell."""

from __future__ import annotations

from pathlib import Path
from typing import Final

KILL_FILE: Final = "KILL"


class KillFile:
    """Whether it is there.

    Args:
        folder: The data directory; None when there is none, and so no file.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / KILL_FILE

    def is_present(self) -> bool:
        """Whether there is such a file, whatever is in it. One that cannot be looked for counts as absent."""
        try:
            return self._path is not None and self._path.exists()
        except OSError:
            return False
