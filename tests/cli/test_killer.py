"""SIGUSR1 at every moment of a process: kept for a gateway that is not there yet, and for one that is no more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli.killer import REASON, SET_BY_SIGNAL, Killer
from gateway.infrastructure.kill_file import KILL_FILE

AT_THE_LAST_MOMENT = """
import asyncio, os, signal, sys
from pathlib import Path
from gateway.cli.killer import Killer
from gateway.cli.runtime import run

async def main():
    killer = Killer(Path(sys.argv[1]))
    killer.listen()
    if sys.argv[2] == "outlives":
        killer.outlive_loop()
    return 0

run(main())
os.kill(os.getpid(), signal.SIGUSR1)
print("went on")
"""


class Noting:
    def __init__(self) -> None:
        self.killed: list[tuple[str, str]] = []

    def kill(self, reason: str, set_by: str) -> None:
        self.killed.append((reason, set_by))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / KILL_FILE


def test_one_that_comes_early_is_kept_for_the_gateway(file: Path) -> None:
    killer, gateway = Killer(file.parent), Noting()
    killer.kill()
    killer.arm(gateway)
    assert gateway.killed == [(REASON, SET_BY_SIGNAL)]
    killer.kill()
    assert gateway.killed == [(REASON, SET_BY_SIGNAL)] * 2
    assert not file.exists(), "the journal is there to keep it"


def test_one_that_comes_while_it_ends_is_kept_by_the_file_too(file: Path) -> None:
    killer, gateway = Killer(file.parent), Noting()
    killer.arm(gateway)
    killer.note_ending()
    assert not file.exists()
    killer.kill()
    assert file.exists()
    assert len(gateway.killed) == 1, "and the gateway does what it still can"


@pytest.mark.parametrize(("how", "is_kept"), [("outlives", True), ("does not", False)])
def test_one_that_comes_after_the_event_loop_is_kept_by_the_file(file: Path, how: str, is_kept: bool) -> None:
    """An event loop that has ended takes its handlers with it: the signal would be forgotten, or end the process."""
    done = subprocess.run(
        [sys.executable, "-c", AT_THE_LAST_MOMENT, str(file.parent), how],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert file.exists() == is_kept, done.stderr
    assert not is_kept or done.stdout == "went on\n"
