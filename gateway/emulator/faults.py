"""What goes wrong on request: which faults there are, where they strike, and how often each has.

README.md says what each does. A `route` is a request's method and path (`POST /v2/orders`; `*` stands for anything) or
a feed's name as the gateway's `FeedStatus.feed` says it (`orders`, `stocks:iex`). Promises: a fault fires exactly as
ordered, `skip` that fit pass first; every firing is counted and recorded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import translate
from types import MappingProxyType
from typing import Any, Final

import orjson

from gateway.domain.models.simulation import UNTIL_CLEARED, FaultKind, FaultOrder, LedgerKind
from gateway.domain.types import NANOS_PER_MS, ORDER_FEED, DataFeed
from gateway.emulator.record import Record
from gateway.emulator.wire import JsonObject

FAULTS_MAX: Final = 10_000
COUNT_MAX: Final = 1_000_000
DELAY_MS_MAX: Final = 60_000
ROUTE_CHARACTERS_MAX: Final = 256
UNKNOWN_WORD: Final = "pending_emulation"
"""A status, or an event, that nobody knows."""

ORDERS_ROUTE: Final = "POST /v2/orders"
LOOKUP_ROUTE: Final = "GET /v2/orders:by_client_order_id"
FEEDS: Final = (ORDER_FEED, *DataFeed)

REQUEST_KINDS: Final = frozenset(
    {
        FaultKind.ANSWER_LOST,
        FaultKind.ANSWER_RESET,
        FaultKind.REQUEST_LOST,
        FaultKind.ARRIVES_LATE,
        FaultKind.HTTP_429,
        FaultKind.HTTP_500,
        FaultKind.HTTP_500_ACCEPTED,
        FaultKind.HTTP_502_HTML,
        FaultKind.HTTP_504_ACCEPTED,
        FaultKind.HTTP_504_NOT_ACCEPTED,
        FaultKind.BODY_TRUNCATED,
        FaultKind.BODY_EMPTY,
        FaultKind.LOOKUP_ABSENT,
        FaultKind.STATUS_UNKNOWN,
    }
)
EVENT_KINDS: Final = frozenset(
    {
        FaultKind.EVENT_DROPPED,
        FaultKind.EVENT_DUPLICATED,
        FaultKind.EVENTS_REORDERED,
        FaultKind.EVENT_LATE,
        FaultKind.EVENT_EMPTY,
        FaultKind.EVENT_UNKNOWN,
        FaultKind.FRAME_TRUNCATED,
        FaultKind.STATUS_UNKNOWN,
    }
)
SOCKET_KINDS: Final = frozenset({FaultKind.FEED_MUTE, FaultKind.FEED_DISCONNECTED, FaultKind.SLOW_CLIENT})
CONNECT_KINDS: Final = frozenset({FaultKind.CONNECTION_LIMIT})
HANDSHAKE_KINDS: Final = frozenset({FaultKind.HANDSHAKE_429})
NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_WINDOWED: Final = frozenset({FaultKind.CONNECTION_LIMIT, FaultKind.HANDSHAKE_429, FaultKind.LOOKUP_ABSENT})
_REQUEST_ROUTE: Final = re.compile(r"(\*|[A-Z]{3,7}) [/*][^\s]*", re.ASCII)
_JSON_FIELDS: Final = {"fault": str, "route": str, "symbol": str, "skip": int, "count": int, "delay_ms": int}


@dataclass(slots=True)
class Fault:
    """A fault that was ordered.

    Attributes:
        order: As it was ordered, its route filled in.
        fired: How often it has fired.
        passed: How many that fit it has let pass.
        until_ns: It strikes everything that fits until then, counted once.
    """

    fault_id: str
    order: FaultOrder
    fired: int = 0
    passed: int = 0
    until_ns: int = 0
    _route: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        self._route = re.compile(translate(self.order.route))

    @property
    def kind(self) -> FaultKind:
        """Which."""
        return self.order.fault

    @property
    def delay_ms(self) -> int:
        """How long it takes."""
        return self.order.delay_ms

    @property
    def is_spent(self) -> bool:
        """Fires no more."""
        return self.order.count != UNTIL_CLEARED and self.fired >= self.order.count

    def fits(self, place: str, symbol: str) -> bool:
        """Whether it is for this route or feed, and this symbol."""
        return self.order.symbol in ("", symbol) and self._route.match(place) is not None

    def to_json(self) -> JsonObject:
        """As the control routes show it."""
        order = self.order
        return {
            "fault_id": self.fault_id,
            "fault": order.fault.value,
            "route": order.route,
            "symbol": order.symbol,
            "skip": order.skip,
            "count": order.count,
            "delay_ms": order.delay_ms,
            "fired": self.fired,
        }


class Faults:
    """The faults that wait, and those that have fired.

    Args:
        record: Where firings are written down; ids go on from its last entry, so that none stands there twice.
        clock: Nanoseconds since the Unix epoch.
    """

    def __init__(self, record: Record, clock: Callable[[], int]) -> None:
        self._record = record
        self._clock = clock
        self._faults: dict[str, Fault] = {}
        self._live: dict[str, Fault] = {}
        self._next_id = record.sequence + 1

    def add(self, order: FaultOrder) -> Fault:
        """Order a fault.

        Raises:
            ValueError: With a sentence that says what is wrong.
        """
        _check(order)
        if len(self._faults) >= FAULTS_MAX:
            raise ValueError(f"there are {FAULTS_MAX} faults already: clear them")
        placed = FaultOrder(
            order.fault, order.route or _usual_route(order), order.symbol, order.skip, order.count, order.delay_ms
        )
        fault = Fault(str(self._next_id), placed)
        self._faults[fault.fault_id] = self._live[fault.fault_id] = fault
        self._next_id += 1
        return fault

    def take(
        self,
        kinds: Iterable[FaultKind],
        place: str,
        symbol: str = "",
        concerned: Mapping[str, str] = NOTHING,
        before: Callable[[Fault], None] | None = None,
    ) -> Fault | None:
        """The fault that strikes here and now, the oldest first; its firing is counted and recorded.

        Args:
            kinds: Which may strike here.
            place: The route or feed.
            symbol: Of what comes by; empty when it has none.
            concerned: What the record says of it: fields of an entry.
            before: Called with the fault before its firing is recorded.
        """
        for fault in list(self._live.values()):
            if fault.kind in kinds and fault.fits(place, symbol) and self._strikes(fault):
                if before is not None:
                    before(fault)
                self._note(fault, place, symbol, concerned)
                return fault
        return None

    def _note(self, fault: Fault, place: str, symbol: str, concerned: Mapping[str, str]) -> None:
        body = orjson.dumps({"fault": fault.kind.value})
        self._record.add(LedgerKind.FAULT, route=place, symbol=symbol, fault_id=fault.fault_id, body=body, **concerned)

    def _strikes(self, fault: Fault) -> bool:
        windowed = fault.delay_ms and fault.kind in _WINDOWED
        now_ns = self._clock() if windowed else 0
        if windowed and now_ns < fault.until_ns:
            return True
        if fault.is_spent:
            del self._live[fault.fault_id]
            return False
        if fault.passed < fault.order.skip:
            fault.passed += 1
            return False
        fault.fired += 1
        fault.until_ns = now_ns + fault.delay_ms * NANOS_PER_MS if windowed else 0
        return True

    def get(self, fault_id: str) -> Fault | None:
        """One fault."""
        return self._faults.get(fault_id)

    def all(self) -> list[Fault]:
        """All faults since the last clearing, oldest first, spent ones included."""
        return list(self._faults.values())

    @property
    def is_empty(self) -> bool:
        """Whether none is left that could strike."""
        return not self._live

    @property
    def waiting(self) -> int:
        """How many may still fire."""
        return sum(not fault.is_spent for fault in self._live.values())

    def remove(self, fault_id: str) -> bool:
        """Forget one; False when there is none."""
        self._live.pop(fault_id, None)
        return self._faults.pop(fault_id, None) is not None


def order_from_json(body: Mapping[str, Any]) -> FaultOrder:
    """A fault from the body of POST /emulator/v1/faults.

    Raises:
        ValueError: With a sentence that says what is wrong.
    """
    unknown = set(body) - set(_JSON_FIELDS)
    if unknown:
        raise ValueError(f"unknown fields: {', '.join(sorted(unknown))}")
    for name, wanted in _JSON_FIELDS.items():
        if name in body and (not isinstance(body[name], wanted) or isinstance(body[name], bool)):
            raise ValueError(f"{name} must be of type {wanted.__name__}")
    if body.get("fault") not in set(FaultKind):
        raise ValueError(f"fault must be one of {', '.join(FaultKind)}")
    return FaultOrder(**{**body, "fault": FaultKind(body["fault"])})


def with_unknown_status(body: Any) -> Any:
    """An order, or a list of orders, whose statuses nobody knows."""
    if isinstance(body, list):
        return [with_unknown_status(entry) for entry in body]
    if isinstance(body, dict) and "client_order_id" in body:
        legs = body.get("legs")
        changed = {**body, "status": UNKNOWN_WORD}
        if legs:
            changed["legs"] = with_unknown_status(legs)
        return changed
    return body


def _usual_route(order: FaultOrder) -> str:
    if order.fault is FaultKind.LOOKUP_ABSENT:
        return LOOKUP_ROUTE
    if order.fault is FaultKind.SYMBOL_HALTED:
        return ""
    return ORDERS_ROUTE if order.fault in REQUEST_KINDS else ORDER_FEED


def _check(order: FaultOrder) -> None:
    """Refuse what could never fire, or never as ordered."""
    if not (1 <= order.count <= COUNT_MAX or order.count == UNTIL_CLEARED):
        raise ValueError(f"count is 1 to {COUNT_MAX}, or {UNTIL_CLEARED} for until the faults are cleared")
    if not 0 <= order.skip <= COUNT_MAX:
        raise ValueError(f"skip is 0 to {COUNT_MAX}")
    if not 0 <= order.delay_ms <= DELAY_MS_MAX:
        raise ValueError(f"the delay is 0 to {DELAY_MS_MAX} ms")
    if len(order.route) > ROUTE_CHARACTERS_MAX:
        raise ValueError(f"route has at most {ROUTE_CHARACTERS_MAX} characters")
    if order.fault is FaultKind.SYMBOL_HALTED:
        if not order.symbol or order.route or order.skip or order.count != 1:
            raise ValueError("symbol_halted takes a symbol and a delay, and begins at once: no route, skip or count")
        return
    if order.symbol and order.fault in SOCKET_KINDS | CONNECT_KINDS | HANDSHAKE_KINDS:
        raise ValueError(f"{order.fault} strikes a whole feed: it takes no symbol")
    if order.route:
        _check_route(order)


def _check_route(order: FaultOrder) -> None:
    events_alone = order.fault in EVENT_KINDS
    if order.fault in REQUEST_KINDS and _REQUEST_ROUTE.fullmatch(order.route):
        return
    if order.fault in REQUEST_KINDS and not events_alone:
        raise ValueError("route must be a method and a path, as POST /v2/orders")
    if events_alone and order.route != ORDER_FEED:
        raise ValueError(f"route must be {ORDER_FEED}, the feed that has events")
    if order.route not in FEEDS:
        raise ValueError(f"route must be one of {', '.join(FEEDS)}")
