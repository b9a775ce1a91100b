"""Many clients at once over real sockets: one key from everywhere, hasty callers, and everybody back after a break.

What must come out is one order for each key whatever its callers do, and every event once for each reader.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random

import grpc
import pytest

from tests.bad_requests import spec
from tests.gateway_host import NO_CLIENT_LIMITS, GatewayHost, RunningGateway
from tests.servicers.fakes import read_error
from trading_gateway.v1 import trading_pb2 as pb, trading_pb2_grpc

CONNECTIONS = 50
HASTY_KEYS = 120
HASTY_SEED = 53
DEADLINES_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
READERS = 200
EVENTS = 30
PATIENT_S = 20.0
BACK_S_MAX = 10.0
"""Twice what is promised: this machine may have other things to do."""
POST = "POST /v2/orders"

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def gateway(start_gateway: GatewayHost) -> RunningGateway:
    """One that takes all that a few connections ask."""
    return start_gateway(**NO_CLIENT_LIMITS)


@asynccontextmanager
async def connections(gateway: RunningGateway, count: int) -> AsyncIterator[list[trading_pb2_grpc.TradingServiceStub]]:
    """So many clients, each with a connection of its own."""
    async with AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(
                grpc.aio.insecure_channel(gateway.target, options=(("grpc.use_local_subchannel_pool", 1),))
            )
            for _ in range(count)
        ]
        await asyncio.gather(*(channel.channel_ready() for channel in channels))
        yield [trading_pb2_grpc.TradingServiceStub(channel) for channel in channels]


def request(key: str, **fields: str) -> pb.SubmitOrderRequest:
    return pb.SubmitOrderRequest(client_order_id=key, spec=spec(**fields))


async def test_one_key_from_fifty_connections_is_one_order_and_fifty_equal_answers(gateway: RunningGateway) -> None:
    async with connections(gateway, CONNECTIONS) as stubs:
        await stubs[0].SubmitOrder(request("first"), timeout=PATIENT_S)
        answers = await asyncio.gather(*(stub.SubmitOrder(request("k"), timeout=PATIENT_S) for stub in stubs))
    assert len({answer.order.order_id for answer in answers}) == 1
    assert sum(not answer.replayed for answer in answers) == 1
    assert gateway.emulator.requests(POST) == 2


async def test_of_two_contents_that_race_for_a_key_one_wins_and_the_other_is_told(gateway: RunningGateway) -> None:
    async def ask(stub: trading_pb2_grpc.TradingServiceStub, quantity: str) -> tuple[str, str, str]:
        try:
            answer = await stub.SubmitOrder(request("k", quantity=quantity), timeout=PATIENT_S)
        except grpc.aio.AioRpcError as error:
            refused = read_error(error)
            return error.code().name, quantity, refused.metadata.get("key", "")
        return "OK", answer.order.spec.quantity, answer.order.order_id

    async with connections(gateway, CONNECTIONS) as stubs:
        found = await asyncio.gather(*(ask(stub, str(1 + number % 2)) for number, stub in enumerate(stubs)))
    won = {entry for entry in found if entry[0] == "OK"}
    lost = {entry for entry in found if entry[0] != "OK"}
    assert len(won) == 1
    winner = next(iter(won))[1]
    assert lost == {("ALREADY_EXISTS", "2" if winner == "1" else "1", "taken")}
    assert gateway.emulator.requests(POST) == 1


async def test_callers_that_hang_up_at_any_moment_never_make_a_second_order(gateway: RunningGateway) -> None:
    random = Random(HASTY_SEED)
    keys = [f"hasty-{number}" for number in range(HASTY_KEYS)]
    ends: Counter[str] = Counter()

    async def hurry(stub: trading_pb2_grpc.TradingServiceStub, key: str, deadline_ms: int, cancel: bool) -> None:
        call = stub.SubmitOrder(request(key), timeout=PATIENT_S if cancel else deadline_ms / 1_000)
        if cancel:
            asyncio.get_running_loop().call_later(deadline_ms / 1_000, call.cancel)
        try:
            await call
            ends["OK"] += 1
        except asyncio.CancelledError:
            ends["CANCELLED"] += 1
        except grpc.aio.AioRpcError as error:
            ends[error.code().name] += 1

    async with connections(gateway, 4) as stubs:
        await stubs[0].SubmitOrder(request("first"), timeout=PATIENT_S)
        hasty = [(key, random.choice(DEADLINES_MS), random.random() < 0.5) for key in keys for _ in range(2)]
        await asyncio.gather(*(hurry(random.choice(stubs), *how) for how in hasty))
        answers = [await stubs[0].SubmitOrder(request(key), timeout=PATIENT_S) for key in keys]
        kept = await stubs[0].ListOrders(pb.ListOrdersRequest(page_size=500), timeout=PATIENT_S)
    print(f"seed {HASTY_SEED}: {dict(ends)}")
    assert len({answer.order.order_id for answer in answers}) == HASTY_KEYS
    assert {answer.order.state for answer in answers} <= {pb.ORDER_STATE_ACCEPTED, pb.ORDER_STATE_WORKING}
    assert len(kept.orders) == gateway.emulator.requests(POST) == HASTY_KEYS + 1
    assert min(ends["OK"], ends["DEADLINE_EXCEEDED"], ends["CANCELLED"]) > 0


async def test_two_hundred_readers_that_come_back_at_once_lose_nothing(gateway: RunningGateway) -> None:
    async with connections(gateway, READERS) as stubs:
        live = stubs[0].StreamOrderUpdates(pb.StreamOrderUpdatesRequest(live_only=True))
        tokens = [(await live.read()).resume_token]
        for number in range(EVENTS):
            await stubs[0].SubmitOrder(request(f"k{number}"), timeout=PATIENT_S)
        told: list[pb.StreamOrderUpdatesResponse] = []
        while sum(one.event.kind == pb.OrderEvent.KIND_WORKING for one in told) < EVENTS:
            message = await live.read()
            if message.HasField("event"):
                told.append(message)
                tokens.append(message.resume_token)
        live.cancel()
        last = told[-1].sequence

        async def come_back(stub: trading_pb2_grpc.TradingServiceStub, place: int) -> list[int]:
            stream = stub.StreamOrderUpdates(pb.StreamOrderUpdatesRequest(resume_token=tokens[place]))
            found: list[int] = []
            while not found or found[-1] < last:
                message = await stream.read()
                if message.HasField("event"):
                    found.append(message.sequence)
            stream.cancel()
            return found

        places = [number % (len(tokens) - 1) for number in range(READERS)]
        async with asyncio.timeout(BACK_S_MAX):
            rests = await asyncio.gather(*map(come_back, stubs, places))
    for place, rest in zip(places, rests, strict=True):
        assert rest == [message.sequence for message in told[place:]]
