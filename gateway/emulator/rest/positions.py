"""Position routes: `/v2/positions`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.emulator.exchange import PositionClosed
from gateway.emulator.floor import TradingFloor
from gateway.emulator.rest.answers import answer, switch_of
from gateway.emulator.wire import JsonObject
from gateway.emulator.wire_account import position_json
from gateway.emulator.wire_trading import number, order_json, refusal_json


class PositionRoutes:
    """Positions over HTTP. A symbol in a path may have its slash: `/v2/positions/BTC/USD` is accepted."""

    def __init__(self, floor: TradingFloor) -> None:
        self._floor = floor

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            Route("/v2/positions", self.find, methods=["GET"]),
            Route("/v2/positions", self.close_all, methods=["DELETE"]),
            Route("/v2/positions/{symbol:path}", self.get, methods=["GET"]),
            Route("/v2/positions/{symbol:path}", self.close, methods=["DELETE"]),
        ]

    async def find(self, request: Request) -> Response:
        """GET /v2/positions."""
        now_ns = self._floor.now()
        return answer([position_json(position) for position in self._floor.exchange.positions(now_ns)])

    async def get(self, request: Request) -> Response:
        """GET /v2/positions/{symbol or asset id}."""
        now_ns = self._floor.now()
        return answer(position_json(self._floor.exchange.position(now_ns, request.path_params["symbol"])))

    async def close(self, request: Request) -> Response:
        """DELETE /v2/positions/{symbol or asset id}: an order that ends it, or a part of it."""
        quantity = number(request.query_params, "qty")
        percentage = number(request.query_params, "percentage")
        with self._floor.command() as now_ns:
            order = self._floor.exchange.close_position(
                now_ns, request.path_params["symbol"], quantity=quantity, percentage=percentage
            )
        return answer(order_json(order))

    async def close_all(self, request: Request) -> Response:
        """DELETE /v2/positions: 207 with one entry for each."""
        cancel_orders = switch_of(request, "cancel_orders")
        with self._floor.command() as now_ns:
            closed = self._floor.exchange.close_positions(now_ns, cancel_orders=cancel_orders)
        return answer([_closed_json(entry) for entry in closed], 207)


def _closed_json(entry: PositionClosed) -> JsonObject:
    body: JsonObject = {}
    if entry.order is not None:
        body = order_json(entry.order)
    elif entry.refusal is not None:
        body = refusal_json(entry.refusal)
    return {"symbol": entry.symbol, "status": entry.status, "body": body}
