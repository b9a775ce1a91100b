"""Where faults are ordered and cleared: what strikes at once does so here.

Promises: an order that returns has struck the feeds that are open, and a halt has begun; clearing heals what lasts:
mute feeds speak, halts end, a held event comes. Requests and events that are late come all the same.
"""

from __future__ import annotations

from gateway.domain.models.simulation import FaultKind, FaultOrder
from gateway.emulator.faults import Fault, Faults
from gateway.emulator.floor import TradingFloor
from gateway.emulator.later import Later
from gateway.emulator.sockets import Sockets
from gateway.emulator.streams.hub import DataHub
from gateway.emulator.streams.order_faults import OrderEvents


class FaultDesk:
    """Orders and clears the faults of one emulator."""

    def __init__(
        self, faults: Faults, floor: TradingFloor, hub: DataHub, sockets: Sockets, events: OrderEvents, later: Later
    ) -> None:
        self.faults = faults
        self._floor = floor
        self._hub = hub
        self._sockets = sockets
        self._events = events
        self._later = later
        self._halts: dict[str, str] = {}

    def order(self, order: FaultOrder) -> Fault:
        """Order a fault.

        Raises:
            ValueError: With a sentence that says what is wrong.
        """
        if order.symbol and not self._floor.exchange.symbol_of(order.symbol):
            raise ValueError("symbol is not traded here")
        fault = self.faults.add(order)
        if order.fault is FaultKind.SYMBOL_HALTED:
            self._halt(fault)
        else:
            self._sockets.strike()
        return fault

    def remove(self, fault_id: str) -> bool:
        """Forget one; False when there is none."""
        self._sockets.unmute(fault_id)
        self._end_halt(fault_id)
        return self.faults.remove(fault_id)

    def clear(self) -> None:
        """Forget all."""
        for fault in self.faults.all():
            self.remove(fault.fault_id)
        self._events.release()

    def _halt(self, fault: Fault) -> None:
        symbol = fault.order.symbol
        self.faults.take((FaultKind.SYMBOL_HALTED,), "", symbol)
        self._floor.halt(symbol)
        self._halts[fault.fault_id] = symbol

        async def resume() -> None:
            self._end_halt(fault.fault_id)

        if fault.delay_ms:
            self._later.after(fault.delay_ms, resume, kind="halt")

    def _end_halt(self, fault_id: str) -> None:
        symbol = self._halts.pop(fault_id, None)
        if symbol is not None and symbol not in self._halts.values():
            self._floor.resume(symbol)
