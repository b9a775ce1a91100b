"""The servicers over a real socket: who is asked, and what the answer says."""

from __future__ import annotations

import asyncio
import datetime

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.type.date_pb2 import Date

from gateway.application.order_updates import Heartbeat, SnapshotBegin, StartAfter, Step
from gateway.application.resume_tokens import Book
from gateway.domain.errors import FieldInvalid, FieldViolation, OrderNotFound, ResumeTokenCompacted, SymbolUnknown
from gateway.domain.models.orders import FillFilter, OrderRef
from gateway.domain.types import BudgetLane
from tests.servicers.fakes import ACCOUNT, NOW_NS, SPEC, Rooms, order, refused
from trading_gateway.v1 import (
    account_pb2,
    account_pb2_grpc,
    reference_pb2,
    reference_pb2_grpc,
    trading_pb2 as pb,
    trading_pb2_grpc,
)

Code = grpc.StatusCode
ORDER = pb.OrderRef(order_id="order-1")
WIRE_SPEC = pb.OrderSpec(
    symbol="AAPL",
    side=pb.ORDER_SIDE_BUY,
    quantity="10",
    order_type=pb.ORDER_TYPE_LIMIT,
    time_in_force=pb.TIME_IN_FORCE_DAY,
    limit_price="1.5",
)


@pytest.fixture
def trading(channel: grpc.aio.Channel) -> trading_pb2_grpc.TradingServiceAsyncStub:
    return trading_pb2_grpc.TradingServiceStub(channel)


@pytest.fixture
def account(channel: grpc.aio.Channel) -> account_pb2_grpc.AccountServiceAsyncStub:
    return account_pb2_grpc.AccountServiceStub(channel)


@pytest.fixture
def reference(channel: grpc.aio.Channel) -> reference_pb2_grpc.ReferenceDataServiceAsyncStub:
    return reference_pb2_grpc.ReferenceDataServiceStub(channel)


async def test_submit_asks_the_engine(trading: trading_pb2_grpc.TradingServiceAsyncStub, rooms: Rooms) -> None:
    answer = await trading.SubmitOrder(pb.SubmitOrderRequest(client_order_id="key-2", spec=WIRE_SPEC))
    ((name, request, call),) = rooms.engine.asked
    assert (name, request.spec, request.client_order_id) == ("submit", SPEC, "key-2")
    assert request.valid_until_ns == NOW_NS + 5 * 10**9
    assert call.lane is BudgetLane.ORDER
    assert (answer.order.order_id, answer.order.state, answer.replayed) == ("order-1", pb.ORDER_STATE_WORKING, False)


async def test_preview_replace_cancel_and_close_ask_the_rooms_that_decide(
    trading: trading_pb2_grpc.TradingServiceAsyncStub, rooms: Rooms
) -> None:
    assert (await trading.PreviewOrder(pb.PreviewOrderRequest(spec=WIRE_SPEC))).estimated_notional == "15"
    replaced = await trading.ReplaceOrder(
        pb.ReplaceOrderRequest(order=ORDER, client_order_id="key-3", quantity="11", expected_version=1)
    )
    assert replaced.order.order_id == "order-1"
    canceled = await trading.CancelOrder(pb.CancelOrderRequest(order=ORDER, wait_for_terminal=Duration(seconds=2)))
    assert not canceled.already_terminal
    assert (await trading.CancelOrders(pb.CancelOrdersRequest(symbols=["AAPL"]))).sequence == 7
    assert [asked[0] for asked in rooms.engine.asked] == ["preview", "replace", "cancel", "cancel_orders"]
    assert rooms.engine.asked[2][2] == 2_000

    await trading.ClosePosition(pb.ClosePositionRequest(symbol="AAPL", client_order_id="key-4", percentage="50"))
    closed = await trading.ClosePositions(pb.ClosePositionsRequest(client_order_id_prefix="all"))
    assert [asked[0] for asked in rooms.workflow.asked] == ["close", "close_all"]
    assert [result.symbol for result in closed.results] == ["AAPL", "MSFT"]


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("SubmitOrder", pb.SubmitOrderRequest(client_order_id="key-1", spec=pb.OrderSpec(symbol="aapl"))),
        ("ClosePosition", pb.ClosePositionRequest(client_order_id="key-1", symbol="aapl")),
        ("ReplaceOrder", pb.ReplaceOrderRequest(client_order_id="key-1", order=ORDER, quantity="-1")),
    ],
)
async def test_a_malformed_request_under_a_key_that_an_order_holds_is_told_so(
    trading: trading_pb2_grpc.TradingServiceAsyncStub, rooms: Rooms, method: str, request_: object
) -> None:
    answer = await refused(getattr(trading, method)(request_))
    assert (answer.code, answer.reason, answer.metadata) == (
        Code.ALREADY_EXISTS,
        "CLIENT_ORDER_ID_REUSED",
        {"key": "taken"},
    )
    request_.client_order_id = "key-other"  # type: ignore[attr-defined]
    answer = await refused(getattr(trading, method)(request_))
    assert (answer.code, answer.reason, answer.metadata) == (Code.INVALID_ARGUMENT, "FIELD_INVALID", {"key": "free"})
    assert rooms.engine.asked == rooms.workflow.asked == []


