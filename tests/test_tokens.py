"""OperationsService: tokens minted, listed, rotated and revoked over the wire, each deed on record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.message import Message

from gateway.domain.models.identity import OPERATOR_SCOPES, Scope
from gateway.infrastructure.persistence.stores import Stores
from gateway.services.audit import AuditService
from tests.bad_requests import Code, submit
from tests.gateway_host import GatewayHost
from tests.refusals import Wire, produces
from tests.test_access import Door, said
from trading_gateway.v1 import operations_pb2 as pb, trading_pb2 as trading

DAY_S = 86_400


@pytest.fixture
def door(start_gateway: GatewayHost) -> Iterator[Door]:
    door = Door(start_gateway)
    yield door
    door.close()


@pytest.fixture
def operator(door: Door) -> Wire:
    return door.wire(door.mint("", OPERATOR_SCOPES))


def minted(operator: Wire, **fields: Any) -> pb.MintTokenResponse:
    request = pb.MintTokenRequest(**{"strategy_id": "momentum", "scopes": ["orders:trade", "orders:read"]} | fields)
    answer: pb.MintTokenResponse = operator.call("MintToken", request)
    return answer


def holder(door: Door, secret: str) -> Wire:
    return Wire(door.gateway.target, headers=(("authorization", f"Bearer {secret}"),))


def test_a_token_that_was_minted_opens_what_it_names(door: Door, operator: Wire) -> None:
    answer = minted(
        operator,
        symbols=["MSFT", "AAPL"],
        max_order_notional="500.5",
        networks=["127.0.0.0/8"],
        certificate="spiffe://g/m",
    )
    token = answer.token
    assert (token.strategy_id, list(token.scopes), list(token.symbols)) == (
        "momentum", ["orders:read", "orders:trade"], ["AAPL", "MSFT"],
    )  # fmt: skip
    assert (token.max_order_notional, list(token.networks), token.certificate) == (
        "500.5", ["127.0.0.0/8"], "spiffe://g/m",
    )  # fmt: skip
    assert token.expire_time.seconds - token.create_time.seconds == 90 * DAY_S
    assert answer.secret.startswith(f"gw_emu_{token.token_id}_")
    wire = holder(door, answer.secret)
    assert not wire.call("ListOrders", trading.ListOrdersRequest()).orders
    wire.close()
    listed = operator.call("ListTokens", pb.ListTokensRequest(strategy_id="momentum")).tokens
    assert [found.token_id for found in listed] == [token.token_id]
    assert listed[0].last_used_time.seconds % 60 == 0
    assert answer.secret not in str(listed)


@produces("RESOURCE_NOT_FOUND")
def test_rotating_and_revoking(door: Door, operator: Wire) -> None:
    old = minted(operator)
    new = operator.call("RotateToken", pb.RotateTokenRequest(token_id=old.token.token_id))
    assert (list(new.token.scopes), new.token.strategy_id) == (list(old.token.scopes), "momentum")
    wires = [holder(door, answer.secret) for answer in (old, new)]
    for wire in wires:
        wire.call("ListOrders", trading.ListOrdersRequest())
    for _ in range(2):
        revoked = operator.call("RevokeToken", pb.RevokeTokenRequest(token_id=new.token.token_id)).token
        assert revoked.revoke_time.seconds
    assert said(wires[1].refusal("ListOrders", b""))[:2] == (Code.UNAUTHENTICATED, "TOKEN_INVALID")
    at_once = pb.RotateTokenRequest(token_id=old.token.token_id)
    at_once.overlap.SetInParent()
    operator.call("RotateToken", at_once)
    assert said(wires[0].refusal("ListOrders", b""))[:2] == (Code.UNAUTHENTICATED, "TOKEN_INVALID")
    for wire in wires:
        wire.close()
    nobody: tuple[tuple[str, Message], ...] = (
        ("RevokeToken", pb.RevokeTokenRequest(token_id="00000000")),
        ("RotateToken", pb.RotateTokenRequest(token_id=old.token.token_id)),
    )
    for method, request in nobody:
        refusal = operator.refusal(method, request)
        assert said(refusal)[:2] == (Code.NOT_FOUND, "RESOURCE_NOT_FOUND")
        assert refusal.metadata["resource"] == "token"


@pytest.mark.parametrize(
    ("fields", "paths"),
    [
        ({"strategy_id": ""}, {"strategy_id"}),
        ({"strategy_id": "account"}, {"strategy_id"}),
        ({"scopes": []}, {"scopes"}),
        ({"scopes": ["orders:trade", "everything"]}, {"scopes[1]"}),
        ({"symbols": ["../orders"]}, {"symbols[0]"}),
        ({"max_order_notional": "0"}, {"max_order_notional"}),
        ({"networks": ["10.0.0.1/8"]}, {"networks[0]"}),
        ({"networks": ["10.0.0.0/99", "x" * 10_000]}, {"networks[0]", "networks[1]"}),
        ({"certificate": "momentum"}, {"certificate"}),
        ({"ttl": {"seconds": 367 * DAY_S}}, {"ttl"}),
        ({"ttl": {"seconds": -1}}, {"ttl"}),
    ],
)
def test_what_makes_no_sense_is_named(operator: Wire, fields: dict[str, Any], paths: set[str]) -> None:
    request = pb.MintTokenRequest(**{"strategy_id": "momentum", "scopes": ["orders:trade"]} | fields)
    refusal = operator.refusal("MintToken", request)
    assert said(refusal)[:2] == (Code.INVALID_ARGUMENT, "FIELD_INVALID")
    assert set(refusal.fields) == paths
    assert len(operator.call("ListTokens", pb.ListTokensRequest(include_ended=True)).tokens) == 1


def test_lists_come_in_pages(operator: Wire) -> None:
    made = [minted(operator).token.token_id for _ in range(5)]
    request = pb.ListTokensRequest(strategy_id="momentum", page_size=2)
    found: list[str] = []
    for _ in range(3):
        page = operator.call("ListTokens", request)
        found += [token.token_id for token in page.tokens]
        request.page_token = page.next_page_token
    assert not page.next_page_token
    assert sorted(found) == sorted(made)
    foreign = pb.ListTokensRequest(page_token="0" * 16 + ".1.x")
    assert said(operator.refusal("ListTokens", foreign))[1] == "PAGE_TOKEN_MISMATCH"


def test_who_needs_what_is_told_to_every_token(door: Door) -> None:
    reader = door.wire(door.mint("momentum", frozenset({Scope.MARKET_DATA_READ})))
    needs = [(row.method, row.scope) for row in reader.call("ListScopes", pb.ListScopesRequest()).methods]
    assert ("/trading_gateway.v1.TradingService/SubmitOrder", "orders:trade") in needs
    assert ("/trading_gateway.v1.TradingService/CancelOrder", "orders:cancel_any") in needs
    assert ("/trading_gateway.v1.OperationsService/ListScopes", "") in needs
    assert not [method for method, _ in needs if "Health" in method]


def test_every_deed_is_on_record_and_no_secret_is(door: Door, operator: Wire) -> None:
    made = minted(operator)
    rotated = operator.call("RotateToken", pb.RotateTokenRequest(token_id=made.token.token_id))
    operator.call("RevokeToken", pb.RevokeTokenRequest(token_id=made.token.token_id))
    trader = holder(door, rotated.secret)
    trader.refusal("MintToken", pb.MintTokenRequest())
    trader.call("SubmitOrder", submit())
    trader.close()
    injector = door.gateway.gateway.injector
    audit: AuditService = injector.get(AuditService)
    door.gateway.call(audit.write_notes())
    records = list(injector.get(Stores).audit.read())
    deeds = [(record.entry.action.value, record.entry.subject, record.entry.outcome) for record in records]
    assert deeds[-7:] == [
        ("token_mint", "momentum", "asked"),
        ("token_mint", made.token.token_id, "ok"),
        ("token_rotate", made.token.token_id, "asked"),
        ("token_rotate", rotated.token.token_id, "ok"),
        ("token_revoke", made.token.token_id, "asked"),
        ("token_revoke", made.token.token_id, "ok"),
        ("permission_deny", "/trading_gateway.v1.OperationsService/MintToken", "SCOPE_MISSING"),
    ]
    assert {record.entry.actor for record in records[-7:-1]} == {records[-2].entry.actor}
    assert records[-1].entry.actor == f"momentum/{rotated.token.token_id}"
    assert not [record for record in records for secret in (made.secret, rotated.secret) if secret in str(record)]
