"""What the holder of one token tries to get beyond it: others' orders and keys, other symbols, more dollars."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from functools import partial

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.domain.models.identity import Scope
from tests.bad_requests import BUY, GTC, MARKET, OCO, SELL, STOP_LIMIT, UNKNOWN_ID, Code, close, spec, submit
from tests.gateway_host import GatewayHost
from tests.refusals import Wire, noted, produces
from tests.test_access import TRADER, Door, denials, named, said
from trading_gateway.v1 import errors_pb2 as errors, trading_pb2 as pb

CLOSER = TRADER | {Scope.ACCOUNT_TRADE}
COIN = "BTC/USD"
UNKNOWN_FIELD = b"\xf8\x3f\x01"
"""A field that no request has, so that all that is looked at is the key."""


@pytest.fixture
def door(start_gateway: GatewayHost) -> Iterator[Door]:
    door = Door(start_gateway)
    yield door
    door.close()


def buy_coins(wire: Wire) -> None:
    """One, and it is there when this returns."""
    updates = wire.stream("StreamOrderUpdates", pb.StreamOrderUpdatesRequest())
    next(updates)
    wire.call("SubmitOrder", submit(wanted=spec(symbol=COIN, order_type=MARKET, time_in_force=GTC)))
    assert any(update.event.order.state == pb.ORDER_STATE_FILLED for update in updates)
    updates.cancel()


def held(wire: Wire) -> pb.Order:
    """Coins are bought, and an order of the buyer's holds most of them; that order."""
    buy_coins(wire)
    exit_order = spec(symbol=COIN, side=SELL, quantity="0.9", limit_price="900000", time_in_force=GTC)
    order: pb.Order = wire.call("SubmitOrder", submit(wanted=exit_order)).order
    return order


def test_a_hidden_order_is_refused_to_the_letter_as_one_that_does_not_exist(door: Door) -> None:
    order = door.wire(door.mint("momentum")).call("SubmitOrder", submit(wanted=spec(limit_price="1"))).order
    other = door.wire(door.mint("carry"))
    own = other.call("SubmitOrder", submit(wanted=spec(limit_price="1"))).order
    for key in ("new", own.client_order_id):
        told = []
        for order_id in (order.order_id, UNKNOWN_ID):
            ref = pb.OrderRef(order_id=order_id)
            replaces = [pb.ReplaceOrderRequest(order=ref, client_order_id=key, limit_price=price) for price in "2x"]
            answers = [other.refusal("ReplaceOrder", request) for request in replaces]
            answers.append(other.refusal("ReplaceOrder", replaces[0].SerializeToString() + UNKNOWN_FIELD))
            answers.append(other.refusal("GetOrder", pb.GetOrderRequest(order=ref)))
            answers.append(other.refusal("CancelOrder", pb.CancelOrderRequest(order=ref)))
            answers.append(other.refusal("GetOrderTimeline", pb.GetOrderTimelineRequest(order=ref)))
            told.append([(answer.code, answer.reason, answer.message, answer.metadata) for answer in answers])
        assert told[0] == told[1]
        assert [answer[3].get("key") for answer in told[0][:3]] == ["free" if key == "new" else "taken"] * 3


def test_what_another_strategy_closed_is_not_told_by_a_prefix(door: Door) -> None:
    owner, other = door.wire(door.mint("momentum", CLOSER)), door.wire(door.mint("carry", CLOSER))
    buy_coins(owner)
    owner.call("ClosePositions", pb.ClosePositionsRequest(client_order_id_prefix="evening"))
    request = pb.ClosePositionsRequest(strategy_id="momentum", client_order_id_prefix="evening")
    raw = request.SerializeToString() + UNKNOWN_FIELD
    assert said(owner.refusal("ClosePositions", raw))[1:] == ("CLIENT_ORDER_ID_REUSED", "taken")
    assert said(other.refusal("ClosePositions", raw))[1:] == ("UNKNOWN_FIELD", "free")


def figures_told(wire: Wire) -> tuple[set[str], set[str], bool]:
    """The checks of a preview that have figures, the figures of a denial, and whether a fill tells the position."""
    looked = wire.call("PreviewOrder", pb.PreviewOrderRequest(spec=spec(side=SELL, quantity="1", order_type=MARKET)))
    with_figures = {errors.ErrorReason.Name(check.reason)[13:] for check in looked.checks if check.observed}
    refusal = wire.refusal("SubmitOrder", submit(wanted=spec(quantity="9000000", limit_price="900")))
    assert said(refusal) == (Code.FAILED_PRECONDITION, "RISK_BUYING_POWER", "spent")
    (fill, *_) = wire.call("ListFills", pb.ListFillsRequest(symbols=[COIN])).fills
    told = [fill.HasField("account_position_quantity")]
    updates = wire.stream("StreamOrderUpdates", pb.StreamOrderUpdatesRequest(start_time=fill.trade_time))
    for update in updates:
        if update.event.HasField("fill"):
            told.append(update.event.fill.HasField("account_position_quantity"))
            break
    updates.cancel()
    assert len(set(told)) == 1, told
    return with_figures, {"observed", "limit", "unit"} & set(refusal.metadata), told[0]


