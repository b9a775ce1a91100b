"""A streaming service over a scripted venue, and a reader of its streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.domain.models.market_data import (
    Bar,
    Luld,
    OrderBook,
    Quote,
    Selection,
    StreamRequest,
    Trade,
    TradeCancel,
    TradeCorrection,
    TradingStatus,
)
from gateway.domain.types import Channel, DataFeed
from gateway.servicers.frames import FrameEncoder
from gateway.services.recovery import ErrorService
from gateway.services.streaming import MarketDataStream, StreamingService, StreamLimits
from gateway.services.streaming.hub import HubTimes
from tests.services.streaming.venue import SECOND_NS, AssetTable, Clocks, ScriptedVenue, call_context
from trading_gateway.v1 import market_data_pb2 as pb

RESPONSES = {
    Channel.QUOTES: pb.StreamQuotesResponse,
    Channel.TRADES: pb.StreamTradesResponse,
    **{channel: pb.StreamBarsResponse for channel in Channel if channel.is_bars},
}
CHANNEL_OF = {
    Trade: Channel.TRADES,
    TradeCorrection: Channel.TRADES,
    TradeCancel: Channel.TRADES,
    OrderBook: Channel.ORDER_BOOKS,
    TradingStatus: Channel.TRADING_STATUS,
    Luld: Channel.LULD,
}
WAIT_MAX_S = 5.0


async def eventually(condition: Callable[[], object]) -> None:
    """Give timers of a few milliseconds their time."""
    async with asyncio.timeout(WAIT_MAX_S):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.002)


class Reader:
    """Reads a stream in the background, as a client would that is never busy."""

    def __init__(self, stream: MarketDataStream) -> None:
        self.stream = stream
        self.messages: list[Any] = []
        self.error: BaseException | None = None
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for message in self.stream.messages():
                self.messages.append(RESPONSES[self.stream.terms.channel].FromString(message))
                self._changed.set()
        except Exception as error:
            self.error = error
        self._changed.set()

    @property
    def values(self) -> list[Any]:
        return [value for message in self.messages for value in getattr(message, self.stream.terms.channel.value)]

    @property
    def statuses(self) -> list[pb.StreamStatus]:
        return [message.status for message in self.messages if message.HasField("status")]

    def of(self, name: str) -> list[Any]:
        """All items of a repeated field of the statuses."""
        return [item for status in self.statuses for item in getattr(status, name)]

    async def until(self, condition: Callable[[Reader], Any]) -> Any:
        """Wait for what the stream has to say."""
        async with asyncio.timeout(WAIT_MAX_S):
            while not (found := condition(self)):
                self._changed.clear()
                await self._changed.wait()
        return found

    async def close(self) -> None:
        self.stream.close()
        await self._task


@dataclass
class Corridor:
    """Everything from the venue to the readers."""

    clocks: Clocks
    venue: ScriptedVenue
    assets: AssetTable
    service: StreamingService
    readers: list[Reader] = field(default_factory=list)

    async def open(self, *symbols: str, channel: Channel = Channel.QUOTES, **options: Any) -> MarketDataStream:
        chosen = {name: options.pop(name) for name in ("asset_class", "feed") if name in options}
        request = StreamRequest(channel, Selection(symbols, **chosen), **options)
        return await self.service.open(request, call_context())

    async def read(self, *symbols: str, **options: Any) -> Reader:
        """A stream that is read, and acknowledged."""
        reader = Reader(await self.open(*symbols, **options))
        self.readers.append(reader)
        return reader

    async def live(self, *symbols: str, **options: Any) -> Reader:
        """The same, when everything it asked for is acknowledged and its snapshot is over."""
        reader = await self.read(*symbols, **options)
        await reader.until(lambda r: len(r.of("acks")) >= len(set(symbols)))
        if not options.get("skip_snapshot"):
            await reader.until(lambda r: any(status.snapshot_end for status in r.statuses))
        return reader

    async def connected(self) -> None:
        """Wait for the feed."""
        await eventually(lambda: self.venue.connections and self.venue.connection.is_connected)

    def publish(self, *values: Any, connection: Any = None) -> None:
        """One frame of the venue, read when its first value says so."""
        waited_s = max(0.0, (self.clocks.wall() - values[0].receive_time_ns) / SECOND_NS)
        read_at = self.clocks.monotonic() - waited_s
        listener = (connection or self.venue.connection).listener
        if isinstance(values[0], Quote):
            listener.on_quotes(list(values), read_at)
        else:
            first = values[0]
            channel = first.channel if isinstance(first, Bar) else CHANNEL_OF[type(first)]
            listener.on_values(channel, list(values), read_at)


@pytest.fixture
def limits() -> StreamLimits:
    return StreamLimits(500, 65_536, times=HubTimes(linger_s=0.05, ack_timeout_s=0.05, snapshot_wait_s=0.05))


@pytest.fixture
async def corridor(limits: StreamLimits) -> AsyncIterator[Corridor]:
    clocks = Clocks()
    venue, assets = ScriptedVenue(clocks), AssetTable()
    service = StreamingService(
        venue,
        venue,
        assets,
        ErrorService(clocks.wall, clocks.monotonic, asyncio.sleep),
        FrameEncoder(),
        stock_feed=DataFeed.IEX,
        wall=clocks.wall,
        monotonic=clocks.monotonic,
        limits=limits,
    )
    corridor = Corridor(clocks, venue, assets, service)
    yield corridor
    for reader in corridor.readers:
        await reader.close()
    await service.close()
    assert all(connection.is_closed for connection in venue.connections)
