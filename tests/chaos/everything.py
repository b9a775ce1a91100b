"""The default run: real processes and simulated time side by side, then everything together in one summary.

Promises: each part has its least amount of orders, kills and faults or the run is void; no later than `ends_at`, but
for what must come to rest. The real processes have the machine to themselves until they are disturbed; the simulation
takes what they leave (it runs at a lower priority); kills at system calls fill the settle window, in which the real
processes only wait.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.chaos.processes import syscalls
from tests.chaos.processes.programs import NotStarted
from tests.chaos.processes.run import QUIET_S, Wanted, run
from tests.chaos.simulation import sweep
from tests.chaos.totals import Summary

FIRST_SEED: Final = 1
SIMULATED_ORDERS: Final = 100_000
CRASH_REPETITIONS: Final = 3
REAL_ORDERS: Final = 3_000
REAL_KILLS: Final = 60
REAL_SEED: Final = 1
SYSCALLS_S: Final = 120.0
REST_S: Final = QUIET_S + 45.0
"""From the last disturbance to the verdict: faults that are still to fire, the settle window, the checker."""

Tell = Callable[[str], None]


def run_everything(ends_at: float, tell: Tell) -> Summary:
    """All parts; what they amount to together."""
    is_disturbed, is_quiet = threading.Event(), threading.Event()

    def release(_: object) -> None:
        is_disturbed.set()
        is_quiet.set()

    with ThreadPoolExecutor(max_workers=2) as pool:
        real = pool.submit(processes, REAL_ORDERS, REAL_KILLS, ends_at, tell, is_disturbed.set, is_quiet.set)
        real.add_done_callback(release)  # also when it fails
        calls = pool.submit(_system_calls_after, is_quiet, ends_at, tell)
        is_disturbed.wait()
        total = Summary()
        total.add(_told("crash points", sweep.crash_points(FIRST_SEED, CRASH_REPETITIONS, ends_at), tell))
        total.add(_told("simulation", simulation(ends_at, tell), tell))
        total.add(_result(real))
        total.add(_result(calls))
    return total


def simulation(ends_at: float, tell: Tell) -> Summary:
    """Seeds, as the environment asks (SEEDS, FIRST_SEED), and orders enough."""
    first_seed = int(os.environ.get("FIRST_SEED") or FIRST_SEED)
    seeds_min = int(os.environ.get("SEEDS") or 0)
    tell(f"simulation: seeds from {first_seed} on, {SIMULATED_ORDERS:,} orders or more")
    return sweep.sweep(first_seed, SIMULATED_ORDERS, seeds_min, ends_at, tell)


def processes(
    orders: int,
    kills: int,
    ends_at: float,
    tell: Tell,
    on_disturbed: Callable[[], None] = lambda: None,
    on_quiet: Callable[[], None] = lambda: None,
    *,
    with_network: bool = False,
) -> Summary:
    """The run of real processes; its records are kept when it is not fine."""
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    tell(f"real processes: {orders:,} orders, {kills} kills or more, in {folder}")
    wanted = Wanted(
        folder, REAL_SEED, orders, kills, with_network=with_network, until=ends_at - REST_S, tell=tell,
        on_disturbed=on_disturbed, on_quiet=on_quiet,
    )  # fmt: skip
    result = run(wanted)
    summary = Summary(orders=result.orders)
    summary.fired.update(result.fired)
    summary.take_report(result.report, f"the records are in {folder}")
    summary.failures += [f"{text}\n    the records are in {folder}" for text in result.failures]
    summary.void += result.report.void
    silent = [name for name, count in result.fired.items() if not count]
    if silent:
        summary.void.append(f"these faults never fired: {', '.join(silent)}")
    if result.orders < orders or result.kills < kills:
        summary.void.append(f"{result.orders:,} real orders and {result.kills} kills in the time given")
    _told(f"real processes ({result.per_second:.0f} orders/s undisturbed)", summary, tell)
    if not summary.failures and not summary.void:
        shutil.rmtree(folder)
    return summary


def system_calls(until: float, tell: Tell) -> Summary:
    """Kills at system calls, where there is an strace; its absence is told, and void where nothing may be skipped."""
    if not syscalls.is_available():
        tell("kills at system calls: skipped, there is no strace here")
        return Summary(void=["there is no strace here"] if os.environ.get("CI") == "true" else [])
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        return _told("kills at system calls", syscalls.sweep(Path(folder), until, tell), tell)


def _system_calls_after(is_quiet: threading.Event, ends_at: float, tell: Tell) -> Summary:
    is_quiet.wait()
    now = time.monotonic()
    return system_calls(now + max(0.0, min(SYSCALLS_S, ends_at - REST_S - now)), tell)


def _result(part: Future[Summary]) -> Summary:
    """A part that could not be run is a failure, and does not hide what the others found."""
    try:
        return part.result()
    except NotStarted as error:
        return Summary(failures=[f"a program did not start: {error}"])


def _told(title: str, summary: Summary, tell: Tell) -> Summary:
    tell(summary.text(title))
    return summary
