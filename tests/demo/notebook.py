"""A strategy's notebook: what it has to remember across its own death, one JSON line each."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


class Notebook:
    """Appends lines that survive `kill -9`; a line that was cut off by it was never written.

    Args:
        path: Made when it is missing.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)

    def lines(self) -> list[dict[str, Any]]:
        """Everything noted so far, in order."""
        text = self._path.read_bytes() if self._path.exists() else b""
        return [json.loads(line) for line in text[: text.rfind(b"\n") + 1].splitlines()]

    def note(self, line: dict[str, Any]) -> None:
        """Append a line; it is on the disk when this returns."""
        with self._path.open("r+b" if self._path.exists() else "xb") as file:
            if self._path.stat().st_size:
                file.truncate(self._path.read_bytes().rfind(b"\n") + 1)
            file.seek(0, os.SEEK_END)
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