async def test_a_malformed_replace_is_judged_in_the_key_space_of_the_order_that_it_names(
    trading: trading_pb2_grpc.TradingServiceAsyncStub, rooms: Rooms
) -> None:
    theirs = order("order-2", strategy_id="other", client_order_id="key-2")
    rooms.orders.known.append(theirs)
    request = pb.ReplaceOrderRequest(client_order_id="key-2", order=pb.OrderRef(order_id="order-2"), quantity="-1")
    assert (await refused(trading.ReplaceOrder(request))).metadata == {"key": "taken"}
    request.order.order_id = "order-1"
    assert (await refused(trading.ReplaceOrder(request))).metadata == {"key": "free"}


async def test_orders_are_read_from_memory_and_asked_of_the_venue_only_when_wanted(
    trading: trading_pb2_grpc.TradingServiceAsyncStub, rooms: Rooms
) -> None:
    rooms.orders.known.append(order("order-1/stop-loss", parent_order_id="order-1"))
    plain = (await trading.GetOrder(pb.GetOrderRequest(order=ORDER))).order
    assert (plain.version, len(plain.leg_orders)) == (1, 0)
    with_legs = (await trading.GetOrder(pb.GetOrderRequest(order=ORDER, include_legs=True))).order
    assert [leg.order_id for leg in with_legs.leg_orders] == ["order-1/stop-loss"]
    assert rooms.engine.asked == []
    fresh = (await trading.GetOrder(pb.GetOrderRequest(order=ORDER, refresh=True))).order
    assert fresh.version == 2
    assert rooms.engine.asked[0][:2] == ("refresh", OrderRef(order_id="order-1"))
    missing = pb.GetOrderRequest(order=pb.OrderRef(order_id="none"))
    answer = await refused(trading.GetOrder(missing))
    assert (answer.code, answer.reason, answer.metadata) == (Code.NOT_FOUND, "ORDER_NOT_FOUND", {})


async def test_orders_are_listed_in_pages(trading: trading_pb2_grpc.TradingServiceAsyncStub, rooms: Rooms) -> None:
    page = await trading.ListOrders(pb.ListOrdersRequest(page_size=1, page_token="token"))
    assert ([listed.order_id for listed in page.orders], page.next_page_token) == (["order-1"], "next")
    wanted, page_size, page_token = rooms.orders.asked[0]
    assert (wanted.strategy_id, page_size, page_token) == ("default", 1, "token")


async def test_fills_are_listed_in_pages(trading: trading_pb2_grpc.TradingServiceAsyncStub, rooms: Rooms) -> None:
    page = await trading.ListFills(pb.ListFillsRequest(symbols=["AAPL"], page_size=1, page_token="token"))
    assert ([fill.fill_id for fill in page.fills], page.next_page_token) == (["f-1"], "next")
    assert rooms.fills.asked == [(FillFilter("default", frozenset({"AAPL"})), 1, "token")]


async def test_an_order_tells_its_story(trading: trading_pb2_grpc.TradingServiceAsyncStub) -> None:
    timeline = (await trading.GetOrderTimeline(pb.GetOrderTimelineRequest(order=ORDER))).timeline
    assert timeline.order.order_id == "order-1"
    assert [(entry.sequence, entry.detail) for entry in timeline.entries] == [(7, "recorded")]
    missing = pb.GetOrderTimelineRequest(order=pb.OrderRef(order_id="none"))
    answer = await refused(trading.GetOrderTimeline(missing))
    assert (answer.code, answer.reason) == (Code.NOT_FOUND, "ORDER_NOT_FOUND")


async def test_a_book_is_followed_one_step_a_message(
    trading: trading_pb2_grpc.TradingServiceAsyncStub, rooms: Rooms
) -> None:
    request = pb.StreamOrderUpdatesRequest(
        all_strategies=True, resume_token="t", heartbeat_interval=Duration(seconds=3)
    )
    call = trading.StreamOrderUpdates(request)
    for item in (Step(0, "t-0", SnapshotBegin(0)), Step(1, "t-1", Heartbeat(True, 5)), None):
        rooms.updates.steps.put_nowait(item)
    messages = [message async for message in call]
    assert [message.WhichOneof("payload") for message in messages] == ["snapshot_begin", "heartbeat"]
    assert messages[1].server_time.nanos == NOW_NS % 10**9
    assert rooms.updates.asked == [(Book(None), StartAfter("t"), 3_000)]


