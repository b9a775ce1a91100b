"""The emulator's own dictionary of trading: exchange nouns ↔ Alpaca's JSON.

Written from Alpaca's documents; it must not know the gateway's converters. Decimals go out as strings without
exponents, what is absent as null, never left out. Coming in, numbers may be JSON numbers or strings, with an
exponent if they like (alpaca-py sends 1e-08): Alpaca takes them all.

Source: schemas Order, Position, Account and their neighbors of Alpaca's trading OpenAPI document.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, TypeVar

from gateway.domain.models.orders import OrderChanges, OrderSpec, StopLoss, TakeProfit
from gateway.domain.types import OrderClass, OrderSide, OrderType, TimeInForce, format_decimal
from gateway.emulator.exchange.orders import ExchangeOrder, NewOrder, TradeUpdate
from gateway.emulator.exchange.refusals import Refusal, field_invalid, syntax
from gateway.emulator.wire import JsonObject, format_time

_NUMBER = re.compile(r"[-+]?[0-9]{1,18}(\.[0-9]{0,18})?([eE][-+]?[0-9]{1,2})?", re.ASCII)
_ORDER_CLASSES: Final = {"": OrderClass.SIMPLE, **{member.value: member for member in OrderClass}}
_TRUE: Final = (True, "true", "True")
_FALSE: Final = (False, None, "", "false", "False")

Word = TypeVar("Word", bound=StrEnum)


def decimal_text(value: Decimal | None) -> str | None:
    """A decimal as Alpaca writes it."""
    return None if value is None else format_decimal(value)


def time_text(time_ns: int | None) -> str | None:
    """An instant as Alpaca writes it."""
    return None if time_ns is None else format_time(time_ns)


def order_json(order: ExchangeOrder) -> JsonObject:
    """An order, with its legs where the exchange gave any."""
    order_class = "" if order.order_class is OrderClass.SIMPLE else order.order_class.value
    return {
        "id": order.id,
        "client_order_id": order.client_order_id,
        "created_at": format_time(order.created_ns),
        "updated_at": format_time(order.updated_ns),
        "submitted_at": format_time(order.submitted_ns),
        "filled_at": time_text(order.filled_ns),
        "expired_at": time_text(order.expired_ns),
        **({} if order.expires_ns is None else {"expires_at": format_time(order.expires_ns)}),
        "canceled_at": time_text(order.canceled_ns),
        "failed_at": time_text(order.failed_ns),
        "replaced_at": time_text(order.replaced_ns),
        "replaced_by": order.replaced_by,
        "replaces": order.replaces,
        "asset_id": order.asset_id,
        "symbol": order.symbol,
        "asset_class": order.asset_class.value,
        "notional": decimal_text(order.notional),
        "qty": decimal_text(order.quantity),
        "filled_qty": format_decimal(order.filled_quantity),
        "filled_avg_price": decimal_text(order.filled_average_price),
        "order_class": order_class,
        "order_type": order.order_type.value,
        "type": order.order_type.value,
        "side": order.side.value,
        **({"position_intent": order.position_intent} if order.position_intent else {}),
        "time_in_force": order.time_in_force.value,
        "limit_price": decimal_text(order.limit_price),
        "stop_price": decimal_text(order.stop_price),
        "status": order.status.value,
        "extended_hours": order.extended_hours,
        "legs": None if order.legs is None else [order_json(leg) for leg in order.legs],
        "trail_percent": decimal_text(order.trail_percent),
        "trail_price": decimal_text(order.trail_price),
        "hwm": decimal_text(order.hwm),
        "subtag": None,
        "source": None,
    }


def trade_update_json(update: TradeUpdate) -> JsonObject:
    """The `data` of one trade_updates message."""
    order = order_json(update.order)
    order["cancel_requested_at"] = time_text(update.order.cancel_requested_ns)
    data: JsonObject = {
        "event": update.event,
        "execution_id": update.execution_id,
        "order": order,
        "timestamp": format_time(update.time_ns),
    }
    if update.price is not None:
        data["price"] = decimal_text(update.price)
        data["qty"] = decimal_text(update.quantity)
        data["position_qty"] = decimal_text(update.position_quantity)
    return data


def new_order_from_json(body: Mapping[str, Any]) -> NewOrder:
    """Read the body of POST /v2/orders.

    Raises:
        Refusal: When a field is missing or cannot be read; what makes no sense is the exchange's to refuse.
    """
    symbol = body.get("symbol")
    if not isinstance(symbol, str) or not symbol:
        raise syntax("symbol is required")
    spec = OrderSpec(
        symbol=symbol,
        side=_required_word(body, "side", OrderSide),
        order_type=_required_word(body, "type", OrderType),
        time_in_force=_required_word(body, "time_in_force", TimeInForce),
        quantity=number(body, "qty"),
        notional=number(body, "notional"),
        limit_price=number(body, "limit_price"),
        stop_price=number(body, "stop_price"),
        trail_price=number(body, "trail_price"),
        trail_percent=number(body, "trail_percent"),
        extended_hours=_switch(body, "extended_hours"),
        order_class=_order_class(body),
        take_profit=_take_profit(_member(body, "take_profit")),
        stop_loss=_stop_loss(_member(body, "stop_loss")),
    )
    client_order_id = _text(body, "client_order_id")
    return NewOrder(spec, client_order_id or None, _text(body, "position_intent"))


def order_changes_from_json(body: Mapping[str, Any]) -> tuple[OrderChanges, str | None]:
    """Read the body of PATCH /v2/orders/{id}: the changes, and the new order's client_order_id if given.

    Raises:
        Refusal: When a field cannot be read.
    """
    word = body.get("time_in_force")
    changes = OrderChanges(
        quantity=number(body, "qty"),
        limit_price=number(body, "limit_price"),
        stop_price=number(body, "stop_price"),
        trail=number(body, "trail"),
        time_in_force=None if word is None else _required_word(body, "time_in_force", TimeInForce),
    )
    return changes, _text(body, "client_order_id") or None


def number(body: Mapping[str, Any], name: str) -> Decimal | None:
    """A number of a body or a query, however spelled; None when it is absent or null.

    Raises:
        Refusal: When it is no number.
    """
    value = body.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        raise field_invalid(name)
    text = repr(value) if isinstance(value, int | float) else value
    if not isinstance(text, str) or not _NUMBER.fullmatch(text):
        raise field_invalid(name)
    return Decimal(text)


def refusal_json(refusal: Refusal) -> JsonObject:
    """The body of an error."""
    return {"code": refusal.code, "message": refusal.message, **refusal.extra}


def _required_word(body: Mapping[str, Any], name: str, words: type[Word]) -> Word:
    value = body.get(name)
    if value is None or value == "":
        raise syntax(f"{name} is required")
    try:
        return words(value)
    except ValueError:
        raise field_invalid(name) from None


def _order_class(body: Mapping[str, Any]) -> OrderClass:
    found = _ORDER_CLASSES.get(_text(body, "order_class"))
    if found is None:
        raise field_invalid("order_class")
    return found


def _switch(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name)
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise field_invalid(name)


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise field_invalid(name)
    return value


def _member(body: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, dict):
        raise field_invalid(name)
    return value


def _take_profit(member: Mapping[str, Any] | None) -> TakeProfit | None:
    if member is None:
        return None
    price = number(member, "limit_price")
    if price is None:
        raise syntax("take_profit.limit_price is required")
    return TakeProfit(price)


def _stop_loss(member: Mapping[str, Any] | None) -> StopLoss | None:
    if member is None:
        return None
    price = number(member, "stop_price")
    if price is None:
        raise syntax("stop_loss.stop_price is required")
    return StopLoss(price, number(member, "limit_price"))
