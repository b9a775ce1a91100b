"""TradingService: one function per unary rpc. Keyword arguments carry the contract's names.

Every command takes its key (client_order_id) from the caller: a key that the client made up by itself
would be lost with the process, and the order's fate with it. `new_key()` makes one to keep.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, Required, TypeAlias, TypedDict, Unpack

from trading_gateway.call import Call, Pages, keyed, path, read, whole
from trading_gateway.v1 import trading_pb2 as pb
from trading_gateway.values import (
    DecimalLike,
    Instant,
    decimal_text,
    duration,
    number,
    optional_decimal,
    require_names,
    symbol_list,
    timestamp,
    word,
)

if TYPE_CHECKING:
    Side: TypeAlias = Literal["buy", "sell"] | pb.OrderSide.ValueType
    OrderType: TypeAlias = Literal["market", "limit", "stop", "stop_limit", "trailing_stop"] | pb.OrderType.ValueType
    TimeInForce: TypeAlias = Literal["day", "gtc", "opg", "cls", "ioc", "fok"] | pb.TimeInForce.ValueType
    OrderClass: TypeAlias = Literal["simple", "bracket", "oco", "oto"] | pb.OrderClass.ValueType
    State: TypeAlias = str | pb.OrderState.ValueType

AnyOrder: TypeAlias = pb.Order | pb.OrderRef | str
"""An order: itself, an OrderRef (by any of its ids or keys), or its order_id."""

_DECIMALS: Final = ("quantity", "notional", "limit_price", "stop_price", "trail_price", "trail_percent")

_CANCELS_WAIT_S: Final = 5.0
"""So long the gateway waits for cancels that have to come first."""


class SpecFields(TypedDict, total=False):
    """What to trade, as OrderSpec in trading.proto says it; decimals are Decimal, str or int; None: left out."""

    symbol: Required[str]
    side: Required[Side]
    order_type: Required[OrderType]
    time_in_force: Required[TimeInForce]
    quantity: DecimalLike | None
    notional: DecimalLike | None
    limit_price: DecimalLike | None
    stop_price: DecimalLike | None
    trail_price: DecimalLike | None
    trail_percent: DecimalLike | None
    extended_hours: bool
    order_class: OrderClass
    take_profit_limit_price: DecimalLike | None
    stop_loss_stop_price: DecimalLike | None
    stop_loss_limit_price: DecimalLike | None
    reduce_only: bool


def order_ref(order: AnyOrder) -> pb.OrderRef:
    """Name an order: OrderRef(client_order_id=key) finds it by its key."""
    if isinstance(order, pb.OrderRef):
        return order
    return pb.OrderRef(order_id=order if isinstance(order, str) else order.order_id)


def order_spec(**fields: Unpack[SpecFields]) -> pb.OrderSpec:
    """Build an OrderSpec. Which combinations are legal is the gateway's to say.

    Raises:
        TypeError: For a float where a decimal belongs, or a field that OrderSpec does not have.
        ValueError: For a decimal or a word that the contract does not have, or a size or trail given twice.
    """
    require_names(fields, SpecFields, ("symbol", "side", "order_type", "time_in_force"))
    _exclusive(quantity=fields.get("quantity"), notional=fields.get("notional"))
    _exclusive(trail_price=fields.get("trail_price"), trail_percent=fields.get("trail_percent"))
    decimals: Any = {name: _decimal(fields, name) for name in _DECIMALS if fields.get(name) is not None}
    spec = pb.OrderSpec(
        symbol=fields["symbol"],
        side=number(pb.OrderSide, fields["side"]),
        order_type=number(pb.OrderType, fields["order_type"]),
        time_in_force=number(pb.TimeInForce, fields["time_in_force"]),
        extended_hours=fields.get("extended_hours", False),
        order_class=number(pb.OrderClass, fields.get("order_class", pb.ORDER_CLASS_UNSPECIFIED)),
        reduce_only=fields.get("reduce_only", False),
        **decimals,
    )
    if (take_profit := _decimal(fields, "take_profit_limit_price")) is not None:
        spec.take_profit.limit_price = take_profit
    if (stop_loss := _decimal(fields, "stop_loss_stop_price")) is not None:
        spec.stop_loss.stop_price = stop_loss
    if (stop_loss_limit := _decimal(fields, "stop_loss_limit_price")) is not None:
        spec.stop_loss.limit_price = stop_loss_limit
    return spec


def submit_order(
    *,
    client_order_id: str,
    strategy_id: str = "",
    valid_until: Instant | None = None,
    labels: Mapping[str, str] | None = None,
    **spec: Unpack[SpecFields],
) -> Call[pb.SubmitOrderResponse]:
    """Submit an order; see SubmitOrder in trading.proto.

    Repeated under the same key, and with the same valid_until, after ambiguous errors: it is sent at most once.
    The answer's `order.state` says where it stands; it never waits for a fill: `wait_for` does.

    Args:
        client_order_id: The idempotency key, unique per strategy for ever; `new_key()` makes one.
        strategy_id: Whose order it is; empty: the caller's own.
        valid_until: The order is never sent after this instant, also not by a try that arrives late; default: when the
            call's timeout ends, by this machine's clock, but 5 s to 55 s from now.
        labels: Notes kept with the order.
        spec: What to trade; quantity or notional, prices as Decimal, str or int.

    Raises:
        GatewayError: With `key` (free, spent, taken), or with `outcome_unknown`.
    """
    request = pb.SubmitOrderRequest(
        strategy_id=strategy_id,
        client_order_id=client_order_id,
        spec=order_spec(**spec),
        valid_until=timestamp("valid_until", valid_until),
        labels=labels,
    )
    return keyed("TradingService/SubmitOrder", request, pb.SubmitOrderResponse)


def preview_order(*, strategy_id: str = "", **spec: Unpack[SpecFields]) -> Call[pb.PreviewOrderResponse]:
    """The dry run of submit_order: every check with its numbers, and the cost. Nothing is sent."""
    request = pb.PreviewOrderRequest(strategy_id=strategy_id, spec=order_spec(**spec))
    return read("TradingService/PreviewOrder", request, pb.PreviewOrderResponse, whole)


def replace_order(
    order: AnyOrder,
    *,
    client_order_id: str,
    quantity: DecimalLike | None = None,
    limit_price: DecimalLike | None = None,
    stop_price: DecimalLike | None = None,
    trail: DecimalLike | None = None,
    time_in_force: TimeInForce = pb.TIME_IN_FORCE_UNSPECIFIED,
    expected_version: int | None = None,
    valid_until: Instant | None = None,
) -> Call[pb.ReplaceOrderResponse]:
    """Change a working order. What is left out stays; the answer comes on the order stream.

    Args:
        order: Which one.
        client_order_id: The key of this replace, another one than the order's.
        quantity: The new total, filled part included.
        limit_price: US dollars.
        stop_price: US dollars.
        trail: US dollars or percent, as the order has it.
        time_in_force: UNSPECIFIED keeps it.
        expected_version: Refused (VERSION_MISMATCH) when the order has another one.
        valid_until: The replace is never sent after this instant; default as in `submit_order`.
    """
    request = pb.ReplaceOrderRequest(
        order=order_ref(order),
        client_order_id=client_order_id,
        quantity=optional_decimal("quantity", quantity),
        limit_price=optional_decimal("limit_price", limit_price),
        stop_price=optional_decimal("stop_price", stop_price),
        trail=optional_decimal("trail", trail),
        time_in_force=number(pb.TimeInForce, time_in_force),
        expected_version=expected_version,
        valid_until=timestamp("valid_until", valid_until),
    )
    return keyed("TradingService/ReplaceOrder", request, pb.ReplaceOrderResponse)


def cancel_order(order: AnyOrder, *, wait_for_terminal_s: float = 0.0) -> Call[pb.CancelOrderResponse]:
    """Ask for the end of an order; OK means that the cancel is owed. Repeated after ambiguous errors: it
    names one order, so that asking twice changes nothing.

    Args:
        order: Which one; one whose outcome is unknown may be named.
        wait_for_terminal_s: Seconds to wait for the end, at most 30; the call's timeout grows by them.
    """
    request = pb.CancelOrderRequest(order=order_ref(order), wait_for_terminal=duration(wait_for_terminal_s or None))
    return Call(
        path("TradingService/CancelOrder"),
        request,
        pb.CancelOrderResponse,
        whole,
        repeatable=True,
        wait_s=wait_for_terminal_s,
        prompt=True,
    )


def cancel_orders(
    *,
    strategy_id: str = "",
    all_strategies: bool = False,
    symbols: str | Iterable[str] = (),
    side: Side = pb.ORDER_SIDE_UNSPECIFIED,
) -> Call[pb.CancelOrdersResponse]:
    """Cancel every open order of the scope, without filters all of the strategy.

    Never repeated by itself: a second call would also take the orders submitted in between.
    """
    request = pb.CancelOrdersRequest(
        strategy_id=strategy_id,
        all_strategies=all_strategies,
        symbols=symbol_list(symbols),
        side=number(pb.OrderSide, side),
    )
    return Call(path("TradingService/CancelOrders"), request, pb.CancelOrdersResponse, whole, repeatable=False)


def get_order(order: AnyOrder, *, include_legs: bool = False, refresh: bool = False) -> Call[pb.Order]:
    """One order, by any of its ids or keys.

    Args:
        order: Which one.
        include_legs: Fill leg_orders.
        refresh: Ask the venue first, which spends request budget.
    """
    request = pb.GetOrderRequest(order=order_ref(order), include_legs=include_legs, refresh=refresh)
    return read("TradingService/GetOrder", request, pb.GetOrderResponse, lambda response: response.order)


def list_orders(
    *,
    strategy_id: str = "",
    all_strategies: bool = False,
    states: Iterable[State] = (),
    symbols: str | Iterable[str] = (),
    side: Side = pb.ORDER_SIDE_UNSPECIFIED,
    start_time: Instant | None = None,
    end_time: Instant | None = None,
    oldest_first: bool = False,
    page_size: int = 0,
) -> Pages[pb.Order]:
    """Orders, newest first, page after page as they are taken.

    Args:
        strategy_id: Whose; empty: the caller's own.
        all_strategies: Every strategy's, and orders from outside the gateway.
        states: Only these, as "working" or OrderState.ORDER_STATE_WORKING.
        symbols: Only these.
        side: Only this one.
        start_time: Created at or after.
        end_time: Created at or before.
        oldest_first: Turn the order round.
        page_size: Orders fetched at once; 0: 50, at most 500.
    """
    request = pb.ListOrdersRequest(
        strategy_id=strategy_id,
        all_strategies=all_strategies,
        states=[number(pb.OrderState, state) for state in states],
        symbols=symbol_list(symbols),
        side=number(pb.OrderSide, side),
        start_time=timestamp("start_time", start_time),
        end_time=timestamp("end_time", end_time),
        oldest_first=oldest_first,
        page_size=page_size,
    )
    return Pages("TradingService/ListOrders", request, pb.ListOrdersResponse, lambda page: page.orders)


def list_fills(
    *,
    strategy_id: str = "",
    all_strategies: bool = False,
    symbols: str | Iterable[str] = (),
    start_time: Instant | None = None,
    end_time: Instant | None = None,
    oldest_first: bool = False,
    page_size: int = 0,
) -> Pages[pb.Fill]:
    """Executions, newest first, page after page as they are taken; as far back as the journal keeps events.

    Args:
        strategy_id: Whose; empty: the caller's own.
        all_strategies: Every strategy's, and fills of orders from outside the gateway.
        symbols: Only these.
        start_time: Traded at or after.
        end_time: Traded at or before.
        oldest_first: Turn the order round.
        page_size: Fills fetched at once; 0: 100, at most 1000.
    """
    request = pb.ListFillsRequest(
        strategy_id=strategy_id,
        all_strategies=all_strategies,
        symbols=symbol_list(symbols),
        start_time=timestamp("start_time", start_time),
        end_time=timestamp("end_time", end_time),
        oldest_first=oldest_first,
        page_size=page_size,
    )
    return Pages("TradingService/ListFills", request, pb.ListFillsResponse, lambda page: page.fills)


def get_order_timeline(order: AnyOrder) -> Call[pb.OrderTimeline]:
    """Everything that happened to an order, step by step, with latencies and the venue's request ids."""
    request = pb.GetOrderTimelineRequest(order=order_ref(order))
    return read(
        "TradingService/GetOrderTimeline", request, pb.GetOrderTimelineResponse, lambda response: response.timeline
    )


