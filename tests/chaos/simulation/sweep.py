"""Many seeds, on as many processes as there are cores."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, as_completed, wait
from multiprocessing import get_context
from typing import Final

from tests.chaos.planted import BUGS, planted
from tests.chaos.planted.registry import SEEDS_MAX
from tests.chaos.simulation.crash_points import CRASH_POINTS, crash
from tests.chaos.simulation.weather import Fault
from tests.chaos.simulation.world import ORDERS, Outcome, Plan, simulate
from tests.chaos.totals import Summary

WORKERS: Final = 2
NICENESS: Final = 10
"""Simulated time does not mind: whoever runs beside it in real time goes first."""
FAULT_RUNS_MIN: Final = 100
"""So many runs meet every kind of fault; fewer prove nothing about the kinds that did not fire."""
PLANTED_ORDERS: Final = 150
"""Intents of one run with a planted bug."""


def run_seed(seed: int, orders: int = ORDERS) -> Summary:
    """One seed."""
    return _summary(simulate(Plan(seed, orders)), f"python -m tests.chaos simulate --seed {seed} --orders {orders}")


def run_crash_point(index: int, seed: int) -> Summary:
    """One row of the table of crash points."""
    point = CRASH_POINTS[index]
    return _summary(crash(point, seed), f"python -m tests.chaos crash-points --point '{point.name}' --seed {seed}")


def sweep(first_seed: int, orders_min: int, seeds_min: int, until: float, tell: Callable[[str], None]) -> Summary:
    """Seeds from the first on, until there are enough of them, or time is over.

    Args:
        first_seed: Those that follow it are taken.
        orders_min: Of all runs together; void if time ends before.
        seeds_min: As many at least.
        until: `time.monotonic()` seconds.
        tell: Told how it goes, now and then.
    """
    total = Summary()
    told_at = time.monotonic()

    def wanted() -> Iterator[tuple[Callable[..., Summary], tuple[int, ...]]]:
        seed = first_seed
        while time.monotonic() < until and (total.orders < orders_min or seed - first_seed < seeds_min):
            yield run_seed, (seed,)
            seed += 1

    for summary in _in_parallel(wanted()):
        total.add(summary)
        if time.monotonic() - told_at > 15:
            told_at = time.monotonic()
            tell(f"  {total.orders:,} orders, {len(total.failures)} failures")
    if total.orders < orders_min:
        total.void.append(f"{total.orders:,} simulated orders in the time given, {orders_min:,} are the least")
    silent = [fault.value for fault in Fault if not total.fired[fault.value]]
    if silent and total.runs >= FAULT_RUNS_MIN:
        total.void.append(f"these faults never fired: {', '.join(silent)}")
    return total


def crash_points(first_seed: int, repetitions: int, until: float) -> Summary:
    """Every crash point so many times."""
    total = Summary()

    def wanted() -> Iterator[tuple[Callable[..., Summary], tuple[int, ...]]]:
        for repetition in range(repetitions):
            for index in range(len(CRASH_POINTS)):
                if repetition and time.monotonic() > until:
                    return
                yield run_crash_point, (index, first_seed + repetition)

    for summary in _in_parallel(wanted()):
        total.add(summary)
    return total


def seeds_until_caught(name: str, first_seed: int = 1, seeds_max: int = SEEDS_MAX) -> tuple[int, list[str]]:
    """Run a planted bug until an invariant that must see it does.

    Returns:
        How many seeds it took (0: it was never caught), and the invariants that were violated in the last run.
    """
    bug = BUGS[name]
    for count in range(1, seeds_max + 1):
        with planted(bug):
            outcome = simulate(Plan(first_seed + count - 1, PLANTED_ORDERS))
        gc.collect()
        if outcome.report.violated & bug.caught_by:
            return count, sorted(outcome.report.violated)
    return 0, []


def planted_table(first_seed: int, seeds_max: int) -> Iterator[tuple[str, int, list[str]]]:
    """Every planted bug: its name, after how many seeds it was caught, and by which invariants."""
    with ProcessPoolExecutor(WORKERS, get_context("spawn"), os.nice, (NICENESS,)) as pool:
        found = {pool.submit(seeds_until_caught, name, first_seed, seeds_max): name for name in BUGS}
        for future in as_completed(found):
            yield (found[future], *future.result())


def _in_parallel(work: Iterator[tuple[Callable[..., Summary], tuple[int, ...]]]) -> Iterator[Summary]:
    """Results as they come; never more under way than there are workers to take them."""
    with ProcessPoolExecutor(WORKERS, get_context("spawn"), os.nice, (NICENESS,)) as pool:
        running: set[Future[Summary]] = set()
        while True:
            while len(running) < 2 * WORKERS and (following := next(work, None)) is not None:
                function, arguments = following
                running.add(pool.submit(function, *arguments))
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()


def _summary(outcome: Outcome, reproduce: str) -> Summary:
    summary = Summary(orders=outcome.orders)
    summary.fired.update(outcome.fired)
    summary.take_report(outcome.report, reproduce)
    summary.failures += [f"{bug}\n    {reproduce}" for bug in outcome.bugs[:3]]
    gc.collect()
    return summary
