from __future__ import annotations

import pytest
import structlog

from tests.infrastructure.alpaca.scripted import Gate


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture(autouse=True)
def _quiet_log() -> object:
    """Warnings are what these tests provoke; they are captured, not printed."""
    with structlog.testing.capture_logs() as captured:
        yield captured
