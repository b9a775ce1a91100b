"""A file that is not what was written, or that somebody else holds: refused or waited for, never silently less."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.domain.errors import JournalUnavailable
from gateway.domain.models.account import AccountPin, PositionBaseline
from gateway.domain.models.orders import OrderEventKind
from gateway.domain.models.risk import TradingMode, TradingState
from gateway.domain.types import Venue
from gateway.infrastructure.persistence import database as database_module, schema
from gateway.infrastructure.persistence.database import FILE_NAME
from gateway.infrastructure.persistence.schema import DatabaseRefused
from gateway.infrastructure.persistence.stores import Stores, open_stores
from tests.infrastructure.persistence.samples import followed, recorded

ORDERS = 20
EVENTS_MAX = 10
FLIPS = 250
KILLED = TradingState(TradingMode.KILLED, "stop", "a person", set_time_ns=2, version=2)


def opened(folder: Path) -> Stores:
    return open_stores(folder, 1, EVENTS_MAX)


async def written(folder: Path) -> None:
    """Something of everything that a data directory keeps."""
    stores = opened(folder)
    for number in range(ORDERS):
        await stores.journal.append([recorded(number), followed(number, OrderEventKind.SUBMITTED)])
    await stores.trading_states.append(TradingState(TradingMode.HALTED, "wait", "a person", set_time_ns=1, version=1))
    await stores.trading_states.append(KILLED)
    await stores.pins.put(AccountPin(Venue.EMULATOR, "an account"))
    await stores.position_baselines.put(PositionBaseline(5, {"AAPL": Decimal(3)}, {}))
    await stores.journal.close()


async def test_a_bit_that_is_wrong_is_refused_or_changes_nothing_that_counts(tmp_path: Path) -> None:
    """No kill is forgotten, no event is another one, and what refuses says so in words instead of a trace."""
    await written(tmp_path)
    path = tmp_path / FILE_NAME
    whole = path.read_bytes()
    random_of = random.Random(11)
    refused = 0
    for _ in range(FLIPS):
        place, bit = random_of.randrange(len(whole)), 1 << random_of.randrange(8)
        for suffix in ("-wal", "-shm"):
            path.with_name(FILE_NAME + suffix).unlink(missing_ok=True)
        path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        try:
            stores = opened(tmp_path)
        except DatabaseRefused:
            refused += 1
            continue
        assert stores.trading_states.current().mode is TradingMode.KILLED, (place, bit)
        assert stores.journal.head == 2 * ORDERS, (place, bit)
        assert [event.sequence for event in stores.journal.replay()] == list(range(1, 2 * ORDERS + 1))
        await stores.journal.close()
    assert 0 < refused < FLIPS


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM trading_states WHERE version = 1",
        "UPDATE trading_states SET scope = 'accounu' WHERE version = 2",
        "UPDATE trading_states SET mode = 'KILMED' WHERE version = 2",
        "UPDATE trading_states SET version = 6 WHERE version = 2",
        "UPDATE meta SET value = '[5,{' WHERE key = 'position_baseline'",
        "UPDATE meta SET value = '[5,{\"AAPL\":\"x\"},{}]' WHERE key = 'position_baseline'",
        "UPDATE meta SET value = 'emu' WHERE key = 'venue'",
        "UPDATE meta SET value = 'x' WHERE key = 'oldest_sequence'",
        "UPDATE meta SET value = 'two' WHERE key = 'schema_version'",
    ],
)
async def test_what_stops_trading_is_whole_or_refused(tmp_path: Path, damage: str) -> None:
    await written(tmp_path)
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute(damage)
    connection.close()
    with pytest.raises(DatabaseRefused, match="back-up"):
        opened(tmp_path)


async def test_a_migration_that_fails_half_way_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await written(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(
            schema, "MIGRATIONS", (*schema.MIGRATIONS, "CREATE TABLE half (one TEXT); CREATE TABLE events (x)")
        )
        patched.setattr(schema, "SCHEMA_VERSION", schema.SCHEMA_VERSION + 1)
        with pytest.raises(DatabaseRefused, match="already exists"):
            opened(tmp_path)
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        assert not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'half'").fetchone()
        version = connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()[0]
    connection.close()
    assert int(version) == schema.SCHEMA_VERSION
    stores = opened(tmp_path)
    assert (stores.journal.head, stores.trading_states.current()) == (2 * ORDERS, KILLED)
    await stores.journal.close()


# Another program that holds the file.


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_S", 0.02)


def held(folder: Path) -> sqlite3.Connection:
    """As by `sqlite3 journal.sqlite3` with a transaction under way."""
    other = sqlite3.connect(folder / FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return other


async def until(is_so: Callable[[], bool]) -> None:
    began = time.monotonic()
    while not is_so():
        assert time.monotonic() - began < 10
        await asyncio.sleep(0.005)


@pytest.mark.usefixtures("impatient")
async def test_a_file_that_is_held_for_a_while_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(database_module._log, "error", lambda event, **_: said.append(event), raising=False)
    stores = opened(tmp_path)
    await stores.journal.append([recorded(1)])
    other = held(tmp_path)
    waiting = [asyncio.create_task(stores.journal.append([recorded(number)])) for number in (2, 3)]
    await until(lambda: said.count("journal_held_by_another_program") >= 2)
    assert not any(task.done() for task in waiting), "nothing may leave that is not recorded"
    assert [event.order_id for event in stores.journal.read(0, 9)] == ["order-1"], "reading goes on"
    other.execute("ROLLBACK")
    other.close()
    assert [(await task)[0].sequence for task in waiting] == [2, 3]
    assert not stores.journal.fault
    await stores.journal.close()
    again = opened(tmp_path)
    assert again.journal.head == 3
    await again.journal.close()


@pytest.mark.usefixtures("impatient")
async def test_a_file_that_is_held_for_good_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "BUSY_TRIES_MAX", 3)
    stores = opened(tmp_path)
    await stores.journal.append([recorded(1)])
    other = held(tmp_path)
    with pytest.raises(JournalUnavailable):
        await stores.journal.append([recorded(2)])
    assert "locked" in stores.journal.fault
    with pytest.raises(DatabaseRefused, match="held by another program"):
        opened(tmp_path)
    other.close()
    await stores.journal.close()
    again = opened(tmp_path)
    assert again.journal.head == 1
    await again.journal.close()
