"""The simulation in short: seeds, crash points, the same seed twice, and a planted bug that its seed finds again.

`make chaos` is the long form. A failure prints what reproduces it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.planted import BUGS, planted
from tests.chaos.simulation import sweep
from tests.chaos.simulation.crash_points import CRASH_POINTS
from tests.chaos.simulation.world import Plan, simulate

ROOT = Path(__file__).parents[2]
SEEDS = (1, 2, 3, 4, 5, 6)
ORDERS = 120
CRASH_SEED = 2
DIGEST_ORDERS = 60
FOUND_AT = 1
DIGEST_SEED = 7
DIGEST_TIMEOUT_S = 60
DIGEST_CODE = (
    "from tests.chaos.simulation.world import Plan, simulate; "
    f"print(simulate(Plan({DIGEST_SEED}, {DIGEST_ORDERS})).digest())"
)


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_doubled_or_guessed(seed: int) -> None:
    summary = sweep.run_seed(seed, ORDERS)
    assert not summary.failures, "\n".join(summary.failures)
    assert summary.orders >= ORDERS


@pytest.mark.parametrize("index", range(len(CRASH_POINTS)), ids=[point.name for point in CRASH_POINTS])
def test_the_process_ends_at(index: int) -> None:
    summary = sweep.run_crash_point(index, CRASH_SEED)
    assert not summary.failures, "\n".join(summary.failures)
    assert summary.kills >= len(CRASH_POINTS[index].points)


def test_a_seed_gives_the_same_records_to_the_byte() -> None:
    """Twice in this process, and in two others whose sets and dictionaries of texts are ordered otherwise."""
    digests = {simulate(Plan(DIGEST_SEED, DIGEST_ORDERS)).digest() for _ in range(2)}
    for hash_seed in ("0", "4711"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", DIGEST_CODE]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=DIGEST_TIMEOUT_S, check=True
        )
        digests.add(done.stdout.strip())
    assert len(digests) == 1
    assert simulate(Plan(DIGEST_SEED + 1, DIGEST_ORDERS)).digest() not in digests


def test_a_failure_names_its_seed_and_the_seed_finds_it_again() -> None:
    bug = BUGS["lost_answer_is_a_failure"]
    with planted(bug):
        seed = FOUND_AT + sweep.seeds_until_caught(bug.name, FOUND_AT)[0] - 1
        first = sweep.run_seed(seed, sweep.PLANTED_ORDERS)
        again = simulate(Plan(seed, sweep.PLANTED_ORDERS))
    assert any(
        f"python -m tests.chaos simulate --seed {seed} --orders {sweep.PLANTED_ORDERS}" in text
        for text in first.failures
    )
    told = {
        f"{name}: {one.subject}: {one.text}"
        for name, found in again.report.findings.items()
        for one in found.violations
    }
    assert {text.partition("\n")[0] for text in first.failures} <= told | {f"{bug}" for bug in again.bugs}
    assert again.report.violated & bug.caught_by
    assert not sweep.run_seed(seed, sweep.PLANTED_ORDERS).failures
