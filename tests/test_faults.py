"""The gateway against every fault of the emulator: real sockets, real alpaca-py, ordered over gRPC as a strategy would.

What must come out is one order or a definite error, and never a guess. How an unknown outcome ends after the settle
window is the resolver's own test: here it must be known to be unknown, and not be sent again under the same key.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import grpc
import pytest

from tests.bad_requests import spec
from tests.emulator.host import EmulatorHost, LoopThread
from tests.gateway_host import GatewayHost
from tests.servicers.fakes import read_error
from tests.stage import Stage
from trading_gateway.v1 import simulation_pb2 as sim, simulation_pb2_grpc, trading_pb2 as pb

WAIT_S_MAX = 10.0
MARKET = spec(order_type=pb.ORDER_TYPE_MARKET)
REQUEST, ORDER = sim.LedgerEntry.KIND_REQUEST, sim.LedgerEntry.KIND_ORDER


class Rehearsal:
    """A gateway, its emulator's other side, and one intent.

    Args:
        stage: The gateway.
        key: The intent's: always the same.
    """

    def __init__(self, stage: Stage, key: str) -> None:
        self.stage = stage
        self.key = key
        self.simulation = simulation_pb2_grpc.SimulationServiceStub(stage.wire.channel)

    def order_fault(self, fault: int, *, delay_ms: int = 0, **fields: object) -> None:
        """Over gRPC."""
        request = sim.InjectFaultRequest(fault=fault, **fields)
        if delay_ms:
            request.delay.FromMilliseconds(delay_ms)
        self.simulation.InjectFault(request)

    def fired(self) -> list[int]:
        """How often each fault did."""
        return [fault.fired for fault in self.simulation.ListFaults(sim.ListFaultsRequest()).injected_faults]

    def submit(self) -> pb.Order:
        """The intent."""
        return self.stage.submit(self.key, MARKET)

    def truth(self) -> tuple[int, int]:
        """By the venue's own record, when nothing is late any more: how often the intent was sent, and its orders."""
        give_up_at = time.monotonic() + WAIT_S_MAX
        while self.simulation.GetSimulation(sim.GetSimulationRequest()).simulation.late_arrival_count:
            assert time.monotonic() < give_up_at
            time.sleep(0.02)
        asked = sim.ListLedgerRequest(kinds=[REQUEST, ORDER], page_size=10_000)
        entries = self.simulation.ListLedger(asked).entries
        ours = [entry for entry in entries if entry.venue_client_order_id == f"default.{self.key}"]
        sent = [entry for entry in ours if entry.kind == REQUEST and entry.route == "POST /v2/orders"]
        return len(sent), len({entry.venue_order_id for entry in ours if entry.kind == ORDER})


@pytest.fixture(scope="module")
def stage(emulator_loop: LoopThread, gateway_loop: LoopThread) -> Iterator[Stage]:
    """One gateway for all: a strategy, too, goes on after a bad day."""
    emulators = EmulatorHost(emulator_loop)
    gateways = GatewayHost(gateway_loop, emulators)
    running = Stage(gateways(drain_timeout_ms=0))
    yield running
    running.close()
    gateways.stop_all()
    emulators.stop_all()


@pytest.fixture
def rehearsal(stage: Stage, request: pytest.FixtureRequest) -> Iterator[Rehearsal]:
    """An intent of its own, and no fault left from before."""
    running = Rehearsal(
        stage, "".join(letter if letter.isalnum() else "-" for letter in request.node.name)[-60:].strip("-")
    )
    yield running
    running.simulation.ClearFaults(sim.ClearFaultsRequest())


@pytest.mark.parametrize(
    "fault",
    [
        "ANSWER_LOST", "ANSWER_RESET", "HTTP_500_ACCEPTED", "HTTP_504_ACCEPTED", "BODY_TRUNCATED", "BODY_EMPTY",
        "STATUS_UNKNOWN", "EVENT_DROPPED", "EVENT_DUPLICATED", "EVENTS_REORDERED", "EVENT_EMPTY", "EVENT_UNKNOWN",
        "FRAME_TRUNCATED",
    ],
)  # fmt: skip
def test_an_order_that_was_taken_is_one_order_and_its_end_is_known(rehearsal: Rehearsal, fault: str) -> None:
    rehearsal.order_fault(sim.Fault.Value(f"FAULT_{fault}"))
    order = rehearsal.submit()
    filled = rehearsal.stage.until(order, pb.ORDER_STATE_FILLED)
    assert filled.filled_quantity == MARKET.quantity
    assert rehearsal.submit().order_id == order.order_id
    assert (rehearsal.fired(), rehearsal.truth()) == ([1], (1, 1))


