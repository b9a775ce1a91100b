"""Gateways for tests: the whole process wired as `serve` wires it, before an emulator, on port 0."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, Final, TypeVar

from gateway.cli.process import Gateway
from gateway.config import Settings
from gateway.container import Module
from tests.emulator.host import EmulatorHost, LoopThread, RunningEmulator

T = TypeVar("T")

NO_CLIENT_LIMITS: Final = {
    "client_calls_in_flight_max": 0,
    "client_streams_max": 0,
    "client_connections_max": 0,
    "client_symbols_max": 0,
    "client_reads_per_second": 0,
    "client_orders_per_second": 0,
    "client_faults_per_second": 0,
}
"""Settings for tests in which one client is all of them, or has a great many things refused."""


class RunningGateway:
    """One gateway that serves.

    Attributes:
        target: HOST:PORT.
        emulator: The venue behind it.
        gateway: Itself; touch it through `call` only, it lives in another thread.
    """

    def __init__(
        self, thread: LoopThread, emulator: RunningEmulator, settings: Settings, modules: Sequence[Module] = ()
    ) -> None:
        self._thread = thread
        self.emulator = emulator
        self.gateway, self.target = thread.run(self._start(settings, modules))

    @staticmethod
    async def _start(settings: Settings, modules: Sequence[Module]) -> tuple[Gateway, str]:
        gateway = Gateway(settings, *modules)
        return gateway, await gateway.start()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something on the gateway's own loop, and wait for it."""
        return self._thread.run(work)

    def drain(self) -> None:
        """As SIGTERM does."""
        self._thread.run(self.gateway.stop())


class GatewayHost:
    """Starts gateways, each before an emulator of its own unless one is given, and stops them all."""

    def __init__(self, thread: LoopThread, emulators: EmulatorHost) -> None:
        self._thread = thread
        self._emulators = emulators
        self._running: list[RunningGateway] = []

    def __call__(
        self,
        emulator: RunningEmulator | None = None,
        *,
        venue: dict[str, Any] | None = None,
        modules: Sequence[Module] = (),
        **settings: Any,
    ) -> RunningGateway:
        """Start one.

        Args:
            emulator: The venue; None starts one with the options `venue`.
            modules: Whose bindings win.
            settings: Of the gateway.
        """
        emulator = emulator or self._emulators(**(venue or {}))
        wanted = {"listen": "127.0.0.1:0", "venue_url": emulator.url, "venue_requests_per_minute": 0} | settings
        running = RunningGateway(self._thread, emulator, Settings(**wanted), modules)
        self._running.append(running)
        return running

    def stop_all(self) -> None:
        """Drain every gateway."""
        for running in self._running:
            running.drain()
