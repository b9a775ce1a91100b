"""A call whose request does not come gives its place back; nobody else notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.servicers.doorway import Doorway
from tests.fuzz.frames import RawConnection
from tests.servicers.conftest import Served

Start = Callable[..., Awaitable[Served]]
PATH: Final = "/trading_gateway.v1.TradingService/GetOrder"
STREAM_PATH: Final = "/trading_gateway.v1.TradingService/StreamOrderUpdates"
CALL_TASK: Final = "HandleExceptions["
EMPTY: Final = b"\0\0\0\0\0"
WAIT_MS: Final = 300
WAIT_S_MAX: Final = 10.0


@pytest.fixture
async def served(serve: Start) -> Served:
    return await serve(request_wait_ms=WAIT_MS)


@pytest.fixture
async def connection(served: Served) -> AsyncIterator[RawConnection]:
    connection = await asyncio.to_thread(RawConnection, served.address)
    yield connection
    connection.close()


def calls() -> int:
    return sum(task.get_name().startswith(CALL_TASK) for task in asyncio.all_tasks())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S_MAX):
        while not condition():  # noqa: ASYNC110 - gRPC's own tasks tell nobody
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("path", [PATH, STREAM_PATH])
async def test_a_call_without_a_request_gives_its_place_back(connection: RawConnection, path: str) -> None:
    """Headers alone, or half a message."""
    for number in range(20):
        call = await asyncio.to_thread(connection.begin, path)
        if number % 2:
            await asyncio.to_thread(connection.data, call, b"\0\0\0\0\x09half", ends=False)
    await until(lambda: calls() == 20)
    await until(lambda: calls() == 0)


async def test_the_connection_and_everybody_else_go_on(served: Served, connection: RawConnection) -> None:
    await asyncio.to_thread(connection.begin, PATH)
    await until(lambda: calls() == 1)
    health = health_pb2_grpc.HealthStub(served.channel())
    assert (await health.Check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING
    await until(lambda: calls() == 0)
    call = await asyncio.to_thread(connection.begin, PATH)
    await asyncio.to_thread(connection.data, call, EMPTY)
    assert await asyncio.to_thread(connection.status_of, call, WAIT_S_MAX) == "3"


async def test_a_stream_that_was_asked_for_is_not_touched(served: Served) -> None:
    watch = health_pb2_grpc.HealthStub(served.channel()).Watch(health_pb2.HealthCheckRequest())
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    await asyncio.sleep(2 * WAIT_MS / 1_000)
    assert not watch.done()
    watch.cancel()


async def test_what_was_given_up_or_has_come_is_forgotten(served: Served, connection: RawConnection) -> None:
    doorway = served.server._doorway
    assert isinstance(doorway, Doorway)
    waiting: dict[Any, int] = doorway._waiting
    for _ in range(50):
        call = await asyncio.to_thread(connection.begin, PATH)
        await asyncio.to_thread(connection.reset, call)
    health = health_pb2_grpc.HealthStub(served.channel())
    for _ in range(5):
        await health.Check(health_pb2.HealthCheckRequest())
    await until(lambda: not waiting and not calls())
