"""PATCH: an open order gives way to a new one that differs in what was asked.

Promises: a refusal changes nothing; the new order keeps the old one's place in its family. What the quantity means
after a partial fill is a setting. Leaves the hand-over itself to `engine`.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Final

from gateway.domain.models.orders import OrderChanges, OrderSpec
from gateway.domain.models.reference import Asset
from gateway.domain.types import AssetClass, LegRole, OrderClass, OrderSide, OrderType, TimeInForce
from gateway.emulator.exchange import refusals
from gateway.emulator.exchange.admission import check_account
from gateway.emulator.exchange.config import ReplaceQuantity
from gateway.emulator.exchange.families import carried_by, covered_quantity, is_armed, legs_of, set_leaves, sibling_of
from gateway.emulator.exchange.matching import trail_stop
from gateway.emulator.exchange.orders import ZERO, ExchangeOrder, OrderStatus
from gateway.emulator.exchange.state import State
from gateway.emulator.exchange.validation import check_order, is_whole

_RESTING_TIMES: Final = (TimeInForce.DAY, TimeInForce.GTC)
_NOT_YET: Final = (OrderStatus.ACCEPTED, OrderStatus.PENDING_NEW)
_PENDING: Final = (OrderStatus.PENDING_CANCEL, OrderStatus.PENDING_REPLACE)


def check_replaceable(order: ExchangeOrder) -> None:
    """Refuse to touch what is done, not yet at the exchange, on its way out, or measured in money.

    Source: OpenAPI, PATCH /v2/orders/{order_id}: not in accepted, pending_new, pending_cancel, pending_replace;
    notional orders never.
    """
    if not order.is_open:
        raise refusals.order_done(order.status.value)
    if order.status in _NOT_YET:
        raise refusals.unprocessable("unable to replace order, order isn't sent to exchange yet")
    if order.status in _PENDING:
        raise refusals.unprocessable(f"unable to replace order in {order.status} state")
    if order.notional is not None:
        raise refusals.unprocessable("notional orders cannot be replaced")


def make_successor(
    state: State, order: ExchangeOrder, changes: OrderChanges, client_order_id: str | None, expires_ns: int | None
) -> ExchangeOrder:
    """The order that takes the place of an open one, checked in every way.

    Raises:
        Refusal: Nothing has changed.
    """
    check_replaceable(order)
    _check_changes(order, changes)
    if changes.quantity is not None and not is_armed(state, order):
        raise refusals.unprocessable("qty of a leg follows its parent until that is filled")
    spec = _changed_spec(state, order, changes)
    if _is_same(order, spec, changes):
        raise refusals.unprocessable("order parameters are not changed")
    asset = state.assets[order.symbol]
    check_order(spec, asset, state.config)
    _check_family(state, order, spec)
    rate = _check_account(state, order, spec, asset)
    return _successor(state, order, spec, client_order_id, expires_ns, rate)


def _check_changes(order: ExchangeOrder, changes: OrderChanges) -> None:
    if changes.trail is not None and order.order_type is not OrderType.TRAILING_STOP:
        raise refusals.syntax(f"{order.order_type} orders require no trail")
    if changes.stop_price is not None and order.order_type is OrderType.TRAILING_STOP:
        raise refusals.syntax("trailing_stop orders require no stop_price")
    if order.triggered and (changes.stop_price is not None or changes.trail is not None):
        raise refusals.unprocessable("the order's stop price has already been reached")
    if changes.quantity is None or order.asset_class is AssetClass.CRYPTO:
        return
    assert order.quantity is not None
    if not is_whole(changes.quantity):
        raise refusals.syntax("qty must be integer")
    if not is_whole(order.quantity) and changes.quantity != order.quantity:
        raise refusals.unprocessable("qty of fractional orders cannot be changed")


def _changed_spec(state: State, order: ExchangeOrder, changes: OrderChanges) -> OrderSpec:
    """What the successor trades: of a leg, by itself."""
    trail_price, trail_percent = order.trail_price, order.trail_percent
    if changes.trail is not None:
        trail_price, trail_percent = (None, changes.trail) if trail_price is None else (changes.trail, None)
    stop_price = changes.stop_price or order.stop_price
    return OrderSpec(
        symbol=order.symbol,
        side=order.side,
        order_type=order.order_type,
        time_in_force=changes.time_in_force or order.time_in_force,
        quantity=_quantity(state, order, changes.quantity),
        limit_price=changes.limit_price or order.limit_price,
        stop_price=None if order.order_type is OrderType.TRAILING_STOP else stop_price,
        trail_price=trail_price,
        trail_percent=trail_percent,
        extended_hours=order.extended_hours,
    )


def _quantity(state: State, order: ExchangeOrder, wanted: Decimal | None) -> Decimal:
    """The successor's `qty`, by either meaning."""
    assert order.quantity is not None
    if state.config.replace_quantity is ReplaceQuantity.TOTAL:
        quantity = order.quantity if wanted is None else wanted
        if quantity <= order.filled_quantity:
            raise refusals.unprocessable("qty must be greater than the filled qty")
        return quantity
    return order.quantity - order.filled_quantity if wanted is None else wanted


