"""The conversation on a market-data socket: connect, authenticate, subscribe.

Endpoints `/v2/iex`, `/v2/sip`, `/v1beta3/crypto/us`, `/v1beta1/opra`, `/v1beta1/indicative` and `/v1beta1/news`; JSON
text, or msgpack when the request says `Content-Type: application/msgpack`; options in msgpack alone. Errors are
`{"T":"error","code":...,"msg":...}`:

    400 invalid syntax · 401 not authenticated · 402 auth failed · 403 already authenticated · 404 auth timeout ·
    405 symbol limit exceeded · 406 connection limit exceeded · 407 slow client · 408 v2 not enabled ·
    409 insufficient subscription · 410 invalid subscribe action for this feed · 411 insufficient scope ·
    412 option messages are only available in msgpack · 413 no star for option quotes

402, 404, 406, 407, 408, 409, 411 and 412 end the connection; after the others it goes on and nothing has changed.

Source: Alpaca's page on real-time market data (https://docs.alpaca.markets/docs/streaming-market-data), its Go
SDK's errors.go; its pages on real-time option data and on real-time news.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.websockets import WebSocket, WebSocketDisconnect

from gateway.emulator.streams.codec import JSON, MSGPACK, MSGPACK_CONTENT_TYPE
from gateway.emulator.streams.denial import deny
from gateway.emulator.streams.hub import (
    CRYPTO,
    EVERYTHING,
    NEWS,
    OPTIONS,
    POLICY_VIOLATION,
    STOCKS,
    DataHub,
    DataSession,
)
from gateway.emulator.streams.inbox import read_message
from gateway.emulator.streams.outbox import DEFAULT_OUTGOING_BYTES_MAX, Outbox
from gateway.emulator.wire import JsonObject

ERRORS: Final = {
    400: "invalid syntax",
    401: "not authenticated",
    402: "auth failed",
    403: "already authenticated",
    404: "auth timeout",
    405: "symbol limit exceeded",
    406: "connection limit exceeded",
    407: "slow client",
    408: "v2 not enabled",
    409: "insufficient subscription",
    410: "invalid subscribe action for this feed",
    411: "insufficient scope",
    412: "option messages are only available in MsgPack format",
    413: "star symbol is not allowed for option quotes",
    500: "internal error",
}
FATAL: Final = frozenset({402, 404, 406, 407, 408, 409, 411, 412})

CHANNELS: Final = {
    STOCKS: ("trades", "quotes", "bars", "updatedBars", "dailyBars", "statuses", "lulds"),
    CRYPTO: ("trades", "quotes", "orderbooks", "bars", "updatedBars", "dailyBars"),
    OPTIONS: ("trades", "quotes"),
    NEWS: ("news",),
}
KIND_OF_PATH: Final = {
    "/v2/iex": STOCKS,
    "/v2/sip": STOCKS,
    "/v1beta3/crypto/us": CRYPTO,
    "/v1beta1/opra": OPTIONS,
    "/v1beta1/indicative": OPTIONS,
    "/v1beta1/news": NEWS,
}
_KNOWN_CHANNELS: Final = frozenset(name for names in CHANNELS.values() for name in names) | {"imbalances"}
_FOLLOW_TRADES: Final = ("corrections", "cancelErrors")
_LIMITED: Final = ("trades", "quotes")


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """What the venue allows on its sockets.

    Attributes:
        auth_timeout_s: A client must authenticate within it (404).
        symbol_limit: Trades plus quotes of one session (405); 0: none. Alpaca's free plan: 30.
        connection_limit: Sessions of one key at one endpoint (406); 0: none. Alpaca: 1 in most plans.
        outgoing_bytes_max: What may wait for one client (407).
        refused_paths: Endpoint → error code with which authentication is answered: plans without SIP get 409.
    """

    auth_timeout_s: float = 10.0
    symbol_limit: int = 0
    connection_limit: int = 1
    outgoing_bytes_max: int = DEFAULT_OUTGOING_BYTES_MAX
    refused_paths: Mapping[str, int] = field(default_factory=dict)


class DataEndpoint:
    """Serves the sockets of market data.

    Args:
        credentials_accepted: Whether a key and its secret are good.
        on_subscribed: Called after a subscription, for which a tape may wait; the instant of it.

    Attributes:
        on_joined: Called with a session that has authenticated.
        is_crowded: Asked with the endpoint whether a client with good credentials is refused with 406 all the same.
        refuses: Asked with the endpoint whether a handshake is answered with 429: seconds of its Retry-After, or None.
    """

    def __init__(
        self,
        hub: DataHub,
        settings: StreamSettings,
        credentials_accepted: Callable[[str, str], bool],
        on_subscribed: Callable[[], int],
    ) -> None:
        self._hub = hub
        self._settings = settings
        self._credentials_accepted = credentials_accepted
        self._on_subscribed = on_subscribed
        self.on_joined: Callable[[DataSession], None] | None = None
        self.is_crowded: Callable[[str], bool] = lambda _path: False
        self.refuses: Callable[[str], int | None] = lambda _path: None
        self._next_id = 1

    async def serve(self, socket: WebSocket) -> None:
        """One connection, from accept to the end."""
        if (retry_after_s := self.refuses(socket.url.path)) is not None:
            await deny(socket, retry_after_s)
            return
        await socket.accept()
        codec = MSGPACK if socket.headers.get("content-type") == MSGPACK_CONTENT_TYPE else JSON
        outbox = Outbox(socket, binary=codec.binary, bytes_max=self._settings.outgoing_bytes_max)
        path = socket.url.path
        session = DataSession(self._next_id, path, KIND_OF_PATH[path], codec, outbox)
        self._next_id += 1
        sender = asyncio.create_task(outbox.run())
        try:
            if session.kind == OPTIONS and codec is not MSGPACK:
                self._error(session, 412)
            elif await self._authenticated(socket, session):
                await self._converse(socket, session)
            await asyncio.wait([sender], timeout=self._settings.auth_timeout_s)
        except WebSocketDisconnect:
            pass
        finally:
            self._hub.leave(session)
            sender.cancel()

    async def _authenticated(self, socket: WebSocket, session: DataSession) -> bool:
        """Say that it is connected, and wait for credentials; False when the connection is over."""
        session.say({"T": "success", "msg": "connected"})
        try:
            async with asyncio.timeout(self._settings.auth_timeout_s):
                while True:
                    message = await read_message(socket, session.codec)
                    if message is None or message.get("action") != "auth":
                        self._error(session, 400 if message is None else 401)
                        continue
                    return self._admit(session, message)
        except TimeoutError:
            self._error(session, 404)
            return False

    def _admit(self, session: DataSession, message: Mapping[str, Any]) -> bool:
        key, secret = message.get("key"), message.get("secret")
        limit = self._settings.connection_limit
        if not isinstance(key, str) or not isinstance(secret, str) or not self._credentials_accepted(key, secret):
            self._error(session, 402)
        elif session.path in self._settings.refused_paths:
            self._error(session, self._settings.refused_paths[session.path])
        elif (limit and self._hub.count(session.path, key) >= limit) or self.is_crowded(session.path):
            self._error(session, 406)
        else:
            session.key = key
            self._hub.join(session)
            session.say({"T": "success", "msg": "authenticated"})
            if self.on_joined is not None:
                self.on_joined(session)
            return True
        return False

    async def _converse(self, socket: WebSocket, session: DataSession) -> None:
        while True:
            message = await read_message(socket, session.codec)
            action = None if message is None else message.get("action")
            if message is None or action not in ("auth", "subscribe", "unsubscribe"):
                self._error(session, 400)
            elif action == "auth":
                self._error(session, 403)
            else:
                self._change(session, message, subscribing=action == "subscribe")

    def _change(self, session: DataSession, message: Mapping[str, Any], *, subscribing: bool) -> None:
        """Change subscriptions as a whole or, on an error, not at all."""
        wanted = {name: symbols for name, symbols in message.items() if name in _KNOWN_CHANNELS and symbols}
        code = self._objection(session, wanted, subscribing=subscribing)
        if code:
            self._error(session, code)
            return
        for channel, symbols in wanted.items():
            if subscribing:
                self._hub.subscribe(session, channel, symbols)
            else:
                self._hub.unsubscribe(session, channel, symbols)
        session.say(_subscription(session))
        if subscribing and wanted:
            self._hub.show_books(session, wanted.get("orderbooks", ()), self._on_subscribed())

    def _objection(self, session: DataSession, wanted: Mapping[str, Any], *, subscribing: bool) -> int:
        for symbols in wanted.values():
            if not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols):
                return 400
        if any(channel not in CHANNELS[session.kind] for channel in wanted):
            return 410
        if session.kind == OPTIONS and subscribing and any(EVERYTHING in symbols for symbols in wanted.values()):
            return 413
        limit = self._settings.symbol_limit
        if subscribing and limit:
            counts = (len({*session.subscriptions.get(channel, ()), *wanted.get(channel, ())}) for channel in _LIMITED)
            if sum(counts) > limit:
                return 405
        return 0

    def _error(self, session: DataSession, code: int) -> None:
        message = {"T": "error", "code": code, "msg": ERRORS[code]}
        if code in FATAL:
            session.outbox.finish_after_queued(session.codec.frame([session.codec.encode(message)]), POLICY_VIOLATION)
        else:
            session.say(message)


def _subscription(session: DataSession) -> JsonObject:
    """The full set, which is what Alpaca answers to every change."""
    message: JsonObject = {"T": "subscription"}
    for channel in CHANNELS[session.kind]:
        message[channel] = list(session.subscriptions.get(channel, ()))
    if session.kind == STOCKS:
        for channel in _FOLLOW_TRADES:
            message[channel] = list(session.subscriptions.get("trades", ()))
    return message
