"""The one hook on alpaca-py's requests, and the road from the event loop to it and back.

`OneRequest` is mixed into alpaca-py's clients and takes over the one function through which every request of
theirs goes. It adds what they lack: timeouts, no automatic re-send, headers kept, size bound, and no
redirects. `RestRoad` carries a call to a bounded pool of threads, asks the gate first, and turns what came
back into a domain noun or a domain error. It promises that a change which may have left is never called
failed, and that one which certainly did not is never called unknown. Retrying is left to the rooms above.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import urlencode, urlsplit

import orjson
import structlog

from gateway.domain.errors import ExpiredUnsent, GatewayError, OutcomeUnknown, TradingStopped, VenueUnreachable
from gateway.domain.interfaces import RequestGate
from gateway.domain.types import NANOS_PER_SECOND, BudgetLane, CallContext
from gateway.domain.venue_requests import NoRequestLog, VenueRequest, VenueRequestLog
from gateway.infrastructure.alpaca.converters.errors import change_error, rate_limit_of, read_error, retry_after_ms
from gateway.infrastructure.alpaca.converters.fields import Unreadable
from gateway.infrastructure.alpaca.transport import (
    ANSWER_BYTES_MAX,
    Answer,
    AnswerLost,
    Call,
    Forbidden,
    NothingSent,
    Transport,
)

READ_TOTAL_MAX_S: Final = 60.0
"""A read is given up after this long even if its caller would wait longer."""
CLOSE_WAIT_MAX_S: Final = 10.0
"""How long closing waits for requests under way."""
POSTS_PER_ID_MAX: Final = 8
"""Requests with one order id that may leave, beyond which the last hop refuses: somebody above runs away."""
POSTED_IDS_KEPT_MAX: Final = 65_536
"""Ids that are remembered for that, the newest."""

KILL_THREADS: Final = 2
"""Beside all others, for the kill switch alone: one asks for cancels, one reads what is left."""
TOO_MANY_REQUESTS: Final = 429

T = TypeVar("T")
JsonBody = Mapping[str, Any]

_log = structlog.get_logger(__name__)


class _OnThread(threading.local):
    call: Call | None = None


_on_thread = _OnThread()


class RestClient(Protocol):
    """What is used of alpaca-py's clients: their public verbs, which end in `OneRequest`."""

    def get(self, path: str, data: Any = None) -> Any:
        """GET with query parameters."""
        ...

    def post(self, path: str, data: Any = None) -> Any:
        """POST a JSON body."""
        ...

    def patch(self, path: str, data: Any = None) -> Any:
        """PATCH a JSON body."""
        ...

    def delete(self, path: str, data: Any = None) -> Any:
        """DELETE with query parameters."""
        ...


class OneRequest:
    """Takes over `RESTClient._one_request`: one request, whole answer, no judgement and no re-send.

    Mixed in before the alpaca-py client. Its `_session` stays unused: nothing of this process goes through it.
    """

    transport: Transport
    _retry: int

    def join(self, transport: Transport) -> None:
        """Send everything through this transport from now on."""
        self.transport = transport
        self._retry = 0

    def _get_default_headers(self) -> dict[str, str]:
        return {}  # the transport adds them; alpaca-py's objects never hold the credentials

    def _one_request(self, method: str, url: str, opts: Mapping[str, Any], retry: int) -> Answer:  # noqa: ARG002
        call = _on_thread.call
        if call is None:
            raise NothingSent("no call is under way on this thread")
        call.method, call.path = method, urlsplit(url).path
        query = urlencode({name: value for name, value in (opts.get("params") or {}).items() if value is not None})
        body = orjson.dumps(opts["json"]) if opts.get("json") is not None else None
        return self.transport.send(call, method, url, query, body)


