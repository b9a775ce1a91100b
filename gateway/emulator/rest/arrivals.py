"""A request that has arrived whole, and an answer that was made: what the record and the faults look at.

A body is read before anybody looks at the request, so that the record has its bytes whatever becomes of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs

import orjson
from starlette.types import Message, Receive, Scope, Send

from gateway.domain.models.simulation import LedgerKind
from gateway.emulator.record import Record
from gateway.emulator.recorded import RecordedExchange
from gateway.emulator.rest.answers import BODY_BYTES_MAX

_WITH_BODY: Final = frozenset({"POST", "PATCH", "PUT"})
_ORDERS: Final = "/v2/orders"
_POSITIONS: Final = "/v2/positions/"
_PATH_CHARACTERS_MAX: Final = 256
_WORD_CHARACTERS_MAX: Final = 128


@dataclass(slots=True)
class Arrival:
    """One request.

    Attributes:
        route: Method and path.
        symbol: What it is about, in the exchange's spelling; empty when it has none, or none that is known.
        concerned: The ids that it names, as fields of a record's entry.
        gone: Its client has hung up.
    """

    scope: Scope
    body: bytes
    rest: Receive
    route: str
    symbol: str = ""
    concerned: dict[str, str] = field(default_factory=dict)
    gone: bool = False
    _is_read: bool = False

    async def receive(self) -> Message:
        """The body at once, then what the connection says."""
        if not self._is_read:
            self._is_read = True
            return {"type": "http.request", "body": self.body, "more_body": False}
        return await self.rest()


async def arrived(scope: Scope, receive: Receive, exchange: RecordedExchange) -> Arrival:
    """Wait for the whole request. A body beyond its bound is cut right after it: the route refuses it by its length."""
    body = b""
    gone = False
    if scope["method"] in _WITH_BODY:
        more = True
        while more and len(body) <= BODY_BYTES_MAX:
            message = await receive()
            if message["type"] == "http.disconnect":
                gone = True
                break
            body += message.get("body", b"")
            more = message.get("more_body", False)
    path: str = scope["path"]
    arrival = Arrival(scope, body, receive, f"{scope['method']} {path[:_PATH_CHARACTERS_MAX]}", gone=gone)
    if path.startswith(_ORDERS):
        _look_at_order(arrival, path, exchange)
    elif path.startswith(_POSITIONS):
        arrival.symbol = exchange.symbol_of(path.removeprefix(_POSITIONS))
    return arrival


class Answer:
    """Takes an answer on its way: it is recorded, and sent on unless nobody shall have it.

    Args:
        record: Where it is written down.
        arrival: The request.
        send: The client; None: the answer is kept here.
        added: Headers added to it.
        fault_id: Whose doing it is.

    Attributes:
        status, headers, body: What was made.
    """

    def __init__(
        self,
        record: Record,
        arrival: Arrival,
        send: Send | None,
        added: list[tuple[bytes, bytes]] | None = None,
        fault_id: str = "",
    ) -> None:
        self._record = record
        self._arrival = arrival
        self._send = send
        self._added = added or []
        self._fault_id = fault_id
        self._start: Message | None = None
        self.status = 200
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""

    async def __call__(self, message: Message) -> None:
        """One message of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = [*message.get("headers", []), *self._added]
            self._start = {**message, "headers": self.headers}
            return  # sent with the body, so that the record has the answer before its client can act on it
        if message["type"] != "http.response.body":
            return
        self.body += message.get("body", b"")
        if not message.get("more_body", False):
            self._note()
        if self._send is not None:
            if self._start is not None:
                start, self._start = self._start, None
                await self._send(start)
            await self._send(message)

    def _note(self) -> None:
        concerned = self._arrival.concerned
        if self.status == 200 and self._arrival.scope["method"] in _WITH_BODY:
            concerned = {**concerned, **_ids_of(self.body)}
        self._record.add(
            LedgerKind.RESPONSE,
            route=self._arrival.route,
            http_status=self.status,
            symbol=self._arrival.symbol,
            fault_id=self._fault_id,
            body=self.body,
            **concerned,
        )


def _look_at_order(arrival: Arrival, path: str, exchange: RecordedExchange) -> None:
    """What a request about orders names."""
    concerned = arrival.concerned
    if arrival.body:
        said = _object(arrival.body)
        _keep(concerned, "venue_client_order_id", said.get("client_order_id"))
        if isinstance(symbol := said.get("symbol"), str):
            arrival.symbol = exchange.symbol_of(symbol)
    if path.startswith(_ORDERS + "/"):
        order_id = path.removeprefix(_ORDERS + "/")
        _keep(concerned, "venue_order_id", order_id)
        arrival.symbol = exchange.symbol_of_order(order_id=order_id)
    elif query := arrival.scope.get("query_string"):
        asked = parse_qs(query.decode("latin-1")).get("client_order_id", [""])[0]
        _keep(concerned, "venue_client_order_id", asked)
        if asked:
            arrival.symbol = exchange.symbol_of_order(client_order_id=asked)


def _ids_of(body: bytes) -> dict[str, str]:
    ids: dict[str, str] = {}
    order = _object(body)
    _keep(ids, "venue_order_id", order.get("id"))
    _keep(ids, "venue_client_order_id", order.get("client_order_id"))
    return ids


def _keep(fields: dict[str, str], name: str, value: object) -> None:
    if isinstance(value, str) and value:
        fields[name] = value[:_WORD_CHARACTERS_MAX]


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
