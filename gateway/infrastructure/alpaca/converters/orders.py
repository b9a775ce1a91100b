"""Orders and their updates: Alpaca ↔ domain.

Promises that decimals leave as strings, never as floats, and that a word of Alpaca's that we do not know is
kept or left out, never guessed. What a status means for an order's state is `order_lifecycle`'s.

Source: schema Order of Alpaca's trading OpenAPI document; its page on the trading stream for updates.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import structlog

from gateway.domain.models.orders import UNREADABLE, OrderChanges, OrderSpec, VenueOrder, VenueOrderUpdate
from gateway.domain.types import (
    AssetClass,
    OrderClass,
    OrderSide,
    OrderType,
    TimeInForce,
    TwoWay,
    format_decimal,
)
from gateway.infrastructure.alpaca.converters.fields import (
    JsonObject,
    Unreadable,
    as_list,
    as_object,
    decimal_or_none,
    flag,
    text,
    text_or_empty,
    time_ns_or_none,
    uuid_or_none,
)

SIDE: Final = TwoWay({OrderSide.BUY: "buy", OrderSide.SELL: "sell"})
ORDER_TYPE: Final = TwoWay(
    {
        OrderType.MARKET: "market",
        OrderType.LIMIT: "limit",
        OrderType.STOP: "stop",
        OrderType.STOP_LIMIT: "stop_limit",
        OrderType.TRAILING_STOP: "trailing_stop",
    }
)
TIME_IN_FORCE: Final = TwoWay(
    {
        TimeInForce.DAY: "day",
        TimeInForce.GTC: "gtc",
        TimeInForce.OPG: "opg",
        TimeInForce.CLS: "cls",
        TimeInForce.IOC: "ioc",
        TimeInForce.FOK: "fok",
    }
)
ORDER_CLASS: Final = TwoWay(
    {
        OrderClass.SIMPLE: "simple",
        OrderClass.BRACKET: "bracket",
        OrderClass.OCO: "oco",
        OrderClass.OTO: "oto",
    }
)
ASSET_CLASS: Final = TwoWay(
    {AssetClass.US_EQUITY: "us_equity", AssetClass.US_OPTION: "us_option", AssetClass.CRYPTO: "crypto"}
)

UNSUPPORTED_ORDER_CLASSES: Final = frozenset({"mleg"})
"""Alpaca's classes that this build does not trade; met on the wire they read None."""
UNSUPPORTED_ASSET_CLASSES: Final = frozenset({"ipo", "crypto_perp"})
"""Alpaca's asset classes that this build does not know; met on the wire they read UNRECOGNIZED."""

_LEGS_MAX: Final = 8  # Alpaca nests at most four
_ZERO: Final = Decimal(0)

_log = structlog.get_logger(__name__)


def asset_class_from_alpaca(word: object) -> AssetClass:
    """The class; UNRECOGNIZED for a word that we do not know."""
    if type(word) is not str:
        return AssetClass.UNRECOGNIZED
    return ASSET_CLASS.find(word) or AssetClass.UNRECOGNIZED


def spec_to_alpaca(spec: OrderSpec, venue_client_order_id: str) -> JsonObject:
    """The body of POST /v2/orders. Reduce-only is the gateway's own rule; the venue does not know it."""
    body: JsonObject = {
        "symbol": spec.symbol,
        "side": SIDE[spec.side],
        "type": ORDER_TYPE[spec.order_type],
        "time_in_force": TIME_IN_FORCE[spec.time_in_force],
        "client_order_id": venue_client_order_id,
    }
    _put(body, "qty", spec.quantity)
    _put(body, "notional", spec.notional)
    _put(body, "limit_price", spec.limit_price)
    _put(body, "stop_price", spec.stop_price)
    _put(body, "trail_price", spec.trail_price)
    _put(body, "trail_percent", spec.trail_percent)
    if spec.extended_hours:
        body["extended_hours"] = True
    if spec.order_class is not OrderClass.SIMPLE:
        body["order_class"] = ORDER_CLASS[spec.order_class]
    if spec.take_profit is not None:
        body["take_profit"] = {"limit_price": format_decimal(spec.take_profit.limit_price)}
    if spec.stop_loss is not None:
        stop_loss: JsonObject = {"stop_price": format_decimal(spec.stop_loss.stop_price)}
        _put(stop_loss, "limit_price", spec.stop_loss.limit_price)
        body["stop_loss"] = stop_loss
    return body


def changes_to_alpaca(changes: OrderChanges, venue_client_order_id: str) -> JsonObject:
    """The body of PATCH /v2/orders/{id}; what is None stays as it is."""
    body: JsonObject = {"client_order_id": venue_client_order_id}
    _put(body, "qty", changes.quantity)
    _put(body, "limit_price", changes.limit_price)
    _put(body, "stop_price", changes.stop_price)
    _put(body, "trail", changes.trail)
    if changes.time_in_force is not None:
        body["time_in_force"] = TIME_IN_FORCE[changes.time_in_force]
    return body


