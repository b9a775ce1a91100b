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
from gateway.emulator.fault_desk import FaultDesk
from gateway.emulator.faults import Faults
from gateway.emulator.floor import TradingFloor
from gateway.emulator.later import Later, Sleep
from gateway.emulator.record import Record
from gateway.emulator.rest.account import AccountRoutes
from gateway.emulator.rest.answers import HttpError, answer, refused
from gateway.emulator.rest.control import ControlRoutes
from gateway.emulator.rest.gate import Credentials, Gate, RateLimit
from gateway.emulator.rest.market_data import MarketDataRoutes
from gateway.emulator.rest.options import OptionRoutes
from gateway.emulator.rest.orders import OrderRoutes
from gateway.emulator.rest.positions import PositionRoutes
from gateway.emulator.rest.record import RecordRoutes
from gateway.emulator.rest.reference import ReferenceRoutes
from gateway.emulator.sockets import DATA_FEED_OF_PATH, Sockets
from gateway.emulator.streams.data import DataEndpoint, StreamSettings
from gateway.emulator.streams.hub import DataHub
from gateway.emulator.streams.order_faults import OrderEvents
from gateway.emulator.streams.orders import ORDERS_PATH, OrderEndpoint
from gateway.emulator.witness import OrderWitness


@dataclass(frozen=True, slots=True)
class App:
    """The application, which is its gate, and the parts that a test may look at; `routes` are those of REST."""

    desk: FaultDesk
    sockets: Sockets
    gate: Gate
    later: Later
    routes: tuple[Route, ...]


def make_app(
    floor: TradingFloor,
    *,
    credentials: Credentials,
    rate_limit: int,
    settings: StreamSettings,
    legacy_fields: bool,
    clock: Callable[[], int],
    sleep: Sleep,
    record: Record,
    tape: str,
) -> App:
    """Join everything: `sleep` waits for seconds of `clock`; `tape` is what the market plays, empty for none."""
    faults = Faults(record, clock)
    later = Later(sleep)
    hub = DataHub(floor.market, floor.options)
    data = DataEndpoint(hub, settings, credentials.accepted, floor.begin)
    events = OrderEvents(faults, record, later)
    orders = OrderEndpoint(settings, credentials.accepted, events)
    sockets = Sockets(hub, orders, faults, later)
    desk = FaultDesk(faults, floor, hub, sockets, events, later)
    data.on_joined = orders.on_joined = sockets.joined
    data.is_crowded = orders.is_crowded = sockets.is_crowded
    data.refuses = orders.refuses = sockets.refuses
    floor.witness = OrderWitness(record, floor.exchange).look
    floor.listen(hub)
    floor.listen(orders)
    control = ControlRoutes(floor, desk, sockets, events, later, record, tape)
    routes = (
        *OrderRoutes(floor).routes(),
        *PositionRoutes(floor).routes(),
        *AccountRoutes(floor, legacy=legacy_fields).routes(),
        *ReferenceRoutes(floor).routes(),
        *MarketDataRoutes(floor, has_sip="/v2/sip" not in settings.refused_paths).routes(),
        *OptionRoutes(floor, has_opra="/v1beta1/opra" not in settings.refused_paths).routes(),
        *control.routes(),
        *RecordRoutes(record, floor.exchange.ledger).routes(),
    )
    control.gate = Gate(
        _served(routes, data, orders),
        credentials,
        RateLimit(rate_limit, clock),
        faults,
        record=record,
        exchange=floor.exchange,
        later=later,
        clock=clock,
    )
    return App(desk, sockets, control.gate, later, routes)


def _served(routes: tuple[Route, ...], data: DataEndpoint, orders: OrderEndpoint) -> ASGIApp:
    """Routes and sockets, and what their errors are told as."""
    return Starlette(
        routes=[
            *routes,
            *(WebSocketRoute(path, data.serve) for path in DATA_FEED_OF_PATH),
            WebSocketRoute(ORDERS_PATH, orders.serve),
        ],
        exception_handlers={
            Refusal: _on_refusal,
            HttpError: _on_http_error,
            HTTPException: _on_no_route,
            Exception: _on_bug,
        },
    )


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
