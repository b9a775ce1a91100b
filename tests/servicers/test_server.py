"""Where the server listens, what it shows of itself, and how it ends."""

from __future__ import annotations

import asyncio
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from gateway.application.order_updates import Heartbeat, Step
from gateway.servicers.addresses import ServerRefused
from gateway.servicers.permissions import METHODS, MethodWithoutPermission
from tests.servicers.conftest import Served, shipped
from tests.servicers.fakes import Rooms, read_error, refused
from trading_gateway.v1 import account_pb2, account_pb2_grpc, risk_pb2_grpc, trading_pb2 as pb, trading_pb2_grpc as rpc

Start = Callable[..., Awaitable[Served]]
Code = grpc.StatusCode
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
SERVICES = [
    f"trading_gateway.v1.{name}"
    for name in (
        "TradingService",
        "MarketDataService",
        "AccountService",
        "ReferenceDataService",
        "RiskService",
        "OperationsService",
        "SimulationService",
    )
]
SUBMIT = pb.SubmitOrderRequest(
    client_order_id="key-9",
    spec=pb.OrderSpec(
        symbol="AAPL",
        side=pb.ORDER_SIDE_BUY,
        quantity="1",
        order_type=pb.ORDER_TYPE_MARKET,
        time_in_force=pb.TIME_IN_FORCE_DAY,
    ),
)
ORDER = pb.OrderRef(order_id="order-1")


async def health_of(channel: grpc.aio.Channel, service: str) -> int:
    stub = health_pb2_grpc.HealthStub(channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status


@pytest.mark.parametrize("service", ["", *SERVICES])
async def test_health_is_serving_for_each_service(channel: grpc.aio.Channel, service: str) -> None:
    assert await health_of(channel, service) == SERVING


async def test_health_does_not_know_other_services(channel: grpc.aio.Channel) -> None:
    assert (await refused(health_of(channel, "nothing"))).code is Code.NOT_FOUND


async def reflect(
    channel: grpc.aio.Channel, version: str, *requests: reflection_pb2.ServerReflectionRequest
) -> list[reflection_pb2.ServerReflectionResponse]:
    call = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )(iter(requests))
    return [answer async for answer in call]


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_lists_and_describes_every_service(channel: grpc.aio.Channel, version: str) -> None:
    (listed,) = await reflect(channel, version, reflection_pb2.ServerReflectionRequest(list_services=""))
    names = {service.name for service in listed.list_services_response.service}
    reflections = {"grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"}
    assert names == {*SERVICES, "grpc.health.v1.Health", *reflections}
    asked = [reflection_pb2.ServerReflectionRequest(file_containing_symbol=name) for name in sorted(names)]
    for name, answer in zip(sorted(names), await reflect(channel, version, *asked), strict=True):
        files = [
            descriptor_pb2.FileDescriptorProto.FromString(raw)
            for raw in answer.file_descriptor_response.file_descriptor_proto
        ]
        assert name in {f"{file.package}.{service.name}" for file in files for service in file.service}


async def test_reflection_knows_the_details_of_rich_errors(channel: grpc.aio.Channel) -> None:
    names = ["google.rpc.ErrorInfo", "google.rpc.BadRequest", "google.rpc.RetryInfo", "google.rpc.PreconditionFailure"]
    asked = [reflection_pb2.ServerReflectionRequest(file_containing_symbol=name) for name in names]
    for answer in await reflect(channel, "v1", *asked):
        assert answer.HasField("file_descriptor_response")


async def test_every_served_method_has_a_row_and_every_row_a_method(served: Served) -> None:
    assert set(served.server._methods()) == set(METHODS)


async def test_a_method_without_a_row_keeps_the_server_from_starting(serve: Start) -> None:
    missing = "/trading_gateway.v1.TradingService/CancelOrders"
    with pytest.raises(MethodWithoutPermission, match="CancelOrders"):
        await serve(rules={path: rule for path, rule in METHODS.items() if path != missing})


