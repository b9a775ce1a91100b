"""A feed that is cut, muted and refused its slot, again and again, over real sockets; and a reader who is told."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gateway.domain.models.market_data import Selection, StreamRequest
from gateway.domain.types import Channel, DataFeed
from gateway.infrastructure.alpaca.market_data_adapter import MarketDataAdapter
from gateway.infrastructure.alpaca.reconnect import BackOff
from gateway.infrastructure.alpaca.streaming_adapter import MarketDataFeed, StreamingAdapter
from gateway.servicers.frames import FrameEncoder
from gateway.services.recovery import ErrorService
from gateway.services.streaming import HubTimes, StreamingService, StreamLimits
from tests.emulator.host import RunningEmulator
from tests.infrastructure.alpaca.scripted import factory_at
from tests.services.streaming.venue import AssetTable, call_context
from trading_gateway.v1 import common_pb2, market_data_pb2 as pb

SYMBOLS = ("AAPL", "MSFT", "SPY")
BACK_OFF = BackOff(
    first_s=0.01, max_s=0.1, spacing_s=0.01, crowded_s=0.02, refused_s=0.2, crowded_max=20, crowded_window_s=1.0
)
TIMES = HubTimes(linger_s=5.0, ack_timeout_s=2.0, silence_s=0.3)
TOLD_MAX_S = 1.0
"""After it was noticed. A cut and a 406 are noticed at once, a mute feed after silence and proof."""
RECOVERED_MAX_S = 10.0
VOUCHING = (common_pb2.FEED_STATE_LIVE, common_pb2.FEED_STATE_QUIET)
KINDS = ("feed_disconnected",) * 5 + ("connection_limit",) * 3 + ("handshake_429",) * 3 + ("feed_mute",)
REFUSALS = ("connection_limit", "handshake_429")


@dataclass
class StormReport:
    """What came of it."""

    rounds: dict[str, int] = field(default_factory=dict)
    told_s: dict[str, float] = field(default_factory=dict)
    recovered_s: float = 0.0
    attempts: int = 0
    refusals: int = 0
    refusals_missed: int = 0
    gaps_untold: int = 0
    unmarked: int = 0


class StormReader:
    """Reads one stream, and keeps the last word on its feed."""

    def __init__(self, stream: Any) -> None:
        self.state = common_pb2.FEED_STATE_UNSPECIFIED
        self.broken_at = 0.0
        self.fresh: set[str] = set()
        self.unmarked = 0
        self.gaps = 0
        self._changed = asyncio.Event()
        self._stream = stream
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self._stream.messages():
            self._take(pb.StreamQuotesResponse.FromString(message))
            self._changed.set()

    def _take(self, batch: Any) -> None:
        for feed in batch.status.feeds:
            if feed.state not in VOUCHING and self.state in VOUCHING:
                self.broken_at = time.monotonic()
                self.fresh.clear()
            self.state = feed.state
        self.gaps += len(batch.status.gaps)
        for quote in batch.quotes:
            if not quote.stale:
                self.fresh.add(quote.symbol)
                self.unmarked += self.state not in VOUCHING

    async def until(self, condition: Callable[[], object], timeout_s: float) -> None:
        """Wait for something of this reader."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def close(self) -> None:
        """Hang up."""
        self._stream.close()
        await self._task


async def storm(emulator: RunningEmulator, rounds: int, seed: int, noticed_s: dict[str, float]) -> StormReport:
    """Break the feed so often, each time wait until it is told and made good again.

    Args:
        noticed_s: How long each kind may take to be noticed; told within TOLD_MAX_S of that.
    """
    report, chance = StormReport(), random.Random(seed)
    counted = MarketDataFeed.on_attempt

    def count(feed: MarketDataFeed) -> None:
        report.attempts += 1
        counted(feed)

    async with factory_at(emulator.url) as factory:
        venue = StreamingAdapter(factory, time.time_ns, BACK_OFF, random.Random(seed))
        service = StreamingService(
            venue,
            MarketDataAdapter(factory),
            AssetTable(),
            ErrorService(time.time_ns, time.monotonic, asyncio.sleep),
            FrameEncoder(),
            stock_feed=DataFeed.IEX,
            wall=time.time_ns,
            monotonic=time.monotonic,
            limits=StreamLimits(500, 65_536, times=TIMES),
        )
        MarketDataFeed.on_attempt = count  # type: ignore[method-assign,assignment]
        try:
            reader = StormReader(await service.open(StreamRequest(Channel.QUOTES, Selection(SYMBOLS)), call_context()))
            await reader.until(lambda: reader.fresh >= set(SYMBOLS), RECOVERED_MAX_S)
            for _ in range(rounds):
                kind = chance.choice(KINDS)
                await _one(emulator, reader, kind, report, noticed_s)
            report.unmarked = reader.unmarked
            assert reader.gaps, "breaks leave gaps, and gaps are told"
            await reader.close()
        finally:
            MarketDataFeed.on_attempt = counted  # type: ignore[method-assign]
            await service.close()
            await venue.close()
    return report


async def _one(
    emulator: RunningEmulator, reader: StormReader, kind: str, report: StormReport, noticed_s: dict[str, float]
) -> None:
    began, gaps = time.monotonic(), reader.gaps
    refused = None
    if kind in REFUSALS:
        refused = await asyncio.to_thread(emulator.fault, kind, "stocks:iex", count=2)
        await asyncio.to_thread(emulator.fault, "feed_disconnected", "stocks:iex")
    else:
        await asyncio.to_thread(emulator.fault, kind, "stocks:iex")
    await reader.until(lambda: reader.broken_at > began, noticed_s.get(kind, 0.0) + TOLD_MAX_S)
    told_s = reader.broken_at - began
    report.rounds[kind] = report.rounds.get(kind, 0) + 1
    report.told_s[kind] = max(report.told_s.get(kind, 0.0), told_s)
    await reader.until(lambda: reader.state in VOUCHING and reader.fresh >= set(SYMBOLS), RECOVERED_MAX_S)
    report.recovered_s = max(report.recovered_s, time.monotonic() - began)
    report.gaps_untold += reader.gaps == gaps
    if refused is not None:
        report.refusals += refused.fired
        report.refusals_missed += not refused.fired
