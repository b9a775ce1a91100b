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
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, Final

import grpc
import structlog
from google.rpc import status_pb2

from gateway.domain.errors import (
    Draining,
    GatewayError,
    KeyFate,
    ScopeMissing,
    SlowConsumer,
    TooManyStreams,
)
from gateway.domain.types import BudgetLane, CallContext, Caller
from gateway.servicers.call_ends import REQUEST_ID_HEADER, Context, code_of_call, end, request_id_of
from gateway.servicers.denials import DenialListener, Denials
from gateway.servicers.errors import new_error_id
from gateway.servicers.identity import PUBLIC, Doorkeeper, Metadata, enter_call
from gateway.servicers.permissions import METHODS, Access, MethodRule
from gateway.servicers.symbol_room import SymbolRoom, enter_room
from gateway.servicers.turnstile import ALL_CLIENTS, EARNED, Turnstile, client_name, strangers_share, too_many_calls
from gateway.servicers.wire.errors import deadline_to_proto, error_to_proto, internal_to_proto
from gateway.servicers.wire.requests import Deserializer, KeyIsTaken, guarded, key_first, lenient
from gateway.services.client_limits import (
    BYTES_PER_READ,
    CANCELS_IN_FLIGHT_RESERVE,
    DRAW,
    Client,
    ClientBounds,
    ClientLimits,
    Draws,
)
from gateway.telemetry import MethodTelemetry, Telemetry, name_call

RESUME_TOKEN_METADATA: Final = "resume_token"  # noqa: S105 - the name of an entry, not a secret

_OUR_PACKAGE: Final = "/trading_gateway."
_SWEEP_MS: Final = 100
_NO_DEADLINE: Final = float("inf")
_RESERVES: Final = {Draws.CANCELS: CANCELS_IN_FLIGHT_RESERVE, Draws.NOTHING: 1_000_000}

_log = structlog.get_logger(__name__)

Task = asyncio.Task[Any] | None
"""The task of a call; gRPC gives every call one of its own, so it is never None there."""
UnaryBehavior = Callable[[Any, Context], Awaitable[Any]]
StreamBehavior = Callable[[Any, Context], AsyncIterator[Any] | Awaitable[None]]


@dataclass(frozen=True, slots=True)
class DoorLimits:
    """What one process serves at most.

    Attributes:
        deadline_ms: For calls without a deadline, and the longest that one is honoured. Streams have none.
        calls_max: Calls at once that are no streams. Beyond it cancels pass, and calls with a key that is known;
            neither may wait then.
        streams_max: Streams at once.
        write_blocked_ms: A stream whose reader has not taken a message for so long is ended.
    """

    deadline_ms: int = 10_000
    calls_max: int = 1_000
    streams_max: int = 1_000
    write_blocked_ms: int = 30_000


class _Stream:
    """One stream being served: since when a write is blocked, where to resume, and why it is ended."""

    __slots__ = ("caller", "ended_by", "resume_token", "task", "writing_since")

    def __init__(self, task: Task, caller: Caller) -> None:
        assert task is not None
        self.task = task
        self.caller = caller
        self.writing_since: float | None = None
        self.resume_token = ""
        self.ended_by: GatewayError | None = None

    def end(self, reason: GatewayError) -> None:
        """Stop serving it; the reader is told why, and where to go on."""
        if self.ended_by is None:
            self.ended_by = reason
            self.task.cancel()


@dataclass(frozen=True, slots=True)
class _Method:
    """What the doors know about one method."""

    path: str
    name: str
    rule: MethodRule
    read: Deserializer
    telemetry: MethodTelemetry


@dataclass(frozen=True, slots=True)
class _Refused:
    """A call that is to be told its error; `client` is None where nobody knows whose it was."""

    method: _Method
    error: BaseException
    status: status_pb2.Status
    client: Client | None
    peer: str
    raw: bytes


