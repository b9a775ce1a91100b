"""How an order changes: `apply(order, event)`, a pure function that replay, live operation and tests share.

Promises: the same events give the same order. Per order at the venue a lattice holds: `filled_quantity` never falls,
a terminal status absorbs, an older report never overwrites a newer one. The order's own `filled_quantity` is the sum
over its venue orders; a replace ends one of them and not the order. Which events a report of the venue amounts to is
`domain.venue_reports`'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, cast

from gateway.domain.makers import evolver
from gateway.domain.models.orders import (
    JournalEvent,
    Order,
    OrderChanges,
    OrderEventKind,
    OrderSpec,
    StopLoss,
    TakeProfit,
    VenueOrder,
)
from gateway.domain.types import LegRole, OrderClass, OrderState, OrderType, asset_class_of, venue_client_order_id

REPLACED: Final = "replaced"
"""The status of a venue order that another one stands for now."""

STATES: Final[Mapping[str, OrderState]] = MappingProxyType(
    {
        "accepted": OrderState.ACCEPTED,
        "pending_new": OrderState.ACCEPTED,
        "accepted_for_bidding": OrderState.ACCEPTED,
        "held": OrderState.ACCEPTED,
        "pending_review": OrderState.ACCEPTED,
        "new": OrderState.WORKING,
        "stopped": OrderState.WORKING,
        "calculated": OrderState.WORKING,
        "suspended": OrderState.WORKING,
        "done_for_day": OrderState.WORKING,
        "partially_filled": OrderState.PARTIALLY_FILLED,
        "pending_cancel": OrderState.PENDING_CANCEL,
        "pending_replace": OrderState.PENDING_REPLACE,
        REPLACED: OrderState.PENDING_REPLACE,  # until its successor is seen
        "filled": OrderState.FILLED,
        "canceled": OrderState.CANCELED,
        "expired": OrderState.EXPIRED,
        "rejected": OrderState.REJECTED,
    }
)
"""The venue's status → ours. Any other is UNRECOGNIZED and open."""

UNPLACED: Final = frozenset({"accepted", "pending_new", "accepted_for_bidding", "held", "pending_review"})
"""Statuses of an order that the venue has and that is not on the market yet."""

_NEVER_AT_VENUE: Final[Mapping[OrderEventKind, OrderState]] = MappingProxyType(
    {
        OrderEventKind.DENIED: OrderState.DENIED,
        OrderEventKind.NOT_SENT: OrderState.NOT_SENT,
        OrderEventKind.ABSENT: OrderState.ABSENT,
        OrderEventKind.REJECTED: OrderState.REJECTED,
    }
)
_ZERO: Final = Decimal(0)


_evolved: Final = evolver(Order)
_evolved_at_venue: Final = evolver(VenueOrder)


def apply(order: Order | None, event: JournalEvent) -> Order:
    """The order after an event.

    Args:
        order: Before it; None for the first, which must be RECORDED.
        event: What happened, as the journal has it.

    Raises:
        ValueError: The event cannot follow: a journal that is not ours.
    """
    if order is None:
        return _begin(event)
    changes: dict[str, Any] = {"version": order.version + 1, "update_time_ns": event.record_time_ns}
    match event.kind:
        case OrderEventKind.SUBMITTED:
            changes["state"] = OrderState.SUBMITTING if not order.venue_orders else order.state
            return _evolved(order, changes)
        case OrderEventKind.OUTCOME_UNKNOWN:
            changes["state"] = OrderState.OUTCOME_UNKNOWN if not order.venue_orders else order.state
            return _evolved(order, changes)
        case OrderEventKind.DENIED | OrderEventKind.NOT_SENT | OrderEventKind.ABSENT | OrderEventKind.REJECTED if (
            event.venue_order is None
        ):
            return _evolved(order, changes | _ended(order, event))
        case OrderEventKind.CANCEL_REQUESTED:
            changes["cancel_request_time_ns"] = order.cancel_request_time_ns or event.event_time_ns
        case OrderEventKind.CANCEL_REJECTED:
            changes["cancel_request_time_ns"] = None
        case OrderEventKind.REPLACE_REQUESTED if event.changes is not None:
            changes["pending_replace"] = event.changes
            changes["pending_replace_id"] = venue_client_order_id(event.strategy_id, event.client_order_id)
        case OrderEventKind.REPLACE_REJECTED if _is_of_pending(order, event):
            changes.update(_without_candidate(order))
        case OrderEventKind.REPLACED:
            changes.update(_replaced(order, event))
        case OrderEventKind.RESURRECTED:
            changes["failure"] = None
        case _:
            pass
    return _settled(order, event, changes)


