"""Fixtures of the emulator's own tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.emulator.host import RunningEmulator
from tests.emulator.rest_client import RestClient


@pytest.fixture
def rest(emulator: RunningEmulator) -> Iterator[RestClient]:
    """Asks the `emulator` of the same test."""
    client = RestClient(emulator)
    yield client
    client.close()
