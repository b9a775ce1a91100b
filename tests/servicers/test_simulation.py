"""SimulationService: what is asked of the emulator, what is refused before that, and where the service is at all."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from injector import UnsatisfiedRequirement

from gateway.config import Settings
from gateway.container import build
from gateway.domain.errors import FieldInvalid, VenueUnreachable
from gateway.domain.interfaces import VenueControl
from gateway.domain.models.simulation import FaultKind, FaultOrder, LedgerKind, LedgerQuery
from gateway.domain.types import TwoWay
from gateway.infrastructure.persistence.audit_log import MemoryAuditLog
from gateway.servicers.server import GatewayServer
from gateway.servicers.simulation import SimulationServicer
from gateway.servicers.wire import simulation as wire
from gateway.services.audit import AuditService
from tests.gateway_host import RunningGateway
from tests.servicers.fake_control import ENTRY, SIMULATION, FakeControl
from tests.servicers.fakes import read_error
from trading_gateway.v1 import simulation_pb2 as pb, simulation_pb2_grpc, trading_pb2

PATH = "/trading_gateway.v1.SimulationService/InjectFault"


@pytest.fixture
def control() -> FakeControl:
    return FakeControl()


@pytest.fixture
def log() -> MemoryAuditLog:
    return MemoryAuditLog()


@pytest.fixture
def audit(log: MemoryAuditLog) -> AuditService:
    return AuditService(log, lambda: 0, lambda: 0.0)


@pytest.fixture
def servicer(control: FakeControl, audit: AuditService) -> SimulationServicer:
    return SimulationServicer(control, audit)


@pytest.mark.parametrize(
    ("table", "ours", "theirs"),
    [(wire.FAULT, FaultKind, pb.Fault), (wire.LEDGER_KIND, LedgerKind, pb.LedgerEntry.Kind)],
)
def test_the_tables_are_total(table: TwoWay[Any, Any], ours: type[StrEnum], theirs: Any) -> None:
    assert set(table) == set(ours)
    assert {table[member] for member in table} | {0} == set(theirs.values())
    for member in table:
        assert theirs.Name(table[member]).endswith(f"_{member.name}")


async def test_a_fault_is_ordered_as_it_was_asked_for(servicer: SimulationServicer, control: FakeControl) -> None:
    request = pb.InjectFaultRequest(
        fault=pb.FAULT_EVENT_LATE, route="orders", symbol="BTC/USD", skip=2, count=-1, delay=Duration(seconds=40)
    )
    answer = await servicer.InjectFault(request, None)
    assert control.asked == [FaultOrder(FaultKind.EVENT_LATE, "orders", "BTC/USD", 2, -1, 40_000)]
    assert answer.injected_fault == pb.InjectedFault(
        fault_id="3", fault=pb.FAULT_EVENT_LATE, route="orders", symbol="BTC/USD", skip=2, count=-1,
        delay=Duration(seconds=40), fired=1,
    )  # fmt: skip


async def test_no_count_means_once(servicer: SimulationServicer, control: FakeControl) -> None:
    await servicer.InjectFault(pb.InjectFaultRequest(fault=pb.FAULT_HTTP_500), None)
    assert control.asked == [FaultOrder(FaultKind.HTTP_500)]


async def test_both_ends_of_a_fault_are_on_record_whatever_came_of_it(
    servicer: SimulationServicer, control: FakeControl, audit: AuditService, log: MemoryAuditLog
) -> None:
    request = pb.InjectFaultRequest(fault=pb.FAULT_HTTP_500)
    await servicer.InjectFault(request, None)
    await servicer.ClearFaults(pb.ClearFaultsRequest(), None)
    control.error = VenueUnreachable("the emulator's control routes cannot be reached")
    with pytest.raises(VenueUnreachable):
        await servicer.InjectFault(request, None)
    await audit.write_notes()
    told = [(record.entry.action.value, record.entry.subject, record.entry.outcome) for record in log.read()]
    assert told == [
        ("fault_inject", "http_500", "asked"),
        ("fault_inject", "http_500", "ok"),
        ("faults_clear", "", "asked"),
        ("faults_clear", "", "ok"),
        ("fault_inject", "http_500", "asked"),
        ("fault_inject", "http_500", VenueUnreachable.reason),
    ]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "fault"),
        ({"fault": 77}, "fault"),
        ({"fault": 1, "route": "x" * 257}, "route"),
        ({"fault": 1, "route": "a\nb"}, "route"),
        ({"fault": 1, "symbol": "btcusd"}, "symbol"),
        ({"fault": 1, "skip": -1}, "skip"),
        ({"fault": 1, "skip": 1_000_001}, "skip"),
        ({"fault": 1, "count": -2}, "count"),
        ({"fault": 1, "count": 1_000_001}, "count"),
        ({"fault": 1, "delay": Duration(seconds=61)}, "delay"),
        ({"fault": 1, "delay": Duration(seconds=-1)}, "delay"),
    ],
)
async def test_what_cannot_be_is_refused_by_field(
    servicer: SimulationServicer, control: FakeControl, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(FieldInvalid) as refusal:
        await servicer.InjectFault(pb.InjectFaultRequest(**fields), None)
    assert [violation.field for violation in refusal.value.violations] == [field]
    assert control.asked == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FieldInvalid("the emulator does not take this: symbol is not traded here"), grpc.StatusCode.INVALID_ARGUMENT),
        (VenueUnreachable("the emulator's control routes cannot be reached"), grpc.StatusCode.UNAVAILABLE),
    ],
)
async def test_the_emulators_refusals_are_passed_on(
    channel: grpc.aio.Channel, simulation_control: FakeControl, error: Exception, code: grpc.StatusCode
) -> None:
    simulation_control.error = error
    stub = simulation_pb2_grpc.SimulationServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.InjectFault(pb.InjectFaultRequest(fault=pb.FAULT_HTTP_500))
    refused = read_error(caught.value)
    assert refused.code is code
    assert refused.message == str(error)


async def test_the_ledger_is_paged_and_kept_to_the_letter(servicer: SimulationServicer, control: FakeControl) -> None:
    request = pb.ListLedgerRequest(
        from_sequence=3, symbol="AAPL", kinds=[pb.LedgerEntry.KIND_FAULT, pb.LedgerEntry.KIND_EVENT], page_size=99_999
    )
    answer = await servicer.ListLedger(request, None)
    kinds = frozenset({LedgerKind.FAULT, LedgerKind.EVENT})
    (entry,) = answer.entries
    assert (entry.sequence, entry.side, entry.quantity, entry.price) == (
        7,
        trading_pb2.ORDER_SIDE_SELL,
        "0.5",
        "101.25",
    )
    assert entry.time.ToNanoseconds() == ENTRY.time_ns
    assert (entry.venue_client_order_id, entry.fault_id, entry.body) == ("default.k1", "3", "{}")
    request.page_token = answer.next_page_token
    await servicer.ListLedger(request, None)
    await servicer.ListLedger(pb.ListLedgerRequest(), None)
    assert control.asked == [
        LedgerQuery(3, 10_000, "AAPL", kinds),
        LedgerQuery(8, 10_000, "AAPL", kinds),
        LedgerQuery(1, 1_000),
    ]


@pytest.mark.parametrize(
    "fields",
    [{"page_token": "x"}, {"page_token": "9" * 30}, {"page_token": "0"}, {"page_size": -1}, {"kinds": [0]},
     {"page_token": "0" * 19 + "1" + "0" * 5_000}, {"page_token": "0" * 19 + "12"}, {"kinds": [9]},
     {"from_sequence": 2**63}, {"symbol": "?"}, {"kinds": [1] * 17}],
)  # fmt: skip
async def test_a_page_that_cannot_be_is_refused(
    servicer: SimulationServicer, control: FakeControl, fields: dict[str, Any]
) -> None:
    with pytest.raises(FieldInvalid):
        await servicer.ListLedger(pb.ListLedgerRequest(**fields), None)
    assert control.asked == []


async def test_the_simulation_and_its_faults_are_shown(servicer: SimulationServicer, control: FakeControl) -> None:
    shown = (await servicer.GetSimulation(pb.GetSimulationRequest(), None)).simulation
    assert (shown.seed, shown.tape, shown.speed, shown.initial_cash) == (-4, "us/2018", 0.5, "1000.5")
    assert (shown.start_time.ToNanoseconds(), shown.now.ToNanoseconds()) == (
        SIMULATION.start_time_ns,
        SIMULATION.now_ns,
    )
    assert (shown.order_count, shown.execution_count, shown.ledger_sequence) == (3, 4, 5)
    assert (shown.late_arrival_count, shown.late_event_count) == (6, 7)
    listed = (await servicer.ListFaults(pb.ListFaultsRequest(), None)).injected_faults
    assert [(fault.fault_id, fault.fault) for fault in listed] == [("1", pb.FAULT_FEED_MUTE), ("2", pb.FAULT_HTTP_500)]
    await servicer.ClearFaults(pb.ClearFaultsRequest(), None)
    assert control.asked == ["clear"]


async def test_nothing_of_it_is_wired_or_served_beyond_the_emulator() -> None:
    """Live is refused at start by this build; paper shows that the venue decides, not the address."""
    settings = Settings(venue="paper", api_key="PK", api_secret="S")
    injector = build(settings)
    assert not [path for path in injector.get(GatewayServer)._methods() if "SimulationService" in path]
    for kind in (VenueControl, SimulationServicer):
        with pytest.raises(UnsatisfiedRequirement):
            injector.get(kind)
    emulator = build(Settings(venue_url="http://127.0.0.1:1"))
    assert PATH in emulator.get(GatewayServer)._methods()


def test_faults_are_ordered_and_seen_over_grpc(gateway: RunningGateway) -> None:
    with grpc.insecure_channel(gateway.target) as channel:
        stub = simulation_pb2_grpc.SimulationServiceStub(channel)
        ordered = stub.InjectFault(pb.InjectFaultRequest(fault=pb.FAULT_HTTP_429, route="GET /v2/clock")).injected_fault
        assert list(stub.ListFaults(pb.ListFaultsRequest()).injected_faults) == [ordered]
        with pytest.raises(grpc.RpcError) as refused:
            stub.InjectFault(pb.InjectFaultRequest(fault=pb.FAULT_SYMBOL_HALTED, symbol="ZZZZ"))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        stub.ClearFaults(pb.ClearFaultsRequest())
        assert not stub.ListFaults(pb.ListFaultsRequest()).injected_faults
        sequence = stub.GetSimulation(pb.GetSimulationRequest()).simulation.ledger_sequence
        entries = stub.ListLedger(pb.ListLedgerRequest()).entries
        assert len(entries) >= sequence > 0
        assert entries[0].kind == pb.LedgerEntry.KIND_REQUEST, "the gateway's own first question"
