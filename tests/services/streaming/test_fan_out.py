"""What makes the corridor cheap: encoded once, joined once, paced; and what a mailbox does with what waits."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

import pytest

from gateway.domain.models.market_data import Quote
from gateway.domain.types import Channel, ConflationPolicy, DataFeed, FeedState
from gateway.servicers.frames import FrameEncoder
from gateway.services.streaming.fan_out import PENDING_VALUES_MAX, STRETCH_MAX, Group, Pacing
from gateway.services.streaming.feed_health import NO_EPOCH, FeedHealth, Receipt
from gateway.services.streaming.groups import COHORT_READERS_MIN, COHORTS_MAX
from gateway.services.streaming.last_values import LastValues, Stamped
from gateway.services.streaming.mailbox import BATCH_VALUES_MAX, MESSAGE_BYTES_MAX, Batch, EveryValue, LatestPerSymbol
from tests.services.streaming.conftest import Corridor
from tests.services.streaming.venue import quote
from trading_gateway.v1 import market_data_pb2 as pb

EPOCH = 1


class CountingEncoder(FrameEncoder):
    """Counts what is encoded."""

    def __init__(self) -> None:
        super().__init__()
        self.encoded = 0

    def quotes(self, quotes: Sequence[Quote]) -> list[bytes]:
        self.encoded += len(quotes)
        return super().quotes(quotes)


class Member:
    """A reader that keeps what it is given, and when."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.at: list[float] = []

    def deliver(self, batch: Batch) -> None:
        self.batches.append(batch)
        self.at.append(asyncio.get_running_loop().time())


def stamped(*values: Quote, epoch: int = EPOCH, received_at: float = 100.0) -> list[Stamped]:
    receipt = Receipt(received_at, epoch)
    return [(value, body, receipt) for value, body in zip(values, FrameEncoder().quotes(values), strict=True)]


def read(message: bytes) -> list[tuple[str, float, bool]]:
    return [
        (value.symbol, value.bid_price, value.stale) for value in pb.StreamQuotesResponse.FromString(message).quotes
    ]


def group_of(policy: ConflationPolicy, delay_s: float = 0.0, streams: int = 1) -> tuple[Group, Member]:
    pacing = Pacing()
    pacing.streams = streams
    group, member = Group(policy, delay_s, pacing, asyncio.get_running_loop().time), Member()
    group.readers.add(member)
    return group, member


@pytest.mark.parametrize("policy", ConflationPolicy)
async def test_a_quote_is_encoded_once_however_many_read_it(corridor: Corridor, policy: ConflationPolicy) -> None:
    counting = corridor.service._encoder = CountingEncoder()
    readers = [await corridor.live("AAPL", "MSFT", conflation=policy, skip_snapshot=True) for _ in range(20)]
    corridor.publish(*(quote(symbol, number) for number in range(10) for symbol in ("AAPL", "MSFT")))
    expected = 2 if policy is ConflationPolicy.LATEST_PER_SYMBOL else 20
    for reader in readers:
        await reader.until(lambda r: len(r.values) == expected)
    assert counting.encoded == 20


def test_readers_who_keep_up_share_the_joined_bytes() -> None:
    for mailbox_class in (
        lambda: EveryValue(Channel.QUOTES, FrameEncoder(), 100),
        lambda: LatestPerSymbol(Channel.QUOTES, FrameEncoder(), 1_000),
    ):
        policy = (
            ConflationPolicy.NONE if isinstance(mailbox_class(), EveryValue) else ConflationPolicy.LATEST_PER_SYMBOL
        )
        batch = Batch(stamped(quote("AAPL", 1), quote("MSFT", 1)), policy)
        boxes = [mailbox_class() for _ in range(3)]
        for box in boxes:
            assert box.put(batch)
        bodies = [box.take(EPOCH, 100.0) for box in boxes]
        assert bodies[0] is bodies[1] is bodies[2]


async def test_a_hundred_streams_are_flushed_every_five_ms() -> None:
    group, member = group_of(ConflationPolicy.NONE, streams=100)
    [value] = stamped(quote("AAPL", 1))
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + 0.1
    added = 0
    while loop.time() < ends_at:
        group.add(value)
        added += 1
        await asyncio.sleep(0.0005)
    group.flush()
    gaps = [later - earlier for earlier, later in zip(member.at, member.at[1:-1], strict=False)]
    assert min(gaps) >= 0.0022, "half an interval, and timers count whole milliseconds"
    assert len(member.at) <= 0.1 / 0.005 * 1.5
    assert sum(batch.count for batch in member.batches) == added


