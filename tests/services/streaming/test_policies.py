"""What each policy does with a reader who is busy, thins or stalls, over a scripted venue."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest

from gateway.domain.errors import SlowConsumer, VenueUnreachable
from gateway.domain.types import Channel, ConflationPolicy
from gateway.servicers.frames import FrameEncoder
from gateway.services.streaming import mailbox, outlet as outlet_module
from gateway.services.streaming.fan_out import Group, Pacing
from gateway.services.streaming.feed_health import Receipt
from gateway.services.streaming.last_values import Stamped
from gateway.services.streaming.mailbox import STALLED_BYTES_MAX, Batch, DropOldest
from gateway.services.streaming.outlet import LAG_TOLD_S, STALL_S
from gateway.services.streaming.standstill import LOOK_INTERVAL_S
from gateway.services.streaming.thinning import Thinning
from tests.services.streaming.conftest import Corridor, eventually
from tests.services.streaming.venue import quote
from trading_gateway.v1 import market_data_pb2 as pb

EPOCH = 1
DROP, LATEST, NONE = ConflationPolicy.DROP_OLDEST, ConflationPolicy.LATEST_PER_SYMBOL, ConflationPolicy.NONE


def stamped(*numbers: int, symbol: str = "AAPL", received_at: float = 100.0) -> list[Stamped]:
    values = [quote(symbol, number) for number in numbers]
    receipt = Receipt(received_at, EPOCH)
    return [(value, body, receipt) for value, body in zip(values, FrameEncoder().quotes(values), strict=True)]


def prices(message: bytes) -> list[float]:
    return [value.bid_price for value in pb.StreamQuotesResponse.FromString(message).quotes]


def expected(*numbers: int) -> list[float]:
    return [quote("AAPL", number).bid_price for number in numbers]


async def begun(corridor: Corridor, **options: Any) -> AsyncIterator[bytes]:
    """A stream that is live, and read no further."""
    options = {"skip_snapshot": True, "max_batch_delay_ms": 0} | options
    messages = (await corridor.open("AAPL", **options)).messages()
    await corridor.connected()
    while not pb.StreamQuotesResponse.FromString(await anext(messages)).status.acks:
        pass
    return messages


def test_drop_oldest_keeps_the_newest_and_counts_the_rest() -> None:
    box = DropOldest(Channel.QUOTES, FrameEncoder())
    for start in range(0, 3_000, 100):
        assert box.put(Batch(stamped(*range(start, start + 100)), DROP))
    assert box.unread_bytes <= mailbox.DROP_OLDEST_BYTES_MAX
    kept = prices(box.take(EPOCH, 100.0))
    assert kept == expected(*range(3_000 - len(kept), 3_000)), "in order, and none twice"
    assert len(kept) <= mailbox.DROP_OLDEST_VALUES_MAX
    assert box.dropped == 3_000 - len(kept) > 0
    assert (box.conflated, box.unread_bytes, box.take(EPOCH, 100.0)) == (0, 0, b"")


def test_what_a_stalled_reader_may_keep_is_what_it_costs() -> None:
    encoder = FrameEncoder()
    box = mailbox.DropOldest(Channel.QUOTES, encoder)
    for start in range(0, 2_000, 100):
        box.put(Batch(stamped(*range(start, start + 100)), DROP))
    assert box.shed(mailbox.STALLED_BYTES_MAX)
    assert sum(sys.getsizeof(pair) + sys.getsizeof(pair[0]) for pair in box._queue) <= mailbox.STALLED_BYTES_MAX
    kept = encoder.split(box.take(EPOCH, 100.0))
    assert len(kept) + box.dropped == 2_000
    assert prices(kept[-1]) == expected(1_999)


def test_drop_oldest_loses_nothing_of_a_reader_who_keeps_up() -> None:
    box = DropOldest(Channel.QUOTES, FrameEncoder())
    for number in range(5_000):
        assert box.put(Batch(stamped(number), DROP))
        assert prices(box.take(EPOCH, 100.0)) == expected(number)
    assert box.dropped == 0


async def test_what_was_dropped_is_told_on_the_stream(corridor: Corridor) -> None:
    messages = await begun(corridor, conflation=DROP, heartbeat_interval_ms=500)
    for start in range(0, 3_000, 500):
        corridor.publish(*(quote("AAPL", number) for number in range(start, start + 500)))
        await asyncio.sleep(0.005)
    corridor.clocks.ahead_s += LAG_TOLD_S
    read = pb.StreamQuotesResponse.FromString(await anext(messages))
    assert read.quotes[-1].bid_price == quote("AAPL", 2_999).bid_price
    assert read.status.dropped_total == 3_000 - len(read.quotes)
    assert (read.status.conflated_total, read.batch_sequence > 1) == (0, True)


async def test_who_reads_again_is_told_what_the_wait_cost(corridor: Corridor) -> None:
    messages = await begun(corridor, conflation=LATEST)
    corridor.publish(quote("AAPL", 1))
    await asyncio.sleep(0.01)
    await anext(messages)  # it is being written from here on
    for number in range(2, 12):
        corridor.publish(quote("AAPL", number))
        await asyncio.sleep(0.002)
    corridor.clocks.ahead_s += LAG_TOLD_S + 0.1
    read = pb.StreamQuotesResponse.FromString(await anext(messages))
    assert [value.bid_price for value in read.quotes] == expected(11)
    assert read.quotes[0].stale, "it waited for more than 2 s"
    assert read.status.conflated_total == 9
    assert [feed.state for feed in read.status.feeds], "and where the feed stands"


async def test_counters_are_told_though_the_stream_is_never_silent(corridor: Corridor) -> None:
    messages = await begun(corridor, conflation=LATEST, heartbeat_interval_ms=50)
    async with asyncio.timeout(5):
        while True:
            corridor.publish(quote("AAPL", 1), quote("AAPL", 2))
            read = pb.StreamQuotesResponse.FromString(await anext(messages))
            if read.status.conflated_total and not read.status.heartbeat:
                break
            await asyncio.sleep(0.002)


async def test_a_reader_who_takes_nothing_holds_little_and_is_ended(corridor: Corridor) -> None:
    messages = await begun(corridor, conflation=NONE)
    corridor.publish(quote("AAPL", 1))
    await asyncio.sleep(0.01)
    await anext(messages)
    [outlet] = corridor.service._outlets
    [source] = outlet.sources
    corridor.clocks.ahead_s += STALL_S + 0.1
    most = 0
    for start in range(0, 20_000, 100):
        corridor.publish(*(quote("AAPL", number) for number in range(start, start + 100)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        most = max(most, source._mailbox.unread_bytes)  # type: ignore[attr-defined]
        if outlet.has_failed:
            break
    assert outlet.has_failed
    assert most <= 256 * 1024
    with pytest.raises(SlowConsumer):
        await anext(messages)


async def test_a_loop_that_stood_still_is_no_reader_who_stalled(
    corridor: Corridor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlet_module, "STALL_S", 2 * LOOK_INTERVAL_S)
    messages = await begun(corridor, conflation=NONE)
    corridor.publish(quote("AAPL", 1))
    await asyncio.sleep(0.01)
    await anext(messages)
    [outlet] = corridor.service._outlets
    time.sleep(4 * LOOK_INTERVAL_S)  # noqa: ASYNC251 - the loop stands still, and what came meanwhile is read at once
    corridor.publish(*(quote("AAPL", number) for number in range(2, 2_000)))
    mailbox = outlet.sources[0]._mailbox  # type: ignore[attr-defined]
    await eventually(lambda: mailbox.unread_bytes > STALLED_BYTES_MAX)
    assert not outlet.has_failed
    await asyncio.sleep(2 * LOOK_INTERVAL_S + 0.05)  # now it runs, and the reader still takes nothing
    corridor.publish(quote("AAPL", 2_001))
    await eventually(lambda: outlet.has_failed)


async def test_a_burst_is_not_kept_for_a_reader_who_then_takes_nothing(corridor: Corridor) -> None:
    messages = await begun(corridor, conflation=NONE, heartbeat_interval_ms=50)
    for start in range(0, 4_000, 500):
        corridor.publish(*(quote("AAPL", number) for number in range(start, start + 500)))
        await asyncio.sleep(0)
    await asyncio.sleep(0.1)  # two looks, at which it is only busy
    assert not any(outlet.has_failed for outlet in corridor.service._outlets)
    corridor.clocks.ahead_s += STALL_S + 0.1
    await eventually(lambda: all(outlet.has_failed for outlet in corridor.service._outlets))
    with pytest.raises(SlowConsumer):
        await anext(messages)


async def test_a_burst_for_a_busy_reader_is_not_a_stall(corridor: Corridor) -> None:
    messages = await begun(corridor, conflation=NONE)
    for start in range(0, 10_000, 500):
        corridor.publish(*(quote("AAPL", number) for number in range(start, start + 500)))
        await asyncio.sleep(0)
    read: list[float] = []
    async with asyncio.timeout(5):
        while len(read) < 10_000:
            read += prices(await anext(messages))
    assert read == expected(*range(10_000))


def test_thinning_gives_the_newest_when_its_time_has_come() -> None:
    thinning = Thinning(1.0)
    [first] = thinning.admit(stamped(1), 100.0)
    assert thinning.admit(stamped(2, 3, received_at=100.1), 100.1) == []
    assert not thinning.is_due(100.9)
    other = thinning.admit(stamped(1, symbol="MSFT", received_at=100.5), 100.5)
    assert [value.symbol for value, _, _ in other] == ["MSFT"], "each symbol has its own time"
    [second] = thinning.admit([], 101.0)
    assert (first[0].time_ns, second[0].time_ns) == (quote("AAPL", 1).time_ns, quote("AAPL", 3).time_ns)
    assert not second[2].is_stale(EPOCH, 102.9), "what was asked for makes nothing stale"
    assert second[2].is_stale(EPOCH, 103.1)
    assert thinning.due_at is None


async def test_min_interval_thins_and_does_not_count(corridor: Corridor) -> None:
    messages = await begun(corridor, conflation=LATEST, min_interval_ms=150, heartbeat_interval_ms=100)
    loop = asyncio.get_running_loop()
    taken: list[tuple[float, float]] = []
    statuses: list[pb.StreamStatus] = []

    async def read() -> None:
        async for message in messages:
            taken.extend((loop.time(), price) for price in prices(message))
            statuses.append(pb.StreamQuotesResponse.FromString(message).status)

    reading = asyncio.create_task(read())
    for number in range(100):
        corridor.publish(quote("AAPL", number))
        await asyncio.sleep(0.003)
    await eventually(lambda: taken[-1][1] == quote("AAPL", 99).bid_price)
    reading.cancel()
    gaps = [later - earlier for (earlier, _), (later, _) in pairwise(taken)]
    assert len(taken) <= 5
    assert min(gaps) >= 0.14
    assert taken[0][1] == quote("AAPL", 0).bid_price, "the first goes at once"
    assert max(status.conflated_total for status in statuses) == 0


async def test_a_thinned_group_is_silent_when_it_is_closed() -> None:
    group = Group(LATEST, 0.0, Pacing(), asyncio.get_running_loop().time, 0.02)
    given: list[Batch] = []

    class Member:
        def deliver(self, batch: Batch) -> None:
            given.append(batch)

    group.readers.add(Member())
    now = asyncio.get_running_loop().time()
    for number in (1, 2):
        group.add(stamped(number, received_at=now)[0])
        group.flush()
    assert [batch.count for batch in given] == [1]
    await eventually(lambda: len(given) == 2)
    group.add(stamped(3, received_at=now)[0])
    group.flush()
    group.close()
    await asyncio.sleep(0.05)
    assert len(given) == 2


async def test_a_stale_value_between_others_is_flagged_when_thinned(corridor: Corridor) -> None:
    reader = await corridor.live("AAPL", "MSFT", "TSLA", min_interval_ms=500)
    corridor.publish(quote("AAPL", 1), quote("MSFT", 1), quote("TSLA", 1))
    await reader.until(lambda r: len(r.values) == 3)
    [hub] = corridor.service._hubs.values()
    [[group]] = hub._groups._groups.values()
    assert group._thinning is not None
    held = group._thinning._held
    corridor.publish(quote("AAPL", 2))  # held back, first in line
    await eventually(lambda: "AAPL" in held)
    connection = corridor.venue.connection
    connection.cut()
    corridor.publish(quote("MSFT", 2))  # nobody can vouch for it
    await eventually(lambda: "MSFT" in held)
    corridor.venue.error = VenueUnreachable("REST is down")  # and it cannot be read
    connection.answer()
    corridor.publish(quote("AAPL", 3), quote("TSLA", 2))
    await reader.until(lambda r: len(r.values) == 6)
    assert [value.stale for value in reader.values if value.symbol == "MSFT"] == [False, True]
