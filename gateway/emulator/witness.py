"""Writes down what happens to orders, for the record: it looks at the exchange alone, not at what anybody is told.

Promises: every order has an entry from its beginning on, also one that no event tells of (a leg that waits for its
parent, an order outside the hours); every event of an order has one, with the status right after it; every execution
has one.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.domain.models.simulation import LedgerKind
from gateway.domain.types import format_decimal
from gateway.emulator.exchange import ExchangeOrder, SimulatedExchange, TradeUpdate
from gateway.emulator.record import Record


class OrderWitness:
    """ORDER and EXECUTION entries of one exchange, from now on."""

    def __init__(self, record: Record, exchange: SimulatedExchange) -> None:
        self._record = record
        self._exchange = exchange
        self._known = exchange.counts[0]

    def look(self, updates: Sequence[TradeUpdate]) -> None:
        """What the exchange did since the last look, and what it says of it."""
        for update in updates:
            self._note(update.order)
            if update.price is not None and update.quantity is not None:
                self._record.add(
                    LedgerKind.EXECUTION,
                    venue_order_id=update.order.id,
                    venue_client_order_id=update.order.client_order_id,
                    symbol=update.order.symbol,
                    side=update.order.side.value,
                    quantity=format_decimal(update.quantity),
                    price=format_decimal(update.price),
                )
        if self._exchange.counts[0] > self._known:
            self._note_silent({update.order.id for update in updates})

    def _note_silent(self, told: set[str]) -> None:
        """New orders that no event told of."""
        for order in self._exchange.orders_after(self._known):
            if order.id not in told:
                self._note(order)
        self._known = self._exchange.counts[0]

    def _note(self, order: ExchangeOrder) -> None:
        self._record.add(
            LedgerKind.ORDER,
            venue_order_id=order.id,
            venue_client_order_id=order.client_order_id,
            symbol=order.symbol,
            side=order.side.value,
            venue_status=order.status.value,
        )
