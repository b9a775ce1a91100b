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
import multiprocessing
import os
import signal
import sys
import time
from typing import Final

from tests.chaos import everything
from tests.chaos.everything import CRASH_REPETITIONS, FIRST_SEED, REAL_KILLS, REAL_ORDERS
from tests.chaos.planted import BUGS
from tests.chaos.planted.registry import SEEDS_MAX
from tests.chaos.processes.programs import NotStarted, kill_all
from tests.chaos.simulation import crash_points as points, sweep
from tests.chaos.simulation.world import ORDERS, Plan, simulate
from tests.chaos.totals import Summary

MINUTES: Final = 10.0
FINE, VIOLATED, FAILED, VOID = 0, 1, 2, 3
INTERRUPTED: Final = 130


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
    real.add_argument("--network", action="store_true", help="break connections between gateway and venue as well")
    commands.add_parser("syscalls")
    arguments = parser.parse_args()
    ends_at = time.monotonic() + arguments.minutes * 60
    match arguments.command:
        case "simulate" if arguments.seed is not None:
            return _one_seed(arguments.seed, arguments.orders)
        case "simulate":
            return _report("simulation", everything.simulation(ends_at, _tell))
        case "crash-points":
            return _crash_points(arguments.point, arguments.seed, ends_at)
        case "planted":
            return _planted(arguments.bug, arguments.seeds)
        case "processes":
            return _processes(arguments.orders, arguments.kills, ends_at, with_network=arguments.network)
        case "syscalls":
            return _code(everything.system_calls(ends_at - everything.REST_S, _tell))
        case _:
            return _report("everything", everything.run_everything(ends_at, _tell))


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


def _processes(orders: int, kills: int, ends_at: float, *, with_network: bool) -> int:
    try:
        return _code(everything.processes(orders, kills, ends_at, _tell, with_network=with_network))
    except NotStarted as error:
        print(f"FAILED: a program did not start: {error}")
        return FAILED


def _report(title: str, summary: Summary) -> int:
    print(summary.text(title), flush=True)
    return _code(summary)


def _code(summary: Summary) -> int:
    if summary.failures:
        return VIOLATED
    return VOID if summary.void else FINE


def _tell(text: str) -> None:
    print(text, flush=True)


def _give_up(*_: object) -> None:
    """Ctrl-C and SIGTERM end what was begun, too: programs are in sessions of their own, threads go on for minutes."""
    kill_all()
    for worker in multiprocessing.active_children():
        worker.kill()
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _give_up)
    sys.exit(main())
