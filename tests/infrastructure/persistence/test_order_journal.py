"""The durable journal: what was awaited is there, in order, whole, once; and what is not right is refused."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
import stat
from pathlib import Path

import pytest

from gateway.domain.errors import JournalUnavailable
from gateway.domain.models.orders import OrderEventKind
from gateway.infrastructure.persistence import database as database_module
from gateway.infrastructure.persistence.database import FILE_NAME, back_up
from gateway.infrastructure.persistence.memory_journal import MemoryJournal
from gateway.infrastructure.persistence.order_journal import ROWS_PER_STATEMENT_MAX
from gateway.infrastructure.persistence.schema import SCHEMA_VERSION, DatabaseRefused
from tests.infrastructure.persistence.journals import EPOCH, Open, filled, opened
from tests.infrastructure.persistence.samples import all_kinds, followed, recorded


async def test_everything_is_there_again(open_journal: Open) -> None:
    journal = open_journal()
    assert (journal.head, journal.oldest, journal.epoch, journal.read(0, 9)) == (0, 1, EPOCH, ())
    events = [*all_kinds()]
    for event in events:
        await journal.append([event])
    head, chain = journal.head, journal.chain_hash(journal.head)
    await journal.close()
    again = open_journal()
    assert (again.head, again.chain_hash(head), again.epoch) == (head, chain, EPOCH)
    assert list(again.read(0, 10_000)) == events
    assert list(again.replay()) == events
    with pytest.raises(KeyError):
        again.chain_hash(head + 1)


async def test_sequences_are_given_in_the_order_of_the_calls_and_told_in_it(open_journal: Open) -> None:
    journal = open_journal()
    told: list[int] = []
    returned: list[int] = []

    async def one(number: int) -> None:
        pair = [recorded(number, "ab"[number % 2]), followed(number, OrderEventKind.SUBMITTED, "ab"[number % 2])]
        found = await journal.append(pair, lambda event: told.append(event.sequence))
        returned.extend(event.sequence for event in found)

    await asyncio.gather(*(one(number) for number in range(500)))
    assert told == returned == list(range(1, 1001))
    assert [event.order_id for event in journal.read(0, 4)] == ["order-0", "order-0", "order-1", "order-1"]
    for strategy in "ab":
        book = journal.read(0, 1_000, strategy)
        assert [event.book_sequence for event in book] == list(range(1, 501))
        assert {event.strategy_id for event in book} == {strategy}
    assert journal.book_heads() == {"a": 500, "b": 500}


async def test_a_batch_beyond_one_statement_is_one_transaction(open_journal: Open) -> None:
    journal = open_journal()
    count = ROWS_PER_STATEMENT_MAX * 2 + 7
    await journal.append([recorded(number) for number in range(count)])
    assert journal.head == len(journal.read(0, count + 1)) == count


async def test_a_caller_that_goes_away_changes_nothing(open_journal: Open) -> None:
    journal = open_journal()
    told: list[int] = []
    task = asyncio.create_task(journal.append([recorded(1)], lambda event: told.append(event.sequence)))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await journal.append([recorded(2)], lambda event: told.append(event.sequence))
    assert told == [1, 2]
    assert task.cancelled()


async def test_what_cannot_be_written_records_nothing(open_journal: Open) -> None:
    journal = open_journal()
    bad = recorded(2)
    bad.failure = object()  # type: ignore[assignment]
    with pytest.raises(TypeError):
        await journal.append([recorded(1), bad])
    assert (await journal.append([recorded(3)]))[0].sequence == 1
    assert journal.fault == ""


async def test_events_of_orders_are_found(open_journal: Open) -> None:
    journal = open_journal()
    for number in range(20):
        await journal.append([recorded(number)])
    for kind in (OrderEventKind.SUBMITTED, OrderEventKind.WORKING):
        for number in range(20):
            await journal.append([followed(number, kind)])
    found = journal.read_order_events(["order-3", "order-7"], 1_000)
    assert [(event.sequence, event.order_id) for event in found] == [
        (4, "order-3"), (8, "order-7"), (24, "order-3"), (28, "order-7"), (44, "order-3"), (48, "order-7"),
    ]  # fmt: skip
    assert [event.sequence for event in journal.read_order_events(["order-3"], 43)] == [4, 24]
    assert journal.read_order_events(["nobody"], 1_000) == ()


async def test_instants_are_found(open_journal: Open) -> None:
    journal = open_journal()
    await filled(journal, 10)
    assert [journal.first_since(time_ns) for time_ns in (0, 1, 2, 10, 11)] == [1, 1, 3, 19, 21]


async def test_both_journals_give_the_same_places(open_journal: Open) -> None:
    durable, memory = open_journal(), MemoryJournal(new_epoch=lambda: EPOCH)
    for journal in (durable, memory):
        for number in range(30):
            await journal.append([recorded(number, ("a", "b", "")[number % 3])])
    for strategy in (None, "a", "b"):
        for after in (0, 5, 29, 40):
            one, other = durable.read(after, 7, strategy), memory.read(after, 7, strategy)
            assert [(e.sequence, e.book_sequence, e.order_id) for e in one] == [
                (e.sequence, e.book_sequence, e.order_id) for e in other
            ]
    assert durable.book_heads() == memory.book_heads()
    assert {event.book_sequence for event in durable.read(0, 99) if not event.strategy_id} == {0}


# Files.


async def test_the_file_is_private(open_journal: Open, tmp_path: Path) -> None:
    await open_journal().append([recorded(1)])
    for path in tmp_path.iterdir():  # noqa: ASYNC240
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


async def test_a_later_schema_is_refused_and_untouched(tmp_path: Path) -> None:
    await opened(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("UPDATE meta SET value = ? WHERE key = 'schema_version'", (str(SCHEMA_VERSION + 1),))
    connection.close()
    before = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(DatabaseRefused, match=f"schema version {SCHEMA_VERSION + 1}"):
        opened(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == before


async def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(DatabaseRefused, match="cannot be read"):
        opened(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM events WHERE sequence = 7",
        "UPDATE events SET body = replace(CAST(body AS TEXT), 'order-3', 'order-4') WHERE sequence = 8",
        "UPDATE events SET chain = x'00' WHERE sequence = 5",
        "UPDATE events SET previous = 1 WHERE sequence = 8",
        "UPDATE meta SET value = 'ffff' WHERE key = 'epoch'",
    ],
)
async def test_a_changed_history_is_refused(tmp_path: Path, damage: str) -> None:
    journal = opened(tmp_path)
    await filled(journal, 6)
    await journal.close()
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute(damage)
    connection.close()
    with pytest.raises(DatabaseRefused, match="damaged"):
        opened(tmp_path)


async def test_a_torn_tail_is_a_prefix(tmp_path: Path) -> None:
    """As after a power cut: the WAL ends anywhere, or has a bit that is not what was written."""
    live, copy = tmp_path / "live", tmp_path / "copy"
    live.mkdir()
    journal = opened(live)
    await filled(journal, 12)
    hashes = {sequence: journal.chain_hash(sequence) for sequence in range(journal.head + 1)}
    main, wal = (live / FILE_NAME).read_bytes(), (live / f"{FILE_NAME}-wal").read_bytes()
    await journal.close()
    assert len(wal) > 50_000, "nothing was copied into the file yet"
    random_of = random.Random(7)
    cuts = [wal[: random_of.randrange(len(wal))] for _ in range(60)] + [wal[:-1], wal[:-4096], wal[:31], b""]
    flips = []
    for _ in range(60):
        flipped = bytearray(wal)
        flipped[random_of.randrange(len(wal))] ^= 1 << random_of.randrange(8)
        flips.append(bytes(flipped))
    heads = set()
    for tail in (*cuts, *flips):
        copy.mkdir()
        (copy / FILE_NAME).write_bytes(main)
        (copy / f"{FILE_NAME}-wal").write_bytes(tail)
        try:
            again = opened(copy, "fedcba9876543210")
        except DatabaseRefused:
            pass
        else:
            heads.add(again.head)
            if again.epoch == EPOCH:  # else nothing at all was left of it, and it is a new one
                assert again.chain_hash(again.head) == hashes[again.head]
                assert [event.sequence for event in again.replay()] == list(range(1, again.head + 1))
            else:
                assert again.head == 0
            await again.close()
        shutil.rmtree(copy)
    assert len(heads) > 10, heads


# Faults.


async def test_a_full_disk_latches(open_journal: Open, tmp_path: Path) -> None:
    journal = open_journal()
    await filled(journal, 3)
    told: list[str] = []
    journal.add_fault_listener(told.append)
    pages = journal._database._writer.execute("PRAGMA page_count").fetchone()[0]
    journal._database._writer.execute(f"PRAGMA max_page_count = {pages + 2}")
    results = await asyncio.gather(
        *(journal.append([recorded(number)]) for number in range(100, 400)), return_exceptions=True
    )
    later = [journal.append([recorded(number)]) for number in range(400, 410)]
    results += await asyncio.gather(*later, return_exceptions=True)
    assert any(isinstance(result, JournalUnavailable) for result in results)
    first_failure = next(place for place, result in enumerate(results) if isinstance(result, JournalUnavailable))
    assert all(isinstance(result, JournalUnavailable) for result in results[first_failure:])
    assert told == [journal.fault]
    assert "full" in journal.fault
    assert len(journal.read(0, 1_000)) == journal.head == 6 + first_failure  # reading goes on
    await journal.close()
    again = open_journal()
    assert again.head == 6 + first_failure
    assert (await again.append([recorded(999)]))[0].sequence == again.head


async def test_a_failed_commit_is_never_tried_again(open_journal: Open) -> None:
    journal = open_journal()
    await filled(journal, 1)
    calls = 0

    class Failing:
        def execute(self, *_: object) -> None:
            nonlocal calls
            calls += 1
            raise sqlite3.OperationalError("disk I/O error")

        def rollback(self) -> None:
            pass

        close = rollback

    whole = journal._database._writer
    journal._database._writer = Failing()  # type: ignore[assignment]
    batches = [journal.append([recorded(number)]) for number in range(10, 20)]
    assert all(
        isinstance(found, JournalUnavailable) for found in await asyncio.gather(*batches, return_exceptions=True)
    )
    journal._database._writer = whole
    for number in range(20, 25):
        with pytest.raises(JournalUnavailable):
            await journal.append([recorded(number)])
    with pytest.raises(JournalUnavailable):
        await journal.compact(2)
    assert calls == 1
    assert journal.head == 2


async def test_a_failed_checkpoint_latches(open_journal: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "CHECKPOINT_PAGES", 1)
    journal = open_journal()
    await journal.append([recorded(1)])
    whole = journal._database._writer

    class Checkpointless:
        def execute(self, sql: str, *values: object) -> sqlite3.Cursor:
            if "checkpoint" in sql:
                raise sqlite3.OperationalError("disk I/O error")
            return whole.execute(sql, *values)

        def rollback(self) -> None:
            whole.rollback()

        def close(self) -> None:
            whole.close()

    journal._database._writer = Checkpointless()  # type: ignore[assignment]
    with pytest.raises(JournalUnavailable):
        await journal.append([recorded(2)])
    assert "disk I/O" in journal.fault


async def test_a_closed_journal_records_nothing(open_journal: Open) -> None:
    journal = open_journal()
    waiting = [asyncio.create_task(journal.append([recorded(1)]))]
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # the writer has it
    waiting.append(asyncio.create_task(journal.append([recorded(2)])))
    await asyncio.sleep(0)
    await journal.close()
    assert [(await task)[0].sequence for task in waiting] == [1, 2]  # what was asked for before is recorded
    with pytest.raises(JournalUnavailable):
        await journal.append([recorded(2)])
    await journal.close()


async def test_a_projection_that_cannot_follow_ends_recording(open_journal: Open) -> None:
    journal = open_journal()

    def fail(_: object) -> None:
        raise ValueError("this cannot follow")

    batches = [journal.append([recorded(1)]), journal.append([recorded(2)], fail), journal.append([recorded(3)])]
    results = await asyncio.gather(*batches, return_exceptions=True)
    assert [type(result) for result in results] == [tuple, JournalUnavailable, JournalUnavailable]
    assert "ValueError" in journal.fault
    assert journal.head == 3  # what is recorded is recorded: the next life meets it


# Back-up.


async def test_a_back_up_of_a_running_journal_is_whole(open_journal: Open, tmp_path: Path) -> None:
    journal = open_journal()
    is_done = False

    async def write() -> int:
        number = 0
        while not is_done:
            await journal.append([recorded(number)])
            number += 1
        return number

    writing = asyncio.create_task(write())
    await journal.append([recorded(100_000)])
    target = tmp_path / "copy" / "saved.sqlite3"
    target.parent.mkdir()
    count = await asyncio.to_thread(back_up, tmp_path, target)
    is_done = True
    assert await writing + 1 >= count > 0
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert os.listdir(target.parent) == ["saved.sqlite3"]
    with pytest.raises(DatabaseRefused, match="cannot write"):
        back_up(tmp_path, target)
    target.rename(target.parent / FILE_NAME)
    restored = opened(target.parent)
    assert restored.head == count
    assert restored.chain_hash(count) == journal.chain_hash(count)
    await restored.close()


def test_nothing_is_no_journal(tmp_path: Path) -> None:
    with pytest.raises(DatabaseRefused, match="has no"):
        back_up(tmp_path, tmp_path / "x")
    assert not (tmp_path / "x").exists()
