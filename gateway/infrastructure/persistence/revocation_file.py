"""Which tokens were ended, in a file of its own beside the journal.

Promises: what was ended stays so when a back-up of the journal takes its place, and when the journal can record no
more; a line that was cut short harms no other. Lines older than any token lives are left out at the next start. Leaves
everything else that is known of a token to the journal's file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from gateway.domain.models.identity import TTL_MAX_MS, Token
from gateway.domain.types import MS_PER_DAY, NANOS_PER_MS

FILE_NAME: Final = "revoked-tokens"
KEPT_NS: Final = (TTL_MAX_MS + 34 * MS_PER_DAY) * NANOS_PER_MS
"""No token lives so long, by whatever clock: what was ended earlier is over by itself."""
_FILE_MODE: Final = 0o600
_LINE: Final = re.compile(r"([0-9a-f]{8}) ([0-9]{1,19})", re.ASCII)


class RevocationFile:
    """Lines of a token's id and the nanoseconds since the Unix epoch at which it ended.

    Args:
        folder: The data directory.
        now_ns: Nanoseconds since the Unix epoch; what ended long before is forgotten.

    Raises:
        OSError: It is there and cannot be read: nobody knows who may come in.
    """

    def __init__(self, folder: Path, now_ns: int) -> None:
        self._path = folder / FILE_NAME
        self._ended: dict[str, int] = {}
        written = self._path.read_text("ascii", errors="replace") if self._path.exists() else ""
        lines = [line for text in written.splitlines() if (line := _LINE.fullmatch(text)) is not None]
        for line in lines:
            if int(line[2]) > now_ns - KEPT_NS:
                self._ended[line[1]] = min(int(line[2]), self._ended.get(line[1], int(line[2])))
        if len(self._ended) < len(lines):
            with suppress(OSError):  # the longer file says the same
                self._rewrite()

    @property
    def ended(self) -> Mapping[str, int]:
        """Token → when it ended, or will."""
        return self._ended

    def add(self, tokens: Iterable[Token]) -> None:
        """Write down those that have an end; on the disk when this returns. May block.

        Raises:
            OSError: It is not certain that they are there.
        """
        new: dict[str, int] = {}
        for token in tokens:
            name, end_ns = token.token_id, token.revoke_time_ns
            known_ns = new.get(name, self._ended.get(name))
            if end_ns is not None and (known_ns is None or end_ns < known_ns):
                new[name] = end_ns
        if not new:
            return
        is_made = not self._path.exists()
        opened = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _FILE_MODE)
        try:
            # A line break on either side: what was cut short before ends here.
            _write(opened, "".join(f"\n{name} {end_ns}\n" for name, end_ns in new.items()))
        finally:
            os.close(opened)
        if is_made:
            _sync_folder(self._path)
        self._ended |= new

    def _rewrite(self) -> None:
        beside = self._path.with_name(f"{FILE_NAME}.new")
        opened = os.open(beside, os.O_WRONLY | os.O_TRUNC | os.O_CREAT, _FILE_MODE)
        try:
            _write(opened, "".join(f"{name} {end_ns}\n" for name, end_ns in self._ended.items()))
        finally:
            os.close(opened)
        os.replace(beside, self._path)
        _sync_folder(self._path)


def _write(opened: int, text: str) -> None:
    left = text.encode("ascii")
    while left:
        left = left[os.write(opened, left) :]
    os.fsync(opened)


def _sync_folder(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