def is_known_terminal(status: str) -> bool:
    """Whether a venue order with this status can change no more; a replaced one cannot."""
    return status == REPLACED or STATES.get(status, OrderState.UNRECOGNIZED).is_terminal


def merge(known: VenueOrder | None, report: VenueOrder) -> VenueOrder:
    """What is known of one venue order after one more report, whichever way the two are older."""
    report = report if not report.legs else replace(report, legs=())
    if known is None:
        return report
    assert known.venue_order_id == report.venue_order_id
    more_filled = report if report.filled_quantity > known.filled_quantity else known
    base = report
    known_time, report_time = known.update_time_ns, report.update_time_ns
    is_older = known_time is not None and report_time is not None and report_time < known_time
    is_same_time = known_time == report_time or known_time is None or report_time is None
    if is_same_time and report.venue_status in UNPLACED and known.venue_status not in UNPLACED:
        is_older = True  # the answer to a request, overtaken by the event that followed it
    if report.filled_quantity < known.filled_quantity:
        is_older = True
    if is_known_terminal(known.venue_status) and not is_known_terminal(report.venue_status):
        is_older = True
    if known.venue_status == REPLACED and report.venue_status != REPLACED:
        is_older = True
    if is_older and not (is_known_terminal(report.venue_status) and not is_known_terminal(known.venue_status)):
        base = known
    from_either = {
        "filled_quantity": more_filled.filled_quantity,
        "filled_average_price": more_filled.filled_average_price,
        "replaces": base.replaces or known.replaces or report.replaces,
        "replaced_by": base.replaced_by or known.replaced_by or report.replaced_by,
        "venue_request_id": report.venue_request_id or known.venue_request_id,
    }
    return _evolved_at_venue(base, from_either)


def venue_order_of(order: Order, venue_order_id: str) -> VenueOrder | None:
    """What an order knows of one of its venue orders."""
    for known in order.venue_orders:
        if known.venue_order_id == venue_order_id:
            return known
    return None


def leg_role_of(leg: VenueOrder) -> LegRole | None:
    """The part of a nested leg, told by its type; None when its type is unknown."""
    match leg.order_type:
        case OrderType.LIMIT:
            return LegRole.TAKE_PROFIT
        case OrderType.STOP | OrderType.STOP_LIMIT:
            return LegRole.STOP_LOSS
        case _:
            return None


def leg_order_id(parent_order_id: str, role: LegRole) -> str:
    """The id of a leg."""
    return f"{parent_order_id}/{role.value}"


