"""Orders of trading.proto: the spec in both directions, the order and its parts outwards.

Orders are written from a bounded cache, because every reader of a book is sent the same order: a message
from here must never be changed.
"""

from __future__ import annotations

from typing import Any, Final

from gateway.domain.models.orders import Order, OrderSpec, StopLoss, TakeProfit, VenueOrder
from gateway.domain.models.risk import RiskCheckResult
from gateway.domain.types import (
    LegRole,
    OrderClass,
    OrderSide,
    OrderState,
    OrderType,
    TimeInForce,
    TwoWay,
    format_decimal,
)
from gateway.servicers.wire.common import (
    ASSET_CLASS,
    RequestReader,
    optional_decimal_to_proto,
    optional_timestamp_fields,
    timestamp_fields,
)
from gateway.servicers.wire.errors import failure_to_proto
from trading_gateway.v1 import common_pb2, errors_pb2, trading_pb2 as pb

ORDER_SIDE: Final = TwoWay(
    {
        OrderSide.BUY: pb.ORDER_SIDE_BUY,
        OrderSide.SELL: pb.ORDER_SIDE_SELL,
    }
)
ORDER_TYPE: Final = TwoWay(
    {
        OrderType.MARKET: pb.ORDER_TYPE_MARKET,
        OrderType.LIMIT: pb.ORDER_TYPE_LIMIT,
        OrderType.STOP: pb.ORDER_TYPE_STOP,
        OrderType.STOP_LIMIT: pb.ORDER_TYPE_STOP_LIMIT,
        OrderType.TRAILING_STOP: pb.ORDER_TYPE_TRAILING_STOP,
    }
)
TIME_IN_FORCE: Final = TwoWay(
    {
        TimeInForce.DAY: pb.TIME_IN_FORCE_DAY,
        TimeInForce.GTC: pb.TIME_IN_FORCE_GTC,
        TimeInForce.OPG: pb.TIME_IN_FORCE_OPG,
        TimeInForce.CLS: pb.TIME_IN_FORCE_CLS,
        TimeInForce.IOC: pb.TIME_IN_FORCE_IOC,
        TimeInForce.FOK: pb.TIME_IN_FORCE_FOK,
    }
)
ORDER_CLASS: Final = TwoWay(
    {
        OrderClass.SIMPLE: pb.ORDER_CLASS_SIMPLE,
        OrderClass.BRACKET: pb.ORDER_CLASS_BRACKET,
        OrderClass.OCO: pb.ORDER_CLASS_OCO,
        OrderClass.OTO: pb.ORDER_CLASS_OTO,
    }
)
LEG_ROLE: Final = TwoWay(
    {
        LegRole.TAKE_PROFIT: pb.ORDER_LEG_ROLE_TAKE_PROFIT,
        LegRole.STOP_LOSS: pb.ORDER_LEG_ROLE_STOP_LOSS,
    }
)
ORDER_STATE: Final = TwoWay(
    {
        OrderState.RECORDED: pb.ORDER_STATE_RECORDED,
        OrderState.SUBMITTING: pb.ORDER_STATE_SUBMITTING,
        OrderState.OUTCOME_UNKNOWN: pb.ORDER_STATE_OUTCOME_UNKNOWN,
        OrderState.ACCEPTED: pb.ORDER_STATE_ACCEPTED,
        OrderState.WORKING: pb.ORDER_STATE_WORKING,
        OrderState.PARTIALLY_FILLED: pb.ORDER_STATE_PARTIALLY_FILLED,
        OrderState.PENDING_REPLACE: pb.ORDER_STATE_PENDING_REPLACE,
        OrderState.PENDING_CANCEL: pb.ORDER_STATE_PENDING_CANCEL,
        OrderState.UNRECOGNIZED: pb.ORDER_STATE_UNRECOGNIZED,
        OrderState.FILLED: pb.ORDER_STATE_FILLED,
        OrderState.CANCELED: pb.ORDER_STATE_CANCELED,
        OrderState.EXPIRED: pb.ORDER_STATE_EXPIRED,
        OrderState.REJECTED: pb.ORDER_STATE_REJECTED,
        OrderState.DENIED: pb.ORDER_STATE_DENIED,
        OrderState.NOT_SENT: pb.ORDER_STATE_NOT_SENT,
        OrderState.ABSENT: pb.ORDER_STATE_ABSENT,
    }
)

