"""Every order that there ever was, found by its ids, by symbol and by query.

Promises: a client_order_id belongs to one order for ever; queries answer in order of submission and stop as soon as
they have enough. Bounded by ORDERS_MAX: past it no order is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from gateway.domain.types import AssetClass, OrderSide
from gateway.emulator.exchange.orders import ExchangeOrder
from gateway.emulator.exchange.refusals import client_order_id_taken, field_invalid, not_allowed, order_not_found

ORDERS_MAX: Final = 2_000_000
PAGE_MAX: Final = 500
STATUSES: Final = ("open", "closed", "all")
DIRECTIONS: Final = ("asc", "desc")


@dataclass(frozen=True, slots=True)
class OrderQuery:
    """The filters of GET /v2/orders; time bounds are exclusive, and so are the ids of other orders."""

    status: str = "open"
    limit: int = 50
    after_ns: int | None = None
    until_ns: int | None = None
    direction: str = "desc"
    side: OrderSide | None = None
    symbols: Collection[str] | None = None
    asset_classes: Collection[AssetClass] | None = None
    before_order_id: str | None = None
    after_order_id: str | None = None
    nested: bool = False


class OrderStore:
    """The orders of the account."""

    def __init__(self) -> None:
        self._by_id: dict[str, ExchangeOrder] = {}
        self._by_client_id: dict[str, str | None] = {}
        self._open: dict[str, ExchangeOrder] = {}
        self._open_sides: dict[tuple[str, OrderSide], dict[str, ExchangeOrder]] = {}
        self._submitted: list[ExchangeOrder] = []

    @property
    def next_sequence(self) -> int:
        """Of the order that will be added next."""
        return len(self._submitted) + 1

    def add(self, order: ExchangeOrder) -> None:
        """Keep a new open order."""
        assert order.sequence == self.next_sequence
        self._submitted.append(order)
        self._by_id[order.id] = self._open[order.id] = order
        self._by_client_id[order.client_order_id] = order.id
        self._open_sides.setdefault((order.symbol, order.side), {})[order.id] = order

    def close(self, order: ExchangeOrder) -> None:
        """The order is terminal."""
        assert not order.is_open
        del self._open[order.id]
        del self._open_sides[order.symbol, order.side][order.id]

    def use_up(self, client_order_id: str) -> None:
        """No order may have this id any more, though none has it."""
        self._by_client_id.setdefault(client_order_id, None)

    def require_unused(self, client_order_id: str) -> None:
        """Refuse an id that is taken."""
        if client_order_id in self._by_client_id:
            raise client_order_id_taken()

    def require_room(self, count: int) -> None:
        """Refuse what would pass ORDERS_MAX."""
        if len(self._submitted) + count > ORDERS_MAX:
            raise not_allowed(f"the simulated exchange holds {ORDERS_MAX} orders and takes no more")

    def get(self, order_id: str) -> ExchangeOrder:
        """By id; Refusal 40410000."""
        order = self._by_id.get(order_id)
        if order is None:
            raise order_not_found(order_id)
        return order

    def get_by_client_id(self, client_order_id: str) -> ExchangeOrder:
        """By the client's id; Refusal 40410000."""
        order_id = self._by_client_id.get(client_order_id)
        if order_id is None:
            raise order_not_found()
        return self._by_id[order_id]

    def id_of(self, client_order_id: str) -> str:
        """An order's id by its client's; empty when there is none."""
        return self._by_client_id.get(client_order_id) or ""

    def symbol_of(self, order_id: str) -> str | None:
        """The symbol of an order, if it is known."""
        order = self._by_id.get(order_id)
        return None if order is None else order.symbol

    def open_orders(self) -> list[ExchangeOrder]:
        """All that are not terminal, oldest first."""
        return list(self._open.values())

    def open_of(self, symbol: str, side: OrderSide) -> list[ExchangeOrder]:
        """Those of one symbol and side, oldest first."""
        return list(self._open_sides.get((symbol, side), {}).values())

    def __iter__(self) -> Iterator[ExchangeOrder]:
        return iter(self._submitted)

    def after(self, count: int) -> list[ExchangeOrder]:
        """Those after the first so many."""
        return self._submitted[count:]

    def find(self, query: OrderQuery) -> list[ExchangeOrder]:
        """The orders that a query asks for; legs are left out when it wants them nested.

        Raises:
            Refusal: A filter cannot be understood.
        """
        if query.status not in STATUSES:
            raise field_invalid("status")
        if query.direction not in DIRECTIONS:
            raise field_invalid("direction")
        if not 1 <= query.limit <= PAGE_MAX:
            raise field_invalid("limit")
        matches = self._matcher(query)
        found: list[ExchangeOrder] = []
        for order in self._candidates(query):
            if matches(order):
                found.append(order)
                if len(found) == query.limit:
                    break
        return found

    def _candidates(self, query: OrderQuery) -> Iterable[ExchangeOrder]:
        """In the wanted direction, from the first that can match."""
        if query.status == "open" and not query.nested:
            orders = list(self._open.values())
            return reversed(orders) if query.direction == "desc" else orders
        return reversed(self._submitted) if query.direction == "desc" else self._submitted

    def _matcher(self, query: OrderQuery) -> Callable[[ExchangeOrder], bool]:
        before = self.get(query.before_order_id).sequence if query.before_order_id else None
        after = self.get(query.after_order_id).sequence if query.after_order_id else None

        def matches(order: ExchangeOrder) -> bool:
            return (
                (query.after_ns is None or order.submitted_ns > query.after_ns)
                and (query.until_ns is None or order.submitted_ns < query.until_ns)
                and (before is None or order.sequence < before)
                and (after is None or order.sequence > after)
                and self._is_wanted(order, query)
            )

        return matches

    def _is_wanted(self, order: ExchangeOrder, query: OrderQuery) -> bool:
        if query.nested and order.parent_id is not None:
            return False
        if query.status != "all" and self._counts_as_open(order, query.nested) != (query.status == "open"):
            return False
        return (
            (query.side is None or order.side is query.side)
            and (query.symbols is None or order.symbol in query.symbols)
            and (query.asset_classes is None or order.asset_class in query.asset_classes)
        )

    def _counts_as_open(self, order: ExchangeOrder, nested: bool) -> bool:
        """Nested, a family is open while any of its orders is."""
        if order.is_open:
            return True
        return nested and any(self._by_id[leg_id].is_open for leg_id in order.leg_ids)
