"""The gateway is killed at each system call of one submission: strace counts them and sends the signal.

strace is attached to a running gateway, then one order is submitted; the n-th call of a kind in any of its threads
ends the process. It is started again on the same disk and the strategy asks again with its key. A kind is done when a
submission came through it unharmed. Beside them a disk that fails: fdatasync returns EIO, and the gateway must take
nothing more, and send nothing that is not on the disk.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Final

from tests.chaos.checker import Records, Settings, check
from tests.chaos.history import HistoryWriter, venue_truth
from tests.chaos.processes import programs
from tests.chaos.processes.run import QUIET_S, SETTLE_MS
from tests.chaos.processes.strategies import Strategy, wall_ns
from tests.chaos.totals import Summary

KINDS: Final = (
    ("pwrite64", 12),
    ("fdatasync,fsync", 4),
    ("sendto,sendmsg,write,writev", 8),
    ("recvfrom,recvmsg,read", 8),
    ("connect,socket,close", 3),
    ("futex", 6),
    ("epoll_wait,epoll_ctl,poll", 6),
    ("lseek,fstat,newfstatat,fcntl", 4),
)
"""What a submission calls, by kind, and the highest count that is tried."""
SHORT: Final = tuple(
    (kind, count)
    for kind, highest in (
        ("pwrite64", 3),
        ("fdatasync,fsync", 2),
        ("sendto,sendmsg,write,writev", 4),
        ("recvfrom,recvmsg,read", 3),
    )
    for count in range(1, highest + 1)
)
ATTACH_S_MAX: Final = 10.0
KILLED_S_MAX: Final = 2.0
"""A process that lives so long after a submission was not reached by the signal."""
ATTACHED: Final = "attached"


def is_available() -> bool:
    """Whether there is an strace that may attach to a child of ours."""
    return shutil.which("strace") is not None


def sweep(folder: Path, until: float, tell: Callable[[str], None], *, is_settled: bool = True) -> Summary:
    """Every kind, count after count, until one comes through or time is over; then a disk that fails."""
    points = [(kind, count) for count in range(1, 13) for kind, highest in KINDS if count <= highest]
    return asyncio.run(_Sweep(folder, tell).run(points, until, is_settled=is_settled))


def short(folder: Path) -> Summary:
    """A few of them, without the settle window."""
    return asyncio.run(_Sweep(folder, lambda _: None).run(list(SHORT), float("inf"), is_settled=False))


class _Sweep:
    def __init__(self, folder: Path, tell: Callable[[str], None]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._tell = tell
        self._notes = HistoryWriter(folder / "run.history.jsonl", "run", "1")
        self._port = programs.free_port()
        self._unharmed: set[str] = set()
        self._summary = Summary()

    async def run(self, points: list[tuple[str, int]], until: float, *, is_settled: bool) -> Summary:
        """All of it."""
        emulator = programs.emulator(self._folder)
        emulator.start()
        try:
            url = await asyncio.to_thread(emulator.wait_said, programs.EMULATOR_READY)
            self._gateway = programs.gateway(self._folder, url, self._port)
            await self._boot()
            self._strategy = Strategy("alpha", f"127.0.0.1:{self._port}", self._folder, 1)
            await self._strategy.submit("warm", self._strategy._spec())
            for kind, count in points:
                if time.monotonic() < until and kind not in self._unharmed:
                    await self._one(kind, count)
            await self._failing_disk()
            if is_settled:
                await self._settle(url)
        finally:
            self._gateway.stop()
            emulator.stop()
        return self._judge()

    async def _one(self, kind: str, count: int) -> None:
        """One submission, killed at one call."""
        tracer = await self._attach(f"{kind}:signal=KILL:when={count}", kind)
        asking = asyncio.create_task(self._strategy.submit(f"{kind.partition(',')[0]}-{count}", self._strategy._spec()))
        died = await self._dies()
        if died:
            self._summary.fired[f"killed at {kind.partition(',')[0]}"] += 1
        else:
            self._unharmed.add(kind)
            tracer.terminate()
        await asyncio.to_thread(tracer.wait)
        if died:
            await self._restart()
        await asking

    async def _failing_disk(self) -> None:
        """A commit that the disk refuses: the gateway takes nothing more, until it is started again."""
        tracer = await self._attach("fdatasync,fsync:error=EIO:when=1", "fdatasync,fsync")
        asking = asyncio.create_task(self._strategy.submit("failing-disk", self._strategy._spec()))
        await asyncio.sleep(1.0)
        said = self._gateway.tail()
        self._gateway.kill()
        await asyncio.to_thread(tracer.wait)
        await self._restart()
        await asking
        self._summary.fired["EIO of fdatasync"] += 1
        if "journal" not in said:
            self._summary.failures.append("a failing disk was not said in the log")

    async def _attach(self, injection: str, kinds: str) -> subprocess.Popen[bytes]:
        log = self._folder / "strace.log"
        tracer = await asyncio.to_thread(_trace, self._gateway.pid, injection, kinds, log)
        is_attached = await programs.wait_until(
            lambda: ATTACHED in log.read_text(errors="replace") or tracer.poll() is not None, ATTACH_S_MAX
        )
        if not is_attached or ATTACHED not in log.read_text(errors="replace"):
            raise programs.NotStarted(log.read_text(errors="replace"))
        return tracer

    async def _dies(self) -> bool:
        return await programs.wait_until(lambda: not self._gateway.is_running, KILLED_S_MAX)

    async def _restart(self) -> None:
        self._gateway.kill()
        self._notes.act("kill_gateway", time_ns=wall_ns())
        await self._boot()

    async def _boot(self) -> None:
        self._gateway.start()
        self._notes.act("start_gateway", time_ns=wall_ns())
        await asyncio.to_thread(programs.wait_listening, self._gateway, self._port)

    async def _settle(self, url: str) -> None:
        self._notes.act("healed", time_ns=wall_ns())
        await self._strategy.submit("last", self._strategy._spec())
        await self._strategy.cancel_all()
        self._tell(f"  {sum(self._summary.fired.values())} kills at system calls; now the settle window")
        await asyncio.sleep(QUIET_S)
        account, positions, fees = await asyncio.to_thread(programs.venue_truth, url)
        told = {"open_orders": await self._strategy.open_orders()}
        self._notes.act("quiescent", time_ns=wall_ns(), venue=venue_truth(account, positions, fees), gateway=told)

    def _judge(self) -> Summary:
        self._notes.close()
        settings = Settings(settle_ms=SETTLE_MS, initial_cash=Decimal(programs.CASH_USD), is_void_judged=False)
        records = Records.read(
            [self._folder / "venue" / "record.jsonl"],
            self._folder / "gateway" / "journal.sqlite3",
            sorted(self._folder.glob("*.history.jsonl")),
            settings,
        )
        report = check(records)
        self._summary.orders = len(records.clients.by_key)
        self._summary.take_report(report, "python -m tests.chaos syscalls")
        if not self._summary.fired:
            self._summary.void.append("no system call was reached")
        return self._summary


def _trace(pid: int, injection: str, kinds: str, log: Path) -> subprocess.Popen[bytes]:
    """strace, on its way to a process."""
    command = ["strace", "-f", "-p", str(pid), "-e", f"trace={kinds}", "-e", f"inject={injection}", "-o", "/dev/null"]
    with log.open("wb") as said:
        return subprocess.Popen(command, stderr=said, stdout=said)
