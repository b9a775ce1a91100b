"""Options through a whole gateway: market data by request and live, one request per series, and no orders."""

from __future__ import annotations

import queue
from collections.abc import Iterator

import grpc
import pytest
from pydantic import ValidationError

from gateway.config import Settings
from gateway.domain.types import NANOS_PER_SECOND, DataFeed
from tests.bad_requests import spec
from tests.gateway_host import GatewayHost
from tests.refusals import METHODS, Wire
from tests.stage import Stage
from trading_gateway.v1 import common_pb2 as common, market_data_pb2 as pb, reference_pb2 as reference, trading_pb2

UNDERLYING = "AAPL"


@pytest.fixture
def stage(start_gateway: GatewayHost) -> Stage:
    return Stage(start_gateway())


def contracts(stage: Stage, count: int) -> list[str]:
    """Contracts of one series that the venue lists now, around the middle of its strike prices."""
    floor = stage.emulator.emulator.floor
    listed = stage.emulator.call(lambda: list(floor.options.chain.contracts(floor.now()).values()))
    first = min(contract.expiration for contract in listed)
    series = [one.symbol for one in listed if one.underlying == UNDERLYING and one.expiration == first]
    middle = len(series) // 4
    return series[middle - count // 2 : middle - count // 2 + count]


def refusal(wire: Wire, name: str, request: object) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        wire.call(name, request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    return str(caught.value)


def test_newest_values_and_snapshots(stage: Stage) -> None:
    symbols = contracts(stage, 20)
    quotes = stage.wire.call("GetLatestQuotes", pb.GetLatestQuotesRequest(symbols=symbols))
    assert [quote.symbol for quote in quotes.quotes] == symbols
    assert {quote.feed for quote in quotes.quotes} == {common.DATA_FEED_INDICATIVE}
    trades = stage.wire.call("GetLatestTrades", pb.GetLatestTradesRequest(symbols=symbols, feed=common.DATA_FEED_OPRA))
    assert {trade.feed for trade in trades.trades} == {common.DATA_FEED_OPRA}
    assert len(trades.trades) + len(trades.missing_symbols) == len(symbols)
    snapshots = stage.wire.call("GetSnapshots", pb.GetSnapshotsRequest(symbols=symbols)).snapshots
    assert [snapshot.symbol for snapshot in snapshots] == symbols
    for snapshot in snapshots:
        assert snapshot.HasField("greeks")
        assert snapshot.implied_volatility > 0
        assert 0 < snapshot.greeks.delta < 1
        assert not snapshot.HasField("daily_bar")
    asked = stage.asked()
    assert asked["GET /v2/options/contracts"] == 1, "a series is looked up once, whatever is asked of it"
    stock = stage.wire.call("GetSnapshots", pb.GetSnapshotsRequest(symbols=[UNDERLYING])).snapshots[0]
    assert not stock.HasField("greeks")
    assert not stock.HasField("implied_volatility")


def test_quotes_and_trades_come_live(stage: Stage) -> None:
    symbols = contracts(stage, 12)
    unknown = symbols[0][:-4] + "0001"
    quotes = stage.wire.stream("StreamQuotes", pb.StreamQuotesRequest(symbols=[*symbols, unknown, symbols[0].lower()]))
    live, acks = until_live(quotes, len(symbols) + 2)
    assert {value.symbol for value in live} <= set(symbols)
    assert {value.feed for value in live} == {common.DATA_FEED_INDICATIVE}
    refused = {ack.symbol: ack.status.message for ack in acks if ack.status.code}
    assert set(refused) == {unknown, symbols[0].lower()}
    assert symbols[0] in refused[symbols[0].lower()]
    assert {ack.asset_class for ack in acks} == {common.ASSET_CLASS_US_OPTION}
    quotes.cancel()
    trades = stage.wire.stream("StreamTrades", pb.StreamTradesRequest(symbols=symbols, feed=common.DATA_FEED_OPRA))
    live, acks = until_live(trades, len(symbols))
    assert {value.symbol for value in live} <= set(symbols)
    assert {ack.feed for ack in acks} == {common.DATA_FEED_OPRA}
    trades.cancel()


def until_live(
    stream: Iterator[pb.StreamQuotesResponse | pb.StreamTradesResponse], acks_expected: int
) -> tuple[list[pb.Quote | pb.Trade], list[pb.SubscriptionAck]]:
    """What comes up to the first live value, when everything is acknowledged."""
    live: list[pb.Quote | pb.Trade] = []
    acks: list[pb.SubscriptionAck] = []
    for message in stream:
        values = message.quotes if isinstance(message, pb.StreamQuotesResponse) else message.trades
        live += [value for value in values if not value.snapshot]
        acks += message.status.acks
        if live and len(acks) >= acks_expected:
            break
    return live, acks


def test_past_trades_by_request(stage: Stage) -> None:
    symbols = contracts(stage, 2)
    now_ns = stage.emulator.call(stage.emulator.emulator.floor.now)
    request = pb.ListTradesRequest(symbols=symbols, page_size=500)
    request.start_time.FromNanoseconds(now_ns - 1_800 * NANOS_PER_SECOND)
    page = stage.wire.call("ListTrades", request)
    assert {trade.symbol for trade in page.trades} == set(symbols)
    assert {trade.feed for trade in page.trades} == {common.DATA_FEED_INDICATIVE}


def test_what_options_do_not_have_is_refused_clearly(stage: Stage) -> None:
    symbols = contracts(stage, 1)
    hour = common.Timeframe(amount=1, unit=common.Timeframe.UNIT_HOUR)
    assert "options" in refusal(stage.wire, "GetLatestBars", pb.GetLatestBarsRequest(symbols=symbols))
    assert "options" in refusal(stage.wire, "ListQuotes", pb.ListQuotesRequest(symbols=symbols))
    assert "options" in refusal(stage.wire, "ListBars", pb.ListBarsRequest(symbols=symbols, timeframe=hour))
    with pytest.raises(grpc.RpcError, match="options"):
        next(iter(stage.wire.stream("StreamBars", pb.StreamBarsRequest(symbols=symbols))))
    assert "another asset class" in refusal(
        stage.wire, "GetSnapshots", pb.GetSnapshotsRequest(symbols=[*symbols, UNDERLYING])
    )
    assert symbols[0] in refusal(
        stage.wire, "GetSnapshots", pb.GetSnapshotsRequest(symbols=["O:" + symbols[0].lower()])
    )
    listed = reference.ListAssetsRequest(asset_class=common.ASSET_CLASS_US_OPTION)
    assert "option contracts" in refusal(stage.wire, "ListAssets", listed)


def test_orders_in_options_stay_refused(stage: Stage) -> None:
    symbol = contracts(stage, 1)[0]
    stage.wire.call("GetLatestQuotes", pb.GetLatestQuotesRequest(symbols=[symbol]))
    before = stage.changes()
    order = spec(symbol=symbol)
    request = trading_pb2.SubmitOrderRequest(client_order_id="k", spec=order)
    assert "must be a symbol, as AAPL" in refusal(stage.wire, "SubmitOrder", request)
    assert "must be a symbol, as AAPL" in refusal(
        stage.wire, "PreviewOrder", trading_pb2.PreviewOrderRequest(spec=order)
    )
    assert stage.changes() == before


@pytest.mark.parametrize(("name", "feed"), [("stock_feed", "options:opra"), ("option_feed", "stocks:sip")])
def test_a_feed_of_another_class_is_no_setting(name: str, feed: str) -> None:
    with pytest.raises(ValidationError, match="must be a feed of"):
        Settings(**{name: feed})  # type: ignore[arg-type]
    assert Settings(option_feed="options:opra").option_feed is DataFeed.OPRA  # type: ignore[arg-type]


def test_a_session_takes_options_beside_stocks(stage: Stage) -> None:
    option, unlisted = contracts(stage, 1)[0], "ZZZ261218C00200000"
    wanted = ((pb.CHANNEL_QUOTES, option), (pb.CHANNEL_QUOTES, UNDERLYING), (pb.CHANNEL_TRADES, unlisted))
    commands: queue.SimpleQueue[pb.MarketDataSessionRequest | None] = queue.SimpleQueue()
    commands.put(pb.MarketDataSessionRequest(command_id="0", open=pb.SessionOptions()))
    for number, (channel, symbol) in enumerate((*wanted, (pb.CHANNEL_LULD, option)), 1):
        subscription = pb.Subscription(channel=channel, symbols=[symbol])
        commands.put(pb.MarketDataSessionRequest(command_id=str(number), subscribe=subscription))
    path, answer = METHODS["MarketDataSession"]
    session = stage.wire.channel.stream_stream(path, None, answer.FromString)(
        (request.SerializeToString() for request in iter(commands.get, None)), timeout=20
    )
    live: set[str] = set()
    codes: dict[str, int] = {}
    for message in session:
        live |= {event.quote.symbol for event in message.events if not event.quote.snapshot}
        codes |= {ack.command_id: ack.status.code for ack in message.status.acks}
        if live >= {option, UNDERLYING} and len(codes) == 4:
            break
    commands.put(None)
    session.cancel()
    refused, unknown = grpc.StatusCode.INVALID_ARGUMENT.value[0], grpc.StatusCode.NOT_FOUND.value[0]
    assert codes == {"1": 0, "2": 0, "3": unknown, "4": refused}
