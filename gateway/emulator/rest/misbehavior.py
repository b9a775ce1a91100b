"""How the venue misbehaves towards one request, as a fault has ordered: see the table in README.md.

Promises: what is called accepted is carried out, once, and what is not is never; an answer that was made is recorded,
let through or not. A request that arrives late is carried out though its client has gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import orjson
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Send

from gateway.domain.models.simulation import FaultKind
from gateway.domain.types import NANOS_PER_MS, NANOS_PER_SECOND
from gateway.emulator.faults import Fault, with_unknown_status
from gateway.emulator.later import Later
from gateway.emulator.record import Record
from gateway.emulator.rest.answers import answer
from gateway.emulator.rest.arrivals import Answer, Arrival

HANG_UP_EXTENSION: Final = "emulator.hang_up"
"""Where the server puts the means to end a connection: an ASGI extension of our own. Its argument: reset it."""

LATE_ARRIVAL: Final = "late_arrival"
RATE_LIMIT_SHOWN: Final = 200
"""X-RateLimit-Limit of a 429 that a fault makes where no limit is kept."""

_ACCEPTED: Final = frozenset(
    {
        FaultKind.ANSWER_LOST,
        FaultKind.ANSWER_RESET,
        FaultKind.HTTP_500_ACCEPTED,
        FaultKind.HTTP_504_ACCEPTED,
        FaultKind.BODY_TRUNCATED,
        FaultKind.BODY_EMPTY,
        FaultKind.STATUS_UNKNOWN,
    }
)
_PAGE: Final = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center></body></html>"
_Headers = list[tuple[bytes, bytes]]


class Misbehavior:
    """What a fault does to a request.

    Args:
        app: The routes.
        record: Where answers are written down.
        later: Delays.
        clock: Nanoseconds since the Unix epoch.
        stopping: Set when the emulator ends: nobody is kept waiting any longer.
    """

    def __init__(
        self, app: ASGIApp, record: Record, later: Later, clock: Callable[[], int], stopping: asyncio.Event
    ) -> None:
        self._app = app
        self._record = record
        self._later = later
        self._clock = clock
        self._stopping = stopping

    async def strike(self, fault: Fault, arrival: Arrival, send: Send, headers: _Headers) -> None:
        """Answer as the fault wills, or not at all."""
        if fault.kind is FaultKind.ARRIVES_LATE:
            self._put_off(fault, arrival)
            await self._hang_up(arrival)
            return
        made = Answer(self._record, arrival, None, fault_id=fault.fault_id)
        if fault.kind in _ACCEPTED:
            await self._app(arrival.scope, arrival.receive, made)
        elif fault.kind is not FaultKind.REQUEST_LOST:
            await _refusal(fault.kind, self._clock() + fault.delay_ms * NANOS_PER_MS)(
                arrival.scope, arrival.receive, made
            )
        if fault.kind not in (FaultKind.LOOKUP_ABSENT, FaultKind.HTTP_429):  # their delay means something else
            await self._wait(arrival.rest, fault.delay_ms)
        if fault.kind in (FaultKind.ANSWER_LOST, FaultKind.REQUEST_LOST):
            await self._hang_up(arrival)
        elif fault.kind is FaultKind.ANSWER_RESET:
            await self._hang_up(arrival, reset=True)
        elif fault.kind is FaultKind.BODY_TRUNCATED:
            await self._break_off(arrival, made, send, headers)
        else:
            await _told(fault.kind, made)(arrival.scope, arrival.receive, adding(headers, send))

    def _put_off(self, fault: Fault, arrival: Arrival) -> None:
        """Carry it out later. Its connection is no longer there, so nothing of it is asked again."""

        async def carry_out() -> None:
            late = Arrival(arrival.scope, arrival.body, _gone, arrival.route, arrival.symbol, arrival.concerned)
            await self._app(late.scope, late.receive, Answer(self._record, late, None, fault_id=fault.fault_id))

        told = {"route": arrival.route, "symbol": arrival.symbol, "fault_id": fault.fault_id, **arrival.concerned}
        self._later.after(fault.delay_ms, carry_out, kind=LATE_ARRIVAL, told=told)

    async def _wait(self, receive: Receive, delay_ms: int) -> None:
        """Keep a client waiting, until it gives up or the emulator ends at the latest."""
        if not delay_ms:
            return

        async def gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        async def passed() -> None:
            await self._later.sleep(delay_ms / 1000)

        ends = [asyncio.create_task(end) for end in (gone(), passed(), _is_set(self._stopping))]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()

    async def _break_off(self, arrival: Arrival, made: Answer, send: Send, headers: _Headers) -> None:
        length = (b"content-length", str(len(made.body)).encode())
        kind = (b"content-type", b"application/json")
        await send({"type": "http.response.start", "status": made.status, "headers": [length, kind, *headers]})
        half = made.body[: len(made.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})
        await self._hang_up(arrival)

    async def _hang_up(self, arrival: Arrival, *, reset: bool = False) -> None:
        """End the connection, and wait until the server has noticed: it must not answer in our place."""
        hang_up: Callable[[bool], None] = arrival.scope["extensions"][HANG_UP_EXTENSION]
        hang_up(reset)
        while (await arrival.rest())["type"] != "http.disconnect":
            pass


def too_many(headers: _Headers | None = None) -> Response:
    """Alpaca's 429."""
    response = answer({"code": 42910000, "message": "rate limit exceeded"}, 429)
    response.raw_headers.extend(headers or [])
    return response


