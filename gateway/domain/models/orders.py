"""Orders: what a caller asks for, what the venue reports, and what the gateway knows.

Three nouns that must not be mixed up. An `OrderRequest` is an intent. A `VenueOrder` is a fact that the venue
reported about one of its own orders. An `Order` is the gateway's: stable across replaces, each of which
makes a new venue order.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from gateway.domain.models.risk import RiskCheckResult
from gateway.domain.types import (
    AssetClass,
    LegRole,
    OrderClass,
    OrderSide,
    OrderState,
    OrderType,
    TimeInForce,
    format_decimal,
)

_FINGERPRINT_VERSION: Final = 1
_CANONICAL: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), check_circular=False)
_NO_LABELS: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class TakeProfit:
    """The profit-taking leg of a bracket, OCO or OTO order."""

    limit_price: Decimal


@dataclass(frozen=True, slots=True)
class StopLoss:
    """The protective leg; with a limit price it is a stop-limit order."""

    stop_price: Decimal
    limit_price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class OrderSpec:
    """What to trade. Which combinations are legal is `services.validation`'s closed table.

    Attributes:
        symbol: In the gateway's one spelling.
        quantity: Shares or coins; exactly one of it and `notional` is set.
        notional: US dollars.
        trail_price: US dollars; `trail_percent` is percent ("1.5" is 1.5 %). Exactly one with TRAILING_STOP.
        reduce_only: Never opens or enlarges a position; checked by the gateway, unknown to the venue.
    """

    symbol: str
    side: OrderSide
    order_type: OrderType
    time_in_force: TimeInForce
    quantity: Decimal | None = None
    notional: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None
    extended_hours: bool = False
    order_class: OrderClass = OrderClass.SIMPLE
    take_profit: TakeProfit | None = None
    stop_loss: StopLoss | None = None
    reduce_only: bool = False

    def canonical(self) -> dict[str, object]:
        """The content as plain values, decimals minimal: equal specs, however spelled, give equal dicts."""
        return {
            "symbol": self.symbol,
            "side": self.side.value,
            "order_type": self.order_type.value,
            "time_in_force": self.time_in_force.value,
            "quantity": _text(self.quantity),
            "notional": _text(self.notional),
            "limit_price": _text(self.limit_price),
            "stop_price": _text(self.stop_price),
            "trail_price": _text(self.trail_price),
            "trail_percent": _text(self.trail_percent),
            "extended_hours": self.extended_hours,
            "order_class": self.order_class.value,
            "take_profit": self.take_profit and _text(self.take_profit.limit_price),
            "stop_loss": self.stop_loss and [_text(self.stop_loss.stop_price), _text(self.stop_loss.limit_price)],
            "reduce_only": self.reduce_only,
        }


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """An order, and the key under which it is known.

    Attributes:
        client_order_id: The caller's idempotency key, unique per strategy for ever.
        valid_until_ns: Never sent after this instant; not part of the content that the key is compared by.
    """

    strategy_id: str
    client_order_id: str
    spec: OrderSpec
    valid_until_ns: int
    labels: Mapping[str, str] = field(default_factory=lambda: _NO_LABELS)

    def fingerprint(self) -> str:
        """SHA-256 of the content that a replay of the key must repeat."""
        return fingerprint_of("SubmitOrder", self.spec.canonical() | {"labels": sorted(self.labels.items())})


@dataclass(frozen=True, slots=True)
class OrderChanges:
    """New values for a working order; None stays as it is.

    Attributes:
        quantity: The order's new total, its filled part included.
        trail: In the unit of the order, US dollars or percent.
    """

    quantity: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    trail: Decimal | None = None
    time_in_force: TimeInForce | None = None

    def canonical(self) -> dict[str, object]:
        """The content as plain values, decimals minimal."""
        return {
            "quantity": _text(self.quantity),
            "limit_price": _text(self.limit_price),
            "stop_price": _text(self.stop_price),
            "trail": _text(self.trail),
            "time_in_force": self.time_in_force and self.time_in_force.value,
        }

    @property
    def is_empty(self) -> bool:
        """Nothing would change."""
        return self == OrderChanges()


UNREADABLE: Final = "unreadable"
"""The status, which no venue has, of an order in a list that could not be read: only its ids and times are so."""


@dataclass(frozen=True, slots=True)
class VenueOrder:
    """One order at the venue, as the venue reported it.

    Attributes:
        venue_status: Alpaca's word, verbatim; words we do not know are data, not errors.
        side, order_type, time_in_force, order_class: None when the venue's word is one we do not know.
        legs: Its legs where the report nested them.
        venue_request_id: The X-Request-ID of the answer that carried the report; empty on streams.
    """

    venue_order_id: str
    venue_client_order_id: str
    venue_status: str
    symbol: str
    asset_class: AssetClass
    side: OrderSide | None
    order_type: OrderType | None
    time_in_force: TimeInForce | None
    order_class: OrderClass | None = OrderClass.SIMPLE
    quantity: Decimal | None = None
    notional: Decimal | None = None
    filled_quantity: Decimal = Decimal(0)
    filled_average_price: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None
    high_water_mark: Decimal | None = None
    extended_hours: bool = False
    replaces: str | None = None
    replaced_by: str | None = None
    legs: tuple[VenueOrder, ...] = ()
    create_time_ns: int | None = None
    submit_time_ns: int | None = None
    update_time_ns: int | None = None
    fill_time_ns: int | None = None
    cancel_time_ns: int | None = None
    fail_time_ns: int | None = None
    expire_time_ns: int | None = None
    expiry_time_ns: int | None = None
    venue_request_id: str = ""


@dataclass(frozen=True, slots=True)
class VenueOrderUpdate:
    """One message of the venue's order feed.

    Attributes:
        event: Alpaca's word, verbatim: `new`, `fill`, `partial_fill`, `canceled` and others.
        execution_id: Of a fill; the venue gives one to other events too.
        position_quantity: The whole account's position after a fill.
        receive_time_ns: When the gateway read it.
    """

    event: str
    order: VenueOrder
    receive_time_ns: int
    event_time_ns: int | None = None
    execution_id: str = ""
    price: Decimal | None = None
    quantity: Decimal | None = None
    position_quantity: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an order never came to be: kept with it and repeated to whoever asks with its key.

    Attributes:
        reason: The name of an ErrorReason.
        message: For people; no venue text that could carry secrets, no echo of input.
        metadata: Plain facts, such as `venue_code`.
    """

    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=lambda: _NO_LABELS)


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution.

    Attributes:
        cumulative_quantity, leaves_quantity: Of the venue order; leaves is None for notional orders.
        synthesized: Inferred from a change of the order: the venue's own report is missing.
    """

    fill_id: str
    order_id: str
    client_order_id: str
    strategy_id: str
    venue_order_id: str
    symbol: str
    side: OrderSide
    quantity: Decimal
    price: Decimal
    cumulative_quantity: Decimal
    trade_time_ns: int
    leaves_quantity: Decimal | None = None
    account_position_quantity: Decimal | None = None
    synthesized: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """An order as the gateway knows it; a leg is an Order of its own.

    Attributes:
        order_id: The gateway's, stable across replaces. A leg's is `{parent}/take-profit` or `{parent}/stop-loss`.
        strategy_id: Empty when external; as is `client_order_id`, in legs too.
        venue_orders: Every order that the venue knew this one as, oldest first; the last is the present one.
        leaves_quantity: Ordered less filled; 0 when terminal; None for notional orders.
        version: 1, 2, 3, ... with each change.
        pending_replace: What a replace of ours asked for, until the venue has settled it.
        pending_replace_id: The client order id which that replace was sent under.
        cancel_request_time_ns: A cancel is owed since then.
    """

    order_id: str
    strategy_id: str
    client_order_id: str
    spec: OrderSpec
    state: OrderState
    asset_class: AssetClass
    create_time_ns: int
    update_time_ns: int
    version: int = 1
    venue_orders: tuple[VenueOrder, ...] = ()
    filled_quantity: Decimal = Decimal(0)
    filled_average_price: Decimal | None = None
    leaves_quantity: Decimal | None = None
    high_water_mark: Decimal | None = None
    parent_order_id: str = ""
    leg_role: LegRole | None = None
    leg_order_ids: tuple[str, ...] = ()
    failure: Failure | None = None
    external: bool = False
    labels: Mapping[str, str] = field(default_factory=lambda: _NO_LABELS)
    submit_time_ns: int | None = None
    fill_time_ns: int | None = None
    cancel_request_time_ns: int | None = None
    cancel_time_ns: int | None = None
    fail_time_ns: int | None = None
    expiry_time_ns: int | None = None
    expire_time_ns: int | None = None
    venue_request_id: str = ""
    pending_replace: OrderChanges | None = None
    pending_replace_id: str = ""

    @property
    def venue_order(self) -> VenueOrder | None:
        """What the venue knows it as now; None until it is known there."""
        return self.venue_orders[-1] if self.venue_orders else None

    @property
    def venue_order_id(self) -> str:
        """The venue's present id; empty until known."""
        return self.venue_orders[-1].venue_order_id if self.venue_orders else ""

    @property
    def venue_status(self) -> str:
        """The venue's status, verbatim; empty until known."""
        return self.venue_orders[-1].venue_status if self.venue_orders else ""


