"""Books of several strategies, legs and orders from outside: gapless, and exact from wherever a reader begins.

The invariants are I15 to I19: sequences 1, 2, 3, ... also across resumes and restarts; a stream is the journal's rows
of its book; nothing of another book; a heartbeat is a bookmark; a token resumes with exactly the rest.
"""

from __future__ import annotations

import asyncio
import random
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.application.order_timeline import OrderTimelines
from gateway.application.order_updates import (
    CLOCK_AHEAD_MAX_MS,
    EVENTS_PER_READ,
    NOTICES_MAX,
    Heartbeat,
    SnapshotBegin,
    SnapshotEnd,
    SnapshotOrder,
    StartAfter,
    StartLive,
    StartSince,
    StartSnapshot,
)
from gateway.application.resume_tokens import Book
from gateway.domain.errors import FieldInvalid, ResumeTokenCompacted, SlowConsumer
from gateway.domain.models.market_data import FeedStatus
from gateway.domain.models.orders import OrderEvent, OrderRef
from gateway.domain.types import NANOS_PER_MS, FeedState
from gateway.infrastructure.persistence.memory_journal import MemoryJournal
from tests.application.books import BEGIN_NS, STRATEGIES, Books, Story, events_of, sqlite_journal
from tests.infrastructure.persistence.samples import recorded

BOOKS = (None, *STRATEGIES, "nobody")
SEEDS = range(6)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", ["memory", "disk"])
async def test_from_any_point_the_rest_is_exact(seed: int, kind: str, tmp_path: Path) -> None:
    print(f"seed {seed}")
    # A short tail, so that most of it is read back from the journal and its orders folded anew.
    books = Books(sqlite_journal(tmp_path) if kind == "disk" else MemoryJournal(), tail_events_max=40)
    story = Story(seed, books)
    await story.tell(150)
    for strategy_id in BOOKS:
        rows = books.rows(strategy_id)
        assert [sequence for sequence, _ in rows] == list(range(1, len(rows) + 1))
        whole = await books.read(strategy_id, StartSince(BEGIN_NS))
        assert events_of(whole) == rows
        orders = {order.order_id: order for order in map(books.orders.order, {row.order_id for _, row in rows})}
        told = [step.payload for step in whole if isinstance(step.payload, OrderEvent)]
        assert {event.order.order_id: event.order for event in told} == orders
        tokens = [step.resume_token for step in whole if isinstance(step.payload, OrderEvent)]
        points = story.random.sample(range(len(rows)), min(len(rows), 12))
        for point in points:
            assert events_of(await books.read(strategy_id, StartAfter(tokens[point]))) == rows[point + 1 :]
            since_ns = rows[point][1].record_time_ns
            expected = [row for row in rows if row[1].record_time_ns >= since_ns]
            assert events_of(await books.read(strategy_id, StartSince(since_ns))) == expected
        assert events_of(await books.read(strategy_id, StartLive())) == []
    await books.journal.close()


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_reader_that_joins_while_it_goes_on_misses_nothing(seed: int) -> None:
    print(f"seed {seed}")
    books = Books(tail_events_max=40)
    story = Story(seed, books)
    await story.tell(120)
    tokens = {
        strategy_id: [step.resume_token for step in await books.read(strategy_id, StartSince(BEGIN_NS))]
        for strategy_id in BOOKS
    }
    readers = []
    for _ in range(80):  # readers come and what they read grows, in any interleaving
        await story.tell(1)
        if story.random.random() < 0.3:
            strategy_id = story.random.choice(BOOKS)
            reader = books.reader(strategy_id, StartAfter(story.random.choice(tokens[strategy_id])))
            readers.append((strategy_id, reader))
        for _ in range(story.random.randrange(4)):
            await asyncio.sleep(0)
    assert readers
    for strategy_id, reader in readers:
        told = events_of(await reader.until_idle())
        rows = books.rows(strategy_id)
        assert told == rows[len(rows) - len(told) :]
        assert [sequence for sequence, _ in told] == list(range(len(rows) - len(told) + 1, len(rows) + 1))


