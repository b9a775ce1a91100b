"""What a report of the venue amounts to: the events that it adds to an order, a pure function.

Promises: a report that says nothing new gives no event, so duplicates and overlapping reads are harmless; fills are
told once each, by (venue order, cumulative quantity), whichever channel brings them; one that was missed is made up
from the cumulative figures under an id that every later life would give it too. How events change an order is
`domain.order_lifecycle`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from types import MappingProxyType
from typing import Final

from gateway.domain.models.orders import (
    Failure,
    Fill,
    JournalEvent,
    Order,
    OrderChanges,
    OrderEventKind,
    OrderSpec,
    VenueOrder,
    VenueOrderUpdate,
)
from gateway.domain.order_lifecycle import REPLACED, UNPLACED, leg_role_of, merge, venue_order_of
from gateway.domain.types import LegRole, OrderState, format_decimal

KINDS: Final[Mapping[str, OrderEventKind]] = MappingProxyType(
    {
        "accepted": OrderEventKind.ACCEPTED,
        "pending_new": OrderEventKind.ACCEPTED,
        "held": OrderEventKind.ACCEPTED,
        "new": OrderEventKind.WORKING,
        "partial_fill": OrderEventKind.PARTIAL_FILL,
        "fill": OrderEventKind.FILL,
        "canceled": OrderEventKind.CANCELED,
        "expired": OrderEventKind.EXPIRED,
        "rejected": OrderEventKind.REJECTED,
        "replaced": OrderEventKind.REPLACED,
        "done_for_day": OrderEventKind.DONE_FOR_DAY,
        "calculated": OrderEventKind.DONE_FOR_DAY,
        "suspended": OrderEventKind.SUSPENDED,
        "stopped": OrderEventKind.RESTATED,
        "restated": OrderEventKind.RESTATED,
        "pending_cancel": OrderEventKind.CANCEL_REQUESTED,
        "pending_replace": OrderEventKind.REPLACE_REQUESTED,
        "order_replace_rejected": OrderEventKind.REPLACE_REJECTED,
        "order_cancel_rejected": OrderEventKind.CANCEL_REJECTED,
    }
)
"""The venue's word for an event → ours. Any other is OTHER, with the word beside it."""

_KINDS_OF_ENDS: Final[Mapping[str, OrderEventKind]] = MappingProxyType(
    {
        "canceled": OrderEventKind.CANCELED,
        "expired": OrderEventKind.EXPIRED,
        "rejected": OrderEventKind.REJECTED,
        REPLACED: OrderEventKind.REPLACED,
    }
)
"""What a read of the venue tells without an event; everything else that is new is RECONCILED."""

_FILLS: Final = frozenset({OrderEventKind.PARTIAL_FILL, OrderEventKind.FILL})
_NEVER_THERE: Final = frozenset({OrderState.ABSENT, OrderState.NOT_SENT, OrderState.DENIED, OrderState.REJECTED})
_ZERO: Final = Decimal(0)
_PRICE_QUANTUM: Final = Decimal("1e-9")


@dataclass(frozen=True, slots=True)
class Report:
    """One report, from the order feed or from a read.

    Attributes:
        word: The feed's event word; empty for a read.
        with_fills: Whether fills that the report implies may be told now. A read of a moment ago leaves them to the
            feed, which knows the executions; only when the feed stays silent are they made up.
        backfill: Learned late.
    """

    venue_order: VenueOrder
    record_time_ns: int
    word: str = ""
    event_time_ns: int | None = None
    execution_id: str = ""
    price: Decimal | None = None
    quantity: Decimal | None = None
    position_quantity: Decimal | None = None
    with_fills: bool = True
    backfill: bool = False


def report_of(update: VenueOrderUpdate, record_time_ns: int) -> Report:
    """A message of the order feed as a report."""
    return Report(
        venue_order=update.order,
        record_time_ns=record_time_ns,
        word=update.event,
        event_time_ns=update.event_time_ns,
        execution_id=update.execution_id,
        price=update.price,
        quantity=update.quantity,
        position_quantity=update.position_quantity,
    )


def interpret(order: Order, report: Report) -> tuple[JournalEvent, ...]:
    """The events, in order, that take an order to what a report says; none when it says nothing new."""
    return tuple(_events(order, report))


def filled_before(report: Report) -> Decimal:
    """What was filled of the venue order before the fill that a report tells of, if it does."""
    filled = report.venue_order.filled_quantity
    if KINDS.get(report.word) not in _FILLS or report.quantity is None:
        return filled
    return max(_ZERO, filled - report.quantity)


