"""One market-data connection at a scripted venue, and what that venue sends."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgpack
from websockets.asyncio.server import ServerConnection

from gateway.domain.models.market_data import SubscriptionSet
from gateway.domain.types import Channel, DataFeed
from gateway.infrastructure.alpaca.reconnect import BackOff
from gateway.infrastructure.alpaca.streaming_adapter import MarketDataFeed, StreamingAdapter
from tests.infrastructure.alpaca.listeners import MarketNotes
from tests.infrastructure.alpaca.scripted import (
    ScriptedSocket,
    Talk,
    acknowledge,
    factory_at,
    greet,
)

QUICK = BackOff(first_s=0.01, max_s=0.05, spacing_s=0.02, crowded_s=0.2, refused_s=0.4)
NOW_NS = 1_790_000_000_000_000_000
T_NS = 1_789_999_999_123_456_789


def quote(symbol: str = "AAPL", **changes: Any) -> dict[str, Any]:
    return {
        "T": "q", "S": symbol, "bx": "V", "bp": 240.23, "bs": 3, "ax": "Q", "ap": 240.25, "as": 1, "c": ["R"], "z": "C",
        "t": msgpack.Timestamp(*divmod(T_NS, 10**9)),
    } | changes  # fmt: skip


def wanted(**channels: str) -> SubscriptionSet:
    return SubscriptionSet({Channel(name): frozenset(symbols.split()) for name, symbols in channels.items()})


async def forever() -> None:
    await asyncio.Event().wait()


@asynccontextmanager
async def feed_at(
    venue: ScriptedSocket, notes: MarketNotes, back_off: BackOff = QUICK, feed: DataFeed = DataFeed.IEX
) -> AsyncIterator[MarketDataFeed]:
    async with factory_at(venue.url) as factory:
        adapter = StreamingAdapter(factory, lambda: NOW_NS, back_off, random.Random(7))
        yield await adapter.open_market_data(feed, notes)
        await adapter.close()


def serving(*frames: list[dict[str, Any]] | bytes | str, stay: bool = True, **have: set[str]) -> Talk:
    """Greet, acknowledge one change, send frames, and stay; later changes are acknowledged too."""

    async def talk(connection: ServerConnection) -> None:
        await greet(connection)
        subscribed = dict(have)
        await acknowledge(connection, subscribed)
        for frame in frames:
            await connection.send(frame if isinstance(frame, bytes | str) else msgpack.packb(frame))
        while stay:
            await acknowledge(connection, subscribed)

    return talk
