"""OrderManager: the projection of the journal and the one owner of an order's state."""

from __future__ import annotations

from gateway.domain.models.market_data import Page
from gateway.domain.models.orders import Order, OrderFilter, OrderRef


class OrderManager:
    """Answers questions about orders from memory."""

    def get(self, ref: OrderRef) -> Order:
        """One order by any of its ids; raises OrderNotFound."""
        raise NotImplementedError

    def legs(self, order: Order) -> tuple[Order, ...]:
        """Its legs, take-profit first."""
        raise NotImplementedError

    def list(self, wanted: OrderFilter, page_size: int, page_token: str) -> Page[Order]:
        """One page, newest first unless asked otherwise; raises PageTokenMismatch."""
        raise NotImplementedError