def _is_same(order: ExchangeOrder, spec: OrderSpec, changes: OrderChanges) -> bool:
    return (
        (changes.quantity is None or spec.quantity == order.quantity)
        and spec.time_in_force is order.time_in_force
        and spec.limit_price == order.limit_price
        and (spec.stop_price == order.stop_price or order.order_type is OrderType.TRAILING_STOP)
        and (spec.trail_price, spec.trail_percent) == (order.trail_price, order.trail_percent)
    )


def _check_family(state: State, order: ExchangeOrder, spec: OrderSpec) -> None:
    """Legs stay day or gtc, and the profit stays on its side of the loss."""
    if order.order_class is OrderClass.SIMPLE:
        return
    if spec.time_in_force not in _RESTING_TIMES:
        raise refusals.unprocessable(f"{order.order_class} orders must be DAY or GTC orders")
    other = _other_exit(state, order)
    if other is None:
        return
    own = spec.stop_price if order.leg_role is LegRole.STOP_LOSS else spec.limit_price
    others = other.stop_price if other.leg_role is LegRole.STOP_LOSS else other.limit_price
    assert own is not None
    assert others is not None
    profit, loss = (others, own) if order.leg_role is LegRole.STOP_LOSS else (own, others)
    if profit <= loss if order.side is OrderSide.SELL else profit >= loss:
        comparison = ">" if order.side is OrderSide.SELL else "<"
        raise refusals.unprocessable(f"take_profit.limit_price must be {comparison} stop_loss.stop_price")


def _other_exit(state: State, order: ExchangeOrder) -> ExchangeOrder | None:
    """The other exit of an exit order; an entry has none."""
    if order.parent_id is None and order.order_class is not OrderClass.OCO:
        return None
    return sibling_of(state, order)


def _check_account(state: State, order: ExchangeOrder, spec: OrderSpec, asset: Asset) -> Decimal:
    """The account checks, for what is still to fill; a leg that waits for its parent has passed them with it."""
    if not is_armed(state, order):
        return ZERO
    assert spec.quantity is not None
    leaves = spec.quantity - _counted(state, order)
    return check_account(state, replace(spec, quantity=leaves), asset, replaced=order).reserve_rate


def _counted(state: State, order: ExchangeOrder) -> Decimal:
    """What the successor counts as filled from the beginning."""
    return order.filled_quantity if state.config.replace_quantity is ReplaceQuantity.TOTAL else ZERO


def _successor(
    state: State,
    order: ExchangeOrder,
    spec: OrderSpec,
    client_order_id: str | None,
    expires_ns: int | None,
    rate: Decimal,
) -> ExchangeOrder:
    counts = state.config.replace_quantity is ReplaceQuantity.TOTAL
    new = order.copy()
    new.id = state.new_id("order")
    new.client_order_id = client_order_id or state.new_id("client_order")
    new.sequence = state.store.next_sequence
    new.created_ns = new.updated_ns = new.submitted_ns = state.now_ns
    new.replaces, new.expires_ns = order.id, expires_ns
    new.time_in_force, new.quantity, new.limit_price = spec.time_in_force, spec.quantity, spec.limit_price
    new.trail_price, new.trail_percent = spec.trail_price, spec.trail_percent
    if order.order_type is not OrderType.TRAILING_STOP:
        new.stop_price = spec.stop_price
    elif new.hwm is not None:
        new.stop_price = trail_stop(new, new.hwm)
    new.filled_quantity = _counted(state, order)
    new.filled_value = order.filled_value if counts else ZERO
    new.filled_ns = None
    new.carried_quantity = carried_by(order, counted=counts)
    new.is_resting, new.reserved, new.reserve_rate = False, ZERO, rate
    return new


def adopt_family(state: State, old: ExchangeOrder, new: ExchangeOrder) -> None:
    """Put the successor into its predecessor's place; legs cover its quantity, a pair of exits the same one."""
    legs = legs_of(state, new)
    for leg in legs:
        leg.parent_id = new.id
    waiting = [leg for leg in legs if leg.is_open]
    for leg in waiting:
        leg.time_in_force, leg.expires_ns = new.time_in_force, new.expires_ns
    if new.parent_id is not None:
        parent = state.store.get(new.parent_id)
        parent.leg_ids = tuple(new.id if leg_id == old.id else leg_id for leg_id in parent.leg_ids)
    if new.order_class is OrderClass.SIMPLE:
        return
    if new.parent_id is None and new.order_class is not OrderClass.OCO:
        for leg in waiting:
            set_leaves(leg, covered_quantity(new), state.now_ns)
        return
    sibling, leaves = sibling_of(state, new), new.leaves_quantity
    if sibling is not None and leaves is not None:
        set_leaves(sibling, leaves, state.now_ns)