def spec_from_venue_order(venue_order: VenueOrder) -> OrderSpec:
    """What was asked for, as far as a venue order tells it.

    A side, type or time in force whose word is unknown to this build stays None: orders from outside may be of kinds
    that the gateway does not place.
    """
    order_class = venue_order.order_class or OrderClass.SIMPLE
    profit, loss = None, None
    for leg in venue_order.legs:
        if leg.order_type is OrderType.LIMIT and leg.limit_price is not None:
            profit = TakeProfit(leg.limit_price)
        elif leg.stop_price is not None:
            loss = StopLoss(leg.stop_price, leg.limit_price)
    limit_price = venue_order.limit_price
    if order_class is OrderClass.OCO and limit_price is not None and profit is None and venue_order.legs:
        profit, limit_price = TakeProfit(limit_price), None
    spec: dict[str, Any] = {
        "symbol": venue_order.symbol,
        "side": venue_order.side,
        "order_type": venue_order.order_type,
        "time_in_force": venue_order.time_in_force,
        "quantity": venue_order.quantity,
        "notional": venue_order.notional if venue_order.quantity is None else None,
        "limit_price": limit_price,
        "stop_price": venue_order.stop_price,
        "trail_price": venue_order.trail_price,
        "trail_percent": venue_order.trail_percent,
        "extended_hours": venue_order.extended_hours,
        "order_class": order_class,
        "take_profit": profit,
        "stop_loss": loss,
    }
    return OrderSpec(**spec)


def _begin(event: JournalEvent) -> Order:
    if event.kind is not OrderEventKind.RECORDED:
        raise ValueError(f"the first event of an order is {event.kind}")
    if event.request is not None:
        spec = event.request.spec
        return Order(
            order_id=event.order_id,
            strategy_id=event.strategy_id,
            client_order_id=event.request.client_order_id,
            spec=spec,
            state=OrderState.RECORDED,
            asset_class=asset_class_of(spec.symbol),
            create_time_ns=event.record_time_ns,
            update_time_ns=event.record_time_ns,
            leaves_quantity=spec.quantity,
            labels=event.request.labels,
        )
    if event.venue_order is None:
        raise ValueError("an order begins with a request or with a report of the venue")
    return _adopted(event, event.venue_order)


def _adopted(event: JournalEvent, venue_order: VenueOrder) -> Order:
    """A leg, an order from outside, or one of ours that an earlier life of the journal knew."""
    order = Order(
        order_id=event.order_id,
        strategy_id=event.strategy_id,
        client_order_id=event.client_order_id,
        spec=spec_from_venue_order(venue_order),
        state=OrderState.UNRECOGNIZED,
        asset_class=venue_order.asset_class,
        create_time_ns=venue_order.create_time_ns or event.record_time_ns,
        update_time_ns=event.record_time_ns,
        parent_order_id=event.parent_order_id,
        leg_role=event.leg_role,
        external=not event.strategy_id,
    )
    return replace(_settled(order, event, {}), version=1)


def _settled(order: Order, event: JournalEvent, changes: dict[str, Any]) -> Order:
    """Take in what the venue said, then work out everything that follows from the venue orders."""
    venue_orders: tuple[VenueOrder, ...] = changes.get("venue_orders", order.venue_orders)
    report = event.venue_order
    if report is not None and not _is_refused_candidate(event, report):
        if _completes(order, event):
            changes |= _completed(order, report)
        venue_orders = _with(venue_orders, report)
        if report.legs and not order.leg_order_ids:
            roles = sorted({role for leg in report.legs if (role := leg_role_of(leg))}, reverse=True)
            changes["leg_order_ids"] = tuple(leg_order_id(order.order_id, role) for role in roles)
        if report.venue_request_id:
            changes["venue_request_id"] = report.venue_request_id
    if event.kind is OrderEventKind.REJECTED:
        changes["failure"] = event.failure
    changes["venue_orders"] = venue_orders
    present = _present(venue_orders)
    if present is None:
        return _evolved(order, changes)
    spec = cast("OrderSpec", changes.get("spec", order.spec))
    filled, average = _filled(venue_orders)
    state = _state(present, filled, spec, changes, order)
    changes |= {
        "state": state,
        "filled_quantity": filled,
        "filled_average_price": average,
        "leaves_quantity": _leaves(spec, filled, state),
        "high_water_mark": present.high_water_mark or order.high_water_mark,
        "submit_time_ns": order.submit_time_ns or present.submit_time_ns,
        "fill_time_ns": present.fill_time_ns if state is OrderState.FILLED else order.fill_time_ns,
        "cancel_time_ns": present.cancel_time_ns if state is OrderState.CANCELED else order.cancel_time_ns,
        "fail_time_ns": present.fail_time_ns if state is OrderState.REJECTED else order.fail_time_ns,
        "expire_time_ns": present.expire_time_ns if state is OrderState.EXPIRED else order.expire_time_ns,
        "expiry_time_ns": present.expiry_time_ns or order.expiry_time_ns,
    }
    if state.is_terminal:
        changes |= {"pending_replace": None, "pending_replace_id": ""}
    return _evolved(order, changes)