def test_intervals_grow_while_timers_come_late_and_shrink_again() -> None:
    pacing = Pacing()
    pacing.streams = 100
    measured_s, now = pacing.interval_s, 1_000.0
    for _ in range(3):  # looked at once in an interval, however many groups tell
        pacing.note_late(measured_s, now)
    once_s = pacing.interval_s
    assert measured_s < once_s < 1.2 * measured_s
    for _ in range(200):
        now += pacing.interval_s
        pacing.note_late(pacing.interval_s, now)
    assert pacing.interval_s == pytest.approx(STRETCH_MAX * measured_s)
    for _ in range(2_000):
        now += pacing.interval_s
        pacing.note_late(0.0, now)
    assert pacing.interval_s == measured_s


async def test_equal_streams_are_served_in_parts_each_in_its_turn(corridor: Corridor) -> None:
    readers = [
        await corridor.live("AAPL", conflation=ConflationPolicy.NONE, skip_snapshot=True)
        for _ in range(COHORTS_MAX * (COHORT_READERS_MIN + 1))
    ]
    [hub] = corridor.service._hubs.values()
    [cohorts] = hub._groups._groups.values()
    assert sorted(len(group.readers) for group in cohorts) == [COHORT_READERS_MIN + 1] * COHORTS_MAX
    phases = sorted(group._phase for group in cohorts)
    assert min(later - sooner for sooner, later in itertools.pairwise(phases)) > 0.4 / COHORTS_MAX
    for number in range(50):
        corridor.publish(quote("AAPL", number))
    for reader in readers:
        await reader.until(lambda r: len(r.values) == 50)
    for reader in readers[1:]:
        reader.stream.close()
    assert [len(group.readers) for group in cohorts] == [1]
    corridor.publish(quote("AAPL", 51))
    await readers[0].until(lambda r: len(r.values) == 51)


@pytest.mark.parametrize("policy", ConflationPolicy)
def test_what_is_stale_for_all_is_marked_once(policy: ConflationPolicy) -> None:
    class Marking(FrameEncoder):
        marked = 0

        def marked_stale(self, channel: Channel, elements: bytes, stale: Sequence[bool]) -> bytes:
            self.marked += 1
            return super().marked_stale(channel, elements, stale)

    encoder = Marking()
    batch = Batch(stamped(quote("A", 1), quote("B", 1), received_at=99.0), policy)
    bodies = [batch.body(Channel.QUOTES, NO_EPOCH, 100.0, encoder) for _ in range(100)]
    assert encoder.marked == 1
    assert {stale for body in bodies for _, _, stale in read(body)} == {True}
    later = [batch.body(Channel.QUOTES, EPOCH, now, encoder) for now in (100.0, 102.0, 103.0)]
    assert [[stale for _, _, stale in read(body)] for body in later] == [[False] * 2, [True] * 2, [True] * 2]
    assert encoder.marked == 1


async def test_the_first_value_after_a_pause_goes_at_once() -> None:
    group, member = group_of(ConflationPolicy.NONE, delay_s=5.0)
    group.add(stamped(quote("AAPL", 1))[0])
    assert not member.batches, "values of one turn of the loop travel together"
    group.add(stamped(quote("AAPL", 2))[0])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [batch.count for batch in member.batches] == [2]
    group.close()


async def test_a_burst_does_not_grow_while_it_waits() -> None:
    group, member = group_of(ConflationPolicy.NONE, delay_s=60.0)
    [value] = stamped(quote("AAPL", 1))
    group.add(value)
    group.flush()
    for _ in range(PENDING_VALUES_MAX + 10):
        group.add(value)
    assert sum(batch.count for batch in member.batches) >= PENDING_VALUES_MAX
    assert max(batch.count for batch in member.batches) <= BATCH_VALUES_MAX
    group.close()


def test_every_value_has_a_bound() -> None:
    box = EveryValue(Channel.QUOTES, FrameEncoder(), values_max=3)
    batch = Batch(stamped(quote("AAPL", 1), quote("AAPL", 2)), ConflationPolicy.NONE)
    assert box.put(batch)
    assert not box.put(batch)
    assert len(read(box.take(EPOCH, 100.0))) == 2
    assert box.put(batch)


