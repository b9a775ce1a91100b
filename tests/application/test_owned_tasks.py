"""What outlives its caller, and what becomes of it when the gateway ends."""

from __future__ import annotations

import asyncio

import pytest

from gateway.application.owned_tasks import OwnedTasks
from gateway.domain.errors import Draining


async def test_a_caller_that_goes_away_ends_nothing() -> None:
    tasks, may_end, done = OwnedTasks(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await may_end.wait()
        done.set()

    caller = asyncio.create_task(tasks.see_through(work()))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    may_end.set()
    await asyncio.wait_for(done.wait(), 1)


async def test_what_is_asked_for_while_it_ends_is_refused_and_what_runs_may_finish() -> None:
    tasks, may_end = OwnedTasks(), asyncio.Event()

    async def work() -> int:
        await may_end.wait()
        return 7

    running = asyncio.create_task(tasks.see_through(work()))
    await asyncio.sleep(0)
    closing = asyncio.create_task(tasks.close())
    await asyncio.sleep(0)
    with pytest.raises(Draining):
        await tasks.see_through(work())
    may_end.set()
    await closing
    assert await running == 7
    assert len(tasks) == 0


async def test_what_does_not_end_in_time_is_ended_and_its_caller_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.application.owned_tasks.CLOSE_WAIT_S", 0.01)
    tasks = OwnedTasks()
    running = asyncio.create_task(tasks.see_through(asyncio.Event().wait()))
    looking = tasks.spawn(asyncio.Event().wait(), lasting=True)
    await asyncio.sleep(0)
    await tasks.close()
    with pytest.raises(Draining):
        await running
    assert looking.cancelled()