@dataclass(frozen=True, slots=True)
class RestLimits:
    """How long and how much.

    Attributes:
        connect_timeout_ms: To open a connection, TLS included, or to get a pooled one.
        read_timeout_ms: Longest silence while waiting for an answer; a change has no shorter one.
        threads: Requests at once, at least 4: an eighth for cancels, an eighth for look-ups, a quarter for orders,
            the rest for reads; and KILL_THREADS more. So nothing that hangs keeps what is more urgent from leaving.
        queue_max: Requests that may wait for a thread, in each part; beyond it they are refused, nothing sent.
    """

    connect_timeout_ms: int
    read_timeout_ms: int
    threads: int
    queue_max: int = 256


class _Threads:
    """A thread pool with a bounded queue; full means that certainly nothing is sent."""

    def __init__(self, name: str, threads: int, queue_max: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._room = threads + queue_max

    def check_room(self) -> None:
        if self._room <= 0:
            raise VenueUnreachable("too many requests wait for the venue; nothing was sent")

    def submit(self, work: Callable[[], T]) -> asyncio.Future[T]:
        with self._lock:
            self._room -= 1
        try:
            return asyncio.get_running_loop().run_in_executor(self._executor, self._run, work)
        except BaseException:
            self._leave()
            raise

    def _run(self, work: Callable[[], T]) -> T:
        try:
            return work()
        finally:
            self._leave()

    def _leave(self) -> None:
        with self._lock:
            self._room += 1

    def close(self) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)


