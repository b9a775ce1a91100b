"""The emulator's own routes, `/emulator/v1/`, for loopback alone: faults, and what really happened.

| route | what |
|---|---|
| `GET /emulator/v1/status` | clock, account, market, sockets, requests by route; what is late; faults waiting |
| `GET /emulator/v1/faults` | every fault since the last clearing, with how often it fired |
| `POST /emulator/v1/faults` | order one: `{"fault", "route", "symbol", "skip", "count", "delay_ms"}`, see `faults.py` |
| `GET /emulator/v1/faults/{id}` | one fault |
| `DELETE /emulator/v1/faults/{id}` | forget one; feeds that it muted speak again, its halt ends |
| `DELETE /emulator/v1/faults` | forget all |
| `GET /emulator/v1/connections` | open sockets: endpoint, key, what they listen to, frames sent |
| `GET /emulator/v1/requests` | how many requests came, by method and route |
| `DELETE /emulator/v1/requests` | count from zero |
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.domain.types import format_decimal
from gateway.emulator.fault_desk import FaultDesk
from gateway.emulator.faults import Fault, order_from_json
from gateway.emulator.floor import TradingFloor
from gateway.emulator.later import Later
from gateway.emulator.record import Record
from gateway.emulator.rest.answers import HttpError, answer, empty, json_body
from gateway.emulator.rest.gate import Gate
from gateway.emulator.rest.misbehavior import LATE_ARRIVAL
from gateway.emulator.sockets import Sockets
from gateway.emulator.streams.order_faults import OrderEvents
from gateway.emulator.tape import Tape
from gateway.emulator.wire import JsonObject


class ControlRoutes:
    """What a test or a demo may ask of the emulator itself."""

    def __init__(
        self,
        floor: TradingFloor,
        desk: FaultDesk,
        sockets: Sockets,
        events: OrderEvents,
        later: Later,
        record: Record,
        tape: str,
    ) -> None:
        self._floor = floor
        self._desk = desk
        self._faults = desk.faults
        self._sockets = sockets
        self._events = events
        self._later = later
        self._record = record
        self._tape = tape
        self.gate: Gate | None = None

    def routes(self) -> list[Route]:
        """The routes."""
        prefix = "/emulator/v1"
        return [
            Route(f"{prefix}/status", self.status, methods=["GET"]),
            Route(f"{prefix}/faults", self.list_faults, methods=["GET"]),
            Route(f"{prefix}/faults", self.add_fault, methods=["POST"]),
            Route(f"{prefix}/faults", self.clear_faults, methods=["DELETE"]),
            Route(f"{prefix}/faults/{{fault_id}}", self.get_fault, methods=["GET"]),
            Route(f"{prefix}/faults/{{fault_id}}", self.remove_fault, methods=["DELETE"]),
            Route(f"{prefix}/connections", self.connections, methods=["GET"]),
            Route(f"{prefix}/requests", self.requests, methods=["GET"]),
            Route(f"{prefix}/requests", self.clear_requests, methods=["DELETE"]),
        ]

    async def status(self, request: Request) -> Response:
        """GET /emulator/v1/status."""
        now_ns = self._floor.now()
        return answer(
            {
                "now_ns": now_ns,
                **self._account(),
                "symbols": list(self._floor.market.symbols),
                "tape": self._played(),
                "connections": len(self._sockets.open()),
                "messages_delivered": self._sockets.delivered,
                "requests": dict(self._counts()),
                "faults_waiting": self._faults.waiting,
                "late_arrivals": self._later.count(LATE_ARRIVAL),
                "late_events": self._events.held,
                "record_sequence": self._record.sequence,
                "record_is_full": self._record.is_full,
            }
        )

    def _account(self) -> JsonObject:
        exchange = self._floor.exchange
        orders, executions = exchange.counts
        return {
            "start_ns": exchange.created_ns,
            "seed": exchange.config.seed,
            "initial_cash": format_decimal(exchange.config.cash),
            "order_count": orders,
            "execution_count": executions,
        }

    def _played(self) -> JsonObject | None:
        market = self._floor.market
        if not isinstance(market, Tape):
            return None
        times = {"first_ns": market.first_ns, "start_ns": market.start_ns}
        return {"path": self._tape, "speed": str(market.speed), **times}

    async def list_faults(self, request: Request) -> Response:
        """GET /emulator/v1/faults."""
        return answer([fault.to_json() for fault in self._faults.all()])

    async def add_fault(self, request: Request) -> Response:
        """POST /emulator/v1/faults."""
        body, _ = await json_body(request)
        try:
            fault = self._desk.order(order_from_json(body))
        except ValueError as error:
            raise HttpError(422, {"message": str(error)}) from None
        return answer(fault.to_json(), 201)

    async def get_fault(self, request: Request) -> Response:
        """GET /emulator/v1/faults/{id}."""
        return answer(self._fault(request).to_json())

    async def remove_fault(self, request: Request) -> Response:
        """DELETE /emulator/v1/faults/{id}."""
        self._desk.remove(self._fault(request).fault_id)
        return empty()

    async def clear_faults(self, request: Request) -> Response:
        """DELETE /emulator/v1/faults."""
        self._desk.clear()
        return empty()

    async def connections(self, request: Request) -> Response:
        """GET /emulator/v1/connections."""
        return answer(self._sockets.describe())

    async def requests(self, request: Request) -> Response:
        """GET /emulator/v1/requests."""
        return answer(dict(self._counts()))

    async def clear_requests(self, request: Request) -> Response:
        """DELETE /emulator/v1/requests."""
        if self.gate is not None:
            self.gate.requests.clear()
        return empty()

    def _counts(self) -> dict[str, int]:
        return {} if self.gate is None else self.gate.requests

    def _fault(self, request: Request) -> Fault:
        fault = self._faults.get(request.path_params["fault_id"])
        if fault is None:
            raise HttpError(404, {"message": "no such fault"})
        return fault
