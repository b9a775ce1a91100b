"""Bad input, over a real socket: a definite and specific answer, nothing at the venue, and a server that lives on.

The single calls stand in `bad_input`, by the rows of the order-safety reference; here is what they have in common, and
the rows that need more than a call. What a situation brings about (a venue that is gone, a stream too many) is
`test_error_reasons`.
"""

from __future__ import annotations

import ast
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.emulator.exchange.assets import make_asset
from tests.bad_input import CASES, ELSEWHERE, NOT_YET, PARTLY
from tests.bad_requests import INACTIVE, KEYED, Case, Code, close, spec, submit
from tests.emulator.host import EmulatorHost, LoopThread
from tests.gateway_host import NO_CLIENT_LIMITS, GatewayHost
from tests.refusals import METHODS, Wire, produces
from tests.servicers.fakes import Refused
from tests.stage import Stage
from trading_gateway.v1 import account_pb2 as account, common_pb2 as common, market_data_pb2 as data, trading_pb2 as pb

ROWS = [f"B{number}" for number in range(1, 97)]
MESSAGE_BYTES_MAX = 512
HANG_MS = 60_000
ECHO_CHARACTERS_MIN = 5
"""Shorter texts of a request may stand in a sentence by accident."""
QUIET: dict[str, Any] = NO_CLIENT_LIMITS | {"price_symbols_max": 0}
"""No live price is subscribed behind an order: the venue would be asked later than the row that caused it."""
SPOKEN = {"AAPL", "MSFT", "TSLA", "BRK.B", "BTC/USD", "WHOLE", INACTIVE, "account", "unattributed"}
"""Texts of requests that are no secret: symbols of the stage, and names that the contract itself reserves."""


@pytest.fixture(scope="module")
def venues(emulator_loop: LoopThread) -> Iterator[EmulatorHost]:
    """Emulators of this module."""
    host = EmulatorHost(emulator_loop)
    yield host
    host.stop_all()


@pytest.fixture(scope="module")
def gateways(gateway_loop: LoopThread, venues: EmulatorHost) -> Iterator[GatewayHost]:
    """Gateways of this module."""
    host = GatewayHost(gateway_loop, venues)
    yield host
    host.stop_all()


@pytest.fixture(scope="module")
def bare(venues: EmulatorHost, gateways: GatewayHost) -> Iterator[Stage]:
    """Nothing held, nothing ordered, and some odd assets: inactive, indivisible, with a dot, with a lot size."""
    emulator = venues()
    coin = replace(make_asset("BTC/USD"), min_order_size=Decimal("0.0001"), min_trade_increment=Decimal("0.0001"))
    odd = [
        replace(make_asset(INACTIVE), status="inactive", tradable=False),
        replace(make_asset("WHOLE"), fractionable=False),
        make_asset("BRK.B"),
        coin,
        *(make_asset(symbol) for symbol in ("AAPL", "MSFT", "TSLA")),
    ]
    emulator.call(lambda: emulator.exchange.set_assets(odd))
    stage = Stage(gateways(emulator, **QUIET))
    yield stage
    stage.close()


@pytest.fixture(scope="module")
def busy(gateways: GatewayHost) -> Iterator[Stage]:
    """A gateway for the rows that need orders and positions."""
    stage = Stage(gateways(**QUIET))
    yield stage
    stage.close()


# --- the table


@pytest.mark.parametrize("row", [row for row in ROWS if row in {case.row for case in CASES}])
def test_bad_input_is_refused_and_reaches_nobody(bare: Stage, row: str) -> None:
    wrong: list[str] = []
    for case in (case for case in CASES if case.row == row):
        asked, changes, orders = bare.asked(), bare.changes(), bare.orders()
        try:
            refusal = bare.wire.refusal(case.method, case.request, compression=case.compression)
        except AssertionError as accepted:
            wrong.append(f"{case.name}: {str(accepted)[:200]}")
            continue
        faults = list(faults_of(case, refusal))
        if bare.changes() != changes or (not case.asks and bare.asked() != asked):
            faults.append(f"asked the venue: {bare.asked() - asked}")
        new = set(bare.orders().items()) - set(orders.items())
        if any(state != pb.ORDER_STATE_DENIED for _, state in new) or (new and case.key != "spent"):
            faults.append(f"left orders: {new}")
        wrong += [f"{case.name}: {fault}" for fault in faults]
        assert bare.is_healthy(), case.name
    assert not wrong, "\n".join(wrong)


