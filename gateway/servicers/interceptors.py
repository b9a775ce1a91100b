"""What every call passes before and after its servicer: `Doors`.

Guarded reading (malformed bytes, unknown fields), identity, deadlines, the request id, spans and metrics,
limits, and every exception to a status with details. gRPC's own interceptors are queried once a call and
awaited; a method's doors are wrapped around its handler once, when the server is built, so that a call pays
for what is done and not for layers. What is refused, and under which code, is `errors.py` and `wire/errors.py`.

Three habits of grpc.aio that this module exists for: it sends the text of an exception to the client, it
answers malformed bytes with UNKNOWN, and a CancelledError that leaks from inside a handler leaves the client
waiting for ever (grpc#29248).
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import grpc
import structlog
from google.rpc import status_pb2

from gateway.domain.errors import Draining, GatewayError, SlowConsumer, TooManyCalls, TooManyStreams
from gateway.domain.types import BudgetLane, CallContext
from gateway.servicers.errors import new_error_id
from gateway.servicers.identity import Metadata, enter_call, identify
from gateway.servicers.permissions import METHODS, MethodRule
from gateway.servicers.wire.errors import deadline_to_proto, error_to_proto, internal_to_proto
from gateway.servicers.wire.requests import Deserializer, guarded, lenient
from gateway.telemetry import MethodTelemetry, Telemetry

REQUEST_ID_HEADER: Final = "x-request-id"
STATUS_DETAILS_HEADER: Final = "grpc-status-details-bin"
RESUME_TOKEN_METADATA: Final = "resume_token"  # noqa: S105 - the name of an entry, not a secret

_OUR_PACKAGE: Final = "/trading_gateway."
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_REQUEST_ID_BYTES: Final = 8
_CALLS_RETRY_MS: Final = 100
_SWEEPS_PER_BLOCK: Final = 6
_NO_DEADLINE: Final = float("inf")

_log = structlog.get_logger(__name__)
_CODES: Final[Mapping[int, grpc.StatusCode]] = {code.value[0]: code for code in grpc.StatusCode}

Context = grpc.aio.ServicerContext[Any, Any]
UnaryBehavior = Callable[[Any, Context], Awaitable[Any]]
StreamBehavior = Callable[[Any, Context], AsyncIterator[Any] | Awaitable[None]]


@dataclass(frozen=True, slots=True)
class DoorLimits:
    """What one process serves at most.

    Attributes:
        deadline_ms: For calls without a deadline, and the longest that one is honoured. Streams have none.
        calls_max: Calls at once that are no streams; cancels are never refused for it.
        streams_max: Streams at once.
        write_blocked_ms: A stream whose reader has not taken a message for so long is ended.
    """

    deadline_ms: int = 10_000
    calls_max: int = 1_000
    streams_max: int = 1_000
    write_blocked_ms: int = 30_000


class _Stream:
    """One stream being served: since when a write is blocked, where to resume, and why it is ended."""

    __slots__ = ("ended_by", "resume_token", "task", "writing_since")

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self.task = task
        self.writing_since: float | None = None
        self.resume_token = ""
        self.ended_by: GatewayError | None = None

    def end(self, reason: GatewayError) -> None:
        """Stop serving it; the reader is told why, and where to go on."""
        if self.ended_by is None:
            self.ended_by = reason
            if self.resume_token:
                reason.metadata.setdefault(RESUME_TOKEN_METADATA, self.resume_token)
            self.task.cancel()


@dataclass(frozen=True, slots=True)
class _Method:
    """What the doors know about one method."""

    path: str
    rule: MethodRule
    read: Deserializer
    telemetry: MethodTelemetry


class Doors:
    """Wraps handlers. One object serves all methods of one server.

    Args:
        telemetry: Spans and metrics.
        limits: What is served at most.
        rules: Method → its row of the permission table.
        monotonic: Seconds; replaced in tests.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        limits: DoorLimits | None = None,
        rules: Mapping[str, MethodRule] = METHODS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._telemetry = telemetry
        self._limits = limits or DoorLimits()
        self._rules = rules
        self._monotonic = monotonic
        self._deadline_s = self._limits.deadline_ms / 1_000
        self._draining = False
        self._calls = 0
        self._streams: dict[asyncio.Task[Any], _Stream] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    def guard(self, path: str, handler: grpc.RpcMethodHandler[Any, Any]) -> grpc.RpcMethodHandler[Any, Any]:
        """The handler behind its doors.

        Raises:
            KeyError: The method has no row in the permission table.
        """
        reader = guarded if path.startswith(_OUR_PACKAGE) else lenient
        method = _Method(
            path,
            self._rules[path],
            reader(handler.request_deserializer),
            self._telemetry.method(path, is_stream=bool(handler.response_streaming)),
        )
        serialize = handler.response_serializer
        behavior: Any = handler.unary_unary or handler.unary_stream or handler.stream_stream
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(self._unary(method, behavior, serialize))
        if handler.unary_stream is not None:
            serve: Any = self._stream(method, behavior, method.read)
            return grpc.unary_stream_rpc_method_handler(serve, response_serializer=serialize)
        if handler.stream_stream is not None:
            serve = self._stream(method, behavior, lambda requests: requests)
            return grpc.stream_stream_rpc_method_handler(serve, method.read, serialize)
        raise TypeError(f"{path}: the contract has no calls that stream requests and answer once")

    def begin_drain(self) -> None:
        """From now on refuse calls that could add risk, and new streams; reads and cancels go on."""
        self._draining = True

    def end_streams(self) -> None:
        """End every stream with UNAVAILABLE, DRAINING and, where there is one, a resume token."""
        for stream in tuple(self._streams.values()):
            stream.end(Draining("the gateway is shutting down"))

    def end_blocked_streams(self) -> None:
        """End the streams whose reader has taken nothing for too long. Runs by itself while there are streams."""
        oldest = self._monotonic() - self._limits.write_blocked_ms / 1_000
        for stream in tuple(self._streams.values()):
            if stream.writing_since is not None and stream.writing_since <= oldest:
                stream.end(SlowConsumer(f"nothing was read for {self._limits.write_blocked_ms // 1_000} s"))

    def _unary(self, method: _Method, behavior: UnaryBehavior, serialize: Callable[[Any], bytes] | None) -> Any:
        """Close over everything that does not change from call to call: this is the hot path."""
        read, rule, telemetry = method.read, method.rule, method.telemetry
        measured, deadline_s, calls_max = telemetry.enabled, self._deadline_s, self._limits.calls_max
        refused_in_drain, is_cancel = rule.refused_in_drain, rule.lane is BudgetLane.CANCEL
        name = method.path.rpartition("/")[2]
        assert serialize is not None, f"{method.path}: only streams may write bytes of their own"

        async def serve(raw: bytes, context: Context) -> bytes:
            metadata = context.invocation_metadata() or ()
            request_id = _request_id(metadata)
            context.set_trailing_metadata(((REQUEST_ID_HEADER, request_id),))
            remaining_s = context.time_remaining()
            limit_s = deadline_s if remaining_s is None or remaining_s > deadline_s else remaining_s
            now = self._monotonic()
            enter_call(CallContext(identify(metadata), now + limit_s, rule.lane, request_id))
            structlog.contextvars.bind_contextvars(request_id=request_id, rpc=name)
            span = telemetry.begin(metadata, request_id) if measured else None
            # A shorter deadline is kept by gRPC itself, which cancels this task when it passes.
            timer = _DeadlineTimer(limit_s) if limit_s is deadline_s else None
            code = 0
            self._calls += 1
            try:
                if refused_in_drain and self._draining:
                    raise Draining("the gateway is shutting down")
                if self._calls > calls_max and not is_cancel:
                    raise TooManyCalls("too many calls at once", retry_after_ms=_CALLS_RETRY_MS)
                return serialize(await behavior(read(raw), context))
            except asyncio.CancelledError as error:
                code = _cancel_code(context)
                status = None if timer is None else timer.take_back(error)
                if status is None and _is_canceled_from_outside():
                    raise
                status = status or _bug(method.path, error)
                code = status.code
                await _abort(context, status, request_id)
            except Exception as error:
                status = _status_of(method, error)
                code = _code_number(context) if status is None else status.code
                if status is None:
                    raise
                await _abort(context, status, request_id)
            finally:
                self._calls -= 1
                if timer is not None:
                    timer.cancel()
                if span is not None:
                    telemetry.end(span, code, self._monotonic() - now)

        return serve

    def _stream(
        self, method: _Method, behavior: StreamBehavior, read: Callable[[Any], Any]
    ) -> Callable[[Any, Context], Awaitable[None]]:
        telemetry = method.telemetry
        name = method.path.rpartition("/")[2]

        async def serve(raw: Any, context: Context) -> None:
            metadata = context.invocation_metadata() or ()
            request_id = _request_id(metadata)
            context.set_trailing_metadata(((REQUEST_ID_HEADER, request_id),))
            now = self._monotonic()
            enter_call(CallContext(identify(metadata), _NO_DEADLINE, method.rule.lane, request_id))
            structlog.contextvars.bind_contextvars(request_id=request_id, rpc=name)
            span = telemetry.begin(metadata, request_id) if telemetry.enabled else None
            stream: _Stream | None = None
            code = 0
            try:
                stream = self._open_stream()
                await self._pump(stream, behavior(read(raw), context), context, request_id)
            except asyncio.CancelledError as error:
                code = _cancel_code(context)
                status = self._ended(method, stream)
                if status is None and _is_canceled_from_outside():
                    raise
                status = status or _bug(method.path, error)
                code = status.code
                await _abort(context, status, request_id)
            except Exception as error:
                status = _status_of(method, error)
                code = _code_number(context) if status is None else status.code
                if status is None:
                    raise
                await _abort(context, status, request_id)
            finally:
                self._close_stream(stream)
                if span is not None:
                    telemetry.end(span, code, self._monotonic() - now)

        return serve

    async def _pump(
        self, stream: _Stream, answers: AsyncIterator[Any] | Awaitable[None], context: Context, request_id: str
    ) -> None:
        if not isinstance(answers, AsyncIterator):  # Health's Watch writes for itself.
            await answers
            return
        monotonic, write = self._monotonic, context.write
        # At once, so that a reader knows that it is served before there is anything to read.
        await context.send_initial_metadata(((REQUEST_ID_HEADER, request_id),))
        async with aclosing(answers) as messages:  # type: ignore[type-var]
            async for message in messages:
                stream.writing_since = monotonic()
                await write(message)
                stream.writing_since = None
                stream.resume_token = getattr(message, RESUME_TOKEN_METADATA, "")

    def _open_stream(self) -> _Stream:
        if self._draining:
            raise Draining("the gateway is shutting down")
        if len(self._streams) >= self._limits.streams_max:
            raise TooManyStreams("too many streams are open")
        task = asyncio.current_task()
        assert task is not None
        stream = self._streams[task] = _Stream(task)
        if self._sweeper is None:
            self._sweep()
        return stream

    def _close_stream(self, stream: _Stream | None) -> None:
        if stream is not None:
            del self._streams[stream.task]
            if not self._streams and self._sweeper is not None:
                self._sweeper.cancel()
                self._sweeper = None

    def _sweep(self) -> None:
        self.end_blocked_streams()
        every_s = self._limits.write_blocked_ms / 1_000 / _SWEEPS_PER_BLOCK
        self._sweeper = asyncio.get_running_loop().call_later(every_s, self._sweep)

    def _ended(self, method: _Method, stream: _Stream | None) -> status_pb2.Status | None:
        """The status of a stream that we ended; None when somebody else did."""
        if stream is None or stream.ended_by is None:
            return None
        stream.task.uncancel()
        return error_to_proto(stream.ended_by, carries_key=method.rule.carries_key)


