"""The emulator's own routes, `/emulator/v1/`, for loopback alone: faults, and what really happened.

| route | what |
|---|---|
| `GET /emulator/v1/status` | clock, market, tape, sockets, requests by route, faults waiting |
| `GET /emulator/v1/faults` | every fault since the last clearing, with how often it fired |
| `POST /emulator/v1/faults` | order one: `{"kind", "match", "count", "skip", "delay_ms"}`, see `faults.py` |
| `GET /emulator/v1/faults/{id}` | one fault |
| `DELETE /emulator/v1/faults/{id}` | forget one; sockets that it muted speak again |
| `DELETE /emulator/v1/faults` | forget all |
| `GET /emulator/v1/connections` | open sockets: endpoint, key, what they listen to, frames sent |
| `GET /emulator/v1/requests` | how many requests came, by method and route |
| `DELETE /emulator/v1/requests` | count from zero |
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.emulator.faults import Fault, Faults
from gateway.emulator.floor import TradingFloor
from gateway.emulator.rest.answers import HttpError, answer, empty, json_body
from gateway.emulator.rest.gate import Gate
from gateway.emulator.sockets import Sockets
from gateway.emulator.tape import Tape


class ControlRoutes:
    """What a test or a demo may ask of the emulator itself."""

    def __init__(self, floor: TradingFloor, faults: Faults, sockets: Sockets) -> None:
        self._floor = floor
        self._faults = faults
        self._sockets = sockets
        self.gate: Gate | None = None

    def routes(self) -> list[Route]:
        """The routes."""
        prefix = "/emulator/v1"
        return [
            Route(f"{prefix}/status", self.status, methods=["GET"]),
            Route(f"{prefix}/faults", self.list_faults, methods=["GET"]),
            Route(f"{prefix}/faults", self.add_fault, methods=["POST"]),
            Route(f"{prefix}/faults", self.clear_faults, methods=["DELETE"]),
            Route(f"{prefix}/faults/{{fault_id:int}}", self.get_fault, methods=["GET"]),
            Route(f"{prefix}/faults/{{fault_id:int}}", self.remove_fault, methods=["DELETE"]),
            Route(f"{prefix}/connections", self.connections, methods=["GET"]),
            Route(f"{prefix}/requests", self.requests, methods=["GET"]),
            Route(f"{prefix}/requests", self.clear_requests, methods=["DELETE"]),
        ]

    async def status(self, request: Request) -> Response:
        """GET /emulator/v1/status."""
        market = self._floor.market
        tape = None
        if isinstance(market, Tape):
            tape = {"first_ns": market.first_ns, "start_ns": market.start_ns, "speed": str(market.speed)}
        return answer(
            {
                "now_ns": self._floor.now(),
                "symbols": list(market.symbols),
                "tape": tape,
                "connections": len(self._sockets.open()),
                "messages_delivered": self._sockets.delivered,
                "requests": dict(self._counts()),
                "faults_waiting": sum(not fault.is_spent for fault in self._faults.all()),
            }
        )

    async def list_faults(self, request: Request) -> Response:
        """GET /emulator/v1/faults."""
        return answer([fault.to_json() for fault in self._faults.all()])

    async def add_fault(self, request: Request) -> Response:
        """POST /emulator/v1/faults."""
        body, _ = await json_body(request)
        try:
            fault = self._faults.add_json(body)
        except ValueError as error:
            raise HttpError(422, {"message": str(error)}) from None
        self._sockets.strike()
        return answer(fault.to_json(), 201)

    async def get_fault(self, request: Request) -> Response:
        """GET /emulator/v1/faults/{id}."""
        return answer(self._fault(request).to_json())

    async def remove_fault(self, request: Request) -> Response:
        """DELETE /emulator/v1/faults/{id}."""
        fault = self._fault(request)
        self._faults.remove(fault.fault_id)
        self._sockets.unmute(fault.fault_id)
        return empty()

    async def clear_faults(self, request: Request) -> Response:
        """DELETE /emulator/v1/faults."""
        for fault in self._faults.all():
            self._sockets.unmute(fault.fault_id)
        self._faults.clear()
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