ORDER_MESSAGES_MAX: Final = 8_192
"""Orders whose message is kept: more than a busy book has open at once, about 1 KiB each."""


def spec_from_proto(reader: RequestReader, spec: pb.OrderSpec) -> OrderSpec:
    """Read an order. Which fields go together is not asked here; each must be right by itself."""
    size = spec.WhichOneof("size")
    if size is None:
        reader.refuse("spec.size", "quantity or notional is required")
    trail = spec.WhichOneof("trail")
    profit, loss = spec.take_profit, spec.stop_loss
    return OrderSpec(
        symbol=reader.symbol("spec.symbol", spec.symbol),
        side=reader.choice("spec.side", ORDER_SIDE, spec.side),
        order_type=reader.choice("spec.order_type", ORDER_TYPE, spec.order_type),
        time_in_force=reader.choice("spec.time_in_force", TIME_IN_FORCE, spec.time_in_force),
        quantity=reader.decimal("spec.quantity", spec.quantity) if size == "quantity" else None,
        notional=reader.decimal("spec.notional", spec.notional) if size == "notional" else None,
        limit_price=reader.decimal("spec.limit_price", spec.limit_price) if spec.HasField("limit_price") else None,
        stop_price=reader.decimal("spec.stop_price", spec.stop_price) if spec.HasField("stop_price") else None,
        trail_price=reader.decimal("spec.trail_price", spec.trail_price) if trail == "trail_price" else None,
        trail_percent=reader.decimal("spec.trail_percent", spec.trail_percent) if trail == "trail_percent" else None,
        extended_hours=spec.extended_hours,
        order_class=reader.optional_choice("spec.order_class", ORDER_CLASS, spec.order_class) or OrderClass.SIMPLE,
        take_profit=TakeProfit(reader.decimal("spec.take_profit.limit_price", profit.limit_price))
        if spec.HasField("take_profit")
        else None,
        stop_loss=StopLoss(
            reader.decimal("spec.stop_loss.stop_price", loss.stop_price),
            reader.decimal("spec.stop_loss.limit_price", loss.limit_price) if loss.HasField("limit_price") else None,
        )
        if spec.HasField("stop_loss")
        else None,
        reduce_only=spec.reduce_only,
    )


def order_with_legs_to_proto(order: Order, legs: tuple[Order, ...]) -> pb.Order:
    """An order that has its legs in it."""
    message = pb.Order()
    message.CopyFrom(order_to_proto(order))
    message.leg_orders.extend(map(order_to_proto, legs))
    return message


_answers: dict[str, tuple[Order, pb.GetOrderResponse]] = {}
"""Order id → the order as it was last written, as GetOrder's answer. Bounded: the first written goes when full."""


def order_answer(order: Order) -> pb.GetOrderResponse:
    """GetOrder's answer. It is shared with whoever asks for the same state of the order: do not change it.

    The answer is kept and not only the order in it, because to put the one into the other is to copy it.
    """
    known = _answers.get(order.order_id)
    if known is not None and known[0] is order:
        return known[1]
    answer = pb.GetOrderResponse(order=_order_fields(order))
    if known is None and len(_answers) >= ORDER_MESSAGES_MAX:
        del _answers[next(iter(_answers))]
    _answers[order.order_id] = (order, answer)
    return answer


def order_to_proto(order: Order) -> pb.Order:
    """An order; shared, as `order_answer`'s: do not change it."""
    return order_answer(order).order


def spec_to_proto(spec: OrderSpec) -> pb.OrderSpec:
    """What to trade."""
    return pb.OrderSpec(**_spec_fields(spec))