class _DeadlineTimer:
    """Cancels the running call when its time is over. Deadlines of streams and of gRPC's own are not its."""

    __slots__ = ("_expired", "_handle", "_limit_s", "_task")

    def __init__(self, limit_s: float) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._limit_s = limit_s
        self._expired = False
        self._handle = task.get_loop().call_later(limit_s, self._expire)

    def _expire(self) -> None:
        self._expired = True
        self._task.cancel()

    def cancel(self) -> None:
        """The call is over."""
        self._handle.cancel()

    def take_back(self, _error: asyncio.CancelledError) -> status_pb2.Status | None:
        """The status of a call that this timer canceled, and the task made fit to send it; else None."""
        if not self._expired:
            return None
        self._task.uncancel()
        return deadline_to_proto(self._limit_s)


def _request_id(metadata: Metadata) -> str:
    for name, value in metadata:
        if name == REQUEST_ID_HEADER and isinstance(value, str) and _REQUEST_ID.fullmatch(value):
            return value
    return secrets.token_hex(_REQUEST_ID_BYTES)


def _status_of(method: _Method, error: Exception) -> status_pb2.Status | None:
    """The status of an exception; None when gRPC raised it to end the call, and knows what to do with it."""
    if isinstance(error, GatewayError):
        return error_to_proto(error, carries_key=method.rule.carries_key)
    if isinstance(error, grpc.aio.BaseError):
        return None
    return _bug(method.path, error)


