"""Both clients against a scripted server: what is asked, what is decoded, what is repeated."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from tests.clients.scripted import OPEN, Refusal, ScriptedGateway
from trading_gateway import GatewayError, KeyFate, OrderRef, RetryPolicy
from trading_gateway.errors import AMBIGUOUS
from trading_gateway.transport import DEFAULT_TIMEOUT_S
from trading_gateway.v1 import market_data_pb2, risk_pb2, simulation_pb2, trading_pb2, trading_pb2 as pb

ORDER = pb.Order(order_id="o-1", client_order_id="k-1", state=pb.ORDER_STATE_WORKING, version=1)
MARKET_BUY: Any = {"symbol": "AAPL", "side": "buy", "quantity": "1", "order_type": "market", "time_in_force": "day"}

LOST = Refusal(grpc.StatusCode.UNAVAILABLE)


def test_a_request_carries_the_contracts_fields(client: Any, scripted: ScriptedGateway) -> None:
    requests = scripted.script("SubmitOrder", pb.SubmitOrderResponse(order=ORDER))
    answer = client.submit_order(
        client_order_id="k-1",
        strategy_id="momentum",
        symbol="AAPL",
        side="sell",
        quantity=Decimal("1.50"),
        order_type="stop_limit",
        time_in_force=pb.TIME_IN_FORCE_GTC,
        limit_price="187.25",
        stop_price=188,
        order_class="bracket",
        take_profit_limit_price="150",
        stop_loss_stop_price="200",
        stop_loss_limit_price="201.5",
        valid_until=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
        labels={"signal": "7"},
    )
    assert answer == pb.SubmitOrderResponse(order=ORDER)
    expected = pb.SubmitOrderRequest(
        strategy_id="momentum",
        client_order_id="k-1",
        spec=pb.OrderSpec(
            symbol="AAPL",
            side=pb.ORDER_SIDE_SELL,
            quantity="1.50",
            order_type=pb.ORDER_TYPE_STOP_LIMIT,
            time_in_force=pb.TIME_IN_FORCE_GTC,
            limit_price="187.25",
            stop_price="188",
            order_class=pb.ORDER_CLASS_BRACKET,
            take_profit=pb.TakeProfit(limit_price="150"),
            stop_loss=pb.StopLoss(stop_price="200", limit_price="201.5"),
        ),
        labels={"signal": "7"},
    )
    expected.valid_until.FromJsonString("2026-01-02T03:04:05.678901Z")
    assert requests == [expected]


def test_an_order_is_named_by_itself_its_id_or_any_reference(client: Any, scripted: ScriptedGateway) -> None:
    requests = scripted.script("GetOrder", pb.GetOrderResponse(order=ORDER))
    assert client.get_order("o-1") == ORDER
    client.get_order(ORDER)
    client.get_order(OrderRef(client_order_id="k-1"), include_legs=True)
    assert [one.order for one in requests] == [
        OrderRef(order_id="o-1"),
        OrderRef(order_id="o-1"),
        OrderRef(client_order_id="k-1"),
    ]
    assert requests[2].include_legs


@pytest.mark.parametrize("refused", [1.5, True, None])
def test_only_exact_numbers_become_decimals(client: Any, scripted: ScriptedGateway, refused: Any) -> None:
    requests = scripted.script("ReplaceOrder", pb.ReplaceOrderResponse(order=ORDER))
    if refused is None:
        client.replace_order("o-1", client_order_id="k-2", limit_price=None)
        assert not requests[0].HasField("limit_price")
        return
    with pytest.raises(TypeError, match="limit_price"):
        client.replace_order("o-1", client_order_id="k-2", limit_price=refused)
    with pytest.raises(TypeError, match="quantity"):
        client.submit_order(client_order_id="k-2", **{**MARKET_BUY, "quantity": refused})
    assert requests == []


@pytest.mark.parametrize("refused", ["-1", "1e3", "01", "1.0000000001", "", " 1", Decimal("NaN"), "1_000"])
def test_a_decimal_outside_the_grammar_is_refused(client: Any, refused: Any) -> None:
    with pytest.raises(ValueError, match="quantity"):
        client.preview_order(**{**MARKET_BUY, "quantity": refused})


def test_contradictions_are_refused_before_a_oneof_drops_one(client: Any) -> None:
    with pytest.raises(ValueError, match="quantity and notional"):
        client.preview_order(**MARKET_BUY, notional="100")
    with pytest.raises(ValueError, match="quantity and percentage"):
        client.close_position("AAPL", client_order_id="k", quantity="1", percentage="50")
    with pytest.raises(ValueError, match="'bye'; it has buy, sell"):
        client.preview_order(**{**MARKET_BUY, "side": "bye"})
    with pytest.raises(ValueError, match="time zone"):
        client.submit_order(client_order_id="k", valid_until=datetime(2026, 1, 1), **MARKET_BUY)  # noqa: DTZ001


def test_a_mistyped_argument_is_not_passed_over(client: Any, scripted: ScriptedGateway) -> None:
    requests = scripted.script("SubmitOrder", pb.SubmitOrderResponse(order=ORDER))
    with pytest.raises(TypeError, match="reduce_onyl"):
        client.submit_order(client_order_id="k", **MARKET_BUY, reduce_onyl=True)
    with pytest.raises(TypeError, match="missing keyword argument side"):
        client.submit_order(client_order_id="k", **{name: MARKET_BUY[name] for name in MARKET_BUY if name != "side"})
    with pytest.raises(TypeError, match="max_stalenes"):
        client.get_latest_quotes("AAPL", max_stalenes=1)
    with pytest.raises(TypeError, match="conflaton"):
        next(client.stream_quotes("AAPL", conflaton="none"))
    assert requests == []


def test_an_ambiguous_error_is_repeated_under_the_same_key(client: Any, scripted: ScriptedGateway) -> None:
    answer = pb.SubmitOrderResponse(order=ORDER, replayed=True)
    requests = scripted.script("SubmitOrder", LOST, Refusal(grpc.StatusCode.INTERNAL), answer)
    assert client.submit_order(client_order_id="k-1", **MARKET_BUY).replayed
    assert [one.client_order_id for one in requests] == ["k-1", "k-1", "k-1"]
    assert requests[0] == requests[1] == requests[2]


def test_a_repeated_call_warns_once(client: Any, scripted: ScriptedGateway, caplog: pytest.LogCaptureFixture) -> None:
    """Who waits is told why, also where nobody has configured a log."""
    scripted.script("GetOrder", LOST, LOST, pb.GetOrderResponse(order=ORDER))
    client.get_order("o-1")
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warned) == 1
    assert "UNAVAILABLE: scripted" in warned[0]


def test_repeating_has_an_end_and_says_that_nothing_is_known(client: Any, scripted: ScriptedGateway) -> None:
    requests = scripted.script("SubmitOrder", LOST)
    with pytest.raises(GatewayError) as caught:
        client.submit_order(client_order_id="k-1", **MARKET_BUY)
    assert len(requests) == 3
    assert caught.value.outcome_unknown
    assert caught.value.request_id == "request-7"


def test_where_nobody_listens_the_error_says_so_and_nothing_else(connect: Any) -> None:
    """No words of the transport, and no traceback of its exception beside ours."""
    with pytest.raises(GatewayError) as caught:
        connect("127.0.0.1:1").submit_order(client_order_id="k-1", **MARKET_BUY)
    assert str(caught.value) == "UNAVAILABLE: no gateway answers at 127.0.0.1:1 (Connection refused): is it running?"
    assert caught.value.outcome_unknown
    assert caught.value.__context__ is None


def test_a_question_without_an_answer_leaves_nothing_in_doubt(client: Any, scripted: ScriptedGateway) -> None:
    scripted.script("GetOrder", LOST)
    with pytest.raises(GatewayError) as caught:
        client.get_order("o-1")
    assert caught.value.ambiguous
    assert not caught.value.outcome_unknown
    scripted.script("StreamOrderUpdates", [LOST])
    with pytest.raises(GatewayError) as caught:
        next(client.stream_order_updates())
    assert not caught.value.outcome_unknown


def test_the_tries_go_on_for_as_long_as_a_gateway_takes_to_come_back() -> None:
    """However short the random half of each pause is."""
    policy = RetryPolicy()
    shortest_s = sum(policy.pause_s(failures, None, lambda: 1.0) for failures in range(1, policy.attempts_max))
    assert 5 < shortest_s < DEFAULT_TIMEOUT_S


def test_a_definite_error_is_not_repeated(client: Any, scripted: ScriptedGateway) -> None:
    denial = Refusal(
        grpc.StatusCode.FAILED_PRECONDITION,
        "RISK_BUYING_POWER",
        {"key": "spent", "order_id": "o-9"},
        details=(
            error_details_pb2.PreconditionFailure(
                violations=[{"type": "RISK_BUYING_POWER", "subject": "default", "description": "900 > 100 USD"}]
            ),
        ),
    )
    requests = scripted.script("SubmitOrder", denial)
    with pytest.raises(GatewayError, match="RISK_BUYING_POWER") as caught:
        client.submit_order(client_order_id="k-1", **MARKET_BUY)
    error = caught.value
    assert len(requests) == 1
    assert (error.code, error.key, error.outcome_unknown) == (grpc.StatusCode.FAILED_PRECONDITION, KeyFate.SPENT, False)
    assert error.metadata["order_id"] == "o-9"
    assert [check.description for check in error.failed_checks] == ["900 > 100 USD"]


def test_a_definite_error_without_a_key_leaves_an_earlier_try_unknown(client: Any, scripted: ScriptedGateway) -> None:
    """The first try may have arrived; a proxy that then refuses says nothing about the key."""
    scripted.script("SubmitOrder", LOST, Refusal(grpc.StatusCode.PERMISSION_DENIED))
    with pytest.raises(GatewayError) as caught:
        client.submit_order(client_order_id="k-1", **MARKET_BUY)
    assert caught.value.outcome_unknown
    scripted.script("SubmitOrder", LOST, Refusal(grpc.StatusCode.FAILED_PRECONDITION, "NOT_SENT", {"key": "spent"}))
    with pytest.raises(GatewayError) as caught:
        client.submit_order(client_order_id="k-1", **MARKET_BUY)
    assert not caught.value.outcome_unknown


def test_the_pause_that_an_error_asks_for_is_kept_or_the_call_ends(connect: Any, scripted: ScriptedGateway) -> None:
    busy = Refusal(grpc.StatusCode.UNAVAILABLE, "DRAINING", {"key": "free"}, retry_after_ms=30_000)
    requests = scripted.script("GetOrder", busy)
    with pytest.raises(GatewayError) as caught:
        connect(scripted.target, timeout_s=5).get_order("o-1")
    assert caught.value.retry_after_s == 30.0
    assert len(requests) == 1


def test_a_key_that_is_free_is_tried_again_after_the_pause_asked_for(client: Any, scripted: ScriptedGateway) -> None:
    busy = Refusal(grpc.StatusCode.UNAVAILABLE, "JOURNAL_UNAVAILABLE", {"key": "free"}, retry_after_ms=40)
    requests = scripted.script("SubmitOrder", busy, pb.SubmitOrderResponse(order=ORDER))
    began = time.monotonic()
    assert client.submit_order(client_order_id="k-1", **MARKET_BUY).order == ORDER
    assert time.monotonic() - began >= 0.04
    assert requests[0] == requests[1]


@pytest.mark.parametrize(("timeout_s", "valid_s"), [(0.5, 5), (20, 20), (300, 55)])
def test_every_try_of_a_command_ends_at_the_same_instant(
    connect: Any, scripted: ScriptedGateway, timeout_s: float, valid_s: float
) -> None:
    """Counted from this machine's clock, once: a try that arrives late cannot be sent."""
    client = connect(scripted.target, timeout_s=timeout_s)
    submits = scripted.script("SubmitOrder", LOST, LOST, pb.SubmitOrderResponse(order=ORDER))
    replaces = scripted.script("ReplaceOrder", LOST, pb.ReplaceOrderResponse(order=ORDER))
    closes = scripted.script("ClosePosition", LOST, pb.ClosePositionResponse(order=ORDER))
    before_ns = time.time_ns()
    client.submit_order(client_order_id="k-1", **MARKET_BUY)
    client.replace_order(ORDER, client_order_id="k-2", quantity=2)
    client.close_position("AAPL", client_order_id="k-3")
    after_ns = time.time_ns()
    for requests in (submits, replaces, closes):
        instants = {request.valid_until.ToNanoseconds() for request in requests}
        assert len(instants) == 1
        assert before_ns <= instants.pop() - valid_s * 1_000_000_000 <= after_ns


