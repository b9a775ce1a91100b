"""What keeps a process that holds keys, and the folder that it writes, to the user who started it.

Promises: no core file, no memory and no environment of this process for anybody but root (`PR_SET_DUMPABLE`, Linux
alone; elsewhere core files are off); whatever it makes from now on only its user can read; a data directory that
everybody can write is refused, and one that is ours is narrowed. Leaves what is said and logged to `gateway.telemetry`.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PRIVATE_UMASK: Final = 0o077
FOLDER_MODE: Final = 0o700
LOCK_FILE: Final = "gateway.lock"
"""Its presence says that a data directory is one."""

_OWN_FILES: Final = ("journal.sqlite3*", "revoked-tokens*", LOCK_FILE, "starts.unfinished", "emulator/*")
_PR_SET_DUMPABLE: Final = 4
"""Source: prctl(2). The files of such a process under /proc are root's, and nobody else may trace it."""
_EVERYBODY_ELSE: Final = stat.S_IRWXG | stat.S_IRWXO


class FolderExposed(Exception):
    """Anybody on this machine can put files into the data directory; the text says what to do."""


def keep_private() -> None:
    """Keep this process' memory, and what it makes, to its user; for the first line of a process that holds keys.

    What the system does not offer is left out: it never keeps a process from starting.
    """
    os.umask(PRIVATE_UMASK)
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415 - POSIX alone

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A core file that is piped to a program knows no limit: only this keeps it from being made.
    _set_dumpable(0)


def let_be_traced() -> None:
    """Let the user's own debuggers and profilers in again; there is no core file all the same."""
    _set_dumpable(1)


def is_open_to_all(folder: Path) -> bool:
    """Whether everybody can write a folder, so that what is in it may be anybody's."""
    return bool(folder.stat().st_mode & stat.S_IWOTH)


def keep_folder_private(folder: Path) -> bool:
    """Narrow an existing data directory to its user, as far as it and what is in it are ours; whether it is.

    A folder that has other things in it, or is another user's, keeps its mode; our files in it are narrowed even so.

    Raises:
        FolderExposed: Everybody can write it, so what is in it may be anybody's.
        OSError: It cannot be looked at.
    """
    mode = folder.stat().st_mode
    if is_open_to_all(folder):
        raise FolderExposed(f"everybody can write {folder}: chmod 700 {folder}, and look who made what is in it")
    is_private = not mode & _EVERYBODY_ELSE
    if not is_private:
        is_ours = (folder / LOCK_FILE).exists() or not any(folder.iterdir())
        is_private = is_ours and _narrow(folder, FOLDER_MODE)
    for path in _own_files(folder):
        _narrow(path, stat.S_IMODE(path.lstat().st_mode) & ~_EVERYBODY_ELSE)
    return is_private


def _set_dumpable(value: int) -> None:
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - for this alone

        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, value, 0, 0, 0)


def _own_files(folder: Path) -> Iterator[Path]:
    for pattern in _OWN_FILES:
        for path in folder.glob(pattern):
            state = path.lstat()
            if stat.S_ISREG(state.st_mode) and state.st_mode & _EVERYBODY_ELSE:
                yield path


def _narrow(path: Path, mode: int) -> bool:
    try:
        path.chmod(mode)
    except OSError:  # somebody else's: a volume that was mounted for us
        return False
    return True
