from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.contracts.roads import EMULATED, ROADS, Road
from tests.emulator.host import EmulatorHost


@pytest.fixture(params=sorted(ROADS))
async def road(request: pytest.FixtureRequest, start_emulator: EmulatorHost) -> AsyncIterator[Road]:
    """Every road there is; for tests that may run against a real paper account."""
    async with ROADS[request.param](start_emulator) as opened:
        yield opened


@pytest.fixture(params=sorted(EMULATED))
async def emulated(request: pytest.FixtureRequest, start_emulator: EmulatorHost) -> AsyncIterator[Road]:
    """The roads with a fresh account and a clock that the test moves."""
    async with EMULATED[request.param](start_emulator) as opened:
        yield opened
