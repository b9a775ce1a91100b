"""OrderUpdates: gapless, resumable, and honest about what cannot be resumed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.application.order_log import OrderLog
from gateway.application.order_updates import (
    Heartbeat,
    OrderUpdates,
    Payload,
    SnapshotBegin,
    SnapshotEnd,
    SnapshotOrder,
    StartAfter,
    StartLive,
    StartSince,
    StartSnapshot,
    Step,
    StreamStart,
)
from gateway.application.resume_tokens import Book, read_token, write_token
from gateway.domain.errors import (
    Draining,
    EpochChanged,
    ResumeTokenCompacted,
    ResumeTokenInvalid,
    SlowConsumer,
)
from gateway.domain.models.market_data import FeedStatus, Gap
from gateway.domain.models.orders import OrderEvent
from gateway.domain.types import FeedState
from gateway.infrastructure.persistence.memory_journal import MemoryJournal
from tests.application.rig import Rig, settle
from tests.emulator.exchange.desk import make_spec

BUY = make_spec("AAPL", "buy", 10, limit_price="90")
MINE, ACCOUNT = Book("default"), Book(None)


class Reader:
    """Reads a stream behind the test's back."""

    def __init__(self, rig: Rig, book: Book, start: StreamStart, heartbeat_ms: int = 60_000) -> None:
        self.steps: list[Step] = []
        self._stream: AsyncIterator[Step] = rig.gateway.updates.follow(book, start, heartbeat_ms)
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for step in self._stream:
            self.steps.append(step)

    def of(self, kind: type[Payload]) -> list[Any]:
        return [step.payload for step in self.steps if isinstance(step.payload, kind)]

    def sequences(self) -> list[int]:
        return [step.sequence for step in self.steps if isinstance(step.payload, OrderEvent)]

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def read_all(rig: Rig, book: Book, start: StreamStart) -> list[Step]:
    reader = Reader(rig, book, start)
    await settle()
    await reader.stop()
    if not reader.task.cancelled():
        reader.task.result()
    return reader.steps


async def test_a_snapshot_then_live(rig: Rig) -> None:
    await rig.submit("k1", BUY)
    await settle()
    head = rig.gateway.orders.log.head("default")
    reader = Reader(rig, MINE, StartSnapshot())
    await settle()
    begin, order, end = reader.steps[:3]
    assert isinstance(begin.payload, SnapshotBegin)
    assert isinstance(order.payload, SnapshotOrder)
    assert isinstance(end.payload, SnapshotEnd)
    assert begin.payload.count == 1
    assert order.payload.order == rig.order("k1")
    assert {step.sequence for step in reader.steps} == {head}
    await rig.submit("k2", BUY)
    await settle()
    assert reader.sequences() == list(range(head + 1, rig.gateway.orders.log.head("default") + 1))
    assert reader.of(FeedStatus)[0].state is FeedState.LIVE
    await reader.stop()


async def test_books_are_apart_and_each_is_gapless(rig: Rig) -> None:
    readers = [Reader(rig, book, StartLive()) for book in (MINE, Book("other"), ACCOUNT)]
    await settle()
    for turn in range(5):
        await rig.submit(f"k{turn}", BUY)
        await rig.submit(f"k{turn}", BUY, strategy_id="other")
    await settle()
    for reader, strategy in zip(readers, ("default", "other", None), strict=True):
        assert reader.sequences() == list(range(1, len(reader.sequences()) + 1))
        owners = {event.order.strategy_id for event in reader.of(OrderEvent)}
        assert owners == ({strategy} if strategy else {"default", "other"})
        await reader.stop()
    assert readers[2].sequences()[-1] == rig.gateway.journal.head


async def test_every_token_resumes_with_exactly_the_rest(rig: Rig) -> None:
    first = Reader(rig, MINE, StartLive())
    await settle()
    await rig.submit("k1", make_spec("AAPL", "buy", 10))
    await rig.submit("x", BUY, strategy_id="other")
    await rig.submit("k2", BUY)
    await settle()
    whole = [step for step in first.steps if isinstance(step.payload, OrderEvent)]
    await first.stop()
    for index, step in enumerate(whole):
        rest = await read_all(rig, MINE, StartAfter(step.resume_token))
        events = [found for found in rest if isinstance(found.payload, OrderEvent)]
        assert events == whole[index + 1 :]
    snapshot = await read_all(rig, MINE, StartSnapshot())
    again = await read_all(rig, MINE, StartAfter(snapshot[-1].resume_token))
    assert [step for step in again if isinstance(step.payload, OrderEvent)] == []


async def test_heartbeats_repeat_the_sequence(rig: Rig) -> None:
    await rig.submit("k1", BUY)
    reader = Reader(rig, MINE, StartLive(), heartbeat_ms=10)
    await asyncio.sleep(0.06)
    beats = [step for step in reader.steps if isinstance(step.payload, Heartbeat)]
    assert beats
    assert beats[0].payload.upstream_connected
    assert {step.sequence for step in beats} == {rig.gateway.orders.log.head("default")}
    await reader.stop()


