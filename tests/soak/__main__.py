"""`make soak`: one gateway, one emulator, everybody at once, for as long as it takes to see whether anything grows.

    python -m tests.soak [--minutes 60] [--seed 1]

A round is a minute: readers come and go, some are slow, some stall, orders are sent, the feed is cut, muted and
refused; then everybody but the canary rests, and a line says what the gateway holds. The canary wants every quote all
the while, and what it got is compared with what the venue sent.
Exit: 0 flat, and the canary lost nothing; 1 with the reasons when not; 2 it could not be run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

from tests.bench.processes import cpu_s, python
from tests.soak.canary import Canary, listen
from tests.soak.clients import SYMBOLS, Crowd
from tests.soak.flat import Sample, look, verdict

MINUTES: Final = 60.0
FLAT, NOT_FLAT, INTERRUPTED = 0, 1, 130
WARM_UP_SHARE: Final = 0.17
"""Of the whole: pools and caches fill, the heap finds its size."""
WARM_UP_S_MAX: Final = 600.0
ROUND_S: Final = 60.0
ROUNDS_MIN: Final = 8
"""A short soak has shorter rounds."""
REST_SHARE: Final = 0.3
"""Of a round: streams that nobody reads any more end, symbols that nobody holds are let go."""
LOOK_EVERY_S: Final = 0.25
ERRORS_SHOWN: Final = 20
READERS: Final = 8
SLOW: Final = 2
STALLED: Final = 2
COLUMNS: Final = (
    "minute joins orders cuts heard  gap lost stalled |  MiB  fds thr tasks |  CPU",
    "{minute:6.1f} {joins:5d} {orders:6d} {cuts:4d} {heard:5d} {gap:4d} {lost:4d} {stalled:7d}"
    " | {memory:5.1f} {fds:3d} {threads:3d} {tasks:5d} | {cpu:4.2f}",
)


class Soak:
    """One gateway that is soaked.

    Args:
        gateway: Its process.
        crowd: Everybody.
        canary: Who listens all the while.
    """

    def __init__(self, gateway: subprocess.Popen[str], crowd: Crowd, canary: Canary) -> None:
        self._gateway = gateway
        self._crowd = crowd
        self._canary = canary
        self._began = time.monotonic()
        self.samples: list[Sample] = []
        self.tasks: dict[str, int] = {}
        self._told = 0

    async def run(self, length_s: float) -> None:
        """Rounds, until the time is over."""
        round_s = min(ROUND_S, length_s / ROUNDS_MIN)
        print(COLUMNS[0], flush=True)
        while time.monotonic() - self._began < length_s - round_s / 2:
            cpu_before, began = cpu_s(self._gateway.pid), time.monotonic()
            await self._everybody(round_s * (1 - REST_SHARE))
            await self._rest(began + round_s)
            self._canary.compare()
            for error in [*self._crowd.errors, *self._canary.errors][self._told : ERRORS_SHOWN]:
                self._told += 1
                print(error)
            self._tell((cpu_s(self._gateway.pid) - cpu_before) / (time.monotonic() - began))

    async def _everybody(self, for_s: float) -> None:
        crowd = self._crowd
        loops: list[Coroutine[Any, Any, None]] = [crowd.strategy(), crowd.order_reader(), crowd.saboteur()]
        loops += [crowd.reader() for _ in range(READERS)]
        loops += [crowd.slow_reader() for _ in range(SLOW)]
        loops += [crowd.stalled_reader() for _ in range(STALLED)]
        tasks = [asyncio.create_task(loop) for loop in loops]
        ended, _ = await asyncio.wait(tasks, timeout=for_s, return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        gc.collect()  # a channel that was closed keeps its socket until its calls are collected
        crowd.errors += [f"a client ended: {task.exception()!r}" for task in ended if task.exception() is not None]

    async def _rest(self, until: float) -> None:
        """Look until the time is over; the least of each is what it holds at rest."""
        seen: list[Sample] = []
        while time.monotonic() < until or not seen:
            await asyncio.sleep(LOOK_EVERY_S)
            tasks = await asyncio.to_thread(self._ask)
            seen.append(look(self._gateway.pid, time.monotonic() - self._began, sum(tasks.values())))
            if seen[-1].tasks == min(sample.tasks for sample in seen):
                self.tasks = tasks
        self.samples.append(
            Sample(
                seen[-1].at_s,
                min(sample.memory_mib for sample in seen),
                min(sample.descriptors for sample in seen),
                min(sample.threads for sample in seen),
                min(sample.tasks for sample in seen),
            )
        )

    def _ask(self) -> dict[str, int]:
        self._gateway.send_signal(signal.SIGUSR1)
        assert self._gateway.stdout is not None
        answer: dict[str, int] = json.loads(self._gateway.stdout.readline())
        return answer

    def _tell(self, cores: float) -> None:
        did, sample, canary = self._crowd.did, self.samples[-1], self._canary
        line = COLUMNS[1].format(
            minute=sample.at_s / 60,
            joins=did["joins"],
            orders=did["orders"],
            cuts=did["cut"] + did["mute"] + did["refused"] + did["orders cut"],
            heard=canary.heard,
            gap=canary.told_missing,
            lost=len(canary.errors),
            stalled=did["stalled"],
            memory=sample.memory_mib,
            fds=sample.descriptors,
            threads=sample.threads,
            tasks=sample.tasks,
            cpu=cores,
        )
        print(line, flush=True)


async def soak(target: str, ws_url: str, gateway: subprocess.Popen[str], seed: int, length_s: float) -> int:
    """Run it and judge."""
    canary, crowd = Canary(), Crowd(target, seed)
    run = Soak(gateway, crowd, canary)

    async def hear() -> None:
        async for message in crowd.every_quote():
            canary.take(message)

    listening = [asyncio.create_task(listen(ws_url, SYMBOLS, canary)), asyncio.create_task(hear())]
    running = asyncio.create_task(run.run(length_s))
    await asyncio.wait([running, *listening], return_when=asyncio.FIRST_COMPLETED)
    broken = [repr(task.exception()) for task in (running, *listening) if task.done() and task.exception() is not None]
    for task in (running, *listening):
        task.cancel()
    await asyncio.gather(running, *listening, return_exceptions=True)
    await crowd.close()
    lines, reasons = verdict(run.samples, min(WARM_UP_S_MAX, length_s * WARM_UP_SHARE))
    print("\n".join(lines))
    print(f"did: {dict(sorted(crowd.did.items()))}; the canary heard {canary.heard}, {canary.gaps} gaps were told")
    reasons += [f"it broke: {text}" for text in broken] + crowd.errors + canary.errors
    if not canary.heard:
        reasons.append("the canary heard nothing")
    if reasons:
        print(f"tasks at rest: {run.tasks}")
        print("\n".join(reasons[:ERRORS_SHOWN]))
        print(f"NOT FLAT, or lost: {len(reasons)} reasons; seed {seed}", flush=True)
        return NOT_FLAT
    print(f"flat; seed {seed}", flush=True)
    return FLAT


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Does anything grow?")
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("MINUTES") or MINUTES))
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED") or random.randrange(1 << 30)))
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(INTERRUPTED))
    print(f"seed {arguments.seed}, {arguments.minutes:g} minutes", flush=True)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        emulate = ("-m", "gateway", "emulator", "--listen", "127.0.0.1:0", "--rate-limit", "0")
        emulator = stack.enter_context(python(*emulate, ready="http://"))[1]
        url = emulator[emulator.index("http://") :].split()[0]
        gateway, line = stack.enter_context(python("-m", "tests.soak.gateway", url, str(folder), ready="gateway at "))
        target = line.removeprefix("gateway at ")
        return asyncio.run(soak(target, url.replace("http", "ws", 1), gateway, arguments.seed, arguments.minutes * 60))


if __name__ == "__main__":
    sys.exit(main())
