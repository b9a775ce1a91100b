"""Plain values out of JSON: decimals, words, and what an order asks for, from each of the three records alike."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import orjson

Json = Mapping[str, Any]
Spec = dict[str, Any]
"""What an order asks for: plain words; numbers are Decimals; what is at its default is left out."""

ZERO: Final = Decimal(0)
_NUMBERS: Final = ("quantity", "notional", "limit_price", "stop_price", "trail_price", "trail_percent")
_WORDS: Final = ("symbol", "side", "order_type", "time_in_force")
_VENUE_NAMES: Final = {"quantity": "qty", "order_type": "type"}


def decimal(value: Any) -> Decimal | None:
    """A number however it is written; None when there is none."""
    if value is None or value == "":
        return None
    return Decimal(repr(value) if isinstance(value, float) else str(value))


def number(value: Any) -> Decimal:
    """A number; 0 when there is none."""
    return decimal(value) or ZERO


def whole(value: Any) -> int:
    """An integer; 0 when there is none (protobuf's JSON writes 64 bits as text)."""
    return int(value) if value else 0


def word(value: Any) -> str:
    """A plain word, kept once in memory."""
    return sys.intern(str(value)) if value else ""


def last_word(value: Any, prefix: str) -> str:
    """An enum value with or without its prefix, in lower case."""
    return word(str(value or "").upper().removeprefix(prefix).lower())


def body_of(value: Any) -> Json:
    """A JSON object: as it is, or as text; what cannot be read is empty."""
    if isinstance(value, dict):
        return value
    if not value:
        return {}
    try:
        found = orjson.loads(value)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def spec_of(found: Json) -> Spec:
    """From a history or the journal, which spell alike but for the legs."""
    spec = _base(found, {})
    profit, loss = found.get("take_profit"), found.get("stop_loss")
    if profit:
        spec["take_profit"] = number(profit["limit_price"] if isinstance(profit, dict) else profit)
    if loss:
        stop, limit = (loss["stop_price"], loss.get("limit_price")) if isinstance(loss, dict) else loss
        spec["stop_loss"] = (number(stop), decimal(limit))
    return _without_oco_price(spec)


def spec_of_venue(found: Json) -> Spec:
    """From Alpaca's JSON: the body of POST /v2/orders, or an order."""
    spec = _base(found, _VENUE_NAMES)
    profit, loss = found.get("take_profit"), found.get("stop_loss")
    if profit:
        spec["take_profit"] = number(profit.get("limit_price"))
    if loss:
        spec["stop_loss"] = (number(loss.get("stop_price")), decimal(loss.get("limit_price")))
    return _without_oco_price(spec)


def differences(left: Spec, right: Spec, *, whole_order: bool = True) -> str:
    """How two specs differ, in words; empty when they are equal.

    Args:
        whole_order: Compare everything; False: only what a replace cannot change.
    """
    names = _WORDS[:3] if not whole_order else sorted({*left, *right})
    return ", ".join(
        f"{name} {left.get(name)} / {right.get(name)}" for name in names if left.get(name) != right.get(name)
    )


def _base(found: Json, spelled: Mapping[str, str]) -> Spec:
    spec: Spec = {name: word(found.get(spelled.get(name, name))) for name in _WORDS}
    for name in _NUMBERS:
        value = decimal(found.get(spelled.get(name, name)))
        if value is not None:
            spec[name] = value
    if found.get("extended_hours") in (True, "true"):
        spec["extended_hours"] = True
    order_class = found.get("order_class")
    if order_class and order_class != "simple":
        spec["order_class"] = word(order_class)
    return spec


def _without_oco_price(spec: Spec) -> Spec:
    """An OCO's limit price is its take-profit's, wherever it is written."""
    if spec.get("order_class") == "oco":
        spec.pop("limit_price", None)
    return spec
