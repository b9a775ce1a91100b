"""A trader's desk at a simulated exchange: short words for quotes, orders and what came of them."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from gateway.domain.models.orders import OrderChanges, OrderSpec, StopLoss, TakeProfit
from gateway.domain.types import NANOS_PER_SECOND, OrderClass, OrderSide, OrderType, TimeInForce
from gateway.emulator.exchange import (
    ExchangeConfig,
    ExchangeOrder,
    NewOrder,
    Refusal,
    SimulatedExchange,
    TradeUpdate,
    make_assets,
)
from gateway.emulator.exchange.sessions import NEW_YORK

WEDNESDAY = "2024-01-03"
"""An ordinary trading day in New York's winter."""


def instant(moment: str) -> int:
    """New York's date and time as ns: `2024-01-03 10:00`."""
    return round(datetime.fromisoformat(moment).replace(tzinfo=NEW_YORK).timestamp()) * NANOS_PER_SECOND


def make_spec(symbol: str, side: str, quantity: Any = None, **fields: Any) -> OrderSpec:
    """An order in few words: a market order unless it has prices."""
    for name in ("notional", "limit_price", "stop_price", "trail_price", "trail_percent"):
        if fields.get(name) is not None:
            fields[name] = Decimal(str(fields[name]))
    kind = fields.pop("order_type", None) or _type_of(fields)
    tif = fields.pop("tif", "gtc" if "USD" in symbol else "day")
    profit, loss = fields.pop("take_profit", None), fields.pop("stop_loss", None)
    if loss is not None and not isinstance(loss, tuple):
        loss = (loss,)
    return OrderSpec(
        symbol=symbol,
        side=OrderSide(side),
        order_type=OrderType(kind),
        time_in_force=TimeInForce(tif),
        quantity=None if quantity is None else Decimal(str(quantity)),
        order_class=OrderClass(fields.pop("order_class", "simple")),
        take_profit=None if profit is None else TakeProfit(Decimal(str(profit))),
        stop_loss=None if loss is None else StopLoss(*(Decimal(str(price)) for price in loss)),
        **fields,
    )


def _type_of(fields: dict[str, Any]) -> str:
    if fields.get("order_class") == "oco":
        return "limit"
    if fields.get("trail_price") is not None or fields.get("trail_percent") is not None:
        return "trailing_stop"
    has_limit, has_stop = fields.get("limit_price") is not None, fields.get("stop_price") is not None
    return {(False, False): "market", (True, False): "limit", (False, True): "stop", (True, True): "stop_limit"}[
        has_limit, has_stop
    ]


class Desk:
    """One exchange, and a clock that the test moves."""

    def __init__(self, now: str = f"{WEDNESDAY} 10:00", exchange: SimulatedExchange | None = None, **config: Any):
        self.now_ns = instant(now)
        self.exchange = exchange or SimulatedExchange(ExchangeConfig(**config), make_assets(), self.now_ns)

    def wait(self, seconds: float = 1) -> None:
        self.now_ns += round(seconds * NANOS_PER_SECOND)

    def at(self, moment: str) -> None:
        """Let it be then, boundaries on the way passed."""
        self.now_ns = instant(moment)
        self.exchange.advance(self.now_ns)

    def quote(self, symbol: str, bid: float, ask: float, size: float = 100, ask_size: float | None = None) -> None:
        self.wait()
        self.exchange.on_quote(self.now_ns, symbol, bid, size, ask, size if ask_size is None else ask_size)

    def trade(self, symbol: str, price: float) -> None:
        self.wait()
        self.exchange.on_trade(self.now_ns, symbol, price, 1.0)

    def buy(self, symbol: str, quantity: Any = None, **fields: Any) -> ExchangeOrder:
        return self._submit(symbol, "buy", quantity, fields)

    def sell(self, symbol: str, quantity: Any = None, **fields: Any) -> ExchangeOrder:
        return self._submit(symbol, "sell", quantity, fields)

    def _submit(self, symbol: str, side: str, quantity: Any, fields: dict[str, Any]) -> ExchangeOrder:
        self.wait()
        client_order_id, intent = fields.pop("client_order_id", None), fields.pop("position_intent", "")
        order = NewOrder(make_spec(symbol, side, quantity, **fields), client_order_id, intent)
        return self.exchange.submit(self.now_ns, order)

    def hold(self, symbol: str, quantity: Any, price: float) -> None:
        """Buy (or, negative, sell short) at a price, and forget the events."""
        self.quote(symbol, price, price, size=1e6)
        number = Decimal(str(quantity))
        order = self.buy(symbol, number) if number > 0 else self.sell(symbol, -number)
        assert self.order(order).status == "filled"
        self.events()

    def change(self, order: ExchangeOrder, client_order_id: str | None = None, **changes: Any) -> ExchangeOrder:
        self.wait()
        tif = changes.pop("tif", None)
        numbers = {name: Decimal(str(value)) for name, value in changes.items()}
        wanted = OrderChanges(time_in_force=None if tif is None else TimeInForce(tif), **numbers)
        return self.exchange.replace(self.now_ns, order.id, wanted, client_order_id)

    def cancel(self, order: ExchangeOrder) -> None:
        self.wait()
        self.exchange.cancel(self.now_ns, order.id)

    def order(self, order: ExchangeOrder) -> ExchangeOrder:
        """The same order as it stands now, with its legs."""
        return self.exchange.order(order.id, nested=True)

    def status(self, order: ExchangeOrder) -> str:
        return self.exchange.order(order.id).status.value

    def updates(self) -> list[TradeUpdate]:
        return self.exchange.drain_updates()

    def events(self) -> list[str]:
        """The words of the updates since the last call."""
        return [update.event for update in self.updates()]

    def fills(self) -> list[tuple[str, str]]:
        """Quantity and price of the executions since the last call."""
        return [(str(u.quantity), str(u.price)) for u in self.updates() if u.price is not None]

    def held(self, symbol: str) -> Decimal:
        found = [p.quantity for p in self.exchange.positions(self.now_ns) if p.symbol == symbol]
        return found[0] if found else Decimal(0)

    @property
    def cash(self) -> Decimal:
        return self.exchange.account(self.now_ns).cash

    @property
    def reserved(self) -> Decimal:
        """What open orders bind: equity less initial margin less what is free."""
        account = self.exchange.account(self.now_ns)
        assert account.initial_margin is not None
        assert account.non_marginable_buying_power is not None
        return account.equity - account.initial_margin - account.non_marginable_buying_power


def refused(code: int, message: str) -> Any:
    """The block raises this refusal; `.value.extra` has its further members."""
    return pytest.raises(Refusal, check=lambda refusal: (refusal.code, refusal.message) == (code, message))
