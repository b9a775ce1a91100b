"""Nouns are written whole: every field has its source, decimals no exponents, times their nanoseconds."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from google.protobuf.message import Message

from gateway.application.commands import CanceledMany, CancelResult, CloseResult, Preview, Submitted
from gateway.application.order_timeline import EntryKind, OrderTimeline, TimelineEntry
from gateway.application.order_updates import Heartbeat, SnapshotBegin, SnapshotEnd, SnapshotOrder, Step
from gateway.domain.errors import OrderNotFound, PositionNotFound
from gateway.domain.models.account import Account, Position
from gateway.domain.models.market_data import FeedStatus, Gap, Page
from gateway.domain.models.orders import (
    Failure,
    Fill,
    JournalEvent,
    Order,
    OrderEvent,
    OrderEventKind,
    OrderSpec,
    StopLoss,
    TakeProfit,
    VenueOrder,
)
from gateway.domain.models.quota import Quota
from gateway.domain.models.reference import Asset
from gateway.domain.models.risk import RiskCheckResult
from gateway.domain.types import (
    AssetClass,
    FeedState,
    LegRole,
    OrderClass,
    OrderSide,
    OrderState,
    OrderType,
    TimeInForce,
    Venue,
    format_decimal,
)
from gateway.servicers.wire import account, order_history, order_updates, orders, reference, trading
from tests.servicers.fakes import ACCOUNT, NOW_NS, POSITION, SPEC, order
from trading_gateway.v1 import account_pb2, common_pb2, errors_pb2, reference_pb2, trading_pb2 as pb

FULL_SPEC = OrderSpec(
    symbol="AAPL",
    side=OrderSide.SELL,
    order_type=OrderType.STOP_LIMIT,
    time_in_force=TimeInForce.GTC,
    quantity=Decimal("1E+1"),
    limit_price=Decimal("1.50"),
    stop_price=Decimal("1.60"),
    trail_price=Decimal("0.10"),
    extended_hours=True,
    order_class=OrderClass.BRACKET,
    take_profit=TakeProfit(Decimal("2.00")),
    stop_loss=StopLoss(Decimal(1), Decimal("0.9")),
    reduce_only=True,
)
VENUE_ORDER = VenueOrder(
    venue_order_id="v-1",
    venue_client_order_id="default.key-1",
    venue_status="new",
    symbol="AAPL",
    asset_class=AssetClass.US_EQUITY,
    side=OrderSide.SELL,
    order_type=OrderType.STOP_LIMIT,
    time_in_force=TimeInForce.GTC,
    quantity=Decimal(10),
    filled_quantity=Decimal("1E-8"),
    create_time_ns=NOW_NS,
)
FULL_ORDER = Order(
    order_id="order-full",
    strategy_id="default",
    client_order_id="key-1",
    spec=FULL_SPEC,
    state=OrderState.REJECTED,
    asset_class=AssetClass.US_EQUITY,
    create_time_ns=NOW_NS,
    update_time_ns=NOW_NS + 1,
    version=3,
    venue_orders=(VENUE_ORDER,),
    filled_quantity=Decimal("0.00000001"),
    filled_average_price=Decimal("1.55"),
    leaves_quantity=Decimal("9.99999999"),
    high_water_mark=Decimal(2),
    parent_order_id="parent",
    leg_role=LegRole.STOP_LOSS,
    failure=Failure("VENUE_REJECTED", "no", {"venue_code": "40310000"}),
    external=True,
    labels={"why": "because"},
    submit_time_ns=NOW_NS + 2,
    fill_time_ns=NOW_NS + 3,
    cancel_request_time_ns=NOW_NS + 4,
    cancel_time_ns=NOW_NS + 5,
    fail_time_ns=NOW_NS + 6,
    expiry_time_ns=NOW_NS + 7,
    expire_time_ns=NOW_NS + 8,
    venue_request_id="request-1",
)


def unset(message: Message) -> set[str]:
    """Names of the fields that have nothing in them."""
    return {field.name for field in message.DESCRIPTOR.fields} - {field.name for field, _ in message.ListFields()}


def test_every_field_of_an_order_is_written() -> None:
    message = orders.order_to_proto(FULL_ORDER)
    assert unset(message) == {"leg_orders"}  # include_legs alone fills them
    assert unset(message.spec) == {"notional", "trail_percent"}
    assert unset(message.venue_orders[0]) == set()
    assert unset(message.spec.take_profit) | unset(message.spec.stop_loss) == set()
    assert (message.filled_quantity, message.venue_orders[0].filled_quantity) == ("0.00000001", "0.00000001")
    assert (message.spec.quantity, message.spec.limit_price, message.leaves_quantity) == ("10", "1.5", "9.99999999")
    assert message.failure.code == 9
    seconds = {
        name: getattr(message, name).seconds * 10**9 + getattr(message, name).nanos - NOW_NS
        for name in message.DESCRIPTOR.fields_by_name
        if name.endswith("_time")
    }
    assert seconds == {
        "create_time": 0,
        "update_time": 1,
        "submit_time": 2,
        "fill_time": 3,
        "cancel_request_time": 4,
        "cancel_time": 5,
        "fail_time": 6,
        "expiry_time": 7,
        "expire_time": 8,
    }


def test_what_an_order_has_not_is_absent_and_never_zero() -> None:
    message = orders.order_to_proto(order("order-thin"))
    for name in ("filled_average_price", "leaves_quantity", "high_water_mark", "failure", "submit_time", "fill_time"):
        assert not message.HasField(name)
    assert (message.filled_quantity, message.venue_order_id, message.venue_status) == ("0", "", "")
    notional = orders.spec_to_proto(replace(SPEC, quantity=None, notional=Decimal("100.00"), trail_percent=Decimal(2)))
    assert (notional.WhichOneof("size"), notional.notional) == ("notional", "100")
    assert (notional.WhichOneof("trail"), notional.trail_percent) == ("trail_percent", "2")


def test_a_spec_comes_back_as_it_went() -> None:
    from gateway.servicers.wire.common import RequestReader

    reader = RequestReader()
    for spec in (FULL_SPEC, SPEC, replace(SPEC, quantity=None, notional=Decimal(5))):
        assert orders.spec_from_proto(reader, orders.spec_to_proto(spec)) == spec
    reader.finish()


def test_an_order_is_written_once_for_all_who_ask_and_anew_when_it_changed() -> None:
    first = order("order-cached")
    answer = orders.order_answer(first)
    assert orders.order_answer(first) is answer
    assert orders.order_to_proto(first) == answer.order
    changed = replace(first, version=2)
    assert orders.order_to_proto(changed).version == 2
    assert orders.order_to_proto(first).version == 1


def test_an_order_with_its_legs_leaves_the_shared_message_alone() -> None:
    parent, leg = order("order-parent"), order("order-parent/stop-loss")
    with_legs = orders.order_with_legs_to_proto(parent, (leg,))
    assert [message.order_id for message in with_legs.leg_orders] == ["order-parent/stop-loss"]
    assert not orders.order_to_proto(parent).leg_orders


def test_kept_messages_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[str, Any] = {}
    monkeypatch.setattr(orders, "_answers", kept)
    monkeypatch.setattr(orders, "ORDER_MESSAGES_MAX", 3)
    for number in range(10):
        orders.order_to_proto(order(f"order-{number}"))
    assert list(kept) == ["order-7", "order-8", "order-9"]


def test_a_preview_and_its_checks() -> None:
    checks = (
        RiskCheckResult("RISK_BUYING_POWER", False, Decimal(15), Decimal(10), Decimal(-5), "USD"),
        RiskCheckResult("RISK_ACCOUNT_BLOCKED", True),
    )
    message = trading.preview_to_proto(Preview(False, SPEC, checks, Decimal("15.0"), None))
    assert (message.would_be_accepted, message.estimated_notional) == (False, "15")
    assert not message.HasField("estimated_buying_power_effect")
    first, second = message.checks
    assert (first.reason, first.headroom, first.unit) == (errors_pb2.ERROR_REASON_RISK_BUYING_POWER, "-5", "USD")
    assert unset(second) == {"observed", "limit", "headroom", "unit"}


async def test_results_of_many_orders_and_positions() -> None:
    canceled = trading.canceled_many_to_proto(
        CanceledMany(
            (
                CancelResult("a", OrderState.PENDING_CANCEL),
                CancelResult("b", OrderState.WORKING, OrderNotFound("no such order")),
            ),
            9,
        )
    )
    assert [(result.order_id, result.status.code) for result in canceled.results] == [("a", 0), ("b", 5)]
    assert canceled.sequence == 9
    closed = trading.closed_many_to_proto(
        (CloseResult("A", Submitted(order(), replayed=True)), CloseResult("B", PositionNotFound("none")))
    )
    assert [result.WhichOneof("result") for result in closed.results] == ["response", "error"]
    assert closed.results[0].response.replayed
    assert b"free" in closed.results[1].error.SerializeToString()
    page = await trading.order_page_to_proto(Page((order(),), "next"))
    assert (len(page.orders), page.next_page_token) == (1, "next")


FILL = Fill(
    fill_id="f",
    order_id="order-1",
    client_order_id="key-1",
    strategy_id="default",
    venue_order_id="v-1",
    symbol="AAPL",
    side=OrderSide.BUY,
    quantity=Decimal("1.0"),
    price=Decimal("1.50"),
    cumulative_quantity=Decimal(1),
    trade_time_ns=NOW_NS,
    leaves_quantity=Decimal(9),
    account_position_quantity=Decimal(-1),
    synthesized=True,
)
EVENT = JournalEvent(
    OrderEventKind.FILL,
    "order-1",
    "default",
    record_time_ns=NOW_NS,
    event_time_ns=NOW_NS,
    fill=FILL,
    venue_event="fill",
    venue_event_id="e-1",
    backfill=True,
)


@pytest.mark.parametrize(
    ("payload", "name", "empty"),
    [
        (OrderEvent(7, EVENT, order()), "event", set()),
        (SnapshotBegin(0), "snapshot_begin", {"count"}),
        (SnapshotOrder(order()), "snapshot_order", None),
        (SnapshotEnd(2), "snapshot_end", set()),
        (Heartbeat(True, 1_500), "heartbeat", set()),
        (Heartbeat(False, None), "heartbeat", {"upstream_connected", "upstream_age"}),
        (FeedStatus("orders", FeedState.LIVE, NOW_NS, "connected", 406), "feed_status", set()),
        (Gap("orders", NOW_NS, NOW_NS, ("AAPL",), True, 3), "gap", set()),
        (Gap("orders", None, NOW_NS), "gap", {"from_time", "symbols", "backfilled", "backfilled_count"}),
    ],
)
def test_every_step_of_a_book_is_written(payload: Any, name: str, empty: set[str] | None) -> None:
    message = order_updates.StepWriter().write(Step(7, "token", payload), NOW_NS, shows_account=True)
    assert (message.sequence, message.resume_token, message.WhichOneof("payload")) == (7, "token", name)
    assert message.server_time.nanos == NOW_NS % 10**9
    if empty is not None:
        assert unset(getattr(message, name)) == empty
    if name == "event":
        assert unset(message.event.fill) == set()


async def test_the_story_of_an_order_is_written_whole() -> None:
    checks = (RiskCheckResult("RISK_BUYING_POWER", False, Decimal(15), Decimal(10), Decimal(-5), "USD"),)
    first = TimelineEntry(7, NOW_NS, EntryKind.INTENT, "recorded")
    last = TimelineEntry(8, NOW_NS, EntryKind.RISK, "denied", "request-1", 1_500_000_001, checks)
    timeline = (await order_history.timeline_to_proto(OrderTimeline(order(), (first, last)))).timeline
    assert timeline.order.order_id == "order-1"
    begun, ended = timeline.entries
    assert unset(begun) == {"venue_request_id", "since_previous", "checks"}
    assert unset(ended) == set()
    assert (ended.since_previous.seconds, ended.since_previous.nanos) == (1, 500_000_001)
    assert ended.checks[0].headroom == "-5"
    at_once = replace(first, since_previous_ns=0)
    again = (await order_history.timeline_to_proto(OrderTimeline(order(), (at_once,)))).timeline.entries[0]
    assert again.HasField("since_previous")  # no time at all is not the same as nothing before


async def test_fills_are_written_whole() -> None:
    page = await order_history.fill_page_to_proto(Page((FILL,), "next"), shows_account=True)
    assert unset(page.fills[0]) == set()
    assert page.next_page_token == "next"


async def test_what_the_account_holds_is_written_for_those_who_may_see_it() -> None:
    """Whoever of two readers of one event comes first: neither is told what the other one is."""
    page = await order_history.fill_page_to_proto(Page((FILL,), ""), shows_account=False)
    assert unset(page.fills[0]) == {"account_position_quantity"}
    step = Step(7, "token", OrderEvent(7, EVENT, order()))
    for first in (True, False):
        writer = order_updates.StepWriter()
        for shows_account in (first, not first, first):
            fill = writer.write(step, NOW_NS, shows_account=shows_account).event.fill
            assert unset(fill) == (set() if shows_account else {"account_position_quantity"})


def test_the_account_is_written_whole_with_its_number_masked() -> None:
    numbers = {
        field: Decimal(number)
        for number, (field, kind) in enumerate(Account.__annotations__.items(), 1)
        if "Decimal" in str(kind)
    }
    flags = {field: True for field, kind in Account.__annotations__.items() if "bool" in str(kind)}
    full = replace(
        ACCOUNT,
        **(numbers | flags),
        crypto_status="ACTIVE",
        multiplier="4",
        daytrade_count=0,
        options_approved_level=2,
        options_trading_level=0,
        create_time_ns=NOW_NS,
    )
    message = account.account_to_proto(full)
    assert unset(message) == set()
    for name, value in numbers.items():
        assert getattr(message, name) == format_decimal(value)
    assert (message.account_number, message.venue) == ("********7890", common_pb2.VENUE_EMULATOR)
    thin = account.account_to_proto(ACCOUNT)
    assert not thin.HasField("pattern_day_trader")
    assert thin.cash == "100000.1"
    assert {Venue.EMULATOR, Venue.PAPER, Venue.LIVE} == set(Venue)


@pytest.mark.parametrize(
    ("number", "masked"), [("", ""), ("1", "*"), ("1234", "****"), ("12345", "*2345"), ("PA3ABCDE", "****BCDE")]
)
def test_an_account_number_is_masked(number: str, masked: str) -> None:
    assert account.mask(number) == masked


def test_a_position_is_written_whole() -> None:
    numbers = {
        field: Decimal(number)
        for number, (field, kind) in enumerate(Position.__annotations__.items(), 1)
        if "Decimal" in str(kind)
    }
    message = account.position_to_proto(replace(POSITION, **numbers, exchange="NASDAQ", marginable=True))
    assert unset(message) == set()
    for name, value in numbers.items():
        assert getattr(message, name) == format_decimal(value)
    thin = account.position_to_proto(POSITION)
    assert (thin.quantity, thin.cost_basis, thin.HasField("current_price")) == ("-3", "-4.5", False)


def test_a_quota_is_written_whole_and_without_a_window_it_has_none() -> None:
    rate = Quota("client:reads", 400, 399, 2_000, NOW_NS)
    held = Quota("client:streams", 16, 0)
    first, second = account.quotas_to_proto([rate, held]).quota.buckets
    assert unset(first) == set()
    assert (first.name, first.limit, first.remaining, first.window.ToMilliseconds()) == ("client:reads", 400, 399, 2000)
    assert first.reset_time.ToNanoseconds() == NOW_NS
    assert (second.name, second.limit, second.remaining) == ("client:streams", 16, 0)
    assert not second.HasField("window")
    assert not second.HasField("reset_time")


def test_an_asset_is_written_whole() -> None:
    asset = Asset(
        asset_id="a-1",
        symbol="BTC/USD",
        asset_class=AssetClass.CRYPTO,
        name="Bitcoin",
        exchange="CRYPTO",
        tradable=True,
        marginable=True,
        shortable=True,
        easy_to_borrow=True,
        fractionable=True,
        min_order_size=Decimal("1E-9"),
        min_trade_increment=Decimal("1E-9"),
        price_increment=Decimal("0.001"),
        margin_requirement_long=Decimal(100),
        margin_requirement_short=Decimal(100),
        cusip="c",
        attributes=("one", "two"),
    )
    message = reference.asset_to_proto(asset)
    assert unset(message) == set()
    assert message.min_order_size == "0.000000001"
    assert list(message.attributes) == ["one", "two"]
    unknown = reference.asset_to_proto(replace(asset, asset_class=AssetClass.UNRECOGNIZED))
    assert unknown.asset_class == common_pb2.ASSET_CLASS_UNSPECIFIED


def test_no_message_of_these_services_was_forgotten() -> None:
    written = {
        "Order", "OrderSpec", "TakeProfit", "StopLoss", "VenueOrder", "Fill", "OrderEvent", "SnapshotBoundary",
        "OrderTimeline",
        "Account", "Position", "Quota", "Asset", "MarketClock", "MarketDay",
    }  # fmt: skip
    nouns = {
        name
        for module in (pb, account_pb2, reference_pb2)
        for name in module.DESCRIPTOR.message_types_by_name
        if not name.endswith(("Request", "Response"))
    }
    assert nouns == written | {"OrderRef"}  # read, never written
