"""The roads to a venue, and how a test gets onto each.

A road is a name in ROADS and a function that opens it. The two emulated ones stand on a clock that the test
moves, one seed and a fresh account, so they owe the same answers to the nanosecond. `paper` is Alpaca's own: it is
collected only where its keys are in the environment, and only by tests that leave nothing behind.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from gateway.domain.interfaces import (
    AccountRepository,
    MarketDataRepository,
    StreamingRepository,
    TradingRepository,
)
from gateway.domain.types import BudgetLane, CallContext, Caller
from gateway.emulator.exchange import ExchangeConfig, make_assets
from gateway.emulator.floor import TradingFloor
from gateway.emulator.in_process import InProcessVenue
from gateway.emulator.market import SyntheticMarket
from gateway.emulator.option_chain import OptionChain
from gateway.emulator.option_market import OptionMarket
from gateway.emulator.reopening import open_exchange
from gateway.infrastructure.alpaca.account_adapter import AccountAdapter
from gateway.infrastructure.alpaca.asset_table import AssetTable
from gateway.infrastructure.alpaca.clients import ClientConfig, ClientFactory
from gateway.infrastructure.alpaca.http import RestLimits
from gateway.infrastructure.alpaca.market_data_adapter import MarketDataAdapter
from gateway.infrastructure.alpaca.streaming_adapter import StreamingAdapter
from gateway.infrastructure.alpaca.trading_adapter import TradingAdapter
from tests.emulator.host import EmulatorHost, ManualClock

START_NS: Final = 1_704_294_000_000_000_000
"""2024-01-03 10:00 in New York: an ordinary Wednesday morning."""
WAIT_S_MAX: Final = 10.0
LIMITS: Final = RestLimits(connect_timeout_ms=2_000, read_timeout_ms=5_000, threads=32)
KEY_NAMES: Final = (
    ("GATEWAY_API_KEY", "GATEWAY_API_SECRET"),
    ("ALPACA_API_KEY", "ALPACA_SECRET_KEY"),
    ("APCA_API_KEY_ID", "APCA_API_SECRET_KEY"),
)


class OpenGate:
    """A RequestGate that lets everything pass."""

    def admit(self, lane: BudgetLane) -> None:
        pass

    def permit(self, context: CallContext) -> None:
        pass

    def observe(self, limit: int, remaining: int, reset_s: int) -> None:
        pass

    def throttled(self, retry_after_ms: int) -> None:
        pass


@dataclass
class Road:
    """The four repositories of one venue.

    Attributes:
        now_ns: The venue's present.
        advance: Lets seconds pass there; what was due by then has happened when it returns.
    """

    name: str
    trading: TradingRepository
    account: AccountRepository
    market_data: MarketDataRepository
    streaming: StreamingRepository
    now_ns: Callable[[], int]
    advance: Callable[[float], Awaitable[None]]

    @staticmethod
    def context(lane: BudgetLane = BudgetLane.ORDER) -> CallContext:
        return CallContext(Caller(), time.monotonic() + WAIT_S_MAX, lane)

    @staticmethod
    async def until(condition: Callable[[], object]) -> None:
        """What was told over a socket arrives a moment later."""
        async with asyncio.timeout(WAIT_S_MAX):
            while not condition():  # noqa: ASYNC110  # what is waited for comes over a socket, or at once
                await asyncio.sleep(0.005)


@asynccontextmanager
async def in_process_road(_start_emulator: EmulatorHost) -> AsyncIterator[Road]:
    """Straight onto the exchange."""
    clock = ManualClock(START_NS)
    market = SyntheticMarket(1)
    options = OptionMarket(market, OptionChain(market.symbols), 1)
    exchange = open_exchange(ExchangeConfig(seed=1), make_assets(market.symbols), START_NS, None)
    venue = InProcessVenue(TradingFloor(exchange, market, clock, options), clock)

    async def advance(seconds: float) -> None:
        clock.advance(s=seconds)
        venue.catch_up()

    yield Road("in process", *venue.repositories, clock, advance)


@asynccontextmanager
async def adapters_road(start_emulator: EmulatorHost) -> AsyncIterator[Road]:
    """Alpaca's wire, through alpaca-py, to an emulator's sockets."""
    clock = ManualClock(START_NS)
    emulator = start_emulator(seed=1, exchange={"life": ""}, clock=clock)

    async def advance(seconds: float) -> None:
        clock.advance(s=seconds)
        await asyncio.to_thread(emulator.call, emulator.emulator.floor.now)

    async with _adapters(ClientConfig.emulator(emulator.url, LIMITS), clock) as adapters:
        yield Road("adapters", *adapters, clock, advance)


@asynccontextmanager
async def paper_road(_start_emulator: EmulatorHost) -> AsyncIterator[Road]:
    """Alpaca's paper venue, with real market data."""
    keys = paper_keys()
    assert keys is not None
    async with _adapters(ClientConfig.paper(*keys, LIMITS), time.time_ns) as adapters:
        yield Road("paper", *adapters, time.time_ns, asyncio.sleep)


@asynccontextmanager
async def _adapters(config: ClientConfig, clock: Callable[[], int]) -> AsyncIterator[Any]:
    ClientFactory.load()  # before any deadline runs
    factory = ClientFactory(config, OpenGate())
    market_data = MarketDataAdapter(factory, clock)
    streaming = StreamingAdapter(factory, clock)
    account = AccountAdapter(factory, AssetTable(market_data.list_assets), clock)
    try:
        yield TradingAdapter(factory), account, market_data, streaming
    finally:
        await streaming.close()
        await factory.close()


def paper_keys() -> tuple[str, str] | None:
    """The keys of a paper account, where somebody has put them into the environment for this."""
    for key_name, secret_name in KEY_NAMES:
        key, secret = os.environ.get(key_name, ""), os.environ.get(secret_name, "")
        if key.startswith("PK") and secret:  # paper keys begin like this; a live key is never used here
            return key, secret
    return None


OpenRoad = Callable[[EmulatorHost], AbstractAsyncContextManager[Road]]

EMULATED: Final[dict[str, OpenRoad]] = {"in process": in_process_road, "adapters": adapters_road}
ROADS: Final[dict[str, OpenRoad]] = EMULATED | ({"paper": paper_road} if paper_keys() else {})
