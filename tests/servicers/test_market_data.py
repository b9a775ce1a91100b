"""MarketDataService over a real socket: the corridor from a scripted venue to a client, and every bad request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from google.type.date_pb2 import Date
from grpc_status import rpc_status

from gateway.domain.errors import VenueUnreachable
from gateway.domain.models.market_data import Adjustment, Page, Snapshot, TimeframeUnit, TradeCancel, TradeCorrection
from gateway.domain.types import Channel, ConflationPolicy, DataFeed
from gateway.servicers.market_data import MarketDataServicer
from gateway.servicers.read_pace import ReadPace
from gateway.servicers.server import GatewayServer
from gateway.servicers.wire import market_data as wire, market_history, market_values
from gateway.services.cache import CacheService
from gateway.services.client_limits import BYTES_PER_READ
from gateway.services.history import BARS_PER_BATCH, HistoryService
from gateway.services.latest_reads import LatestReads
from gateway.services.market_data import PriceService, QuoteService
from gateway.services.recovery import ErrorService
from tests.servicers.conftest import servicers_over, shipped
from tests.servicers.fakes import Rooms
from tests.services.streaming.conftest import Corridor, corridor, eventually, limits  # noqa: F401 - fixtures
from tests.services.streaming.venue import T0_NS, bar, order_book, quote, trade
from trading_gateway.v1 import common_pb2, market_data_pb2 as pb, market_data_pb2_grpc

MINUTE = common_pb2.Timeframe(amount=1, unit=common_pb2.Timeframe.UNIT_MINUTE)
WRITE_BLOCKED_MS = 300


@dataclass
class Market:
    """A client at one end, a scripted venue at the other."""

    corridor: Corridor
    stub: market_data_pb2_grpc.MarketDataServiceAsyncStub
    channel: grpc.aio.Channel
    server: GatewayServer


@pytest.fixture
async def market(corridor: Corridor) -> AsyncIterator[Market]:  # noqa: F811 - the fixture above
    clocks, venue, streaming = corridor.clocks, corridor.venue, corridor.service
    errors = ErrorService(clocks.wall, clocks.monotonic, asyncio.sleep)
    reads = LatestReads(
        streaming,
        corridor.assets,
        CacheService(clocks.monotonic),
        errors,
        stock_feed=DataFeed.IEX,
        default_staleness_ms=1_000,
        wall=clocks.wall,
        monotonic=clocks.monotonic,
    )
    servicer = MarketDataServicer(
        QuoteService(venue, streaming, reads, stock_feed=DataFeed.IEX, monotonic=clocks.monotonic, price_wait_ms=50),
        PriceService(venue, streaming, reads),
        HistoryService(venue, reads, errors, wall=clocks.wall, monotonic=clocks.monotonic),
        streaming,
    )
    server = GatewayServer(
        shipped(stop_grace_ms=100, write_blocked_ms=WRITE_BLOCKED_MS),
        replace(servicers_over(Rooms()), market_data=servicer),
    )
    address = await server.start()
    options = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 16_384)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        stub: Any = market_data_pb2_grpc.MarketDataServiceStub(channel)
        yield Market(corridor, stub, channel, server)
    await server.stop()


async def until(call: Any, condition: Any) -> list[Any]:
    """Messages of a stream, up to the first that a condition holds for."""
    messages = []
    async with asyncio.timeout(5):
        while True:
            messages.append(await call.read())
            if condition(messages[-1]):
                return messages


def seconds(length: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(int(length * 1e9))
    return duration


async def test_quotes_go_from_the_venue_to_every_client(market: Market) -> None:
    market.corridor.venue.newest[Channel.QUOTES, "AAPL"] = quote("AAPL", 1)
    request = pb.StreamQuotesRequest(symbols=["AAPL", "MSFT"], conflation=pb.CONFLATION_POLICY_NONE)
    began = time.monotonic()
    calls = [market.stub.StreamQuotes(request) for _ in range(3)]
    seen = [await until(call, lambda message: message.status.snapshot_end) for call in calls]
    assert time.monotonic() - began < 1
    for number in range(2, 12):
        market.corridor.publish(quote("AAPL", number), quote("MSFT", number))
    for call, first in zip(calls, seen, strict=True):
        messages = list(first)
        while sum(len(message.quotes) for message in messages) < 21:
            messages += await until(call, lambda message: message.quotes)
        values = [value for message in messages for value in message.quotes]
        assert (values[0].snapshot, values[0].bid_price) == (True, 100.01)
        expected = [quote(symbol, number) for number in range(2, 12) for symbol in ("AAPL", "MSFT")]
        for value, sent in zip(values[1:], expected, strict=True):
            sent.receive_time_ns = value.receive_time.ToNanoseconds()
            assert value == market_values.quote_to_proto(sent)
        assert [message.batch_sequence for message in messages] == list(range(1, len(messages) + 1))
        assert all(message.send_time.ToNanoseconds() > T0_NS for message in messages)
    assert len(market.corridor.venue.connection.changes) == 1


async def test_trades_and_bars_stream(market: Market) -> None:
    trades = market.stub.StreamTrades(pb.StreamTradesRequest(symbols=["AAPL"], max_batch_delay=seconds(0)))
    bars = market.stub.StreamBars(pb.StreamBarsRequest(symbols=["AAPL"]))
    for call in (trades, bars):
        await until(call, lambda message: message.status.snapshot_end)
    market.corridor.publish(trade("AAPL", 1), trade("AAPL", 2))
    market.corridor.publish(bar("AAPL", 1))
    [*_, traded] = await until(trades, lambda message: message.trades)
    [*_, barred] = await until(bars, lambda message: message.bars)
    assert [value.trade_id for value in traded.trades] == [1, 2]
    assert barred.bars[0].vwap == 1.25


async def test_corrections_cancels_and_each_kind_of_bar_stream(market: Market) -> None:
    trades = market.stub.StreamTrades(pb.StreamTradesRequest(symbols=["AAPL"], max_batch_delay=seconds(0)))
    kinds = {Channel.BARS: 0, Channel.UPDATED_BARS: pb.CHANNEL_UPDATED_BARS, Channel.DAILY_BARS: pb.CHANNEL_DAILY_BARS}
    bars = {
        channel: market.stub.StreamBars(pb.StreamBarsRequest(symbols=["AAPL"], channel=number))
        for channel, number in kinds.items()
    }
    for call in (trades, *bars.values()):
        await until(call, lambda message: message.status.snapshot_end)
    one, at = trade("AAPL", 1), T0_NS
    corrected = TradeCorrection("AAPL", at, one, replace(one, price=99.5), one.feed, one.receive_time_ns)
    market.corridor.publish(one, corrected, TradeCancel("AAPL", at, 1, 99.5, 2.0, one.feed, at, "V", "C"))
    for channel in kinds:
        market.corridor.publish(replace(bar("AAPL", 1), channel=channel))
    [*_, told] = await until(trades, lambda message: message.cancels)
    assert [value.price for value in told.trades] == [100.0]
    assert [(value.original.price, value.corrected.price) for value in told.corrections] == [(100.0, 99.5)]
    assert [(value.trade_id, value.action) for value in told.cancels] == [(1, "C")]
    for channel, call in bars.items():
        [*_, message] = await until(call, lambda message: message.bars)
        assert [value.channel for value in message.bars] == [market_values.CHANNEL[channel]]


async def test_a_client_that_goes_away_is_forgotten(market: Market) -> None:
    call = market.stub.StreamQuotes(pb.StreamQuotesRequest(symbols=["AAPL"]))
    await until(call, lambda message: message.status.snapshot_end)
    call.cancel()
    venue = market.corridor.venue
    await eventually(lambda: venue.connection.wanted.symbols == {})
    assert not market.corridor.service._outlets


async def test_a_client_that_does_not_read_is_ended_and_others_are_not(market: Market) -> None:
    request = pb.StreamQuotesRequest(
        symbols=["AAPL"], conflation=pb.CONFLATION_POLICY_NONE, skip_snapshot=True, max_batch_delay=seconds(0)
    )
    stalled, reading = market.stub.StreamQuotes(request), market.stub.StreamQuotes(request)
    for call in (stalled, reading):
        await until(call, lambda message: message.status.acks)
    published = received = 0
    began = time.monotonic()
    while len(market.corridor.service._outlets) == 2:
        assert time.monotonic() - began < 20
        market.corridor.publish(*(quote("AAPL", published + number) for number in range(500)))
        published += 500
        while received < published:
            received += len((await reading.read()).quotes)
        await asyncio.sleep(0.01)
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await until(stalled, lambda message: not message)
    assert ended.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert reason(ended.value) == "SLOW_CONSUMER"
    market.corridor.publish(quote("AAPL", 1_000_000))
    await until(reading, lambda message: message.quotes)


async def test_a_draining_server_ends_streams(market: Market) -> None:
    call = market.stub.StreamQuotes(pb.StreamQuotesRequest(symbols=["AAPL"]))
    await call.read()
    await market.server.drain()
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await until(call, lambda message: not message)
    assert (ended.value.code(), reason(ended.value)) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")


async def test_reads(market: Market) -> None:
    venue = market.corridor.venue
    venue.newest = {
        (Channel.QUOTES, "AAPL"): quote("AAPL", 1),
        (Channel.TRADES, "AAPL"): trade("AAPL", 1),
        (Channel.BARS, "AAPL"): bar("AAPL"),
    }
    venue.snapshots["AAPL"] = Snapshot("AAPL", trade("AAPL", 1), quote("AAPL", 1), bar("AAPL"))
    listed = ["AAPL", "MSFT"]
    quotes = await market.stub.GetLatestQuotes(pb.GetLatestQuotesRequest(symbols=listed))
    trades = await market.stub.GetLatestTrades(pb.GetLatestTradesRequest(symbols=listed, max_staleness=seconds(0)))
    bars = await market.stub.GetLatestBars(pb.GetLatestBarsRequest(symbols=listed))
    snapshots = await market.stub.GetSnapshots(pb.GetSnapshotsRequest(symbols=listed))
    assert [value.bid_price for value in quotes.quotes] == [100.01]
    assert [value.trade_id for value in trades.trades] == [1]
    assert [value.close for value in bars.bars] == [1.5]
    [snapshot] = snapshots.snapshots
    assert snapshot.HasField("latest_trade")
    assert not snapshot.HasField("daily_bar")
    for answer in (quotes, trades, bars, snapshots):
        assert list(answer.missing_symbols) == ["MSFT"]
        assert answer.read_time.ToNanoseconds() > T0_NS
        assert not answer.from_stream


async def test_a_read_from_the_stream_says_so(market: Market) -> None:
    call = market.stub.StreamQuotes(pb.StreamQuotesRequest(symbols=["AAPL"], skip_snapshot=True))
    await until(call, lambda message: message.status.acks)
    market.corridor.publish(quote("AAPL", 4))
    answer = await market.stub.GetLatestQuotes(pb.GetLatestQuotesRequest(symbols=["AAPL"]))
    assert (answer.from_stream, answer.quotes[0].bid_price, answer.quotes[0].stale) == (True, 100.04, False)
    market.corridor.venue.connection.cut()
    market.corridor.venue.newest[Channel.QUOTES, "AAPL"] = quote("AAPL", 3)
    answer = await market.stub.GetLatestQuotes(pb.GetLatestQuotesRequest(symbols=["AAPL"]))
    assert (answer.from_stream, answer.quotes[0].bid_price, answer.quotes[0].stale) == (False, 100.04, True)


async def test_pages_of_bars(market: Market) -> None:
    venue = market.corridor.venue
    venue.pages = {"": Page((bar("AAPL", 0),), "more"), "more": Page((bar("AAPL", 1),))}
    request = pb.ListBarsRequest(symbols=["AAPL"], timeframe=MINUTE, page_size=1_000_000)
    first = await market.stub.ListBars(request)
    request.page_token = first.next_page_token
    second = await market.stub.ListBars(request)
    assert [value.start_time.ToNanoseconds() for page in (first, second) for value in page.bars] == [
        bar("AAPL", number).start_time_ns for number in (0, 1)
    ]
    assert second.next_page_token == ""
    assert [asked["page_size"] for asked in venue.pages_asked] == [10_000, 10_000]
    request.newest_first = True
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await market.stub.ListBars(request)
    assert (refused.value.code(), reason(refused.value)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "PAGE_TOKEN_MISMATCH",
    )


async def test_pages_of_quotes_and_trades(market: Market) -> None:
    venue = market.corridor.venue
    for kind, request_of, value in (
        ("quotes", pb.ListQuotesRequest, quote),
        ("trades", pb.ListTradesRequest, trade),
    ):
        first_value, second_value = value("AAPL", 1), value("AAPL", 2)
        venue.pages = {"": Page((first_value,), "more"), "more": Page((second_value,))}
        call = getattr(market.stub, f"List{kind.title()}")
        request = request_of(symbols=["AAPL"], page_size=1_000_000, as_of_date=Date(year=2024, month=1, day=2))
        first = await call(request)
        request.page_token = first.next_page_token
        second = await call(request)
        read = [one for page in (first, second) for one in getattr(page, kind)]
        assert read == [market_values.VALUE_TO_PROTO[type(one)](one) for one in (first_value, second_value)]
        assert second.next_page_token == ""
        assert [asked["page_size"] for asked in venue.pages_asked[-2:]] == [10_000, 10_000]
        request.newest_first = True
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(request)
        assert reason(refused.value) == "PAGE_TOKEN_MISMATCH"


async def test_order_books(market: Market) -> None:
    book = order_book("BTC/USD", 1)
    market.corridor.venue.newest[Channel.ORDER_BOOKS, "BTC/USD"] = book
    answer = await market.stub.GetLatestOrderBooks(pb.GetLatestOrderBooksRequest(symbols=["BTC/USD", "ETH/USD"]))
    [read] = answer.order_books
    book.receive_time_ns = read.receive_time.ToNanoseconds()
    assert read == market_values.order_book_to_proto(book)
    assert (read.reset, read.stale, list(answer.missing_symbols), answer.from_stream) == (
        True, False, ["ETH/USD"], False,
    )  # fmt: skip


LONG = pb.StreamHistoricalBarsRequest(symbols=["AAPL"], timeframe=MINUTE, start_time=Timestamp(seconds=1_600_000_000))


async def test_a_long_stream_of_bars_ends_with_ok(market: Market) -> None:
    venue = market.corridor.venue
    first = tuple(bar("AAPL", minute) for minute in range(BARS_PER_BATCH + 1))
    last = bar("AAPL", len(first))
    venue.pages = {"": Page(first, "more"), "more": Page((last,))}
    call = market.stub.StreamHistoricalBars(LONG)
    batches = [batch async for batch in call]
    assert await call.code() is grpc.StatusCode.OK
    assert [batch.batch_sequence for batch in batches] == [1, 2, 3]
    assert [len(batch.bars) for batch in batches] == [BARS_PER_BATCH, 1, 1]
    read = [value for batch in batches for value in batch.bars]
    assert read == [market_values.bar_to_proto(one) for one in (*first, last)]


async def test_a_long_stream_is_paid_for_by_page_and_by_size(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    spent: list[int] = []

    async def spend(_pace: ReadPace, reads: int) -> None:
        spent.append(reads)

    monkeypatch.setattr(ReadPace, "_spend", spend)
    venue = market.corridor.venue
    first = tuple(bar("AAPL", minute) for minute in range(BARS_PER_BATCH))
    venue.pages = {"": Page(first, "more"), "more": Page((bar("AAPL", len(first)),))}
    sizes = [batch.ByteSize() async for batch in market.stub.StreamHistoricalBars(LONG)]
    assert spent == [sizes[0] // BYTES_PER_READ, 1, 0]
    assert spent[0] > 1


async def test_a_long_stream_that_breaks_says_where(market: Market) -> None:
    venue = market.corridor.venue
    venue.pages = {"": Page((bar("AAPL", 0),), "more")}
    failures = iter([None, *[VenueUnreachable("no route")] * 9])
    venue.error_of_request = lambda: next(failures)
    call = market.stub.StreamHistoricalBars(LONG)
    batch = await call.read()
    with pytest.raises(grpc.aio.AioRpcError) as broken:
        await call.read()
    assert broken.value.code() is grpc.StatusCode.UNAVAILABLE
    [info] = details(broken.value, error_details_pb2.ErrorInfo)
    assert info.metadata["last_symbol"] == "AAPL"
    assert info.metadata["last_start_time"] == batch.bars[-1].start_time.ToJsonString()


async def test_a_long_stream_asks_for_no_more_than_its_reader_takes(market: Market) -> None:
    venue = market.corridor.venue
    page = tuple(bar("AAPL", minute) for minute in range(10 * BARS_PER_BATCH))
    count = 200

    def page_at(number: int) -> Page[Any]:
        moved = tuple(replace(one, start_time_ns=one.start_time_ns + number * 60_000_000_000_000) for one in page)
        return Page(moved, f"page-{number + 1}" if number + 1 < count else "")

    class Pages(dict[str, Any]):
        def get(self, token: str, _default: Any = None) -> Page[Any]:
            return page_at(int(token.removeprefix("page-") or 0))

    venue.pages = Pages()
    stalled = market.stub.StreamHistoricalBars(LONG)
    await stalled.read()
    await eventually(lambda: not market.server._doors._streams)
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await until(stalled, lambda message: not message)
    assert reason(ended.value) == "SLOW_CONSUMER"
    assert len(venue.requests) < 5, "one page at a time, and what transports hold"


STREAMS = {
    "StreamQuotes": pb.StreamQuotesRequest,
    "StreamTrades": pb.StreamTradesRequest,
    "StreamBars": pb.StreamBarsRequest,
}
READS = {
    "GetLatestQuotes": pb.GetLatestQuotesRequest,
    "GetLatestTrades": pb.GetLatestTradesRequest,
    "GetLatestBars": pb.GetLatestBarsRequest,
    "GetSnapshots": pb.GetSnapshotsRequest,
}
LISTS = {
    "ListBars": pb.ListBarsRequest,
    "ListQuotes": pb.ListQuotesRequest,
    "ListTrades": pb.ListTradesRequest,
    "StreamHistoricalBars": pb.StreamHistoricalBarsRequest,
}
A = ["AAPL"]
STREAM_ROWS: list[tuple[dict[str, Any], str]] = [
    ({}, "symbols"),
    ({"symbols": ["AAPL", "BTC/USD"]}, "symbols[1]"),
    ({"symbols": A, "feed": common_pb2.DATA_FEED_CRYPTO_US}, "symbols[0]"),
    ({"symbols": A, "feed": 77}, "feed"),
    ({"symbols": A, "asset_class": 77}, "asset_class"),
    ({"symbols": A, "asset_class": common_pb2.ASSET_CLASS_CRYPTO}, "symbols[0]"),
    ({"symbols": A, "conflation": 77}, "conflation"),
    ({"symbols": A, "heartbeat_interval": seconds(0.499)}, "heartbeat_interval"),
    ({"symbols": A, "heartbeat_interval": seconds(60.001)}, "heartbeat_interval"),
    ({"symbols": A, "heartbeat_interval": Duration(seconds=1, nanos=-1)}, "heartbeat_interval"),
    ({"symbols": A, "max_batch_delay": seconds(-0.001)}, "max_batch_delay"),
    ({"symbols": A, "max_batch_delay": seconds(1.001)}, "max_batch_delay"),
]
READ_ROWS: list[tuple[dict[str, Any], str]] = [
    ({}, "symbols"),
    ({"symbols": ["AAPL", "AAPL"]}, "symbols"),
    ({"symbols": [f"S{number}" for number in range(501)]}, "symbols"),
    ({"symbols": ["AAPL", "aapl"]}, "symbols[1]"),
    ({"symbols": ["*"]}, "symbols[0]"),
    ({"symbols": ["AAPL", "BTC/USD"]}, "symbols[1]"),
    ({"symbols": A, "feed": common_pb2.DATA_FEED_CRYPTO_US}, "symbols[0]"),
    ({"symbols": A, "feed": -1}, "feed"),
]
STALENESS_ROWS: list[tuple[dict[str, Any], str]] = [
    ({"symbols": A, "max_staleness": seconds(-1)}, "max_staleness"),
    ({"symbols": A, "max_staleness": Duration(seconds=315_576_000_001)}, "max_staleness"),
]
T = MINUTE
RANGE_ROWS: list[tuple[dict[str, Any], str]] = [
    ({"symbols": A, "start_time": Timestamp(seconds=-62_135_596_801)}, "start_time"),
    ({"symbols": A, "start_time": Timestamp(seconds=-62_135_596_800)}, "start_time"),
    ({"symbols": A, "end_time": Timestamp(seconds=253_402_300_799)}, "end_time"),
    ({"symbols": A, "end_time": Timestamp(nanos=-1)}, "end_time"),
    ({"symbols": A, "start_time": Timestamp(seconds=2), "end_time": Timestamp(seconds=1)}, "start_time"),
    ({"symbols": A, "as_of_date": Date(year=2024, month=2, day=30)}, "as_of_date"),
    ({"symbols": ["BTC/USD"], "as_of_date": Date(year=2024, month=2, day=2)}, "as_of_date"),
]
PAGE_ROWS: list[tuple[dict[str, Any], str]] = [
    ({"symbols": A, "page_size": -1}, "page_size"),
    ({"symbols": A, "page_token": "x" * 600}, "page_token"),
]
BARS_ROWS: list[tuple[dict[str, Any], str]] = [
    ({"symbols": A, "timeframe": None}, "timeframe.unit"),
    ({"symbols": A, "timeframe": common_pb2.Timeframe(amount=0, unit=common_pb2.Timeframe.UNIT_MINUTE)}, "timeframe"),
    ({"symbols": A, "timeframe": common_pb2.Timeframe(amount=7, unit=common_pb2.Timeframe.UNIT_MONTH)}, "timeframe"),
    ({"symbols": A, "timeframe": common_pb2.Timeframe(amount=10**6, unit=common_pb2.Timeframe.UNIT_HOUR)}, "timeframe"),
    ({"symbols": A, "adjustments": [pb.ADJUSTMENT_RAW, pb.ADJUSTMENT_SPLIT]}, "adjustments"),
    ({"symbols": A, "adjustments": [pb.ADJUSTMENT_SPLIT, pb.ADJUSTMENT_SPLIT]}, "adjustments"),
    ({"symbols": A, "adjustments": [77]}, "adjustments[0]"),
    ({"symbols": ["BTC/USD"], "adjustments": [pb.ADJUSTMENT_ALL]}, "adjustments"),
]
BOOK_ROWS: list[tuple[dict[str, Any], str]] = [
    ({}, "symbols"),
    ({"symbols": A}, "symbols[0]"),
    ({"symbols": ["BTC/USD", "BTC/USD"]}, "symbols"),
    ({"symbols": [f"S{number}/USD" for number in range(101)]}, "symbols"),
    ({"symbols": ["BTC/USD"], "asset_class": common_pb2.ASSET_CLASS_US_EQUITY}, "asset_class"),
    ({"symbols": ["BTC/USD"], "feed": common_pb2.DATA_FEED_SIP}, "feed"),
    ({"symbols": ["BTC/USD"], "max_staleness": seconds(-1)}, "max_staleness"),
]


def list_rows() -> Iterator[tuple[str, Any, str]]:
    for name, kind in LISTS.items():
        has_pages, has_bars = name.startswith("List"), name.endswith("Bars")
        needed: dict[str, Any] = {"timeframe": T} if has_bars else {}
        if not has_pages:
            needed["start_time"] = Timestamp(seconds=1)
            yield name, kind(symbols=A, timeframe=T), "start_time"
        rows = RANGE_ROWS + READ_ROWS + (BARS_ROWS if has_bars else []) + (PAGE_ROWS if has_pages else [])
        for row, field in rows:
            yield name, kind(**(needed | row)), field


NO_BARS: tuple[Any, ...] = (pb.CHANNEL_QUOTES, pb.CHANNEL_LULD, 99)
ROWS = (
    [(name, kind(**row), field) for name, kind in STREAMS.items() for row, field in STREAM_ROWS]
    + [(name, kind(**row), field) for name, kind in READS.items() for row, field in READ_ROWS + STALENESS_ROWS]
    + [("GetLatestOrderBooks", pb.GetLatestOrderBooksRequest(**row), field) for row, field in BOOK_ROWS]
    + [("StreamBars", pb.StreamBarsRequest(symbols=A, channel=number), "channel") for number in NO_BARS]
    + list(list_rows())
)


async def test_bad_requests_are_refused_by_field_and_reach_no_venue(market: Market) -> None:
    for name, request, field in ROWS:
        error = await refusal(market, name, request)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, (name, request, error.details())
        assert field in violations(error), (name, request, violations(error))
        assert len((error.details() or "").encode()) <= 512
    assert market.corridor.venue.requests == []
    assert market.corridor.venue.connections == []


async def test_limits_and_unknown_symbols(market: Market) -> None:
    many = [f"S{number}" for number in range(501)]
    for name, kind in STREAMS.items():
        error = await refusal(market, name, kind(symbols=many))
        assert (error.code(), reason(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS")
    for name, kind in READS.items():
        error = await refusal(market, name, kind(symbols=["ZZZZZZ"]))
        assert (error.code(), reason(error)) == (grpc.StatusCode.NOT_FOUND, "SYMBOL_UNKNOWN")
    for name, kind in LISTS.items():
        needed: dict[str, Any] = {"timeframe": T} if name.endswith("Bars") else {}
        needed |= {"start_time": Timestamp(seconds=1)}
        error = await refusal(market, name, kind(symbols=["ZZZZZZ"], **needed))
        assert (error.code(), reason(error)) == (grpc.StatusCode.NOT_FOUND, "SYMBOL_UNKNOWN")
        if name.startswith("List"):
            error = await refusal(market, name, kind(symbols=A, page_token="forged", **needed))
            assert (error.code(), reason(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_MISMATCH")
    assert market.corridor.venue.requests == []


def test_tables_are_total() -> None:
    for table, domain, proto in (
        (market_values.CHANNEL, Channel, pb.Channel),
        (wire.CONFLATION_POLICY, ConflationPolicy, pb.ConflationPolicy),
        (market_history.ADJUSTMENT, Adjustment, pb.Adjustment),
        (market_history.TIMEFRAME_UNIT, TimeframeUnit, common_pb2.Timeframe.Unit),
    ):
        assert set(table) == set(domain)
        assert {table[member] for member in table} == set(proto.values()) - {0}


async def refusal(market: Market, name: str, request: Any) -> grpc.aio.AioRpcError:
    call = getattr(market.stub, name)(request, timeout=5)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await (call.read() if name.startswith("Stream") else call)
    return refused.value


def reason(error: grpc.aio.AioRpcError) -> str:
    return next(iter(details(error, error_details_pb2.ErrorInfo))).reason


def violations(error: grpc.aio.AioRpcError) -> list[str]:
    return [
        violation.field for bad in details(error, error_details_pb2.BadRequest) for violation in bad.field_violations
    ]


def details(error: grpc.aio.AioRpcError, kind: Any) -> list[Any]:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    found = []
    for detail in status.details if status else ():
        message = kind()
        if detail.Unpack(message):
            found.append(message)
    return found
