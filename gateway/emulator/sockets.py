"""All open sockets, market data and orders alike, and the faults that strike them.

Promises: a socket fault strikes fitting sockets that are open, the oldest first, and what is left of its count
strikes those that come later, when they have authenticated; with the count -1 it strikes every one.
"""

from __future__ import annotations

from typing import Final

from gateway.domain.models.simulation import FaultKind
from gateway.domain.types import MS_PER_SECOND, ORDER_FEED, DataFeed
from gateway.emulator.faults import CONNECT_KINDS, HANDSHAKE_KINDS, SOCKET_KINDS, Fault, Faults
from gateway.emulator.later import Later
from gateway.emulator.streams.hub import DataHub, DataSession
from gateway.emulator.streams.orders import ORDERS_PATH, OrderEndpoint, OrderSession
from gateway.emulator.wire import JsonObject

DATA_FEED_OF_PATH: Final = {
    "/v2/iex": DataFeed.IEX.value,
    "/v2/sip": DataFeed.SIP.value,
    "/v1beta3/crypto/us": DataFeed.CRYPTO_US.value,
    "/v1beta1/opra": DataFeed.OPRA.value,
    "/v1beta1/indicative": DataFeed.INDICATIVE.value,
    "/v1beta1/news": DataFeed.NEWS.value,
}
"""Where each feed of market data is served."""

_FEED_OF_PATH: Final = {ORDERS_PATH: ORDER_FEED, **DATA_FEED_OF_PATH}

Session = DataSession | OrderSession

_UNTIL_CLEARED_MS: Final = 0


class Sockets:
    """The sessions of both endpoints."""

    def __init__(self, hub: DataHub, orders: OrderEndpoint, faults: Faults, later: Later) -> None:
        self._hub = hub
        self._orders = orders
        self._faults = faults
        self._later = later
        self._muted: dict[str, list[Session]] = {}

    @property
    def delivered(self) -> int:
        """Messages of data and updates put on sockets since the start."""
        return self._hub.delivered + self._orders.delivered

    def open(self) -> list[Session]:
        """Authenticated sockets."""
        return [*self._hub.sessions.values(), *self._orders.sessions.values()]

    def joined(self, session: Session) -> None:
        """A socket has authenticated: a waiting fault may strike it."""
        fault = None if self._faults.is_empty else self._faults.take(SOCKET_KINDS, _FEED_OF_PATH[session.path])
        if fault is not None:
            self._strike(fault, session)

    def is_crowded(self, path: str) -> bool:
        """Whether a fault refuses a connection to this endpoint."""
        return not self._faults.is_empty and self._faults.take(CONNECT_KINDS, _FEED_OF_PATH[path]) is not None

    def refuses(self, path: str) -> int | None:
        """Whether a fault refuses a handshake at this endpoint: seconds to wait before the next, 0 untold; or None."""
        if self._faults.is_empty:
            return None
        fault = self._faults.take(HANDSHAKE_KINDS, _FEED_OF_PATH[path])
        return None if fault is None else -(-fault.delay_ms // MS_PER_SECOND)

    def strike(self) -> None:
        """A fault was ordered: strike what is open."""
        for session in self.open():
            if not session.outbox.muted and not session.outbox.is_ending:
                self.joined(session)

    def unmute(self, fault_id: str) -> None:
        """The sockets that a fault has muted speak again; what they would have said meanwhile is lost."""
        for session in self._muted.pop(fault_id, []):
            session.outbox.muted = False

    def describe(self) -> list[JsonObject]:
        """Every open socket."""
        return [_describe(session) for session in self.open()]

    def _strike(self, fault: Fault, session: Session) -> None:
        if fault.kind is FaultKind.FEED_DISCONNECTED:
            session.outbox.abort()
        elif fault.kind is FaultKind.SLOW_CLIENT:
            session.end_slow()
        else:
            self._mute(fault, session)

    def _mute(self, fault: Fault, session: Session) -> None:
        session.outbox.muted = True
        open_now = self.open()
        self._muted[fault.fault_id] = [one for one in self._muted.get(fault.fault_id, []) if one in open_now]
        self._muted[fault.fault_id].append(session)
        if fault.delay_ms == _UNTIL_CLEARED_MS:
            return

        async def speak() -> None:
            session.outbox.muted = False

        self._later.after(fault.delay_ms, speak, kind="mute")


def _describe(session: Session) -> JsonObject:
    described: JsonObject = {
        "id": session.session_id,
        "path": session.path,
        "key": session.key,
        "encoding": session.codec.name,
        "frames_sent": session.outbox.sent,
        "muted": session.outbox.muted,
    }
    if isinstance(session, DataSession):
        described["subscriptions"] = {channel: list(symbols) for channel, symbols in session.subscriptions.items()}
    else:
        described["listening"] = session.listening
    return described
