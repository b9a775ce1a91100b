"""Strategies over gRPC: every call and every message is written down before and after; keys are never changed."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from random import Random
from typing import Any, Final

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from tests.chaos.history import HistoryWriter, answer_json, error_json
from trading_gateway.v1 import trading_pb2 as pb, trading_pb2_grpc

DEADLINE_S: Final = 10.0
VALID_S: Final = (30.0, 30.0, 30.0, 2.0)
"""One of them; the last passes while a process is stopped."""
RETRY_S: Final = (0.2, 0.4, 0.8, 1.5)
GIVE_UP_S: Final = 180.0
"""An order whose fate its strategy does not know is asked for so long."""
REOPEN_S: Final = 0.5
TRADED: Final = ("AAPL", "MSFT")
RESTING: Final = "NVDA"
"""Its orders rest far below the market. All buy: the venue refuses what could trade against an order of one's own."""
FAR_BELOW_USD: Final = "1.00"
AMBIGUOUS: Final = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "INTERNAL", "UNKNOWN"})
CHANNEL_OPTIONS: Final = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 300),
)
_NANOS: Final = 1_000_000_000


def wall_ns() -> int:
    """This machine's clock."""
    return time.time_ns()


class Strategy:
    """One strategy: so many hands, each with one order at a time.

    Attributes:
        in_flight: Submissions that are not answered now.
        keys: That it has begun.
        is_hearing: Its stream runs, and something came on it.
        was_told_its_token: Whether the last stream that told something ended with UNAVAILABLE and a token.
    """

    def __init__(self, name: str, address: str, folder: Path, seed: int) -> None:
        self.name = name
        self.in_flight = 0
        self.keys = 0
        self._random = Random(seed)
        self._channel = grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
        self._stub = trading_pb2_grpc.TradingServiceStub(self._channel)
        self.notes = HistoryWriter(folder / f"{name}.history.jsonl", name, "1")
        self._stream_notes = HistoryWriter(folder / f"{name}-stream.history.jsonl", f"{name}-stream", "1")
        self._token = ""
        self.is_hearing = False
        self.was_told_its_token = False

    async def trade(self, is_wanted: Any) -> None:
        """One hand: order after order while they are wanted."""
        while is_wanted():
            await self.trade_once()

    async def trade_once(self) -> None:
        """One order, and now and then another mind about it."""
        self.keys += 1
        key = f"k{self.keys}"
        await self.submit(key, self._spec())
        drawn = self._random.random()
        if drawn < 0.10:
            await self._cancel(key)
        elif drawn < 0.14:
            await self._replace(key)

    async def submit(self, key: str, spec: pb.OrderSpec) -> dict[str, Any]:
        """Until its fate is known."""

        def request() -> pb.SubmitOrderRequest:
            return pb.SubmitOrderRequest(
                strategy_id=self.name, client_order_id=key, spec=spec, valid_until=_in(self._random.choice(VALID_S))
            )

        self.in_flight += 1
        try:
            return await self._sure("SubmitOrder", request)
        finally:
            self.in_flight -= 1

    async def cancel_all(self) -> None:
        """Every open order of the account."""
        await self._sure("CancelOrders", lambda: pb.CancelOrdersRequest(all_strategies=True))

    async def open_orders(self) -> int:
        """How many the gateway takes for open."""
        states = [state for state in pb.OrderState.values() if 0 < state < pb.ORDER_STATE_FILLED]
        answer = await self._stub.ListOrders(
            pb.ListOrdersRequest(all_strategies=True, states=states, page_size=500), timeout=DEADLINE_S
        )
        return len(answer.orders)

    async def listen(self) -> None:
        """Follow the strategy's book, resuming by its token, until canceled."""
        while True:
            request = pb.StreamOrderUpdatesRequest(strategy_id=self.name)
            if self._token:
                request.resume_token = self._token
            await self._hear(request)
            await asyncio.sleep(REOPEN_S)

    async def close(self) -> None:
        """End."""
        await self._channel.close()
        self.notes.close()
        self._stream_notes.close()

    async def _hear(self, request: pb.StreamOrderUpdatesRequest) -> None:
        notes = self._stream_notes
        stream_id = notes.stream(request, strategy_id=self.name, start_ns=wall_ns())
        end: dict[str, Any] = {"code": "OK"}
        try:
            async for message in self._stub.StreamOrderUpdates(request):
                self.is_hearing = True
                notes.message(stream_id, message, time_ns=wall_ns())
                if message.resume_token:
                    self._token = message.resume_token
        except grpc.aio.AioRpcError as error:
            end = error_json(error)
            if self.is_hearing:
                self.was_told_its_token = end["code"] == "UNAVAILABLE" and bool(end.get("resume_token"))
        except asyncio.CancelledError:
            notes.stream_ended(stream_id, {"code": "CANCELLED"}, time_ns=wall_ns())
            raise
        self.is_hearing = False
        notes.stream_ended(stream_id, end, time_ns=wall_ns())

    async def _cancel(self, key: str) -> None:
        ref = pb.OrderRef(client_order_id=key, strategy_id=self.name)
        await self._sure("CancelOrder", lambda: pb.CancelOrderRequest(order=ref, wait_for_terminal=Duration(seconds=1)))

    async def _replace(self, key: str) -> None:
        self.keys += 1
        new_key = f"r{self.keys}"
        ref = pb.OrderRef(client_order_id=key, strategy_id=self.name)
        quantity = str(self._random.randint(1, 20))

        def request() -> pb.ReplaceOrderRequest:
            return pb.ReplaceOrderRequest(
                order=ref, client_order_id=new_key, quantity=quantity, valid_until=_in(self._random.choice(VALID_S))
            )

        await self._sure("ReplaceOrder", request)

    async def _sure(self, rpc: str, request: Any) -> dict[str, Any]:
        """Ask with the same key until there is a definite answer; one that leaves the key free is asked for again."""
        until = time.monotonic() + GIVE_UP_S
        attempt = 0
        while True:
            answer = await self._call(rpc, request())
            is_open = answer["code"] in AMBIGUOUS or (answer.get("key") == "free" and answer.get("reason") in _PASSING)
            if not is_open or time.monotonic() > until:
                return answer
            await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)] * self._random.uniform(0.7, 1.3))
            attempt += 1

    async def _call(self, rpc: str, request: Message) -> dict[str, Any]:
        begun_ns = wall_ns()
        deadline_ns = begun_ns + int(DEADLINE_S * _NANOS)
        call_id = self.notes.call(rpc, request, strategy_id=self.name, start_ns=begun_ns, deadline_ns=deadline_ns)
        try:
            answer = answer_json(await getattr(self._stub, rpc)(request, timeout=DEADLINE_S))
        except grpc.aio.AioRpcError as error:
            answer = error_json(error)
        self.notes.returned(call_id, answer, end_ns=wall_ns())
        return answer

    def _spec(self) -> pb.OrderSpec:
        random = self._random
        spec = pb.OrderSpec(
            symbol=random.choice(TRADED),
            side=pb.ORDER_SIDE_BUY,
            order_type=pb.ORDER_TYPE_MARKET,
            time_in_force=pb.TIME_IN_FORCE_DAY,
            quantity=str(random.randint(1, 20)),
        )
        if random.random() < 0.4:
            spec.symbol, spec.order_type, spec.limit_price = RESTING, pb.ORDER_TYPE_LIMIT, FAR_BELOW_USD
        return spec


_PASSING: Final = frozenset(
    {"ORDER_FEED_BLIND", "RECONCILING", "PRICE_UNAVAILABLE", "INSUFFICIENT_TIME", "VENUE_UNREACHABLE", "DRAINING",
     "JOURNAL_UNAVAILABLE", "VENUE_RATE_LIMITED", "NOT_REPLACEABLE_YET"}
)  # fmt: skip
"""Refusals that say: not now."""


def _in(seconds: float) -> Timestamp:
    at_ns = wall_ns() + int(seconds * _NANOS)
    return Timestamp(seconds=at_ns // _NANOS, nanos=at_ns % _NANOS)