def before_fill(report: Report) -> VenueOrder:
    """The venue order as it was before the fill that a report tells of: what an order begins with here."""
    venue_order = report.venue_order
    if KINDS.get(report.word) not in _FILLS or report.quantity is None:
        return venue_order
    return rewound(venue_order, filled_before(report), None)


def rewound(venue_order: VenueOrder, filled: Decimal, average_price: Decimal | None) -> VenueOrder:
    """The venue order as it was while it worked and so much of it was filled."""
    return replace(
        venue_order,
        venue_status="partially_filled" if filled else "new",
        filled_quantity=filled,
        filled_average_price=average_price if filled else None,
        fill_time_ns=None,
        cancel_time_ns=None,
        expire_time_ns=None,
        fail_time_ns=None,
    )


def leg_recorded(parent: Order, order_id: str, report: Report) -> JournalEvent:
    """The beginning of a leg, as its parent's report shows it."""
    leg = report.venue_order
    return JournalEvent(
        kind=OrderEventKind.RECORDED,
        order_id=order_id,
        strategy_id=parent.strategy_id,
        record_time_ns=report.record_time_ns,
        event_time_ns=leg.create_time_ns or report.record_time_ns,
        parent_order_id=parent.order_id,
        leg_role=leg_role_of(leg),
        venue_order=leg,
        backfill=report.backfill,
    )


def same_order(spec: OrderSpec, venue_order: VenueOrder, *, whole: bool = True) -> bool:
    """The pair assertion: does the venue speak of the order that was sent?

    Args:
        spec: What was sent.
        venue_order: What the venue answered.
        whole: Compare size, prices, time in force, class and legs too; not for orders that may have been replaced.
    """
    if venue_order.symbol != spec.symbol or venue_order.side is not spec.side:
        return False
    if venue_order.order_type is not spec.order_type:
        return False
    if not whole:
        return True
    return (
        (spec.quantity is None or venue_order.quantity == spec.quantity)
        and (spec.notional is None or venue_order.notional == spec.notional)
        and (spec.limit_price is None or venue_order.limit_price == spec.limit_price)
        and (spec.stop_price is None or venue_order.stop_price == spec.stop_price)
        and (spec.trail_price is None or venue_order.trail_price == spec.trail_price)
        and (spec.trail_percent is None or venue_order.trail_percent == spec.trail_percent)
        and venue_order.time_in_force is spec.time_in_force
        and venue_order.order_class in (None, spec.order_class)
        and all(_same_leg(spec, leg) for leg in venue_order.legs if not leg.replaces)
    )


def is_answer_to(answer: VenueOrder, before: Order, replace_id: str, asked: OrderChanges) -> bool:
    """The pair assertion of a replace: does the venue speak of the order that it was asked to change, and how?

    Args:
        answer: What it answered.
        before: The order when it was asked.
        replace_id: The id that the new venue order was asked under.
        asked: The new values, as they were sent.
    """
    trail = answer.trail_price if answer.trail_price is not None else answer.trail_percent
    return (
        answer.venue_client_order_id == replace_id
        and answer.replaces in (None, before.venue_order_id)
        and same_order(before.spec, answer, whole=False)
        and asked.quantity in (None, answer.quantity)
        and asked.limit_price in (None, answer.limit_price)
        and asked.stop_price in (None, answer.stop_price)
        and asked.trail in (None, trail)
        and asked.time_in_force in (None, answer.time_in_force)
    )


def _same_leg(spec: OrderSpec, leg: VenueOrder) -> bool:
    """Whether a leg that was never replaced is as it was asked for; of an unknown type it is no evidence."""
    match leg_role_of(leg):
        case LegRole.TAKE_PROFIT:
            return spec.take_profit is not None and spec.take_profit.limit_price == leg.limit_price
        case LegRole.STOP_LOSS:
            return spec.stop_loss is not None and spec.stop_loss.stop_price == leg.stop_price
        case None:
            return True


