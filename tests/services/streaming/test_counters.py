"""The counters of a stream are true: what was published is what was delivered, conflated and dropped together."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from gateway.domain.types import ConflationPolicy
from tests.services.streaming.conftest import Corridor, Reader, eventually
from tests.services.streaming.venue import quote
from trading_gateway.v1 import market_data_pb2 as pb

SYMBOLS = ("AAPL", "MSFT", "TSLA")
ROUNDS = 60


class Sleepy(Reader):
    """Takes a message now and then, as its dice say."""

    dice = random.Random(0)

    async def _read(self) -> None:
        async for message in self.stream.messages():
            self.messages.append(pb.StreamQuotesResponse.FromString(message))
            self._changed.set()
            await asyncio.sleep(self.dice.choice((0.0, 0.0, 0.004, 0.02)))


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("policy", list(ConflationPolicy))
async def test_published_is_delivered_and_conflated_and_dropped(
    corridor: Corridor, policy: ConflationPolicy, seed: int
) -> None:
    dice = Sleepy.dice = random.Random(seed)
    print(f"seed {seed}")
    options: dict[str, Any] = {"conflation": policy, "skip_snapshot": True, "heartbeat_interval_ms": 50}
    readers: list[tuple[Sleepy, int]] = []
    published = 0
    for number in range(ROUNDS):
        if number % 20 == 0:
            reader = Sleepy(await corridor.open(*SYMBOLS, **options))
            await reader.until(lambda r: len(r.of("acks")) == len(SYMBOLS))
            corridor.readers.append(reader)
            readers.append((reader, published))
        values = [
            quote(dice.choice(SYMBOLS), max(0, number * 10 + dice.randint(-15, 15))) for _ in range(dice.randint(1, 60))
        ]
        corridor.publish(*values)
        published += len(values)
        await asyncio.sleep(dice.choice((0.0, 0.001, 0.01)))
    for reader, before in readers:
        async with asyncio.timeout(5):
            while (counted := told(reader)) != published - before:
                assert counted < published - before
                await asyncio.sleep(0.01)


def told(reader: Reader) -> int:
    """What the reader got and what it was told that it did not get."""
    status = reader.statuses[-1]
    return len(reader.values) + status.conflated_total + status.dropped_total


async def test_a_value_that_comes_too_late_counts_at_once_and_for_those_who_were_there(corridor: Corridor) -> None:
    options: dict[str, Any] = {"skip_snapshot": True, "heartbeat_interval_ms": 50}
    first = await corridor.live(*SYMBOLS, **options)
    corridor.publish(quote("AAPL", 5))
    await first.until(lambda r: r.values)
    corridor.publish(quote("AAPL", 4))
    await first.until(lambda r: r.statuses[-1].conflated_total == 1)
    corridor.publish(quote("AAPL", 3))
    second = await corridor.live(*SYMBOLS, **options)
    corridor.publish(quote("AAPL", 6))
    for reader, conflated in ((first, 2), (second, 0)):
        await reader.until(lambda r: r.values and r.values[-1].bid_price == quote("AAPL", 6).bid_price)
        beats = len(reader.of("feeds"))
        await eventually(lambda reader=reader, beats=beats: len(reader.of("feeds")) > beats)  # type: ignore[misc]
        assert reader.statuses[-1].conflated_total == conflated
