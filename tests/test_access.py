"""Who may do what, over the wire: every method with every scope, and one strategy beside another."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from ipaddress import ip_network
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from gateway.domain.models.audit import AuditAction
from gateway.domain.models.identity import EVERY_SCOPE, OPERATOR_SCOPES, Scope
from gateway.infrastructure.persistence.stores import Stores
from gateway.servicers.permissions import METHODS as RULES, Access
from gateway.services.audit import AuditService
from gateway.services.identity import Grant, IdentityService, Minted
from tests.bad_requests import Code, close, long_bars, spec, submit
from tests.gateway_host import GatewayHost
from tests.refusals import METHODS, Wire, noted, produces
from tests.servicers.fakes import Refused
from tests.stage import Stage
from trading_gateway.v1 import (
    common_pb2 as common,
    market_data_pb2 as data,
    simulation_pb2 as simulation,
    trading_pb2 as pb,
)

TRADER = frozenset({Scope.ORDERS_TRADE, Scope.ORDERS_READ})
OPEN_TO_EVERY_TOKEN = {"GetQuota", "ListScopes"}
REFLECTIONS = ("v1", "v1alpha")
WAIT_S = 20.0
REVOKED_S_MAX = 1.0
REVOCATIONS = 3


class Door:
    """One gateway that wants tokens, and whoever comes to it."""

    def __init__(
        self, start_gateway: GatewayHost, authentication: str = "required", failures_per_minute: int = 0
    ) -> None:
        self.gateway = start_gateway(
            authentication=authentication, authentication_failures_per_minute=failures_per_minute
        )
        self._identity: IdentityService = self.gateway.gateway.injector.get(IdentityService)
        self._wires: list[Wire] = []

    def mint(self, strategy_id: str = "momentum", scopes: frozenset[Scope] = TRADER, **grant: Any) -> Minted:
        ttl_ms = grant.pop("ttl_ms", 3_600_000)
        return self.gateway.call(self._identity.mint(Grant(strategy_id, scopes, **grant), ttl_ms))

    def revoke(self, minted: Minted) -> None:
        self.gateway.call(self._identity.revoke(minted.token.token_id))

    def wire(self, minted: Minted | None) -> Wire:
        """A connection that shows a token with each call."""
        headers = () if minted is None else (("authorization", f"Bearer {minted.secret}"),)
        wire = Wire(self.gateway.target, headers=headers)
        self._wires.append(wire)
        return wire

    def close(self) -> None:
        for wire in self._wires:
            wire.close()


@pytest.fixture
def door(start_gateway: GatewayHost) -> Iterator[Door]:
    door = Door(start_gateway)
    yield door
    door.close()


def said(refusal: Refused) -> tuple[Code, str, str]:
    """Code, reason and what becomes of the key."""
    return refusal.code, refusal.reason, refusal.metadata.get("key", "")


def named(order: pb.Order) -> pb.OrderRef:
    return pb.OrderRef(order_id=order.order_id)


def methods_with(*fields: str) -> set[str]:
    """The methods of TradingService whose requests name an order or a strategy in one of these fields."""
    service = pb.DESCRIPTOR.services_by_name["TradingService"]
    return {method.name for method in service.methods if not set(fields).isdisjoint(method.input_type.fields_by_name)}


def met(wire: Wire, method: str, request: Message | bytes = b"") -> Refused | None:
    """The error of a call or of a stream; None when it is answered, or when the stream has begun."""
    try:
        if method.startswith("Stream"):
            call = wire.stream(method, request)
            next(call)
            call.cancel()
        else:
            wire.call(method, request)
    except grpc.RpcError as error:
        return noted(error)
    return None


def test_every_method_needs_one_of_its_scopes_and_no_other(door: Door) -> None:
    """The matrix: empty requests, so that what is let in is at most malformed and changes nothing."""
    wires = {scope: door.wire(door.mint("momentum", frozenset({scope}))) for scope in EVERY_SCOPE}
    for method, (path, _) in METHODS.items():
        access = RULES[path].access
        if method in OPEN_TO_EVERY_TOKEN:
            assert access is Access.ANY_TOKEN
            assert not any(met(wire, method) for wire in wires.values())
            continue
        assert not isinstance(access, Access), f"{method} is open to every token"
        assert access
        for scope, wire in wires.items():
            refusal = met(wire, method)
            is_denied = refusal is not None and refusal.code is Code.PERMISSION_DENIED
            if scope in access:
                assert not is_denied or refusal.metadata["scope"] not in access, (method, scope, refusal)
            else:
                assert refusal is not None, (method, scope)
                assert (refusal.code, refusal.reason) == (Code.PERMISSION_DENIED, "SCOPE_MISSING"), (method, scope)
                assert set(refusal.metadata["scope"].split(" or ")) == access, (method, scope)


@produces("TOKEN_INVALID")
def test_without_a_token_nothing_is_open_but_health(door: Door) -> None:
    wire = door.wire(None)
    for method in METHODS:
        refusal = met(wire, method)
        assert refusal is not None, method
        assert said(refusal) == (Code.UNAUTHENTICATED, "TOKEN_INVALID", ""), method
    assert Stage(door.gateway, is_warm=False).is_healthy()
    assert wire.refusal("GetAccount", b"").reason == "TOKEN_INVALID"


@pytest.mark.parametrize(
    "headers",
    [
        (("authorization", "Basic {}"),),
        (("authorization", "Bearer  {}"),),
        (("authorization", "Bearer"),),
        (("authorization", "Bearer {}"), ("authorization", "Bearer {}")),
        (("authorization", "Bearer {}x"),),
        (("authorization", "Bearer " + "g" * 7_000),),
        (("x-token", "{}"),),
    ],
)
def test_a_token_is_shown_in_one_way_alone(door: Door, headers: tuple[tuple[str, str], ...]) -> None:
    secret = door.mint().secret
    wire = Wire(door.gateway.target, headers=tuple((name, text.format(secret)) for name, text in headers))
    refusal = wire.refusal("ListOrders", b"")
    wire.close()
    assert said(refusal) == (Code.UNAUTHENTICATED, "TOKEN_INVALID", "")
    assert secret not in refusal.message + str(refusal.metadata)


def test_an_address_that_fails_too_often_hears_so_and_a_valid_token_never_does(start_gateway: GatewayHost) -> None:
    door = Door(start_gateway, failures_per_minute=10)
    known, stranger = door.wire(door.mint()), door.wire(None)
    guesses = [stranger.refusal("ListOrders", b"") for _ in range(14)]
    assert [said(one)[:2] for one in guesses[:10]] == [(Code.UNAUTHENTICATED, "TOKEN_INVALID")] * 10
    assert [said(one) for one in guesses[10:]] == [(Code.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS", "")] * 4
    assert said(stranger.refusal("SubmitOrder", submit())) == (Code.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS", "")
    stream = stranger.stream("StreamOrderUpdates", pb.StreamOrderUpdatesRequest())
    assert stranger.stream_refusal(stream).reason == "TOO_MANY_CALLS"
    assert met(known, "ListOrders") is None
    assert Stage(door.gateway, is_warm=False).is_healthy()
    audit = door.gateway.gateway.injector.get(AuditService)
    door.gateway.call(audit.write_notes())
    told = [record.entry for record in door.gateway.gateway.injector.get(Stores).audit.read()]
    assert ("127.0.0.1", "TOO_MANY_CALLS") in {(entry.actor, entry.outcome) for entry in told}
    door.close()


@produces("TOKEN_EXPIRED")
def test_time_ends_a_token(door: Door) -> None:
    wire = door.wire(door.mint(ttl_ms=1))
    assert said(wire.refusal("ListOrders", b"")) == (Code.UNAUTHENTICATED, "TOKEN_EXPIRED", "")


@produces("NETWORK_NOT_ALLOWED")
def test_a_token_may_be_bound_to_networks(door: Door) -> None:
    assert met(door.wire(door.mint(networks=(ip_network("127.0.0.0/8"),))), "ListOrders") is None
    elsewhere = door.wire(door.mint(networks=(ip_network("10.0.0.0/8"),)))
    assert said(elsewhere.refusal("ListOrders", b"")) == (Code.PERMISSION_DENIED, "NETWORK_NOT_ALLOWED", "")


def denials(door: Door) -> set[tuple[str, str]]:
    """Method and reason of what the audit log says was denied to holders of tokens."""
    injector = door.gateway.gateway.injector
    door.gateway.call(injector.get(AuditService).write_notes())
    told = [record.entry for record in injector.get(Stores).audit.read()]
    denied = [entry for entry in told if entry.action is AuditAction.PERMISSION_DENY]
    assert all(entry.actor.startswith(("momentum/", "carry/")) for entry in denied)
    return {(entry.subject.rpartition("/")[2], entry.outcome) for entry in denied}


def reflected(
    wire: Wire, *headers: tuple[str, str], version: str = "v1"
) -> Iterator[reflection_pb2.ServerReflectionResponse]:
    """A reflection stream that has asked for the services and stays open."""
    call = wire.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    asked = threading.Event()

    def questions() -> Iterator[reflection_pb2.ServerReflectionRequest]:
        yield reflection_pb2.ServerReflectionRequest(list_services="")
        asked.wait(WAIT_S)

    answers: Iterator[reflection_pb2.ServerReflectionResponse] = call(questions(), metadata=headers, timeout=WAIT_S)
    return answers


def revoked_s(door: Door) -> float:
    """How long all streams of a token together outlive its revocation, seconds; each ends with the reason."""
    minted = door.mint(scopes=TRADER | {Scope.MARKET_DATA_READ})
    wire = door.wire(minted)
    symbols: dict[str, Message] = {
        "StreamOrderUpdates": pb.StreamOrderUpdatesRequest(),
        "StreamQuotes": data.StreamQuotesRequest(symbols=["AAPL"]),
        "StreamTrades": data.StreamTradesRequest(symbols=["AAPL"]),
        "StreamBars": data.StreamBarsRequest(symbols=["AAPL"]),
        "StreamHistoricalBars": long_bars(
            timeframe=common.Timeframe(amount=1, unit=1), end_time=None
        ),  # more than anybody reads here
    }
    assert set(symbols) == {method for method in METHODS if method.startswith("Stream")}
    streams = [wire.stream(method, request, timeout=WAIT_S) for method, request in symbols.items()]
    streams += [reflected(wire, *wire.headers, version=version) for version in REFLECTIONS]
    for stream in streams:
        next(stream)
    door.revoke(minted)
    revoked_at = time.monotonic()
    assert said(wire.refusal("ListOrders", b""))[:2] == (Code.UNAUTHENTICATED, "TOKEN_INVALID")
    for stream in streams:
        ended = wire.stream_refusal(stream)
        assert (ended.code, ended.reason) == (Code.UNAUTHENTICATED, "TOKEN_INVALID")
    return time.monotonic() - revoked_at


def test_a_revoked_token_ends_its_streams_within_a_second(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    """The quickest of a few tries, as a busy machine keeps nobody's time; one that is late by design is late in all."""
    tries = [revoked_s(door) for _ in range(REVOCATIONS)]
    with capsys.disabled():
        print(f"\nRevocation: all streams of a token ended after {', '.join(f'{took:.2f}' for took in tries)} s")
    assert min(tries) < REVOKED_S_MAX


