"""Nobody notices another's joining or leaving: a canary hears every quote of a tape while a thousand come and go.

The tape numbers its quotes, so that what the canary got is held against what the venue sent, one by one.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import gzip
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import grpc
import pytest

from gateway.emulator.streams.hub import DataHub
from gateway.services.streaming import HubTimes
from tests.gateway_host import NO_CLIENT_LIMITS, GatewayHost, RunningGateway
from trading_gateway.v1 import market_data_pb2 as pb, market_data_pb2_grpc

CANARYS: Final = tuple(f"S{number}" for number in range(10))
OTHERS: Final = ("OTHER0", "OTHER1")
"""Which only those want who come and go: these are subscribed and forgotten all the time."""
LINGER_S: Final = 0.05
PER_S: Final = 1_000
TAPE_S: Final = 120
JOINERS: Final = 16
CONNECTIONS: Final = 4
WAIT_S_MAX: Final = 20.0
_FIRST_NS: Final = 1_700_000_000_000_000_000
_HEADER: Final = "ts_ns,symbol,bid_price,bid_size,bid_exchange,ask_price,ask_size,ask_exchange,conditions\n"
_CARRIERS: Final = frozenset({"Batch", "Receipt"})
"""Of values under way; there are as many as the canary has not taken."""


def sent(number: int) -> tuple[str, int, float, float]:
    """Symbol, number (its size at the bid) and prices of the n-th quote of the tape."""
    symbols = CANARYS + OTHERS
    bid = 100 + number % 9_973 / 100
    return symbols[number % len(symbols)], number, round(bid, 2), round(bid + 0.03, 2)


def numbered_tape(folder: Path) -> Path:
    """Quotes of all symbols in turn, each numbered."""
    step_ns = 1_000_000_000 // PER_S
    rows = (
        f"{_FIRST_NS + number * step_ns},{symbol},{bid:.2f},{number},N,{ask:.2f},100,N,R\n"
        for symbol, number, bid, ask in map(sent, range(1, TAPE_S * PER_S + 1))
    )
    (folder / "quotes.csv.gz").write_bytes(gzip.compress((_HEADER + "".join(rows)).encode(), compresslevel=1))
    return folder


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, str, str]]:
    """Every subscription and its end that the venue was asked for: (what, session, channel, symbol)."""
    told: list[tuple[str, int, str, str]] = []

    def note(what: str) -> None:
        real = getattr(DataHub, what)

        def noting(hub: DataHub, session: Any, channel: str, symbols: Any) -> None:
            told.extend((what, session.session_id, channel, symbol) for symbol in symbols)
            real(hub, session, channel, symbols)

        monkeypatch.setattr(DataHub, what, noting)

    note("subscribe")
    note("unsubscribe")
    return told


@pytest.fixture
def numbered(
    start_gateway: GatewayHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[Any]
) -> RunningGateway:
    """A gateway that forgets quickly, before the tape."""
    monkeypatch.setattr("gateway.container.services.HubTimes", functools.partial(HubTimes, linger_s=LINGER_S))
    return start_gateway(venue={"tape": numbered_tape(tmp_path)}, **NO_CLIENT_LIMITS)


class Canary:
    """Who wants every quote; `got` has what came live or as the newest when it began."""

    def __init__(self, market: market_data_pb2_grpc.MarketDataServiceStub) -> None:
        request = pb.StreamQuotesRequest(symbols=CANARYS, conflation=pb.CONFLATION_POLICY_NONE)
        self._stream: AsyncIterator[pb.StreamQuotesResponse] = market.StreamQuotes(request)
        self.got: list[tuple[str, int, float, float]] = []
        self.sequences: list[int] = []
        self.flagged = 0

    async def listen(self) -> None:
        """Take what comes."""
        async for message in self._stream:
            self.sequences.append(message.batch_sequence)
            for quote in message.quotes:
                self.flagged += quote.stale
                if not quote.snapshot:
                    self.got.append((quote.symbol, round(quote.bid_size), quote.bid_price, quote.ask_price))

    async def heard_after(self, count: int) -> None:
        """Wait until it has got more than so many."""
        async with asyncio.timeout(WAIT_S_MAX):
            while len(self.got) <= count:  # noqa: ASYNC110 - its own task appends
                await asyncio.sleep(0.01)


async def come_and_go(markets: list[Any], joins: int, seed: int) -> Counter[str]:
    """So many streams, JOINERS at a time: each is left after its first message, or its second, or before."""
    chance = random.Random(seed)
    left = iter(range(joins))
    told: Counter[str] = Counter()

    async def joiner() -> None:
        for _ in left:
            symbols = chance.sample(CANARYS + OTHERS, chance.randint(1, 12))
            market = chance.choice(markets)
            open_stream, request = chance.choice(
                [(market.StreamQuotes, pb.StreamQuotesRequest), (market.StreamTrades, pb.StreamTradesRequest)]
            )
            call = open_stream(request(symbols=symbols, conflation=chance.choice((0, 1, 2))))
            for _ in range(chance.choice((0, 1, 1, 2))):
                told[type(await call.read()).__name__] += 1
            call.cancel()
            told["joins"] += 1

    await asyncio.gather(*(joiner() for _ in range(JOINERS)))
    return told


async def held() -> Counter[str]:
    """On the gateway's loop: its tasks, and what lives of the corridor."""
    gc.collect()
    alive = Counter(
        type(thing).__name__
        for thing in gc.get_objects()
        if str(type(thing).__module__).startswith("gateway.services.streaming")
        and type(thing).__name__ not in _CARRIERS
    )
    alive["tasks"] = len(asyncio.all_tasks())
    return alive