def faults_of(case: Case, refusal: Refused) -> Iterator[str]:
    """What an answer lacks or has too much of."""
    expected_key = case.key if case.method in KEYED else ""
    if (refusal.code, refusal.reason) != (case.code, case.reason):
        yield f"{refusal.code.name} {refusal.reason!r}, not {case.code.name} {case.reason!r}: {refusal.message}"
    if refusal.metadata.get("key", "") != expected_key:
        yield f"key {refusal.metadata.get('key')!r}, not {expected_key!r}"
    if not set(case.fields) <= set(refusal.fields):
        yield f"names {refusal.fields}, not {case.fields}"
    if len(refusal.message.encode()) > MESSAGE_BYTES_MAX:
        yield f"says {len(refusal.message.encode())} bytes"
    figures = () if refusal.checks else refusal.metadata.values()  # a check says what it compared
    said = "\n".join([refusal.message, *refusal.descriptions, *refusal.fields, *figures])
    for text in texts_of(case.request):
        if text in said:
            yield f"echoes {text[:40]!r}"


def texts_of(request: Message | bytes) -> Iterator[str]:
    """What a caller wrote into a request, and should not find in its refusal."""
    if isinstance(request, bytes):
        return
    for field, value in request.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            pieces: list[Any] = [*value, *value.values()]
        else:
            pieces = list(value)[:20] if field.is_repeated else [value]
        for piece in pieces:
            if isinstance(piece, Message):
                yield from texts_of(piece)
            elif isinstance(piece, str) and len(piece) >= ECHO_CHARACTERS_MIN and piece not in SPOKEN:
                yield piece


def test_every_row_is_held_or_has_a_reason() -> None:
    tabled = {case.row for case in CASES}
    assert set(ROWS) == tabled | set(ELSEWHERE) | set(NOT_YET)
    assert not set(NOT_YET) & (tabled | set(ELSEWHERE))
    assert set(PARTLY) <= tabled | set(ELSEWHERE)
    for row, names in ELSEWHERE.items():
        for name in names:
            path, _, function = name.rpartition("::")
            source = Path(__file__).parent / (path or Path(__file__).name)
            defined = {node.name for node in ast.walk(ast.parse(source.read_text())) if hasattr(node, "name")}
            assert function in defined, f"{row}: there is no {name}"


def test_a_good_order_passes_after_all_that(bare: Stage) -> None:
    order = bare.submit("good", spec())
    assert bare.ended(order).state == pb.ORDER_STATE_CANCELED


# --- transport


def nested(number: int, inside: bytes) -> bytes:
    """A short length-delimited field below 16."""
    return bytes([number << 3 | 2, len(inside)]) + inside


def test_a_field_sent_twice_counts_as_it_is_read(busy: Stage) -> None:
    """The last one wins, of a oneof too; the key is compared with what was read, not with the bytes."""
    wanted = spec(quantity=None).SerializeToString() + nested(4, b"100") + nested(3, b"9") + nested(3, b"2")
    raw = nested(2, b"overwritten") + nested(2, b"twice") + nested(3, wanted)
    order = busy.wire.call("SubmitOrder", raw).order
    assert (order.client_order_id, order.spec.quantity) == ("twice", "2")
    again = busy.wire.call("SubmitOrder", pb.SubmitOrderRequest(client_order_id="twice", spec=spec(quantity="2")))
    assert (again.replayed, again.order.order_id) == (True, order.order_id)
    busy.ended(order)


