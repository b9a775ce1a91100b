"""The gate that every REST request passes: request id, faults, credentials and the rate limit.

Promises: X-Request-ID on every answer; X-RateLimit-Limit, -Remaining and -Reset on every answer of a limited route,
the 429 included; nothing is carried out for a request that is refused here. Control routes are for loopback
alone and pass without credentials and limits. Every other request is counted by method and route, and recorded with its
answer. Leaves what a fault does to `misbehavior`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ipaddress
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.domain.models.simulation import LedgerKind
from gateway.domain.types import NANOS_PER_SECOND
from gateway.emulator.faults import REQUEST_KINDS, Fault, Faults
from gateway.emulator.later import Later
from gateway.emulator.record import Record
from gateway.emulator.recorded import RecordedExchange
from gateway.emulator.rest.answers import answer
from gateway.emulator.rest.arrivals import Answer, Arrival, arrived
from gateway.emulator.rest.misbehavior import Misbehavior, adding, limit_headers, too_many

CONTROL_PREFIX: Final = "/emulator/"
WINDOW_S: Final = 60
KEYS_MAX: Final = 1000
ROUTES_MAX: Final = 500

_WINDOW_NS: Final = WINDOW_S * NANOS_PER_SECOND
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
        remaining = max(0, self.limit - used - 1)
        return used < self.limit, limit_headers(self.limit, remaining, start_ns + _WINDOW_NS)


class Gate:
    """ASGI middleware around the REST routes.

    Args:
        app: The routes.
        exchange: Which knows the orders that a request may name.
        clock: Nanoseconds since the Unix epoch.

    Attributes:
        requests: How many came, by `METHOD route`.
        stopping: Set when the emulator ends: nobody is kept waiting any longer.
    """

    def __init__(
        self,
        app: ASGIApp,
        credentials: Credentials,
        limit: RateLimit,
        faults: Faults,
        *,
        record: Record,
        exchange: RecordedExchange,
        later: Later,
        clock: Callable[[], int],
    ) -> None:
        self._app = app
        self._credentials = credentials
        self._limit = limit
        self._faults = faults
        self._record = record
        self._exchange = exchange
        self.requests: Counter[str] = Counter()
        self.stopping = asyncio.Event()
        self._misbehavior = Misbehavior(app, record, later, clock, self.stopping)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = [(b"x-request-id", uuid.uuid4().hex.encode())]
        if scope["path"].startswith(CONTROL_PREFIX):
            if is_loopback(scope):
                await self._app(scope, receive, adding(headers, send))
            else:
                await answer({"message": "loopback only"}, 403)(scope, receive, adding(headers, send))
            return
        self._note(scope)
        arrival = await arrived(scope, receive, self._exchange)
        if not arrival.gone:
            await self._answer(arrival, send, headers)

    async def _answer(self, arrival: Arrival, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        scope = arrival.scope
        refusal, limit_shown = self._objection(scope)
        headers += limit_shown
        fault = None if refusal is not None else self._fault_for(arrival)
        if fault is not None:
            await self._misbehavior.strike(fault, arrival, send, headers)
            return
        self._note_arrival(arrival)
        made = Answer(self._record, arrival, send, headers)
        await (self._app if refusal is None else refusal)(scope, arrival.receive, made)

    def _objection(self, scope: Scope) -> tuple[Response | None, list[tuple[bytes, bytes]]]:
        """Why a request may not pass, if so, and the headers of its limit."""
        key = self._credentials.key_of(dict(scope["headers"]))
        if key is None:
            return _unauthorized(scope["path"]), []
        passes, limit_shown = self._limit.count(key)
        return None if passes else too_many(), limit_shown

    def _fault_for(self, arrival: Arrival) -> Fault | None:
        """The fault that strikes a request; the request is recorded before it."""
        if self._faults.is_empty:
            return None
        return self._faults.take(
            REQUEST_KINDS,
            arrival.route,
            arrival.symbol,
            arrival.concerned,
            before=lambda fault: self._note_arrival(arrival, fault.fault_id),
        )

    def _note_arrival(self, arrival: Arrival, fault_id: str = "") -> None:
        self._record.add(
            LedgerKind.REQUEST,
            route=arrival.route,
            symbol=arrival.symbol,
            fault_id=fault_id,
            body=arrival.body,
            **arrival.concerned,
        )

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
