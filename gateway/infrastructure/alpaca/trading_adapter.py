"""TradingRepository on alpaca-py: orders at Alpaca.

Each method is one request, sent once. Bodies are built here with decimals as strings, answers are read
tolerantly. It never retries, judges or caches; whether an answer speaks of the order that was sent is the application
room's to see, and looking an unknown outcome up is the resolver's.
"""

from __future__ import annotations

from typing import Final

from gateway.domain.errors import OrderNotFound, OrderRejected, SymbolUnknown
from gateway.domain.interfaces import VenueOrderFilter
from gateway.domain.models.orders import OrderChanges, OrderSpec, VenueOrder
from gateway.domain.models.risk import CancelAnswer
from gateway.domain.types import CallContext, TwoWay, is_symbol
from gateway.infrastructure.alpaca.clients import ClientFactory
from gateway.infrastructure.alpaca.converters.errors import cancel_error, is_not_found
from gateway.infrastructure.alpaca.converters.fields import (
    JsonObject,
    Unreadable,
    as_list,
    exact_json,
    format_time,
    uuid_or_none,
)
from gateway.infrastructure.alpaca.converters.orders import (
    changes_to_alpaca,
    listed_order_from_alpaca,
    order_from_alpaca,
    spec_to_alpaca,
)
from gateway.infrastructure.alpaca.transport import Answer

ORDERS_PER_PAGE_MAX: Final = 500

ORDER_FILTER: Final = TwoWay(
    {VenueOrderFilter.OPEN: "open", VenueOrderFilter.CLOSED: "closed", VenueOrderFilter.ALL: "all"}
)


class TradingAdapter:
    """Orders at Alpaca.

    Args:
        factory: Gives the client, and the road to it.
    """

    def __init__(self, factory: ClientFactory) -> None:
        self._factory = factory
        self._road = factory.road

    async def submit_order(self, context: CallContext, venue_client_order_id: str, spec: OrderSpec) -> VenueOrder:
        """POST /v2/orders, once."""
        if not is_symbol(spec.symbol):
            raise SymbolUnknown("no asset is spelled like this")
        client = self._factory.trading()
        body = spec_to_alpaca(spec, venue_client_order_id)
        return await self._road.change(
            context,
            lambda: client.post("/orders", body),
            self._road.changing(_answered_order_of),
            guarded_id=venue_client_order_id,
        )

    async def replace_order(
        self, context: CallContext, venue_order_id: str, venue_client_order_id: str, changes: OrderChanges
    ) -> VenueOrder:
        """PATCH /v2/orders/{id}, once; a 404 is OrderRejected, as only the venue can say so of a change."""
        order_id = uuid_or_none(venue_order_id)
        if order_id is None:
            raise OrderRejected(
                "the venue has no order with such an id; nothing was sent",
                metadata={"venue_http_status": "404", "venue_code": "0", "venue_message": "not asked: no venue id"},
            )
        client = self._factory.trading()
        body = changes_to_alpaca(changes, venue_client_order_id)
        return await self._road.change(
            context,
            lambda: client.patch(f"/orders/{order_id}", body),
            self._road.changing(_answered_order_of),
            guarded_id=venue_client_order_id,
        )

    async def cancel_order(self, context: CallContext, venue_order_id: str) -> None:
        """DELETE /v2/orders/{id}; any 2xx means asked."""
        order_id = _checked_id(venue_order_id)
        client = self._factory.trading()
        try:
            await self._road.change(
                context, lambda: client.delete(f"/orders/{order_id}"), self._road.changing(lambda _answer: None)
            )
        except OrderRejected as error:
            raise cancel_error(error) from error

    async def cancel_all_orders(self, context: CallContext) -> list[CancelAnswer]:
        """DELETE /v2/orders: 207 with one entry for each open order."""
        client = self._factory.trading()
        return await self._road.change(
            context, lambda: client.delete("/orders"), self._road.changing(_cancel_answers_of)
        )

    async def get_order(self, context: CallContext, venue_order_id: str) -> VenueOrder:
        """GET /v2/orders/{id}, legs nested."""
        order_id = _checked_id(venue_order_id)
        found = await self._road.read(
            context, self._factory.trading(), f"/orders/{order_id}", {"nested": "true"}, self._found_order
        )
        if found is None:
            raise OrderNotFound("the venue does not know this order")
        return found

    async def find_order(self, context: CallContext, venue_client_order_id: str) -> VenueOrder | None:
        """GET /v2/orders:by_client_order_id; None only if the venue itself says that it does not know the id."""
        return await self._road.read(
            context,
            self._factory.trading(),
            "/orders:by_client_order_id",
            {"client_order_id": venue_client_order_id, "nested": "true"},
            self._found_order,
        )

    async def list_orders(
        self,
        context: CallContext,
        status: VenueOrderFilter,
        *,
        after_ns: int | None = None,
        until_ns: int | None = None,
        oldest_first: bool = False,
        limit: int = ORDERS_PER_PAGE_MAX,
    ) -> list[VenueOrder]:
        """GET /v2/orders: one page; who wants more asks again from the last submit time."""
        params: JsonObject = {
            "status": ORDER_FILTER[status],
            "limit": str(max(1, min(limit, ORDERS_PER_PAGE_MAX))),
            "direction": "asc" if oldest_first else "desc",
            "nested": "true",
        }
        if after_ns is not None:
            params["after"] = format_time(after_ns)
        if until_ns is not None:
            params["until"] = format_time(until_ns)
        return await self._road.read(
            context, self._factory.trading(), "/orders", params, self._road.reading(_orders_of)
        )

    def _found_order(self, answer: Answer) -> VenueOrder | None:
        if is_not_found(answer.status, answer.body):
            return None
        return self._road.reading(_order_of)(answer)


def _order_of(answer: Answer) -> VenueOrder:
    return order_from_alpaca(exact_json(answer.body), venue_request_id=answer.request_id)


def _answered_order_of(answer: Answer) -> VenueOrder:
    order = _order_of(answer)
    if not order.venue_client_order_id:
        raise Unreadable("the answer does not say which order it speaks of")
    return order


def _orders_of(answer: Answer) -> list[VenueOrder]:
    orders = as_list(exact_json(answer.body), "orders")
    if len(orders) > ORDERS_PER_PAGE_MAX:
        raise Unreadable("more orders than a page holds")
    return [listed_order_from_alpaca(order, venue_request_id=answer.request_id) for order in orders]


def _cancel_answers_of(answer: Answer) -> list[CancelAnswer]:
    """The entries that can be read. None of them decides anything: who asked looks at what is still open."""
    if not answer.body:
        return []
    found = []
    for entry in as_list(exact_json(answer.body), "orders"):
        order_id, status = (entry.get("id"), entry.get("status")) if isinstance(entry, dict) else (None, None)
        if isinstance(order_id, str) and uuid_or_none(order_id) is not None and type(status) is int:
            found.append(CancelAnswer(order_id, status))
    return found


def _checked_id(venue_order_id: str) -> str:
    order_id = uuid_or_none(venue_order_id)
    if order_id is None:
        raise OrderNotFound("the venue does not know this order")
    return order_id
