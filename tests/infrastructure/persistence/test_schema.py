"""A file of an earlier version becomes one of this version, with all that it held."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.domain.models.account import AccountPin
from gateway.domain.models.identity import Scope
from gateway.domain.types import Venue
from gateway.infrastructure.persistence.database import FILE_NAME
from gateway.infrastructure.persistence.schema import MIGRATIONS, SCHEMA_VERSION
from gateway.infrastructure.persistence.stores import open_stores
from gateway.services.identity import Grant, IdentityService
from tests.infrastructure.persistence.journals import Open, archived, filled


def as_written_by(version: int, path: Path) -> None:
    """Turn a file into what an earlier version would have written: its tables, and of the rows what they take."""
    before = path.with_suffix(".before")
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    path.rename(before)
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in ";".join(MIGRATIONS[:version]).split(";"):
        connection.execute(statement)
    connection.execute("ATTACH ? AS before", (str(before),))
    for (table,) in connection.execute("SELECT name FROM main.sqlite_schema WHERE type = 'table'").fetchall():
        columns = ", ".join(row[1] for row in connection.execute(f"PRAGMA main.table_info({table})"))
        connection.execute(f"INSERT INTO main.{table} SELECT {columns} FROM before.{table}")
    connection.execute("UPDATE main.meta SET value = ? WHERE key = 'schema_version'", (str(version),))
    connection.close()


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
async def test_a_file_of_an_earlier_version_becomes_a_present_one(
    open_journal: Open, tmp_path: Path, version: int
) -> None:
    journal = open_journal()
    await filled(journal, 3)
    known = archived(journal, 1)
    gone = replace(known.order, create_time_ns=1_700_000_000_123_456_789)
    await journal.archive.put([replace(known, order=gone)], now_ns=1)
    shape = "SELECT type, name, tbl_name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY name"
    present = journal._database.reader.execute(shape).fetchall()
    await journal.close()
    as_written_by(version, tmp_path / FILE_NAME)
    again = open_journal()
    assert again.head == 6
    assert again._database.reader.execute(shape).fetchall() == present
    assert again._database.meta("schema_version") == str(SCHEMA_VERSION)
    span = (gone.create_time_ns - 1, ""), (gone.create_time_ns + 1, "")
    assert again.archive.created("b", *span, 9, oldest_first=True) == [gone]
    assert again.archive.created("a", *span, 9, oldest_first=True) == []


@pytest.mark.parametrize("pinned", ["paper", ""])
def test_tokens_of_an_earlier_version_are_those_of_the_venue_that_the_directory_belongs_to(
    tmp_path: Path, pinned: str
) -> None:
    """Where no venue was pinned nobody knows whose they are, and they open none."""
    stores = open_stores(tmp_path, 1, 1)
    identity = IdentityService(stores.identities, Venue.PAPER, lambda: 1)

    async def fill() -> None:
        await identity.mint(Grant("momentum", frozenset({Scope.ORDERS_READ}), certificate="spiffe://gw/momentum"))
        if pinned:
            await stores.pins.put(AccountPin(Venue(pinned), "account"))
        await stores.journal.close()

    asyncio.run(fill())
    as_written_by(5, tmp_path / FILE_NAME)
    again = open_stores(tmp_path, 1, 1)
    assert [token.venue for token in again.identities.all()] == [pinned]
    assert IdentityService(again.identities, Venue.PAPER, lambda: 1).has_usable_token() is bool(pinned)
    assert not IdentityService(again.identities, Venue.EMULATOR, lambda: 1).has_usable_token()
    asyncio.run(again.journal.close())