def _events(order: Order, report: Report) -> Iterator[JournalEvent]:
    known = venue_order_of(order, report.venue_order.venue_order_id)
    merged = merge(known, report.venue_order)
    filled_before = known.filled_quantity if known is not None else _ZERO
    if order.state in _NEVER_THERE and not order.venue_orders:
        if merged.venue_status == "rejected":
            return  # it never lived, as was said
        known = rewound(merged, _ZERO, None) if merged.filled_quantity else merged
        yield _event(order, report, OrderEventKind.RESURRECTED, known)
        order = replace(order, venue_orders=(known,))
    if merged.filled_quantity > filled_before:
        if not report.with_fills:
            withheld = _withheld(known, merged)
            if withheld is None:
                return
            merged = withheld
        else:
            if _takes_over(order, merged) or _follows(order, merged):
                known = rewound(merged, filled_before, known.filled_average_price if known is not None else None)
                yield _event(order, report, OrderEventKind.REPLACED, known)
            is_ended = merged.venue_status in _KINDS_OF_ENDS
            is_end_told = known is not None and known.venue_status == merged.venue_status
            if not is_ended or is_end_told:
                yield from _fill_events(order, report, known, merged)
                return
            carried = rewound(merged, merged.filled_quantity, merged.filled_average_price)
            yield from _fill_events(order, report, known, carried)
            known = carried
    kind = _kind(order, report, known, merged)
    if kind is not None:
        yield _event(order, report, kind, merged, failure=_failure(kind))


def _withheld(known: VenueOrder | None, merged: VenueOrder) -> VenueOrder | None:
    """What can be told of a report without its fills: that the order exists, or that it still works; else nothing."""
    if known is None:
        return rewound(merged, _ZERO, None)
    if merged.venue_status in _KINDS_OF_ENDS or merged.venue_status in ("filled", "partially_filled"):
        return None
    return replace(merged, filled_quantity=known.filled_quantity, filled_average_price=known.filled_average_price)


def _kind(order: Order, report: Report, known: VenueOrder | None, merged: VenueOrder) -> OrderEventKind | None:
    """What the rest of a report, fills apart, is; None when it is nothing new."""
    by_word = KINDS.get(report.word, OrderEventKind.OTHER) if report.word else None
    is_new = known is None or _differs(known, merged) or _has_unknown_legs(order, report)
    if by_word is OrderEventKind.CANCEL_REJECTED:
        return by_word if is_new or order.cancel_request_time_ns is not None else None
    if _is_refused_candidate(order, merged):  # told once: afterwards the order does not know it any more
        is_awaited = order.pending_replace is not None or known is not None
        return OrderEventKind.REPLACE_REJECTED if is_awaited else None
    if by_word is OrderEventKind.REPLACE_REJECTED:
        return by_word if is_new or order.pending_replace is not None else None
    return _kind_of_news(order, by_word, merged) if is_new else None


def _kind_of_news(order: Order, by_word: OrderEventKind | None, merged: VenueOrder) -> OrderEventKind:
    if merged.venue_status == REPLACED:  # a half: the replace has taken effect when its successor is known
        is_followed = any(known.replaces == merged.venue_order_id for known in order.venue_orders)
        return OrderEventKind.REPLACED if is_followed else OrderEventKind.REPLACE_REQUESTED
    if _follows(order, merged):
        return OrderEventKind.REPLACED
    if _takes_over(order, merged):
        is_placed = merged.venue_status not in UNPLACED or by_word is OrderEventKind.WORKING
        return OrderEventKind.REPLACED if is_placed else OrderEventKind.ACCEPTED
    if by_word is not None and by_word not in _FILLS:
        return by_word
    if not order.venue_orders and merged.venue_status not in _KINDS_OF_ENDS:
        return OrderEventKind.ACCEPTED
    return _KINDS_OF_ENDS.get(merged.venue_status, OrderEventKind.RECONCILED)


def _is_refused_candidate(order: Order, merged: VenueOrder) -> bool:
    """Whether it is the venue order of a replace, and refused."""
    return merged.venue_status == "rejected" and bool(merged.replaces) and bool(order.venue_orders)


def _takes_over(order: Order, merged: VenueOrder) -> bool:
    """Whether the venue order stands for one of this order's that is not yet known to be replaced."""
    replaced = venue_order_of(order, merged.replaces) if merged.replaces else None
    return replaced is not None and replaced.venue_status != REPLACED


def _follows(order: Order, merged: VenueOrder) -> bool:
    """Whether it is the first sight of the successor of a venue order that is known to be replaced."""
    replaced = venue_order_of(order, merged.replaces) if merged.replaces else None
    is_known = venue_order_of(order, merged.venue_order_id) is not None
    return replaced is not None and replaced.venue_status == REPLACED and not is_known


def _has_unknown_legs(order: Order, report: Report) -> bool:
    return not order.leg_order_ids and any(leg_role_of(leg) for leg in report.venue_order.legs)


def _differs(known: VenueOrder, merged: VenueOrder) -> bool:
    """Whether something changed that a reader would want to know; a trailing stop's high-water mark is not told."""
    return (
        known.venue_status != merged.venue_status
        or known.quantity != merged.quantity
        or known.limit_price != merged.limit_price
        or known.stop_price != merged.stop_price
        or known.trail_price != merged.trail_price
        or known.trail_percent != merged.trail_percent
        or known.filled_quantity != merged.filled_quantity
    )


