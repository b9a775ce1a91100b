"""D1: what a frame of quotes costs between socket and encoded bodies, against `msgpack.unpackb` of the same frame.

The road is the whole one: the adapter's reader, the converters, the hub with its receive time, its last values and its
routing to a subscriber, and the encoder. What is left out is the socket before it and the writing behind it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import msgpack

from gateway.cli.runtime import run
from gateway.domain.interfaces import MarketDataListener
from gateway.domain.models.market_data import Quote, Selection, StreamRequest
from gateway.domain.models.reference import Asset
from gateway.domain.types import AssetClass, CallContext, Caller, Channel, ConflationPolicy, DataFeed
from gateway.infrastructure.alpaca.data_stream import GatewayStockStream
from gateway.infrastructure.alpaca.secret import Secret
from gateway.infrastructure.alpaca.streaming_adapter import StreamingAdapter
from gateway.servicers.frames import FrameEncoder
from gateway.services.recovery import ErrorService
from gateway.services.streaming import MarketDataStream, StreamingService
from gateway.services.streaming.service import StreamLimits
from tests.bench.instant import InstantVenue
from tests.bench.publisher import SYMBOLS, make_frames
from tests.bench.ratios import Ratio
from trading_gateway.v1 import market_data_pb2 as pb

GOAL: Final = 3.5
QUOTES_PER_FRAME: Final = 100
FRAMES_PER_SLICE: Final = 60
QUOTES_PER_SLICE: Final = QUOTES_PER_FRAME * FRAMES_PER_SLICE
OPENING_S: Final = 0.3
"""For the adapter's connection and the subscription."""
READING_S: Final = 0.03
"""Between two slices, for the subscriber: writing is no part of this budget."""
READ_S_MAX: Final = 10.0
"""For the subscriber to take what is left; each quote must come, or the road that was measured led nowhere."""


class _Socket:
    """What the adapter reads from: frames that have come already, and the CPU that each lot of them took."""

    def __init__(self) -> None:
        self._frames: deque[bytes] = deque()
        self._woken = asyncio.Event()
        self._began_s = 0.0
        self._done: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def read_through(self, frames: Sequence[bytes]) -> float:
        """CPU seconds until the reader has come back from the last of these."""
        self._done = asyncio.get_running_loop().create_future()
        self._frames.extend(frames)
        self._woken.set()
        return await self._done

    async def recv(self) -> bytes:
        """The next frame, without a pause while there is one."""
        if not self._frames:
            if not self._done.done():
                self._done.set_result(time.thread_time() - self._began_s)
            self._woken.clear()
            await self._woken.wait()
            self._began_s = time.thread_time()
        return self._frames.popleft()

    async def send(self, message: bytes) -> None:
        """The venue acknowledges what it is asked for."""
        asked = msgpack.unpackb(message)
        self._frames.append(msgpack.packb([{"T": "subscription", "quotes": asked["quotes"]}]))
        self._woken.set()


class _Stream(GatewayStockStream):
    """The adapter's stream over such a socket."""

    async def _connect(self) -> None:
        self._ws = self.socket = _Socket()

    async def _auth(self) -> None:
        """Nobody asks who this is."""

    async def close(self) -> None:
        """There is nothing to close."""


class _Streams:
    """As much of the factory as the adapter needs."""

    def __init__(self) -> None:
        self.stream = _Stream("ws://127.0.0.1:1", Secret("bench"), Secret("bench"))

    def data_stream(self, _feed: DataFeed) -> _Stream:
        return self.stream


class _Venue(InstantVenue):
    """A venue whose live feed is the adapter's own."""

    def __init__(self, streams: _Streams) -> None:
        super().__init__()
        self._adapter = StreamingAdapter(streams)  # type: ignore[arg-type]

    async def open_market_data(self, feed: DataFeed, listener: MarketDataListener) -> Any:
        return await self._adapter.open_market_data(feed, listener)


class _Assets:
    """Every symbol is one."""

    def find(self, symbol: str) -> Asset:
        return Asset(symbol, symbol, AssetClass.US_EQUITY)

    async def get(self, symbol: str, _call: CallContext, _field: str = "symbol") -> Asset:
        return self.find(symbol)


def d1(slices: int) -> Ratio:
    """The ratio of CPU times for a quote."""
    return run(_d1(slices))


async def _d1(slices: int) -> Ratio:
    streams = _Streams()
    venue = _Venue(streams)
    service = StreamingService(
        venue,
        venue,  # type: ignore[arg-type]
        _Assets(),
        ErrorService(time.time_ns, time.monotonic, asyncio.sleep),
        FrameEncoder(),
        stock_feed=DataFeed.IEX,
        wall=time.time_ns,
        monotonic=time.monotonic,
        limits=StreamLimits(symbols_per_stream_max=len(SYMBOLS), unread_values_max=2 * QUOTES_PER_SLICE),
    )
    request = StreamRequest(
        Channel.QUOTES, Selection(tuple(SYMBOLS)), conflation=ConflationPolicy.NONE, skip_snapshot=True
    )
    reader = await service.open(request, CallContext(Caller(name="bench"), time.monotonic() + 60))
    came = [0]
    reading = asyncio.create_task(_read(reader, came))
    await asyncio.sleep(OPENING_S)
    ratio = Ratio("D1 decode", "us a quote, frame to bodies", "msgpack.unpackb, us", GOAL, "us", at_most=True)
    frames, number = make_frames(QUOTES_PER_FRAME), 1
    for turn in range(slices):
        now = time.time()
        packed = [frames[i % len(frames)].written(number + i * QUOTES_PER_FRAME, now) for i in range(FRAMES_PER_SLICE)]
        number += QUOTES_PER_SLICE
        measured = {}
        for is_ours in (turn % 2 == 0, turn % 2 == 1):
            took_s = await streams.stream.socket.read_through(packed) if is_ours else _unpacked(packed)
            measured[is_ours] = {"us": took_s / QUOTES_PER_SLICE * 1e6}
        ratio.pairs.append((measured[True], measured[False]))
        held = service.held(Channel.QUOTES, DataFeed.IEX, SYMBOLS[-1])
        assert isinstance(held, Quote)
        assert held.bid_size == number - 1, "the last value is not the last one"
        await asyncio.sleep(READING_S)
    async with asyncio.timeout(READ_S_MAX):
        while came[0] < len(ratio.pairs) * QUOTES_PER_SLICE:  # noqa: ASYNC110 - its own task counts
            await asyncio.sleep(READING_S)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await service.close()
    return ratio


async def _read(stream: MarketDataStream, came: list[int]) -> None:
    """Hold that every quote was routed to the subscriber, once and in order."""
    async for message in stream.messages():
        for quote in pb.StreamQuotesResponse.FromString(message).quotes:
            came[0] += 1
            assert quote.bid_size == came[0], "a quote is missing, repeated or out of order"


def _unpacked(frames: Sequence[bytes]) -> float:
    began_s = time.thread_time()
    for frame in frames:
        msgpack.unpackb(frame)
    return time.thread_time() - began_s
