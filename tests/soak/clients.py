"""Everybody who comes and goes while the canary listens: readers, slow ones, stalled ones, strategies, a saboteur."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import grpc

from trading_gateway.v1 import (
    market_data_pb2 as pb,
    market_data_pb2_grpc,
    simulation_pb2 as simulation,
    simulation_pb2_grpc,
    trading_pb2 as trading,
    trading_pb2_grpc,
)

SYMBOLS: Final = ("AAPL", "MSFT", "AMZN", "GOOGL", "META", "NVDA", "TSLA", "JPM", "SPY", "QQQ")
POLICIES: Final = tuple(pb.ConflationPolicy.values())
FEED: Final = "stocks:iex"
CALL_S: Final = 10.0
STAY_S: Final = (0.1, 2.5)
OWN_CONNECTION: Final = 0.3
"""The share of readers who come over a connection of their own."""
SLOW_TAKE_S: Final = 0.5
ORDERS_PER_S: Final = 2.0
FILLED_EVERY: Final = 10
CUT_EVERY_S: Final = 18.0
MUTE_S: Final = 15.0
"""Longer than the gateway needs to notice: what a feed leaves out and goes on, nobody can tell."""
REFUSED_S: Final = 2.0
STALLED_S: Final = 15.0
"""Until what fits on the way is full, and the gateway has waited for BLOCKED_MS."""
STALLED: Final = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 4_096),
)
"""A connection whose reader takes nothing is full at once."""


class Crowd:
    """All of them, before one gateway.

    Args:
        target: HOST:PORT.
        seed: Of everything that is chosen.

    Attributes:
        did: What happened, by name.
        errors: What must not happen, in words.
    """

    def __init__(self, target: str, seed: int) -> None:
        self._target = target
        self._random = random.Random(seed)
        self._channel = _connect(target)
        self._market = market_data_pb2_grpc.MarketDataServiceStub(self._channel)
        self._trading = trading_pb2_grpc.TradingServiceStub(self._channel)
        self._simulation = simulation_pb2_grpc.SimulationServiceStub(self._channel)
        self._order_numbers = itertools.count(1)
        self._key = f"soak-{seed}-{self._random.getrandbits(32):08x}"
        self.did: Counter[str] = Counter()
        self.errors: list[str] = []

    async def close(self) -> None:
        """Hang up."""
        await self._channel.close()

    def every_quote(self) -> AsyncIterator[pb.StreamQuotesResponse]:
        """The canary's stream."""
        request = pb.StreamQuotesRequest(symbols=SYMBOLS, conflation=pb.CONFLATION_POLICY_NONE)
        return aiter(self._market.StreamQuotes(request))

    async def reader(self) -> None:
        """Comes, reads a while, and goes without a word; again and again."""
        while True:
            stay_s = self._random.uniform(*STAY_S)
            async with self._connection(own=self._random.random() < OWN_CONNECTION) as market:
                call = self._subscribe(market)
                self.did["joins"] += 1
                with self._left(call), self._no_end("reader"), contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(stay_s):
                        async for _ in call:
                            self.did["messages"] += 1

    async def slow_reader(self) -> None:
        """Takes a message when it pleases."""
        async with self._connection(own=True) as market:
            call = self._subscribe(market)
            with self._left(call), self._no_end("slow reader"):
                async for _ in call:
                    self.did["slow reads"] += 1
                    await asyncio.sleep(SLOW_TAKE_S)

    async def stalled_reader(self) -> None:
        """Takes nothing for long, and is then told that it was too slow."""
        while True:
            async with self._connection(own=True, options=STALLED) as market:
                request = pb.StreamQuotesRequest(symbols=SYMBOLS, conflation=self._random.choice(POLICIES))
                call = market.StreamQuotes(request)
                with self._left(call):
                    await self._stall(call)
                self.did["stalled"] += 1

    async def strategy(self) -> None:
        """Orders that rest and are canceled, and some that are filled."""
        for number in self._order_numbers:
            await asyncio.sleep(1 / ORDERS_PER_S)
            is_filled = number % FILLED_EVERY == 0
            spec = trading.OrderSpec(
                symbol=SYMBOLS[number % len(SYMBOLS)],
                side=trading.ORDER_SIDE_BUY if number % (2 * FILLED_EVERY) else trading.ORDER_SIDE_SELL,
                quantity="1",
                order_type=trading.ORDER_TYPE_MARKET if is_filled else trading.ORDER_TYPE_LIMIT,
                time_in_force=trading.TIME_IN_FORCE_DAY,
            )
            if not is_filled:
                spec.limit_price = "1"
            request = trading.SubmitOrderRequest(client_order_id=f"{self._key}-{number}", spec=spec)
            try:
                order = (await self._trading.SubmitOrder(request, timeout=CALL_S)).order
                if not is_filled:
                    canceled = trading.CancelOrderRequest(order=trading.OrderRef(order_id=order.order_id))
                    await self._trading.CancelOrder(canceled, timeout=CALL_S)
            except grpc.aio.AioRpcError as error:
                self.did[f"order {error.code().name}"] += 1
            else:
                self.did["orders"] += 1

    async def order_reader(self) -> None:
        """Follows the orders."""
        async for _ in self._trading.StreamOrderUpdates(trading.StreamOrderUpdatesRequest()):
            self.did["order updates"] += 1

    async def saboteur(self) -> None:
        """Cuts the feed, mutes it, and has it refuse the connection that follows a cut."""
        while True:
            kind = self._random.choice(("cut", "mute", "refused", "orders cut"))
            if kind == "mute":
                await self._fault(simulation.FAULT_FEED_MUTE, FEED, MUTE_S)
            elif kind == "orders cut":
                await self._fault(simulation.FAULT_FEED_DISCONNECTED, "orders")
            else:
                if kind == "refused":
                    await self._fault(simulation.FAULT_CONNECTION_LIMIT, FEED, REFUSED_S)
                await self._fault(simulation.FAULT_FEED_DISCONNECTED, FEED)
            self.did[kind] += 1
            await asyncio.sleep(CUT_EVERY_S)

    async def _stall(self, call: Any) -> None:
        await call.wait_for_connection()
        await asyncio.sleep(STALLED_S)
        try:
            async for _ in call:
                pass
            self.errors.append("the stream of a stalled reader ended without a word")
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                self.errors.append(f"a stalled reader was told {error.code().name}: {error.details()}")

    async def _fault(self, fault: simulation.Fault.ValueType, route: str, lasts_s: float = 0.0) -> None:
        request = simulation.InjectFaultRequest(fault=fault, route=route)
        request.delay.FromMilliseconds(round(lasts_s * 1_000))
        await self._simulation.InjectFault(request, timeout=CALL_S)

    @contextlib.asynccontextmanager
    async def _connection(self, *, own: bool, options: tuple[tuple[str, int], ...] = ()) -> AsyncIterator[Any]:
        if not own:
            yield self._market
            return
        channel = _connect(self._target, options)
        try:
            yield market_data_pb2_grpc.MarketDataServiceStub(channel)
        finally:
            await channel.close()

    def _subscribe(self, market: Any) -> Any:
        """One of the streams, of some symbols, by some policy."""
        open_stream, request = self._random.choice(
            (
                (market.StreamQuotes, pb.StreamQuotesRequest),
                (market.StreamTrades, pb.StreamTradesRequest),
                (market.StreamBars, pb.StreamBarsRequest),
            )
        )
        symbols = self._random.sample(SYMBOLS, self._random.randint(1, len(SYMBOLS)))
        return open_stream(request(symbols=symbols, conflation=self._random.choice(POLICIES)))

    @contextlib.contextmanager
    def _left(self, call: Any) -> Iterator[None]:
        """A call that is not canceled keeps its connection until it is collected."""
        try:
            yield
        finally:
            call.cancel()

    @contextlib.contextmanager
    def _no_end(self, whose: str) -> Iterator[None]:
        """A stream that ends though nobody left it is an error."""
        try:
            yield
        except grpc.aio.AioRpcError as error:
            self.errors.append(f"the stream of a {whose} ended: {error.code().name} {error.details()}")


def _connect(target: str, options: tuple[tuple[str, int], ...] = ()) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1), *options])