def _fill_events(order: Order, report: Report, known: VenueOrder | None, carried: VenueOrder) -> Iterator[JournalEvent]:
    """The execution that was told, and before it one for whatever is missing."""
    total = carried.filled_quantity
    filled_before = known.filled_quantity if known is not None else _ZERO
    value_before = filled_before * (known.filled_average_price or _ZERO) if known is not None else _ZERO
    value = total * (carried.filled_average_price or _ZERO)
    if KINDS.get(report.word) not in _FILLS or report.quantity is None or report.price is None:
        price = _price_between(value - value_before, total - filled_before, carried)
        yield _fill_event(order, report, carried, total - filled_before, price, synthesized=True)
        return
    missing = total - report.quantity - filled_before
    if missing > 0:
        value_missing = value - value_before - report.quantity * report.price
        price = _price_between(value_missing, missing, carried)
        average = _average(value_before + missing * price, total - report.quantity)
        part = rewound(carried, total - report.quantity, average)
        yield _fill_event(order, report, part, missing, price, synthesized=True)
    quantity = min(report.quantity, total - filled_before)
    yield _fill_event(order, report, carried, quantity, report.price, synthesized=False)


def _price_between(value: Decimal, quantity: Decimal, carried: VenueOrder) -> Decimal:
    """The price of a part that is known by its value; the average of all where the figures do not fit."""
    price = (value / quantity).quantize(_PRICE_QUANTUM) if quantity else _ZERO
    return price.normalize() if price > 0 else carried.filled_average_price or _ZERO


def _average(value: Decimal, quantity: Decimal) -> Decimal | None:
    return (value / quantity).quantize(_PRICE_QUANTUM).normalize() if quantity and value > 0 else None


def _fill_event(
    order: Order, report: Report, venue_order: VenueOrder, quantity: Decimal, price: Decimal, *, synthesized: bool
) -> JournalEvent:
    cumulative = venue_order.filled_quantity
    fill_id = "" if synthesized else report.execution_id
    event_time_ns = report.event_time_ns or venue_order.fill_time_ns or venue_order.update_time_ns
    fill = Fill(
        fill_id=fill_id or f"rest:{venue_order.venue_order_id}:{format_decimal(cumulative)}",
        order_id=order.order_id,
        client_order_id=order.client_order_id,
        strategy_id=order.strategy_id,
        venue_order_id=venue_order.venue_order_id,
        symbol=venue_order.symbol,
        side=venue_order.side or order.spec.side,
        quantity=quantity,
        price=price,
        cumulative_quantity=cumulative,
        trade_time_ns=event_time_ns or report.record_time_ns,
        leaves_quantity=None if venue_order.quantity is None else max(_ZERO, venue_order.quantity - cumulative),
        account_position_quantity=None if synthesized else report.position_quantity,
        synthesized=synthesized,
    )
    kind = OrderEventKind.FILL if venue_order.venue_status == "filled" else OrderEventKind.PARTIAL_FILL
    return _event(order, report, kind, venue_order, fill=fill)


def _failure(kind: OrderEventKind) -> Failure | None:
    """A reject that comes as an event is a state: it says nothing about the key."""
    if kind is OrderEventKind.REJECTED:
        return Failure("VENUE_REJECTED", "The venue rejected the order.")
    if kind is OrderEventKind.REPLACE_REJECTED:
        return Failure("VENUE_REJECTED", "The venue refused the replace.")
    return None


def _event(
    order: Order,
    report: Report,
    kind: OrderEventKind,
    venue_order: VenueOrder,
    *,
    fill: Fill | None = None,
    failure: Failure | None = None,
) -> JournalEvent:
    is_made_up = fill is not None and fill.synthesized
    if _has_unknown_legs(order, report):
        venue_order = replace(venue_order, legs=report.venue_order.legs)
    return JournalEvent(
        kind=kind,
        order_id=order.order_id,
        strategy_id=order.strategy_id,
        record_time_ns=report.record_time_ns,
        event_time_ns=report.event_time_ns or venue_order.update_time_ns or report.record_time_ns,
        venue_order=venue_order,
        fill=fill,
        failure=failure,
        venue_event="" if is_made_up else report.word,
        venue_event_id="" if is_made_up else report.execution_id,
        backfill=report.backfill or is_made_up,
        venue_request_id=report.venue_order.venue_request_id,
    )