def close_position(
    symbol: str,
    *,
    client_order_id: str,
    strategy_id: str = "",
    quantity: DecimalLike | None = None,
    percentage: DecimalLike | None = None,
    cancel_orders: bool = False,
    valid_until: Instant | None = None,
) -> Call[pb.ClosePositionResponse]:
    """Close a position, or a part of it, by a reduce-only market order under this key.

    Args:
        symbol: Of the position.
        client_order_id: The key of the closing order.
        strategy_id: To whom it belongs; empty: the caller's own.
        quantity: How much; neither this nor percentage: all of it.
        percentage: More than 0, at most 100.
        cancel_orders: First cancel open orders that hold the position.
        valid_until: The order is never sent after this instant; default as in `submit_order`.
    """
    _exclusive(quantity=quantity, percentage=percentage)
    request = pb.ClosePositionRequest(
        strategy_id=strategy_id,
        symbol=symbol,
        client_order_id=client_order_id,
        cancel_orders=cancel_orders,
        valid_until=timestamp("valid_until", valid_until),
    )
    if quantity is not None:
        request.quantity = decimal_text("quantity", quantity)
    if percentage is not None:
        request.percentage = decimal_text("percentage", percentage)
    wait_s = _CANCELS_WAIT_S if cancel_orders else 0.0
    return keyed("TradingService/ClosePosition", request, pb.ClosePositionResponse, wait_s=wait_s)


