"""Fixtures that tests of several rooms use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.emulator.host import EmulatorHost, LoopThread, RunningEmulator


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