@dataclass(frozen=True, slots=True)
class OrderRef:
    """Names one order by exactly one of its ids; `strategy_id` goes with `client_order_id` alone."""

    order_id: str = ""
    client_order_id: str = ""
    venue_order_id: str = ""
    strategy_id: str = ""


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """Which orders to list; filters combine, an empty set is no filter.

    Attributes:
        strategy_id: None for every strategy and orders from outside.
        start_time_ns, end_time_ns: Bounds of create_time, both included.
    """

    strategy_id: str | None
    states: frozenset[OrderState] = frozenset()
    symbols: frozenset[str] = frozenset()
    side: OrderSide | None = None
    start_time_ns: int | None = None
    end_time_ns: int | None = None
    oldest_first: bool = False


@dataclass(frozen=True, slots=True)
class FillFilter:
    """Which executions to list; filters combine, an empty set is no filter.

    Attributes:
        strategy_id: None for every strategy and orders from outside.
        start_time_ns, end_time_ns: Bounds of trade_time, both included.
    """

    strategy_id: str | None
    symbols: frozenset[str] = frozenset()
    start_time_ns: int | None = None
    end_time_ns: int | None = None
    oldest_first: bool = False


class OrderEventKind(StrEnum):
    """What happened to an order; the values are `OrderEvent.Kind`'s names in lower case."""

    RECORDED = "recorded"
    DENIED = "denied"
    NOT_SENT = "not_sent"
    SUBMITTED = "submitted"
    OUTCOME_UNKNOWN = "outcome_unknown"
    ABSENT = "absent"
    RESURRECTED = "resurrected"
    REJECTED = "rejected"
    ACCEPTED = "accepted"
    WORKING = "working"
    PARTIAL_FILL = "partial_fill"
    FILL = "fill"
    REPLACE_REQUESTED = "replace_requested"
    REPLACED = "replaced"
    REPLACE_REJECTED = "replace_rejected"
    CANCEL_REQUESTED = "cancel_requested"
    CANCELED = "canceled"
    CANCEL_REJECTED = "cancel_rejected"
    EXPIRED = "expired"
    DONE_FOR_DAY = "done_for_day"
    SUSPENDED = "suspended"
    RESTATED = "restated"
    RECONCILED = "reconciled"
    OTHER = "other"


