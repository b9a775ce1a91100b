"""`make chaos`: everything that can go wrong, on purpose, for a bounded time; then the proof that no order suffered.

    python -m tests.chaos                                everything, ten minutes at most
    python -m tests.chaos simulate [--seed N]            simulated time: one seed, or many
    python -m tests.chaos crash-points [--point C7]      the process ends at each named point
    python -m tests.chaos planted                        the table of planted bugs
    python -m tests.chaos processes                      real processes, kill -9, real disk and sockets
    python -m tests.chaos syscalls                       kill at every system call of a submission (needs strace)

`MINUTES` (default 10) bounds the whole, `SEEDS` asks for more simulated runs, `FIRST_SEED` begins elsewhere.
Exit: 0 fine, 1 violations, 2 it could not be run, 3 VOID: too little happened to prove anything.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.chaos.planted import BUGS
from tests.chaos.planted.registry import SEEDS_MAX
from tests.chaos.processes import syscalls
from tests.chaos.processes.programs import NotStarted
from tests.chaos.processes.run import QUIET_S, Wanted, run
from tests.chaos.simulation import crash_points as points, sweep
from tests.chaos.simulation.world import ORDERS, Plan, simulate
from tests.chaos.totals import Summary

MINUTES: Final = 10.0
FIRST_SEED: Final = 1
SIMULATED_ORDERS: Final = 100_000
CRASH_REPETITIONS: Final = 3
REAL_ORDERS: Final = 3_000
REAL_KILLS: Final = 60
REAL_SEED: Final = 1
SYSCALLS_S: Final = 60.0
PARTS: Final = 4
FINE, VIOLATED, FAILED, VOID = 0, 1, 2, 3


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Orders that survive anything.")
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("MINUTES") or MINUTES))
    commands = parser.add_subparsers(dest="command")
    one = commands.add_parser("simulate")
    one.add_argument("--seed", type=int)
    one.add_argument("--orders", type=int, default=ORDERS)
    crash = commands.add_parser("crash-points")
    crash.add_argument("--point", default="")
    crash.add_argument("--seed", type=int, default=FIRST_SEED)
    bugs = commands.add_parser("planted")
    bugs.add_argument("--bug", default="")
    bugs.add_argument("--seeds", type=int, default=SEEDS_MAX)
    real = commands.add_parser("processes")
    real.add_argument("--orders", type=int, default=REAL_ORDERS)
    real.add_argument("--kills", type=int, default=REAL_KILLS)
    commands.add_parser("syscalls")
    arguments = parser.parse_args()
    ends_at = time.monotonic() + arguments.minutes * 60
    match arguments.command:
        case "simulate" if arguments.seed is not None:
            return _one_seed(arguments.seed, arguments.orders)
        case "simulate":
            return _report("simulation", _sweep(ends_at))
        case "crash-points":
            return _crash_points(arguments.point, arguments.seed, ends_at)
        case "planted":
            return _planted(arguments.bug, arguments.seeds)
        case "processes":
            return _processes(arguments.orders, arguments.kills, ends_at)
        case "syscalls":
            return _syscalls(ends_at)
        case _:
            return _everything(ends_at)


def _everything(ends_at: float) -> int:
    """Real processes have the machine to themselves until disturbed; the simulation takes what is left then."""
    is_disturbed = threading.Event()
    codes: list[int] = []

    def real() -> None:
        try:
            codes.append(_processes(REAL_ORDERS, REAL_KILLS, ends_at, is_disturbed.set))
        finally:
            is_disturbed.set()

    thread = threading.Thread(target=real)
    thread.start()
    is_disturbed.wait()
    codes.append(_report("crash points", sweep.crash_points(FIRST_SEED, CRASH_REPETITIONS, ends_at)))
    codes.append(_report("simulation", _sweep(ends_at)))
    thread.join()
    codes.append(_syscalls(time.monotonic() + SYSCALLS_S))
    return max(codes, key=(FINE, VOID, FAILED, VIOLATED).index) if len(codes) == PARTS else FAILED


def _sweep(ends_at: float) -> Summary:
    first_seed = int(os.environ.get("FIRST_SEED") or FIRST_SEED)
    seeds_min = int(os.environ.get("SEEDS") or 0)
    print(f"simulation: seeds from {first_seed} on, {SIMULATED_ORDERS:,} orders or more", flush=True)
    return sweep.sweep(first_seed, SIMULATED_ORDERS, seeds_min, ends_at, _tell)


def _one_seed(seed: int, orders: int) -> int:
    outcome = simulate(Plan(seed, orders))
    print(outcome.report.text())
    for bug in outcome.bugs:
        print(f"BUG: {bug}")
    print(f"seed {seed}: {outcome.orders} orders, {outcome.crashes} kills, faults {outcome.fired}")
    print(f"the three records: {outcome.digest()}")
    return FINE if outcome.is_fine else VIOLATED


def _crash_points(name: str, seed: int, ends_at: float) -> int:
    if not name:
        return _report("crash points", sweep.crash_points(seed, CRASH_REPETITIONS, ends_at))
    indices = [index for index, point in enumerate(points.CRASH_POINTS) if point.name == name]
    if not indices:
        print(f"no crash point {name}; there are {', '.join(point.name for point in points.CRASH_POINTS)}")
        return FAILED
    return _report(name, sweep.run_crash_point(indices[0], seed))


def _planted(name: str, seeds_max: int) -> int:
    print(f"{'planted bug':<44} {'seeds':>5}  caught by")
    missed = 0
    rows = [(name, *sweep.seeds_until_caught(name, FIRST_SEED, seeds_max))] if name else None
    for bug, count, violated in rows or sweep.planted_table(FIRST_SEED, seeds_max):
        missed += not count
        print(f"{bug:<44} {count or '-':>5}  {', '.join(violated) or 'NOT CAUGHT'}  ({BUGS[bug].text})", flush=True)
    print(f"{len(rows or BUGS) - missed} of {len(rows or BUGS)} planted bugs were caught")
    return VIOLATED if missed else FINE


def _processes(orders: int, kills: int, ends_at: float, on_disturbed: Callable[[], None] = lambda: None) -> int:
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    print(f"real processes: {orders:,} orders, {kills} kills or more, in {folder}", flush=True)
    wanted = Wanted(folder, REAL_SEED, orders, kills, until=ends_at - QUIET_S, tell=_tell, on_disturbed=on_disturbed)
    try:
        result = run(wanted)
    except NotStarted as error:
        print(f"FAILED: a program did not start: {error}")
        return FAILED
    summary = Summary(orders=result.orders)
    summary.fired.update(result.fired)
    summary.take_report(result.report, f"the records are in {folder}")
    summary.void += result.report.void
    if result.orders < orders or result.kills < kills:
        summary.void.append(f"{result.orders:,} orders and {result.kills} kills in the time given")
    code = _report(f"real processes ({result.per_second:.0f} orders/s undisturbed)", summary)
    if code == FINE:
        shutil.rmtree(folder)
    return code


def _syscalls(until: float) -> int:
    if not syscalls.is_available():
        print("system calls: skipped, there is no strace here")
        return FAILED if os.environ.get("CI") == "true" else FINE
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        return _report("kills at system calls", syscalls.sweep(Path(folder), until, _tell))


def _report(title: str, summary: Summary) -> int:
    print(summary.text(title), flush=True)
    if summary.failures:
        return VIOLATED
    return VOID if summary.void else FINE


def _tell(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
