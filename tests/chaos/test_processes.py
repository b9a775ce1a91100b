"""Real processes in short: kills in the middle of traffic, kills at system calls, a disk that fails.

`make chaos` is the long form, with the settle window of 60 s and sixty kills.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chaos.processes import syscalls
from tests.chaos.processes.run import Wanted, run

ORDERS = 100
KILLS = 1
ENDINGS = 3
FROZEN_S = 2.2
RECOVERIES = 2

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def test_kill_in_the_middle_of_traffic(tmp_path: Path) -> None:
    """And in every other way that a life can end; each fires, no secret is written, and nothing is left running."""
    wanted = Wanted(
        tmp_path,
        1,
        ORDERS,
        KILLS,
        endings=ENDINGS,
        frozen_s=FROZEN_S,
        recoveries=RECOVERIES,
        is_settled=False,
        undisturbed_s=1.0,
    )
    result = run(wanted)
    assert not result.report.violated, result.report.text()
    assert not result.failures
    assert not {"I30", "I32"} & result.report.not_exercised
    assert min(result.fired[name] for name in ("killed_while_recovering", "stopped_by_signal", "frozen")) >= 1
    assert result.orders >= ORDERS
    assert result.kills == KILLS
    assert sum(result.fired.values()) >= 1


@pytest.mark.skipif(not syscalls.is_available() and os.environ.get("CI") != "true", reason="there is no strace here")
def test_kill_at_system_calls_of_a_submission(tmp_path: Path) -> None:
    summary = syscalls.short(tmp_path)
    assert not summary.failures, "\n".join(summary.failures)
    assert summary.kills >= len(syscalls.SHORT)
    assert summary.fired["EIO of fdatasync"] == 1
