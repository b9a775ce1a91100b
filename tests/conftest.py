"""Fixtures that tests of several rooms use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.emulator.host import EmulatorHost, LoopThread, RunningEmulator
from tests.gateway_host import GatewayHost, RunningGateway


@pytest.fixture(scope="session")
def emulator_loop() -> Iterator[LoopThread]:
    """The one event loop that all emulators of a test process share."""
    thread = LoopThread()
    yield thread
    thread.close()


@pytest.fixture
def start_emulator(emulator_loop: LoopThread) -> Iterator[EmulatorHost]:
    """Starts emulators with options: `start_emulator(session="nyse", clock=ManualClock(...))`."""
    host = EmulatorHost(emulator_loop)
    yield host
    host.stop_all()


@pytest.fixture
def emulator(start_emulator: EmulatorHost) -> RunningEmulator:
    """A fresh emulator with the synthetic market, no rate limit and any credentials."""
    return start_emulator()


@pytest.fixture(scope="session")
def gateway_loop() -> Iterator[LoopThread]:
    """The one event loop that all gateways of a test process share."""
    thread = LoopThread()
    yield thread
    thread.close()


@pytest.fixture
def start_gateway(gateway_loop: LoopThread, start_emulator: EmulatorHost) -> Iterator[GatewayHost]:
    """Starts gateways with settings and venues: `start_gateway(submit_wait_ms=100, venue={"seed": 2})`."""
    host = GatewayHost(gateway_loop, start_emulator)
    yield host
    host.stop_all()


@pytest.fixture
def gateway(start_gateway: GatewayHost) -> RunningGateway:
    """A fresh gateway before a fresh emulator: all of it real, on loopback, in this process."""
    return start_gateway()