def order_from_alpaca(raw: object, *, venue_request_id: str = "") -> VenueOrder:
    """One order, its legs nested. Only a multi-leg option order may have negative prices (a credit).

    Raises:
        Unreadable: Its id, its status or one of its numbers cannot be read.
    """
    order = as_object(raw, "order")
    legs = as_list(order.get("legs"), "legs")
    if len(legs) > _LEGS_MAX:
        raise Unreadable("too many legs")
    return _order(order, tuple(_order(as_object(leg, "leg"), (), "") for leg in legs), venue_request_id)


def listed_order_from_alpaca(raw: object, *, venue_request_id: str = "") -> VenueOrder:
    """One order of a list: where it cannot be read, a stand-in with its ids and the status UNREADABLE.

    Raises:
        Unreadable: Not even its id can be read.
    """
    try:
        return order_from_alpaca(raw, venue_request_id=venue_request_id)
    except Unreadable as error:
        order = as_object(raw, "order")
        order_id = uuid_or_none(text(order, "id"))
        if order_id is None:
            raise
        _log.critical("order_unreadable", venue_order_id=order_id, detail=str(error))
        return VenueOrder(
            venue_order_id=order_id,
            venue_client_order_id=text_or_empty(order, "client_order_id"),
            venue_status=UNREADABLE,
            symbol=text_or_empty(order, "symbol"),
            asset_class=AssetClass.UNRECOGNIZED,
            side=None,
            order_type=None,
            time_in_force=None,
            order_class=None,
            submit_time_ns=time_ns_or_none(order, "submitted_at"),
            venue_request_id=venue_request_id,
        )


def update_from_alpaca(raw: object, receive_time_ns: int) -> VenueOrderUpdate:
    """The `data` of one trade_updates message.

    Raises:
        Unreadable: It cannot be read without guessing.
    """
    data = as_object(raw, "data")
    return VenueOrderUpdate(
        event=text(data, "event"),
        order=order_from_alpaca(data.get("order")),
        receive_time_ns=receive_time_ns,
        event_time_ns=time_ns_or_none(data, "timestamp"),
        execution_id=text_or_empty(data, "execution_id"),
        price=decimal_or_none(data, "price"),
        quantity=decimal_or_none(data, "qty"),
        position_quantity=decimal_or_none(data, "position_qty", signed=True),
    )


def _order(raw: JsonObject, legs: tuple[VenueOrder, ...], venue_request_id: str) -> VenueOrder:
    may_be_credit = raw.get("order_class") == "mleg"
    return VenueOrder(
        venue_order_id=text(raw, "id"),
        venue_client_order_id=text_or_empty(raw, "client_order_id"),
        venue_status=text(raw, "status"),
        symbol=text_or_empty(raw, "symbol"),
        asset_class=asset_class_from_alpaca(raw.get("asset_class")),
        side=SIDE.find(text_or_empty(raw, "side")),
        order_type=ORDER_TYPE.find(text_or_empty(raw, "type") or text_or_empty(raw, "order_type")),
        time_in_force=TIME_IN_FORCE.find(text_or_empty(raw, "time_in_force")),
        order_class=ORDER_CLASS.find(text_or_empty(raw, "order_class") or "simple"),
        quantity=decimal_or_none(raw, "qty"),
        notional=decimal_or_none(raw, "notional"),
        filled_quantity=decimal_or_none(raw, "filled_qty") or _ZERO,
        filled_average_price=decimal_or_none(raw, "filled_avg_price", signed=may_be_credit),
        limit_price=decimal_or_none(raw, "limit_price", signed=may_be_credit),
        stop_price=decimal_or_none(raw, "stop_price"),
        trail_price=decimal_or_none(raw, "trail_price"),
        trail_percent=decimal_or_none(raw, "trail_percent"),
        high_water_mark=decimal_or_none(raw, "hwm"),
        extended_hours=flag(raw, "extended_hours"),
        replaces=text_or_empty(raw, "replaces") or None,
        replaced_by=text_or_empty(raw, "replaced_by") or None,
        legs=legs,
        create_time_ns=time_ns_or_none(raw, "created_at"),
        submit_time_ns=time_ns_or_none(raw, "submitted_at"),
        update_time_ns=time_ns_or_none(raw, "updated_at"),
        fill_time_ns=time_ns_or_none(raw, "filled_at"),
        cancel_time_ns=time_ns_or_none(raw, "canceled_at"),
        fail_time_ns=time_ns_or_none(raw, "failed_at"),
        expire_time_ns=time_ns_or_none(raw, "expired_at"),
        expiry_time_ns=time_ns_or_none(raw, "expires_at"),
        venue_request_id=venue_request_id,
    )


def _put(body: JsonObject, name: str, value: Decimal | None) -> None:
    if value is not None:
        body[name] = format_decimal(value)