@pytest.mark.parametrize(
    "path", ["/trading_gateway.v1.TradingService/Nothing", "/trading_gateway.v2.TradingService/SubmitOrder", "/x"]
)
def test_what_is_not_served_is_unimplemented(bare: Stage, path: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        bare.wire.channel.unary_unary(path)(submit().SerializeToString(), timeout=5)
    assert caught.value.code() is Code.UNIMPLEMENTED
    assert bare.is_healthy()


@pytest.mark.parametrize(
    "headers", [[("note", "x" * 40_000)], [(f"note-{number}", "x" * 32) for number in range(1_000)]]
)
def test_headers_beyond_the_limit_are_refused(bare: Stage, headers: list[tuple[str, str]]) -> None:
    asked, orders = bare.asked(), bare.orders()
    refusal = bare.wire.refusal("SubmitOrder", submit(), metadata=headers)
    assert (refusal.code, refusal.metadata) == (Code.RESOURCE_EXHAUSTED, {})
    assert (bare.asked(), bare.orders()) == (asked, orders)
    assert bare.is_healthy()


@pytest.mark.parametrize("header", [("Upper", "x"), ("näme", "x"), ("name", "näme"), ("name", "a\nb"), ("a b", "x")])
def test_malformed_headers_do_not_leave_the_client(bare: Stage, header: tuple[str, str]) -> None:
    orders = bare.orders()
    with pytest.raises((ValueError, TypeError, grpc.RpcError)):
        bare.wire.call("SubmitOrder", submit(), metadata=[header])
    assert bare.orders() == orders
    assert bare.is_healthy()


def test_reserved_and_stray_headers_are_ignored(bare: Stage) -> None:
    headers = [("stray-bin", b"\x00\xff"), ("grpc-accept-encoding", "x"), ("grpc-unheard-of", "1"), ("te-", "y")]
    answer = bare.wire.call("GetAccount", account.GetAccountRequest(), metadata=headers)
    assert answer.account.account_id


def test_a_call_that_is_late_already_does_nothing(bare: Stage) -> None:
    asked, orders = bare.asked(), bare.orders()
    for timeout_s in (-1.0, 1e-9, 0.001):
        refusal = bare.wire.refusal("SubmitOrder", submit(), timeout=timeout_s)
        assert refusal.code is Code.DEADLINE_EXCEEDED or refusal.reason == "INSUFFICIENT_TIME"
    assert bare.is_healthy()
    assert (bare.asked(), bare.orders()) == (asked, orders)


@produces("INSUFFICIENT_TIME")
def test_too_little_time_is_refused_before_anything_is_recorded(bare: Stage) -> None:
    """A call may be late altogether on a busy machine, which is an answer as well: it is tried a few times."""
    asked, orders = bare.asked(), bare.orders()
    for _ in range(20):
        refusal = bare.wire.refusal("SubmitOrder", submit(), timeout=0.055)
        if refusal.code is not Code.DEADLINE_EXCEEDED:
            break
    assert (refusal.code, refusal.reason) == (Code.FAILED_PRECONDITION, "INSUFFICIENT_TIME")
    assert refusal.metadata["key"] == "free"
    assert (bare.asked(), bare.orders()) == (asked, orders)


@pytest.mark.parametrize("timeout_s", [None, 0.0, 1e9])
def test_the_server_ends_calls_whatever_the_caller_would_wait(
    start_gateway: GatewayHost, timeout_s: float | None
) -> None:
    """No deadline, 0, which gRPC for Python takes for none, and one in thirty years."""
    gateway = start_gateway(deadline_default_ms=200)
    gateway.emulator.fault("request_lost", "GET /v2/account", delay_ms=HANG_MS)
    wire = Wire(gateway.target)
    request = account.GetAccountRequest()
    request.max_staleness.SetInParent()
    began = time.monotonic()
    refusal = wire.refusal("GetAccount", request, timeout=timeout_s)
    wire.close()
    assert time.monotonic() - began < HANG_MS / 10_000
    assert refusal.code is Code.DEADLINE_EXCEEDED or refusal.reason == "VENUE_UNREACHABLE"


def test_calls_begun_and_broken_off_do_not_disturb_others(bare: Stage) -> None:
    """As fast as one client can: a thousand in a moment. Its own connection may suffer, others do not."""
    orders = bare.orders()
    request = pb.PreviewOrderRequest(spec=spec(quantity="77"))
    flood = Wire(bare.gateway.target)
    for _ in range(1_000):
        flood.begin("PreviewOrder", request).cancel()
    assert bare.is_healthy()
    flood.close()
    assert bare.wire.call("PreviewOrder", request).normalized_spec.quantity == "77"
    assert bare.orders() == orders


def test_other_protocols_are_turned_away(bare: Stage) -> None:
    host, port = bare.gateway.target.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + b"x" * 1_000)
        received = b"".join(iter(lambda: plain.recv(4_096), b""))
        assert b"200" not in received[:40]
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((host, int(port)), timeout=10) as raw, pytest.raises((OSError, ssl.SSLError)):
        context.wrap_socket(raw)
    assert bare.is_healthy()


def test_a_second_message_of_a_unary_call_is_never_read(busy: Stage) -> None:
    """An error of gRPC's core would do as well; two orders would not."""
    orders = busy.orders()
    path, answer = METHODS["SubmitOrder"]
    messages = [pb.SubmitOrderRequest(client_order_id=f"message-{number}", spec=spec()) for number in (1, 2)]
    call = busy.wire.channel.stream_unary(path, pb.SubmitOrderRequest.SerializeToString, answer.FromString)
    order = call(iter(messages), timeout=5).order
    assert order.client_order_id == "message-1"
    assert set(busy.orders()) - set(orders) == {order.order_id}
    busy.ended(order)
    assert busy.is_healthy()