def _state(
    present: VenueOrder, filled: Decimal, spec: OrderSpec, changes: Mapping[str, Any], order: Order
) -> OrderState:
    state = STATES.get(present.venue_status, OrderState.UNRECOGNIZED)
    if state.is_terminal:
        is_complete = spec.quantity is not None and filled >= spec.quantity
        return OrderState.FILLED if is_complete else state
    if changes.get("cancel_request_time_ns", order.cancel_request_time_ns) is not None:
        return OrderState.PENDING_CANCEL
    if changes.get("pending_replace", order.pending_replace) is not None:
        return OrderState.PENDING_REPLACE
    if state is OrderState.WORKING and filled > 0:
        return OrderState.PARTIALLY_FILLED
    return state


def _present(venue_orders: tuple[VenueOrder, ...]) -> VenueOrder | None:
    """The venue order that stands for the order: the last one that the venue did not refuse as a replacement."""
    for venue_order in reversed(venue_orders[1:]):
        if venue_order.venue_status != "rejected":
            return venue_order
    return venue_orders[0] if venue_orders else None


def _with(venue_orders: tuple[VenueOrder, ...], report: VenueOrder) -> tuple[VenueOrder, ...]:
    for index, known in enumerate(venue_orders):
        if known.venue_order_id == report.venue_order_id:
            return (*venue_orders[:index], merge(known, report), *venue_orders[index + 1 :])
        if known.replaces == report.venue_order_id:  # the older one, seen later
            return (*venue_orders[:index], merge(None, report), *venue_orders[index:])
    return (*venue_orders, merge(None, report))


def _filled(venue_orders: tuple[VenueOrder, ...]) -> tuple[Decimal, Decimal | None]:
    """What is filled over all venue orders, and at which average price."""
    if len(venue_orders) == 1:
        return venue_orders[0].filled_quantity, venue_orders[0].filled_average_price
    filled, value = _ZERO, _ZERO
    for venue_order in venue_orders:
        if venue_order.filled_quantity:
            filled += venue_order.filled_quantity
            value += venue_order.filled_quantity * (venue_order.filled_average_price or _ZERO)
    return filled, (value / filled if filled and value else None)


def _leaves(spec: OrderSpec, filled: Decimal, state: OrderState) -> Decimal | None:
    if spec.quantity is None:
        return None
    return _ZERO if state.is_terminal else max(_ZERO, spec.quantity - filled)


def _ended(order: Order, event: JournalEvent) -> dict[str, Any]:
    state = _NEVER_AT_VENUE[event.kind]
    return {
        "state": state,
        "failure": event.failure,
        "leaves_quantity": _leaves(order.spec, _ZERO, state),
        "fail_time_ns": event.event_time_ns if state is OrderState.REJECTED else None,
    }


def _replaced(order: Order, event: JournalEvent) -> dict[str, Any]:
    """The change took effect: the predecessor is replaced, and the order reads as was asked."""
    report = event.venue_order
    if report is None:
        return {}
    if report.venue_status == REPLACED:  # the end of the old one; its successor is known already, or will be
        successor = next((known for known in order.venue_orders if known.replaces == report.venue_order_id), None)
        return {} if successor is None else _completed(order, successor)
    before = tuple(
        replace(known, venue_status=REPLACED, replaced_by=report.venue_order_id)
        if known.venue_order_id == report.replaces and known.venue_status != REPLACED
        else known
        for known in order.venue_orders
    )
    return _completed(order, report) | {"venue_orders": before}


