"""A stream that has ended is freed at once: nothing of it waits for the garbage collector.

What is alive at a collection is not looked at again for an hour (`gateway/cli/runtime.py`), so circles of objects
would be kept that long: 7 KiB a stream, with thousands of streams coming and going.
"""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from typing import Any, Final

import grpc
import pytest

from gateway.services.streaming.market_session import MarketDataSession
from gateway.services.streaming.outlet import Outlet
from gateway.services.streaming.session import MarketDataStream
from tests.gateway_host import GatewayHost
from trading_gateway.v1 import market_data_pb2 as pb, market_data_pb2_grpc, trading_pb2, trading_pb2_grpc

ROUNDS: Final = 20
OF_A_STREAM: Final = (Outlet, MarketDataStream, MarketDataSession)
"""Other tests of this process leave whole gateways behind, with a few of each."""
WAIT_S_MAX: Final = 10.0
SYMBOLS: Final = ("AAPL", "MSFT")


async def _session(channel: grpc.aio.Channel) -> None:
    """Two channels and an unknown symbol."""
    session = market_data_pb2_grpc.MarketDataServiceStub(channel).MarketDataSession()
    wanted = [
        pb.Subscription(channel=pb.CHANNEL_QUOTES, symbols=[*SYMBOLS, "NO.SUCH"]),
        pb.Subscription(channel=pb.CHANNEL_TRADES, symbols=SYMBOLS),
    ]
    await session.write(pb.MarketDataSessionRequest(command_id="open", open=pb.SessionOptions()))
    for number, subscription in enumerate(wanted):
        await session.write(pb.MarketDataSessionRequest(command_id=f"{number}", subscribe=subscription))
    await asyncio.wait_for(session.read(), WAIT_S_MAX)
    session.cancel()


async def _plain(call: Any) -> None:
    """Its first message."""
    await asyncio.wait_for(call.read(), WAIT_S_MAX)
    call.cancel()


async def _round(target: str) -> None:
    async with grpc.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        market = market_data_pb2_grpc.MarketDataServiceStub(channel)
        trading = trading_pb2_grpc.TradingServiceStub(channel)
        await _session(channel)
        for policy in pb.ConflationPolicy.values():
            await _plain(market.StreamQuotes(pb.StreamQuotesRequest(symbols=SYMBOLS, conflation=policy)))
        await _plain(market.StreamTrades(pb.StreamTradesRequest(symbols=SYMBOLS)))
        await _plain(market.StreamBars(pb.StreamBarsRequest(symbols=SYMBOLS)))
        updates = trading.StreamOrderUpdates(trading_pb2.StreamOrderUpdatesRequest())
        await _plain(updates)


async def _circles() -> Counter[str]:
    """What of streams only the collector could free."""
    await asyncio.sleep(0.2)  # the server notices the last cancellations
    flags = gc.get_debug()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        return Counter(type(one).__name__ for one in gc.garbage if isinstance(one, OF_A_STREAM))
    finally:
        gc.set_debug(flags)
        gc.garbage.clear()


@pytest.fixture
def collector_off() -> Any:
    """What is a circle stays one until we look."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_an_ended_stream_leaves_no_circle_of_objects_behind(start_gateway: GatewayHost, collector_off: None) -> None:
    running = start_gateway()

    async def rounds() -> None:
        for _ in range(ROUNDS):
            await _round(running.target)

    asyncio.run(rounds())
    found = running.call(_circles())
    assert all(count < ROUNDS // 2 for count in found.values()), found
