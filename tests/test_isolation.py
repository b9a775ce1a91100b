"""A client that goes wrong beside one that does not: the one that goes wrong waits. `make bench` has the ratio."""

from __future__ import annotations

import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import grpc
import pytest

from gateway.services.client_limits import BURST_S, ClientBounds
from tests.bad_requests import spec, submit
from tests.gateway_host import GatewayHost
from tests.refusals import METHODS, Wire, noted, produces
from tests.test_access import Door
from trading_gateway.v1 import account_pb2, trading_pb2 as pb

QUESTIONS: Final = 60
TIMES_MAX: Final = 10.0
"""This machine has other things to do, and all of them share one interpreter here."""
FLOOR_S: Final = 0.01
GARBAGE_LOOPS: Final = 8
GREEDY_LOOPS: Final = 5 * ClientBounds().calls_in_flight_max
LOOP_S: Final = 2.0
CALL: Final = pb.ListOrdersRequest(page_size=1)


@pytest.fixture
def door(start_gateway: GatewayHost) -> Iterator[Door]:
    door = Door(start_gateway)
    yield door
    door.close()


def questions_s(wire: Wire) -> float:
    """How long a question takes: the median of some."""
    took = []
    for _ in range(QUESTIONS):
        began = time.perf_counter()
        wire.call("ListOrders", CALL)
        took.append(time.perf_counter() - began)
    return statistics.median(took)


@contextmanager
def loops(count: int, wire: Wire, method: str, request: bytes, told: Counter[str]) -> Iterator[None]:
    """So many calls under way at any time, whatever they are answered; ended on leaving."""
    stop = threading.Event()
    stub = wire.channel.unary_unary(METHODS[method][0])
    headers = wire.headers

    def again(call: grpc.Future | None) -> None:
        if call is not None:
            told[call.code().name] += 1  # type: ignore[attr-defined]
        if not stop.is_set():
            stub.future(request, metadata=headers, timeout=20).add_done_callback(again)

    for _ in range(count):
        again(None)
    try:
        yield
    finally:
        stop.set()


def test_hostile_clients_slow_themselves_down_and_nobody_else(door: Door) -> None:
    """One in a loop of garbage, one with five times as many calls as it may have: so often they are answered."""
    honest, garbage = door.wire(door.mint()), door.wire(door.mint())
    token = door.mint()
    greedy, as_greedy = door.wire(token), door.wire(token)  # what one connection may have under way is less
    alone_s = questions_s(honest)
    wrong: Counter[str] = Counter()
    much: Counter[str] = Counter()
    began = time.monotonic()
    with (
        loops(GARBAGE_LOOPS, garbage, "SubmitOrder", b"\xff\xff", wrong),
        loops(GREEDY_LOOPS // 2, greedy, "ListOrders", CALL.SerializeToString(), much),
        loops(GREEDY_LOOPS // 2, as_greedy, "ListOrders", CALL.SerializeToString(), much),
    ):
        time.sleep(LOOP_S)  # they spend what may come at once; time passes on both sides of it
        beside_s = questions_s(honest)
        took_s = time.monotonic() - began
        told = Counter(wrong), Counter(much)
    bounds = ClientBounds()
    faults = bounds.faults_per_second * (BURST_S + took_s) + GARBAGE_LOOPS * (1 + took_s)
    reads = bounds.reads_per_second * (BURST_S + took_s)
    refusals = bounds.faults_per_second * (BURST_S + took_s) + GREEDY_LOOPS * (1 + took_s / 0.75)
    print(f"alone {alone_s * 1e3:.1f} ms, beside {beside_s * 1e3:.1f} ms; garbage {told[0]}, greedy {told[1]}")
    assert set(told[0]) == {"INVALID_ARGUMENT"}
    assert told[0].total() <= faults
    assert set(told[1]) == {"OK", "RESOURCE_EXHAUSTED"}
    assert told[1]["OK"] <= reads
    assert told[1]["RESOURCE_EXHAUSTED"] <= refusals
    assert beside_s <= TIMES_MAX * max(alone_s, FLOOR_S)


@produces("TOO_MANY_CALLS")
def test_a_clients_orders_are_its_own_and_its_quota_tells_them(door: Door) -> None:
    """The token's, not the strategy's, and not the connection's."""
    first, second = door.mint("momentum"), door.mint("momentum")
    one, same, again, other = door.wire(first), door.wire(first), door.wire(first), door.wire(second)
    count = int(ClientBounds().orders_per_second * BURST_S)

    def left(wire: Wire) -> int:
        buckets = wire.call("GetQuota", account_pb2.GetQuotaRequest()).quota.buckets
        found: int = next(bucket.remaining for bucket in buckets if bucket.name == "client:orders")
        return found

    assert left(one) == left(other) == count
    known = submit(wanted=spec(limit_price="1"))
    one.call("SubmitOrder", known)
    wires = [one, same, again] * (count // 2)  # less on each than one connection may have under way
    calls = [wire.begin("SubmitOrder", submit(wanted=spec(limit_price="1"))) for wire in wires]
    refused = [noted(error) for call in calls if isinstance(error := call.exception(), grpc.RpcError)]
    assert {(refusal.reason, refusal.metadata["key"]) for refusal in refused} == {("TOO_MANY_CALLS", "free")}
    assert all(refusal.retry_s for refusal in refused)
    assert same.call("SubmitOrder", known).replayed, "a known key is late, and answered"
    assert left(other) == count