async def until_no_more_than(before: Counter[str], look: Callable[[], Any]) -> Counter[str]:
    """What is held once nothing is more than before; what still is when the time is over."""
    ends_at = time.monotonic() + WAIT_S_MAX / 4
    while True:
        more: Counter[str] = (await look()) - before
        if not more or time.monotonic() > ends_at:
            return more
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("joins", [1_000, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(240)])])
async def test_a_canary_loses_nothing_while_others_come_and_go(
    numbered: RunningGateway, asked: list[tuple[str, int, str, str]], joins: int
) -> None:
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(numbered.target, options=options) for _ in range(CONNECTIONS + 1)]
    markets = [market_data_pb2_grpc.MarketDataServiceStub(channel) for channel in channels]
    canary = Canary(markets[0])
    listening = asyncio.create_task(canary.listen())

    async def look() -> Counter[str]:
        return await asyncio.to_thread(numbered.call, held())

    try:
        await canary.heard_after(0)  # alone: others would have some of its symbols subscribed before the rest
        await come_and_go(markets[1:], CONNECTIONS * 2, seed=0)
        await asyncio.sleep(4 * LINGER_S)  # what these wanted is forgotten
        before = await look()
        asked.clear()
        first, began = len(canary.got), time.monotonic()
        told = await come_and_go(markets[1:], joins, seed=joins)
        took_s = time.monotonic() - began
        await canary.heard_after(len(canary.got))
        more = await until_no_more_than(before, look)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        for channel in channels:
            await channel.close()
    print(f"{joins} joins in {took_s:.1f} s: {dict(told)}; the canary got {len(canary.got) - first} quotes meanwhile")
    assert told["joins"] == joins
    assert told["EOFType"] == 0, "a stream ended by itself"
    numbers = [number for _, number, _, _ in canary.got]
    wanted = [quote for quote in map(sent, range(numbers[0], numbers[-1] + 1)) if quote[0] in CANARYS]
    assert canary.got == wanted
    assert canary.sequences == list(range(1, len(canary.sequences) + 1))
    assert canary.flagged == 0
    assert len(canary.got) - first >= took_s * PER_S * 0.4, "it got quotes all the while"
    subscribed = {(channel, symbol) for _, _, channel, symbol in asked if symbol in CANARYS and channel == "quotes"}
    assert not subscribed, "the venue was asked about the canary's symbols again"
    assert {what for what, _, _, symbol in asked if symbol in OTHERS} == {"subscribe", "unsubscribe"}
    assert len({session for _, session, _, _ in asked}) == 1
    assert not more, f"left behind: {more}"
