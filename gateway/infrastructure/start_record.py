"""The starts of a data directory that have not got to serving: how a crash loop is told from a crash.

Promises: a start that ends without a word before it serves is counted by the next ones, for WINDOW_NS; one that served,
or that was refused in words, is not. A file that cannot be read or written counts nothing and stops nothing. What is
done about a loop is left to `gateway.cli.serve`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import structlog

from gateway.domain.types import NANOS_PER_SECOND

FILE_NAME: Final = "starts.unfinished"
WINDOW_NS: Final = 60 * NANOS_PER_SECOND
STARTS_KEPT_MAX: Final = 16
_FILE_BYTES_MAX: Final = 4_096

_log = structlog.get_logger(__name__)


class StartRecord:
    """One start.

    Args:
        folder: The data directory.
        now_ns: Of the start; nanoseconds since the Unix epoch.

    Attributes:
        crashed_before: Starts of the last minute that never served and never said why.
    """

    def __init__(self, folder: Path, now_ns: int) -> None:
        self._path = folder / FILE_NAME
        recent = [time_ns for time_ns in self._read() if 0 <= now_ns - time_ns < WINDOW_NS]
        self.crashed_before: Final = len(recent)
        self._write([*recent[1 - STARTS_KEPT_MAX :], now_ns])

    def settle(self) -> None:
        """It serves, or was refused in words: neither it nor those before it are a loop."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("start_record_unwritable", error=error.strerror)

    def _read(self) -> list[int]:
        try:
            with self._path.open("rb") as file:
                words = file.read(_FILE_BYTES_MAX).split()
        except OSError:
            return []
        return [int(word) for word in words if word.isdigit()]

    def _write(self, times_ns: list[int]) -> None:
        try:
            self._path.write_text("".join(f"{time_ns}\n" for time_ns in times_ns))
            self._path.chmod(0o600)
        except OSError as error:
            _log.warning("start_record_unwritable", error=error.strerror)
