"""Order events on their way to the feed, and what faults do to them: see the table in README.md.

Promises: without a fault, events leave in order, once; with one, exactly what was ordered. An event that is held until
the next one waits for it, however long, or until the faults are cleared. One fault strikes one event, for all who
listen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import orjson

from gateway.domain.models.simulation import FaultKind, LedgerKind
from gateway.domain.types import ORDER_FEED
from gateway.emulator.faults import EVENT_KINDS, UNKNOWN_WORD, Fault, Faults, with_unknown_status
from gateway.emulator.later import Later
from gateway.emulator.record import Record
from gateway.emulator.wire import JsonObject

LATE_EVENT: Final = "late_event"

Deliver = Callable[[JsonObject | None, bool], None]
"""Put an event's JSON on the feed; True: break its frame off in the middle."""


class OrderEvents:
    """Between the exchange and the order feed.

    Args:
        faults: Which may strike.
        record: Where events are written down when they are put on the feed.
        later: Delays.

    Attributes:
        deliver: Puts an event on the feed; set by the endpoint.
    """

    def __init__(self, faults: Faults, record: Record, later: Later) -> None:
        self._faults = faults
        self._record = record
        self._later = later
        self._held: tuple[JsonObject, str] | None = None
        self.deliver: Deliver = lambda _data, _truncated: None

    @property
    def held(self) -> int:
        """Events that do not come yet."""
        return (self._held is not None) + self._later.count(LATE_EVENT)

    def pass_on(self, data: JsonObject) -> None:
        """One event of the exchange."""
        if self._held is not None:  # this is the event that the held one comes after
            self._put(data)
            self.release()
            return
        fault = None if self._faults.is_empty else self._fault_for(data)
        if fault is None:
            self._put(data)
        else:
            self._strike(fault, data)

    def release(self) -> None:
        """Put the held event on the feed now."""
        held, self._held = self._held, None
        if held is not None:
            self._put(held[0], held[1])

    def _fault_for(self, data: JsonObject) -> Fault | None:
        return self._faults.take(EVENT_KINDS, ORDER_FEED, _symbol_of(data), _ids_of(data))

    def _strike(self, fault: Fault, data: JsonObject) -> None:
        fault_id = fault.fault_id
        match fault.kind:
            case FaultKind.EVENT_DROPPED:
                return
            case FaultKind.EVENT_DUPLICATED:
                self._put(data, fault_id)
                self._put(data, fault_id)
            case FaultKind.EVENTS_REORDERED:
                self._held = (data, fault_id)
            case FaultKind.EVENT_LATE:
                self._put_off(fault, data)
            case FaultKind.EVENT_EMPTY:
                self._put(None, fault_id)
            case FaultKind.EVENT_UNKNOWN:
                self._put({**data, "event": UNKNOWN_WORD}, fault_id)
            case FaultKind.FRAME_TRUNCATED:
                self._put(data, fault_id, truncated=True)
            case _:
                self._put({**data, "order": with_unknown_status(data["order"])}, fault_id)

    def _put_off(self, fault: Fault, data: JsonObject) -> None:
        async def put() -> None:
            self._put(data, fault.fault_id)

        self._later.after(fault.delay_ms, put, kind=LATE_EVENT)

    def _put(self, data: JsonObject | None, fault_id: str = "", *, truncated: bool = False) -> None:
        ids = {} if data is None else _ids_of(data)
        symbol = "" if data is None else _symbol_of(data)
        body = orjson.dumps(data)
        self._record.add(LedgerKind.EVENT, route=ORDER_FEED, symbol=symbol, fault_id=fault_id, body=body, **ids)
        self.deliver(data, truncated)


def _ids_of(data: JsonObject) -> dict[str, str]:
    order = data["order"]
    return {"venue_order_id": order["id"], "venue_client_order_id": order["client_order_id"]}


def _symbol_of(data: JsonObject) -> str:
    symbol: str = data["order"]["symbol"]
    return symbol