# --- identity


def test_headers_do_not_name_a_strategy(busy: Stage) -> None:
    headers = [("x-strategy-id", "somebody-else")]
    request = pb.SubmitOrderRequest(client_order_id="whose", spec=spec())
    order = busy.wire.call("SubmitOrder", request, metadata=headers).order
    assert order.strategy_id == "default"
    busy.ended(order)


@produces("ORDER_NOT_FOUND", "RESUME_TOKEN_INVALID")
def test_keys_and_tokens_belong_to_their_book(busy: Stage) -> None:
    order = busy.submit("mine", spec(), strategy_id="one")
    elsewhere = pb.OrderRef(client_order_id="mine", strategy_id="two")
    assert busy.wire.refusal("GetOrder", pb.GetOrderRequest(order=elsewhere)).reason == "ORDER_NOT_FOUND"
    other = busy.submit("mine", spec(quantity="2"), strategy_id="two")
    assert other.order_id != order.order_id
    for kept in (order, other):
        busy.ended(kept)
    book = busy.wire.stream("StreamOrderUpdates", pb.StreamOrderUpdatesRequest(strategy_id="one"))
    token = next(step.resume_token for step in book if step.resume_token)
    book.cancel()
    taken = pb.StreamOrderUpdatesRequest(strategy_id="two", resume_token=token)
    refusal = busy.wire.stream_refusal(busy.wire.stream("StreamOrderUpdates", taken))
    assert (refusal.code, refusal.reason) == (Code.INVALID_ARGUMENT, "RESUME_TOKEN_INVALID")


# --- keys


@produces("CLIENT_ORDER_ID_REUSED")
def test_a_key_holds_one_content_for_ever(busy: Stage) -> None:
    """Other content, another rpc, or content that is malformed: the order that holds the key may be live."""
    order = busy.until(busy.submit("one-content", spec()), pb.ORDER_STATE_WORKING)
    changes, orders = busy.changes(), busy.orders()
    ref = pb.OrderRef(order_id=order.order_id)
    for method, request in (
        ("SubmitOrder", pb.SubmitOrderRequest(client_order_id="one-content", spec=spec(quantity="2"))),
        ("SubmitOrder", pb.SubmitOrderRequest(client_order_id="one-content", spec=spec(side=pb.ORDER_SIDE_SELL))),
        ("SubmitOrder", pb.SubmitOrderRequest(client_order_id="one-content", spec=spec(quantity="NaN"))),
        ("ReplaceOrder", pb.ReplaceOrderRequest(client_order_id="one-content", order=ref, limit_price="51")),
        ("ClosePosition", pb.ClosePositionRequest(client_order_id="one-content", symbol="AAPL")),
    ):
        refusal = busy.wire.refusal(method, request)
        assert (refusal.code, refusal.reason) == (Code.ALREADY_EXISTS, "CLIENT_ORDER_ID_REUSED")
        assert refusal.metadata["key"] == "taken"
    assert (busy.changes(), busy.orders()) == (changes, orders)
    busy.ended(order)


# --- state


def test_canceling_what_has_ended_is_no_error(busy: Stage) -> None:
    filled = busy.bought("filled", "MSFT", "1")
    canceled = busy.ended(busy.submit("canceled", spec()))
    changes = busy.changes()
    for order, state in ((filled, pb.ORDER_STATE_FILLED), (canceled, pb.ORDER_STATE_CANCELED)):
        answer = busy.wire.call("CancelOrder", pb.CancelOrderRequest(order=pb.OrderRef(order_id=order.order_id)))
        assert (answer.already_terminal, answer.order.state) == (True, state)
    assert busy.changes() == changes


def test_canceling_what_its_sibling_has_ended_is_no_error(busy: Stage) -> None:
    """An OCO whose take-profit fills at once: the stop-loss is gone before anybody cancels it."""
    busy.bought("for-two-exits", "NVDA", "1")
    exits = pb.OrderSpec(
        symbol="NVDA", side=pb.ORDER_SIDE_SELL, quantity="1", order_type=pb.ORDER_TYPE_LIMIT,
        time_in_force=pb.TIME_IN_FORCE_DAY, order_class=pb.ORDER_CLASS_OCO,
        take_profit=pb.TakeProfit(limit_price="2"), stop_loss=pb.StopLoss(stop_price="1"),
    )  # fmt: skip
    order = busy.until(busy.submit("two-exits", exits), pb.ORDER_STATE_FILLED)
    leg = pb.OrderRef(order_id=f"{order.order_id}/stop-loss")
    busy.until(pb.Order(order_id=leg.order_id), pb.ORDER_STATE_CANCELED)
    changes = busy.changes()
    answer = busy.wire.call("CancelOrder", pb.CancelOrderRequest(order=leg))
    assert (answer.already_terminal, answer.order.state) == (True, pb.ORDER_STATE_CANCELED)
    assert busy.changes() == changes


