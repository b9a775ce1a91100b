"""Order routes: `/v2/orders` and what stands under it."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.domain.types import AssetClass, OrderSide
from gateway.emulator.exchange.refusals import field_invalid
from gateway.emulator.floor import TradingFloor
from gateway.emulator.rest.answers import (
    answer,
    empty,
    int_of,
    json_body,
    list_of,
    switch_of,
    text_of,
    time_of,
    word_of,
)
from gateway.emulator.wire_trading import new_order_from_json, order_changes_from_json, order_json

ORDERS_PAGE_DEFAULT: Final = 50
ORDERS_PAGE_MAX: Final = 500


class OrderRoutes:
    """Orders over HTTP."""

    def __init__(self, floor: TradingFloor) -> None:
        self._floor = floor

    def routes(self) -> list[Route]:
        """The routes, the busiest first."""
        return [
            Route("/v2/orders", self.submit, methods=["POST"]),
            Route("/v2/orders", self.find, methods=["GET"]),
            Route("/v2/orders:by_client_order_id", self.by_client_order_id, methods=["GET"]),
            Route("/v2/orders", self.cancel_all, methods=["DELETE"]),
            Route("/v2/orders/{order_id}", self.get, methods=["GET"]),
            Route("/v2/orders/{order_id}", self.replace, methods=["PATCH"]),
            Route("/v2/orders/{order_id}", self.cancel, methods=["DELETE"]),
        ]

    async def submit(self, request: Request) -> Response:
        """POST /v2/orders."""
        body, raw = await json_body(request)
        order = new_order_from_json(body)
        with self._floor.command() as now_ns:
            accepted = self._floor.exchange.submit(now_ns, order, raw=raw)
        return answer(order_json(accepted))

    async def find(self, request: Request) -> Response:
        """GET /v2/orders."""
        side = text_of(request, "side")
        if side not in ("", "buy", "sell"):
            raise field_invalid("side")
        self._floor.now()
        orders = self._floor.exchange.orders(
            status=word_of(request, "status", ("open", "closed", "all")),
            limit=int_of(request, "limit", ORDERS_PAGE_DEFAULT, least=1, most=ORDERS_PAGE_MAX),
            after_ns=time_of(request, "after"),
            until_ns=time_of(request, "until"),
            direction=word_of(request, "direction", ("desc", "asc")),
            side=OrderSide(side) if side else None,
            symbols=list_of(request, "symbols") or None,
            asset_classes=_asset_classes(list_of(request, "asset_class")),
            before_order_id=text_of(request, "before_order_id") or None,
            after_order_id=text_of(request, "after_order_id") or None,
            nested=switch_of(request, "nested"),
        )
        return answer([order_json(order) for order in orders])

    async def get(self, request: Request) -> Response:
        """GET /v2/orders/{id}."""
        self._floor.now()
        order = self._floor.exchange.order(request.path_params["order_id"], nested=switch_of(request, "nested"))
        return answer(order_json(order))

    async def by_client_order_id(self, request: Request) -> Response:
        """GET /v2/orders:by_client_order_id."""
        self._floor.now()
        return answer(order_json(self._floor.exchange.order_by_client_id(text_of(request, "client_order_id"))))

    async def replace(self, request: Request) -> Response:
        """PATCH /v2/orders/{id}: the answer is the new order."""
        body, raw = await json_body(request)
        changes, client_order_id = order_changes_from_json(body)
        with self._floor.command() as now_ns:
            order = self._floor.exchange.replace(
                now_ns, request.path_params["order_id"], changes, client_order_id, raw=raw
            )
        return answer(order_json(order))

    async def cancel(self, request: Request) -> Response:
        """DELETE /v2/orders/{id}: 204."""
        with self._floor.command() as now_ns:
            self._floor.exchange.cancel(now_ns, request.path_params["order_id"])
        return empty()

    async def cancel_all(self, request: Request) -> Response:
        """DELETE /v2/orders: 207 with one entry for each."""
        with self._floor.command() as now_ns:
            canceled = self._floor.exchange.cancel_all(now_ns)
        entries = []
        for entry in canceled:
            order = order_json(self._floor.exchange.order(entry.order_id))
            entries.append({"id": entry.order_id, "status": entry.status, "body": order})
        return answer(entries, 207)


def _asset_classes(words: list[str]) -> list[AssetClass] | None:
    """The classes asked for; `all` and absence mean every one."""
    if not words or "all" in words:
        return None
    try:
        return [AssetClass(word) for word in words]
    except ValueError:
        raise field_invalid("asset_class") from None
