"""What every call passes: guarded bytes, request ids, deadlines, errors, limits, streams."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import grpc
import pytest

from gateway.application.order_updates import Heartbeat, Step
from gateway.domain.errors import (
    BuyingPowerExceeded,
    ClientOrderIdReused,
    Draining,
    FailedCheck,
    FieldInvalid,
    FieldViolation,
    OrderRejected,
    SlowConsumer,
    VenueRateLimited,
)
from gateway.domain.types import BudgetLane
from gateway.servicers.identity import LOCAL
from gateway.servicers.interceptors import DoorLimits, Doors
from gateway.telemetry import Telemetry
from tests.servicers.conftest import Served
from tests.servicers.fakes import Rooms, refused
from trading_gateway.v1 import market_data_pb2, trading_pb2 as pb, trading_pb2_grpc as rpc

SUBMIT_ORDER = "/trading_gateway.v1.TradingService/SubmitOrder"
STREAM = "/trading_gateway.v1.TradingService/StreamOrderUpdates"
Code = grpc.StatusCode

REQUEST = pb.SubmitOrderRequest(
    client_order_id="key-9",
    spec=pb.OrderSpec(
        symbol="AAPL",
        side=pb.ORDER_SIDE_BUY,
        quantity="1",
        order_type=pb.ORDER_TYPE_MARKET,
        time_in_force=pb.TIME_IN_FORCE_DAY,
    ),
)
READ = pb.GetOrderRequest(order=pb.OrderRef(order_id="order-1"))


def varint_field(number: int, value: int = 1) -> bytes:
    """The bytes of one varint field below 2048."""
    tag = number << 3
    return bytes([tag & 0x7F | 0x80, tag >> 7, value])


def nested(field: int, inside: bytes) -> bytes:
    """A short length-delimited field below 16."""
    return bytes([field << 3 | 2, len(inside)]) + inside


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"\xff\xff\xff", id="random"),
        pytest.param(b"\x0a\x7f\x01", id="truncated"),
        pytest.param(b"\x0c", id="end of a group that never began"),
        pytest.param(nested(1, nested(1, b"\xff\xfe")), id="a string that is not UTF-8"),
        pytest.param(varint_field(999)[:2] + b"\x80" * 11, id="a varint without end"),
        pytest.param(b"\xbb\x3e" * 200 + b"\xbc\x3e" * 200, id="200 levels of groups"),
    ],
)
async def test_malformed_bytes_are_an_invalid_argument_and_reach_nobody(
    channel: grpc.aio.Channel, rooms: Rooms, raw: bytes
) -> None:
    answer = await refused(channel.unary_unary(SUBMIT_ORDER)(raw))
    assert (answer.code, answer.reason, answer.metadata) == (
        Code.INVALID_ARGUMENT,
        "FIELD_INVALID",
        {},
    )  # no key can be read
    assert rooms.engine.asked == []


@pytest.mark.parametrize(
    ("raw", "message", "number"),
    [
        (varint_field(999), "SubmitOrderRequest", "999"),
        (nested(3, varint_field(777)), "OrderSpec", "777"),
        (nested(3, nested(14, varint_field(555))), "StopLoss", "555"),
    ],
)
async def test_unknown_fields_are_refused_by_name_and_number(
    channel: grpc.aio.Channel, rooms: Rooms, raw: bytes, message: str, number: str
) -> None:
    answer = await refused(channel.unary_unary(SUBMIT_ORDER)(REQUEST.SerializeToString() + raw))
    assert (answer.code, answer.reason) == (Code.INVALID_ARGUMENT, "UNKNOWN_FIELD")
    assert answer.metadata == {"key": "free", "field_number": number, "message": f"trading_gateway.v1.{message}"}
    assert rooms.engine.asked == []


async def test_an_unknown_field_cannot_hide_behind_an_encoding_that_grows(channel: grpc.aio.Channel) -> None:
    # A map entry without its value is read and written two bytes longer: as long as the unknown field.
    raw = nested(5, nested(1, b"a")) + b"\xf8\x3f\x01"
    answer = await refused(channel.unary_unary(SUBMIT_ORDER)(REQUEST.SerializeToString() + raw))
    assert answer.reason == "UNKNOWN_FIELD"


async def test_fields_in_any_order_and_twice_are_read_as_protobuf_reads_them(
    channel: grpc.aio.Channel, rooms: Rooms
) -> None:
    other = pb.SubmitOrderRequest(client_order_id="key-8")
    await channel.unary_unary(SUBMIT_ORDER)(other.SerializeToString() + REQUEST.SerializeToString())
    assert rooms.engine.asked[0][1].client_order_id == "key-9"


async def test_an_empty_request_names_what_is_required(channel: grpc.aio.Channel) -> None:
    answer = await refused(channel.unary_unary(SUBMIT_ORDER)(b""))
    assert (answer.code, answer.metadata) == (Code.INVALID_ARGUMENT, {"key": "free"})
    assert answer.fields == ("client_order_id", "spec")


async def test_a_method_that_does_not_exist_is_unimplemented(channel: grpc.aio.Channel) -> None:
    answer = await refused(channel.unary_unary("/trading_gateway.v1.TradingService/Nothing")(b""))
    assert answer.code is Code.UNIMPLEMENTED


async def _request_id(call: Any) -> str:
    with contextlib.suppress(grpc.aio.AioRpcError):
        await call
    return dict(await call.trailing_metadata())["x-request-id"]


async def test_the_request_id_is_the_callers_and_always_given_back(channel: grpc.aio.Channel) -> None:
    stub = rpc.TradingServiceStub(channel)
    assert await _request_id(stub.GetOrder(READ, metadata=[("x-request-id", "mine.1-2_3")])) == "mine.1-2_3"
    missing = pb.GetOrderRequest(order=pb.OrderRef(order_id="none"))
    assert await _request_id(stub.GetOrder(missing, metadata=[("x-request-id", "mine")])) == "mine"


@pytest.mark.parametrize("bad", ["", "x" * 65, "with blank", "a/b", "a=b", f"gw_emu_0a1b2c3d_{'A' * 43}"])
async def test_a_malformed_request_id_is_replaced(channel: grpc.aio.Channel, bad: str) -> None:
    stub = rpc.TradingServiceStub(channel)
    first = await _request_id(stub.GetOrder(READ, metadata=[("x-request-id", bad)]))
    second = await _request_id(stub.GetOrder(READ))
    assert first != bad
    assert len({first, second, ""}) == 3


async def test_the_call_context_has_caller_lane_deadline_and_request_id(
    channel: grpc.aio.Channel, rooms: Rooms
) -> None:
    stub = rpc.TradingServiceStub(channel)
    before = asyncio.get_running_loop().time()
    await stub.SubmitOrder(REQUEST, timeout=3, metadata=[("x-request-id", "r-1")])
    await stub.SubmitOrder(REQUEST, timeout=10**6)
    await stub.CancelOrder(pb.CancelOrderRequest(order=READ.order))
    short, clamped, cancel = (asked[-1] for asked in rooms.engine.asked)
    assert (short.caller.name, short.lane, short.request_id) == ("local", BudgetLane.ORDER, "r-1")
    assert 2.5 < short.deadline - before < 3.5
    assert 9.5 < clamped.deadline - before < 11
    assert cancel.lane is BudgetLane.CANCEL


async def test_a_call_without_a_deadline_ends_at_the_servers_own(
    serve: Callable[..., Awaitable[Served]], rooms: Rooms
) -> None:
    served = await serve(deadline_ms=100)
    canceled = asyncio.Event()

    async def never() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            canceled.set()

    rooms.engine.answer = never
    answer = await refused(rpc.TradingServiceStub(served.channel()).SubmitOrder(REQUEST))
    assert (answer.code, answer.reason, answer.metadata) == (Code.DEADLINE_EXCEEDED, "", {})
    assert canceled.is_set()


async def test_a_client_that_goes_away_cancels_its_call(channel: grpc.aio.Channel, rooms: Rooms) -> None:
    entered, canceled = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            canceled.set()
            raise

    rooms.engine.answer = wait
    call = rpc.TradingServiceStub(channel).SubmitOrder(REQUEST)
    await entered.wait()
    call.cancel()
    await asyncio.wait_for(canceled.wait(), 5)


async def test_a_cancel_that_leaks_from_inside_does_not_hang_the_client(
    channel: grpc.aio.Channel, rooms: Rooms
) -> None:
    rooms.engine.answer = asyncio.CancelledError()
    answer = await refused(rpc.TradingServiceStub(channel).SubmitOrder(REQUEST, timeout=5))
    assert (answer.code, answer.reason) == (Code.INTERNAL, "INTERNAL")


async def test_a_bug_leaves_as_an_id_and_nothing_else(
    channel: grpc.aio.Channel, rooms: Rooms, log: io.StringIO
) -> None:
    rooms.engine.answer = RuntimeError("secret-key=abc")
    answer = await refused(rpc.TradingServiceStub(channel).SubmitOrder(REQUEST, metadata=[("x-request-id", "r-7")]))
    assert (answer.code, answer.message, answer.reason) == (Code.INTERNAL, "internal error", "INTERNAL")
    assert set(answer.metadata) == {"error_id"}
    logged = log.getvalue()
    assert answer.metadata["error_id"] in logged
    assert "RuntimeError" in logged
    assert '"request_id": "r-7"' in logged


@pytest.mark.parametrize(
    ("error", "code", "reason", "key"),
    [
        (BuyingPowerExceeded("no"), Code.FAILED_PRECONDITION, "RISK_BUYING_POWER", "spent"),
        (ClientOrderIdReused("no"), Code.ALREADY_EXISTS, "CLIENT_ORDER_ID_REUSED", "taken"),
        (VenueRateLimited("no", retry_after_ms=1_250), Code.RESOURCE_EXHAUSTED, "VENUE_RATE_LIMIT", "free"),
        (OrderRejected("no"), Code.FAILED_PRECONDITION, "VENUE_REJECTED", "spent"),
        (OrderRejected("no", is_bad_value=True), Code.INVALID_ARGUMENT, "VENUE_REJECTED", "spent"),
        (Draining("no"), Code.UNAVAILABLE, "DRAINING", "free"),
    ],
)
async def test_refusals_say_code_reason_and_key(
    channel: grpc.aio.Channel, rooms: Rooms, error: Exception, code: grpc.StatusCode, reason: str, key: str
) -> None:
    rooms.engine.answer = error
    answer = await refused(rpc.TradingServiceStub(channel).SubmitOrder(REQUEST))
    assert (answer.code, answer.reason, answer.metadata["key"]) == (code, reason, key)
    assert answer.retry_s == {"VENUE_RATE_LIMIT": 1.25, "DRAINING": 1.0}.get(reason)


async def test_calls_without_a_key_say_nothing_of_one(channel: grpc.aio.Channel, rooms: Rooms) -> None:
    rooms.engine.answer = BuyingPowerExceeded("no")
    cancel = pb.CancelOrderRequest(order=READ.order)
    assert (await refused(rpc.TradingServiceStub(channel).CancelOrder(cancel))).metadata == {}


async def test_failed_checks_and_long_texts_fit_into_a_status(channel: grpc.aio.Channel, rooms: Rooms) -> None:
    checks = [FailedCheck("RISK_BUYING_POWER", "subject" * 50, "description" * 100)] * 50
    rooms.engine.answer = BuyingPowerExceeded("m" * 20_000, checks=checks, metadata={"n" * 99: "v" * 9_999})
    answer = await refused(rpc.TradingServiceStub(channel).SubmitOrder(REQUEST))
    assert answer.code is Code.FAILED_PRECONDITION
    assert len(answer.message.encode()) <= 512
    assert set(answer.checks) == {"RISK_BUYING_POWER"}
    rooms.engine.answer = FieldInvalid("ü" * 9_999, violations=[FieldViolation("ü" * 999, "ü" * 999)] * 99)
    answer = await refused(rpc.TradingServiceStub(channel).SubmitOrder(REQUEST))
    assert answer.code is Code.INVALID_ARGUMENT
    assert answer.reason == "FIELD_INVALID"


async def test_too_many_calls_are_refused_but_never_a_cancel_or_a_known_key(
    serve: Callable[..., Awaitable[Served]], rooms: Rooms
) -> None:
    served = await serve(concurrent_rpcs_max=20, streams_max=17)  # leaves 2 calls
    go_on, entered = asyncio.Event(), asyncio.Semaphore(0)

    async def wait() -> None:
        entered.release()
        await go_on.wait()
        raise Draining("over")

    rooms.engine.answer = wait
    stub = rpc.TradingServiceStub(served.channel())
    held = [asyncio.create_task(refused(stub.SubmitOrder(REQUEST))) for _ in range(2)]
    for _ in held:
        await entered.acquire()
    answer = await refused(stub.GetOrder(READ))
    assert (answer.code, answer.reason, answer.metadata) == (Code.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS", {})
    assert answer.retry_s is not None
    answer = await refused(stub.SubmitOrder(REQUEST))
    assert (answer.code, answer.reason, answer.metadata) == (
        Code.RESOURCE_EXHAUSTED,
        "TOO_MANY_CALLS",
        {"key": "free"},
    )
    known = pb.SubmitOrderRequest(client_order_id="key-1", spec=REQUEST.spec)
    held.append(asyncio.create_task(refused(stub.SubmitOrder(known))))  # the engine says what became of it
    await entered.acquire()
    cancel = asyncio.create_task(refused(stub.CancelOrder(pb.CancelOrderRequest(order=READ.order))))
    await entered.acquire()
    now = asyncio.get_running_loop().time()
    assert [asked[-1].deadline > now for asked in rooms.engine.asked] == [True, True, False, False]  # who may wait
    go_on.set()
    assert {(await task).reason for task in [*held, cancel]} == {"DRAINING"}
    rooms.engine.answer = None
    await stub.SubmitOrder(REQUEST)


def step(sequence: int) -> Step:
    return Step(sequence, f"token-{sequence}", Heartbeat(True, 5))


async def test_streams_are_counted(serve: Callable[..., Awaitable[Served]], rooms: Rooms) -> None:
    served = await serve(streams_max=1)
    stub = rpc.TradingServiceStub(served.channel())
    first = stub.StreamOrderUpdates(pb.StreamOrderUpdatesRequest())
    await first.initial_metadata()
    answer = await refused(stub.StreamOrderUpdates(pb.StreamOrderUpdatesRequest()).read())
    assert (answer.code, answer.reason, answer.metadata) == (Code.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS", {})
    first.cancel()
    await asyncio.wait_for(rooms.updates.closed.wait(), 5)
    second = stub.StreamOrderUpdates(pb.StreamOrderUpdatesRequest())
    rooms.updates.steps.put_nowait(step(1))
    assert (await second.read()).sequence == 1


async def test_a_stream_says_its_request_id_before_there_is_anything_to_read(channel: grpc.aio.Channel) -> None:
    call = rpc.TradingServiceStub(channel).StreamOrderUpdates(
        pb.StreamOrderUpdatesRequest(), metadata=[("x-request-id", "s-1")]
    )
    assert dict(await call.initial_metadata())["x-request-id"] == "s-1"
    call.cancel()


async def test_an_error_on_a_stream_names_the_token_of_the_last_message(
    channel: grpc.aio.Channel, rooms: Rooms
) -> None:
    call = rpc.TradingServiceStub(channel).StreamOrderUpdates(pb.StreamOrderUpdatesRequest())
    for item in (step(1), step(2), SlowConsumer("too far behind")):
        rooms.updates.steps.put_nowait(item)
    assert [message.resume_token for message in (await call.read(), await call.read())] == ["token-1", "token-2"]
    answer = await refused(call.read())
    assert (answer.code, answer.reason, answer.metadata) == (
        Code.RESOURCE_EXHAUSTED,
        "SLOW_CONSUMER",
        {"resume_token": "token-2"},
    )


async def test_a_malformed_stream_request_is_refused_like_any_other(channel: grpc.aio.Channel, rooms: Rooms) -> None:
    answer = await refused(channel.unary_stream(STREAM)(b"\xff").read())
    assert (answer.code, answer.reason) == (Code.INVALID_ARGUMENT, "FIELD_INVALID")
    assert rooms.updates.asked == []


async def test_a_bug_on_a_stream_leaves_as_an_id(channel: grpc.aio.Channel, rooms: Rooms) -> None:
    rooms.updates.steps.put_nowait(RuntimeError("secret"))
    answer = await refused(rpc.TradingServiceStub(channel).StreamOrderUpdates(pb.StreamOrderUpdatesRequest()).read())
    assert (answer.code, answer.message, set(answer.metadata)) == (Code.INTERNAL, "internal error", {"error_id"})


async def test_bytes_of_raw_methods_pass_as_they_are(channel: grpc.aio.Channel, rooms: Rooms) -> None:
    rooms.frame = market_data_pb2.StreamQuotesResponse(batch_sequence=5).SerializeToString()
    call = channel.unary_stream("/trading_gateway.v1.MarketDataService/StreamQuotes")(b"")
    assert await call.read() == rooms.frame
    assert await call.read() is grpc.aio.EOF


async def test_a_reader_that_takes_nothing_is_ended_and_told_when_it_reads_again(
    serve: Callable[..., Awaitable[Served]], rooms: Rooms
) -> None:
    served = await serve(write_blocked_ms=300)
    rooms.frame = market_data_pb2.StreamQuotesResponse(
        status=market_data_pb2.StreamStatus(stale_symbols=["x" * 1000] * 500)
    ).SerializeToString()
    rooms.frame_count = 10_000
    small = served.channel(("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 16_384))
    call = small.unary_stream("/trading_gateway.v1.MarketDataService/StreamQuotes")(b"")
    await call.initial_metadata()
    doors = served.server._doors
    for _ in range(300):
        if not doors._streams:
            break
        await asyncio.sleep(0.02)  # real time passes while the socket stays full
    assert not doors._streams
    read = 0

    async def to_the_end() -> None:
        nonlocal read
        async for _ in call:
            read += 1

    answer = await refused(to_the_end())
    assert (answer.code, answer.reason) == (Code.RESOURCE_EXHAUSTED, "SLOW_CONSUMER")
    assert read < rooms.frame_count


async def test_blocked_streams_are_told_by_the_clock_alone() -> None:
    now = 100.0
    doors = Doors(Telemetry(), DoorLimits(write_blocked_ms=30_000), monotonic=lambda: now)
    ended: list[str] = []

    class Task:
        def cancel(self) -> None:
            ended.append("canceled")

    stream = doors._open_stream(Task(), LOCAL)  # type: ignore[arg-type]
    doors.end_blocked_streams()
    stream.writing_since = 100.0
    now = 129.9
    doors.end_blocked_streams()
    assert ended == []
    now = 130.0
    doors.end_blocked_streams()
    doors.end_blocked_streams()
    assert ended == ["canceled"]
    assert isinstance(stream.ended_by, SlowConsumer)


async def test_an_unknown_field_says_nothing_of_a_known_key(channel: grpc.aio.Channel, rooms: Rooms) -> None:
    """A request with a field of a newer client, under a key whose order may be live, is told that the key is taken."""
    raw = REQUEST.SerializeToString() + varint_field(999)
    answer = await refused(channel.unary_unary(SUBMIT_ORDER)(raw))
    assert (answer.reason, answer.metadata["key"]) == ("UNKNOWN_FIELD", "free")
    rooms.orders.known.append(replace(rooms.orders.known[0], client_order_id=REQUEST.client_order_id))
    answer = await refused(channel.unary_unary(SUBMIT_ORDER)(raw))
    assert (answer.reason, answer.metadata["key"]) == ("CLIENT_ORDER_ID_REUSED", "taken")
    assert rooms.engine.asked == []
