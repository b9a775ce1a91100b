"""All open sockets, market data and orders alike, and the faults that strike them.

Promises: a socket fault strikes fitting sockets that are open, the oldest first, and what is left of its count
strikes those that come later, when they have authenticated.
"""

from __future__ import annotations

import asyncio
from typing import Final

from gateway.emulator.faults import SOCKET_KINDS, Fault, FaultKind, Faults
from gateway.emulator.streams.hub import DataHub, DataSession
from gateway.emulator.streams.orders import OrderEndpoint, OrderSession
from gateway.emulator.wire import JsonObject

Session = DataSession | OrderSession

_MUTED_FOREVER_MS: Final = 0


class Sockets:
    """The sessions of both endpoints."""

    def __init__(self, hub: DataHub, orders: OrderEndpoint, faults: Faults) -> None:
        self._hub = hub
        self._orders = orders
        self._faults = faults
        self._muted: dict[int, list[Session]] = {}

    @property
    def delivered(self) -> int:
        """Messages of data and updates put on sockets since the start."""
        return self._hub.delivered + self._orders.delivered

    def open(self) -> list[Session]:
        """Authenticated sockets."""
        return [*self._hub.sessions.values(), *self._orders.sessions.values()]

    def listening_to_orders(self) -> int:
        """How many order sockets listen to trade_updates."""
        return sum(session.listening for session in self._orders.sessions.values())

    def joined(self, session: Session) -> None:
        """A socket has authenticated: a waiting fault may strike it."""
        fault = self._faults.take(SOCKET_KINDS, session.path) if self._faults.waiting else None
        if fault is not None:
            self._strike(fault, session)

    def strike(self) -> None:
        """A fault was ordered: strike what is open."""
        for session in self.open():
            if not session.outbox.muted and not session.outbox.aborted:
                self.joined(session)

    def unmute(self, fault_id: int) -> None:
        """The sockets that a fault has muted speak again; what they would have said meanwhile is lost."""
        for session in self._muted.pop(fault_id, []):
            session.outbox.muted = False

    def describe(self) -> list[JsonObject]:
        """Every open socket."""
        return [_describe(session) for session in self.open()]

    def _strike(self, fault: Fault, session: Session) -> None:
        if fault.kind is FaultKind.CUT:
            session.outbox.abort()
            return
        session.outbox.muted = True
        self._muted.setdefault(fault.fault_id, []).append(session)
        if fault.delay_ms != _MUTED_FOREVER_MS:
            asyncio.get_running_loop().call_later(fault.delay_ms / 1000, self.unmute, fault.fault_id)


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