def test_what_all_strategies_have_made_together_is_for_those_who_may_see_the_account(door: Door) -> None:
    """Its buying power, its positions, and how many of them others are selling: no check, denial or fill tells."""
    blind = door.wire(door.mint("momentum", TRADER))
    buy_coins(blind)
    seeing = door.wire(door.mint("momentum", TRADER | {Scope.ACCOUNT_READ}))
    of_account = {"RISK_BUYING_POWER", "RISK_SHORT_NOT_ALLOWED"}
    assert figures_told(blind) == (set(), set(), False)
    assert figures_told(seeing) == (of_account, {"observed", "limit", "unit"}, True)


def test_closing_cancels_nothing_that_the_caller_may_not_cancel(door: Door) -> None:
    """Neither in a symbol that its token does not allow, nor of another strategy without orders:cancel_any."""
    owner = door.wire(door.mint("momentum", CLOSER))
    exit_order = held(owner)
    request = close(symbol=COIN, cancel_orders=True)
    narrow = door.wire(door.mint("momentum", CLOSER, symbols=frozenset({"MSFT"})))
    assert said(narrow.refusal("ClosePosition", request)) == (Code.PERMISSION_DENIED, "SYMBOL_NOT_ALLOWED", "free")
    other = door.wire(door.mint("carry", CLOSER))
    refusal = other.refusal("ClosePosition", request)
    assert said(refusal) == (Code.PERMISSION_DENIED, "SCOPE_MISSING", "free")
    assert refusal.metadata["scope"] == "orders:cancel_any"
    assert exit_order.order_id not in str(refusal)
    stands = owner.call("GetOrder", pb.GetOrderRequest(order=named(exit_order))).order
    assert not stands.HasField("cancel_request_time")
    anyone = door.wire(door.mint("carry", CLOSER | {Scope.ORDERS_CANCEL_ANY}))
    assert anyone.call("ClosePosition", request).order.spec.side == SELL


def test_what_is_denied_in_the_middle_of_an_answer_is_on_record(door: Door) -> None:
    """ClosePositions answers OK, position by position; the audit log is told of each that its caller may not close."""
    buy_coins(door.wire(door.mint("momentum", CLOSER)))
    narrow = door.wire(door.mint("carry", CLOSER, symbols=frozenset({"MSFT"})))
    (result,) = narrow.call("ClosePositions", pb.ClosePositionsRequest(client_order_id_prefix="evening")).results
    assert (result.symbol, result.WhichOneof("result")) == (COIN, "error")
    assert denials(door) == {("ClosePositions", "SYMBOL_NOT_ALLOWED")}


@pytest.mark.parametrize(
    "fields",
    [
        {"side": SELL, "quantity": "1000", "limit_price": "0.05"},
        {"side": SELL, "quantity": "1000", "order_type": STOP_LIMIT, "stop_price": "30", "limit_price": "0.01"},
        {
            "side": SELL, "quantity": "1000", "limit_price": None, "order_class": OCO,
            "take_profit": pb.TakeProfit(limit_price="0.05"), "stop_loss": pb.StopLoss(stop_price="0.01"),
        },
        {
            "side": BUY, "quantity": "1000", "limit_price": None, "order_class": OCO,
            "take_profit": pb.TakeProfit(limit_price="0.05"), "stop_loss": pb.StopLoss(stop_price="900000"),
        },
        {"side": BUY, "notional": "100.01", "order_type": MARKET},
    ],
)  # fmt: skip
def test_no_price_makes_an_order_look_small(door: Door, fields: dict[str, object]) -> None:
    """A cap is on what an order trades for at the most: a sell below the market trades at the market."""
    wire = door.wire(door.mint("momentum", max_order_notional=Decimal(100)))
    refusal = wire.refusal("SubmitOrder", submit(wanted=spec(**fields)))
    assert said(refusal) == (Code.FAILED_PRECONDITION, "RISK_TOKEN_CAP", "spent")
    preview = wire.call("PreviewOrder", pb.PreviewOrderRequest(spec=spec(**fields)))
    assert not preview.would_be_accepted


@produces("TOO_MANY_STREAMS")
def test_strangers_leave_streams_to_those_who_show_a_token(start_gateway: GatewayHost) -> None:
    """Health is open to all, and a stranger makes as many connections as it likes."""
    door = Door(partial(start_gateway, streams_max=16))  # type: ignore[arg-type]
    wires = [Wire(door.gateway.target) for _ in range(4)]
    answers, watches = [], []
    for wire in wires:
        watches.append(health_pb2_grpc.HealthStub(wire.channel).Watch(health_pb2.HealthCheckRequest()))
        try:
            answers.append(next(watches[-1]).status)
        except grpc.RpcError as refused:
            answers.append(noted(refused).reason)
    assert answers == [health_pb2.HealthCheckResponse.SERVING] * 2 + ["TOO_MANY_STREAMS"] * 2
    trader = door.wire(door.mint())
    books = [trader.stream("StreamOrderUpdates", pb.StreamOrderUpdatesRequest()) for _ in range(4)]
    assert all(next(book).HasField("snapshot_begin") for book in books)
    for wire in wires:
        wire.close()
    door.close()
