"""A crowd's events: the writer always has the next commit, and what is told stays in order, or is not told at all."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest

from gateway.domain.errors import JournalUnavailable
from gateway.domain.models.orders import JournalEvent
from gateway.infrastructure.persistence.database import Done, Job
from gateway.infrastructure.persistence.order_journal import EAGER_EVENTS
from tests.infrastructure.persistence.journals import opened
from tests.infrastructure.persistence.samples import recorded


async def test_nothing_is_told_behind_what_a_projection_could_not_follow(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    told: list[int] = []

    def fail_third(event: JournalEvent) -> None:
        if event.sequence == 3:
            raise ValueError("this cannot follow")
        told.append(event.sequence)

    # A crowd: the writer has the next commit already when the third event is told.
    batches = [journal.append([recorded(number)], fail_third) for number in range(EAGER_EVENTS * 3)]
    results = await asyncio.gather(*batches, return_exceptions=True)
    await journal.close()
    assert told == [1, 2]
    assert [type(result) for result in results] == [tuple] * 2 + [JournalUnavailable] * (EAGER_EVENTS * 3 - 2)


async def test_of_a_crowd_the_writer_has_the_next_commit_before_the_last_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = opened(tmp_path)
    may_pass = threading.Event()
    asked: list[int] = []
    submit = journal._database.submit

    def held(job: Job, done: Done, rows: int) -> None:
        asked.append(rows)

        def wait_and_work(connection: sqlite3.Connection) -> object:
            assert may_pass.wait(10)
            return job(connection)

        submit(wait_and_work, done, rows)

    monkeypatch.setattr(journal._database, "submit", held)
    told: list[int] = []
    count = EAGER_EVENTS * 3 + 5
    tasks = [
        asyncio.create_task(journal.append([recorded(number)], lambda event: told.append(event.sequence)))
        for number in range(count)
    ]
    await asyncio.sleep(0)
    assert asked == [EAGER_EVENTS] * 2  # one under way and one behind it; the rest waits and goes together
    may_pass.set()
    await asyncio.gather(*tasks)
    assert asked == [EAGER_EVENTS, EAGER_EVENTS, EAGER_EVENTS + 5]
    assert told == list(range(1, count + 1))
    assert journal.head == len(journal.read(0, count + 1)) == count
    await journal.close()