@produces("ORDER_TERMINAL", "VERSION_MISMATCH", "FIELD_INVALID", "ORDER_COMBINATION")
def test_replaces_that_cannot_be(busy: Stage) -> None:
    ended = busy.ended(busy.submit("ended", spec()))
    working = busy.until(busy.submit("working", spec(quantity="3")), pb.ORDER_STATE_WORKING)
    changes = busy.changes()

    def refused(order: pb.Order, **fields: Any) -> Refused:
        request = pb.ReplaceOrderRequest(
            client_order_id="replace", order=pb.OrderRef(order_id=order.order_id), **fields
        )
        refusal = busy.wire.refusal("ReplaceOrder", request)
        assert refusal.metadata["key"] == "free"
        return refusal

    terminal = refused(ended, limit_price="51")
    assert (terminal.code, terminal.reason) == (Code.FAILED_PRECONDITION, "ORDER_TERMINAL")
    for version in (working.version + 1, 2**64 - 1):
        stale = refused(working, limit_price="51", expected_version=version)
        assert (stale.code, stale.reason) == (Code.ABORTED, "VERSION_MISMATCH")
    for fields in ({}, {"quantity": "1.5"}, {"quantity": "0"}):
        invalid = refused(working, **fields)
        assert (invalid.code, invalid.reason) == (Code.INVALID_ARGUMENT, "FIELD_INVALID")
        assert invalid.fields
    for fields in ({"stop_price": "40"}, {"trail": "1"}):
        unfit = refused(working, **fields)
        assert (unfit.code, unfit.reason) == (Code.INVALID_ARGUMENT, "ORDER_COMBINATION")
    late = refused(working, limit_price="51", valid_until=Timestamp(seconds=1))
    assert (late.code, late.reason) == (Code.FAILED_PRECONDITION, "EXPIRED_UNSENT")
    assert busy.changes() == changes
    busy.ended(working)


@produces("RISK_SHORT_NOT_ALLOWED", "RISK_REDUCE_ONLY")
def test_orders_that_do_more_than_the_position_allows(busy: Stage) -> None:
    busy.bought("position", "TSLA", "2")
    changes = busy.changes()

    def denied(key: str, wanted: pb.OrderSpec) -> str:
        request = pb.SubmitOrderRequest(client_order_id=key, spec=wanted)
        refusals = [busy.wire.refusal("SubmitOrder", request) for _ in range(2)]
        assert refusals[0] == refusals[1], "the key's answer for ever"
        assert (refusals[0].code, refusals[0].metadata["key"]) == (Code.FAILED_PRECONDITION, "spent")
        assert refusals[0].checks
        return refusals[0].reason

    selling = {"symbol": "TSLA", "side": pb.ORDER_SIDE_SELL, "limit_price": "900"}
    assert denied("cross-zero", spec(**selling, quantity="3")) == "RISK_SHORT_NOT_ALLOWED"
    assert denied("reduce-more", spec(**selling, quantity="3", reduce_only=True)) == "RISK_REDUCE_ONLY"
    assert denied("increase", spec(symbol="TSLA", reduce_only=True)) == "RISK_REDUCE_ONLY"
    too_much = busy.wire.refusal("ClosePosition", close(symbol="TSLA", quantity="3"))
    assert (too_much.code, too_much.reason) == (Code.FAILED_PRECONDITION, "RISK_REDUCE_ONLY")
    assert busy.changes() == changes


# --- streams


