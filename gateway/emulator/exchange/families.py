"""Orders that belong together: a parent and its legs.

A bracket's or OTO's legs wait, `held`, until the parent is wholly filled. An OCO's parent is the take-profit itself and
its one leg the stop-loss, active at once. Of two active exit orders one stands in for both: the stop-loss is shown as
`held` until it is set off, both always cover the same quantity, and the end of one is the end of the other.
"""

from __future__ import annotations

from decimal import Decimal

from gateway.domain.models.orders import OrderSpec
from gateway.domain.types import LegRole, OrderClass, OrderSide, OrderType
from gateway.emulator.exchange.orders import ZERO, ExchangeOrder, OrderStatus
from gateway.emulator.exchange.state import State


def make_legs(state: State, parent: ExchangeOrder, spec: OrderSpec) -> list[ExchangeOrder]:
    """The legs of a new parent, held; take-profit first."""
    legs: list[ExchangeOrder] = []
    if spec.take_profit is not None and spec.order_class is not OrderClass.OCO:
        leg = _leg(state, parent, LegRole.TAKE_PROFIT, len(legs))
        leg.order_type, leg.limit_price = OrderType.LIMIT, spec.take_profit.limit_price
        legs.append(leg)
    if spec.stop_loss is not None:
        leg = _leg(state, parent, LegRole.STOP_LOSS, len(legs))
        leg.stop_price, leg.limit_price = spec.stop_loss.stop_price, spec.stop_loss.limit_price
        leg.order_type = OrderType.STOP if leg.limit_price is None else OrderType.STOP_LIMIT
        legs.append(leg)
    parent.leg_ids = tuple(leg.id for leg in legs)
    return legs


def _leg(state: State, parent: ExchangeOrder, role: LegRole, index: int) -> ExchangeOrder:
    side = parent.side if parent.order_class is OrderClass.OCO else parent.side.opposite
    return ExchangeOrder(
        id=state.new_id("order"),
        client_order_id=state.new_id("client_order"),
        symbol=parent.symbol,
        asset_id=parent.asset_id,
        asset_class=parent.asset_class,
        side=side,
        order_type=OrderType.STOP,
        time_in_force=parent.time_in_force,
        status=OrderStatus.HELD,
        sequence=parent.sequence + 1 + index,
        created_ns=parent.created_ns,
        updated_ns=parent.updated_ns,
        submitted_ns=parent.submitted_ns,
        quantity=parent.quantity,
        order_class=parent.order_class,
        position_intent="sell_to_close" if side is OrderSide.SELL else "buy_to_close",
        expires_ns=parent.expires_ns,
        parent_id=parent.id,
        leg_role=role,
    )


def legs_of(state: State, order: ExchangeOrder) -> list[ExchangeOrder]:
    """The present legs of a parent."""
    return [state.store.get(leg_id) for leg_id in order.leg_ids]


def is_armed(state: State, order: ExchangeOrder) -> bool:
    """Whether the order may work: a leg waits for its parent to be wholly filled."""
    if order.parent_id is None:
        return True
    parent = state.store.get(order.parent_id)
    return parent.order_class is OrderClass.OCO or parent.status is OrderStatus.FILLED


def sibling_of(state: State, order: ExchangeOrder) -> ExchangeOrder | None:
    """The open order that ends with this one: the other exit of an active pair."""
    candidates: list[ExchangeOrder] = []
    if order.parent_id is not None:
        parent = state.store.get(order.parent_id)
        candidates = [parent] if parent.order_class is OrderClass.OCO else legs_of(state, parent)
    elif order.order_class is OrderClass.OCO:
        candidates = legs_of(state, order)
    return next((other for other in candidates if other.id != order.id and other.is_open), None)


def stands_behind(state: State, order: ExchangeOrder) -> bool:
    """Whether another open order already holds the shares that this one would sell."""
    return order.leg_role is LegRole.STOP_LOSS and sibling_of(state, order) is not None


def set_leaves(order: ExchangeOrder, leaves: Decimal, now_ns: int) -> None:
    """Let an open order cover this quantity from now on, beside what it has filled."""
    quantity = order.filled_quantity + leaves
    if order.quantity != quantity:
        order.quantity, order.updated_ns = quantity, now_ns


def covered_quantity(parent: ExchangeOrder) -> Decimal:
    """What the legs of a parent protect once it is filled, over all the orders that it replaced."""
    assert parent.quantity is not None
    return parent.carried_quantity + parent.quantity


def carried_by(old: ExchangeOrder, *, counted: bool) -> Decimal:
    """What a replaced order leaves filled behind it, if its successor does not count that itself."""
    return old.carried_quantity + (ZERO if counted else old.filled_quantity)