async def test_tokens_outlive_a_restart(tmp_path: Path) -> None:
    books = Books(sqlite_journal(tmp_path), tail_events_max=40)
    await Story(1, books).tell(100)
    kept = {strategy_id: await books.read(strategy_id, StartSince(BEGIN_NS)) for strategy_id in BOOKS}
    await books.journal.close()
    again = Books(sqlite_journal(tmp_path))
    again.now_ns = books.now_ns
    more = Story(2, again)
    await more.tell(0)
    for strategy_id, steps in kept.items():
        for step in random.Random(3).sample(steps, min(len(steps), 10)):
            rest = events_of(await again.read(strategy_id, StartAfter(step.resume_token)))
            assert rest == again.rows(strategy_id)[step.sequence :]
    await again.journal.close()


async def test_a_heartbeat_comes_after_everything_up_to_its_sequence() -> None:
    books = Books()
    story = Story(5, books)
    reader = books.reader(None, StartLive(), heartbeat_ms=1)
    await asyncio.sleep(0)
    for _ in range(30):
        await story.tell(2)
        await asyncio.sleep(0.002)
    await asyncio.sleep(0.01)
    await reader.stop()
    told = 0
    beats = 0
    for step in reader.steps:
        if isinstance(step.payload, OrderEvent):
            assert step.sequence == told + 1
            told = step.sequence
        elif isinstance(step.payload, Heartbeat):
            assert step.sequence == told
            beats += 1
    assert told == books.journal.head == 60
    assert beats


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_snapshot_with_what_ended_since(seed: int) -> None:
    print(f"seed {seed}")
    books = Books(tail_events_max=40)
    story = Story(seed, books)
    await story.tell(200)
    for strategy_id in BOOKS:
        rows = books.rows(strategy_id)
        for since_ns in (BEGIN_NS, BEGIN_NS + 100 * NANOS_PER_MS, books.now_ns, books.now_ns + 1):
            steps = await books.read(strategy_id, StartSnapshot(since_ns))
            size = next(place for place, step in enumerate(steps, 1) if isinstance(step.payload, SnapshotEnd))
            begin, *listed, end = steps[:size]
            shown = [step.payload.order for step in listed if isinstance(step.payload, SnapshotOrder)]
            mine = {row.order_id: books.orders.order(row.order_id) for _, row in rows}
            touched = {row.order_id for _, row in rows if row.record_time_ns >= since_ns}
            expected = {
                order_id for order_id, order in mine.items() if not order.state.is_terminal or order_id in touched
            }
            assert [order.order_id for order in shown if order != mine[order.order_id]] == []
            assert sorted(order.order_id for order in shown) == sorted(expected)
            is_ended = [order.state.is_terminal for order in shown]
            assert is_ended == sorted(is_ended)  # the open ones first
            assert isinstance(begin.payload, SnapshotBegin)
            assert begin.payload.count == len(shown)
            assert {step.sequence for step in (begin, *listed, end)} == {len(rows)}
            assert {step.resume_token for step in (begin, *listed)} == {""}
            assert events_of(await books.read(strategy_id, StartAfter(end.resume_token))) == []


@pytest.mark.parametrize("kind", ["memory", "disk"])
async def test_orders_in_the_archive_are_told_of_like_all_others(kind: str, tmp_path: Path) -> None:
    books = Books(sqlite_journal(tmp_path) if kind == "disk" else MemoryJournal(), tail_events_max=40)
    await Story(8, books).tell(200)
    whole = await books.read(None, StartSince(BEGIN_NS))
    snapshot = [step.payload for step in await books.read(None, StartSnapshot(BEGIN_NS))]
    timelines = OrderTimelines(books.orders, books.journal)
    ids = {row.order_id for _, row in books.rows(None)}
    stories = {order_id: await timelines.get(OrderRef(order_id=order_id)) for order_id in ids}
    archived = books.orders.oldest_terminal(1_000, 10**9, 1_000)
    await books.journal.archive.put(archived, books.now_ns)
    books.orders.let_go(archived)
    assert books.journal.archive.count > 10
    assert books.orders.surplus == 0
    assert events_of(await books.read(None, StartSince(BEGIN_NS))) == events_of(whole)
    assert [step.payload for step in await books.read(None, StartSnapshot(BEGIN_NS))] == snapshot
    assert {order_id: await timelines.get(OrderRef(order_id=order_id)) for order_id in ids} == stories
    await books.journal.close()


