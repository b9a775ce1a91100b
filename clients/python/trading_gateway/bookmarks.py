"""Where a reader of an order stream stands, and a file that remembers it across the reader's own restarts.

Promises that what is read back was written whole, and that a bookmark never runs ahead of what was handled: it may
lag behind by the one message that was being handled when the program died, which then comes again. A program that
cannot bear that keeps `resume_token` in the same transaction as what it made of the message, and needs no file.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Bookmark:
    """A place in a book of orders: everything up to it was handled.

    Attributes:
        resume_token: Continues after it.
        sequence: Of the last event before it.
        time_ns: Everything that the gateway recorded before this instant was handled; nanoseconds since the Unix epoch,
            by the gateway's clock. 0: unknown.
    """

    resume_token: str
    sequence: int
    time_ns: int = 0


class TokenStore(Protocol):
    """Remembers a bookmark. It may block: an asyncio client asks it in a thread."""

    def load(self) -> Bookmark | None:
        """The bookmark of an earlier run; None: there was none."""

    def save(self, bookmark: Bookmark) -> None:
        """Remember a bookmark; it is safe when this returns."""


class FileTokenStore:
    """A bookmark in a file of its own, one per stream that is followed.

    The file is replaced, never written over: a crash leaves the old bookmark or the new one.

    Args:
        path: Its folder exists.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._lock = threading.Lock()

    def load(self) -> Bookmark | None:
        """The bookmark that was saved last; None without a file.

        Raises:
            ValueError: The file holds something else. It is not passed over: without a bookmark, events would be too.
            OSError: It cannot be read.
        """
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        try:
            found = json.loads(text)
            bookmark = Bookmark(found["resume_token"], found["sequence"], found["time_ns"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self._path} holds no bookmark of an order stream") from error
        if not (isinstance(bookmark.resume_token, str) and bookmark.resume_token) or not (
            type(bookmark.sequence) is type(bookmark.time_ns) is int
        ):
            raise ValueError(f"{self._path} holds no bookmark of an order stream")
        return bookmark

    def save(self, bookmark: Bookmark) -> None:
        """Replace the file, and wait until the disk has it.

        Raises:
            OSError: It cannot be written; the old bookmark stands.
        """
        text = json.dumps(asdict(bookmark)) + "\n"
        with self._lock:
            handle, temporary = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, self._path)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary)
                raise
            _sync_folder(self._path.parent)


def _sync_folder(folder: Path) -> None:
    """Make the new name last; systems that cannot open a folder do without."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
