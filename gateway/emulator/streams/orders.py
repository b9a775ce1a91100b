"""The order socket, `/stream`: JSON in binary frames, as Alpaca's paper venue sends it.

Messages are `{"stream":...,"data":...}`, one per frame. The client authenticates, then listens; `listen` replaces the
set of streams. Several connections per key are allowed. There are no sequence numbers and no replay, as at Alpaca:
who was away has missed what happened. msgpack is spoken to a client whose request says so.

Source: Alpaca's page on websocket streaming of account updates.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from starlette.websockets import WebSocket, WebSocketDisconnect

from gateway.emulator.exchange import TradeUpdate
from gateway.emulator.market import Event
from gateway.emulator.streams.codec import JSON, MSGPACK, MSGPACK_CONTENT_TYPE, Codec
from gateway.emulator.streams.data import StreamSettings
from gateway.emulator.streams.denial import deny
from gateway.emulator.streams.hub import CONNECTION_LIMIT, POLICY_VIOLATION, SLOW_CLIENT
from gateway.emulator.streams.inbox import read_message
from gateway.emulator.streams.order_faults import OrderEvents
from gateway.emulator.streams.outbox import Outbox
from gateway.emulator.wire import JsonObject
from gateway.emulator.wire_trading import trade_update_json

ORDERS_PATH: Final = "/stream"
TRADE_UPDATES: Final = "trade_updates"


@dataclass(eq=False, slots=True)
class OrderSession:
    """One order socket."""

    session_id: int
    codec: Codec
    outbox: Outbox
    path: str = ORDERS_PATH
    key: str = ""
    listening: bool = False

    def say(self, stream: str, data: JsonObject | None, *, truncated: bool = False) -> None:
        """Send one message; who is too slow for it is cut off."""
        frame = self.codec.encode({"stream": stream, "data": data})
        if not self.outbox.put(frame[: len(frame) // 2] if truncated else frame):
            self.outbox.finish(b"", POLICY_VIOLATION)

    def end_slow(self) -> None:
        """Tell a slow client that it is slow, and hang up."""
        self._end(SLOW_CLIENT, "slow client")

    def end_crowded(self) -> None:
        """Refuse a client because there is no room for another."""
        self._end(CONNECTION_LIMIT, "connection limit exceeded")

    def _end(self, code: int, text: str) -> None:
        self.outbox.finish(self.codec.encode({"T": "error", "code": code, "msg": text}), POLICY_VIOLATION)


class OrderEndpoint:
    """Serves the order sockets and tells them of updates.

    Args:
        events: What comes between the exchange and the feed.

    Attributes:
        on_joined: Called with a session that has authenticated.
        is_crowded: Asked with the endpoint whether a client with good credentials is refused with 406 all the same.
        refuses: Asked with the endpoint whether a handshake is answered with 429: seconds of its Retry-After, or None.
    """

    def __init__(
        self,
        settings: StreamSettings,
        credentials_accepted: Callable[[str, str], bool],
        events: OrderEvents,
    ) -> None:
        self._settings = settings
        self._credentials_accepted = credentials_accepted
        self._events = events
        events.deliver = self._deliver
        self.on_joined: Callable[[OrderSession], None] | None = None
        self.is_crowded: Callable[[str], bool] = lambda _path: False
        self.refuses: Callable[[str], int | None] = lambda _path: None
        self._next_id = 1
        self.sessions: dict[int, OrderSession] = {}
        self.delivered = 0

    def on_events(self, events: Sequence[Event]) -> None:
        """Market data goes elsewhere."""

    def on_updates(self, updates: Sequence[TradeUpdate]) -> None:
        """Tell everybody who listens."""
        if not any(session.listening for session in self.sessions.values()):
            return
        for update in updates:
            self._events.pass_on(trade_update_json(update))

    def _deliver(self, data: JsonObject | None, truncated: bool) -> None:
        for session in self.sessions.values():
            if session.listening:
                session.say(TRADE_UPDATES, data, truncated=truncated)
                self.delivered += 1

    async def serve(self, socket: WebSocket) -> None:
        """One connection, from accept to the end."""
        if (retry_after_s := self.refuses(socket.url.path)) is not None:
            await deny(socket, retry_after_s)
            return
        await socket.accept()
        codec = MSGPACK if socket.headers.get("content-type") == MSGPACK_CONTENT_TYPE else JSON
        outbox = Outbox(socket, binary=True, bytes_max=self._settings.outgoing_bytes_max)
        session = OrderSession(self._next_id, codec, outbox)
        self._next_id += 1
        sender = asyncio.create_task(outbox.run())
        try:
            async with asyncio.timeout(self._settings.auth_timeout_s):
                while not session.key:
                    self._handle(session, await read_message(socket, session.codec) or {})
            while True:
                self._handle(session, await read_message(socket, session.codec) or {})
        except TimeoutError:
            outbox.finish(b"", POLICY_VIOLATION)
            await asyncio.wait([sender], timeout=self._settings.auth_timeout_s)
        except WebSocketDisconnect:
            pass
        finally:
            self.sessions.pop(session.session_id, None)
            sender.cancel()

    def _handle(self, session: OrderSession, message: Mapping[str, Any]) -> None:
        action = message.get("action")
        if action in ("authenticate", "auth"):
            self._authenticate(session, message, str(action))
        elif action == "listen":
            self._listen(session, message)
        else:
            session.say("error", {"error": "invalid action"})

    def _authenticate(self, session: OrderSession, message: Mapping[str, Any], action: str) -> None:
        given = message.get("data") if action == "authenticate" else message
        names = ("key_id", "secret_key") if action == "authenticate" else ("key", "secret")
        key, secret = (given.get(name) if isinstance(given, dict) else None for name in names)
        accepted = isinstance(key, str) and isinstance(secret, str) and self._credentials_accepted(key, secret)
        if accepted and self.is_crowded(session.path):
            session.end_crowded()
            return
        if accepted:
            session.key = str(key)
            self.sessions[session.session_id] = session
        session.say("authorization", {"status": "authorized" if accepted else "unauthorized", "action": action})
        if accepted and self.on_joined is not None:
            self.on_joined(session)

    def _listen(self, session: OrderSession, message: Mapping[str, Any]) -> None:
        if not session.key:
            session.say("authorization", {"status": "unauthorized", "action": "listen"})
            return
        given = message.get("data")
        streams = given.get("streams") if isinstance(given, dict) else None
        wanted = streams if isinstance(streams, list) else []
        session.listening = TRADE_UPDATES in wanted
        session.say("listening", {"streams": [TRADE_UPDATES] if session.listening else []})
