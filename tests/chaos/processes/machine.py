"""What the gateway's process uses of the machine, and whether a planted secret was written anywhere."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import grpc

from tests.chaos.history import HistoryWriter
from tests.chaos.processes.programs import CANARIES
from tests.chaos.processes.strategies import Strategy, wall_ns
from trading_gateway.v1 import trading_pb2 as pb, trading_pb2_grpc

CROWD_ORDERS: Final = 10
"""Of each strategy, one after the other."""
CROWD_STREAMS: Final = 16
"""Opened at once and broken off, connection and all."""
HEARD_S: Final = 0.3
COME_TO_REST_S: Final = 1.5


def usage(pid: int) -> dict[str, int]:
    """Resident memory in KiB, descriptors and threads of a process."""
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line
    )  # a line is `VmRSS:  123456 kB`
    descriptors = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return {"rss_kib": int(status["VmRSS"].split()[0]), "fds": descriptors, "threads": int(status["Threads"])}


async def compare_with_baseline(pid: int, address: str, strategies: Sequence[Strategy], notes: HistoryWriter) -> None:
    """Have the same crowd come and go, and note what the process uses afterwards: the first few times a baseline."""
    for is_baseline in (True, True, False):
        await _crowd(address, strategies)
        notes.act("resources", time_ns=wall_ns(), is_baseline=is_baseline, **usage(pid))


def search_secrets(folder: Path, notes: HistoryWriter) -> None:
    """Every file of a run: logs, journal, record, histories."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    found = [f"{path.name}: {name}" for path in files for name in _secrets_in(path)]
    notes.act("secrets", time_ns=wall_ns(), files=len(files), found=found)


def _secrets_in(path: Path) -> list[str]:
    content = path.read_bytes()
    return [name for name, secret in CANARIES.items() if secret.encode() in content]


async def _crowd(address: str, strategies: Sequence[Strategy]) -> None:
    await asyncio.gather(
        *(_trade(strategy) for strategy in strategies), *(_glimpse(address) for _ in range(CROWD_STREAMS))
    )
    await strategies[0].cancel_all()
    await asyncio.sleep(COME_TO_REST_S)


async def _trade(strategy: Strategy) -> None:
    for _ in range(CROWD_ORDERS):
        await strategy.trade_once()


async def _glimpse(address: str) -> None:
    """A reader that goes away in the middle, with a connection of its own."""
    async with grpc.aio.insecure_channel(address, options=(("grpc.use_local_subchannel_pool", 1),)) as channel:
        call = trading_pb2_grpc.TradingServiceStub(channel).StreamOrderUpdates(
            pb.StreamOrderUpdatesRequest(all_strategies=True)
        )
        await call.read()
        await asyncio.sleep(HEARD_S)
