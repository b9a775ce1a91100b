"""MarketDataService over a real socket: the corridor from a scripted venue to a client, and every bad request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from google.type.date_pb2 import Date
from grpc_status import rpc_status

from gateway.domain.models.market_data import Adjustment, Page, Snapshot, TimeframeUnit
from gateway.domain.types import Channel, ConflationPolicy, DataFeed
from gateway.servicers.market_data import MarketDataServicer
from gateway.servicers.server import GatewayServer
from gateway.servicers.wire import market_data as wire, market_values
from gateway.services.cache import CacheService
from gateway.services.latest_reads import LatestReads
from gateway.services.market_data import PriceService, QuoteService
from gateway.services.recovery import ErrorService
from tests.servicers.conftest import servicers_over, shipped
from tests.servicers.fakes import Rooms
from tests.services.streaming.conftest import Corridor, corridor, eventually, limits  # noqa: F401 - fixtures
from tests.services.streaming.venue import T0_NS, bar, quote, trade
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
        PriceService(venue, streaming, reads, errors, wall=clocks.wall),
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


async def test_a_client_that_goes_away_is_forgotten(market: Market) -> None:
    call = market.stub.StreamQuotes(pb.StreamQuotesRequest(symbols=["AAPL"]))
    await until(call, lambda message: message.status.snapshot_end)
    call.cancel()
    venue = market.corridor.venue
    await eventually(lambda: venue.connection.wanted.symbols == {})
    assert not market.corridor.service._streams


async def test_a_client_that_does_not_read_is_ended_and_others_are_not(market: Market) -> None:
    request = pb.StreamQuotesRequest(
        symbols=["AAPL"], conflation=pb.CONFLATION_POLICY_NONE, skip_snapshot=True, max_batch_delay=seconds(0)
    )
    stalled, reading = market.stub.StreamQuotes(request), market.stub.StreamQuotes(request)
    for call in (stalled, reading):
        await until(call, lambda message: message.status.acks)
    published = received = 0
    began = time.monotonic()
    while len(market.corridor.service._streams) == 2:
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
    assert [asked["page_size"] for asked in venue.bars_asked] == [10_000, 10_000]
    request.newest_first = True
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await market.stub.ListBars(request)
    assert (refused.value.code(), reason(refused.value)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "PAGE_TOKEN_MISMATCH",
    )


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
BARS_ROWS: list[tuple[dict[str, Any], str]] = [
    ({"symbols": A}, "timeframe.unit"),
    ({"symbols": A, "timeframe": common_pb2.Timeframe(amount=0, unit=common_pb2.Timeframe.UNIT_MINUTE)}, "timeframe"),
    ({"symbols": A, "timeframe": common_pb2.Timeframe(amount=7, unit=common_pb2.Timeframe.UNIT_MONTH)}, "timeframe"),
    ({"symbols": A, "timeframe": common_pb2.Timeframe(amount=10**6, unit=common_pb2.Timeframe.UNIT_HOUR)}, "timeframe"),
    ({"symbols": A, "timeframe": T, "start_time": Timestamp(seconds=-62_135_596_801)}, "start_time"),
    ({"symbols": A, "timeframe": T, "start_time": Timestamp(seconds=-62_135_596_800)}, "start_time"),
    ({"symbols": A, "timeframe": T, "end_time": Timestamp(seconds=253_402_300_799)}, "end_time"),
    ({"symbols": A, "timeframe": T, "end_time": Timestamp(nanos=-1)}, "end_time"),
    (
        {"symbols": A, "timeframe": T, "start_time": Timestamp(seconds=2), "end_time": Timestamp(seconds=1)},
        "start_time",
    ),
    ({"symbols": A, "timeframe": T, "page_size": -1}, "page_size"),
    ({"symbols": A, "timeframe": T, "page_token": "x" * 600}, "page_token"),
    ({"symbols": A, "timeframe": T, "as_of_date": Date(year=2024, month=2, day=30)}, "as_of_date"),
    ({"symbols": A, "timeframe": T, "adjustments": [pb.ADJUSTMENT_RAW, pb.ADJUSTMENT_SPLIT]}, "adjustments"),
    ({"symbols": A, "timeframe": T, "adjustments": [pb.ADJUSTMENT_SPLIT, pb.ADJUSTMENT_SPLIT]}, "adjustments"),
    ({"symbols": A, "timeframe": T, "adjustments": [77]}, "adjustments[0]"),
    ({"symbols": ["BTC/USD"], "timeframe": T, "adjustments": [pb.ADJUSTMENT_ALL]}, "adjustments"),
]
ROWS = (
    [(name, kind(**row), field) for name, kind in STREAMS.items() for row, field in STREAM_ROWS]
    + [(name, kind(**row), field) for name, kind in READS.items() for row, field in READ_ROWS + STALENESS_ROWS]
    + [("ListBars", pb.ListBarsRequest(**row), field) for row, field in BARS_ROWS]
    + [("ListBars", pb.ListBarsRequest(**({"timeframe": T} | row)), field) for row, field in READ_ROWS]
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
    error = await refusal(market, "ListBars", pb.ListBarsRequest(symbols=A, timeframe=T, page_token="forged"))
    assert (error.code(), reason(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_MISMATCH")
    assert market.corridor.venue.requests == []


def test_tables_are_total() -> None:
    for table, domain, proto in (
        (market_values.CHANNEL, Channel, pb.Channel),
        (wire.CONFLATION_POLICY, ConflationPolicy, pb.ConflationPolicy),
        (wire.ADJUSTMENT, Adjustment, pb.Adjustment),
        (wire.TIMEFRAME_UNIT, TimeframeUnit, common_pb2.Timeframe.Unit),
    ):
        assert set(table) == set(domain)
        assert {table[member] for member in table} == set(proto.values()) - {0}


async def refusal(market: Market, name: str, request: Any) -> grpc.aio.AioRpcError:
    call = getattr(market.stub, name)(request, timeout=5)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await (call.read() if name in STREAMS else call)
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
