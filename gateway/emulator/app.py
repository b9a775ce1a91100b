"""One ASGI application of all routes and sockets over one floor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp

from gateway.emulator.exchange import Refusal
from gateway.emulator.faults import FaultKind, Faults, with_unknown_status
from gateway.emulator.floor import TradingFloor
from gateway.emulator.rest.account import AccountRoutes
from gateway.emulator.rest.answers import HttpError, answer, refused
from gateway.emulator.rest.control import ControlRoutes
from gateway.emulator.rest.gate import Credentials, Gate, RateLimit
from gateway.emulator.rest.market_data import MarketDataRoutes
from gateway.emulator.rest.orders import OrderRoutes
from gateway.emulator.rest.positions import PositionRoutes
from gateway.emulator.rest.record import RecordRoutes
from gateway.emulator.rest.reference import ReferenceRoutes
from gateway.emulator.sockets import Sockets
from gateway.emulator.streams.data import DataEndpoint, StreamSettings
from gateway.emulator.streams.hub import DataHub
from gateway.emulator.streams.orders import ORDERS_PATH, OrderEndpoint
from gateway.emulator.wire import JsonObject

DATA_PATHS = ("/v2/iex", "/v2/sip", "/v1beta3/crypto/us")


@dataclass(frozen=True, slots=True)
class App:
    """The application and the parts that a test may look at; `routes` are those of REST."""

    asgi: ASGIApp
    faults: Faults
    sockets: Sockets
    gate: Gate
    routes: tuple[Route, ...]


def make_app(
    floor: TradingFloor,
    *,
    credentials: Credentials,
    rate_limit: int,
    settings: StreamSettings,
    legacy_fields: bool,
    clock: Callable[[], int],
) -> App:
    """Join everything."""
    faults = Faults()
    hub = DataHub(floor.market)
    data = DataEndpoint(hub, settings, credentials.accepted, floor.begin)
    orders = OrderEndpoint(settings, credentials.accepted, _altering(faults))
    sockets = Sockets(hub, orders, faults)
    data.on_joined = orders.on_joined = sockets.joined
    floor.listen(hub)
    floor.listen(orders)
    control = ControlRoutes(floor, faults, sockets)
    routes = (
        *OrderRoutes(floor).routes(),
        *PositionRoutes(floor).routes(),
        *AccountRoutes(floor, legacy=legacy_fields).routes(),
        *ReferenceRoutes(floor).routes(),
        *MarketDataRoutes(floor).routes(),
        *control.routes(),
        *RecordRoutes(floor.exchange.ledger).routes(),
    )
    starlette = Starlette(
        routes=[
            *routes,
            *(WebSocketRoute(path, data.serve) for path in DATA_PATHS),
            WebSocketRoute(ORDERS_PATH, orders.serve),
        ],
        exception_handlers={
            Refusal: _on_refusal,
            HttpError: _on_http_error,
            HTTPException: _on_no_route,
            Exception: _on_bug,
        },
    )
    control.gate = Gate(starlette, credentials, RateLimit(rate_limit, clock), faults)
    return App(control.gate, faults, sockets, control.gate, routes)


def _altering(faults: Faults) -> Callable[[JsonObject], JsonObject]:
    """Order events pass here on their way out."""

    def alter(data: JsonObject) -> JsonObject:
        if faults.waiting and faults.take((FaultKind.UNKNOWN_STATUS,), ORDERS_PATH):
            return {**data, "order": with_unknown_status(data["order"])}
        return data

    return alter


async def _on_refusal(request: Request, error: Exception) -> Response:  # noqa: ARG001 - a handler's shape
    assert isinstance(error, Refusal)
    return refused(error)


async def _on_http_error(request: Request, error: Exception) -> Response:  # noqa: ARG001 - a handler's shape
    assert isinstance(error, HttpError)
    return answer(error.body, error.status)


async def _on_no_route(request: Request, error: Exception) -> Response:  # noqa: ARG001 - a handler's shape
    assert isinstance(error, HTTPException)
    return answer({"code": error.status_code * 100_000, "message": "endpoint not found"}, error.status_code)


async def _on_bug(request: Request, error: Exception) -> Response:  # noqa: ARG001 - a handler's shape
    """Something of ours is broken, or the ledger takes no more; the error itself is logged by the server."""
    return answer({"code": 50010000, "message": "internal server error occurred"}, 500)
