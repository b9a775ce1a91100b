"""Unmodified alpaca-py against the emulator, by url_override alone: six clients, models and all."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from alpaca.common.exceptions import APIError
from alpaca.data.enums import DataFeed
from alpaca.data.historical import CryptoHistoricalDataClient, StockHistoricalDataClient
from alpaca.data.live import CryptoDataStream, StockDataStream
from alpaca.data.requests import (
    CryptoBarsRequest,
    CryptoLatestOrderbookRequest,
    CryptoLatestQuoteRequest,
    CryptoQuoteRequest,
    CryptoSnapshotRequest,
    CryptoTradesRequest,
    StockBarsRequest,
    StockLatestBarRequest,
    StockLatestQuoteRequest,
    StockLatestTradeRequest,
    StockQuotesRequest,
    StockSnapshotRequest,
    StockTradesRequest,
)
from alpaca.data.timeframe import TimeFrame, TimeFrameUnit
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import AssetClass, OrderSide, OrderStatus, TimeInForce
from alpaca.trading.requests import (
    GetAssetsRequest,
    GetCalendarRequest,
    GetPortfolioHistoryRequest,
    LimitOrderRequest,
    MarketOrderRequest,
)
from alpaca.trading.stream import TradingStream

from tests.emulator import alpaca_py_story
from tests.emulator.host import RunningEmulator

STORY = Path(alpaca_py_story.__file__)


def test_the_story_runs_by_itself(emulator: RunningEmulator) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", STORY, "--url", emulator.url],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = [line.split()[0] for line in done.stdout.splitlines()]
    assert told == ["stream", "place", "replace", "cancel", "bracket", "cancel", "close"]


@pytest.fixture
def trading(emulator: RunningEmulator) -> TradingClient:
    return TradingClient("key", "secret", url_override=emulator.url)


def test_trading_client_reads_everything(trading: TradingClient) -> None:
    account = trading.get_account()
    assert (account.account_number, account.cash) == ("EMULATOR1", "100000")
    configurations = trading.get_account_configurations()
    configurations.no_shorting = True
    assert trading.set_account_configurations(configurations).no_shorting is True
    assert trading.get_clock().is_open is True
    days = trading.get_calendar(GetCalendarRequest(start=date(2026, 1, 1), end=date(2026, 1, 8)))
    assert len(days) == 8, "the session that never closes has no holidays"
    assert {asset.symbol for asset in trading.get_all_assets(GetAssetsRequest(asset_class=AssetClass.CRYPTO))} == {
        "BTC/USD",
        "ETH/USD",
    }
    assert trading.get_asset("BTCUSD").id == trading.get_asset("BTC/USD").id
    history = trading.get_portfolio_history(GetPortfolioHistoryRequest(period="1D", timeframe="5Min"))
    assert len(history.timestamp) == len(history.equity) > 0


def test_crypto_is_spelled_both_ways(trading: TradingClient) -> None:
    for symbol in ("BTC/USD", "BTCUSD"):
        order = trading.submit_order(
            MarketOrderRequest(symbol=symbol, qty=0.01, side=OrderSide.BUY, time_in_force=TimeInForce.GTC)
        )
        assert order.symbol == "BTC/USD"
        alpaca_py_story.wait_for_status(trading, order, OrderStatus.FILLED)
    assert {trading.get_open_position(name).symbol for name in ("BTCUSD", "BTC%2FUSD", "BTC/USD")} == {"BTCUSD"}
    fills = trading.get("/account/activities/FILL", {"direction": "asc"})
    assert [fill["symbol"] for fill in fills][:1] == ["BTCUSD"]
    assert {activity["activity_type"] for activity in trading.get("/account/activities")} == {"FILL", "CFEE"}


def test_refusals_are_alpacas(trading: TradingClient) -> None:
    request = LimitOrderRequest(
        symbol="AAPL", qty=1, side=OrderSide.BUY, time_in_force=TimeInForce.GTC, limit_price=100, client_order_id="once"
    )
    trading.submit_order(request)
    with pytest.raises(APIError) as duplicate:
        trading.submit_order(request)
    assert (duplicate.value.status_code, duplicate.value.code) == (422, 40010001)
    assert duplicate.value.message == "client_order_id must be unique"
    with pytest.raises(APIError) as missing:
        trading.get_open_position("MSFT")
    assert (missing.value.status_code, missing.value.code) == (404, 40410000)
    with pytest.raises(APIError) as poor:
        trading.submit_order(request.model_copy(update={"client_order_id": "twice", "qty": 1e6}))
    assert (poor.value.status_code, poor.value.message) == (403, "insufficient buying power")


def test_stock_history(emulator: RunningEmulator) -> None:
    client = StockHistoricalDataClient("key", "secret", url_override=emulator.url)
    end = datetime.now(UTC).replace(second=0, microsecond=0)
    symbols = ["AAPL", "MSFT"]
    bars = client.get_stock_bars(
        StockBarsRequest(symbol_or_symbols=symbols, timeframe=TimeFrame(5, TimeFrameUnit.Minute),
                         start=end - timedelta(hours=2), end=end - timedelta(minutes=1))
    )  # fmt: skip
    assert {symbol: len(bars[symbol]) for symbol in symbols} == dict.fromkeys(symbols, 24)
    days = client.get_stock_bars(
        StockBarsRequest(symbol_or_symbols="AAPL", timeframe=TimeFrame.Day, start=end - timedelta(days=5))
    )
    assert len(days["AAPL"]) == 5
    quotes = client.get_stock_quotes(
        StockQuotesRequest(symbol_or_symbols=symbols, start=end - timedelta(minutes=2), end=end, limit=700)
    )
    assert sum(len(quotes[symbol]) for symbol in symbols) == 700
    trades = client.get_stock_trades(
        StockTradesRequest(symbol_or_symbols="AAPL", start=end - timedelta(minutes=1), end=end, feed=DataFeed.IEX)
    )
    assert 20 < len(trades["AAPL"]) <= 60
    assert client.get_stock_latest_quote(StockLatestQuoteRequest(symbol_or_symbols=symbols))["MSFT"].bid_price > 0
    assert client.get_stock_latest_trade(StockLatestTradeRequest(symbol_or_symbols="AAPL"))["AAPL"].price > 0
    assert client.get_stock_latest_bar(StockLatestBarRequest(symbol_or_symbols="AAPL"))["AAPL"].volume > 0
    snapshot = client.get_stock_snapshot(StockSnapshotRequest(symbol_or_symbols="AAPL"))["AAPL"]
    assert snapshot.daily_bar.timestamp > snapshot.previous_daily_bar.timestamp


def test_crypto_history(emulator: RunningEmulator) -> None:
    client = CryptoHistoricalDataClient(url_override=emulator.url, api_key="key", secret_key="secret")
    end = datetime.now(UTC).replace(second=0, microsecond=0)
    pair = "ETH/USD"
    window = {"symbol_or_symbols": pair, "start": end - timedelta(minutes=2), "end": end}
    assert len(client.get_crypto_bars(CryptoBarsRequest(**window, timeframe=TimeFrame.Minute))[pair]) >= 2
    assert len(client.get_crypto_quotes(CryptoQuoteRequest(**window))[pair]) == 480
    assert len(client.get_crypto_trades(CryptoTradesRequest(**window))[pair]) > 60
    assert client.get_crypto_latest_quote(CryptoLatestQuoteRequest(symbol_or_symbols=pair))[pair].ask_price > 0
    book = client.get_crypto_latest_orderbook(CryptoLatestOrderbookRequest(symbol_or_symbols=pair))[pair]
    assert book.bids[0].price < book.asks[0].price
    assert client.get_crypto_snapshot(CryptoSnapshotRequest(symbol_or_symbols=pair))[pair].latest_trade.size > 0


async def until(reached: Callable[[], bool]) -> None:
    while not reached():  # noqa: ASYNC110 - what is waited for happens in another loop
        await asyncio.sleep(0.01)


async def first_values(
    stream: StockDataStream | CryptoDataStream, subscribe: list[str], symbol: str
) -> dict[str, object]:
    """The first value of each channel, by alpaca-py's own loop."""
    seen: dict[str, object] = {}
    done = asyncio.Event()

    def handler(channel: str):
        async def handle(value: object) -> None:
            seen.setdefault(channel, value)
            if len(seen) == len(subscribe):
                done.set()

        return handle

    for channel in subscribe:
        getattr(stream, f"subscribe_{channel}")(handler(channel), symbol)
    running = asyncio.create_task(stream._run_forever())
    await asyncio.wait_for(done.wait(), 10)
    running.cancel()
    await asyncio.wait([running])
    await stream.close()
    return seen


