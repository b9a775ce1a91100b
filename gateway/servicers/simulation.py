"""SimulationService: faults on request, and what really happened at the emulator. Never there for paper or live."""

# ruff: noqa: ARG002 - gRPC's signature
from __future__ import annotations

from typing import Any

from gateway.domain.interfaces import VenueControl
from gateway.domain.models.audit import AuditAction
from gateway.servicers.identity import caller_name
from gateway.servicers.wire import simulation as wire
from gateway.services.audit import AuditService
from trading_gateway.v1 import simulation_pb2 as pb, simulation_pb2_grpc


class SimulationServicer(simulation_pb2_grpc.SimulationServiceServicer):
    """The simulated venue's other side over gRPC.

    Args:
        control: The emulator's.
        audit: Is told of faults before they are ordered, and of what came of it.
    """

    def __init__(self, control: VenueControl, audit: AuditService) -> None:
        self._control = control
        self._audit = audit

    async def GetSimulation(self, request: pb.GetSimulationRequest, context: Any) -> pb.GetSimulationResponse:
        """Settings and counters."""
        return pb.GetSimulationResponse(simulation=wire.simulation_to_proto(await self._control.get_simulation()))

    async def InjectFault(self, request: pb.InjectFaultRequest, context: Any) -> pb.InjectFaultResponse:
        """Order a fault."""
        order = wire.fault_order_from_proto(request)
        async with self._audit.told(caller_name(), AuditAction.FAULT_INJECT, order.fault.value, {"route": order.route}):
            fault = await self._control.inject(order)
        return pb.InjectFaultResponse(injected_fault=wire.injected_fault_to_proto(fault))

    async def ListFaults(self, request: pb.ListFaultsRequest, context: Any) -> pb.ListFaultsResponse:
        """Faults, fired or not."""
        faults = await self._control.list_faults()
        return pb.ListFaultsResponse(injected_faults=map(wire.injected_fault_to_proto, faults))

    async def ClearFaults(self, request: pb.ClearFaultsRequest, context: Any) -> pb.ClearFaultsResponse:
        """Forget them."""
        async with self._audit.told(caller_name(), AuditAction.FAULTS_CLEAR):
            await self._control.clear_faults()
        return pb.ClearFaultsResponse()

    async def ListLedger(self, request: pb.ListLedgerRequest, context: Any) -> pb.ListLedgerResponse:
        """One page of the record."""
        return wire.ledger_page_to_proto(await self._control.read_ledger(wire.ledger_query_from_proto(request)))