async def test_the_feed_and_its_gaps_are_told(rig: Rig) -> None:
    await rig.submit("k1", BUY)
    reader = Reader(rig, MINE, StartLive())
    await settle()
    rig.venue.streaming.orders.break_off("cut")
    await settle()
    rig.quote("AAPL", 89.0, 89.5)  # it is filled, and nobody says so
    rig.clock.now_ns += 10**9
    rig.venue.streaming.orders.come_back()
    await settle()
    states = [status.state for status in reader.of(FeedStatus)]
    assert states == [
        FeedState.LIVE,
        FeedState.DISCONNECTED,
        FeedState.CONNECTING,
        FeedState.RECONCILING,
        FeedState.LIVE,
    ]
    [gap] = reader.of(Gap)
    assert (gap.backfilled, gap.backfilled_count) == (True, 1)
    fill = reader.of(OrderEvent)[-1]
    assert fill.event.backfill
    assert fill.event.fill is not None
    assert not fill.event.fill.synthesized  # the account's activities still know the execution
    await reader.stop()


@pytest.mark.parametrize("token", ["", "x", "%%%", "AAAA", "é", "A" * 500])
async def test_garbage_is_no_token(rig: Rig, token: str) -> None:
    with pytest.raises(ResumeTokenInvalid):
        await read_all(rig, MINE, StartAfter(token))


async def test_tokens_that_cannot_be_continued(rig: Rig) -> None:
    await rig.submit("k1", BUY)
    await settle()
    token = (await read_all(rig, MINE, StartSnapshot()))[-1].resume_token
    epoch, sequence, chain_hash = read_token(MINE, token)
    with pytest.raises(ResumeTokenInvalid):
        await read_all(rig, ACCOUNT, StartAfter(token))
    with pytest.raises(EpochChanged):
        await read_all(rig, MINE, StartAfter(write_token(MINE, "00" * 8, sequence, chain_hash)))
    with pytest.raises(EpochChanged):
        await read_all(rig, MINE, StartAfter(write_token(MINE, epoch, sequence, b"\0" * 8)))
    with pytest.raises(ResumeTokenCompacted):
        await read_all(rig, MINE, StartAfter(write_token(MINE, epoch, sequence + 1, chain_hash)))
    await rig.restart()
    with pytest.raises(EpochChanged):
        await read_all(rig, MINE, StartAfter(token))


async def test_what_is_compacted_is_said() -> None:
    rig = await Rig(journal=MemoryJournal(events_max=8)).start()
    await rig.submit("k0", BUY)
    await settle()
    token = (await read_all(rig, MINE, StartSnapshot()))[-1].resume_token
    for turn in range(1, 6):
        await rig.submit(f"k{turn}", BUY)
    await settle()
    with pytest.raises(ResumeTokenCompacted) as caught:
        await read_all(rig, MINE, StartAfter(token))
    oldest = rig.gateway.orders.log.oldest("default")
    assert caught.value.metadata["oldest_sequence"] == str(oldest)
    snapshot = await read_all(rig, MINE, StartSnapshot())
    assert len([step for step in snapshot if isinstance(step.payload, SnapshotOrder)]) == 6
    await rig.stop()


async def test_draining_ends_streams_with_a_token(rig: Rig) -> None:
    reader = Reader(rig, MINE, StartSnapshot())
    await rig.submit("k1", BUY)
    await settle()
    await rig.gateway.engine.stop(100)
    await asyncio.gather(reader.task, return_exceptions=True)
    error = reader.task.exception()
    assert isinstance(error, Draining)
    assert error.metadata["resume_token"] == reader.steps[-1].resume_token
    with pytest.raises(Draining):
        await rig.submit("k2", BUY)
    assert (await rig.submit("k1", BUY)).replayed
    assert not rig.gateway.updates.lags()


async def test_a_reader_that_is_behind_what_is_let_go_is_told_so() -> None:
    """It was served, took its time, and what it had not read went: never a silent gap."""
    rig = Rig(journal=MemoryJournal(events_max=8))
    rig.gateway.orders.log = OrderLog(rig.gateway.journal, tail_events_max=4)
    rig.gateway.updates = OrderUpdates(rig.gateway.orders, rig.gateway.feed, rig.clock.wall)
    await rig.start()
    await rig.submit("k0", BUY)
    await settle()
    steps = rig.gateway.updates.follow(MINE, StartSince(0), 60_000)
    seen = [(await anext(steps)).sequence]
    for turn in range(1, 30):
        await rig.submit(f"k{turn}", BUY)
        await settle()

    async def rest() -> None:
        seen.extend([step.sequence async for step in steps])

    with pytest.raises(SlowConsumer) as caught:
        await asyncio.wait_for(rest(), 5)
    last = int(caught.value.metadata["last_sequence"])
    assert seen == [1], "and nothing after the gap"
    assert last < rig.gateway.orders.log.oldest("default") - 1
    assert not rig.gateway.updates.lags()
    await rig.stop()