async def test_a_snapshot_takes_so_many_ended_orders_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.application.order_updates.CLOSED_ORDERS_MAX", 5)
    books = Books()
    await Story(1, books).tell(200)
    with pytest.raises(FieldInvalid) as caught:
        await books.read(None, StartSnapshot(BEGIN_NS))
    assert caught.value.violations[0].field == "include_closed_since"
    assert await books.read(None, StartSnapshot(books.now_ns + 1))


@pytest.mark.parametrize(
    ("start", "field"), [(StartSince, "start_time"), (StartSnapshot, "include_closed_since")], ids=["since", "closed"]
)
async def test_instants_that_are_gone_or_still_to_come(start: Callable[[int], StartSince], field: str) -> None:
    books = Books(MemoryJournal(events_max=32))
    await Story(1, books).tell(100)
    oldest = books.journal.oldest
    assert oldest > 1
    with pytest.raises(ResumeTokenCompacted) as gone:
        await books.read(None, start(BEGIN_NS))
    assert gone.value.metadata == {"oldest_sequence": str(oldest)}
    with pytest.raises(ResumeTokenCompacted):
        await books.read("nobody", start(BEGIN_NS))
    first_ns = books.journal.read(oldest - 1, 1)[0].record_time_ns
    assert await books.read(None, start(first_ns + 1))
    assert await books.read("nobody", start(first_ns + 1))  # a book that was silent all the time misses nothing
    ahead_ns = CLOCK_AHEAD_MAX_MS * NANOS_PER_MS
    assert events_of(await books.read(None, start(books.now_ns + ahead_ns))) == []
    with pytest.raises(FieldInvalid) as early:
        await books.read(None, start(books.now_ns + ahead_ns + 1))
    assert early.value.violations[0].field == field


async def test_a_clock_that_steps_back_hides_nothing() -> None:
    books = Books()
    story = Story(4, books)
    await story.tell(50)
    before_ns = books.now_ns
    books.now_ns -= 3_600 * 1_000 * NANOS_PER_MS
    await story.tell(50)
    rows = books.rows(None)
    times = [row.record_time_ns for _, row in rows]
    assert times == sorted(times)
    told = events_of(await books.read(None, StartSince(before_ns)))
    assert told == [row for row in rows if row[1].record_time_ns >= before_ns]
    assert len(told) >= 50


async def test_a_reader_that_falls_behind_what_is_kept_is_told() -> None:
    books = Books(MemoryJournal(events_max=64), tail_events_max=8)
    story = Story(1, books)
    slow = books.updates.follow(Book(None), StartLive(), 60_000)
    assert isinstance((await anext(slow)).payload, FeedStatus)
    await story.tell(20)
    assert (await anext(slow)).sequence == 1  # from the journal: the tail has it no more
    await story.tell(200)
    for sequence in range(2, 21):  # what it was handed already
        assert (await anext(slow)).sequence == sequence
    with pytest.raises(SlowConsumer) as caught:
        await anext(slow)
    assert caught.value.metadata == {"last_sequence": "20"}
    assert not books.updates.lags()


async def test_lag_is_what_the_slowest_reader_of_a_book_has_not_been_given() -> None:
    books = Books()
    story = Story(1, books)
    slow, quick = (books.updates.follow(Book(None), StartLive(), 60_000) for _ in range(2))
    assert isinstance((await anext(slow)).payload, FeedStatus)
    assert isinstance((await anext(quick)).payload, FeedStatus)
    await story.tell(40)
    assert (await anext(quick)).sequence == 1
    assert (await anext(slow)).sequence == 1
    assert (await anext(quick)).sequence == 2
    assert books.updates.lags() == {"": 39}
    await slow.aclose()
    assert books.updates.lags() == {"": 38}
    await quick.aclose()
    assert books.updates.lags() == {}