def limit_headers(limit: int, remaining: int, reset_ns: int) -> _Headers:
    """The three headers of the rate limit; the reset in unix seconds, rounded up."""
    return [
        (b"x-ratelimit-limit", str(limit).encode()),
        (b"x-ratelimit-remaining", str(remaining).encode()),
        (b"x-ratelimit-reset", str(-(-reset_ns // NANOS_PER_SECOND)).encode()),
    ]


def _refusal(kind: FaultKind, reset_ns: int) -> Response:
    """The answer to a request that is not carried out."""
    if kind is FaultKind.HTTP_429:
        return too_many(limit_headers(RATE_LIMIT_SHOWN, 0, reset_ns))
    if kind is FaultKind.LOOKUP_ABSENT:
        return answer({"code": 40410000, "message": "order not found"}, 404)
    if kind is FaultKind.HTTP_500:
        return _internal_error()
    return _proxy_page("502 Bad Gateway") if kind is FaultKind.HTTP_502_HTML else _proxy_page("504 Gateway Time-out")


def _told(kind: FaultKind, made: Answer) -> Response:
    """What the client gets, which need not be what was made."""
    if kind is FaultKind.HTTP_504_ACCEPTED:
        return _proxy_page("504 Gateway Time-out")
    if kind is FaultKind.HTTP_500_ACCEPTED:
        return _internal_error()
    if kind is FaultKind.BODY_EMPTY:
        return Response(b"", 200, media_type="application/json")
    body = made.body
    if kind is FaultKind.STATUS_UNKNOWN and body:
        body = orjson.dumps(with_unknown_status(orjson.loads(body)))
    response = Response(body, made.status)
    response.raw_headers.extend(header for header in made.headers if header[0] != b"content-length")
    return response


def _internal_error() -> Response:
    return answer({"code": 50010000, "message": "internal server error occurred"}, 500)


def _proxy_page(title: str) -> Response:
    return Response(_PAGE.format(title), int(title[:3]), media_type="text/html")


def adding(headers: _Headers, send: Send) -> Send:
    """Add the headers that an answer does not have yet."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = message.get("headers", [])
            named = {name for name, _ in own}
            message = {**message, "headers": [*own, *(header for header in headers if header[0] not in named)]}
        await send(message)

    return send_with_headers


async def _is_set(event: asyncio.Event) -> None:
    await event.wait()


async def _gone() -> Message:
    return {"type": "http.disconnect"}
