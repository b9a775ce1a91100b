"""The simulated venue's bad days: which faults can be ordered of it, and its own record of what really happened.

Nouns alone. What each fault does is the emulator's business; that the order path survives it is everybody's.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from gateway.domain.types import OrderSide


class FaultKind(StrEnum):
    """What goes wrong; the value is the word of the emulator's control routes."""

    ANSWER_LOST = "answer_lost"
    REQUEST_LOST = "request_lost"
    ARRIVES_LATE = "arrives_late"
    HTTP_429 = "http_429"
    HTTP_500 = "http_500"
    HTTP_502_HTML = "http_502_html"
    HTTP_504_ACCEPTED = "http_504_accepted"
    HTTP_504_NOT_ACCEPTED = "http_504_not_accepted"
    BODY_TRUNCATED = "body_truncated"
    BODY_EMPTY = "body_empty"
    STATUS_UNKNOWN = "status_unknown"
    EVENT_DROPPED = "event_dropped"
    EVENT_DUPLICATED = "event_duplicated"
    EVENTS_REORDERED = "events_reordered"
    EVENT_LATE = "event_late"
    FEED_MUTE = "feed_mute"
    FEED_DISCONNECTED = "feed_disconnected"
    CONNECTION_LIMIT = "connection_limit"
    SLOW_CLIENT = "slow_client"
    SYMBOL_HALTED = "symbol_halted"
    ANSWER_RESET = "answer_reset"
    HTTP_500_ACCEPTED = "http_500_accepted"
    LOOKUP_ABSENT = "lookup_absent"
    EVENT_EMPTY = "event_empty"
    EVENT_UNKNOWN = "event_unknown"
    FRAME_TRUNCATED = "frame_truncated"
    HANDSHAKE_429 = "handshake_429"


UNTIL_CLEARED = -1
"""A count: fire every time, until the faults are cleared."""


@dataclass(frozen=True, slots=True)
class FaultOrder:
    """Which fault, and where it strikes.

    Attributes:
        route: Method and path of a request (`POST /v2/orders`), or a feed's name (`orders`, `stocks:iex`); empty:
            the usual place of this fault.
        symbol: Only what concerns this symbol; empty: everything.
        skip: How many that fit pass first.
        count: How often it fires then; UNTIL_CLEARED: without end.
        delay_ms: For faults that take time.
    """

    fault: FaultKind
    route: str = ""
    symbol: str = ""
    skip: int = 0
    count: int = 1
    delay_ms: int = 0


@dataclass(frozen=True, slots=True)
class InjectedFault:
    """A fault that was ordered, and how often it has fired."""

    fault_id: str
    order: FaultOrder
    fired: int = 0


class LedgerKind(StrEnum):
    """What an entry of the emulator's record tells."""

    REQUEST = "REQUEST"
    RESPONSE = "RESPONSE"
    ORDER = "ORDER"
    EXECUTION = "EXECUTION"
    EVENT = "EVENT"
    FAULT = "FAULT"


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One thing that happened at the emulator, by its own clock; what does not apply is empty.

    Attributes:
        sequence: 1, 2, 3, ...
        http_status: Of a response.
        quantity, price: Of an execution.
        fault_id: The fault that fired, or whose doing this is.
        body: JSON as it was sent or received.
    """

    sequence: int
    time_ns: int
    kind: LedgerKind
    route: str = ""
    http_status: int = 0
    venue_order_id: str = ""
    venue_client_order_id: str = ""
    symbol: str = ""
    side: OrderSide | None = None
    quantity: Decimal | None = None
    price: Decimal | None = None
    venue_status: str = ""
    fault_id: str = ""
    body: str = ""


@dataclass(frozen=True, slots=True)
class LedgerQuery:
    """Which entries: from a sequence on, at most so many; empty filters take all."""

    from_sequence: int = 1
    limit: int = 1000
    symbol: str = ""
    kinds: frozenset[LedgerKind] = frozenset()


@dataclass(frozen=True, slots=True)
class LedgerPage:
    """A part of the record, oldest first; a page may be empty and not the last.

    Attributes:
        next_sequence: Where the next page begins; 0 at the present end.
    """

    entries: tuple[LedgerEntry, ...]
    next_sequence: int


@dataclass(frozen=True, slots=True)
class Simulation:
    """The emulator now.

    Attributes:
        seed: Of the synthetic market.
        tape: The recorded tape that it plays; empty for the synthetic market.
        speed: Of the tape; 1 is real time.
        initial_cash: US dollars.
        start_time_ns: Its clock when the account began.
        now_ns: Its clock.
        order_count, execution_count: Of the account, since it began.
        ledger_sequence: The last entry of its record.
        late_arrivals: Requests that have not arrived yet, though their senders have given up.
        late_events: Order events that are held back.
    """

    seed: int
    tape: str
    speed: float
    initial_cash: Decimal
    start_time_ns: int
    now_ns: int
    order_count: int
    execution_count: int
    ledger_sequence: int
    late_arrivals: int = 0
    late_events: int = 0