def _completed(order: Order, successor: VenueOrder) -> dict[str, Any]:
    """Both halves of a replace are known: the order reads as was asked, by us or by somebody else.

    Somebody else's says nothing of ours, if one is pending: the venue has refused it, or will.
    """
    asked = order.pending_replace
    if asked is None or successor.venue_client_order_id != order.pending_replace_id:
        return {"spec": _as_replaced(order, successor)}
    return {"pending_replace": None, "pending_replace_id": "", "spec": changed(order.spec, asked)}


def _completes(order: Order, event: JournalEvent) -> bool:
    """Whether it is the first sight of a venue order whose predecessor has ended for it before."""
    report = event.venue_order
    if report is None or not report.replaces or venue_order_of(order, report.venue_order_id) is not None:
        return False
    before = venue_order_of(order, report.replaces)
    return before is not None and before.venue_status == REPLACED


def changed(spec: OrderSpec, asked: OrderChanges) -> OrderSpec:
    """The order as it reads with new values."""
    return replace(
        spec,
        quantity=spec.quantity if asked.quantity is None else asked.quantity,
        limit_price=spec.limit_price if asked.limit_price is None else asked.limit_price,
        stop_price=spec.stop_price if asked.stop_price is None else asked.stop_price,
        trail_price=asked.trail if asked.trail is not None and spec.trail_price is not None else spec.trail_price,
        trail_percent=(
            asked.trail if asked.trail is not None and spec.trail_percent is not None else spec.trail_percent
        ),
        time_in_force=spec.time_in_force if asked.time_in_force is None else asked.time_in_force,
    )


def excess(order: Order) -> Decimal:
    """How much more than the order's total the venue may trade: a fill crossed a replace."""
    present = order.venue_order
    if present is None or present.quantity is None or order.spec.quantity is None:
        return _ZERO
    if present.venue_status == REPLACED:
        return _ZERO  # its successor has not been seen yet
    return order.filled_quantity + (present.quantity - present.filled_quantity) - order.spec.quantity


def _as_replaced(order: Order, successor: VenueOrder) -> OrderSpec:
    """The order as somebody else changed it: the new total is what was filled before and what is ordered now."""
    filled_before = sum(
        (known.filled_quantity for known in order.venue_orders if known.venue_order_id != successor.venue_order_id),
        _ZERO,
    )
    spec = spec_from_venue_order(successor)
    return replace(
        order.spec,
        quantity=None if spec.quantity is None else filled_before + spec.quantity,
        limit_price=spec.limit_price,
        stop_price=spec.stop_price,
        trail_price=spec.trail_price,
        trail_percent=spec.trail_percent,
        time_in_force=spec.time_in_force,
    )


def _is_refused_candidate(event: JournalEvent, report: VenueOrder) -> bool:
    return event.kind is OrderEventKind.REPLACE_REJECTED and report.venue_status == "rejected"


def _is_of_pending(order: Order, event: JournalEvent) -> bool:
    """Whether a refusal is of the change that is pending; one that names no key can be of no other."""
    key = event.client_order_id
    return not key or order.pending_replace_id in ("", venue_client_order_id(order.strategy_id, key))


def _without_candidate(order: Order) -> dict[str, Any]:
    """The change was refused: whatever was to stand for the order never did, unless it was filled after all."""
    kept = order.venue_orders
    if len(kept) > 1 and kept[-1].venue_client_order_id == order.pending_replace_id and not kept[-1].filled_quantity:
        kept = kept[:-1]
    return {"pending_replace": None, "pending_replace_id": "", "venue_orders": kept}
