"""The ledger: an append-only file of what was asked of the exchange and what it did.

Promises: one JSON object a line, numbered 1, 2, 3, ... and checked by a CRC. A line is handed to the operating
system before what it says takes effect, so it survives the death of the process; with `Durability.DISK` it is forced to
the disk first, and survives the death of the machine. A last line without its end (the writer was killed) is dropped at
the next start; anything else that is not right refuses with a sentence that says what and where. The file is bounded.
Leaves the meaning of the lines to `recorded`, and the exclusive lock on the directory to the server.
"""

from __future__ import annotations

import os
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import orjson

LEDGER_FILE: Final = "ledger.jsonl"
LEDGER_BYTES_MAX: Final = 2 * 1024**3
"""Past it nothing more is recorded, so nothing more happens. An order is some 1,000 bytes."""

LINE_BYTES_MAX: Final = 1024 * 1024
PAGE_MAX: Final = 10_000

_INDEX_EVERY: Final = 256
_CRC_HEAD: Final = b'{"crc":"'
_CRC_END: Final = len(_CRC_HEAD) + 8
_FILE_MODE: Final = 0o600


class Durability(StrEnum):
    """When a line counts as written: handed to the operating system, or on the disk."""

    OS = "os"
    DISK = "disk"


class LedgerError(Exception):
    """The ledger cannot be read, or cannot take a line; the message says what to do."""


class Ledger:
    """The file.

    Args:
        path: Where it is; None: a nameless temporary file, gone with the process.
        bytes_max: Its bound.

    Raises:
        LedgerError: It is damaged.
        OSError: It cannot be opened.
    """

    def __init__(
        self, path: Path | None, *, durability: Durability = Durability.OS, bytes_max: int = LEDGER_BYTES_MAX
    ) -> None:
        self._name = "the temporary ledger" if path is None else str(path)
        self._durability = durability
        self._bytes_max = bytes_max
        self._fd = _temporary_file() if path is None else os.open(path, os.O_RDWR | os.O_CREAT, _FILE_MODE)
        self._size = 0
        self._sequence = 0
        self._offsets = [0]
        try:
            self._size = self._drop_torn_line()
        except BaseException:
            os.close(self._fd)
            raise

    @property
    def sequence(self) -> int:
        """The number of the last line; after opening an old file, of the last one that was read."""
        return self._sequence

    @property
    def size_bytes(self) -> int:
        """The length of the file."""
        return self._size

    @property
    def bytes_max(self) -> int:
        """The bound of the file."""
        return self._bytes_max

    def append(self, entry: Mapping[str, Any]) -> int:
        """Write one line; returns its number.

        Raises:
            LedgerError: The file is full, or the disk will not take it. Nothing was recorded.
        """
        body = orjson.dumps({"n": self._sequence + 1, **entry})
        line = b'%s%08x",%s\n' % (_CRC_HEAD, zlib.crc32(body), body[1:])
        if len(line) > LINE_BYTES_MAX:
            raise LedgerError(f"{self._name} takes no line of {len(line)} bytes")
        if self._size + len(line) > self._bytes_max:
            raise LedgerError(f"{self._name} is full ({self._size} of {self._bytes_max} bytes)")
        self._write(line)
        self._sequence += 1
        if self._sequence % _INDEX_EVERY == 0:
            self._offsets.append(self._size)
        return self._sequence

    def replay(self) -> Iterator[dict[str, Any]]:
        """Every line of an old file from the beginning, checked; to be read to its end before the first append.

        Raises:
            LedgerError: A line is damaged or missing.
        """
        self._sequence, self._offsets = 0, [0]
        for entry, end in self._lines(0, 1):
            self._sequence = int(entry["n"])
            if self._sequence % _INDEX_EVERY == 0:
                self._offsets.append(end)
            yield entry

    def entries(self, after: int = 0, limit: int = PAGE_MAX) -> list[dict[str, Any]]:
        """At most `limit` lines after a number, oldest first: what was really asked and done."""
        start = max(after, 0)
        block = min(start // _INDEX_EVERY, len(self._offsets) - 1)
        found: list[dict[str, Any]] = []
        for entry, _ in self._lines(self._offsets[block], block * _INDEX_EVERY + 1):
            if entry["n"] > start:
                found.append(entry)
            if len(found) >= min(limit, PAGE_MAX):
                break
        return found

    def close(self) -> None:
        """Force everything to the disk and close. Idempotent."""
        if self._fd >= 0:
            os.fsync(self._fd)
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, line: bytes) -> None:
        """Write at the end; a part of a line that the disk would not take is cut off again."""
        try:
            written = 0
            while written < len(line):
                written += os.pwrite(self._fd, line[written:], self._size + written)
            if self._durability is Durability.DISK:
                os.fdatasync(self._fd)
        except OSError as error:
            os.ftruncate(self._fd, self._size)
            raise LedgerError(f"{self._name} cannot be written: {error.strerror}") from error
        self._size += len(line)

    def _drop_torn_line(self) -> int:
        """Cut off what the last writer did not finish; returns the length that is left."""
        size = os.fstat(self._fd).st_size
        tail = os.pread(self._fd, LINE_BYTES_MAX, max(size - LINE_BYTES_MAX, 0))
        end = tail.rfind(b"\n")
        if end < 0 and size > LINE_BYTES_MAX:
            raise LedgerError(f"{self._name} is damaged: its last line is longer than {LINE_BYTES_MAX} bytes")
        torn = len(tail) - end - 1
        if torn:
            os.ftruncate(self._fd, size - torn)
        return size - torn

    def _lines(self, offset: int, number: int) -> Iterator[tuple[dict[str, Any], int]]:
        """Lines from an offset on, of which the first has this number, each with the offset of its end."""
        with os.fdopen(os.dup(self._fd), "rb") as file:
            while offset < self._size:
                file.seek(offset)
                line = file.readline(LINE_BYTES_MAX)
                offset += len(line)
                yield self._entry(line, number), offset
                number += 1

    def _entry(self, line: bytes, number: int) -> dict[str, Any]:
        body = b"{" + line[_CRC_END + 2 : -1]
        if not line.startswith(_CRC_HEAD) or line[len(_CRC_HEAD) : _CRC_END] != b"%08x" % zlib.crc32(body):
            raise LedgerError(f"{self._name} is damaged at line {number}: restore it, or move it away to begin anew")
        entry: dict[str, Any] = orjson.loads(body)
        if entry.get("n") != number:
            raise LedgerError(f"{self._name} is damaged: line {number} is numbered {entry.get('n')}")
        return entry


def _temporary_file() -> int:
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