def _bug(path: str, error: BaseException) -> status_pb2.Status:
    error_id = new_error_id()
    _log.error("a call failed by a bug", error_id=error_id, method=path, exc_info=error)
    return internal_to_proto(error_id)


def _is_canceled_from_outside() -> bool:
    """The call's own task was canceled: the client went away, or its deadline passed. Else it leaked from inside."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _cancel_code(context: Context) -> int:
    remaining_s = context.time_remaining()
    is_deadline = remaining_s is not None and remaining_s <= 0
    code = grpc.StatusCode.DEADLINE_EXCEEDED if is_deadline else grpc.StatusCode.CANCELLED
    number: int = code.value[0]
    return number


def _code_number(context: Context) -> int:
    """The code of a call that gRPC ended, or a servicer of gRPC's own by `abort`."""
    code: Any = context.code()
    if isinstance(code, grpc.StatusCode):
        number: int = code.value[0]
        return number
    return int(code) if code else int(grpc.StatusCode.CANCELLED.value[0])


async def _abort(context: Context, status: status_pb2.Status, request_id: str) -> NoReturn:
    trailers = ((REQUEST_ID_HEADER, request_id), (STATUS_DETAILS_HEADER, status.SerializeToString()))
    await context.abort(_CODES[status.code], status.message, trailers)