async def test_stock_stream(emulator: RunningEmulator) -> None:
    stream = StockDataStream("key", "secret", feed=DataFeed.SIP, url_override=f"{emulator.ws_url}/v2/sip")
    seen = await first_values(stream, ["quotes", "trades"], "SPY")
    assert seen["quotes"].symbol == "SPY"
    assert seen["trades"].price > 0


async def test_crypto_stream(emulator: RunningEmulator) -> None:
    stream = CryptoDataStream("key", "secret", url_override=f"{emulator.ws_url}/v1beta3/crypto/us")
    seen = await first_values(stream, ["quotes", "trades", "orderbooks"], "BTC/USD")
    assert seen["orderbooks"].bids[0].price > 0


async def test_trading_stream_with_several_connections(emulator: RunningEmulator, trading: TradingClient) -> None:
    heard: list[list[str]] = [[], []]
    streams = [TradingStream("key", "secret", url_override=f"{emulator.ws_url}/stream") for _ in heard]

    def handler(events: list[str]):
        async def handle(update) -> None:
            events.append(str(getattr(update.event, "value", update.event)))

        return handle

    running = []
    for stream, events in zip(streams, heard, strict=True):
        stream.subscribe_trade_updates(handler(events))
        running.append(asyncio.create_task(stream._run_forever()))
    async with asyncio.timeout(10):
        sockets = emulator.emulator.app.sockets
        await until(lambda: sum(getattr(session, "listening", False) for session in sockets.open()) == 2)
        await asyncio.to_thread(
            trading.submit_order,
            MarketOrderRequest(symbol="AAPL", qty=1, side=OrderSide.BUY, time_in_force=TimeInForce.DAY),
        )
        await until(lambda: all(events and events[-1] == "fill" for events in heard))
    assert heard[0] == heard[1]
    for task, stream in zip(running, streams, strict=True):
        task.cancel()
        await asyncio.wait([task])
        await stream.close()
