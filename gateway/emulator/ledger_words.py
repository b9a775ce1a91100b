"""The ledger's own dictionary: exchange nouns ↔ plain JSON values, exactly.

Decimals are written as Python spells them, so that a replay meets the very same numbers, trailing zeros included.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, fields
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from gateway.domain.models.orders import OrderChanges, OrderSpec, StopLoss, TakeProfit
from gateway.domain.models.reference import Asset
from gateway.domain.types import AssetClass, OrderClass, OrderSide, OrderType, TimeInForce
from gateway.emulator.exchange import ExchangeConfig, NewOrder, Refusal, TradeUpdate

Json = dict[str, Any]

_SPEC_NUMBERS: Final = ("quantity", "notional", "limit_price", "stop_price", "trail_price", "trail_percent")
_CHANGE_NUMBERS: Final = ("quantity", "limit_price", "stop_price", "trail")
_ASSET_NUMBERS: Final = (
    "min_order_size",
    "min_trade_increment",
    "price_increment",
    "margin_requirement_long",
    "margin_requirement_short",
)


def number_to_json(value: Decimal | None) -> str | None:
    """A decimal, exactly."""
    return None if value is None else str(value)


def number_from_json(text: str | None) -> Decimal | None:
    """A decimal, exactly."""
    return None if text is None else Decimal(text)


def order_to_json(order: NewOrder) -> Json:
    """A request for an order."""
    spec = order.spec
    found: Json = {
        "symbol": spec.symbol,
        "side": spec.side.value,
        "type": spec.order_type.value,
        "time_in_force": spec.time_in_force.value,
        "class": spec.order_class.value,
        "extended_hours": spec.extended_hours,
        "client_order_id": order.client_order_id,
        "position_intent": order.position_intent,
    }
    for name in _SPEC_NUMBERS:
        value = getattr(spec, name)
        if value is not None:
            found[name] = str(value)
    if spec.take_profit is not None:
        found["take_profit"] = str(spec.take_profit.limit_price)
    if spec.stop_loss is not None:
        found["stop_loss"] = [str(spec.stop_loss.stop_price), number_to_json(spec.stop_loss.limit_price)]
    return found


def order_from_json(found: Json) -> NewOrder:
    """The same request."""
    take_profit, stop_loss = found.get("take_profit"), found.get("stop_loss")
    numbers: Json = {name: number_from_json(found.get(name)) for name in _SPEC_NUMBERS}
    spec = OrderSpec(
        symbol=found["symbol"],
        side=OrderSide(found["side"]),
        order_type=OrderType(found["type"]),
        time_in_force=TimeInForce(found["time_in_force"]),
        order_class=OrderClass(found["class"]),
        extended_hours=found["extended_hours"],
        take_profit=None if take_profit is None else TakeProfit(Decimal(take_profit)),
        stop_loss=None if stop_loss is None else StopLoss(Decimal(stop_loss[0]), number_from_json(stop_loss[1])),
        **numbers,
    )
    return NewOrder(spec, found["client_order_id"], found["position_intent"])


def changes_to_json(changes: OrderChanges) -> Json:
    """A request for a change."""
    found: Json = {name: number_to_json(getattr(changes, name)) for name in _CHANGE_NUMBERS}
    return {**found, "time_in_force": changes.time_in_force and changes.time_in_force.value}


def changes_from_json(found: Json) -> OrderChanges:
    """The same request."""
    time_in_force = found["time_in_force"]
    numbers = {name: number_from_json(found[name]) for name in _CHANGE_NUMBERS}
    return OrderChanges(time_in_force=None if time_in_force is None else TimeInForce(time_in_force), **numbers)


def config_to_json(config: ExchangeConfig) -> Json:
    """Settings, each by its name."""
    return {field.name: _plain(getattr(config, field.name)) for field in fields(config)}


def config_from_json(found: Json) -> ExchangeConfig:
    """The same settings; one that the writer did not know yet has its default."""
    values = {
        field.name: _typed(found[field.name], field.default) for field in fields(ExchangeConfig) if field.name in found
    }
    return ExchangeConfig(**values)


def assets_to_json(assets: Iterable[Asset]) -> list[Json]:
    """Assets, each number a string."""
    return [{name: _plain(value) for name, value in asdict(asset).items()} for asset in assets]


def assets_from_json(found: list[Json]) -> tuple[Asset, ...]:
    """The same assets."""
    return tuple(_asset_from_json(one) for one in found)


def _asset_from_json(found: Json) -> Asset:
    values = {
        **found,
        "asset_class": AssetClass(found["asset_class"]),
        "attributes": tuple(found["attributes"]),
        **{name: number_from_json(found[name]) for name in _ASSET_NUMBERS},
    }
    return Asset(**values)


def event_to_json(update: TradeUpdate) -> Json:
    """What happened to an order, as far as a checker needs it."""
    order = update.order
    found: Json = {
        "event": update.event,
        "t": update.time_ns,
        "order_id": order.id,
        "client_order_id": order.client_order_id,
        "symbol": order.symbol,
        "side": order.side.value,
        "status": order.status.value,
        "filled": str(order.filled_quantity),
    }
    if update.price is not None:
        found |= {
            "execution_id": update.execution_id,
            "price": str(update.price),
            "quantity": str(update.quantity),
            "position": str(update.position_quantity),
        }
    return found


def refusal_to_json(refusal: Refusal) -> Json:
    """A refusal."""
    return {"code": refusal.code, "message": refusal.message, "extra": refusal.extra}


def _plain(value: object) -> object:
    if isinstance(value, StrEnum):
        return value.value
    return str(value) if isinstance(value, Decimal) else value


def _typed(value: Any, like: object) -> Any:
    """A value of the type of another."""
    return type(like)(value) if isinstance(like, StrEnum | Decimal) else value