def test_time_ends_the_streams_of_a_token_and_leaves_those_that_need_none(door: Door) -> None:
    minted = door.mint(ttl_ms=2_000)
    wire = door.wire(minted)
    watch = health_pb2_grpc.HealthStub(wire.channel).Watch(
        health_pb2.HealthCheckRequest(), metadata=wire.headers, timeout=WAIT_S
    )
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    book = wire.stream("StreamOrderUpdates", pb.StreamOrderUpdatesRequest(), timeout=WAIT_S)
    assert next(book).HasField("snapshot_begin")
    assert said(wire.stream_refusal(book))[:2] == (Code.UNAUTHENTICATED, "TOKEN_EXPIRED")
    assert time.time_ns() >= minted.token.expire_time_ns
    assert watch.is_active()
    watch.cancel()


@pytest.mark.parametrize("version", REFLECTIONS)
def test_reflection_is_on_for_every_token_and_for_nobody_else(door: Door, version: str) -> None:
    assert RULES[f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"].access is Access.ANY_TOKEN
    nobody = door.wire(None)
    assert nobody.stream_refusal(reflected(nobody, version=version)).reason == "TOKEN_INVALID"
    for scope in EVERY_SCOPE:
        wire = door.wire(door.mint(scopes=frozenset({scope})))
        told = next(reflected(wire, *wire.headers, version=version))
        assert "trading_gateway.v1.TradingService" in {found.name for found in told.list_services_response.service}


def test_the_venue_sees_whose_order_it_is(door: Door) -> None:
    """In its own record of what it was asked, before anything is made of it; and one key of two strategies is two."""
    request = submit(wanted=spec(limit_price="1"))
    for strategy_id in ("momentum", "carry"):
        assert door.wire(door.mint(strategy_id)).call("SubmitOrder", request).order.venue_order_id
    operator = door.wire(door.mint("", OPERATOR_SCOPES))
    asked = simulation.ListLedgerRequest(kinds=[simulation.LedgerEntry.KIND_REQUEST])
    posted = [entry for entry in operator.call("ListLedger", asked).entries if entry.body.startswith("{")]
    sent = [json.loads(entry.body).get("client_order_id") for entry in posted]
    assert sent == [f"momentum.{request.client_order_id}", f"carry.{request.client_order_id}"]


@produces("SCOPE_MISSING", "ORDER_NOT_FOUND")
def test_one_strategy_never_sees_anothers_orders(door: Door) -> None:
    owner, other = door.wire(door.mint("momentum")), door.wire(door.mint("carry", TRADER | {Scope.ACCOUNT_TRADE}))
    request = submit(wanted=spec(limit_price="1"))
    order = owner.call("SubmitOrder", request).order
    assert order.strategy_id == "momentum"

    hidden: tuple[tuple[str, Message], ...] = (
        ("GetOrder", pb.GetOrderRequest(order=named(order))),
        ("GetOrder", pb.GetOrderRequest(order=pb.OrderRef(venue_order_id=order.venue_order_id))),
        ("GetOrderTimeline", pb.GetOrderTimelineRequest(order=named(order))),
        ("CancelOrder", pb.CancelOrderRequest(order=named(order))),
        ("ReplaceOrder", pb.ReplaceOrderRequest(order=named(order), client_order_id="new", limit_price="2")),
        ("GetOrder", pb.GetOrderRequest(order=pb.OrderRef(client_order_id=request.client_order_id))),
    )
    for method, about in hidden:
        refusal = other.refusal(method, about)
        assert (refusal.code, refusal.reason) == (Code.NOT_FOUND, "ORDER_NOT_FOUND"), (method, refusal)
    theirs = pb.OrderRef(client_order_id=request.client_order_id, strategy_id="momentum")
    denied: tuple[tuple[str, Message], ...] = (
        ("GetOrder", pb.GetOrderRequest(order=theirs)),
        ("CancelOrder", pb.CancelOrderRequest(order=theirs)),
        ("ReplaceOrder", pb.ReplaceOrderRequest(order=theirs, client_order_id="new", limit_price="2")),
        ("ListOrders", pb.ListOrdersRequest(strategy_id="momentum")),
        ("ListOrders", pb.ListOrdersRequest(all_strategies=True)),
        ("GetOrderTimeline", pb.GetOrderTimelineRequest(order=theirs)),
        ("ListFills", pb.ListFillsRequest(strategy_id="momentum")),
        ("ListFills", pb.ListFillsRequest(all_strategies=True)),
        ("CancelOrders", pb.CancelOrdersRequest(strategy_id="momentum")),
        ("CancelOrders", pb.CancelOrdersRequest(all_strategies=True)),
        ("SubmitOrder", submit(strategy_id="momentum")),
        ("PreviewOrder", pb.PreviewOrderRequest(strategy_id="momentum", spec=spec())),
        ("ClosePosition", close(strategy_id="momentum")),
        ("ClosePositions", pb.ClosePositionsRequest(strategy_id="momentum", client_order_id_prefix="all")),
    )
    assert {method for method, _ in hidden} == methods_with("order")
    assert {method for method, _ in denied} == methods_with("order", "strategy_id") - {"StreamOrderUpdates"}
    for method, about in denied:
        refusal = other.refusal(method, about)
        assert (refusal.code, refusal.reason) == (Code.PERMISSION_DENIED, "SCOPE_MISSING"), (method, refusal)
    for wanted in ({"strategy_id": "momentum"}, {"all_strategies": True}):
        book = other.stream("StreamOrderUpdates", pb.StreamOrderUpdatesRequest(**wanted))
        assert other.stream_refusal(book).reason == "SCOPE_MISSING"

    assert not other.call("ListOrders", pb.ListOrdersRequest()).orders
    same_key = other.call("SubmitOrder", request).order  # in a key space of its own
    assert (same_key.strategy_id, same_key.order_id == order.order_id) == ("carry", False)
    other.call("CancelOrders", pb.CancelOrdersRequest())
    assert owner.call("GetOrder", pb.GetOrderRequest(order=named(order))).order.cancel_request_time.seconds == 0


def test_a_token_of_one_strategy_learns_nothing_of_anothers_keys(door: Door) -> None:
    """A malformed request under a key says "taken" of the caller's own keys alone."""
    owner, other = door.wire(door.mint("momentum")), door.wire(door.mint("carry"))
    known = owner.call("SubmitOrder", submit(wanted=spec(limit_price="1"))).order
    malformed = submit(wanted=spec(symbol="../orders"), strategy_id="momentum")
    malformed.client_order_id = known.client_order_id
    assert said(owner.refusal("SubmitOrder", malformed))[1:] == ("CLIENT_ORDER_ID_REUSED", "taken")
    assert said(other.refusal("SubmitOrder", malformed))[1:] == ("FIELD_INVALID", "free")


def test_operators_see_and_end_every_order_and_trade_none(door: Door) -> None:
    owner = door.wire(door.mint("momentum"))
    operator = door.wire(door.mint("", OPERATOR_SCOPES))
    order = owner.call("SubmitOrder", submit(wanted=spec(limit_price="1"))).order
    everything = operator.call("ListOrders", pb.ListOrdersRequest(all_strategies=True)).orders
    assert [seen.order_id for seen in everything] == [order.order_id]
    assert operator.call("GetOrder", pb.GetOrderRequest(order=named(order))).order.order_id == order.order_id
    assert said(operator.refusal("ListOrders", b""))[:2] == (Code.INVALID_ARGUMENT, "FIELD_INVALID")
    assert said(operator.refusal("SubmitOrder", submit()))[:2] == (Code.PERMISSION_DENIED, "SCOPE_MISSING")
    assert said(operator.refusal("ClosePosition", close()))[:2] == (Code.INVALID_ARGUMENT, "FIELD_INVALID")
    canceled = operator.call("CancelOrders", pb.CancelOrdersRequest(all_strategies=True))
    assert [result.order_id for result in canceled.results] == [order.order_id]


def test_the_account_number_is_masked_for_all_but_those_who_may_see_it(door: Door) -> None:
    """It names a person's account at the broker; a strategy that reads its cash has no use for it."""
    narrow, wide = frozenset({Scope.ACCOUNT_READ}), frozenset({Scope.ACCOUNT_READ, Scope.ACCOUNT_READ_SENSITIVE})
    seen = [
        door.wire(door.mint(scopes=scopes)).call("GetAccount", b"").account.account_number for scopes in (narrow, wide)
    ]
    assert seen == ["*****TOR1", "EMULATOR1"]


@produces("SYMBOL_NOT_ALLOWED")
def test_a_token_may_trade_its_symbols_alone(door: Door) -> None:
    """Nothing is stored, so the key is free; what it holds already is still its own to ask for."""
    wide, narrow = door.mint("momentum"), door.mint("momentum", symbols=frozenset({"MSFT"}))
    known = submit(wanted=spec(symbol="AAPL", limit_price="1"))
    order = door.wire(wide).call("SubmitOrder", known).order
    wire = door.wire(narrow)
    again = wire.call("SubmitOrder", known)
    assert (again.replayed, again.order.order_id) == (True, order.order_id)
    new = pb.SubmitOrderRequest(client_order_id="new", spec=spec(symbol="AAPL", limit_price="1"))
    assert said(wire.refusal("SubmitOrder", new)) == (Code.PERMISSION_DENIED, "SYMBOL_NOT_ALLOWED", "free")
    change = pb.ReplaceOrderRequest(order=named(order), client_order_id="more", limit_price="2")
    assert said(wire.refusal("ReplaceOrder", change)) == (Code.PERMISSION_DENIED, "SYMBOL_NOT_ALLOWED", "free")
    assert door.wire(wide).call("SubmitOrder", new).order.spec.symbol == "AAPL"
    wire.call("CancelOrder", pb.CancelOrderRequest(order=named(order)))


@produces("RISK_TOKEN_CAP")
@pytest.mark.parametrize("cents", [0, 1])
def test_a_token_caps_an_order(door: Door, cents: int) -> None:
    """At the cap an order passes; a cent beyond it is denied for good, with the figures."""
    wire = door.wire(door.mint("momentum", max_order_notional=Decimal(100)))
    limit = Decimal(50) + Decimal(cents) / 100
    request = submit(wanted=spec(quantity="2", limit_price=str(limit)))
    capped = submit(wanted=spec(quantity="1000", order_type=pb.ORDER_TYPE_MARKET, side=pb.ORDER_SIDE_SELL))
    capped.client_order_id = "market"
    refusal = wire.refusal("SubmitOrder", capped)
    assert said(refusal) == (Code.FAILED_PRECONDITION, "RISK_TOKEN_CAP", "spent")
    if not cents:
        assert wire.call("SubmitOrder", request).order.order_id
        return
    for _ in range(2):
        refusal = wire.refusal("SubmitOrder", request)
        assert said(refusal) == (Code.FAILED_PRECONDITION, "RISK_TOKEN_CAP", "spent")
    assert refusal.metadata["limit"] == "100"
    assert denials(door) == {("SubmitOrder", "RISK_TOKEN_CAP")}


def test_a_key_that_is_known_is_told_as_taken_to_a_token_that_lost_its_scope(door: Door) -> None:
    request = submit(wanted=spec(limit_price="1"))
    door.wire(door.mint("momentum")).call("SubmitOrder", request)
    reader = door.wire(door.mint("momentum", frozenset({Scope.ORDERS_READ})))
    assert said(reader.refusal("SubmitOrder", request)) == (Code.PERMISSION_DENIED, "SCOPE_MISSING", "taken")


def test_without_authentication_a_shown_token_binds_all_the_same(start_gateway: GatewayHost) -> None:
    door = Door(start_gateway, "auto")
    assert met(door.wire(None), "ListOrders") is None
    reader = door.wire(door.mint("momentum", frozenset({Scope.ORDERS_READ})))
    assert said(reader.refusal("SubmitOrder", submit()))[:2] == (Code.PERMISSION_DENIED, "SCOPE_MISSING")
    wrong = Wire(door.gateway.target, headers=(("authorization", "Bearer gw_emu_0"),))
    assert said(wrong.refusal("ListOrders", b""))[:2] == (Code.UNAUTHENTICATED, "TOKEN_INVALID")
    wrong.close()
    door.close()