@produces("RESUME_TOKEN_INVALID", "FIELD_INVALID")
@pytest.mark.parametrize("token", ["x", "A" * 52, "A" * 500])
def test_resume_tokens_that_are_none(bare: Stage, token: str) -> None:
    wrong = bare.wire.stream("StreamOrderUpdates", pb.StreamOrderUpdatesRequest(resume_token=token))
    refusal = bare.wire.stream_refusal(wrong)
    assert (refusal.code, refusal.reason) == (Code.INVALID_ARGUMENT, "RESUME_TOKEN_INVALID")
    for request in (
        pb.StreamOrderUpdatesRequest(resume_token=""),
        pb.StreamOrderUpdatesRequest(live_only=False),
        pb.StreamOrderUpdatesRequest(resume_token="x" * 600),
        pb.StreamOrderUpdatesRequest(strategy_id="a.b"),
        pb.StreamOrderUpdatesRequest(heartbeat_interval={"seconds": 121}),
        pb.StreamOrderUpdatesRequest(heartbeat_interval={"nanos": 1}),
        pb.StreamOrderUpdatesRequest(resume_token="x", include_closed_since={"seconds": 1}),
        pb.StreamOrderUpdatesRequest(live_only=True, include_closed_since={"seconds": 1}),
        pb.StreamOrderUpdatesRequest(start_time={"seconds": 1}, include_closed_since={"seconds": 1}),
        pb.StreamOrderUpdatesRequest(include_closed_since={"nanos": -1}),
        pb.StreamOrderUpdatesRequest(include_closed_since={"seconds": 4_000_000_000}),
        pb.StreamOrderUpdatesRequest(start_time={"seconds": 4_000_000_000}),
        pb.StreamOrderUpdatesRequest(start_time={"seconds": 1 << 40}),
    ):
        invalid = bare.wire.stream_refusal(bare.wire.stream("StreamOrderUpdates", request))
        assert (invalid.code, invalid.reason) == (Code.INVALID_ARGUMENT, "FIELD_INVALID")
    both = b"".join(
        pb.StreamOrderUpdatesRequest(**one).SerializeToString() for one in ({"resume_token": "x"}, {"live_only": True})
    )
    last_wins = bare.wire.stream("StreamOrderUpdates", both)
    assert next(last_wins).HasField("feed_status")
    last_wins.cancel()


@pytest.mark.parametrize(
    ("method", "request_of"),
    [
        ("StreamQuotes", data.StreamQuotesRequest),
        ("StreamTrades", data.StreamTradesRequest),
        ("StreamBars", data.StreamBarsRequest),
    ],
)
def test_streams_refuse_by_symbol(bare: Stage, method: str, request_of: Callable[..., Message]) -> None:
    """A bad symbol is told in an ack and ends nothing; too many, none, or a wrong field end the stream."""
    bad = ["aapl", "../orders", "ZZZZZZ", "AAPL,MSFT", "*", "BTC-USD", "", "AAPL\n", "x" * 1_000]
    stream = bare.wire.stream(method, request_of(symbols=["AAPL", "AAPL", *bad], heartbeat_interval={"seconds": 1}))
    codes: dict[str, int] = {}
    while len(codes) < len(bad) + 1:
        for ack in next(stream).status.acks:
            codes[ack.symbol] = ack.status.code
            assert len(ack.status.message.encode()) <= MESSAGE_BYTES_MAX
    stream.cancel()
    missing, invalid = Code.NOT_FOUND.value[0], Code.INVALID_ARGUMENT.value[0]
    assert codes == {"AAPL": 0, "ZZZZZZ": missing} | dict.fromkeys((s for s in bad if s != "ZZZZZZ"), invalid)

    many = [f"A{number}" for number in range(501)]
    refused = bare.wire.stream_refusal(bare.wire.stream(method, request_of(symbols=many)))
    assert (refused.code, refused.reason) == (Code.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS")
    for fields, field in (
        ({"symbols": []}, "symbols"),
        ({"symbols": ["AAPL", "BTC/USD"]}, "symbols[1]"),
        ({"symbols": ["AAPL"], "feed": 99}, "feed"),
        ({"symbols": ["AAPL"], "feed": common.DATA_FEED_CRYPTO_US}, "symbols[0]"),
        ({"symbols": ["AAPL"], "conflation": 77}, "conflation"),
        ({"symbols": ["AAPL"], "heartbeat_interval": {"nanos": 1}}, "heartbeat_interval"),
        ({"symbols": ["AAPL"], "max_batch_delay": {"seconds": 2}}, "max_batch_delay"),
        ({"symbols": ["AAPL"], "max_batch_delay": {"seconds": -1}}, "max_batch_delay"),
    ):
        invalid_request = bare.wire.stream_refusal(bare.wire.stream(method, request_of(**fields)))
        assert (invalid_request.code, invalid_request.reason) == (Code.INVALID_ARGUMENT, "FIELD_INVALID")
        assert field in invalid_request.fields
    assert bare.is_healthy()
