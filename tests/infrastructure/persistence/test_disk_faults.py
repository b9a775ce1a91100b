"""The journal on a disk that fails: real system calls answer EIO or ENOSPC, in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.infrastructure.persistence.database import Database
from gateway.infrastructure.persistence.order_journal import SqliteOrderJournal

STRACE = shutil.which("strace")
APPENDS = 40
WRITER = f"""
import asyncio, sys
from pathlib import Path
from gateway.domain.errors import JournalUnavailable
from gateway.infrastructure.persistence.database import Database
from gateway.infrastructure.persistence.order_journal import SqliteOrderJournal
from tests.infrastructure.persistence.samples import recorded

async def main():
    journal = SqliteOrderJournal(Database(Path(sys.argv[1]), 1, lambda: "00" * 8))
    for number in range({APPENDS}):
        try:
            await journal.append([recorded(number)])
            print("ok", flush=True)
        except JournalUnavailable:
            print("refused", flush=True)
    print("fault", bool(journal.fault), len(journal.read(0, 1000)), flush=True)

asyncio.run(main())
"""


def write(folder: Path, *injected: str) -> list[str]:
    """Append in a child; what it said."""
    command = [sys.executable, "-c", WRITER, str(folder)]
    if injected:
        assert STRACE is not None
        command = [STRACE, "-f", "-qq", "-o", "/dev/null", *injected, *command]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return [line for line in done.stdout.splitlines() if "journal_fault" not in line]


async def recovered(folder: Path) -> int:
    """What a later process finds: its head, once everything was checked."""
    journal = SqliteOrderJournal(Database(folder, 1, lambda: "11" * 8))
    assert journal.epoch == "00" * 8
    found = [event.order_id for event in journal.replay()]
    assert found == [f"order-{number}" for number in range(len(found))]
    await journal.close()
    return journal.head


@pytest.mark.skipif(STRACE is None and os.environ.get("CI") != "true", reason="strace is not installed")
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
@pytest.mark.parametrize("calls", ["fdatasync,fsync", "pwrite64"])
async def test_what_was_refused_stays_refused_and_what_was_told_stays_told(
    tmp_path: Path, calls: str, error: str
) -> None:
    when = 100 if calls == "pwrite64" else 20
    # Once alone: the next call would succeed, and prove nothing.
    said = write(tmp_path, "-e", f"trace={calls}", "-e", f"inject={calls}:error={error}:when={when}")
    told = said.count("ok")
    assert said == ["ok"] * told + ["refused"] * (APPENDS - told) + [f"fault True {told}"]
    assert 0 < told < APPENDS
    assert told <= await recovered(tmp_path) <= told + 1  # the one whose fate nobody knew
