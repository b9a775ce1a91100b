"""What a stream says: first message, snapshot, acks, heartbeats, bounds, policies."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from gateway.domain.errors import Draining, FieldInvalid, SlowConsumer, TooManyStreams, VenueUnreachable
from gateway.domain.types import AssetClass, Channel, ConflationPolicy, DataFeed
from gateway.servicers.frames import FrameEncoder
from gateway.services.recovery import ErrorService
from gateway.services.streaming import StreamingService, StreamLimits
from tests.services.streaming.conftest import Corridor, eventually
from tests.services.streaming.venue import SECOND_NS, T0_NS, AssetTable, Clocks, ScriptedVenue, bar, quote, trade
from trading_gateway.v1 import common_pb2, market_data_pb2 as pb


async def test_the_first_message_comes_at_once_without_any_data(corridor: Corridor) -> None:
    corridor.venue.is_mute = True
    began = time.monotonic()
    reader = await corridor.read("AAPL")
    first = await reader.until(lambda r: r.messages and r.messages[0])
    assert time.monotonic() - began < 1
    assert first.batch_sequence == 1
    [feed] = first.status.feeds
    assert (feed.feed, feed.state) == ("stocks:iex", common_pb2.FEED_STATE_CONNECTING)
    assert feed.since.ToNanoseconds() > T0_NS


async def test_newest_value_first_then_live(corridor: Corridor) -> None:
    corridor.venue.newest[Channel.QUOTES, "AAPL"] = quote("AAPL", 1)
    reader = await corridor.live("AAPL", "MSFT")
    corridor.publish(quote("AAPL", 2), quote("MSFT", 3))
    await reader.until(lambda r: len(r.values) == 3)
    assert [(value.symbol, value.snapshot, value.stale) for value in reader.values] == [
        ("AAPL", True, False),
        ("AAPL", False, False),
        ("MSFT", False, False),
    ]
    assert all(value.receive_time.seconds and value.feed == common_pb2.DATA_FEED_IEX for value in reader.values)
    assert corridor.venue.requests == [("quotes", ("AAPL", "MSFT"))]
    assert [message.batch_sequence for message in reader.messages] == list(range(1, len(reader.messages) + 1))


async def test_a_second_reader_costs_no_request_and_disturbs_nobody(corridor: Corridor) -> None:
    first = await corridor.live("AAPL")
    corridor.publish(quote("AAPL", 1))
    await first.until(lambda r: r.values)
    requests = list(corridor.venue.requests)
    told = len(first.messages)
    second = await corridor.live("AAPL")
    await second.until(lambda r: r.values)
    assert second.values[0].snapshot
    assert second.values[0].bid_price == first.values[0].bid_price
    assert corridor.venue.requests == requests
    assert len(corridor.venue.connection.changes) == 1
    await second.close()
    corridor.publish(quote("AAPL", 2))
    await first.until(lambda r: len(r.values) == 2)
    assert len(first.messages) == told + 1
    assert not first.statuses[-1].stale_symbols


async def test_skip_snapshot_leaves_the_newest_value_out(corridor: Corridor) -> None:
    corridor.venue.newest[Channel.QUOTES, "AAPL"] = quote("AAPL", 1)
    reader = await corridor.live("AAPL", skip_snapshot=True)
    corridor.publish(quote("AAPL", 2))
    await reader.until(lambda r: r.values)
    assert [value.snapshot for value in reader.values] == [False]
    assert corridor.venue.requests == []


async def test_a_fetched_value_never_goes_behind_a_live_one(corridor: Corridor) -> None:
    corridor.venue.newest[Channel.QUOTES, "AAPL"] = quote("AAPL", 1)
    corridor.venue.gate = asyncio.Event()
    reader = await corridor.read("AAPL")
    await reader.until(lambda r: r.of("acks"))
    corridor.publish(quote("AAPL", 5))
    await reader.until(lambda r: r.values)
    corridor.venue.gate.set()
    await reader.until(lambda r: any(status.snapshot_end for status in r.statuses))
    assert [value.bid_price for value in reader.values] == [100.05]


async def test_a_live_value_behind_the_snapshot_is_left_out_when_only_the_newest_counts(corridor: Corridor) -> None:
    corridor.venue.newest[Channel.QUOTES, "AAPL"] = quote("AAPL", 5)
    newest = await corridor.live("AAPL")
    every = await corridor.live("AAPL", conflation=ConflationPolicy.NONE)
    corridor.publish(quote("AAPL", 4), quote("AAPL", 6))
    await newest.until(lambda r: len(r.values) == 2)
    await every.until(lambda r: len(r.values) == 3)
    assert [value.bid_price for value in newest.values] == [100.05, 100.06]
    assert [value.bid_price for value in every.values] == [100.05, 100.04, 100.06]


@pytest.mark.parametrize("policy", ConflationPolicy)
async def test_a_time_that_has_not_come_yet_holds_nothing_up(corridor: Corridor, policy: ConflationPolicy) -> None:
    reader = await corridor.live("AAPL", conflation=policy)
    now_ns = corridor.clocks.wall()
    corridor.publish(quote("AAPL", 1, time_ns=now_ns + 86_400 * SECOND_NS))
    corridor.publish(quote("AAPL", 2, time_ns=now_ns))
    await reader.until(lambda r: r.values and r.values[-1].bid_price == 100.02)
    late = await corridor.live("AAPL")
    assert [(value.bid_price, value.stale) for value in late.values] == [(100.02, False)]


async def test_a_clock_of_ours_that_is_late_turns_no_order_around(corridor: Corridor) -> None:
    reader = await corridor.live("AAPL")
    ahead_ns = corridor.clocks.wall() + 60 * SECOND_NS
    corridor.publish(quote("AAPL", 1, time_ns=ahead_ns + SECOND_NS))
    corridor.publish(quote("AAPL", 2, time_ns=ahead_ns))
    corridor.publish(quote("AAPL", 3, time_ns=ahead_ns + 2 * SECOND_NS))
    await reader.until(lambda r: r.values and r.values[-1].bid_price == 100.03)
    assert 100.02 not in [value.bid_price for value in reader.values]


async def test_bad_symbols_are_told_and_end_nothing(corridor: Corridor) -> None:
    reader = await corridor.live("AAPL", "aapl", "ZZZZZZ", "*", "")
    acks = {ack.symbol: ack for ack in reader.of("acks")}
    assert {symbol: ack.status.code for symbol, ack in acks.items()} == {
        "AAPL": 0,
        "aapl": 3,
        "ZZZZZZ": 5,
        "*": 3,
        "": 3,
    }
    assert acks["AAPL"].channel == pb.CHANNEL_QUOTES
    assert acks["AAPL"].asset_class == common_pb2.ASSET_CLASS_US_EQUITY
    assert acks["AAPL"].feed == common_pb2.DATA_FEED_IEX
    assert corridor.venue.connection.wanted.symbols == {Channel.QUOTES: {"AAPL"}}
    corridor.publish(quote("AAPL", 1))
    await reader.until(lambda r: r.values)


async def test_a_stream_of_bad_symbols_alone_lives_on(corridor: Corridor) -> None:
    reader = await corridor.live("ZZZZZZ", heartbeat_interval_ms=50)
    await reader.until(lambda r: any(status.heartbeat for status in r.statuses))
    assert [ack.status.code for ack in reader.of("acks")] == [5]
    assert corridor.venue.connections == []


async def test_an_asset_that_no_feed_can_spell_is_refused_and_harms_nobody(corridor: Corridor) -> None:
    corridor.assets.odd = {"1INCH/USD"}
    reader = await corridor.live("BTC/USD", "1INCH/USD")
    assert {ack.symbol: ack.status.code for ack in reader.of("acks")} == {"BTC/USD": 0, "1INCH/USD": 5}


async def test_an_order_of_what_no_feed_can_spell_subscribes_nothing(limits: StreamLimits) -> None:
    """One such symbol among the wanted would be refused with all others, each time that anything changes."""
    clocks = Clocks()
    venue = ScriptedVenue(clocks)
    service = StreamingService(
        venue,
        venue,
        AssetTable(),
        ErrorService(clocks.wall, clocks.monotonic, asyncio.sleep),
        FrameEncoder(),
        stock_feed=DataFeed.IEX,
        wall=clocks.wall,
        monotonic=clocks.monotonic,
        limits=replace(limits, price_symbols_max=5),
    )
    for symbol in ("014ESC016", "ABC.WS.A", "BTC/USD", "AAPL"):
        service.keep_price(DataFeed.IEX, symbol)
    await eventually(lambda: venue.connections and venue.connection.is_connected)
    assert venue.connection.wanted.symbols == {Channel.QUOTES: frozenset({"AAPL"})}
    await service.close()


async def test_duplicates_are_one(corridor: Corridor) -> None:
    reader = await corridor.live("AAPL", "AAPL")
    assert [ack.symbol for ack in reader.of("acks")] == ["AAPL"]


@pytest.mark.parametrize(
    ("symbols", "options", "field"),
    [
        ((), {}, "symbols"),
        (("AAPL", "BTC/USD"), {}, "symbols[1]"),
        (("AAPL",), {"feed": DataFeed.CRYPTO_US}, "symbols[0]"),
        (("AAPL",), {"asset_class": AssetClass.CRYPTO}, "symbols[0]"),
        (("BTC/USD",), {"asset_class": AssetClass.CRYPTO, "feed": DataFeed.SIP}, "feed"),
    ],
)
async def test_what_does_not_go_together_is_refused(
    corridor: Corridor, symbols: tuple[str, ...], options: dict[str, object], field: str
) -> None:
    with pytest.raises(FieldInvalid) as refused:
        await corridor.open(*symbols, **options)
    assert [violation.field for violation in refused.value.violations] == [field]


async def test_too_many_symbols(corridor: Corridor) -> None:
    await corridor.open(*(f"S{number}" for number in range(500)))
    with pytest.raises(TooManyStreams):
        await corridor.open(*(f"S{number}" for number in range(501)))


async def test_a_slow_asset_table_does_not_hold_the_first_message(corridor: Corridor) -> None:
    corridor.assets.is_cold = True
    corridor.assets.gate = asyncio.Event()
    began = time.monotonic()
    reader = await corridor.read("AAPL", "ZZZZZZ")
    await reader.until(lambda r: r.messages)
    assert time.monotonic() - began < 1
    assert not reader.of("acks")
    corridor.assets.gate.set()
    await reader.until(lambda r: len(r.of("acks")) == 2)


async def test_no_asset_table_no_stream(corridor: Corridor) -> None:
    corridor.assets.is_cold = True
    corridor.assets.error = VenueUnreachable("no route")
    reader = await corridor.read("AAPL")
    await reader.until(lambda r: r.error)
    assert isinstance(reader.error, VenueUnreachable)


async def test_a_canceled_open_leaves_nothing(corridor: Corridor) -> None:
    corridor.assets.is_cold = True
    corridor.assets.gate = asyncio.Event()
    opening = asyncio.create_task(corridor.open("AAPL"))
    await asyncio.sleep(0)
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    corridor.assets.gate.set()
    await corridor.service.close()
    assert corridor.venue.connections == []


async def test_heartbeats_come_in_silence_and_carry_the_feed(corridor: Corridor) -> None:
    reader = await corridor.live("AAPL", heartbeat_interval_ms=100)
    last = reader.messages[-1].send_time.ToNanoseconds()
    beats = await reader.until(lambda r: [m for m in r.messages if m.status.heartbeat][1:])
    first = next(message for message in reader.messages if message.status.heartbeat)
    assert first.send_time.ToNanoseconds() - last >= 95_000_000
    assert beats[0].send_time.ToNanoseconds() - first.send_time.ToNanoseconds() >= 95_000_000
    assert [feed.state for feed in first.status.feeds] == [common_pb2.FEED_STATE_LIVE]


async def test_a_busy_stream_has_no_heartbeat(corridor: Corridor) -> None:
    reader = await corridor.live("AAPL", heartbeat_interval_ms=200)
    for number in range(10):
        corridor.publish(quote("AAPL", number))
        await reader.until(lambda r, want=number: len(r.values) > want)
        await asyncio.sleep(0.04)
    assert not any(status.heartbeat for status in reader.statuses)


async def test_values_of_one_moment_travel_together(corridor: Corridor) -> None:
    reader = await corridor.live("AAPL", "MSFT", max_batch_delay_ms=50, conflation=ConflationPolicy.NONE)
    before = len(reader.messages)
    for number in range(20):
        corridor.publish(quote("AAPL", number), quote("MSFT", number))
        await asyncio.sleep(0)
    await reader.until(lambda r: len(r.values) == 40)
    assert len(reader.messages) - before <= 3
    assert [value.bid_price for value in reader.values[::2]] == [100 + number / 100 for number in range(20)]


async def test_trades_and_bars(corridor: Corridor) -> None:
    corridor.venue.newest[Channel.BARS, "AAPL"] = bar("AAPL", 0)
    trades = await corridor.live("AAPL", channel=Channel.TRADES)
    bars = await corridor.live("AAPL", channel=Channel.BARS)
    corridor.publish(trade("AAPL", 1), trade("AAPL", 2), trade("MSFT", 3))
    corridor.publish(bar("AAPL", 1))
    await trades.until(lambda r: len(r.values) == 2)
    await bars.until(lambda r: len(r.values) == 2)
    assert [value.trade_id for value in trades.values] == [1, 2]
    assert [value.snapshot for value in bars.values] == [True, False]
    assert corridor.venue.connection.wanted.symbols[Channel.TRADES] == {"AAPL"}


async def test_feeds_have_a_connection_each(corridor: Corridor) -> None:
    stocks = await corridor.live("AAPL")
    crypto = await corridor.live("BTC/USD")
    sip = await corridor.live("AAPL", feed=DataFeed.SIP)
    assert [connection.feed for connection in corridor.venue.connections] == [
        DataFeed.IEX,
        DataFeed.CRYPTO_US,
        DataFeed.SIP,
    ]
    corridor.publish(quote("BTC/USD", 1), connection=corridor.venue.connections[1])
    await crypto.until(lambda r: r.values)
    assert not stocks.values
    assert not sip.values


async def test_a_reader_who_wants_all_and_is_too_slow_is_told_so(corridor: Corridor, limits: StreamLimits) -> None:
    corridor.service._limits = replace(limits, unread_values_max=100)
    stream = await corridor.open("AAPL", conflation=ConflationPolicy.NONE, skip_snapshot=True)
    other = await corridor.live("AAPL", conflation=ConflationPolicy.NONE, skip_snapshot=True)
    messages = stream.messages()
    await anext(messages)
    for start in range(0, 150, 50):
        corridor.publish(*(quote("AAPL", number) for number in range(start, start + 50)))
        await other.until(lambda r, want=start: r.error or len(r.values) >= want + 50)
    with pytest.raises(SlowConsumer):
        await anext(messages)
    assert other.error is None
    assert len(other.values) == 150


async def test_a_whole_day_in_a_burst_reaches_one_reader(corridor: Corridor) -> None:
    reader = await corridor.live("XXX", conflation=ConflationPolicy.NONE, skip_snapshot=True)
    day = [quote("XXX", number) for number in range(49_536)]
    for start in range(0, len(day), 500):
        corridor.publish(*day[start : start + 500])
    await reader.until(lambda r: len(r.values) >= len(day))
    assert [value.time.ToNanoseconds() for value in reader.values] == [value.time_ns for value in day]
    assert [value.bid_price for value in reader.values] == [value.bid_price for value in day]
    assert max(message.ByteSize() for message in reader.messages) < 1_000_000
    assert reader.messages[-1].status.conflated_total == 0


async def test_a_busy_reader_of_the_newest_is_told_what_it_missed(corridor: Corridor) -> None:
    stream = await corridor.open("AAPL", "MSFT", max_batch_delay_ms=0, heartbeat_interval_ms=500)
    messages = stream.messages()
    received: list[pb.Quote] = []
    await anext(messages)
    await corridor.connected()
    published = 0
    for number in range(50):
        corridor.publish(quote("AAPL", number), quote("MSFT", number))
        published += 2
        await asyncio.sleep(0.001)
    conflated = 0
    async with asyncio.timeout(5):
        async for message in messages:
            read = pb.StreamQuotesResponse.FromString(message)
            received += read.quotes
            if read.status.heartbeat:
                conflated = read.status.conflated_total
                break
    assert [(value.symbol, value.bid_price) for value in received] == [("AAPL", 100.49), ("MSFT", 100.49)]
    assert conflated + len(received) == published
    await messages.aclose()  # type: ignore[attr-defined]


async def test_draining_ends_streams_and_takes_no_more(corridor: Corridor) -> None:
    reader = await corridor.live("AAPL")
    corridor.service.drain()
    await reader.until(lambda r: r.error)
    assert isinstance(reader.error, Draining)
    with pytest.raises(Draining):
        await corridor.open("AAPL")


async def test_a_bug_of_the_asset_table_ends_the_stream(corridor: Corridor) -> None:
    corridor.assets.is_cold = True
    corridor.assets.error = RuntimeError("a bug")  # type: ignore[assignment]
    reader = await corridor.read("AAPL")
    await reader.until(lambda r: r.error)
    assert str(reader.error) == "a bug"
