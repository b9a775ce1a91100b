"""Emulators for tests: real sockets on port 0, one background event loop for all of them, milliseconds each."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from gateway.domain.models.simulation import FaultKind, FaultOrder
from gateway.domain.types import NANOS_PER_SECOND
from gateway.emulator.faults import Fault, Faults
from gateway.emulator.later import Sleep
from gateway.emulator.recorded import RecordedExchange
from gateway.emulator.server import Emulator, EmulatorOptions

CALL_S_MAX: Final = 20.0
T = TypeVar("T")


class ManualClock:
    """A clock that stands until it is moved. Nanoseconds since the epoch."""

    def __init__(self, now_ns: int) -> None:
        self.now_ns = now_ns

    def __call__(self) -> int:
        return self.now_ns

    def advance(self, *, s: float = 0.0, ns: int = 0) -> None:
        """Move forward."""
        self.now_ns += round(s * NANOS_PER_SECOND) + ns


class LoopThread:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="emulators", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(CALL_S_MAX)

    def close(self) -> None:
        """Stop the loop."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(CALL_S_MAX)
        self.loop.close()


class RunningEmulator:
    """One emulator that serves.

    Attributes:
        url, ws_url: Where.
        emulator: Itself; touch it through `call` only, it lives in another thread.
    """

    def __init__(
        self, thread: LoopThread, options: EmulatorOptions, clock: Callable[[], int], sleep: Sleep = asyncio.sleep
    ) -> None:
        self._thread = thread
        self.clock = clock
        self.emulator = self.call(lambda: Emulator(options, clock=clock, sleep=sleep))
        thread.run(self.emulator.start())
        self.url = self.emulator.url
        self.ws_url = self.emulator.ws_url

    @property
    def exchange(self) -> RecordedExchange:
        """The exchange behind it; for reads of a quiet emulator, or inside `call`."""
        return self.emulator.exchange

    @property
    def faults(self) -> Faults:
        """The faults ordered, with their counters."""
        return self.emulator.app.desk.faults

    def fault(self, kind: FaultKind | str, route: str = "", **options: Any) -> Fault:
        """Order a fault; feeds that fit are struck at once."""
        order = FaultOrder(FaultKind(kind), route, **options)
        return self.call(lambda: self.emulator.app.desk.order(order))

    def requests(self, label: str) -> int:
        """How many requests came to a route, as `POST /v2/orders`."""
        return self.emulator.app.gate.requests[label]

    def connections(self) -> int:
        """Authenticated sockets that are open."""
        return len(self.emulator.app.sockets.open())

    async def no_connections(self) -> None:
        """Wait until the last socket has gone."""
        async with asyncio.timeout(CALL_S_MAX):
            while self.connections():  # noqa: ASYNC110 - the other end is another loop's
                await asyncio.sleep(0.01)

    def call(self, work: Callable[[], T]) -> T:
        """Run a function in the emulator's thread."""

        async def runner() -> T:
            return work()

        return self._thread.run(runner())

    def stop(self) -> None:
        """End it."""
        self._thread.run(self.emulator.stop())


class EmulatorHost:
    """Starts emulators and ends them all."""

    def __init__(self, thread: LoopThread) -> None:
        self._thread = thread
        self._running: list[RunningEmulator] = []

    def __call__(
        self,
        options: EmulatorOptions | None = None,
        *,
        clock: Callable[[], int] = time.time_ns,
        sleep: Sleep = asyncio.sleep,
        **changes: Any,
    ) -> RunningEmulator:
        """Start one; keyword arguments are fields of EmulatorOptions. Without a rate limit unless one is given."""
        chosen = options or EmulatorOptions(**{"rate_limit": 0, **changes})
        running = RunningEmulator(self._thread, chosen, clock, sleep)
        self._running.append(running)
        return running

    def stop_all(self) -> None:
        """End those that still run."""
        for running in self._running:
            running.stop()