@dataclass(slots=True)
class JournalEvent:
    """One row of the journal: everything `order_lifecycle.apply` needs, and nothing that it can derive.

    Treat as immutable: only the journal sets `sequence`, `book_sequence` and `chain_hash`, once (frozen costs
    3 µs each, on the way of every order).

    Which fields are set follows from the kind:
    `request` and `fingerprint` with RECORDED of an order of ours; `parent_order_id` and `leg_role` with
    RECORDED of a leg; `client_order_id`, `changes` and `fingerprint` with REPLACE_REQUESTED; `fill` with the
    two fill kinds; `failure` with DENIED, NOT_SENT, ABSENT, REJECTED and REPLACE_REJECTED; `venue_order`
    whenever the venue said something; `checks` with RECORDED of an order of ours, REPLACE_REQUESTED and DENIED.

    Attributes:
        sequence: The journal's own, 1, 2, 3, ... gapless; 0 before it is appended.
        book_sequence: The strategy's own, 1, 2, 3, ... gapless; 0 for orders from outside.
        chain_hash: Binds this event and all before it.
        event_time_ns: By the venue's clock where the venue told it, else the record time.
        checks: Every pre-trade check that was made, passed or not, with its numbers.
        venue_request_id: The X-Request-ID of the answer that caused the event; empty where no answer did.
    """

    kind: OrderEventKind
    order_id: str
    strategy_id: str
    record_time_ns: int
    event_time_ns: int
    sequence: int = 0
    request: OrderRequest | None = None
    fingerprint: str = ""
    client_order_id: str = ""
    changes: OrderChanges | None = None
    parent_order_id: str = ""
    leg_role: LegRole | None = None
    attempt: int = 0
    venue_order: VenueOrder | None = None
    fill: Fill | None = None
    failure: Failure | None = None
    venue_event: str = ""
    venue_event_id: str = ""
    backfill: bool = False
    checks: tuple[RiskCheckResult, ...] = ()
    venue_request_id: str = ""
    book_sequence: int = 0
    chain_hash: bytes = b""


@dataclass(slots=True)
class KeyEntry:
    """What a client_order_id stands for.

    Attributes:
        fingerprint: Of the request; empty when the order was found at the venue and the request is not known.
        failure: Of a replace that was refused in the answer: its key repeats it.
    """

    order_id: str
    fingerprint: str
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class ArchivedOrder:
    """An order that can change no more, as it leaves memory.

    Attributes:
        keys: Every client_order_id of its strategy that stands for it, and what is known of each.
        last_sequence: Of its newest event.
    """

    order: Order
    keys: Mapping[str, KeyEntry]
    last_sequence: int


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """Something that happened to an order, as the readers of a book see it: the event and the order after it.

    Attributes:
        sequence: 1, 2, 3, ... gapless within one book.
    """

    sequence: int
    event: JournalEvent
    order: Order


def fingerprint_of(rpc: str, content: Mapping[str, object]) -> str:
    """SHA-256 over the name of the rpc and its normalised content; protobuf bytes are not canonical."""
    canonical = _CANONICAL.encode([_FINGERPRINT_VERSION, rpc, content])
    return hashlib.sha256(canonical.encode()).hexdigest()


def _text(value: Decimal | None) -> str | None:
    return None if value is None else format_decimal(value)
