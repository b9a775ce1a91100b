"""A simulated venue's other side that answers what a test tells it, and notes what it was asked."""

from __future__ import annotations

from decimal import Decimal

from gateway.domain.models.simulation import (
    FaultKind,
    FaultOrder,
    InjectedFault,
    LedgerEntry,
    LedgerKind,
    LedgerPage,
    LedgerQuery,
    Simulation,
)
from gateway.domain.types import OrderSide, Venue
from gateway.infrastructure.persistence.audit_log import MemoryAuditLog
from gateway.infrastructure.persistence.identity_store import MemoryIdentities
from gateway.services.audit import AuditService
from gateway.services.identity import IdentityService

ENTRY = LedgerEntry(
    sequence=7,
    time_ns=1_700_000_000_123_456_789,
    kind=LedgerKind.EXECUTION,
    venue_order_id="v1",
    venue_client_order_id="default.k1",
    symbol="AAPL",
    side=OrderSide.SELL,
    quantity=Decimal("0.5"),
    price=Decimal("101.25"),
    fault_id="3",
    body="{}",
)
SIMULATION = Simulation(
    seed=-4,
    tape="us/2018",
    speed=0.5,
    initial_cash=Decimal("1000.50"),
    start_time_ns=1_700_000_000_000_000_001,
    now_ns=1_700_000_000_000_000_002,
    order_count=3,
    execution_count=4,
    ledger_sequence=5,
    late_arrivals=6,
    late_events=7,
)


class FakeControl:
    """VenueControl."""

    def __init__(self) -> None:
        self.asked: list[FaultOrder | LedgerQuery | str] = []
        self.error: Exception | None = None

    async def inject(self, order: FaultOrder) -> InjectedFault:
        """Take note."""
        self.asked.append(order)
        if self.error is not None:
            raise self.error
        return InjectedFault("3", order, 1)

    async def list_faults(self) -> list[InjectedFault]:
        """Two."""
        return [InjectedFault("1", FaultOrder(FaultKind.FEED_MUTE)), InjectedFault("2", FaultOrder(FaultKind.HTTP_500))]

    async def clear_faults(self) -> None:
        """Take note."""
        self.asked.append("clear")

    async def read_ledger(self, query: LedgerQuery) -> LedgerPage:
        """One entry of many."""
        self.asked.append(query)
        return LedgerPage((ENTRY,), 8)

    async def get_simulation(self) -> Simulation:
        """One in which every number is another."""
        return SIMULATION


def audit_in_memory() -> AuditService:
    """An audit log that is forgotten with the test."""
    return AuditService(MemoryAuditLog(), lambda: 0, lambda: 0.0)


def identity_in_memory() -> IdentityService:
    """Tokens that are forgotten with the test."""
    return IdentityService(MemoryIdentities(), Venue.EMULATOR, lambda: 0)
