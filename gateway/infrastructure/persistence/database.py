"""Database: the one SQLite file of a data directory. One thread writes it; the event loop reads it.

Promises: a write that was awaited is on the disk (WAL, `synchronous=FULL`); writes take effect in the order they were
asked for, each whole or not at all; the first fault of a write, a commit or a checkpoint ends all writing for the life
of the process, because after a failed fsync nobody knows what the disk has, and a second fsync that succeeds proves
nothing. Only another program that holds the file is waited for, a minute at most. Reading goes on. A file that is
damaged, or that a later version wrote, is refused when it is opened. Leaves to the stores beside it what is written,
and to `gateway.cli.serve` the lock on the data directory.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, TypeVar

import structlog

from gateway.domain.errors import JournalUnavailable
from gateway.infrastructure.persistence.schema import SCHEMA_VERSION, DatabaseRefused, check_version, meta, migrate

FILE_NAME: Final = "journal.sqlite3"
CHECKPOINT_PAGES: Final = 4_000
"""Pages of 4 KiB, as estimated, that may be in the WAL before they are copied into the file."""
_FILE_MODE: Final = 0o600
_ROWS_PER_PAGE: Final = 6
_PAGES_PER_COMMIT: Final = 4
BUSY_TIMEOUT_S: Final = 5.0
"""How long one try waits for another program that holds the file."""
BUSY_TRIES_MAX: Final = 12
"""A file that is held for longer than these tries, a minute, counts as a fault."""
_PRIMARY_CODE: Final = 0xFF
"""Of SQLite's error codes; what is above it says more."""
_JOIN_TIMEOUT_S: Final = 10.0

T = TypeVar("T")
Job = Callable[[sqlite3.Connection], Any]
Done = Callable[[Any, bool], None]
"""Told on the event loop: the job's result, and whether it was written."""

_log = structlog.get_logger(__name__)


class Database:
    """One open file.

    Args:
        folder: The data directory; the file is made with mode 0600.
        now_ns: For the creation time of a new file; nanoseconds since the Unix epoch.
        new_epoch: Makes the id of a new file's life.

    Attributes:
        reader: For reads on the event loop; sees what is committed.

    Raises:
        DatabaseRefused: Damaged, or of a later version; the text says what to do.
    """

    def __init__(self, folder: Path, now_ns: int, new_epoch: Callable[[], str]) -> None:
        self.path: Final = folder / FILE_NAME
        self._jobs: SimpleQueue[tuple[Job, Done, int, asyncio.AbstractEventLoop] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._listeners: list[Callable[[str], None]] = []
        self._fault = ""
        self._is_closed = False
        self._pages = 0
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, _FILE_MODE))
        try:
            self._writer = connect(self.path)
            migrate(self._writer, now_ns, new_epoch)
            _check_pages(self._writer)
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self.reader: Final = connect(self.path)
        except (sqlite3.DatabaseError, ValueError) as error:  # a name of its schema may be no text any more
            if _is_busy(error):
                raise DatabaseRefused(f"{self.path} is held by another program: end that one.") from None
            raise DatabaseRefused(f"{self.path} cannot be read: {error}. Restore a back-up of it.") from None

    @property
    def fault(self) -> str:
        """Why nothing can be written any more; empty while it can."""
        return self._fault

    def add_fault_listener(self, listener: Callable[[str], None]) -> None:
        """Tell somebody, once, on the event loop, when writing ends; it must neither block nor raise."""
        self._listeners.append(listener)

    def meta(self, key: str) -> str | None:
        """One of the facts about the whole file."""
        return meta(self.reader, key)

    async def write(self, job: Callable[[sqlite3.Connection], T], rows: int = 1) -> T:
        """Run a job on the writer's thread, in a transaction of its own; durable when this returns.

        Args:
            job: Neither begins nor ends transactions.
            rows: How many it writes, roughly.

        Raises:
            JournalUnavailable: It may not have been written.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def transaction(connection: sqlite3.Connection) -> T:
            connection.execute("BEGIN IMMEDIATE")
            result = job(connection)
            connection.execute("COMMIT")
            return result

        def done(result: T, written: bool) -> None:
            if future.done():
                return
            if written:
                future.set_result(result)
            else:
                future.set_exception(self.unavailable())

        self.submit(transaction, done, rows)
        return await future

    def submit(self, job: Job, done: Done, rows: int) -> None:
        """Have a job run that makes its own transaction; from the event loop, where `done` is called.

        Raises:
            JournalUnavailable: Closed, or at fault.
        """
        if self._fault or self._is_closed:
            raise self.unavailable()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="journal-writer", daemon=True)
            self._thread.start()
        self._jobs.put((job, done, rows, asyncio.get_running_loop()))

    def latch(self, fault: str) -> None:
        """End all writing for good; on the event loop."""
        if self._fault:
            return
        self._fault = fault
        _log.critical("journal_fault", fault=fault)
        for listener in self._listeners:
            listener(fault)

    def unavailable(self) -> JournalUnavailable:
        """What is told to whoever wants to write."""
        return JournalUnavailable("The journal cannot record; nothing is sent.")

    async def close(self) -> None:
        """End the thread once it has written what was asked for, then the file. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._thread is not None:
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join, _JOIN_TIMEOUT_S)
        self._close_files()

    def _close_files(self) -> None:
        for connection in (self.reader, self._writer):
            with suppress(sqlite3.Error):
                connection.close()

    def _run(self) -> None:
        """The writer's thread."""
        while (task := self._jobs.get()) is not None:
            job, done, rows, loop = task
            result: Any = None
            fault = self._fault
            if not fault:
                try:
                    result = self._done(job)
                    self._checkpoint(rows)
                except Exception as error:  # whatever it was, nobody knows what the disk has now
                    fault = f"{type(error).__name__}: {error}"
                    with suppress(sqlite3.Error):
                        self._writer.rollback()
            with suppress(RuntimeError):  # the loop has ended, and with it everybody who waited
                loop.call_soon_threadsafe(self._ended, done, result, fault)
            if fault:
                self._refuse_rest(fault)
                return

    def _done(self, job: Job) -> Any:
        """Do a job; a file that another program holds is waited for: nothing was begun, so nothing is in doubt."""
        for tries in range(1, BUSY_TRIES_MAX + 1):
            try:
                return job(self._writer)
            except sqlite3.OperationalError as error:
                is_untouched = _is_busy(error) and not self._writer.in_transaction
                if not is_untouched or self._is_closed or tries == BUSY_TRIES_MAX:
                    raise
                _log.error("journal_held_by_another_program", tries=tries)
        raise AssertionError("the last try ends it")

    def _refuse_rest(self, fault: str) -> None:
        """After a fault nothing is tried again."""
        while (task := self._jobs.get()) is not None:
            _, done, _, loop = task
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._ended, done, None, fault)

    def _ended(self, done: Done, result: Any, fault: str) -> None:
        if fault:
            self.latch(fault)
        done(result, not fault)

    def _checkpoint(self, rows: int) -> None:
        """Copy the WAL into the file now and then; here, and not by itself, so that its failure is a fault too."""
        self._pages += _PAGES_PER_COMMIT + rows // _ROWS_PER_PAGE
        if self._pages >= CHECKPOINT_PAGES:
            self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            self._pages = 0


