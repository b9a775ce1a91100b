"""Every 2xx body of the emulator validates against Alpaca's own OpenAPI documents, `nullable` respected.

What does not is in EXCEPTIONS, each with its reason, and the exception must still be needed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from openapi_schema_validator import OAS30Validator, oas30_format_checker

from gateway.emulator.app import App
from tests.emulator.host import RunningEmulator
from tests.emulator.rest_client import RestClient

FOLDER = Path(__file__).resolve().parents[1] / "openapi"
DOCUMENTS = {name: json.loads((FOLDER / f"{name}.json").read_text()) for name in ("trading-api", "market-data-api")}

EXCEPTIONS = {
    ("GET /v2/assets", "exchange"): "the schema's enum has no CRYPTO, which Alpaca answers for crypto",
    ("GET /v2/assets/{symbol_or_asset_id}", "exchange"): "the same",
}
"""(route, field): reason."""

LOOSENED = {
    "GET /v2/account/activities/{activity_type}": "its oneOf never holds: a body of one shape is one of the other too",
}
"""Routes whose oneOf is read as anyOf, with the reason."""


class Checked:
    """Asks the emulator and validates what it says."""

    def __init__(self, rest: RestClient) -> None:
        self._rest = rest
        self.seen: set[str] = set()
        self.needed: set[tuple[str, str]] = set()

    def __call__(self, method: str, template: str, path: str = "", *, body: dict | None = None, **query: Any) -> Any:
        response = self._rest.ask(method, path or template, params=query, json=body)
        assert 200 <= response.status_code < 300, response.text
        route = f"{method} {template}"
        self.seen.add(route)
        content = schema_of(method, template, response.status_code)
        if content is None:
            assert response.content == b""
            return None
        found = response.json()
        for error in self._errors(content, found):
            field = str(error.absolute_path[-1]) if error.absolute_path else ""
            assert (route, field) in EXCEPTIONS, f"{route}: {list(error.absolute_path)}: {error.message}"
            self.needed.add((route, field))
        return found

    @staticmethod
    def _errors(content: tuple[dict, dict], found: Any) -> Iterator[Any]:
        schema, document = content
        whole = {**schema, "components": document["components"]}
        return OAS30Validator(whole, format_checker=oas30_format_checker).iter_errors(found)


def schema_of(method: str, template: str, status: int) -> tuple[dict, dict] | None:
    """The schema of an answer and the document that it stands in; None for an answer without a body."""
    for document in DOCUMENTS.values():
        operation = document["paths"].get(template, {}).get(method.lower())
        if operation is not None:
            content = operation["responses"][str(status)].get("content")
            if not content:
                return None
            schema = content["application/json"]["schema"]
            if f"{method} {template}" in LOOSENED:
                schema = {"type": "array", "items": {"anyOf": schema["items"]["oneOf"]}}
            return schema, document
    raise AssertionError(f"{method} {template} is in neither document")


def orders(check: Checked) -> None:
    market = {"symbol": "AAPL", "qty": "3", "side": "buy", "type": "market", "time_in_force": "day"}
    filled = check("POST", "/v2/orders", body=market)
    check("POST", "/v2/orders", body={**market, "symbol": "BTC/USD", "qty": 0.01, "time_in_force": "gtc"})
    check("POST", "/v2/orders", body={"symbol": "MSFT", "notional": "50.5", "side": "buy", "type": "market",
                                      "time_in_force": "day"})  # fmt: skip
    limit = {**market, "type": "limit", "limit_price": "100", "time_in_force": "gtc", "client_order_id": "limit"}
    resting = check("POST", "/v2/orders", body=limit)
    exits = {"take_profit": {"limit_price": "900"}, "stop_loss": {"stop_price": "20", "limit_price": "19"}}
    bracket = {**market, "qty": "1", "order_class": "bracket", "time_in_force": "gtc", **exits}
    parent = check("POST", "/v2/orders", body=bracket)
    assert len(parent["legs"]) == 2
    trail = {**market, "symbol": "SPY", "side": "sell", "type": "trailing_stop", "trail_percent": "9"}
    wait(lambda: check("GET", "/v2/orders/{order_id}", f"/v2/orders/{filled['id']}")["status"] == "filled")
    check("POST", "/v2/orders", body=trail)
    check("GET", "/v2/orders", status="all", nested=True, limit=500)
    check("GET", "/v2/orders/{order_id}", f"/v2/orders/{parent['id']}", nested=True)
    check("GET", "/v2/orders:by_client_order_id", client_order_id="limit")
    replaced = check("PATCH", "/v2/orders/{order_id}", f"/v2/orders/{resting['id']}", body={"limit_price": "101"})
    check("DELETE", "/v2/orders/{order_id}", f"/v2/orders/{replaced['id']}")
    check("GET", "/v2/positions")
    check("GET", "/v2/positions/{symbol_or_asset_id}", "/v2/positions/BTCUSD")
    check("DELETE", "/v2/positions/{symbol_or_asset_id}", "/v2/positions/BTCUSD", percentage="50")
    check("DELETE", "/v2/orders")
    check("DELETE", "/v2/positions", cancel_orders=True)


def account(check: Checked) -> None:
    check("GET", "/v2/account")
    check("PATCH", "/v2/account/configurations", body={"no_shorting": True, "suspend_trade": None})
    check("GET", "/v2/account/configurations")
    wait(lambda: len(check("GET", "/v2/account/activities")) >= 4)
    check("GET", "/v2/account/activities/{activity_type}", "/v2/account/activities/FILL")
    check("GET", "/v2/account/activities/{activity_type}", "/v2/account/activities/CFEE")
    check("GET", "/v2/account/portfolio/history")
    check("GET", "/v2/account/portfolio/history", period="1D", timeframe="5Min")
    check("GET", "/v2/clock")
    check("GET", "/v2/calendar", start="2026-11-02", end="2026-11-30")
    check("GET", "/v2/assets")
    check("GET", "/v2/assets/{symbol_or_asset_id}", "/v2/assets/AAPL")
    check("GET", "/v2/assets/{symbol_or_asset_id}", "/v2/assets/BTC%2FUSD")


def market_data(check: Checked) -> None:
    for kind, query in (("bars", {"timeframe": "1Hour"}), ("quotes", {}), ("trades", {})):
        page = {"limit": 3, **query}
        check("GET", f"/v2/stocks/{kind}", symbols="AAPL,MSFT", **page)
        check("GET", f"/v2/stocks/{kind}/latest", symbols="AAPL,NONE")
        check("GET", f"/v2/stocks/{{symbol}}/{kind}", f"/v2/stocks/AAPL/{kind}", **page)
        check("GET", f"/v2/stocks/{{symbol}}/{kind}/latest", f"/v2/stocks/AAPL/{kind}/latest")
        check("GET", f"/v1beta3/crypto/{{loc}}/{kind}", f"/v1beta3/crypto/us/{kind}", symbols="BTC/USD,ETHUSD", **page)
        check("GET", f"/v1beta3/crypto/{{loc}}/latest/{kind}", f"/v1beta3/crypto/us/latest/{kind}", symbols="BTC/USD")
    check("GET", "/v2/stocks/snapshots", symbols="AAPL,JPM,SPY")
    check("GET", "/v2/stocks/{symbol}/snapshot", "/v2/stocks/AAPL/snapshot")
    check("GET", "/v1beta3/crypto/{loc}/snapshots", "/v1beta3/crypto/us/snapshots", symbols="BTC/USD")
    check("GET", "/v1beta3/crypto/{loc}/latest/orderbooks", "/v1beta3/crypto/us/latest/orderbooks", symbols="BTC/USD")
    listed = check("GET", "/v2/options/contracts", expiration_date_lte="2100-01-01", limit=3)
    option = listed["option_contracts"][0]["symbol"]
    check("GET", "/v2/options/contracts/{symbol_or_id}", f"/v2/options/contracts/{option}")
    for kind in ("quotes", "trades"):
        check("GET", f"/v1beta1/options/{kind}/latest", symbols=option, feed="indicative")
    check("GET", "/v1beta1/options/trades", symbols=option, limit=3)
    check("GET", "/v1beta1/options/snapshots", symbols=option)
    check("GET", "/v1beta1/options/snapshots/{underlying_symbol}", "/v1beta1/options/snapshots/AAPL", limit=3)


def wait(reached: Callable[[], bool]) -> None:
    """Ask again until it is so; the test's own timeout is the bound."""
    while not reached():
        pass


