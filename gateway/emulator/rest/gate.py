"""The gate that every REST request passes: request id, faults, credentials and the rate limit.

Promises: X-Request-ID on every answer; X-RateLimit-Limit, -Remaining and -Reset on every answer of a limited route,
the 429 included; nothing is carried out for a request that is refused here. Control routes are for loopback
alone and pass without credentials and limits. Every request is counted by method and route.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ipaddress
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.domain.types import NANOS_PER_SECOND
from gateway.emulator.faults import Fault, FaultKind, Faults, with_unknown_status
from gateway.emulator.rest.answers import answer

CONTROL_PREFIX: Final = "/emulator/"
WINDOW_S: Final = 60
KEYS_MAX: Final = 1000
ROUTES_MAX: Final = 500

_WINDOW_NS: Final = WINDOW_S * NANOS_PER_SECOND
_REQUEST_FAULTS: Final = (
    FaultKind.ACCEPTED_504,
    FaultKind.HANG,
    FaultKind.TOO_MANY_REQUESTS,
    FaultKind.UNKNOWN_STATUS,
)
_PROXY_PAGE: Final = b"<html><head><title>504 Gateway Time-out</title></head><body>504 Gateway Time-out</body></html>"
_COLLECTIONS: Final = {"orders": "{id}", "positions": "{symbol}", "assets": "{symbol}", "activities": "{type}"}


class Credentials:
    """Which keys are good.

    Args:
        key, secret: What must be given; empty: anything that is not empty.
    """

    def __init__(self, key: str, secret: str) -> None:
        self._key = key
        self._secret = secret

    def accepted(self, key: str, secret: str) -> bool:
        """Whether these may come in."""
        if not key or not secret:
            return False
        return (not self._key or key == self._key) and (not self._secret or secret == self._secret)

    def key_of(self, headers: Mapping[bytes, bytes]) -> str | None:
        """The key that a request carries in one of Alpaca's three ways, if it is good; None otherwise.

        APCA-API-KEY-ID with APCA-API-SECRET-KEY, Basic with both, or Bearer with a token, which is the secret.
        """
        key, secret = headers.get(b"apca-api-key-id", b"").decode(), headers.get(b"apca-api-secret-key", b"").decode()
        scheme, _, given = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if scheme.lower() == "basic":
            key, secret = _basic(given)
        elif scheme.lower() == "bearer":
            key, secret = self._key or given, given
        return key if self.accepted(key, secret) else None


class RateLimit:
    """Requests per key in fixed windows of a minute.

    Args:
        limit: Requests a minute; 0: no limit.
    """

    def __init__(self, limit: int, clock: Callable[[], int]) -> None:
        self.limit = limit
        self._clock = clock
        self._windows: dict[str, tuple[int, int]] = {}

    def count(self, key: str) -> tuple[bool, list[tuple[bytes, bytes]]]:
        """Count a request: whether it may pass, and the headers that say what is left."""
        if not self.limit:
            return True, []
        now_ns = self._clock()
        start_ns, used = self._windows.get(key, (now_ns, 0))
        if not 0 <= now_ns - start_ns < _WINDOW_NS:
            start_ns, used = now_ns, 0
        if key not in self._windows and len(self._windows) >= KEYS_MAX:
            self._windows.pop(next(iter(self._windows)))
        self._windows[key] = (start_ns, used + 1)
        return used < self.limit, self.headers(max(0, self.limit - used - 1), start_ns + _WINDOW_NS)

    def headers(self, remaining: int, reset_ns: int) -> list[tuple[bytes, bytes]]:
        """The three headers; the reset in unix seconds, rounded up."""
        return [
            (b"x-ratelimit-limit", str(self.limit).encode()),
            (b"x-ratelimit-remaining", str(remaining).encode()),
            (b"x-ratelimit-reset", str(-(-reset_ns // NANOS_PER_SECOND)).encode()),
        ]


class Gate:
    """ASGI middleware around the REST routes.

    Attributes:
        requests: How many came, by `METHOD route`.
        stopping: Set when the emulator ends: nobody hangs any longer.
    """

    def __init__(self, app: ASGIApp, credentials: Credentials, limit: RateLimit, faults: Faults) -> None:
        self._app = app
        self._credentials = credentials
        self._limit = limit
        self._faults = faults
        self.requests: Counter[str] = Counter()
        self.stopping = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = [(b"x-request-id", uuid.uuid4().hex.encode())]
        path: str = scope["path"]
        if path.startswith(CONTROL_PREFIX):
            if is_loopback(scope):
                await self._app(scope, receive, _adding(headers, send))
            else:
                await answer({"message": "loopback only"}, 403)(scope, receive, _adding(headers, send))
            return
        self._note(scope)
        key = self._credentials.key_of(dict(scope["headers"]))
        if key is None:
            await _unauthorized(path)(scope, receive, _adding(headers, send))
            return
        passes, limit_headers = self._limit.count(key)
        headers += limit_headers
        if not passes:
            await _too_many()(scope, receive, _adding(headers, send))
            return
        fault = self._faults.take(_REQUEST_FAULTS, f"{scope['method']} {path}") if self._faults.waiting else None
        if fault is None:
            await self._app(scope, receive, _adding(headers, send))
        else:
            await self._misbehave(fault, scope, receive, _adding(headers, send))

    async def _misbehave(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        if fault.kind is FaultKind.TOO_MANY_REQUESTS:
            await _too_many()(scope, receive, send)
        elif fault.kind is FaultKind.HANG:
            await _hang(receive, self.stopping, fault.delay_ms)
            await _proxy_timeout()(scope, receive, send)
        elif fault.kind is FaultKind.ACCEPTED_504:
            await self._app(scope, receive, _swallow)
            await asyncio.sleep(fault.delay_ms / 1000)
            await _proxy_timeout()(scope, receive, send)
        else:
            response = _Recorder()
            await self._app(scope, receive, response)
            await response.altered(with_unknown_status)(scope, receive, send)

    def _note(self, scope: Scope) -> None:
        label = f"{scope['method']} {route_of(scope['path'])}"
        if label in self.requests or len(self.requests) < ROUTES_MAX:
            self.requests[label] += 1


def route_of(path: str) -> str:
    """A path with its ids and symbols taken out, for counting."""
    parts = path.split("/")
    for index in range(1, len(parts) - 1):
        placeholder = _COLLECTIONS.get(parts[index])
        if placeholder:
            return "/".join([*parts[: index + 1], placeholder])
    return path


def is_loopback(scope: Scope) -> bool:
    """Whether the request comes from this machine."""
    client = scope.get("client")
    try:
        return client is not None and ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False


def _adding(headers: list[tuple[bytes, bytes]], send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *headers]
        await send(message)

    return send_with_headers


async def _swallow(message: Message) -> None:
    """The answer that nobody gets."""


async def _hang(receive: Receive, stopping: asyncio.Event, delay_ms: int) -> None:
    """Keep a client waiting, until it gives up or the emulator ends at the latest."""

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    ends = [asyncio.create_task(gone()), asyncio.create_task(stopping.wait())]
    try:
        await asyncio.wait(ends, timeout=delay_ms / 1000, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for end in ends:
            end.cancel()


class _Recorder:
    """Takes an answer instead of the client."""

    def __init__(self) -> None:
        self._status = 200
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
        elif message["type"] == "http.response.body":
            self._body += message.get("body", b"")

    def altered(self, change: Callable[[Any], Any]) -> Response:
        """The answer with its JSON changed."""
        body = orjson.dumps(change(orjson.loads(self._body))) if self._body else b""
        return Response(body, self._status, media_type="application/json")


def _basic(given: str) -> tuple[str, str]:
    try:
        key, _, secret = base64.b64decode(given, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return key, secret


def _unauthorized(path: str) -> Response:
    """Alpaca's two refusals: trading says 401 with a code, market data 403 without."""
    if path.startswith(("/v2/stocks", "/v1beta")):
        return answer({"message": "forbidden."}, 403)
    return answer({"code": 40110000, "message": "request is not authorized"}, 401)


def _too_many() -> Response:
    return answer({"code": 42910000, "message": "rate limit exceeded"}, 429)


def _proxy_timeout() -> Response:
    return Response(_PROXY_PAGE, 504, media_type="text/html")
