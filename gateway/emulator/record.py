"""The emulator's record: what really happened, whatever anybody was told.

Promises: append-only entries numbered 1, 2, 3, ..., one JSON object a line, stamped by the emulator's clock: every
request when it arrives, with its bytes; every answer that was made, let through or not; every change of an order, every
execution, every event put on the order feed, every fault that fired. Memory is bounded: lines go to a file, in the data
directory or nameless, at least once in FLUSH_S. The file is bounded too; past it nothing more is recorded, and the
status says so. It is evidence, not state: the ledger is what a restart replays, and nothing here reads it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Final

import orjson
import structlog

from gateway.domain.models.simulation import LedgerKind

RECORD_FILE: Final = "record.jsonl"
RECORD_BYTES_MAX: Final = 4 * 1024**3
"""Past it nothing more is recorded. An order with its answer and events is some 5,000 bytes."""

FLUSH_S: Final = 1.0
BODY_BYTES_MAX: Final = 16 * 1024
"""A longer body (a list of orders, of assets) is left out of its entry; one order's is some 1,500 bytes."""

PAGE_MAX: Final = 10_000
PAGE_BYTES_MAX: Final = 2 * 1024 * 1024
"""A page ends when it is so large, so that it fits any message; the next one goes on."""

SCANNED_MAX: Final = 50_000
"""Entries looked at for one page: a filter that fits few of them gives short pages, not a long wait."""

_BUFFER_BYTES_MAX: Final = 256 * 1024
_INDEX_EVERY: Final = 256
_FILE_MODE: Final = 0o600

_log = structlog.get_logger(__name__)


class RecordError(ValueError):
    """The record in the data directory cannot be gone on with; the message says what to do."""


class Record:
    """The file and its writer.

    Args:
        path: Where it is; None: a nameless temporary file, gone with the process.
        clock: Nanoseconds since the Unix epoch.
        bytes_max: Its bound.

    Attributes:
        sequence: The number of the last entry.
        is_full: Nothing more is recorded.

    Raises:
        RecordError: What is there is no record.
        OSError: It cannot be opened.
    """

    def __init__(self, path: Path | None, clock: Callable[[], int], *, bytes_max: int = RECORD_BYTES_MAX) -> None:
        self._clock = clock
        self._bytes_max = bytes_max
        self._fd = _temporary_file() if path is None else os.open(path, os.O_RDWR | os.O_CREAT, _FILE_MODE)
        self._written = 0
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._offsets = [0]
        self.sequence = 0
        self.is_full = False
        if path is not None:
            try:
                self._go_on(path)
            except BaseException:
                os.close(self._fd)
                raise

    def add(self, kind: LedgerKind, *, body: bytes | str = b"", **fields: str | int | None) -> None:
        """Record something that happened now; empty fields are left out."""
        if self.is_full:
            return
        self.sequence += 1
        entry: dict[str, Any] = {"sequence": self.sequence, "time_ns": self._clock(), "kind": kind.value}
        entry |= {name: value for name, value in fields.items() if value}
        if body and len(body) <= BODY_BYTES_MAX:
            entry["body"] = body if isinstance(body, str) else body.decode("utf-8", "replace")
        line = orjson.dumps(entry) + b"\n"
        if self._written + self._waiting_bytes + len(line) > self._bytes_max:
            self._end_full()
            return
        self._waiting.append(line)
        self._waiting_bytes += len(line)
        if self.sequence % _INDEX_EVERY == 0:
            self._offsets.append(self._written + self._waiting_bytes)
        if self._waiting_bytes >= _BUFFER_BYTES_MAX:
            self.flush()

    def flush(self) -> None:
        """Hand what waits to the operating system."""
        if not self._waiting:
            return
        lines = b"".join(self._waiting)
        try:
            written = 0
            while written < len(lines):
                written += os.pwrite(self._fd, lines[written:], self._written + written)
        except OSError as error:
            _log.error("record_not_written", reason=error.strerror, entries=len(self._waiting))
            self.is_full = True
        self._waiting.clear()
        self._written += len(lines)
        self._waiting_bytes = 0

    def page(
        self, first: int, limit: int, *, symbol: str = "", kinds: Collection[str] = ()
    ) -> tuple[list[dict[str, Any]], int]:
        """Entries from a sequence on, oldest first, and where the next page begins; 0 at the present end."""
        self.flush()
        found: list[dict[str, Any]] = []
        page_bytes = 0
        number = max(first, 1)
        for scanned, line in enumerate(self._lines(number)):
            page_bytes += len(line)
            if len(found) >= min(limit, PAGE_MAX) or page_bytes > PAGE_BYTES_MAX or scanned >= SCANNED_MAX:
                return found, number
            entry: dict[str, Any] = orjson.loads(line)
            number = entry["sequence"] + 1
            if (not symbol or entry.get("symbol") == symbol) and (not kinds or entry["kind"] in kinds):
                found.append(entry)
            else:
                page_bytes -= len(line)
        return found, 0

    def close(self) -> None:
        """Write everything and close. Idempotent."""
        if self._fd >= 0:
            self.flush()
            os.close(self._fd)
            self._fd = -1

    def _lines(self, first: int) -> Iterator[bytes]:
        block = min((first - 1) // _INDEX_EVERY, len(self._offsets) - 1)
        number = block * _INDEX_EVERY + 1
        end = self._written
        with os.fdopen(os.dup(self._fd), "rb") as file:
            file.seek(self._offsets[block])
            while file.tell() < end:
                line = file.readline()
                if number >= first:
                    yield line
                number += 1

    def _go_on(self, path: Path) -> None:
        """Find the end of an old record; a last line without its end is dropped."""
        last = b""
        offset = 0
        with os.fdopen(os.dup(self._fd), "rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    os.ftruncate(self._fd, offset)
                    break
                last = line
                offset += len(line)
                self.sequence += 1
                if self.sequence % _INDEX_EVERY == 0:
                    self._offsets.append(offset)
        self._written = offset
        if last and not last.startswith(b'{"sequence":%d,' % self.sequence):
            raise RecordError(f"{path} is no record, or entries are missing: move it away to begin another")

    def _end_full(self) -> None:
        self.sequence -= 1
        self.is_full = True
        _log.error("record_full", bytes=self._written, bytes_max=self._bytes_max)


def _temporary_file() -> int:
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