def served(app: App) -> set[str]:
    """Alpaca's routes that the emulator has, as the documents spell them."""
    spellings = {"{symbol:path}": "{symbol_or_asset_id}", "/crypto/us/": "/crypto/{loc}/"}
    found = set()
    for route in app.routes:
        path = route.path
        for ours, theirs in spellings.items():
            path = path.replace(ours, theirs)
        if not path.startswith("/emulator/"):
            found |= {f"{method} {path}" for method in route.methods or () if method != "HEAD"}
    return found


def test_every_answer_is_as_the_documents_say(rest: RestClient, emulator: RunningEmulator) -> None:
    check = Checked(rest)
    orders(check)
    account(check)
    market_data(check)
    assert check.seen == served(emulator.emulator.app), "every route is checked"
    assert check.needed == set(EXCEPTIONS), "no exception outlives its reason"


def test_the_check_bites() -> None:
    schema, document = schema_of("GET", "/v2/clock", 200)
    assert list(Checked._errors((schema, document), {"is_open": "yes"}))
    nullable = schema_of("POST", "/v2/orders", 200)
    body = {"notional": None, "type": "market", "time_in_force": "day"}
    assert not list(Checked._errors(nullable, body))
    assert list(Checked._errors(nullable, {**body, "status": None}))


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_the_documents_stand_with_their_licence(name: str) -> None:
    assert DOCUMENTS[name]["openapi"].startswith("3.0")
    assert "MIT" in (FOLDER / "LICENSE").read_text()
