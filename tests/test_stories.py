"""The story of an order as a client reads it, from a gateway before a venue that answers late, twice or not at all."""

from __future__ import annotations

from collections.abc import Callable

from gateway.domain.models.simulation import FaultKind
from tests.bad_requests import spec
from tests.gateway_host import GatewayHost
from tests.stage import Stage
from trading_gateway.v1 import trading_pb2 as pb

Entry = pb.OrderTimeline.Entry


def story(stage: Stage, order: pb.Order, until: Callable[[list[Entry]], bool] = bool) -> list[Entry]:
    """Its steps, read again until they are what a test waits for."""
    request = pb.GetOrderTimelineRequest(order=pb.OrderRef(order_id=order.order_id))
    for _ in range(200):
        entries = list(stage.wire.call("GetOrderTimeline", request).timeline.entries)
        if until(entries):
            return entries
    raise AssertionError(entries)


def wire_steps(entries: list[Entry]) -> list[tuple[str, str]]:
    """Kind and words of what is no event of the journal, without ids and times."""
    return [
        (Entry.Kind.Name(entry.kind)[5:], entry.detail.split(" after ")[0]) for entry in entries if not entry.sequence
    ]


def resting(price: str = "1") -> pb.OrderSpec:
    return spec(limit_price=price)


def test_every_request_and_every_answer_has_its_id_and_its_latency(start_gateway: GatewayHost) -> None:
    stage = Stage(start_gateway())
    order = stage.submit("k1", resting())
    stage.until(order, pb.ORDER_STATE_WORKING)
    replace = pb.ReplaceOrderRequest(order=pb.OrderRef(order_id=order.order_id), client_order_id="k2", limit_price="2")
    stage.wire.call("ReplaceOrder", replace)
    stage.until(order, pb.ORDER_STATE_WORKING)
    stage.wire.call("CancelOrder", pb.CancelOrderRequest(order=pb.OrderRef(order_id=order.order_id)))
    stage.until(order, pb.ORDER_STATE_CANCELED)
    entries = story(stage, order, lambda found: any("HTTP 204" in entry.detail for entry in found))
    first, second = (known.venue_order_id for known in stage.until(order, pb.ORDER_STATE_CANCELED).venue_orders)
    assert wire_steps(entries) == [
        ("REQUEST", "POST /v2/orders left"),
        ("RESPONSE", "POST /v2/orders answered HTTP 200"),
        ("REQUEST", f"PATCH /v2/orders/{first} left"),
        ("RESPONSE", f"PATCH /v2/orders/{first} answered HTTP 200"),
        ("REQUEST", f"DELETE /v2/orders/{second} left"),
        ("RESPONSE", f"DELETE /v2/orders/{second} answered HTTP 204"),
    ]
    answers = [entry for entry in entries if not entry.sequence and entry.kind == Entry.KIND_RESPONSE]
    assert len({entry.venue_request_id for entry in answers} - {""}) == 3
    assert all(entry.since_previous.ToNanoseconds() > 0 for entry in answers)
    times = [entry.time.ToNanoseconds() for entry in entries]
    assert times == sorted(times)
    sequences = [entry.sequence for entry in entries if entry.sequence]
    assert sequences == sorted(sequences)


def test_an_answer_that_the_feed_overtakes_leaves_its_trace(start_gateway: GatewayHost) -> None:
    stage = Stage(start_gateway())
    stage.emulator.fault(FaultKind.HTTP_504_ACCEPTED, delay_ms=300)
    order = stage.submit("k1", resting())
    entries = story(stage, order, lambda found: any("HTTP 504" in entry.detail for entry in found))
    (answer,) = [entry for entry in entries if entry.kind == Entry.KIND_RESPONSE]
    told = [place for place, entry in enumerate(entries) if entry.kind == Entry.KIND_VENUE_EVENT]
    assert told
    assert told[0] < entries.index(answer)
    assert answer.venue_request_id
    assert answer.since_previous.ToMilliseconds() >= 300
    assert stage.emulator.requests("POST /v2/orders") == 1


def test_the_lookups_that_decided_an_orders_fate_are_shown(start_gateway: GatewayHost) -> None:
    stage = Stage(start_gateway())
    stage.emulator.fault(FaultKind.EVENT_DROPPED, count=1)
    stage.emulator.fault(FaultKind.HTTP_504_ACCEPTED)
    order = stage.submit("k1", resting())
    stage.until(order, pb.ORDER_STATE_WORKING, pb.ORDER_STATE_ACCEPTED)
    path = "GET /v2/orders:by_client_order_id"
    entries = story(stage, order, lambda found: any(entry.detail.startswith(path) for entry in found))
    looks = [entry for entry in entries if entry.detail.startswith(path)]
    assert {entry.kind for entry in looks} == {Entry.KIND_RECONCILE}
    found = [entry for entry in entries if entry.sequence and entry.venue_request_id == looks[-1].venue_request_id]
    assert [entry.kind for entry in found] == [Entry.KIND_RECONCILE]