@pytest.mark.parametrize("fault", ["REQUEST_LOST", "HTTP_500", "HTTP_502_HTML", "HTTP_504_NOT_ACCEPTED"])
def test_an_order_that_may_have_been_taken_is_unknown_and_not_sent_again(rehearsal: Rehearsal, fault: str) -> None:
    rehearsal.order_fault(sim.Fault.Value(f"FAULT_{fault}"))
    order = rehearsal.submit()
    assert order.state == pb.ORDER_STATE_OUTCOME_UNKNOWN
    again = rehearsal.submit()
    assert (again.order_id, again.state) == (order.order_id, pb.ORDER_STATE_OUTCOME_UNKNOWN)
    assert (rehearsal.fired(), rehearsal.truth()) == ([1], (1, 0))


def test_an_order_that_arrives_late_is_found_when_it_does(rehearsal: Rehearsal) -> None:
    rehearsal.order_fault(sim.FAULT_ARRIVES_LATE, delay_ms=700)
    order = rehearsal.submit()
    assert order.state == pb.ORDER_STATE_OUTCOME_UNKNOWN
    assert rehearsal.submit().order_id == order.order_id
    rehearsal.stage.until(order, pb.ORDER_STATE_FILLED)
    assert (rehearsal.fired(), rehearsal.truth()) == ([1], (1, 1))


def test_a_lookup_that_finds_nothing_yet_proves_nothing(rehearsal: Rehearsal) -> None:
    """The answer is lost, the event is lost, and for a second lookups say that there is no such order."""
    rehearsal.order_fault(sim.FAULT_ANSWER_LOST)
    rehearsal.order_fault(sim.FAULT_EVENT_DROPPED, count=-1)
    rehearsal.order_fault(sim.FAULT_LOOKUP_ABSENT, symbol=MARKET.symbol, delay_ms=1_000)
    order = rehearsal.submit()
    assert order.state == pb.ORDER_STATE_OUTCOME_UNKNOWN
    rehearsal.stage.until(order, pb.ORDER_STATE_FILLED)
    assert rehearsal.fired()[2] == 1
    assert rehearsal.truth() == (1, 1)


def test_too_many_requests_is_definite_and_may_be_tried_again(rehearsal: Rehearsal) -> None:
    rehearsal.order_fault(sim.FAULT_HTTP_429)
    order = rehearsal.submit()
    rehearsal.stage.until(order, pb.ORDER_STATE_FILLED)
    assert (rehearsal.fired(), rehearsal.truth()) == ([1], (2, 1))


@pytest.mark.parametrize("fault", ["FEED_DISCONNECTED", "SLOW_CLIENT"])
def test_a_feed_that_is_lost_refuses_new_risk_until_it_is_back(rehearsal: Rehearsal, fault: str) -> None:
    # The first attempt to come back may follow at once: refused, it leaves a second in which the feed is lost.
    rehearsal.order_fault(sim.FAULT_CONNECTION_LIMIT)
    rehearsal.order_fault(sim.Fault.Value(f"FAULT_{fault}"))
    order, reasons = None, set()
    give_up_at = time.monotonic() + 2 * WAIT_S_MAX
    while order is None:
        assert time.monotonic() < give_up_at
        try:
            order = rehearsal.submit()
        except grpc.RpcError as error:
            refused = read_error(error)
            assert refused.metadata["key"] == "free", "the same key may be tried again"
            reasons.add(refused.reason)
            assert rehearsal.truth() == (0, 0)
            time.sleep(0.02)
    rehearsal.stage.until(order, pb.ORDER_STATE_FILLED)
    assert "ORDER_FEED_BLIND" in reasons
    assert all(rehearsal.fired())
    assert rehearsal.truth() == (1, 1)


def test_a_halted_symbol_leaves_the_order_working(rehearsal: Rehearsal) -> None:
    rehearsal.order_fault(sim.FAULT_SYMBOL_HALTED, symbol=MARKET.symbol)
    order = rehearsal.submit()
    rehearsal.stage.until(order, pb.ORDER_STATE_WORKING)
    rehearsal.simulation.ClearFaults(sim.ClearFaultsRequest())
    rehearsal.stage.until(order, pb.ORDER_STATE_FILLED)
    assert rehearsal.truth() == (1, 1)
