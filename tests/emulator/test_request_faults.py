"""Faults that strike requests: what is carried out, what the client sees, and that each fires as ordered."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest
import requests

from gateway.domain.models.simulation import UNTIL_CLEARED, FaultKind, FaultOrder
from gateway.domain.types import NANOS_PER_SECOND
from gateway.emulator import faults as faults_module
from gateway.emulator.faults import (
    CONNECT_KINDS,
    EVENT_KINDS,
    FAULTS_MAX,
    HANDSHAKE_KINDS,
    REQUEST_KINDS,
    SOCKET_KINDS,
    UNKNOWN_WORD,
    Fault,
    Faults,
)
from gateway.emulator.record import Record
from tests.emulator.host import EmulatorHost, ManualClock, RunningEmulator
from tests.emulator.rest_client import RestClient

LOOKUP = "/v2/orders:by_client_order_id"


def post_fault(rest: RestClient, **body: object) -> dict:
    answer = rest.ask("POST", "/emulator/v1/faults", headers={}, json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def fired(rest: RestClient, fault: dict) -> int:
    return rest.get(f"/emulator/v1/faults/{fault['fault_id']}")["fired"]


def keys(rest: RestClient) -> set[str]:
    return {order["client_order_id"] for order in rest.get("/v2/orders", status="all")}


def wait_for(rest: RestClient, name: str, value: int) -> None:
    """Until the status says so."""
    give_up_at = time.monotonic() + 10
    while rest.get("/emulator/v1/status")[name] != value:
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("fault", "status", "is_carried_out"),
    [
        ("http_429", 429, False),
        ("http_500", 500, False),
        ("http_500_accepted", 500, True),
        ("http_502_html", 502, False),
        ("http_504_accepted", 504, True),
        ("http_504_not_accepted", 504, False),
        ("body_empty", 200, True),
        ("status_unknown", 200, True),
    ],
)
def test_an_answer_that_is_not_the_truth(rest: RestClient, fault: str, status: int, is_carried_out: bool) -> None:
    ordered = post_fault(rest, fault=fault, count=2, skip=1)
    answers = [rest.order(client_order_id=f"key-{number}") for number in range(4)]
    assert [answer.status_code for answer in answers] == [200, status, status, 200]
    assert keys(rest) == {"key-0", "key-3"} | ({"key-1", "key-2"} if is_carried_out else set())
    assert fired(rest, ordered) == 2
    if fault == "http_502_html" or fault.startswith("http_504"):
        assert answers[1].text.startswith("<html>")
    if fault == "body_empty":
        assert answers[1].content == b""
    if fault == "status_unknown":
        assert answers[1].json()["status"] == UNKNOWN_WORD
    assert all("X-Request-ID" in answer.headers for answer in answers)


@pytest.mark.parametrize(
    ("fault", "is_carried_out"),
    [("answer_lost", True), ("answer_reset", True), ("body_truncated", True), ("request_lost", False)],
)
def test_a_connection_that_ends_without_an_answer(rest: RestClient, fault: str, is_carried_out: bool) -> None:
    ordered = post_fault(rest, fault=fault)
    with pytest.raises(requests.exceptions.RequestException) as ended:
        rest.order(client_order_id="key")
    assert isinstance(ended.value, requests.exceptions.ConnectionError | requests.exceptions.ChunkedEncodingError)
    assert ("reset by peer" in str(ended.value)) == (fault == "answer_reset")
    assert keys(rest) == ({"key"} if is_carried_out else set())
    assert fired(rest, ordered) == 1


def test_a_delay_comes_before_the_end(rest: RestClient) -> None:
    post_fault(rest, fault="request_lost", delay_ms=200)
    began = time.monotonic()
    with pytest.raises(requests.exceptions.ConnectionError):
        rest.order()
    assert time.monotonic() - began >= 0.2


def test_a_client_that_gives_up_has_ordered_nothing(rest: RestClient, emulator: RunningEmulator) -> None:
    post_fault(rest, fault="request_lost", delay_ms=60_000)
    impatient = RestClient(emulator)
    with pytest.raises(requests.exceptions.ReadTimeout):
        impatient.ask("POST", "/v2/orders", json={"symbol": "AAPL"}, timeout=0.1)
    impatient.close()
    assert rest.get("/v2/orders") == []
    assert emulator.requests("POST /v2/orders") == 1


def test_a_late_request_is_carried_out_when_its_client_has_gone(rest: RestClient) -> None:
    post_fault(rest, fault="arrives_late", delay_ms=300)
    began = time.monotonic()
    with pytest.raises(requests.exceptions.ConnectionError):
        rest.order(client_order_id="late")
    assert time.monotonic() - began < 0.3, "the connection ends at once"
    assert rest.ask("GET", LOOKUP, params={"client_order_id": "late"}).status_code == 404
    assert rest.get("/emulator/v1/status")["late_arrivals"] == 1
    wait_for(rest, "late_arrivals", 0)
    assert keys(rest) == {"late"}


def test_a_late_request_meets_the_venue_as_it_is_then(rest: RestClient) -> None:
    """The client tries again under the same id; when the first try arrives, its id is taken."""
    post_fault(rest, fault="arrives_late", delay_ms=100)
    with pytest.raises(requests.exceptions.ConnectionError):
        rest.order(client_order_id="twice")
    assert rest.order(client_order_id="twice").status_code == 200
    wait_for(rest, "late_arrivals", 0)
    late = rest.get("/emulator/v1/ledger", kind="RESPONSE")["entries"][-1]
    assert (late["http_status"], len(keys(rest))) == (422, 1)
    assert "client_order_id must be unique" in late["body"]


def test_late_requests_keep_the_emulators_own_time(start_emulator: EmulatorHost) -> None:
    """Delays are slept by the injected clock: here a minute passes when the test says so."""
    minutes: list[asyncio.Future[None]] = []

    async def sleep(seconds: float) -> None:
        assert seconds == 60
        minutes.append(asyncio.get_running_loop().create_future())
        await minutes[-1]

    emulator = start_emulator(sleep=sleep)
    rest = RestClient(emulator)
    post_fault(rest, fault="arrives_late", delay_ms=60_000)
    with pytest.raises(requests.exceptions.ConnectionError):
        rest.order(client_order_id="late")
    assert keys(rest) == set()
    while not minutes:
        time.sleep(0.005)
    emulator.call(lambda: minutes[0].set_result(None))
    wait_for(rest, "late_arrivals", 0)
    assert keys(rest) == {"late"}
    rest.close()


def test_nobody_is_kept_waiting_when_the_emulator_ends(start_emulator: EmulatorHost) -> None:
    emulator = start_emulator()
    emulator.fault("request_lost", "GET /v2/clock", delay_ms=60_000)
    emulator.fault("arrives_late", delay_ms=60_000)
    client = RestClient(emulator)
    ended: list[BaseException] = []

    def ask() -> None:
        try:
            client.ask("GET", "/v2/clock")
        except requests.exceptions.ConnectionError as error:
            ended.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    other = RestClient(emulator)
    with pytest.raises(requests.exceptions.ConnectionError):
        other.order()
    while emulator.requests("GET /v2/clock") == 0:
        time.sleep(0.005)
    began = time.monotonic()
    emulator.stop()
    assert time.monotonic() - began < 1
    asking.join(5)
    assert len(ended) == 1
    client.close()
    other.close()


def test_a_lookup_finds_nothing_for_a_while(start_emulator: EmulatorHost) -> None:
    clock = ManualClock(1_790_000_000 * NANOS_PER_SECOND)
    rest = RestClient(start_emulator(clock=clock))
    fault = post_fault(rest, fault="lookup_absent", delay_ms=20_000)
    assert fault["route"] == "GET /v2/orders:by_client_order_id"
    rest.order(client_order_id="there")
    answers = []
    for _ in range(3):
        answers.append(rest.ask("GET", LOOKUP, params={"client_order_id": "there"}))
        clock.advance(s=10)
    assert [answer.status_code for answer in answers] == [404, 404, 200]
    assert answers[0].json()["code"] == 40410000
    assert fired(rest, fault) == 1
    rest.close()


def test_a_429_says_when_it_is_over(start_emulator: EmulatorHost) -> None:
    rest = RestClient(start_emulator(clock=ManualClock(1_790_000_000 * NANOS_PER_SECOND)))
    post_fault(rest, fault="http_429", delay_ms=30_000)
    headers = rest.order().headers
    assert (headers["X-RateLimit-Remaining"], headers["X-RateLimit-Reset"]) == ("0", "1790000030")
    rest.close()


def test_a_route_and_a_symbol_say_where(rest: RestClient) -> None:
    fault = post_fault(rest, fault="http_500", route="* /v2/orders*", symbol="MSFT", count=UNTIL_CLEARED)
    assert rest.order(client_order_id="apple").status_code == 200
    assert rest.order(symbol="MSFT").status_code == 500
    order = rest.get("/v2/orders")[0]
    assert rest.ask("DELETE", f"/v2/orders/{order['id']}").status_code == 204, "another symbol's order"
    assert [rest.order(symbol="MSFT").status_code for _ in range(3)] == [500] * 3
    assert fired(rest, fault) == 4
    assert rest.ask("DELETE", "/emulator/v1/faults").status_code == 204
    placed = rest.order(symbol="MSFT", client_order_id="soft").json()
    post_fault(rest, fault="http_500", route="* /v2/orders*", symbol="MSFT", count=3)
    assert rest.ask("DELETE", f"/v2/orders/{placed['id']}").status_code == 500
    assert rest.ask("PATCH", f"/v2/orders/{placed['id']}", json={"qty": "2"}).status_code == 500
    assert rest.ask("GET", LOOKUP, params={"client_order_id": "soft"}).status_code == 500


def test_a_halted_symbol_takes_orders_and_fills_none(rest: RestClient) -> None:
    fault = post_fault(rest, fault="symbol_halted", symbol="AAPL")
    market = {"type": "market", "limit_price": None, "time_in_force": "day"}
    halted = rest.order(**market).json()
    other = rest.order(**market, symbol="MSFT").json()
    at_once = rest.order(type="market", limit_price=None, time_in_force="ioc").json()
    assert rest.get(f"/v2/orders/{other['id']}")["status"] == "filled"
    assert rest.get(f"/v2/orders/{at_once['id']}")["status"] == "canceled"
    time.sleep(0.6)  # at least two quotes of the symbol
    assert rest.get(f"/v2/orders/{halted['id']}")["status"] == "new"
    assert fired(rest, fault) == 1
    assert rest.ask("DELETE", f"/emulator/v1/faults/{fault['fault_id']}").status_code == 204
    assert rest.get(f"/v2/orders/{halted['id']}")["status"] == "filled"


def test_a_halt_ends_by_itself(rest: RestClient) -> None:
    post_fault(rest, fault="symbol_halted", symbol="AAPL", delay_ms=200)
    order = rest.order(type="market", limit_price=None, time_in_force="day").json()
    give_up_at = time.monotonic() + 5
    while rest.get(f"/v2/orders/{order['id']}")["status"] != "filled":
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "fault must be one of"),
        ({"fault": "earthquake"}, "fault must be one of"),
        ({"fault": "accepted_504"}, "fault must be one of"),
        ({"fault": "http_429", "count": 0}, "count is"),
        ({"fault": "http_429", "count": -2}, "count is"),
        ({"fault": "http_429", "count": True}, "count must be of type int"),
        ({"fault": "http_429", "skip": -1}, "skip is"),
        ({"fault": "http_429", "delay_ms": -1}, "delay is"),
        ({"fault": "http_429", "delay_ms": 60_001}, "delay is"),
        ({"fault": "http_429", "when": "now"}, "unknown fields: when"),
        ({"fault": "http_429", "route": 7}, "route must be of type str"),
        ({"fault": "http_429", "route": "orders"}, "route must be a method and a path"),
        ({"fault": "http_429", "route": "GET /" + "x" * 300}, "route has at most"),
        ({"fault": "event_dropped", "route": "stocks:iex"}, "route must be orders"),
        ({"fault": "feed_mute", "route": "/stream"}, "route must be one of orders, stocks:iex"),
        ({"fault": "feed_mute", "symbol": "AAPL"}, "takes no symbol"),
        ({"fault": "symbol_halted"}, "takes a symbol"),
        ({"fault": "symbol_halted", "symbol": "AAPL", "skip": 1}, "begins at once"),
        ({"fault": "symbol_halted", "symbol": "ZZZZ"}, "not traded here"),
    ],
)
def test_faults_that_could_not_fire_as_ordered_are_refused(rest: RestClient, body: dict, said: str) -> None:
    answer = rest.ask("POST", "/emulator/v1/faults", json=body)
    assert answer.status_code == 422
    assert said in answer.json()["message"]
    assert rest.get("/emulator/v1/faults") == []


def test_faults_can_be_forgotten(rest: RestClient) -> None:
    first, _ = post_fault(rest, fault="http_429"), post_fault(rest, fault="http_429", route="GET /v2/clock")
    assert rest.ask("DELETE", f"/emulator/v1/faults/{first['fault_id']}").status_code == 204
    assert rest.ask("DELETE", f"/emulator/v1/faults/{first['fault_id']}").status_code == 404
    assert rest.order().status_code == 200
    assert rest.ask("DELETE", "/emulator/v1/faults").status_code == 204
    assert rest.get("/v2/clock")["is_open"] is True


def test_the_oldest_fitting_fault_fires_first_and_bounds_hold() -> None:
    faults = Faults(Record(None, lambda: 0), lambda: 0)

    def add(route: str = "", count: int = 1) -> Fault:
        return faults.add(FaultOrder(FaultKind.HTTP_429, route, count=count))

    def take(place: str) -> Fault | None:
        return faults.take(REQUEST_KINDS, place)

    later, first = add("GET /a"), add("GET /*", count=2)
    assert [take("GET /b"), take("GET /a"), take("GET /a")] == [first, later, first]
    assert take("GET /a") is None
    assert faults.waiting == 0
    for _ in range(FAULTS_MAX - 2):
        add()
    with pytest.raises(ValueError, match="clear them"):
        add()


def test_every_fault_strikes_somewhere() -> None:
    feeds = SOCKET_KINDS | CONNECT_KINDS | HANDSHAKE_KINDS
    assert REQUEST_KINDS | EVENT_KINDS | feeds | {FaultKind.SYMBOL_HALTED} == set(FaultKind)


def test_the_manual_says_what_every_fault_does() -> None:
    manual = (Path(faults_module.__file__).parent / "README.md").read_text()
    rows = manual.partition("| fault | what happens |\n|---|---|\n")[2].partition("\n\n")[0].splitlines()
    assert sorted(row.split("`")[1] for row in rows) == sorted(FaultKind)