def connect(path: Path) -> sqlite3.Connection:
    """A connection with the settings that durability rests on."""
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise sqlite3.DatabaseError(f"its file system cannot have a write-ahead log ({mode})")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


def _is_busy(error: Exception) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE == sqlite3.SQLITE_BUSY


def _check_pages(connection: sqlite3.Connection) -> None:
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(str(verdict))


def look(folder: Path, *, at_every_page: bool) -> str | None:
    """The venue that a data directory belongs to; None: not yet any. Reads alone, also beside a gateway.

    Args:
        folder: Has the file.
        at_every_page: As a start does; beside a gateway, which has done it, that would only be in its way.

    Raises:
        DatabaseRefused: A gateway would refuse it: damaged, or of a later version.
    """
    path = folder / FILE_NAME
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            version = check_version(connection)
            if at_every_page:
                _check_pages(connection)
            return meta(connection, "venue") if version else None
    except (sqlite3.DatabaseError, ValueError) as error:
        raise DatabaseRefused(f"{path} cannot be read: {error}. Restore a back-up of it.") from None


def back_up(folder: Path, target: Path) -> int:
    """Copy the file of a data directory, also while a gateway writes it; how many events the copy has.

    Args:
        folder: The data directory.
        target: Must not exist; made with mode 0600.

    Raises:
        DatabaseRefused: There is nothing to copy, or the copy cannot be made or read.
    """
    source_path = folder / FILE_NAME
    if not source_path.is_file():
        raise DatabaseRefused(f"{folder} has no {FILE_NAME}.")
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDWR, _FILE_MODE))
    except OSError as error:
        raise DatabaseRefused(f"cannot write {target}: {error.strerror}") from None
    try:
        source = sqlite3.connect(source_path.resolve().as_uri() + "?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S)
        copy = sqlite3.connect(target, isolation_level=None)
        try:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
            _check_pages(copy)
            (count,) = copy.execute("SELECT count(*) FROM events").fetchone()
        finally:
            copy.close()
            source.close()
    except sqlite3.Error as error:
        target.unlink(missing_ok=True)
        raise DatabaseRefused(f"cannot copy {source_path}: {error}") from None
    _sync(target)
    return int(count)


def _sync(path: Path) -> None:
    for place, flags in ((path, os.O_RDWR), (path.parent, os.O_RDONLY)):
        descriptor = os.open(place, flags)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


__all__ = [
    "CHECKPOINT_PAGES",
    "FILE_NAME",
    "SCHEMA_VERSION",
    "Database",
    "DatabaseRefused",
    "back_up",
    "connect",
    "look",
]
