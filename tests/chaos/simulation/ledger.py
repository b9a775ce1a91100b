"""The record B of a simulated run: what arrived at the exchange and what came of it, written beside the exchange.

It is written by what stands between the road and the exchange, in Alpaca's words, and knows nothing of the gateway.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from gateway.domain.models.orders import OrderSpec
from gateway.domain.types import OrderClass
from gateway.emulator.exchange import ExchangeOrder, TradeUpdate

Json = dict[str, Any]


class RecordB:
    """Lines, as `tests.chaos.checker` reads them.

    Args:
        wall: Simulated nanoseconds since the Unix epoch.
    """

    def __init__(self, wall: Callable[[], int]) -> None:
        self._wall = wall
        self._known: dict[str, None] = {}
        self.lines: list[Json] = []

    @property
    def order_ids(self) -> list[str]:
        """Every order that ever stood at the venue, by the venue's id."""
        return list(self._known)

    def now(self) -> int:
        """The simulated wall clock, ns."""
        return self._wall()

    def request(self, route: str, client_id: str, body: Json, left_ns: int, journal_head: int) -> None:
        """A request has arrived, whole.

        Args:
            left_ns: When its first byte left: it may have been under way for long.
            journal_head: What was durable then.
        """
        self._add("REQUEST", route=route, venue_client_order_id=client_id, body=body, journal_head=journal_head)
        self.lines[-1]["time_ns"] = left_ns

    def fault(self, name: str) -> None:
        """Something has gone wrong."""
        self._add("FAULT", fault_id=name, body={"fault": name})

    def order(self, order: ExchangeOrder) -> None:
        """An order stands at the venue like this."""
        body = {}
        if order.id not in self._known:
            self._known[order.id] = None
            body = {"body": order_in_alpacas_words(order)}
        self._add(
            "ORDER",
            venue_order_id=order.id,
            venue_client_order_id=order.client_order_id,
            symbol=order.symbol,
            side=order.side.value,
            venue_status=order.status.value,
            **body,
        )
        for leg in order.legs or ():
            self.order(leg)

    def on_updates(self, updates: Sequence[TradeUpdate]) -> None:
        """The exchange's own news."""
        for update in updates:
            self.order(update.order)
            if update.price is not None and update.quantity is not None:
                self._add(
                    "EXECUTION",
                    venue_order_id=update.order.id,
                    venue_client_order_id=update.order.client_order_id,
                    symbol=update.order.symbol,
                    side=update.order.side.value,
                    quantity=str(update.quantity),
                    price=str(update.price),
                )

    def on_events(self, events: Sequence[Any]) -> None:
        """Prices are no part of the record."""

    def _add(self, kind: str, **fields: Any) -> None:
        self.lines.append({"sequence": len(self.lines) + 1, "time_ns": self._wall(), "kind": kind, **fields})


def spec_in_alpacas_words(spec: OrderSpec, client_id: str) -> Json:
    """The body of POST /v2/orders."""
    body: Json = {
        "symbol": spec.symbol,
        "side": spec.side.value,
        "type": spec.order_type.value,
        "time_in_force": spec.time_in_force.value,
        "client_order_id": client_id,
        **_numbers(spec),
    }
    if spec.order_class is not OrderClass.SIMPLE:
        body["order_class"] = spec.order_class.value
    if spec.take_profit is not None:
        body["take_profit"] = {"limit_price": _text(spec.take_profit.limit_price)}
    if spec.stop_loss is not None:
        loss = {"stop_price": _text(spec.stop_loss.stop_price), "limit_price": _text(spec.stop_loss.limit_price)}
        body["stop_loss"] = {name: value for name, value in loss.items() if value is not None}
    return body


def order_in_alpacas_words(order: ExchangeOrder) -> Json:
    """What an order asks for, as Alpaca shows orders."""
    body: Json = {
        "client_order_id": order.client_order_id,
        "symbol": order.symbol,
        "side": order.side.value,
        "type": order.order_type.value,
        "time_in_force": order.time_in_force.value,
        **_numbers(order),
    }
    if order.order_class is not OrderClass.SIMPLE:
        body["order_class"] = order.order_class.value
    if order.legs:
        body["legs"] = [order_in_alpacas_words(leg) for leg in order.legs]
    return body


def _numbers(order: OrderSpec | ExchangeOrder) -> Json:
    found = {
        "qty": order.quantity,
        "notional": order.notional,
        "limit_price": order.limit_price,
        "stop_price": order.stop_price,
        "trail_price": order.trail_price,
        "trail_percent": order.trail_percent,
    }
    return {name: _text(value) for name, value in found.items() if value is not None}


def _text(value: Decimal | None) -> str | None:
    return None if value is None else format(value, "f")
