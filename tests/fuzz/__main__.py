"""`make fuzz`: garbage at every rpc and every parser, for a bounded time; then what was tried, and what it cost.

    python -m tests.fuzz                     both, ten minutes
    python -m tests.fuzz rpcs [--only NAME]  every rpc over a real socket
    python -m tests.fuzz parsers             every place that reads what others wrote; with atheris where it is

`MINUTES` (default 10) bounds the whole, `SEED` (default: drawn, and printed) begins elsewhere. Every case can be had
again by its seed. Exit: 0 nothing found, 1 something was.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from typing import Final

from tests.emulator.host import EmulatorHost, LoopThread
from tests.fuzz.campaign import OWN_STATE, Tally, fuzz, rpcs
from tests.fuzz.parsers import PARSERS, quiet
from tests.fuzz.parsing import ParserTally, guide, has_atheris, try_parser
from tests.fuzz.target import Rpc, Target, memory_mib, start_target
from tests.gateway_host import GatewayHost

MINUTES: Final = 10.0
EXAMPLES_PER_ROUND: Final = 200
EXAMPLES_MIN: Final = 5
CASES_PER_S: Final = 30
"""About: what is left of a small machine for one call after the other. The first round tries everything, so a short
run takes fewer of each."""
PARSER_S_MIN: Final = 5
RPCS_SHARE: Final = 0.6
ORDERING_SERVICE: Final = "TradingService"


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Garbage at every door.")
    parser.add_argument("what", nargs="?", choices=("rpcs", "parsers"))
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("MINUTES") or MINUTES))
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED") or random.randrange(1 << 31)))
    parser.add_argument("--only", default="", help="the name of one rpc")
    given = parser.parse_args()
    quiet()
    print(f"seed {given.seed}")
    seconds = given.minutes * 60
    is_fine = True
    if given.what != "parsers":
        share = 1.0 if given.what else RPCS_SHARE
        is_fine = _rpcs(seconds * share, given.seed, given.only)
    if given.what != "rpcs":
        share = 1.0 if given.what else 1 - RPCS_SHARE
        is_fine = _parsers(seconds * share, given.seed) and is_fine
    return 0 if is_fine else 1


def _rpcs(seconds: float, seed: int, only: str) -> bool:
    emulators = EmulatorHost(emulator_loop := LoopThread())
    gateways = GatewayHost(gateway_loop := LoopThread(), emulators)
    try:
        return _campaign(gateways, seconds, seed, only)
    finally:
        gateways.stop_all()
        emulators.stop_all()
        gateway_loop.close()
        emulator_loop.close()


def _campaign(gateways: GatewayHost, seconds: float, seed: int, only: str) -> bool:
    ends_at = time.monotonic() + seconds
    targets = [start_target(gateways), start_target(gateways), start_target(gateways, is_halted=False)]
    halted, own, trading = targets
    tried = [(own if rpc.service in OWN_STATE else halted, rpc) for rpc in rpcs()]
    tried += [(trading, rpc) for rpc in rpcs((ORDERING_SERVICE,))]
    tried = [(target, rpc) for target, rpc in tried if only in ("", rpc.name)]
    totals = [Tally(rpc) for _, rpc in tried]
    examples = min(EXAMPLES_PER_ROUND, max(EXAMPLES_MIN, int(seconds * CASES_PER_S / len(tried))))
    faults: list[str] = []
    memory = 0.0
    rounds = 0
    with halted.watched() as watch:
        while time.monotonic() < ends_at or not rounds:
            for total, (target, rpc) in zip(totals, tried, strict=True):
                total.add(_tried(target, rpc, examples, seed + rounds, faults))
                if time.monotonic() >= ends_at and rounds:
                    break
            rounds += 1
            memory = memory or memory_mib()
    _print_rpcs(totals, trading_from=len(tried) - len(rpcs((ORDERING_SERVICE,))) if not only else len(tried))
    print(f"{rounds} rounds; the event loop held for {watch.worst_ms:.1f} ms of processor time at most")
    print(
        f"memory: {memory:.0f} MiB after the first round, {memory_mib():.0f} MiB at the end (the fuzzer's own with it)"
    )
    print(f"calls still under way: {sum(target.calls() for target in targets)}; healthy: {halted.stage.is_healthy()}")
    for target in targets:
        target.close()
    for fault in faults:
        print(f"FOUND {fault}")
    return not faults


def _tried(target: Target, rpc: Rpc, examples: int, seed: int, faults: list[str]) -> Tally:
    tally = Tally(rpc)
    try:
        fuzz(target, rpc, examples, seed, tally)
    except Exception as error:  # what hypothesis found, in whichever of its shapes
        notes = "\n".join(getattr(error, "__notes__", ()))
        faults.append(f"{rpc.path} seed {seed}: {error}\n{notes}")
    return tally


def _print_rpcs(totals: list[Tally], trading_from: int) -> None:
    print(f"{'rpc':48} {'cases':>8} {'answered':>9} {'refused':>8} {'worst CPU':>10} {'worst time':>11}")
    for number, total in enumerate(totals):
        name = f"{total.rpc.service}/{total.rpc.name}" + (" (orders leave)" if number >= trading_from else "")
        figures = f"{total.cases:8} {total.answered:9} {total.refused:8} {total.cpu_ms:7.1f} ms {total.wall_ms:8.1f} ms"
        print(f"{name:48} {figures}")
    print(f"{'all':48} {sum(total.cases for total in totals):8}")


def _parsers(seconds: float, seed: int) -> bool:
    is_guided = has_atheris()
    if not is_guided:
        print("atheris is not installed here: parsers are tried by hypothesis alone")
    each_s = max(PARSER_S_MIN, int(seconds / len(PARSERS)))
    is_fine = True
    for name in PARSERS:
        tally = guide(name, each_s, seed) if is_guided else _by_hypothesis(name, each_s, seed)
        print(f"parser {name:24} {tally.cases:10} cases, worst {tally.worst_ms:.1f} ms", flush=True)
        if tally.fault:
            print(f"FOUND {name}: {tally.fault}")
            is_fine = False
    return is_fine


def _by_hypothesis(name: str, seconds: int, seed: int) -> ParserTally:
    ends_at = time.monotonic() + seconds
    total = ParserTally(name)
    while time.monotonic() < ends_at and not total.fault:
        try:
            tally = try_parser(name, EXAMPLES_PER_ROUND, seed)
        except Exception as error:  # what hypothesis found, in whichever of its shapes
            total.fault = f"seed {seed}: {error!r}\n" + "\n".join(getattr(error, "__notes__", ()))
            break
        total.cases += tally.cases
        total.worst_ms = max(total.worst_ms, tally.worst_ms)
        seed += 1
    return total


if __name__ == "__main__":
    sys.exit(main())
