"""One client's limits over real sockets: what is refused beyond them, what is only delayed, what slows down."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from gateway.domain.errors import Draining
from gateway.services.client_limits import BURST_S, ClientBounds, ClientLimits
from tests.servicers.conftest import Served
from tests.servicers.fakes import Rooms, refused
from tests.servicers.test_doors import READ, REQUEST
from trading_gateway.v1 import (
    account_pb2,
    account_pb2_grpc,
    market_data_pb2,
    market_data_pb2_grpc,
    risk_pb2,
    risk_pb2_grpc,
    trading_pb2 as pb,
    trading_pb2_grpc as rpc,
)

Serve = Callable[..., Awaitable[Served]]
Code = grpc.StatusCode
LOOP_S = 1.0
FAULTS_PER_SECOND = ClientBounds().faults_per_second
KNOWN = pb.SubmitOrderRequest(client_order_id="key-1", spec=REQUEST.spec)
CANCEL = pb.CancelOrderRequest(order=READ.order)
SUBMIT_ORDER = "/trading_gateway.v1.TradingService/SubmitOrder"


def limits(**bounds: int) -> ClientLimits:
    return ClientLimits(ClientBounds(**bounds), time.monotonic, time.time_ns)


class Held:
    """Calls that are under way until they are let go."""

    def __init__(self, rooms: Rooms) -> None:
        self._go_on = asyncio.Event()
        self._entered = asyncio.Semaphore(0)
        self._calls: list[asyncio.Task[Any]] = []
        rooms.engine.answer = self._wait

    async def hold(self, call: Any) -> None:
        """Begin a call, and wait until its servicer has it."""
        self._calls.append(asyncio.create_task(refused(call)))
        await asyncio.wait_for(self._entered.acquire(), 5)

    async def let_go(self) -> None:
        self._go_on.set()
        assert {(await call).reason for call in self._calls} == {"DRAINING"}

    async def _wait(self) -> None:
        self._entered.release()
        await self._go_on.wait()
        raise Draining("over")


async def seconds(work: Awaitable[Any]) -> float:
    began = time.monotonic()
    await work
    return time.monotonic() - began


async def test_a_call_too_many_is_refused_but_no_cancel_and_no_known_key(serve: Serve, rooms: Rooms) -> None:
    served = await serve(clients=limits(calls_in_flight_max=2))
    stub, held = rpc.TradingServiceStub(served.channel()), Held(rooms)
    await held.hold(stub.SubmitOrder(REQUEST))
    await held.hold(stub.CancelOrder(CANCEL))
    answer = await refused(stub.GetOrder(READ))
    assert (answer.code, answer.reason) == (Code.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS")
    assert (answer.metadata, answer.retry_s) == ({"quota": "client:calls"}, 0.1)
    answer = await refused(stub.SubmitOrder(REQUEST))
    assert (answer.reason, answer.metadata) == ("TOO_MANY_CALLS", {"quota": "client:calls", "key": "free"})
    await held.hold(stub.CancelOrder(CANCEL))
    await held.hold(stub.SubmitOrder(KNOWN))
    now = asyncio.get_running_loop().time()
    may_wait = [asked[-1].deadline > now for asked in rooms.engine.asked]
    assert may_wait == [True, True, True, False], "a cancel has room of its own, a known key is told where it stands"
    other = rpc.TradingServiceStub(served.channel())
    assert (await other.GetOrder(READ)).order.order_id == "order-1"
    await held.let_go()
    assert (await stub.GetOrder(READ)).order.order_id == "order-1"


async def test_a_stream_too_many_and_symbols_too_many_are_refused(serve: Serve, rooms: Rooms) -> None:
    served = await serve(clients=limits(streams_max=2, symbols_max=3))
    channel = served.channel()
    orders, market = rpc.TradingServiceStub(channel), market_data_pb2_grpc.MarketDataServiceStub(channel)
    held_open = asyncio.Event()

    async def silence() -> AsyncIterator[bytes]:
        await held_open.wait()
        yield b""

    rooms.frames = silence  # type: ignore[method-assign]
    served.server._servicers.market_data._frames = silence  # type: ignore[attr-defined]
    first = market.StreamQuotes(market_data_pb2.StreamQuotesRequest(symbols=["A", "B", "A"]))
    await first.initial_metadata()
    answer = await refused(market.StreamQuotes(market_data_pb2.StreamQuotesRequest(symbols=["C", "D"])).read())
    assert (answer.code, answer.reason) == (Code.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS")
    assert answer.metadata == {"quota": "client:symbols"}
    second = orders.StreamOrderUpdates(pb.StreamOrderUpdatesRequest())
    await second.initial_metadata()
    answer = await refused(orders.StreamOrderUpdates(pb.StreamOrderUpdatesRequest()).read())
    assert (answer.reason, answer.metadata, answer.retry_s) == ("TOO_MANY_STREAMS", {"quota": "client:streams"}, 0.1)
    second.cancel()
    await asyncio.wait_for(rooms.updates.closed.wait(), 5)
    third = orders.StreamOrderUpdates(pb.StreamOrderUpdatesRequest())
    await third.initial_metadata()
    third.cancel()
    held_open.set()


async def test_an_order_too_early_is_refused_and_what_may_not_be_is_delayed(serve: Serve, rooms: Rooms) -> None:
    served = await serve(clients=limits(orders_per_second=2))
    channel = served.channel()
    stub, risk = rpc.TradingServiceStub(channel), risk_pb2_grpc.RiskServiceStub(channel)
    await asyncio.gather(*(stub.SubmitOrder(REQUEST) for _ in range(4)))
    answer = await refused(stub.SubmitOrder(REQUEST))
    assert (answer.code, answer.reason) == (Code.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS")
    assert answer.metadata == {"quota": "client:orders", "key": "free"}
    assert answer.retry_s is not None
    assert 0.1 < answer.retry_s <= 0.5
    assert 0.1 < await seconds(stub.SubmitOrder(KNOWN)) < 1.9, "a known key waits, and is answered"
    await asyncio.gather(*(stub.CancelOrder(CANCEL) for _ in range(4)))
    assert 0.1 < await seconds(stub.CancelOrder(CANCEL)) < 1.9, "cancels have a rate of their own, and wait"
    halt = risk_pb2.SetTradingStateRequest(mode=risk_pb2.TRADING_MODE_HALTED, reason="test")
    before = time.monotonic()
    for _ in range(20):
        await risk.SetTradingState(halt)
    assert time.monotonic() - before < 2.0, "to stop is never slowed down"
    assert (await stub.GetOrder(READ)).order.order_id == "order-1"


async def answers_of_a_loop(call: Callable[[], Awaitable[Any]], code: grpc.StatusCode) -> int:
    """How often a loop that waits for each answer is answered in a second."""
    end, answered = time.monotonic() + LOOP_S, 0
    while time.monotonic() < end:
        assert (await refused(call())).code is code
        answered += 1
    return answered


@pytest.mark.parametrize(
    ("path", "raw", "code"),
    [
        pytest.param(SUBMIT_ORDER, b"\xff\xff", Code.INVALID_ARGUMENT, id="malformed bytes"),
        pytest.param(SUBMIT_ORDER, b"", Code.INVALID_ARGUMENT, id="invalid fields"),
        pytest.param("/trading_gateway.v1.TradingService/Nothing", b"", Code.UNIMPLEMENTED, id="no such method"),
    ],
)
async def test_a_loop_of_garbage_slows_itself_down(serve: Serve, path: str, raw: bytes, code: grpc.StatusCode) -> None:
    served = await serve()
    wrong = served.channel().unary_unary(path)
    free = FAULTS_PER_SECOND * (BURST_S + LOOP_S)
    assert await answers_of_a_loop(lambda: wrong(raw), code) <= free + 1
    stub = rpc.TradingServiceStub(served.channel())
    assert await seconds(stub.GetOrder(READ)) < LOOP_S / 2, "another connection is another client"


async def test_what_is_said_of_a_key_after_a_delay_is_true_then(serve: Serve, rooms: Rooms) -> None:
    served = await serve()
    stub = rpc.TradingServiceStub(served.channel())
    wrong = pb.SubmitOrderRequest(client_order_id="key-9")
    count = int(FAULTS_PER_SECOND * (BURST_S + 1))  # those beyond the burst wait, up to a second
    calls = [asyncio.create_task(refused(stub.SubmitOrder(wrong))) for _ in range(count)]
    done, held = await asyncio.wait(calls, timeout=0.3)
    assert done
    assert held
    rooms.orders.known.append(replace(rooms.orders.known[0], client_order_id="key-9"))
    assert {(await call).metadata["key"] for call in done} == {"free"}
    assert {(await call).metadata["key"] for call in held} == {"taken"}


async def test_a_large_answer_counts_as_more_than_one_read(serve: Serve, rooms: Rooms) -> None:
    served = await serve(clients=limits(reads_per_second=10))
    channel = served.channel()
    account = account_pb2_grpc.AccountServiceStub(channel)

    async def reads_left() -> int:
        buckets = (await account.GetQuota(account_pb2.GetQuotaRequest())).quota.buckets
        return next(bucket.remaining for bucket in buckets if bucket.name == "client:reads")

    rooms.orders.known *= 1_000
    before = await reads_left()
    page = await rpc.TradingServiceStub(channel).ListOrders(pb.ListOrdersRequest(page_size=500))
    cost = before - await reads_left()
    assert page.ByteSize() // (16 * 1024) == 2
    assert cost in {3, 4}, "one call, two for its size, one for the question what is left; some have come back"


async def test_requests_on_a_stream_are_read_at_the_rate_of_reads(serve: Serve) -> None:
    served = await serve(clients=limits(reads_per_second=20))
    stub = reflection_pb2_grpc.ServerReflectionStub(served.channel())
    question = reflection_pb2.ServerReflectionRequest(list_services="*")
    call = stub.ServerReflectionInfo()
    began = time.monotonic()
    for _ in range(40):  # the stream itself took 10 of a burst of 40
        await call.write(question)
        await call.read()
    assert 0.4 < time.monotonic() - began < 5
    call.cancel()


async def test_a_client_reads_what_it_has_left(serve: Serve) -> None:
    served = await serve(clients=limits(symbols_max=0))
    channel = served.channel()
    stream = rpc.TradingServiceStub(channel).StreamOrderUpdates(pb.StreamOrderUpdatesRequest())
    await stream.initial_metadata()
    quota = (await account_pb2_grpc.AccountServiceStub(channel).GetQuota(account_pb2.GetQuotaRequest())).quota
    left = {bucket.name: (bucket.limit, bucket.remaining) for bucket in quota.buckets}
    assert left.pop("client:reads") in {(400, 389), (400, 390)}
    assert left == {
        "venue:trading": (200, 200),
        "client:orders": (100, 100),
        "client:calls": (32, 31),
        "client:streams": (16, 15),
        "client:connections": (8, 7),
        "client:request_bytes": (65_536, 65_536),
    }
    stream.cancel()