def _spec_fields(spec: OrderSpec) -> Any:
    fields: dict[str, Any] = {
        "symbol": spec.symbol,
        # Orders from outside may be of kinds that this build does not know: their words are None there.
        "side": ORDER_SIDE[spec.side] if spec.side else pb.ORDER_SIDE_UNSPECIFIED,
        "order_type": ORDER_TYPE[spec.order_type] if spec.order_type else pb.ORDER_TYPE_UNSPECIFIED,
        "time_in_force": TIME_IN_FORCE[spec.time_in_force] if spec.time_in_force else pb.TIME_IN_FORCE_UNSPECIFIED,
        "limit_price": optional_decimal_to_proto(spec.limit_price),
        "stop_price": optional_decimal_to_proto(spec.stop_price),
        "extended_hours": spec.extended_hours,
        "order_class": ORDER_CLASS[spec.order_class],
        "reduce_only": spec.reduce_only,
    }
    if spec.quantity is not None:
        fields["quantity"] = format_decimal(spec.quantity)
    elif spec.notional is not None:
        fields["notional"] = format_decimal(spec.notional)
    if spec.trail_price is not None:
        fields["trail_price"] = format_decimal(spec.trail_price)
    elif spec.trail_percent is not None:
        fields["trail_percent"] = format_decimal(spec.trail_percent)
    if spec.take_profit is not None:
        fields["take_profit"] = {"limit_price": format_decimal(spec.take_profit.limit_price)}
    if spec.stop_loss is not None:
        fields["stop_loss"] = {
            "stop_price": format_decimal(spec.stop_loss.stop_price),
            "limit_price": optional_decimal_to_proto(spec.stop_loss.limit_price),
        }
    return fields


def _order_fields(order: Order) -> Any:
    """An order for the constructor of the message that it is a part of: made there once, and not copied."""
    venue_order = order.venue_order
    return {
        "order_id": order.order_id,
        "strategy_id": order.strategy_id,
        "client_order_id": order.client_order_id,
        "venue_order_id": order.venue_order_id,
        "venue_client_order_id": "" if venue_order is None else venue_order.venue_client_order_id,
        "spec": _spec_fields(order.spec),
        "asset_class": ASSET_CLASS[order.asset_class],
        "state": ORDER_STATE[order.state],
        "venue_status": order.venue_status,
        "filled_quantity": format_decimal(order.filled_quantity),
        "filled_average_price": optional_decimal_to_proto(order.filled_average_price),
        "leaves_quantity": optional_decimal_to_proto(order.leaves_quantity),
        "high_water_mark": optional_decimal_to_proto(order.high_water_mark),
        "parent_order_id": order.parent_order_id,
        "leg_role": pb.ORDER_LEG_ROLE_UNSPECIFIED if order.leg_role is None else LEG_ROLE[order.leg_role],
        "venue_orders": [_venue_order_fields(known) for known in order.venue_orders],
        "failure": None if order.failure is None else failure_to_proto(order.failure),
        "external": order.external,
        "labels": order.labels or None,
        "version": order.version,
        "create_time": timestamp_fields(order.create_time_ns),
        "submit_time": optional_timestamp_fields(order.submit_time_ns),
        "update_time": timestamp_fields(order.update_time_ns),
        "fill_time": optional_timestamp_fields(order.fill_time_ns),
        "cancel_request_time": optional_timestamp_fields(order.cancel_request_time_ns),
        "cancel_time": optional_timestamp_fields(order.cancel_time_ns),
        "fail_time": optional_timestamp_fields(order.fail_time_ns),
        "expiry_time": optional_timestamp_fields(order.expiry_time_ns),
        "expire_time": optional_timestamp_fields(order.expire_time_ns),
        "venue_request_id": order.venue_request_id,
    }


def _venue_order_fields(order: VenueOrder) -> Any:
    return {
        "venue_order_id": order.venue_order_id,
        "venue_client_order_id": order.venue_client_order_id,
        "venue_status": order.venue_status,
        "quantity": optional_decimal_to_proto(order.quantity),
        "filled_quantity": format_decimal(order.filled_quantity),
        "create_time": optional_timestamp_fields(order.create_time_ns),
    }


def check_to_proto(check: RiskCheckResult) -> common_pb2.RiskCheck:
    """One pre-trade check with its numbers."""
    return common_pb2.RiskCheck(
        reason=errors_pb2.ErrorReason.Value(f"ERROR_REASON_{check.reason}"),
        passed=check.passed,
        observed=optional_decimal_to_proto(check.observed) or "",
        limit=optional_decimal_to_proto(check.limit) or "",
        headroom=optional_decimal_to_proto(check.headroom) or "",
        unit=check.unit,
    )