async def test_a_crowd_that_comes_back_at_once_leaves_room_for_others() -> None:
    books = Books(tail_events_max=500)  # half of what they missed has to be read from the journal
    story = Story(7, books)
    await story.tell(200)
    token = (await books.read(None, StartLive()))[-1].resume_token
    await story.tell(1_000)
    told = 0
    most_in_a_turn = turns = 0
    longest_s = 0.0

    async def others() -> None:
        nonlocal most_in_a_turn, longest_s, turns
        while True:
            before, began_s = told, time.monotonic()
            await asyncio.sleep(0)
            most_in_a_turn = max(most_in_a_turn, told - before)
            longest_s = max(longest_s, time.monotonic() - began_s)
            turns += 1

    async def come_back() -> None:
        nonlocal told
        expected = 201
        async for step in books.updates.follow(Book(None), StartAfter(token), 60_000):
            assert step.sequence == expected
            told += 1
            if step.sequence == books.journal.head:
                return
            expected += 1

    watching = asyncio.create_task(others())
    await asyncio.gather(*(come_back() for _ in range(200)))
    watching.cancel()
    print(f"{told:,} events in {turns:,} turns; the longest took {longest_s * 1e3:.1f} ms, and {most_in_a_turn} events")
    assert told == 200 * 1_000
    assert most_in_a_turn <= 2 * EVENTS_PER_READ


async def test_a_stalled_reader_holds_nothing() -> None:
    books = Books()
    story = Story(1, books)
    stalled = books.updates.follow(Book(None), StartLive(), 60_000)
    await anext(stalled)
    tracemalloc.start()
    try:
        await story.tell(2_000)
        for number in range(2 * NOTICES_MAX):
            books.feed.set_state(FeedState.DISCONNECTED if number % 2 else FeedState.CONNECTING)
        of_readers = tracemalloc.Filter(inclusive=True, filename_pattern="*/order_updates.py")
        held = sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([of_readers]).traces)
    finally:
        tracemalloc.stop()
    assert held < 64 * 1024
    sequences = []
    notices = []
    while len(sequences) < 2_000 or len(notices) < NOTICES_MAX:
        step = await anext(stalled)
        (sequences if isinstance(step.payload, OrderEvent) else notices).append(step)
    assert [step.sequence for step in sequences] == list(range(1, 2_001))
    assert notices[-1].payload == books.feed.status
    await stalled.aclose()


@pytest.mark.parametrize("kind", ["memory", "disk"])
async def test_a_book_whose_last_event_is_gone_is_followed_like_others(kind: str, tmp_path: Path) -> None:
    """A strategy that was quiet for longer than events are kept."""
    books = Books(sqlite_journal(tmp_path) if kind == "disk" else MemoryJournal(), tail_events_max=4)
    await books.orders.record([recorded(0, "quiet", 1)])
    [*_, last] = await books.read("quiet", StartSnapshot())
    for number in range(1, 40):
        await books.orders.record([recorded(number, "loud", number + 1)])
    await books.journal.compact(30)
    for _ in range(2):
        for start in (StartLive(), StartSnapshot(), StartAfter(last.resume_token)):
            steps = await books.read("quiet", start)
            assert {(step.sequence, step.resume_token) for step in steps[-1:]} == {(1, last.resume_token)}
            assert not events_of(steps)
        if kind == "disk":
            await books.journal.close()
            books = Books(sqlite_journal(tmp_path), tail_events_max=4)
    await books.orders.record([recorded(40, "quiet", 41)])
    assert [sequence for sequence, _ in events_of(await books.read("quiet", StartAfter(last.resume_token)))] == [2]
    await books.journal.close()
