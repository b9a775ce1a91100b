"""Requests are read field by field: what is right becomes a noun, what is wrong is named, all of it together."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.application.order_updates import StartAfter, StartLive, StartSince, StartSnapshot
from gateway.application.resume_tokens import Book
from gateway.domain.errors import FieldInvalid
from gateway.domain.models.orders import FillFilter, OrderRef, StopLoss, TakeProfit
from gateway.domain.types import Caller, OrderClass, OrderSide, OrderState, OrderType, TimeInForce
from gateway.servicers.wire import order_history, order_updates, trading
from tests.servicers.fakes import NOW_NS
from tests.servicers.violations import bad_fields
from trading_gateway.v1 import trading_pb2 as pb

CALLER = Caller()
MS = 1_000_000
UUID = "61e69015-8549-4bfd-b9c3-01e75843f47d"


NOT_DECIMALS = [
    *("NaN", "nan", "-NaN", "sNaN", "Infinity", "inf", "-inf", "1e400", "1e999999999", "1e3", "0x10", "true"),
    *("0", "0.0", "-0", "-1", "+5", "--1", "1/3", ".5", "5.", "00.5", "1_000", "1,000", "1.000,5", "０１２", "٣.٥"),
    *("1.0000000001", "1234567890123456", "", " ", " 7 ", "7\n", "9" * 10_000, "9" * 40),
]
NOT_SYMBOLS = [
    *("", " ", "../orders", "AAPL/../orders", "%2e%2e/orders", "AAPL?cancel_orders=true", "AAPL#", "AAPL&x=1", "AAPL;"),
    *("AAPL\0", "AAPL\n", "AAPL\r\nX-Y: z", "A\tB", "A\u00a0B", "\u0430apl", "ＡＡＰＬ", "AA\u200bPL", "\u202eAAPL"),
    *("🚀", "A\u0301", "aapl", "A" * 10_240, "AAPL,MSFT", "*", "'; DROP TABLE", "%", "_", "{{7*7}}", "${jndi:x}"),
]


def spec(**changes: Any) -> pb.OrderSpec:
    values: dict[str, Any] = {
        "symbol": "AAPL",
        "side": pb.ORDER_SIDE_BUY,
        "quantity": "10",
        "order_type": pb.ORDER_TYPE_LIMIT,
        "time_in_force": pb.TIME_IN_FORCE_DAY,
        "limit_price": "1.50",
    }
    values.update(changes)
    return pb.OrderSpec(**{name: value for name, value in values.items() if value is not None})


def submit(**changes: Any) -> pb.SubmitOrderRequest:
    values: dict[str, Any] = {"client_order_id": "key-1", "spec": spec()}
    return pb.SubmitOrderRequest(**(values | changes))


def read(request: pb.SubmitOrderRequest) -> Any:
    return trading.order_request_from_proto(request, CALLER, NOW_NS)


def test_an_order_is_read_whole() -> None:
    request = submit(
        strategy_id="alpha",
        labels={"why": "because"},
        valid_until=Timestamp(seconds=1_700_000_030, nanos=5),
        spec=spec(
            order_class=pb.ORDER_CLASS_BRACKET,
            take_profit=pb.TakeProfit(limit_price="2"),
            stop_loss=pb.StopLoss(stop_price="1", limit_price="0.9"),
            stop_price="1.1",
            trail_percent="1.5",
            extended_hours=True,
            reduce_only=True,
        ),
    )
    order = read(request)
    assert (order.strategy_id, order.client_order_id, dict(order.labels)) == ("alpha", "key-1", {"why": "because"})
    assert order.valid_until_ns == 1_700_000_030_000_000_005
    read_spec = order.spec
    assert (read_spec.symbol, read_spec.side, read_spec.order_type) == ("AAPL", OrderSide.BUY, OrderType.LIMIT)
    assert (read_spec.time_in_force, read_spec.order_class) == (TimeInForce.DAY, OrderClass.BRACKET)
    assert (read_spec.quantity, read_spec.notional, read_spec.limit_price) == (Decimal(10), None, Decimal("1.5"))
    assert (read_spec.stop_price, read_spec.trail_price, read_spec.trail_percent) == (
        Decimal("1.1"),
        None,
        Decimal("1.5"),
    )
    assert read_spec.take_profit == TakeProfit(Decimal(2))
    assert read_spec.stop_loss == StopLoss(Decimal(1), Decimal("0.9"))
    assert read_spec.extended_hours
    assert read_spec.reduce_only


def test_what_is_absent_takes_its_default() -> None:
    order = read(submit())
    assert (order.strategy_id, order.valid_until_ns) == ("default", NOW_NS + 5_000 * MS)
    assert order.spec.order_class is OrderClass.SIMPLE
    notional = read(submit(spec=spec(quantity=None, notional="100", trail_price="1")))
    assert (notional.spec.quantity, notional.spec.notional, notional.spec.trail_price) == (None, 100, 1)


def test_everything_wrong_is_said_at_once() -> None:
    request = submit(
        client_order_id="bad key",
        strategy_id="account",
        spec=pb.OrderSpec(
            symbol="aapl", quantity="-1", limit_price="1e3", take_profit=pb.TakeProfit(), stop_loss=pb.StopLoss()
        ),
    )
    assert set(bad_fields(lambda: read(request))) == {
        "strategy_id",
        "client_order_id",
        "spec.symbol",
        "spec.side",
        "spec.quantity",
        "spec.order_type",
        "spec.time_in_force",
        "spec.limit_price",
        "spec.take_profit.limit_price",
        "spec.stop_loss.stop_price",
    }


@pytest.mark.parametrize("text", NOT_DECIMALS)
@pytest.mark.parametrize("field", ["quantity", "notional", "limit_price", "stop_price", "trail_price", "trail_percent"])
def test_what_is_no_decimal_is_refused(field: str, text: str) -> None:
    changes = {"quantity": None} if field == "notional" else {}
    assert bad_fields(lambda: read(submit(spec=spec(**(changes | {field: text}))))) == [f"spec.{field}"]


@pytest.mark.parametrize("symbol", NOT_SYMBOLS)
def test_what_is_no_symbol_is_refused_and_not_said_back(symbol: str) -> None:
    with pytest.raises(FieldInvalid) as refusal:
        read(submit(spec=spec(symbol=symbol)))
    (violation,) = refusal.value.violations
    assert violation.field == "spec.symbol"
    if len(symbol) > 1 and symbol != "aapl":
        assert symbol not in violation.description
        assert symbol not in refusal.value.message


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("aapl", "AAPL"), ("BTC-USD", "BTC/USD"), ("btc/usd", "BTC/USD"), ("BRK-B", "BRK.B"), ("brk.b", "BRK.B")],
)
def test_the_right_spelling_is_named_where_it_can_be_told(wrong: str, right: str) -> None:
    with pytest.raises(FieldInvalid) as refusal:
        read(submit(spec=spec(symbol=wrong)))
    assert refusal.value.violations[0].description.endswith(f"perhaps {right}")


@pytest.mark.parametrize("number", [77, -1, 2**31 - 1])
@pytest.mark.parametrize("field", ["side", "order_type", "time_in_force", "order_class"])
def test_enum_numbers_that_this_build_does_not_know_are_refused(field: str, number: int) -> None:
    request = submit(spec=spec(**{field: number}))
    assert bad_fields(lambda: read(pb.SubmitOrderRequest.FromString(request.SerializeToString()))) == [f"spec.{field}"]


@pytest.mark.parametrize("field", ["side", "order_type", "time_in_force"])
def test_unspecified_is_refused_where_a_value_is_required(field: str) -> None:
    assert bad_fields(lambda: read(submit(spec=spec(**{field: 0})))) == [f"spec.{field}"]


def test_a_size_is_required() -> None:
    assert bad_fields(lambda: read(submit(spec=spec(quantity=None)))) == ["spec.size"]


@pytest.mark.parametrize("key", ["", "x" * 65, ".a", "_a", "-a", "a:b", "a b", "a/b", "ключ", "a\n"])
def test_what_is_no_key_is_refused(key: str) -> None:
    assert bad_fields(lambda: read(submit(client_order_id=key))) == ["client_order_id"]


@pytest.mark.parametrize("strategy", ["account", "unattributed", "Alpha", "a" * 25, "a.b", "-a", "a_b", "a\n"])
def test_what_is_no_strategy_is_refused(strategy: str) -> None:
    assert bad_fields(lambda: read(submit(strategy_id=strategy))) == ["strategy_id"]


@pytest.mark.parametrize(
    "valid_until",
    [
        Timestamp(seconds=253_402_300_799),  # year 9999
        Timestamp(seconds=1_700_000_061),
        Timestamp(seconds=1_700_000_001, nanos=-1),
        Timestamp(seconds=1_700_000_001, nanos=1_000_000_000),
        Timestamp(seconds=2**62),
        Timestamp(seconds=-(2**62)),
    ],
)
def test_times_that_cannot_be_meant_are_refused(valid_until: Timestamp) -> None:
    assert set(bad_fields(lambda: read(submit(valid_until=valid_until)))) == {"valid_until"}


def test_a_time_in_the_past_is_the_engines_to_judge() -> None:
    assert read(submit(valid_until=Timestamp(seconds=5))).valid_until_ns == 5 * 10**9


@pytest.mark.parametrize(
    "labels",
    [
        {f"label-{number}": "" for number in range(17)},
        {"": "x"},
        {"n" * 33: "x"},
        {"n": "x" * 129},
        {"n": "a\nb"},
        {"n\x1b[31m": "x"},
    ],
)
def test_labels_are_bounded_and_printable(labels: dict[str, str]) -> None:
    assert set(bad_fields(lambda: read(submit(labels=labels)))) == {"labels"}


def test_labels_at_their_bounds_are_kept() -> None:
    labels = {f"{number:032}": "ä" * 128 for number in range(16)}
    assert read(submit(labels=labels)).labels == labels


def test_a_preview_is_read_like_an_order() -> None:
    strategy_id, read_spec = trading.preview_from_proto(pb.PreviewOrderRequest(spec=spec()), CALLER)
    assert (strategy_id, read_spec.symbol) == ("default", "AAPL")
    assert bad_fields(lambda: trading.preview_from_proto(pb.PreviewOrderRequest(), CALLER)) == ["spec"]


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        (pb.OrderRef(order_id="0b5e7c1c-1/take-profit"), OrderRef(order_id="0b5e7c1c-1/take-profit")),
        (pb.OrderRef(client_order_id="k"), OrderRef(client_order_id="k", strategy_id="default")),
        (pb.OrderRef(client_order_id="k", strategy_id="a"), OrderRef(client_order_id="k", strategy_id="a")),
        (pb.OrderRef(venue_order_id=UUID, strategy_id="IGNORED"), OrderRef(venue_order_id=UUID)),
    ],
)
def test_orders_are_named_by_one_of_three_ids(ref: pb.OrderRef, expected: OrderRef) -> None:
    assert trading.order_ref_from_proto(pb.GetOrderRequest(order=ref), CALLER) == expected


@pytest.mark.parametrize(
    ("ref", "field"),
    [
        (pb.OrderRef(), "order"),
        (pb.OrderRef(order_id=""), "order.order_id"),
        (pb.OrderRef(order_id="{0b5e}"), "order.order_id"),
        (pb.OrderRef(order_id="a/other-leg"), "order.order_id"),
        (pb.OrderRef(order_id="../x"), "order.order_id"),
        (pb.OrderRef(client_order_id=""), "order.client_order_id"),
        (pb.OrderRef(client_order_id="k", strategy_id="A"), "order.strategy_id"),
        (pb.OrderRef(venue_order_id=f"{UUID}0"), "order.venue_order_id"),
        (pb.OrderRef(venue_order_id=f"{{{UUID}}}"), "order.venue_order_id"),
        (pb.OrderRef(venue_order_id=UUID.upper()), "order.venue_order_id"),
    ],
)
def test_what_names_no_order_is_refused(ref: pb.OrderRef, field: str) -> None:
    assert bad_fields(lambda: trading.order_ref_from_proto(pb.GetOrderRequest(order=ref), CALLER)) == [field]
    assert bad_fields(lambda: trading.cancel_from_proto(pb.CancelOrderRequest(order=ref), CALLER)) == [field]


def test_a_replace_says_what_changes_and_nothing_else() -> None:
    request = pb.ReplaceOrderRequest(
        order=pb.OrderRef(client_order_id="k", strategy_id="alpha"),
        client_order_id="k-2",
        limit_price="2.50",
        time_in_force=pb.TIME_IN_FORCE_GTC,
        expected_version=0,
    )
    replace = trading.replace_from_proto(request, CALLER, NOW_NS)
    assert (replace.strategy_id, replace.client_order_id, replace.expected_version) == ("alpha", "k-2", 0)
    changes = replace.changes
    assert (changes.limit_price, changes.time_in_force) == (Decimal("2.5"), TimeInForce.GTC)
    assert (changes.quantity, changes.stop_price, changes.trail) == (None, None, None)
    request.ClearField("expected_version")
    assert trading.replace_from_proto(request, CALLER, NOW_NS).expected_version is None
    request = pb.ReplaceOrderRequest(quantity="0", stop_price="-1", trail="x", time_in_force=77)  # type: ignore[arg-type]
    fields = ["order", "client_order_id", "quantity", "stop_price", "trail", "time_in_force"]
    assert bad_fields(lambda: trading.replace_from_proto(request, CALLER, NOW_NS)) == fields


@pytest.mark.parametrize(("wait", "wait_ms"), [(None, 0), (Duration(), 0), (Duration(seconds=30), 30_000)])
def test_a_cancel_waits_as_long_as_asked(wait: Duration | None, wait_ms: int) -> None:
    request = pb.CancelOrderRequest(order=pb.OrderRef(order_id="o"), wait_for_terminal=wait)
    assert trading.cancel_from_proto(request, CALLER) == (OrderRef(order_id="o"), wait_ms)


@pytest.mark.parametrize(
    "wait",
    [
        Duration(seconds=30, nanos=1),
        Duration(seconds=-1),
        Duration(nanos=-1),
        Duration(seconds=1, nanos=-1),
        Duration(nanos=10**9),
        Duration(seconds=2**62),
    ],
)
def test_a_cancel_does_not_wait_for_ever_nor_backwards(wait: Duration) -> None:
    request = pb.CancelOrderRequest(order=pb.OrderRef(order_id="o"), wait_for_terminal=wait)
    assert set(bad_fields(lambda: trading.cancel_from_proto(request, CALLER))) == {"wait_for_terminal"}


def test_the_scope_of_a_mass_cancel() -> None:
    scope = trading.cancel_scope_from_proto(
        pb.CancelOrdersRequest(symbols=["AAPL", "BTC/USD"], side=pb.ORDER_SIDE_SELL), CALLER
    )
    assert (scope.strategy_id, scope.symbols, scope.side) == ("default", {"AAPL", "BTC/USD"}, OrderSide.SELL)
    everything = trading.cancel_scope_from_proto(pb.CancelOrdersRequest(all_strategies=True), CALLER)
    assert (everything.strategy_id, everything.symbols, everything.side) == (None, frozenset(), None)
    both = pb.CancelOrdersRequest(all_strategies=True, strategy_id="a", symbols=["AAPL", "AAPL", "x y"])
    assert bad_fields(lambda: trading.cancel_scope_from_proto(both, CALLER)) == [
        "strategy_id",
        "symbols",
        "symbols[2]",
    ]
    many = pb.CancelOrdersRequest(symbols=[f"A{number}" for number in range(501)])
    assert bad_fields(lambda: trading.cancel_scope_from_proto(many, CALLER)) == ["symbols"]


def test_a_list_of_orders_is_filtered_and_paged() -> None:
    request = pb.ListOrdersRequest(
        states=[pb.ORDER_STATE_WORKING, pb.ORDER_STATE_FILLED],
        symbols=["AAPL"],
        side=pb.ORDER_SIDE_BUY,
        start_time=Timestamp(seconds=1),
        end_time=Timestamp(seconds=1),
        oldest_first=True,
        page_size=10**6,
        page_token="token",
    )
    wanted, page_size, token = trading.order_filter_from_proto(request, CALLER)
    assert (wanted.strategy_id, wanted.states) == ("default", {OrderState.WORKING, OrderState.FILLED})
    assert (wanted.symbols, wanted.side, wanted.oldest_first) == ({"AAPL"}, OrderSide.BUY, True)
    assert (wanted.start_time_ns, wanted.end_time_ns) == (10**9, 10**9)
    assert (page_size, token) == (500, "token")
    assert trading.order_filter_from_proto(pb.ListOrdersRequest(), CALLER)[1:] == (50, "")


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.ListOrdersRequest(page_size=-1), "page_size"),
        (pb.ListOrdersRequest(page_token="t" * 513), "page_token"),
        (pb.ListOrdersRequest(states=[0]), "states[0]"),  # type: ignore[list-item]
        (pb.ListOrdersRequest(states=[5, 77]), "states[1]"),  # type: ignore[list-item]
        (pb.ListOrdersRequest(states=[5] * 65), "states"),  # type: ignore[list-item]
        (pb.ListOrdersRequest(start_time=Timestamp(seconds=2), end_time=Timestamp(seconds=1)), "start_time"),
    ],
)
def test_a_list_of_orders_that_cannot_be(request_: pb.ListOrdersRequest, field: str) -> None:
    assert bad_fields(lambda: trading.order_filter_from_proto(request_, CALLER)) == [field]


def test_a_position_is_closed_whole_or_in_part() -> None:
    def close(**size: str) -> Any:
        request = pb.ClosePositionRequest(symbol="AAPL", client_order_id="k", **size)  # type: ignore[arg-type]
        return trading.close_from_proto(request, CALLER, NOW_NS)

    assert (close().quantity, close().percentage, close().valid_until_ns) == (None, None, None)
    assert close(quantity="0.5").quantity == Decimal("0.5")
    assert close(percentage="100").percentage == 100
    for size in ({"quantity": "0"}, {"percentage": "0"}, {"percentage": "100.1"}):
        assert bad_fields(lambda size=size: close(**size)) == [*size]
    assert bad_fields(lambda: trading.close_from_proto(pb.ClosePositionRequest(), CALLER, NOW_NS)) == [
        "symbol",
        "client_order_id",
    ]


def test_all_positions_are_closed_under_a_prefix() -> None:
    request = pb.ClosePositionsRequest(client_order_id_prefix="p" * 40, cancel_orders=True)
    close = trading.close_many_from_proto(request, CALLER)
    assert (close.strategy_id, close.client_order_id_prefix, close.cancel_orders) == ("default", "p" * 40, True)
    for prefix in ("", "p" * 41, ".p"):
        request = pb.ClosePositionsRequest(client_order_id_prefix=prefix)
        assert bad_fields(lambda request=request: trading.close_many_from_proto(request, CALLER)) == [
            "client_order_id_prefix"
        ]


def test_a_book_is_followed_from_a_snapshot_a_token_or_now() -> None:
    def follow(**fields: Any) -> Any:
        return order_updates.follow_from_proto(pb.StreamOrderUpdatesRequest(**fields), CALLER)

    assert follow() == (Book("default"), StartSnapshot(), 15_000)
    assert follow(resume_token="t", all_strategies=True)[:2] == (Book(None), StartAfter("t"))
    assert follow(live_only=True, heartbeat_interval=Duration(seconds=1)) == (Book("default"), StartLive(), 1_000)
    assert follow(start_time=Timestamp(seconds=2, nanos=5))[1] == StartSince(2_000_000_005)
    assert follow(include_closed_since=Timestamp(seconds=2, nanos=5))[1] == StartSnapshot(2_000_000_005)
    for start in ({"resume_token": "t"}, {"live_only": True}, {"start_time": Timestamp(seconds=2)}):
        assert bad_fields(lambda start=start: follow(**start, include_closed_since=Timestamp(seconds=1))) == [
            "include_closed_since"
        ]
    assert bad_fields(lambda: follow(start_time=Timestamp(nanos=-1))) == ["start_time"]
    assert bad_fields(lambda: follow(include_closed_since=Timestamp(seconds=1 << 40))) == ["include_closed_since"]
    assert bad_fields(lambda: follow(live_only=False)) == ["live_only"]
    assert bad_fields(lambda: follow(resume_token="")) == ["resume_token"]
    assert bad_fields(lambda: follow(resume_token="t" * 513)) == ["resume_token"]
    for seconds in (0, 121):
        assert bad_fields(lambda seconds=seconds: follow(heartbeat_interval=Duration(seconds=seconds))) == [
            "heartbeat_interval"
        ]


def test_fills_are_filtered_and_paged() -> None:
    def listed(**fields: Any) -> Any:
        return order_history.fill_filter_from_proto(pb.ListFillsRequest(**fields), CALLER)

    assert listed() == (FillFilter("default"), 100, "")
    assert listed(
        all_strategies=True,
        symbols=["AAPL"],
        start_time=Timestamp(seconds=1),
        end_time=Timestamp(seconds=1),
        oldest_first=True,
        page_size=5_000,
        page_token="t",
    ) == (FillFilter(None, frozenset({"AAPL"}), 10**9, 10**9, True), 1_000, "t")
    assert bad_fields(lambda: listed(strategy_id="a", all_strategies=True)) == ["strategy_id"]
    assert bad_fields(lambda: listed(start_time=Timestamp(seconds=2), end_time=Timestamp(seconds=1))) == ["start_time"]
    assert bad_fields(lambda: listed(symbols=["aapl"], page_size=-1, page_token="t" * 513)) == [
        "symbols[0]",
        "page_size",
        "page_token",
    ]


def test_a_timeline_is_of_one_order() -> None:
    request = pb.GetOrderTimelineRequest(order=pb.OrderRef(client_order_id="k", strategy_id="pairs"))
    assert trading.order_ref_from_proto(request, CALLER) == OrderRef(client_order_id="k", strategy_id="pairs")
    assert bad_fields(lambda: trading.order_ref_from_proto(pb.GetOrderTimelineRequest(), CALLER)) == ["order"]
