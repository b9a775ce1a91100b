"""Where holdings are counted from: the same after a restart, in either store."""

from __future__ import annotations

import time
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.domain.errors import JournalUnavailable
from gateway.domain.models.account import PositionBaseline
from gateway.infrastructure.persistence.database import Database
from gateway.infrastructure.persistence.position_baselines import MemoryPositionBaselines, SqlitePositionBaselines

BASELINE = PositionBaseline(
    7, {"AAPL": Decimal("-3"), "BTC/USD": Decimal("0.123456789")}, {"BTC/USD": Decimal("1000000.5")}
)


def opened(folder: Path) -> Database:
    return Database(folder, time.time_ns(), lambda: "epoch")


async def test_it_outlives_the_process(tmp_path: Path) -> None:
    database = opened(tmp_path)
    store = SqlitePositionBaselines(database)
    assert store.current() is None
    await store.put(PositionBaseline(1, {}, {}))
    await store.put(BASELINE)
    assert store.current() == BASELINE
    await database.close()
    database = opened(tmp_path)
    assert SqlitePositionBaselines(database).current() == BASELINE
    database.latch("the disk failed")
    with pytest.raises(JournalUnavailable):
        await SqlitePositionBaselines(database).put(PositionBaseline(8, {}, {}))
    assert SqlitePositionBaselines(database).current() == BASELINE
    await database.close()


async def test_memory_forgets() -> None:
    store = MemoryPositionBaselines()
    assert store.current() is None
    await store.put(BASELINE)
    assert store.current() == BASELINE
