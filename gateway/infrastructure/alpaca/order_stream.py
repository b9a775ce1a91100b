"""alpaca-py's TradingStream, told and tolerant. Importing this module imports alpaca.

Promises that a frame which cannot be read is told with the order's id where one can be found, and never ends
the stream; that a refused or missing answer to `listen` ends the attempt; and that numbers stay decimals.
Deduplication, order and back-fill are left to the rooms above: the feed has no sequence.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

import orjson
from alpaca.trading.stream import TradingStream

from gateway.domain.models.orders import VenueOrderUpdate
from gateway.infrastructure.alpaca.converters.errors import printable
from gateway.infrastructure.alpaca.converters.fields import JsonObject, Unreadable, exact_json, whole_or_none
from gateway.infrastructure.alpaca.converters.orders import update_from_alpaca
from gateway.infrastructure.alpaca.reconnect import StreamRefused
from gateway.infrastructure.alpaca.rest_clients import HELD_ELSEWHERE
from gateway.infrastructure.alpaca.secret import Secret
from gateway.infrastructure.alpaca.sockets import close_socket, open_socket

UNAUTHORIZED: Final = 401
"""The code told when the order feed refuses the key: it gives none of its own."""
TRADE_UPDATES: Final = "trade_updates"

_MALFORMED: Final = (Unreadable, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""Of a frame: what its readers say of it, and what a shape that nobody thought of does to them."""

_ORDER_ID: Final = re.compile(rb'"order"\s*:\s*\{[^{}]*?"id"\s*:\s*"([0-9a-fA-F-]{36})"')


class UpdateListener(Protocol):
    """Who gets the updates. Must neither block nor raise."""

    def on_update(self, update: VenueOrderUpdate) -> None:
        """One update."""
        ...

    def on_unreadable(self, detail: str, venue_order_id: str) -> None:
        """A frame that could not be read."""
        ...

    def on_error_frame(self, code: int, text: str) -> None:
        """The venue complains; the connection goes on until it is closed."""
        ...

    def on_listening(self) -> None:
        """From here on updates come."""
        ...


class GatewayOrderStream(TradingStream):
    """The one connection to the order feed."""

    def __init__(self, url: str, key: Secret, secret: Secret) -> None:
        super().__init__(HELD_ELSEWHERE, HELD_ELSEWHERE, raw_data=True, url_override=url)
        self._ws: Any = None
        self._key = key
        self._secret = secret
        self._clock_ns: Callable[[], int] = time.time_ns
        self._listener: UpdateListener | None = None
        self._is_listening = False

    def listen(self, listener: UpdateListener, clock_ns: Callable[[], int]) -> None:
        """Say who gets the updates, and by which clock they are stamped."""
        self._listener = listener
        self._clock_ns = clock_ns

    async def open(self) -> None:
        """Connect, authenticate, ask for updates, and wait until the venue says that they come.

        Raises:
            StreamRefused: The venue says no.
        """
        self._is_listening = False
        await self._connect()
        await self._auth()
        await self._subscribe_trade_updates()
        while not self._is_listening:
            self._take(await self._ws.recv())

    async def serve(self) -> None:
        """Read frames until the connection ends."""
        await self._consume()

    async def close(self) -> None:
        """Close the socket; it is closed when this returns."""
        socket, self._ws = self._ws, None
        if socket is not None:
            await close_socket(socket)

    async def _connect(self) -> None:
        self._ws = await open_socket(self._endpoint, {})

    async def _auth(self) -> None:
        data = {"key_id": self._key.reveal(), "secret_key": self._secret.reveal()}
        await self._send({"action": "authenticate", "data": data})
        self._check_authorized(_object(await self._ws.recv()))

    async def _subscribe_trade_updates(self) -> None:
        await self._send({"action": "listen", "data": {"streams": [TRADE_UPDATES]}})

    async def _consume(self) -> None:
        receive = self._ws.recv
        while True:
            self._take(await receive())

    async def _send(self, message: JsonObject) -> None:
        await self._ws.send(orjson.dumps(message).decode())

    def _take(self, frame: bytes | str) -> None:
        listener = self._listener
        if listener is None:
            raise RuntimeError("nobody listens to this stream")
        receive_time_ns = self._clock_ns()
        try:
            message = _object(frame)
        except _MALFORMED as error:
            listener.on_unreadable(_detail_of(error), _order_id_in(frame))
            return
        match message.get("stream"):
            case "trade_updates":
                try:
                    update = update_from_alpaca(message.get("data"), receive_time_ns)
                except _MALFORMED as error:
                    listener.on_unreadable(_detail_of(error), _order_id_in(frame))
                    return
                listener.on_update(update)
            case "listening":
                self._check_listening(message)
                self._is_listening = True
                listener.on_listening()
            case "authorization":
                self._check_authorized(message)
            case _:
                if message.get("T") == "error":
                    listener.on_error_frame(whole_or_none(message, "code") or 0, _text_of(message))
                else:
                    listener.on_unreadable("a frame of no known stream", "")

    def _check_authorized(self, message: JsonObject) -> None:
        if message.get("T") == "error":
            raise StreamRefused(_text_of(message), whole_or_none(message, "code") or 0)
        data = message.get("data")
        if type(data) is not dict or data.get("status") != "authorized":
            raise StreamRefused("the order feed refuses the key", UNAUTHORIZED)

    def _check_listening(self, message: JsonObject) -> None:
        data = message.get("data")
        streams = data.get("streams") if type(data) is dict else None
        if type(streams) is not list or TRADE_UPDATES not in streams:
            raise StreamRefused("the order feed does not send trade updates")


def _object(frame: bytes | str) -> JsonObject:
    raw = exact_json(frame.encode() if isinstance(frame, str) else frame)
    if type(raw) is list and len(raw) == 1:  # as the data streams wrap their error frames
        raw = raw[0]
    if type(raw) is not dict:
        raise Unreadable("a frame that is no object")
    return raw


def _detail_of(error: Exception) -> str:
    return str(error) if isinstance(error, Unreadable) else f"a frame of no known shape ({type(error).__name__})"


def _order_id_in(frame: bytes | str) -> str:
    found = _ORDER_ID.search(frame.encode() if isinstance(frame, str) else frame)
    return found.group(1).decode() if found else ""


def _text_of(message: JsonObject) -> str:
    text = message.get("msg")
    return printable(text) if type(text) is str else "an error without a text"