async def test_a_method_that_is_added_without_a_row_keeps_the_server_from_starting(
    serve: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As generated code would register it, in a service that is there and in one that is new."""
    register = risk_pb2_grpc.add_RiskServiceServicer_to_server
    for service in ("trading_gateway.v1.RiskService", "trading_gateway.v1.BackDoor"):
        handlers = {"Surprise": grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"")}

        def add(servicer: object, server: grpc.aio.Server, service: str = service, more: object = handlers) -> None:
            register(servicer, server)
            server.add_registered_method_handlers(service, more)

        monkeypatch.setattr(risk_pb2_grpc, "add_RiskServiceServicer_to_server", add)
        with pytest.raises(MethodWithoutPermission, match=f"{service}/Surprise"):
            await serve()


async def test_a_second_server_on_the_port_refuses_to_start(serve: Start) -> None:
    first = await serve()
    with pytest.raises(ServerRefused, match=f"another process, perhaps another gateway, listens on {first.address}"):
        await serve(listen=first.address)
    assert await health_of(first.channel(), "") == SERVING


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "localhost:0", "127.0.0.2:0"])
async def test_loopback_addresses_are_served(serve: Start, listen: str) -> None:
    served = await serve(listen=listen)
    host, _, port = served.address.rpartition(":")
    assert host.startswith("127.")
    assert int(port) > 0
    assert await health_of(served.channel(), "") == SERVING


async def test_ipv6_loopback_is_served(serve: Start) -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no address ::1")
    served = await serve(listen="[::1]:0")
    assert await health_of(served.channel(), "") == SERVING


async def test_a_unix_socket_is_its_owners_and_not_taken_from_a_living_server(serve: Start, tmp_path: Path) -> None:
    path = tmp_path / "gateway.sock"
    served = await serve(listen=f"unix:{path}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(ServerRefused, match="another gateway"):
        await serve(listen=f"unix:{path}")
    assert await health_of(served.channel(), "") == SERVING


@pytest.mark.parametrize("greeting", [b"", b"\x16\x03\x01", b"PRI * HTTP/2.0\r\n"])
async def test_a_connection_that_says_nothing_is_closed(serve: Start, greeting: bytes) -> None:
    served = await serve(handshake_max_ms=200)
    host, _, port = served.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(greeting)
    async with asyncio.timeout(5):
        await reader.read()  # to its end
    writer.close()


def test_streams_may_not_take_every_place() -> None:
    with pytest.raises(ServerRefused, match="lock out cancels"):
        shipped(streams_max=10, concurrent_rpcs_max=10).door_limits()


async def test_a_message_beyond_the_limit_is_refused(channel: grpc.aio.Channel, rooms: Rooms) -> None:
    call = channel.unary_unary("/trading_gateway.v1.TradingService/SubmitOrder")
    assert (await refused(call(b"\x0a" * 65 * 1024))).code is Code.RESOURCE_EXHAUSTED
    assert rooms.engine.asked == []


@pytest.mark.parametrize(
    "metadata",
    [[("x-long", "v" * 40_000)], [(f"x-{number}", "v" * 20) for number in range(1_000)]],
    ids=["40 KB", "1,000 headers"],
)
async def test_headers_beyond_the_limit_are_refused(channel: grpc.aio.Channel, metadata: list[tuple[str, str]]) -> None:
    call = rpc.TradingServiceStub(channel).GetOrder(pb.GetOrderRequest(order=ORDER), metadata=metadata)
    assert (await refused(call)).code is Code.RESOURCE_EXHAUSTED


async def test_rpcs_beyond_the_hard_limit_are_refused_and_the_server_lives(serve: Start, rooms: Rooms) -> None:
    served = await serve(concurrent_rpcs_max=5, streams_max=1)
    go_on = asyncio.Event()

    async def wait() -> None:
        await go_on.wait()
        raise LookupError

    rooms.engine.answer = wait
    stub = rpc.TradingServiceStub(served.channel())
    calls = [asyncio.create_task(refused(stub.SubmitOrder(SUBMIT))) for _ in range(50)]
    await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    go_on.set()
    codes = [(await call).code for call in calls]
    assert set(codes) == {Code.RESOURCE_EXHAUSTED, Code.INTERNAL}
    assert await health_of(served.channel(), "") == SERVING


class Drain:
    """A server in the middle of its drain: the work behind it is not finished yet."""

    def __init__(self, served: Served) -> None:
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(served.server.drain(self._work))

    async def _work(self) -> None:
        self.reached.set()
        await self.go_on.wait()


async def test_a_draining_server_takes_no_streams_and_leaves_commands_to_the_engine(
    served: Served, rooms: Rooms
) -> None:
    channel = served.channel()
    stub = rpc.TradingServiceStub(channel)
    stream = stub.StreamOrderUpdates(pb.StreamOrderUpdatesRequest())
    rooms.updates.steps.put_nowait(Step(1, "token-1", Heartbeat(True, None)))
    await stream.read()
    drain = Drain(served)
    await drain.reached.wait()

    assert {await health_of(channel, service) for service in ("", *SERVICES)} == {NOT_SERVING}
    refusal = await refused(stub.StreamOrderUpdates(pb.StreamOrderUpdatesRequest()).read())
    assert (refusal.code, refusal.reason, refusal.metadata) == (Code.UNAVAILABLE, "DRAINING", {})
    await stub.SubmitOrder(SUBMIT)  # the engine looks its key up first, and refuses what is new
    await stub.CancelOrder(pb.CancelOrderRequest(order=ORDER))
    await stub.CancelOrders(pb.CancelOrdersRequest())
    await stub.GetOrder(pb.GetOrderRequest(order=ORDER))
    await account_pb2_grpc.AccountServiceStub(channel).GetAccount(account_pb2.GetAccountRequest())

    drain.go_on.set()
    ended = await refused(stream.read())
    assert (ended.code, ended.reason, ended.metadata) == (Code.UNAVAILABLE, "DRAINING", {"resume_token": "token-1"})
    assert rooms.updates.closed.is_set()
    await drain.task
    assert (await refused(stub.GetOrder(pb.GetOrderRequest(order=ORDER)))).code is Code.UNAVAILABLE


async def test_a_health_watch_is_told_and_ended(served: Served) -> None:
    watch = health_pb2_grpc.HealthStub(served.channel()).Watch(health_pb2.HealthCheckRequest(service=SERVICES[0]))
    assert (await watch.read()).status == SERVING
    drain = Drain(served)
    assert (await watch.read()).status == NOT_SERVING
    drain.go_on.set()
    assert (await refused(watch.read())).code is Code.UNAVAILABLE
    await drain.task


async def test_draining_twice_waits_for_the_first(served: Served) -> None:
    drain = Drain(served)
    await drain.reached.wait()
    second = asyncio.create_task(served.server.drain())
    drain.go_on.set()
    await asyncio.gather(drain.task, second)
    await served.server.wait_for_termination()


async def test_a_drain_ends_even_when_the_work_behind_fails(served: Served) -> None:
    async def fail() -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        await served.server.drain(fail)
    await served.server.wait_for_termination()


@pytest.mark.slow
async def test_pings_in_a_flood_are_answered_with_a_goodbye(serve: Start, rooms: Rooms) -> None:
    served = await serve(ping_interval_min_ms=300_000)
    entered = asyncio.Event()

    async def wait() -> None:
        entered.set()
        await asyncio.Event().wait()

    rooms.engine.answer = wait
    channel = served.channel(
        ("grpc.keepalive_time_ms", 10),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    )
    call = rpc.TradingServiceStub(channel).SubmitOrder(SUBMIT)
    await entered.wait()
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await call
    answer = read_error(failure.value)
    assert answer.code is Code.UNAVAILABLE
    assert "ping" in answer.message.lower()


async def test_a_small_message_that_unpacks_to_a_huge_one_is_refused(channel: grpc.aio.Channel, rooms: Rooms) -> None:
    call = channel.unary_unary("/trading_gateway.v1.TradingService/SubmitOrder")
    bomb = call(b"\0" * 10_000_000, compression=grpc.Compression.Gzip)
    assert (await refused(bomb)).code is Code.RESOURCE_EXHAUSTED
    assert rooms.engine.asked == []


async def test_reserved_and_binary_headers_are_ignored(channel: grpc.aio.Channel) -> None:
    metadata = [("x-strategy-id", "other"), ("stray-bin", b"\0\xff"), ("x-request-id", "r-1")]
    call = rpc.TradingServiceStub(channel).GetOrder(pb.GetOrderRequest(order=ORDER), metadata=metadata)
    assert (await call).order.strategy_id == "default"