def close_positions(
    *, client_order_id_prefix: str, strategy_id: str = "", cancel_orders: bool = False
) -> Call[pb.ClosePositionsResponse]:
    """Close every position of the account; not atomic, one result per position.

    Args:
        client_order_id_prefix: At most 40 characters; calling again with the same one sends nothing twice.
        strategy_id: To whom the closing orders belong; empty: the caller's own.
        cancel_orders: First cancel open orders that hold the positions.
    """
    request = pb.ClosePositionsRequest(
        strategy_id=strategy_id, client_order_id_prefix=client_order_id_prefix, cancel_orders=cancel_orders
    )
    return keyed("TradingService/ClosePositions", request, pb.ClosePositionsResponse, prompt=False)


def describe(order: pb.Order) -> str:
    """One plain line about an order, for logs and examples: "buy 10 AAPL market: filled 10 at 187.30"."""
    spec = order.spec
    size = spec.quantity or f"{spec.notional} USD of"
    text = f"{word(pb.OrderSide, spec.side)} {size} {spec.symbol} {word(pb.OrderType, spec.order_type)}"
    filled = (
        f" {order.filled_quantity} at {order.filled_average_price}" if order.HasField("filled_average_price") else ""
    )
    return f"{text}: {word(pb.OrderState, order.state)}{filled}"


def _decimal(fields: SpecFields, name: str) -> str | None:
    values: Mapping[str, Any] = fields
    return optional_decimal(name, values.get(name))


def _exclusive(**values: object) -> None:
    """Refuse more than one: in a oneof the last would win without a word."""
    if sum(value is not None for value in values.values()) > 1:
        raise ValueError(f"{' and '.join(values)} exclude each other")
