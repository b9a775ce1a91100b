"""A running gateway on a venue in process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.application.rig import Rig


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    running = await Rig().start()
    yield running
    await running.stop()
