"""Ends of the gateway's process beyond a plain `kill -9`: killed while it recovers, asked to end, stopped and woken.

Promises: each is written down when it has happened, and counted only then; the process runs again afterwards. What a
shutdown must do (end in time and cleanly, tell every reader its token) is judged here; orders are the checker's.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Final

import grpc

from tests.chaos.history import HistoryWriter
from tests.chaos.processes.programs import Program, is_listening, wait_listening, wait_until
from tests.chaos.processes.strategies import Strategy, wall_ns
from trading_gateway.v1 import risk_pb2 as pb, risk_pb2_grpc

RECOVERIES_KILLED: Final = 5
"""In a row."""
OF_A_START: Final = (0.3, 0.95)
"""When a start is killed: this share of what the last one took until it served."""
SOONER_MAX: Final = 3
"""Starts more, where some were killed too late."""
FROZEN_S: Final = 10.0
DRAIN_S_MAX: Final = 30.0
HEARING_S_MAX: Final = 10.0
"""Readers whose connection broke before are waited for so long before a shutdown."""
TOLD_S_MAX: Final = 5.0
"""A reader's stream has ended so long after the process, at the latest."""
GRACEFUL: Final = 0
RESUME_S_MAX: Final = 10.0
SET_BY_START: Final = "start"
"""Who halted, when the gateway did it because of crashed starts."""


def _resume(port: int) -> None:
    """As an operator does it: after three starts in a minute that never served, the next one begins HALTED."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = risk_pb2_grpc.RiskServiceStub(channel)
        state = stub.GetTradingState(pb.GetTradingStateRequest(), timeout=RESUME_S_MAX).trading_state
        if state.mode == pb.TRADING_MODE_HALTED and state.set_by == SET_BY_START:
            resumed = pb.SetTradingStateRequest(
                mode=pb.TRADING_MODE_ACTIVE, reason="it was chaos", expected_version=state.version
            )
            stub.SetTradingState(resumed, timeout=RESUME_S_MAX)


class Endings:
    """Ends a gateway's life, one way after the other.

    Args:
        notes: Where each is written down.
        frozen_s: How long a stopped process sleeps.
        recoveries: How many starts in a row are killed.

    Attributes:
        fired: How often each way has happened.
        failures: What a shutdown did wrong, in words.
        start_s: How long the last start took until it served, seconds.
    """

    def __init__(
        self,
        gateway: Program,
        port: int,
        strategies: Sequence[Strategy],
        notes: HistoryWriter,
        random: Random,
        frozen_s: float = FROZEN_S,
        recoveries: int = RECOVERIES_KILLED,
    ) -> None:
        self._gateway = gateway
        self._port = port
        self._strategies = strategies
        self._notes = notes
        self._random = random
        self._frozen_s = frozen_s
        self._recoveries = recoveries
        self._ways: dict[str, Callable[[], Awaitable[None]]] = {
            "killed_while_recovering": self._kill_recoveries,
            "stopped_by_signal": self._stop,
            "frozen": self._freeze,
        }
        self._next = 0
        self.fired: Counter[str] = Counter(dict.fromkeys(self._ways, 0))
        self.failures: list[str] = []
        self.start_s = 1.0

    @property
    def count(self) -> int:
        """How many ways there are."""
        return len(self._ways)

    async def boot(self) -> None:
        """Start it and wait until it serves."""
        began = time.monotonic()
        self._gateway.start()
        self._notes.act("start_gateway", time_ns=wall_ns())
        await asyncio.to_thread(wait_listening, self._gateway, self._port)
        self.start_s = time.monotonic() - began

    async def play_next(self) -> None:
        """The next way, in the middle of traffic; it serves again afterwards."""
        name = list(self._ways)[self._next % len(self._ways)]
        self._next += 1
        await self._ways[name]()

    def kill(self) -> None:
        """`kill -9`."""
        self._gateway.kill()
        self._notes.act("kill_gateway", time_ns=wall_ns())

    async def _kill_recoveries(self) -> None:
        """One life ends in the middle of traffic, and the next ones before they serve."""
        self.kill()
        killed = 0
        for _ in range(self._recoveries + SOONER_MAX):
            self._gateway.start()
            self._notes.act("start_gateway", time_ns=wall_ns())
            await asyncio.sleep(self.start_s * self._random.uniform(*OF_A_START))
            is_served = is_listening(self._port)
            self.kill()
            killed += not is_served
            if killed >= self._recoveries:
                break
            if is_served:  # the start that was timed was a slow one
                self.start_s /= 2
        self.fired["killed_while_recovering"] += killed
        await self.boot()
        await asyncio.to_thread(_resume, self._port)

    async def _stop(self) -> None:
        """SIGTERM: what is in flight finishes, streams end with a token, and the process with 0."""
        await wait_until(lambda: all(one.is_hearing for one in self._strategies), HEARING_S_MAX)
        hearing = [one for one in self._strategies if one.is_hearing]
        began = time.monotonic()
        self._gateway.signal(signal.SIGTERM)
        has_ended = await wait_until(lambda: not self._gateway.is_running, DRAIN_S_MAX)
        elapsed_s, code = time.monotonic() - began, self._gateway.exit_code
        if not has_ended or code != GRACEFUL:
            self.failures.append(f"a shutdown under load took {elapsed_s:.1f} s and ended with {code}")
            self._gateway.kill()
        await wait_until(lambda: not any(one.is_hearing for one in hearing), TOLD_S_MAX)
        if not all(one.was_told_its_token for one in hearing):
            self.failures.append("a shutdown ended a stream without its token")
        self._notes.act("stop_gateway", time_ns=wall_ns(), exit_code=code, elapsed_ms=round(elapsed_s * 1_000))
        self.fired["stopped_by_signal"] += 1
        await self.boot()

    async def _freeze(self) -> None:
        """SIGSTOP: it sleeps, and what was in time before may not be any more when it wakes."""
        os.kill(self._gateway.pid, signal.SIGSTOP)
        await asyncio.sleep(self._frozen_s)
        self._notes.act("freeze_gateway", time_ns=wall_ns(), frozen_ms=round(self._frozen_s * 1_000))
        os.kill(self._gateway.pid, signal.SIGCONT)
        self.fired["frozen"] += 1