def test_messages_have_a_bound() -> None:
    box = EveryValue(Channel.QUOTES, FrameEncoder(), values_max=100_000)
    values = stamped(*(quote("AAPL", number) for number in range(BATCH_VALUES_MAX)))
    for _ in range(20):
        box.put(Batch(values, ConflationPolicy.NONE))
    sizes = []
    while message := box.take(EPOCH, 100.0):
        sizes.append(len(message))
    assert max(sizes) <= MESSAGE_BYTES_MAX
    assert len(sizes) > 5


def test_the_newest_takes_the_place_of_the_unread() -> None:
    box = LatestPerSymbol(Channel.QUOTES, FrameEncoder(), 1_000)
    newest = ConflationPolicy.LATEST_PER_SYMBOL
    box.put(Batch(stamped(quote("AAPL", 1), quote("AAPL", 2), quote("MSFT", 1)), newest))
    box.put(Batch(stamped(quote("AAPL", 3)), newest))
    box.put(Batch(stamped(quote("TSLA", 4)), newest))
    taken = read(box.take(EPOCH, 100.0))
    assert taken == [("AAPL", 100.03, False), ("MSFT", 100.01, False), ("TSLA", 100.04, False)]
    assert box.conflated == 2, "two of AAPL"
    assert box.take(EPOCH, 100.0) == b""


@pytest.mark.parametrize("policy", ConflationPolicy)
def test_staleness_is_decided_value_by_value_when_they_are_taken(policy: ConflationPolicy) -> None:
    mixed = [
        *stamped(quote("A", 1), received_at=97.0),
        *stamped(quote("B", 1), received_at=99.0),
        *stamped(quote("C", 1), epoch=EPOCH - 1, received_at=99.0),
    ]
    box = (
        EveryValue(Channel.QUOTES, FrameEncoder(), 10)
        if policy is ConflationPolicy.NONE
        else LatestPerSymbol(Channel.QUOTES, FrameEncoder(), 1_000)
    )
    box.put(Batch(mixed, policy))
    assert [stale for _, _, stale in read(box.take(EPOCH, 100.0))] == [True, False, True]
    box.put(Batch(mixed, policy))
    assert [stale for _, _, stale in read(box.take(NO_EPOCH, 100.0))] == [True, True, True]


def test_an_epoch_is_an_unbroken_stretch_of_live() -> None:
    health = FeedHealth(DataFeed.IEX, lambda: 7)
    assert not health.is_live
    assert not health.vouches(Receipt(0.0, NO_EPOCH))
    health.change(FeedState.LIVE, "", 0)
    first = Receipt(0.0, health.epoch)
    assert health.vouches(first)
    assert health.change(FeedState.LIVE, "error frame", 405) == NO_EPOCH
    assert health.vouches(first)
    assert health.change(FeedState.RECONCILING, "", 0) == first.epoch
    health.change(FeedState.LIVE, "", 0)
    assert not health.vouches(first)
    assert health.vouches(Receipt(0.0, health.epoch))


def test_newest_values_never_go_backwards() -> None:
    health = FeedHealth(DataFeed.IEX, lambda: 7)
    health.change(FeedState.LIVE, "", 0)
    values = LastValues(health, Channel.QUOTES)
    values.add(["AAPL"])
    live, read_by_request = Receipt(0.0, health.epoch), Receipt(0.0, NO_EPOCH)
    assert values.merge([quote("AAPL", 2)], [b"2"], read_by_request) == {"AAPL"}
    assert values.merge([quote("AAPL", 1)], [b"1"], live) == frozenset()
    assert values.merge([quote("AAPL", 2)], [b"2 again"], live) == {"AAPL"}
    assert values.merge([quote("AAPL", 9)], [b"9"], read_by_request) == frozenset(), "the feed vouches for its own"
    values.publish([quote("AAPL", 1), quote("MSFT", 1)], [b"1", b"x"], live)
    held = values.newest("AAPL")
    assert held is not None
    assert held[1] == b"2 again"
    assert values.newest("MSFT") is None
    assert values.received_in(health.epoch) == {"AAPL"}