async def test_a_reader_that_leaves_ends_the_reading_of_the_log(
    trading: trading_pb2_grpc.TradingServiceAsyncStub, rooms: Rooms
) -> None:
    call = trading.StreamOrderUpdates(pb.StreamOrderUpdatesRequest())
    rooms.updates.steps.put_nowait(Step(1, "t-1", Heartbeat(True, 5)))
    await call.read()
    assert not rooms.updates.closed.is_set()
    call.cancel()
    await asyncio.wait_for(rooms.updates.closed.wait(), 5)


async def test_a_token_that_cannot_be_served_ends_the_stream_with_its_reason(
    trading: trading_pb2_grpc.TradingServiceAsyncStub, rooms: Rooms
) -> None:
    rooms.updates.steps.put_nowait(ResumeTokenCompacted("gone", metadata={"oldest_sequence": "12"}))
    answer = await refused(trading.StreamOrderUpdates(pb.StreamOrderUpdatesRequest(resume_token="t")).read())
    assert (answer.code, answer.reason, answer.metadata) == (
        Code.OUT_OF_RANGE,
        "RESUME_TOKEN_COMPACTED",
        {"oldest_sequence": "12"},
    )


async def test_the_account_is_as_old_as_the_caller_allows(
    account: account_pb2_grpc.AccountServiceAsyncStub, rooms: Rooms
) -> None:
    answer = await account.GetAccount(account_pb2.GetAccountRequest())
    assert (answer.account.cash, answer.account.account_number) == ("100000.1", ACCOUNT.account_number)
    await account.GetAccount(account_pb2.GetAccountRequest(max_staleness=Duration()))
    assert rooms.accounts.asked == [None, 0]


async def test_positions_are_listed_and_found(account: account_pb2_grpc.AccountServiceAsyncStub, rooms: Rooms) -> None:
    listed = await account.ListPositions(account_pb2.ListPositionsRequest())
    assert [position.quantity for position in listed.positions] == ["-3"]
    assert listed.read_time.nanos == NOW_NS % 10**9
    found = await account.GetPosition(account_pb2.GetPositionRequest(symbol="AAPL", max_staleness=Duration(seconds=9)))
    assert found.position.symbol == "AAPL"
    assert rooms.positions.asked == [None, 9_000]


async def test_a_position_that_is_not_held_is_told_from_a_symbol_that_is_none(
    account: account_pb2_grpc.AccountServiceAsyncStub, rooms: Rooms
) -> None:
    answer = await refused(account.GetPosition(account_pb2.GetPositionRequest(symbol="MSFT")))
    assert (answer.code, answer.reason, answer.metadata) == (Code.NOT_FOUND, "POSITION_NOT_FOUND", {})
    rooms.assets.refusal = SymbolUnknown("no asset has this symbol")
    answer = await refused(account.GetPosition(account_pb2.GetPositionRequest(symbol="ZZZZ")))
    assert (answer.code, answer.reason) == (Code.NOT_FOUND, "SYMBOL_UNKNOWN")
    rooms.assets.refusal = FieldInvalid("no", violations=[FieldViolation("symbol", "is spelled BTC/USD here")])
    answer = await refused(account.GetPosition(account_pb2.GetPositionRequest(symbol="BTCUSD")))
    assert (answer.code, answer.descriptions) == (Code.INVALID_ARGUMENT, ("is spelled BTC/USD here",))


async def test_reference_data(reference: reference_pb2_grpc.ReferenceDataServiceAsyncStub, rooms: Rooms) -> None:
    assert (await reference.GetAsset(reference_pb2.GetAssetRequest(symbol_or_id="AAPL"))).asset.name == "Apple"
    page = await reference.ListAssets(reference_pb2.ListAssetsRequest(page_size=5))
    assert ([asset.symbol for asset in page.assets], page.next_page_token) == (["AAPL"], "next")
    assert rooms.assets.asked[0][1:] == (5, "")
    clock = (await reference.GetMarketClock(reference_pb2.GetMarketClockRequest())).clock
    assert (clock.is_open, clock.next_close_time.nanos - clock.time.nanos) == (True, 1)
    days = await reference.ListMarketDays(
        reference_pb2.ListMarketDaysRequest(start_date=Date(year=2023, month=11, day=14))
    )
    assert days.days[0].date == Date(year=2023, month=11, day=14)
    assert not days.days[0].HasField("settlement_date")
    assert rooms.calendar.asked == [(datetime.date(2023, 11, 14), datetime.date(2023, 12, 14))]


async def test_an_order_that_is_not_found_says_the_same_to_everybody(
    trading: trading_pb2_grpc.TradingServiceAsyncStub, rooms: Rooms
) -> None:
    rooms.engine.answer = OrderNotFound("no such order")
    other = pb.CancelOrderRequest(order=pb.OrderRef(client_order_id="key-1", strategy_id="another"))
    answer = await refused(trading.CancelOrder(other))
    assert (answer.code, answer.message) == (Code.NOT_FOUND, "no such order")
    assert rooms.engine.asked[0][1] == OrderRef(client_order_id="key-1", strategy_id="another")