def test_a_try_without_an_answer_is_lost_and_asked_again(connect: Any, scripted: ScriptedGateway) -> None:
    """Long before the whole timeout: the gateway answers a command within seconds, whatever the venue does."""
    quick = RetryPolicy(try_timeout_s=0.2, backoff_initial_s=0.001)  # an answer takes milliseconds
    client = connect(scripted.target, timeout_s=20, retry=quick)
    requests = scripted.script("SubmitOrder", OPEN, OPEN, pb.SubmitOrderResponse(order=ORDER, replayed=True))
    assert client.submit_order(client_order_id="k-1", **MARKET_BUY).replayed
    assert len(requests) == 3
    assert requests[0] == requests[2]


def test_what_was_asked_to_wait_is_waited_for(connect: Any, scripted: ScriptedGateway) -> None:
    client = connect(scripted.target, timeout_s=0.2, retry=RetryPolicy(try_timeout_s=0.05, attempts_max=1))
    scripted.script("CancelOrder", OPEN)
    began = time.monotonic()
    with pytest.raises(GatewayError, match="DEADLINE_EXCEEDED"):
        client.cancel_order(ORDER, wait_for_terminal_s=0.25)
    assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize(
    ("second", "unknown", "may_arrive"),
    [
        (Refusal(grpc.StatusCode.PERMISSION_DENIED), True, True),
        (Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS", {"key": "free"}), False, True),
        (Refusal(grpc.StatusCode.FAILED_PRECONDITION, "NOT_SENT", {"key": "spent"}), False, False),
        (Refusal(grpc.StatusCode.ALREADY_EXISTS, "CLIENT_ORDER_ID_REUSED", {"key": "taken"}), False, False),
    ],
)
def test_an_error_says_how_long_an_earlier_try_may_still_arrive(
    client: Any, scripted: ScriptedGateway, second: Refusal, unknown: bool, may_arrive: bool
) -> None:
    """A key that is free now is taken by a try that a broken network delivers: a new key would be a second order."""
    requests = scripted.script("SubmitOrder", LOST, second)
    with pytest.raises(GatewayError) as caught:
        client.submit_order(client_order_id="k-1", **MARKET_BUY)
    error = caught.value
    assert error.outcome_unknown is unknown
    if not may_arrive:
        assert error.may_arrive_until is None
    else:
        assert 0 <= (error.may_arrive_until - requests[0].valid_until.ToDatetime(UTC)).total_seconds() <= 1e-6


def test_an_answered_try_is_not_on_its_way(client: Any, scripted: ScriptedGateway) -> None:
    scripted.script("SubmitOrder", Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS", {"key": "free"}))
    with pytest.raises(GatewayError) as caught:
        client.submit_order(client_order_id="k-1", **MARKET_BUY)
    assert caught.value.may_arrive_until is None


@pytest.mark.parametrize("code", sorted(AMBIGUOUS, key=lambda code: code.name))
def test_every_ambiguous_code_is_asked_again(client: Any, scripted: ScriptedGateway, code: grpc.StatusCode) -> None:
    requests = scripted.script("SubmitOrder", Refusal(code), pb.SubmitOrderResponse(order=ORDER))
    assert client.submit_order(client_order_id="k-1", **MARKET_BUY).order == ORDER
    assert [one.client_order_id for one in requests] == ["k-1", "k-1"]


@pytest.mark.parametrize("code", sorted(set(grpc.StatusCode) - AMBIGUOUS - {grpc.StatusCode.OK}, key=lambda c: c.name))
def test_no_definite_code_is_asked_again(client: Any, scripted: ScriptedGateway, code: grpc.StatusCode) -> None:
    requests = scripted.script("SubmitOrder", Refusal(code))
    with pytest.raises(GatewayError, match=code.name):
        client.submit_order(client_order_id="k-1", **MARKET_BUY)
    assert len(requests) == 1


def test_the_timeout_bounds_a_call_without_an_answer(client: Any, scripted: ScriptedGateway) -> None:
    requests = scripted.script("GetOrder", OPEN)
    with pytest.raises(GatewayError) as caught:
        client.with_timeout(0.1).get_order("o-1")
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert len(requests) == 1


def test_a_mass_cancel_is_never_repeated(client: Any, scripted: ScriptedGateway) -> None:
    requests = scripted.script("CancelOrders", LOST)
    with pytest.raises(GatewayError):
        client.cancel_orders(symbols="AAPL")
    assert [list(one.symbols) for one in requests] == [["AAPL"]]


def test_cancel_and_close_are_repeated(client: Any, scripted: ScriptedGateway) -> None:
    cancels = scripted.script("CancelOrder", LOST, pb.CancelOrderResponse(order=ORDER))
    closes = scripted.script("ClosePosition", LOST, pb.ClosePositionResponse(order=ORDER))
    client.cancel_order(ORDER, wait_for_terminal_s=1.5)
    client.close_position("AAPL", client_order_id="k-3", percentage=50)
    assert [one.wait_for_terminal.ToMilliseconds() for one in cancels] == [1500, 1500]
    assert [(one.client_order_id, one.percentage) for one in closes] == [("k-3", "50")] * 2


def test_bad_fields_are_named(client: Any, scripted: ScriptedGateway) -> None:
    violation = {"field": "spec.limit_price", "description": "is required for limit orders"}
    bad = error_details_pb2.BadRequest(field_violations=[violation])
    scripted.script(
        "PreviewOrder", Refusal(grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID", {"key": "free"}, details=(bad,))
    )
    with pytest.raises(GatewayError) as caught:
        client.preview_order(**MARKET_BUY)
    assert [(one.field, one.description) for one in caught.value.violations] == [tuple(violation.values())]


def test_lists_fetch_their_pages(client: Any, scripted: ScriptedGateway) -> None:
    pages = [
        pb.ListOrdersResponse(orders=[pb.Order(order_id="1"), pb.Order(order_id="2")], next_page_token="t"),
        pb.ListOrdersResponse(orders=[pb.Order(order_id="3")]),
    ]
    requests = scripted.script("ListOrders", pages[0], LOST, pages[1])
    orders = client.list_orders(states=["working", pb.ORDER_STATE_FILLED], page_size=2)
    assert [order.order_id for order in orders] == ["1", "2", "3"]
    assert [one.page_token for one in requests] == ["", "t", "t"]
    assert list(requests[0].states) == [pb.ORDER_STATE_WORKING, pb.ORDER_STATE_FILLED]
    assert requests[1].states == requests[0].states


def test_fills_and_the_story_of_an_order(client: Any, scripted: ScriptedGateway) -> None:
    pages = [
        pb.ListFillsResponse(fills=[pb.Fill(fill_id="2")], next_page_token="t"),
        pb.ListFillsResponse(fills=[pb.Fill(fill_id="1")]),
    ]
    fills = scripted.script("ListFills", *pages)
    assert [fill.fill_id for fill in client.list_fills(symbols="AAPL", oldest_first=True)] == ["2", "1"]
    assert [(list(one.symbols), one.oldest_first, one.page_token) for one in fills] == [
        (["AAPL"], True, ""),
        (["AAPL"], True, "t"),
    ]
    timeline = pb.OrderTimeline(order=ORDER, entries=[pb.OrderTimeline.Entry(sequence=3)])
    asked = scripted.script("GetOrderTimeline", pb.GetOrderTimelineResponse(timeline=timeline))
    assert client.get_order_timeline("o-1") == timeline
    assert asked[0].order == OrderRef(order_id="o-1")


def test_a_stop_is_asked_for_until_it_is_heard_and_loosening_once(client: Any, scripted: ScriptedGateway) -> None:
    state = risk_pb2.TradingState(mode=risk_pb2.TRADING_MODE_KILLED, version=4)
    requests = scripted.script("SetTradingState", LOST, risk_pb2.SetTradingStateResponse(trading_state=state))
    assert client.set_trading_state("killed", reason="too fast").trading_state == state
    assert [(one.mode, one.reason, one.HasField("expected_version")) for one in requests] == [
        (risk_pb2.TRADING_MODE_KILLED, "too fast", False)
    ] * 2
    scripted.script("GetTradingState", risk_pb2.GetTradingStateResponse(trading_state=state))
    assert client.get_trading_state() == state
    scripted.script("SetTradingState", LOST)
    with pytest.raises(GatewayError, match="UNAVAILABLE"):
        client.set_trading_state("active", reason="looked into", expected_version=4)
    assert [one.expected_version for one in requests[2:]] == [4]


def test_a_fault_is_ordered_once(client: Any, scripted: ScriptedGateway) -> None:
    requests = scripted.script("InjectFault", LOST)
    with pytest.raises(GatewayError):
        client.inject_fault("http_504_accepted", route="POST /v2/orders", count=-1, delay_s=0.5)
    fault = simulation_pb2.InjectFaultRequest(
        fault=simulation_pb2.FAULT_HTTP_504_ACCEPTED, route="POST /v2/orders", count=-1
    )
    fault.delay.FromMilliseconds(500)
    assert requests == [fault]
    with pytest.raises(ValueError, match="no 'bad_luck'"):
        client.inject_fault("bad_luck")
    entries = [simulation_pb2.LedgerEntry(sequence=1), simulation_pb2.LedgerEntry(sequence=2)]
    asked = scripted.script("ListLedger", simulation_pb2.ListLedgerResponse(entries=entries))
    assert list(client.list_ledger(kinds=["execution"])) == entries
    assert list(asked[0].kinds) == [simulation_pb2.LedgerEntry.KIND_EXECUTION]


def test_market_data_questions(client: Any, scripted: ScriptedGateway) -> None:
    quotes = scripted.script("GetLatestQuotes", market_data_pb2.GetLatestQuotesResponse(missing_symbols=["ZZZ"]))
    bars = scripted.script("ListBars", market_data_pb2.ListBarsResponse(bars=[market_data_pb2.Bar(symbol="AAPL")]))
    assert list(client.get_latest_quotes("ZZZ", max_staleness_s=0).missing_symbols) == ["ZZZ"]
    assert quotes[0].HasField("max_staleness")
    found = list(client.list_bars(["AAPL"], unit="day", adjustments=["all"], as_of_date=date(2026, 1, 2)))
    assert [bar.symbol for bar in found] == ["AAPL"]
    assert bars[0].adjustments == [market_data_pb2.ADJUSTMENT_ALL]
    assert (bars[0].timeframe.amount, bars[0].as_of_date.month) == (1, 1)


def test_details_of_another_sender_are_not_ours() -> None:
    """A proxy's ErrorInfo must not be taken for the gateway's word about a key."""
    status = Refusal(grpc.StatusCode.UNAVAILABLE).status()
    foreign = error_details_pb2.ErrorInfo(reason="UPSTREAM", domain="proxy", metadata={"key": "spent"})
    status.details.add().Pack(foreign)
    error = GatewayError.from_status(status)
    assert (error.reason, error.key, error.outcome_unknown) == ("", None, True)


def test_garbled_details_are_left_out() -> None:
    status = Refusal(grpc.StatusCode.ABORTED, "VERSION_MISMATCH", {"key": "free"}).status()
    status.details.add(type_url="type.googleapis.com/google.rpc.RetryInfo", value=b"\xff\xff")
    error = GatewayError.from_status(status)
    assert (error.reason, error.retry_after_s) == ("VERSION_MISMATCH", None)


def test_a_failure_in_a_message_is_decoded(client: Any, scripted: ScriptedGateway) -> None:
    failure = Refusal(grpc.StatusCode.FAILED_PRECONDITION, "VENUE_REJECTED", {"key": "spent"}).status()
    scripted.script("GetOrder", pb.GetOrderResponse(order=pb.Order(order_id="o", failure=failure)))
    error = GatewayError.from_status(client.get_order("o").failure)
    assert (error.reason, error.key) == ("VENUE_REJECTED", KeyFate.SPENT)


def test_every_rpc_is_a_method_of_both_clients() -> None:
    import re

    from trading_gateway import AsyncClient, Client
    from trading_gateway.v1 import account_pb2, operations_pb2, reference_pb2

    modules = (trading_pb2, market_data_pb2, account_pb2, operations_pb2, reference_pb2, risk_pb2, simulation_pb2)
    rpcs = {
        re.sub(r"(?<!^)(?=[A-Z])", "_", method.name).lower()
        for module in modules
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert len(rpcs) == 45
    for kind in (Client, AsyncClient):
        assert rpcs - set(vars(kind)) == set()
        assert all(getattr(kind, rpc).__doc__ for rpc in rpcs)