class Doors:
    """Wraps handlers. One object serves all methods of one server.

    Args:
        telemetry: Spans and metrics.
        limits: What is served at most.
        rules: Method → its row of the permission table.
        key_is_taken: Asked before a request with a key is refused for a field that nobody knows, or in a crowd.
        doorkeeper: Knows who calls.
        on_denial: Told who was refused what, and why.
        clients: What each client may.
        monotonic: Seconds; replaced in tests.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        limits: DoorLimits | None = None,
        rules: Mapping[str, MethodRule] = METHODS,
        key_is_taken: KeyIsTaken = lambda _request: False,
        doorkeeper: Doorkeeper | None = None,
        on_denial: DenialListener | None = None,
        clients: ClientLimits | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._turnstile = Turnstile(clients or ClientLimits(ClientBounds(), monotonic, time.time_ns), monotonic)
        self._key_is_taken = key_is_taken
        self._doorkeeper = doorkeeper or Doorkeeper()
        self._denials = Denials(on_denial)
        self._telemetry = telemetry
        self._limits = limits or DoorLimits()
        self._rules = rules
        self._monotonic = monotonic
        self._draining = False
        self._calls = 0
        self._deadlines: dict[Task, float] = {}
        self._expired: set[Task] = set()
        self._streams: dict[Task, _Stream] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    def guard(self, path: str, handler: grpc.RpcMethodHandler[Any, Any]) -> grpc.RpcMethodHandler[Any, Any]:
        """The handler behind its doors.

        Raises:
            KeyError: The method has no row in the permission table.
        """
        rule, parse = self._rules[path], handler.request_deserializer
        read = guarded(parse) if path.startswith(_OUR_PACKAGE) else lenient(parse)
        method = _Method(
            path,
            path.rpartition("/")[2],
            rule,
            key_first(read, parse, self._key_is_taken) if rule.carries_key else read,
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
            serve = self._stream(method, behavior, None)
            return grpc.stream_stream_rpc_method_handler(serve, method.read, serialize)
        raise TypeError(f"{path}: the contract has no calls that stream requests and answer once")

    def nowhere(self) -> grpc.RpcMethodHandler[Any, Any]:
        """The handler of every method that there is none of: gRPC's own words, but a loop of them slows down."""

        async def serve(_requests: Any, context: Context) -> None:
            peer = context.peer()
            await self._turnstile.slow_down(self._turnstile.find(peer), peer)
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")

        return grpc.stream_stream_rpc_method_handler(serve)

    def start(self) -> None:
        """Begin to look for late calls and blocked streams; to be called on the event loop."""
        if self._sweeper is None:
            self._sweep()

    def stop(self) -> None:
        """Look no more."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None

    def begin_drain(self) -> None:
        """From now on refuse new streams. What could add risk is refused behind us, where keys are known."""
        self._draining = True

    def end_streams(self) -> None:
        """End every stream with UNAVAILABLE, DRAINING and, where there is one, a resume token."""
        for stream in tuple(self._streams.values()):
            stream.end(Draining("the gateway is shutting down"))

    def end_late_calls(self) -> None:
        """End the calls whose time is over, by the server's own limit. One timer for all: one each costs too much."""
        now = self._monotonic()
        for task in [task for task, deadline in self._deadlines.items() if deadline <= now]:
            del self._deadlines[task]
            if task is not None:
                self._expired.add(task)
                task.cancel()

    def end_streams_of_strangers(self) -> None:
        """End the streams of callers whose token has ended meanwhile."""
        for stream in tuple(self._streams.values()):
            if (end := self._doorkeeper.ended_by(stream.caller)) is not None:
                stream.end(end)

    def end_blocked_streams(self) -> None:
        """End the streams whose reader has taken nothing for too long."""
        oldest = self._monotonic() - self._limits.write_blocked_ms / 1_000
        for stream in tuple(self._streams.values()):
            if stream.writing_since is not None and stream.writing_since <= oldest:
                stream.end(SlowConsumer(f"nothing was read for {self._limits.write_blocked_ms // 1_000} s"))

    def _limit_ms(self, method: _Method) -> int:
        return self._limits.deadline_ms + method.rule.wait_ms_max

    def _unary(  # noqa: PLR0915 - the hot path, in one piece
        self, method: _Method, behavior: UnaryBehavior, serialize: Callable[[Any], bytes] | None
    ) -> Any:
        """Close over everything that does not change from call to call: this is the hot path."""
        read, telemetry, monotonic = method.read, method.telemetry, self._monotonic
        measured, deadlines, current_task = telemetry.enabled, self._deadlines, asyncio.current_task
        limit_s, calls_max = self._limit_ms(method) / 1_000, self._limits.calls_max
        lane, draw, find = method.rule.lane, DRAW[method.rule.draws], self._turnstile.find
        charge, reserve = self._turnstile.charge, _RESERVES.get(method.rule.draws, 0)
        identify, allows = self._identification(method.rule), method.rule.allows
        assert serialize is not None, f"{method.path}: only streams may write bytes of their own"

        async def serve(raw: bytes, context: Context) -> bytes:
            metadata = context.invocation_metadata() or ()
            request_id = request_id_of(metadata)
            context.set_trailing_metadata(((REQUEST_ID_HEADER, request_id),))
            remaining_s = context.time_remaining()
            task = current_task()
            began = monotonic()
            if remaining_s is None or remaining_s > limit_s:
                deadline = deadlines[task] = began + limit_s
            else:  # gRPC itself keeps it, and cancels this task when it passes.
                deadline = began + remaining_s
            excess = ALL_CLIENTS if self._calls >= calls_max else ""
            name_call(request_id, method.name)
            span = telemetry.begin(metadata, request_id) if measured else None
            code, peer = 0, context.peer()
            client: Client | None = None
            inside: Client | None = None
            self._calls += 1
            try:
                caller = identify(metadata, context)
                client = find(client_name(caller, peer))
                excess = excess or client.lacks_room(peer, reserve)
                # In a crowd nobody waits: the few slots left are for cancels, and for asking what became of a key.
                enter_call(CallContext(caller, began if excess else deadline, lane, request_id))
                if not allows(caller):
                    raise self._denial(method, raw)
                wait_s = draw(client, began)
                is_beyond = excess or wait_s
                request = await self._read_beyond(method, client, raw, excess, wait_s) if is_beyond else read(raw)
                client.enter_call(peer)
                inside = client
                answer = serialize(await behavior(request, context))
                if len(answer) > BYTES_PER_READ:
                    charge(client, len(answer))
                return answer
            except (Exception, asyncio.CancelledError) as caught:
                status = self._status_of(method, caught, task)
                code = code_of_call(context) if status is None else status.code
                if status is None:
                    raise
                error = _bare(caught)
            finally:
                self._calls -= 1
                if inside is not None:
                    inside.leave_call(peer)
                if deadlines.pop(task, None) is None:
                    self._expired.discard(task)
                if span is not None:
                    telemetry.end(span, code, monotonic() - began)
            # Not a call any more, only its answer.
            return await self._refuse(_Refused(method, error, status, client, peer, raw), context, request_id)

        return serve

    async def _read_beyond(self, method: _Method, client: Client, raw: bytes, excess: str, wait_s: float) -> Any:
        """A request beyond a limit: read if it may not be refused, after what it has to wait.

        Raises:
            TooManyCalls: It may be refused.
        """
        rule = method.rule
        quota = excess or f"client:{rule.draws}"
        if not rule.carries_key and rule.lane is not BudgetLane.CANCEL:
            raise too_many_calls(quota, wait_s)
        request = method.read(raw)
        if rule.carries_key:
            if not self._key_is_taken(request):
                raise too_many_calls(quota, wait_s)
            wait_s = client.orders.owe(self._monotonic()) if wait_s else 0.0
        if wait_s:
            await self._turnstile.delay(wait_s)
        return request

    async def _refuse(self, refused: _Refused, context: Context, request_id: str) -> bytes:
        """Tell a caller why, later if it earned many refusals; what is said of a key is true when it is said."""
        method, error, status = refused.method, refused.error, refused.status
        self._denials.tell(method.path, error, context.peer())
        if isinstance(error, EARNED):
            has_waited = await self._turnstile.slow_down(refused.client, refused.peer)
            if has_waited and method.rule.carries_key and error.key is KeyFate.FREE and self._holds_key(refused):
                error.key = KeyFate.TAKEN
                status = error_to_proto(error, carries_key=True)
        return end(context, status, request_id)

    def _holds_key(self, refused: _Refused) -> bool:
        if refused.client is None:
            return False
        try:
            return self._key_is_taken(refused.method.read(refused.raw))
        except GatewayError as error:
            return error.key is KeyFate.TAKEN

    def _stream(
        self, method: _Method, behavior: StreamBehavior, read: Callable[[Any], Any] | None
    ) -> Callable[[Any, Context], Awaitable[None]]:
        telemetry, turnstile = method.telemetry, self._turnstile
        identify, allows = self._identification(method.rule), method.rule.allows

        async def serve(raw: Any, context: Context) -> None:
            metadata = context.invocation_metadata() or ()
            request_id = request_id_of(metadata)
            context.set_trailing_metadata(((REQUEST_ID_HEADER, request_id),))
            task = asyncio.current_task()
            began = self._monotonic()
            name_call(request_id, method.name)
            span = telemetry.begin(metadata, request_id) if telemetry.enabled else None
            code, symbols, peer = 0, 0, context.peer()
            client: Client | None = None
            inside: Client | None = None
            room: SymbolRoom | None = None
            try:
                caller = identify(metadata, context)
                client = turnstile.find(client_name(caller, peer))
                enter_call(CallContext(caller, _NO_DEADLINE, method.rule.lane, request_id))
                if not allows(caller):
                    raise ScopeMissing(method.rule.scope_named)
                if read is None:
                    request: Any = turnstile.paced(raw, client, method.rule.light_command)
                    room = SymbolRoom(client)
                    enter_room(room)
                else:
                    request = read(raw)
                symbols = len(set(request.symbols)) if method.rule.subscribes else 0
                stream = self._open_stream(task, caller)
                turnstile.open_stream(client, peer, symbols)
                inside = client
                await self._pump(stream, behavior(request, context), context, request_id)
                return
            except (Exception, asyncio.CancelledError) as caught:
                status = self._status_of(method, caught, task)
                code = code_of_call(context) if status is None else status.code
                if status is None:
                    raise
                error = _bare(caught)
            finally:
                self._streams.pop(task, None)
                if room is not None:
                    room.close()
                if inside is not None:
                    inside.leave_stream(peer, symbols)
                if span is not None:
                    telemetry.end(span, code, self._monotonic() - began)
            # Not ours any more: its status waits behind whatever the reader has not taken.
            await self._refuse(_Refused(method, error, status, client, peer, b""), context, request_id)

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
        async with aclosing(answers) as messages:  # type: ignore[type-var]  # generators are what servicers return
            async for message in messages:
                stream.writing_since = monotonic()
                await write(message)
                stream.writing_since = None
                stream.resume_token = getattr(message, RESUME_TOKEN_METADATA, "")

    def _identification(self, rule: MethodRule) -> Callable[[Metadata, Context], Caller]:
        """Tells who calls a method; what is open to all is not looked at."""
        if rule.access is Access.PUBLIC:
            return lambda _metadata, _context: PUBLIC
        return self._doorkeeper.identify

    def _denial(self, method: _Method, raw: bytes) -> ScopeMissing:
        """The refusal of a call to a method that its caller may not use; it tells of a key what is true of it."""
        denial = ScopeMissing(method.rule.scope_named)
        if method.rule.carries_key:
            with suppress(GatewayError):
                if self._key_is_taken(method.read(raw)):
                    denial.key = KeyFate.TAKEN
        return denial

    def _open_stream(self, task: Task, caller: Caller) -> _Stream:
        if self._draining:
            raise Draining("the gateway is shutting down")
        of_strangers = sum(known.caller is PUBLIC for known in self._streams.values()) if caller is PUBLIC else 0
        if len(self._streams) >= self._limits.streams_max or of_strangers >= strangers_share(self._limits.streams_max):
            raise TooManyStreams("too many streams are open")
        return self._streams.setdefault(task, _Stream(task, caller))

    def _status_of(self, method: _Method, error: BaseException, task: Task) -> status_pb2.Status | None:
        """The status of an exception; None when gRPC itself ended the call, and knows what to do with it."""
        stream = self._streams.get(task)
        if isinstance(error, GatewayError):
            return _refusal(method, error, stream)
        if isinstance(error, grpc.aio.BaseError):
            return None
        if isinstance(error, asyncio.CancelledError):
            return self._status_of_cancel(method, error, task, stream)
        return _bug(method.path, error)

    def _status_of_cancel(
        self, method: _Method, error: asyncio.CancelledError, task: Task, stream: _Stream | None
    ) -> status_pb2.Status | None:
        """Ours, by a deadline or the end of a stream; or the client's, who went away; or one that leaked: a bug."""
        if stream is not None and stream.ended_by is not None:
            stream.task.uncancel()
            return _refusal(method, stream.ended_by, stream)
        if task is not None and task in self._expired:
            self._expired.discard(task)
            task.uncancel()
            return deadline_to_proto(self._limit_ms(method))
        if task is not None and task.cancelling() > 0:
            return None
        return _bug(method.path, error)

    def _sweep(self) -> None:
        self.end_late_calls()
        self.end_blocked_streams()
        self.end_streams_of_strangers()
        self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_MS / 1_000, self._sweep)


def _bare(error: BaseException) -> BaseException:
    """Without what it was raised from: those tracebacks hold the call that holds it."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _refusal(method: _Method, error: GatewayError, stream: _Stream | None) -> status_pb2.Status:
    if stream is not None and stream.resume_token:
        error.metadata.setdefault(RESUME_TOKEN_METADATA, stream.resume_token)
    return error_to_proto(error, carries_key=method.rule.carries_key)


def _bug(path: str, error: BaseException) -> status_pb2.Status:
    error_id = new_error_id()
    _log.error("a call failed by a bug", error_id=error_id, method=path, exc_info=error)
    return internal_to_proto(error_id)
