"""Fixtures that tests of several rooms use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.emulator.host import EmulatorHost, LoopThread, RunningEmulator
from tests.gateway_host import GatewayHost, RunningGateway
from tests.stage import Stage, Staging


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


@pytest.fixture
def stage_of(start_gateway: GatewayHost) -> Iterator[Staging]:
    """Sets up a gateway: arguments are GatewayHost's, besides `is_warm`."""
    stages: list[Stage] = []

    def set_up(*args: Any, is_warm: bool = True, **options: Any) -> Stage:
        stages.append(Stage(start_gateway(*args, **options), is_warm=is_warm))
        return stages[-1]

    yield set_up
    for stage in stages:
        stage.close()