class RunawayGuard:
    """The last hop's own count: requests that create an order under one id leave at most POSTS_PER_ID_MAX times.

    Source: SEC Rule 15c3-5, and Knight Capital 2012: orders out must never outrun orders in.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: OrderedDict[str, int] = OrderedDict()

    def guarded(self, order_id: str, call: Call, send: Callable[[], T]) -> Callable[[], T]:
        """The same request, refused with NothingSent when too many have left under its id."""

        def checked() -> T:
            self._enter(order_id)
            try:
                return send()
            finally:
                if not call.written:
                    self._take_back(order_id)

        return checked

    def _enter(self, order_id: str) -> None:
        with self._lock:
            left = self._left.get(order_id, 0)
            if left < POSTS_PER_ID_MAX:
                self._left[order_id] = left + 1
                self._left.move_to_end(order_id)
                if len(self._left) > POSTED_IDS_KEPT_MAX:
                    self._left.popitem(last=False)
                return
        _log.error("runaway_sender_stopped", sent=left)
        raise NothingSent("this order was sent too often already")

    def _take_back(self, order_id: str) -> None:
        with self._lock:
            if order_id in self._left:
                self._left[order_id] -= 1


class RestRoad:
    """From the event loop through the gate to a thread, and back with a noun or a domain error.

    Args:
        gate: Asked before each request and told the venue's own count after it; both on the event loop.
        limits: Times and sizes.
        clock_s: Unix seconds, to read X-RateLimit-Reset by, and to say when requests about orders left.
        requests: Told of every request whose context names an order, when it has ended.
    """

    def __init__(
        self,
        gate: RequestGate,
        limits: RestLimits,
        clock_s: Callable[[], float] = time.time,
        requests: VenueRequestLog | None = None,
    ) -> None:
        self._gate = gate
        self._requests = requests or NoRequestLog()
        self._connect_s = limits.connect_timeout_ms / 1_000
        self._read_s = limits.read_timeout_ms / 1_000
        self._clock_s = clock_s
        eighth, quarter = max(1, limits.threads // 8), max(1, limits.threads // 4)
        sizes = {
            BudgetLane.KILL: KILL_THREADS,
            BudgetLane.CANCEL: eighth,
            BudgetLane.LOOKUP: eighth,
            BudgetLane.ORDER: quarter,
            BudgetLane.READ: max(1, limits.threads - 2 * eighth - quarter),
        }
        self._threads = {lane: _Threads(f"alpaca-{lane}", size, limits.queue_max) for lane, size in sizes.items()}
        self._guard = RunawayGuard()
        self._closed = False

    async def read(
        self,
        context: CallContext,
        client: RestClient,
        path: str,
        params: JsonBody,
        convert: Callable[[Answer], T],
        *,
        answer_bytes_max: int = ANSWER_BYTES_MAX,
    ) -> T:
        """GET, convert on the thread, and give up at the caller's deadline.

        Args:
            context: Who waits, until when, from which part of the budget.
            client: The alpaca-py client to ask.
            path: Its parts are safe: checked or quoted by the adapter.
            params: Query parameters.
            convert: Reads every answer, errors included; `reading` makes one that expects 2xx.
            answer_bytes_max: A larger answer fails the read.

        Raises:
            VenueUnreachable: The read failed.
            VenueRateLimited: The gate or the venue says: not now.
            VenueAuthentication: The venue refuses the credentials.
        """
        remaining_s = min(context.deadline - time.monotonic(), READ_TOTAL_MAX_S)
        threads = self._threads[context.lane]
        self._check(threads, remaining_s)
        call = Call(
            min(self._connect_s, remaining_s),
            min(self._read_s, remaining_s),
            time.monotonic() + remaining_s,
            answer_bytes_max=answer_bytes_max,
        )
        future = self._start(context, threads, call, lambda: client.get(path, params), convert)
        try:
            async with asyncio.timeout(remaining_s):
                return await asyncio.shield(future)
        except TimeoutError:
            call.abort()
            raise VenueUnreachable("the venue did not answer the read in time") from None
        except asyncio.CancelledError:
            call.abort()
            raise
        except (NothingSent, AnswerLost, Unreadable) as error:
            raise VenueUnreachable(f"the read failed: {error}") from error

    async def change(
        self,
        context: CallContext,
        send: Callable[[], Any],
        convert: Callable[[Answer], T],
        *,
        guarded_id: str = "",
    ) -> T:
        """Send a change, once. A caller that goes away cancels nothing.

        The caller's deadline bounds the wait for a thread and a connection. Once the first byte has left,
        the venue has its whole read timeout to answer: hanging up early would only make the outcome unknown.

        Args:
            context: Who waits, until when, from which part of the budget.
            send: Calls one of alpaca-py's verbs.
            convert: Reads every answer; `changing` makes one that expects 2xx.
            guarded_id: The id that the change creates an order under; RunawayGuard counts it.

        Raises:
            OutcomeUnknown: It left, and there is no proof either way.
            VenueUnreachable: Certainly nothing was sent.
            TradingStopped: Nothing was sent: trading was stopped while it waited to leave.
            ExpiredUnsent: Nothing was sent: its valid_until passed while it waited to leave.
            VenueRateLimited: The gate or the venue says: not now; it had no effect.
            VenueAuthentication: The venue refuses the credentials; it had no effect.
            OrderRejected: The venue refused; it had no effect.
        """
        unsent_s = min(context.deadline - time.monotonic(), self._connect_s + self._read_s)
        threads = self._threads[context.lane]
        self._check(threads, unsent_s)
        call = Call(min(self._connect_s, unsent_s), self._read_s, None, lambda: self._permit(context))
        if guarded_id:
            send = self._guard.guarded(guarded_id, call, send)
        future = self._start(context, threads, call, send, convert)
        try:
            return await self._answer_of(call, future, unsent_s)
        except Forbidden as error:
            raise error.reason from error
        except NothingSent as error:
            raise VenueUnreachable(f"nothing was sent: {error}") from error
        except (AnswerLost, Unreadable) as error:
            raise OutcomeUnknown(str(error)) from error

    async def close(self) -> None:
        """Take nothing more and wait, at most CLOSE_WAIT_MAX_S, for what is under way."""
        self._closed = True
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_WAIT_MAX_S):
                await asyncio.gather(*(asyncio.to_thread(threads.close) for threads in self._threads.values()))

    async def _answer_of(self, call: Call, future: asyncio.Future[T], unsent_s: float) -> T:
        # `wait`, unlike `wait_for`, leaves the request alone when its time is over or its caller goes away.
        done, _ = await asyncio.wait((future,), timeout=unsent_s)
        if not done and call.give_up_unsent():
            raise NothingSent("no thread or connection in time")
        if not done:
            done, _ = await asyncio.wait((future,), timeout=self._read_s)
        if not done:
            call.abort()
            raise AnswerLost("no whole answer in time")
        return future.result()

    def _permit(self, context: CallContext) -> None:
        try:
            self._gate.permit(context)
        except (TradingStopped, ExpiredUnsent) as error:
            raise Forbidden(error) from error

    def _check(self, threads: _Threads, remaining_s: float) -> None:
        if self._closed:
            raise VenueUnreachable("the connection to the venue is closed; nothing was sent")
        if remaining_s <= 0:
            raise VenueUnreachable("the deadline has passed; nothing was sent")
        threads.check_room()

    def _start(
        self,
        context: CallContext,
        threads: _Threads,
        call: Call,
        send: Callable[[], Any],
        convert: Callable[[Answer], T],
    ) -> asyncio.Future[T]:
        self._gate.admit(context.lane)
        seen: list[Answer] = []
        ended_s: list[float] = []

        def work() -> T:
            _on_thread.call = call
            try:
                answer: Answer = send()
            finally:
                _on_thread.call = None
                ended_s.append(time.monotonic())
            seen.append(answer)
            return convert(answer)

        def done(future: asyncio.Future[T]) -> None:
            if not future.cancelled():
                future.exception()  # seen, whether or not anybody still waits for it
            if context.order_id and call.method and ended_s:
                self._note(context.order_id, call, ended_s[0], seen[0] if seen else None)
            if not seen:
                return
            if (count := rate_limit_of(seen[0].headers)) is not None:
                self._gate.observe(*count)
            if seen[0].status == TOO_MANY_REQUESTS:
                self._gate.throttled(retry_after_ms(seen[0].headers, self._clock_s()))

        future = threads.submit(work)
        future.add_done_callback(done)
        return future

    def _note(self, order_id: str, call: Call, ended_s: float, answer: Answer | None) -> None:
        """A request about an order has ended: for the order's story."""
        zero_s = self._clock_s() - time.monotonic()
        self._requests.note(
            VenueRequest(
                order_id=order_id,
                method=call.method,
                path=call.path,
                send_time_ns=int((zero_s + call.write_time_s) * NANOS_PER_SECOND) if call.written else None,
                end_time_ns=int((zero_s + ended_s) * NANOS_PER_SECOND),
                status=answer.status if answer is not None else 0,
                venue_request_id=answer.request_id if answer is not None else "",
            )
        )

    def reading(self, convert: Callable[[Answer], T]) -> Callable[[Answer], T]:
        """A converter of reads that expects 2xx and raises the domain's error for anything else."""

        def checked(answer: Answer) -> T:
            if not 200 <= answer.status < 300:
                raise read_error(answer.status, answer.body, answer.headers, self._clock_s())
            try:
                return convert(answer)
            except (GatewayError, Unreadable):
                raise
            except Exception as error:  # of a shape that nobody thought of: a failed read, and ours to look at
                _log.exception("answer_not_understood", error=type(error).__name__)
                raise Unreadable(f"the answer could not be read ({type(error).__name__})") from error

        return checked

    def changing(self, convert: Callable[[Answer], T]) -> Callable[[Answer], T]:
        """A converter of changes that expects 2xx; whatever goes wrong in it leaves the outcome unknown."""

        def checked(answer: Answer) -> T:
            if not 200 <= answer.status < 300:
                raise change_error(answer.status, answer.body, answer.headers, self._clock_s())
            try:
                return convert(answer)
            except (OutcomeUnknown, Unreadable):
                raise
            except Exception as error:
                raise OutcomeUnknown(f"the answer could not be read ({type(error).__name__})") from error

        return checked
