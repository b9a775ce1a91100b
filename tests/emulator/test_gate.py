"""Credentials, rate limits, request ids and counts: what every REST request meets first."""

from __future__ import annotations

import base64
import time

import pytest

from gateway.domain.types import NANOS_PER_SECOND
from gateway.emulator.rest.gate import is_loopback, route_of
from tests.emulator.host import EmulatorHost, ManualClock
from tests.emulator.rest_client import KEYS, RestClient


def basic(text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


def test_credentials_are_taken_in_alpacas_three_ways(start_emulator: EmulatorHost) -> None:
    rest = RestClient(start_emulator(key="key", secret="hush"))
    good = [
        {"APCA-API-KEY-ID": "key", "APCA-API-SECRET-KEY": "hush"},
        basic("key:hush"),
        {"Authorization": "Bearer hush"},
    ]
    bad = [
        {},
        KEYS,
        {"APCA-API-KEY-ID": "key"},
        basic("key:other"),
        {"Authorization": "Basic %"},
        {"Authorization": "Bearer x"},
    ]
    assert [rest.ask("GET", "/v2/clock", headers=headers).status_code for headers in good] == [200] * 3
    for headers in bad:
        answer = rest.ask("GET", "/v2/clock", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, 40110000)
        data = rest.ask("GET", "/v2/stocks/bars", headers=headers)
        assert (data.status_code, data.json()) == (403, {"message": "forbidden."})
    rest.close()


def test_without_a_key_any_credentials_do_but_none_do_not(rest: RestClient) -> None:
    assert rest.ask("GET", "/v2/clock", headers={"Authorization": "Bearer anything"}).status_code == 200
    assert rest.ask("GET", "/v2/clock", headers={}).status_code == 401
    assert rest.ask("GET", "/v2/clock", headers=KEYS | {"APCA-API-SECRET-KEY": ""}).status_code == 401


def test_the_rate_limit_is_per_key_and_minute_and_said_in_headers(start_emulator: EmulatorHost) -> None:
    clock = ManualClock(1_790_000_000 * NANOS_PER_SECOND)
    rest = RestClient(start_emulator(rate_limit=3, clock=clock))
    answers = [rest.ask("GET", "/v2/clock") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == ["2", "1", "0", "0", "0"]
    assert {answer.headers["X-RateLimit-Limit"] for answer in answers} == {"3"}
    assert {answer.headers["X-RateLimit-Reset"] for answer in answers} == {"1790000060"}
    assert answers[-1].json() == {"code": 42910000, "message": "rate limit exceeded"}
    assert rest.ask("GET", "/v2/clock", headers=KEYS | {"APCA-API-KEY-ID": "another"}).status_code == 200
    clock.advance(s=60)
    assert rest.ask("GET", "/v2/clock").headers["X-RateLimit-Reset"] == "1790000120"
    rest.close()


def test_without_a_limit_there_are_no_limit_headers_but_always_a_request_id(rest: RestClient) -> None:
    answers = [rest.ask("GET", "/v2/clock"), rest.ask("GET", "/nowhere"), rest.ask("GET", "/v2/clock", headers={})]
    assert [answer.status_code for answer in answers] == [200, 404, 401]
    assert len({answer.headers["X-Request-ID"] for answer in answers}) == 3
    assert not any(name.lower().startswith("x-ratelimit") for answer in answers for name in answer.headers)


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v2/orders", "/v2/orders"),
        ("/v2/orders/8f3c", "/v2/orders/{id}"),
        ("/v2/positions/BTC/USD", "/v2/positions/{symbol}"),
        ("/v2/account/activities/FILL", "/v2/account/activities/{type}"),
        ("/v2/orders:by_client_order_id", "/v2/orders:by_client_order_id"),
    ],
)
def test_requests_are_counted_by_route(path: str, route: str) -> None:
    assert route_of(path) == route


def test_control_routes_are_for_loopback_alone() -> None:
    assert is_loopback({"client": ("127.0.0.1", 1)})
    assert is_loopback({"client": ("::1", 1)})
    assert not is_loopback({"client": ("192.0.2.1", 1)})
    assert not is_loopback({"client": ("testclient", 1)})
    assert not is_loopback({"client": None})


def test_what_was_really_asked_and_done_can_be_read(rest: RestClient) -> None:
    rest.order(client_order_id="demo.1", type="market", limit_price=None, time_in_force="day", qty="2")
    rest.order(client_order_id="demo.2", qty="1e-08")
    rest.order(client_order_id="other.1")
    while not (found := rest.get("/emulator/v1/orders", client_order_id_prefix="demo."))[0]["executions"]:
        time.sleep(0.01)
    assert [record["client_order_id"] for record in found] == ["demo.1", "demo.2"]
    assert '"qty": "1e-08"' in found[1]["body"], "verbatim"
    assert sum(float(execution["quantity"]) for execution in found[0]["executions"]) <= 2
    lines = rest.get("/emulator/v1/commands", limit=2)
    assert [line["n"] for line in lines] == [1, 2]
    assert rest.get("/emulator/v1/commands", after=lines[-1]["n"])[0]["n"] == 3
    status = rest.get("/emulator/v1/status")
    assert status["requests"]["POST /v2/orders"] == 3
    assert rest.ask("DELETE", "/emulator/v1/requests").status_code == 204
    assert rest.get("/emulator/v1/requests") == {}
