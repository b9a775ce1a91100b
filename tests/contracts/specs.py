"""Orders that the contract suites place."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

from gateway.domain.models.orders import OrderSpec, StopLoss, TakeProfit
from gateway.domain.types import OrderClass, OrderSide, OrderType, TimeInForce


def market(symbol: str = "AAPL", quantity: str = "3", **changes: Any) -> OrderSpec:
    time_in_force = TimeInForce.GTC if "/" in symbol else TimeInForce.DAY
    fields: dict[str, Any] = {"quantity": Decimal(quantity)} | changes
    return OrderSpec(symbol, OrderSide.BUY, OrderType.MARKET, time_in_force, **fields)


def resting(quantity: str = "3", limit_price: str = "1.00", **changes: Any) -> OrderSpec:
    """A buy so far below the market that it rests."""
    fields: dict[str, Any] = {"quantity": Decimal(quantity), "limit_price": Decimal(limit_price)} | changes
    return OrderSpec("AAPL", OrderSide.BUY, OrderType.LIMIT, TimeInForce.DAY, **fields)


def bracket() -> OrderSpec:
    return resting(
        limit_price="100.00",
        order_class=OrderClass.BRACKET,
        take_profit=TakeProfit(Decimal("120.00")),
        stop_loss=StopLoss(Decimal("90.00"), Decimal("89.50")),
    )


def key() -> str:
    """A client order id that no account has seen."""
    return f"default.{uuid.uuid4()}"
