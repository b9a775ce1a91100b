"""Every reason that an error can carry, met on the wire: those that need a situation, and that none is left out."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from injector import Module, provider, singleton

from gateway.application.alarms import Alarms
from gateway.application.lookups import Lookups
from gateway.application.order_feed import OrderFeed
from gateway.application.order_manager import OrderManager
from gateway.application.outcome_resolver import OutcomeResolver
from gateway.application.owned_tasks import OwnedTasks
from gateway.application.venue_calls import VenueCalls
from gateway.application.venue_readings import VenueReadings
from gateway.cli import process
from gateway.container import Clocks
from gateway.domain.errors import GatewayError, VenueUnreachable
from gateway.domain.models.orders import VenueOrder
from gateway.services.trading import OrderService
from tests import test_access, test_bad_input, test_gateway_reasons, test_tokens
from tests.bad_input import CASES
from tests.bad_requests import Code, close, spec, submit
from tests.emulator.exchange.desk import instant
from tests.emulator.host import EmulatorHost, ManualClock, RunningEmulator
from tests.emulator.rest_client import RestClient
from tests.refusals import REASONS, meet, noted, produces, said
from tests.stage import Staging, tape
from trading_gateway.v1 import (
    account_pb2 as account,
    common_pb2 as common,
    errors_pb2 as errors,
    risk_pb2 as risk,
    trading_pb2 as pb,
)

FRESH = account.GetAccountRequest()
FRESH.max_staleness.SetInParent()


def ref(order: pb.Order) -> pb.OrderRef:
    """By the gateway's id."""
    return pb.OrderRef(order_id=order.order_id)


def replace_of(order: pb.Order, **fields: Any) -> pb.ReplaceOrderRequest:
    """A replace under a key of its own."""
    return pb.ReplaceOrderRequest(client_order_id=f"replace-{order.client_order_id}", order=ref(order), **fields)


# --- the venue


@produces("VENUE_UNREACHABLE")
def test_a_venue_that_is_gone(stage_of: Staging, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "FEED_WAIT_S", 0.05)
    stage = stage_of(venue_url="http://127.0.0.1:9", is_warm=False)
    refusal = stage.wire.refusal("SubmitOrder", submit(), timeout=1)
    assert said(refusal) == (Code.UNAVAILABLE, "VENUE_UNREACHABLE", "free")
    assert said(stage.wire.refusal("GetAccount", FRESH, timeout=1)) == (Code.UNAVAILABLE, "VENUE_UNREACHABLE", "")
    assert stage.is_healthy()
    assert stage.orders() == {}


@produces("VENUE_RATE_LIMIT")
def test_the_request_budget_is_used_up(stage_of: Staging) -> None:
    stage = stage_of(venue_requests_per_minute=20, is_warm=False)
    refusal = None
    for _ in range(20):
        try:
            stage.wire.call("GetAccount", FRESH, timeout=0.5)
        except grpc.RpcError as error:
            refusal = noted(error)
            break
    assert refusal is not None
    assert said(refusal) == (Code.RESOURCE_EXHAUSTED, "VENUE_RATE_LIMIT", "")
    assert refusal.retry_s
    assert stage.emulator.requests("GET /v2/account") <= 10, "half of it is kept for what is more urgent"


@produces("VENUE_AUTHENTICATION")
def test_the_venue_refuses_our_credentials(stage_of: Staging, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "FEED_WAIT_S", 0.05)
    stage = stage_of(
        venue={"key": "right", "secret": "right"}, emulator_key="wrong", emulator_secret="wrong", is_warm=False
    )
    assert said(stage.wire.refusal("GetAccount", FRESH)) == (Code.FAILED_PRECONDITION, "VENUE_AUTHENTICATION", "")
    refusal = stage.wire.refusal("SubmitOrder", submit())
    assert said(refusal) == (Code.FAILED_PRECONDITION, "VENUE_AUTHENTICATION", "free")
    for text in ("wrong", "right"):
        assert text not in refusal.message + str(refusal.metadata)
    assert stage.orders() == {}


@produces("VENUE_REJECTED")
def test_the_venue_refuses_an_order(stage_of: Staging) -> None:
    """A coin order below the venue's least cost, which the venue alone knows."""
    stage = stage_of()
    wanted = spec(
        symbol="BTC/USD", quantity="0.00001", order_type=pb.ORDER_TYPE_MARKET, time_in_force=pb.TIME_IN_FORCE_GTC
    )
    request = submit(wanted=wanted)
    refusals = [stage.wire.refusal("SubmitOrder", request) for _ in range(2)]
    assert refusals[0].reason == "VENUE_REJECTED"
    assert refusals[0].code in (Code.FAILED_PRECONDITION, Code.INVALID_ARGUMENT)
    assert refusals[0].metadata["key"] == "spent"
    assert {"venue_code", "venue_message"} <= set(refusals[0].metadata)
    assert refusals[0] == refusals[1]
    assert stage.emulator.requests("POST /v2/orders") == 1


@produces("RISK_ACCOUNT_BLOCKED")
def test_the_account_may_not_trade(stage_of: Staging, emulator: RunningEmulator) -> None:
    owner = RestClient(emulator)
    assert owner.ask("PATCH", "/v2/account/configurations", json={"suspend_trade": True}).ok
    owner.close()
    stage = stage_of(emulator, is_warm=False)
    refusal = stage.wire.refusal("SubmitOrder", submit())
    assert said(refusal) == (Code.FAILED_PRECONDITION, "RISK_ACCOUNT_BLOCKED", "spent")
    assert refusal.checks == ("RISK_ACCOUNT_BLOCKED",)
    assert stage.emulator.requests("POST /v2/orders") == 0


@produces("MARKET_CLOSED")
def test_the_market_is_closed(stage_of: Staging, start_emulator: EmulatorHost) -> None:
    sunday = start_emulator(session="nyse", clock=ManualClock(instant("2024-01-07 12:00")))
    stage = stage_of(sunday)
    refusal = stage.wire.refusal("ClosePosition", close(symbol="AAPL"))
    assert said(refusal) == (Code.FAILED_PRECONDITION, "MARKET_CLOSED", "free")


@pytest.mark.parametrize(
    ("now", "wanted", "is_late"),
    [
        ("2024-01-03 09:27", pb.TIME_IN_FORCE_OPG, False),
        ("2024-01-03 09:28", pb.TIME_IN_FORCE_OPG, True),
        ("2024-01-03 18:59", pb.TIME_IN_FORCE_OPG, True),
        ("2024-01-03 19:00", pb.TIME_IN_FORCE_OPG, False),
        ("2024-01-03 15:49", pb.TIME_IN_FORCE_CLS, False),
        ("2024-01-03 15:50", pb.TIME_IN_FORCE_CLS, True),
        ("2024-07-03 12:50", pb.TIME_IN_FORCE_CLS, True),  # a half day
        ("2024-01-06 12:00", pb.TIME_IN_FORCE_OPG, False),  # a Saturday
    ],
)
def test_an_auction_is_cut_off(
    stage_of: Staging, start_emulator: EmulatorHost, now: str, wanted: pb.TimeInForce, is_late: bool
) -> None:
    """The gateway's rule and the emulator's, which know nothing of each other, agree to the minute."""
    stage = stage_of(start_emulator(session="nyse", clock=ManualClock(instant(now))))
    request = submit(wanted=spec(time_in_force=wanted))
    if not is_late:
        assert stage.wire.call("SubmitOrder", request).order.venue_order_id
        return
    refusal = stage.wire.refusal("SubmitOrder", request)
    assert said(refusal) == (Code.FAILED_PRECONDITION, "MARKET_CLOSED", "free")
    preview = pb.PreviewOrderRequest(spec=request.spec)
    assert said(stage.wire.refusal("PreviewOrder", preview))[:2] == (Code.FAILED_PRECONDITION, "MARKET_CLOSED")
    assert stage.emulator.requests("POST /v2/orders") == 0


@produces("PRICE_UNAVAILABLE")
def test_no_price_is_to_be_had(stage_of: Staging, tmp_path: Path) -> None:
    """A tape that nobody listens to has not begun."""
    stage = stage_of(venue={"tape": tape(tmp_path)}, is_warm=False)
    wanted = spec(symbol="XYZ", order_type=pb.ORDER_TYPE_MARKET)
    refusal = stage.wire.refusal("SubmitOrder", submit(wanted=wanted))
    assert said(refusal) == (Code.FAILED_PRECONDITION, "PRICE_UNAVAILABLE", "free")
    assert stage.emulator.requests("POST /v2/orders") == 0


class Unread(Module):
    """A venue whose open orders cannot be read: the books are never compared."""

    @provider
    @singleton
    def readings(self, venue: OrderService, calls: VenueCalls) -> VenueReadings:
        """Fails."""

        class Failing(VenueReadings):
            async def open_orders(self) -> list[VenueOrder]:
                raise VenueUnreachable("down")

        return Failing(venue, calls)


@produces("RECONCILING")
def test_a_gateway_that_has_not_compared_its_books_takes_no_risk(stage_of: Staging) -> None:
    """New risk is refused; reads and cancels are served, and it is healthy."""
    stage = stage_of(modules=[Unread()])
    refusal = stage.wire.refusal("SubmitOrder", submit())
    assert said(refusal) == (Code.UNAVAILABLE, "RECONCILING", "free")
    assert refusal.retry_s
    assert stage.is_healthy()
    assert stage.emulator.requests("POST /v2/orders") == 0
    first = next(
        update
        for update in stage.wire.stream("StreamOrderUpdates", pb.StreamOrderUpdatesRequest())
        if update.HasField("feed_status")
    )
    assert first.feed_status.state == common.FEED_STATE_RECONCILING


@produces("ORDER_FEED_BLIND")
def test_a_blind_gateway_takes_no_risk(stage_of: Staging) -> None:
    """New risk is refused; what reduces a position passes, and a known key is a read."""
    stage = stage_of()
    held = stage.bought("held", "AAPL", "2")
    updates = stage.wire.stream("StreamOrderUpdates", pb.StreamOrderUpdatesRequest())
    stage.emulator.fault("feed_disconnected", count=1_000)
    lost = (update for update in updates if update.HasField("feed_status") and update.feed_status.state == 4)
    assert next(lost).feed_status.feed == "orders"
    updates.cancel()

    refusal = stage.wire.refusal("SubmitOrder", submit())
    assert said(refusal) == (Code.FAILED_PRECONDITION, "ORDER_FEED_BLIND", "free")
    assert refusal.retry_s
    wanted = spec(quantity="2", order_type=pb.ORDER_TYPE_MARKET)
    again = stage.wire.call("SubmitOrder", pb.SubmitOrderRequest(client_order_id="held", spec=wanted))
    assert (again.replayed, again.order.order_id) == (True, held.order_id)
    selling = spec(side=pb.ORDER_SIDE_SELL, quantity="1", order_type=pb.ORDER_TYPE_MARKET, reduce_only=True)
    assert stage.submit("less", selling).order_id


def set_mode(mode: risk.TradingMode.ValueType, **fields: Any) -> risk.SetTradingStateRequest:
    """A request for a mode."""
    return risk.SetTradingStateRequest(mode=mode, **fields)


@produces("TRADING_HALTED", "TRADING_REDUCING")
def test_a_stopped_gateway_takes_no_orders(stage_of: Staging) -> None:
    """The key stays free, a known key is a read, cancels pass, health stays, and a dry run says so."""
    stage = stage_of()
    held = stage.bought("held", "AAPL", "2")
    resting = stage.submit("resting", spec(limit_price="1"))
    for mode, reason in (
        (risk.TRADING_MODE_REDUCING, "TRADING_REDUCING"),
        (risk.TRADING_MODE_HALTED, "TRADING_HALTED"),
    ):
        stage.wire.call("SetTradingState", set_mode(mode))
        assert said(stage.wire.refusal("SubmitOrder", submit())) == (Code.FAILED_PRECONDITION, reason, "free")
        preview = stage.wire.call("PreviewOrder", pb.PreviewOrderRequest(spec=spec()))
        failed = [errors.ErrorReason.Name(check.reason) for check in preview.checks if not check.passed]
        assert (preview.would_be_accepted, failed) == (False, [f"ERROR_REASON_{reason}"])
        if mode == risk.TRADING_MODE_REDUCING:
            selling = spec(side=pb.ORDER_SIDE_SELL, quantity="1", limit_price="9000")
            assert stage.submit("less", selling).order_id
    assert said(stage.wire.refusal("ReplaceOrder", replace_of(resting, limit_price="2")))[1] == "TRADING_HALTED"
    assert said(stage.wire.refusal("ClosePosition", close()))[1] == "TRADING_HALTED"
    wanted = spec(quantity="2", order_type=pb.ORDER_TYPE_MARKET)
    again = stage.wire.call("SubmitOrder", pb.SubmitOrderRequest(client_order_id="held", spec=wanted))
    assert (again.replayed, again.order.order_id) == (True, held.order_id)
    assert stage.is_healthy()
    assert stage.ended(resting).state == pb.ORDER_STATE_CANCELED


@produces("VERSION_MISMATCH", "FIELD_INVALID")
def test_stopping_is_easy_and_going_on_is_not(stage_of: Staging) -> None:
    stage = stage_of()
    stage.submit("resting", spec(limit_price="1"))
    first = stage.wire.call("SetTradingState", set_mode(risk.TRADING_MODE_KILLED))
    assert first.all_gone
    assert [result.state for result in first.canceled] == [pb.ORDER_STATE_CANCELED]
    assert stage.wire.call("SetTradingState", set_mode(risk.TRADING_MODE_KILLED)) == first
    for looser in (risk.TRADING_MODE_HALTED, risk.TRADING_MODE_ACTIVE):
        wrong = stage.wire.refusal("SetTradingState", set_mode(looser, reason="why", expected_version=7))
        assert (wrong.code, wrong.reason) == (Code.ABORTED, "VERSION_MISMATCH")
        blind = stage.wire.refusal("SetTradingState", set_mode(looser, expected_version=1))
        assert (blind.code, blind.reason, blind.fields) == (Code.INVALID_ARGUMENT, "FIELD_INVALID", ("reason",))
    going_on = set_mode(risk.TRADING_MODE_ACTIVE, reason="looked into", expected_version=1)
    assert stage.wire.call("SetTradingState", going_on).trading_state.version == 2
    stage.submit("again", spec(limit_price="1"))


# --- an order's way


@produces("CANCEL_UNCONFIRMED")
def test_a_cancel_that_had_to_come_first_is_not_confirmed(stage_of: Staging) -> None:
    stage = stage_of(drain_timeout_ms=100)
    stage.bought("held", "AAPL", "2")
    selling = spec(side=pb.ORDER_SIDE_SELL, quantity="2", limit_price="9000")
    stage.until(stage.submit("holding", selling), pb.ORDER_STATE_WORKING)
    stage.emulator.fault("request_lost", "DELETE *", count=100, delay_ms=2_000)
    posts = stage.emulator.requests("POST /v2/orders")
    refusal = stage.wire.refusal("ClosePosition", close(symbol="AAPL", cancel_orders=True), timeout=0.8)
    assert said(refusal) == (Code.FAILED_PRECONDITION, "CANCEL_UNCONFIRMED", "free")
    assert refusal.retry_s
    assert stage.emulator.requests("POST /v2/orders") == posts


@produces("NOT_REPLACEABLE_YET", "ORDER_NOT_REPLACEABLE")
def test_a_replace_too_early_or_of_an_unknown_order(stage_of: Staging) -> None:
    stage = stage_of(submit_wait_ms=50, venue_read_timeout_ms=300, drain_timeout_ms=100)
    stage.emulator.fault("request_lost", "POST /v2/orders", delay_ms=5_000)
    order = stage.submit("slow", spec())
    assert order.state == pb.ORDER_STATE_SUBMITTING
    early = stage.wire.refusal("ReplaceOrder", replace_of(order, limit_price="51"))
    assert said(early) == (Code.FAILED_PRECONDITION, "NOT_REPLACEABLE_YET", "free")
    assert early.retry_s
    unknown = stage.until(order, pb.ORDER_STATE_OUTCOME_UNKNOWN)
    refusal = stage.wire.refusal("ReplaceOrder", replace_of(unknown, limit_price="51"))
    assert said(refusal) == (Code.FAILED_PRECONDITION, "ORDER_NOT_REPLACEABLE", "free")
    assert stage.emulator.requests("PATCH /v2/orders/{id}") == 0


@produces("ORDER_NOT_REPLACEABLE")
def test_an_order_by_money_has_no_replace(stage_of: Staging, start_emulator: EmulatorHost) -> None:
    stage = stage_of(start_emulator(session="nyse", clock=ManualClock(instant("2024-01-07 12:00"))))
    order = stage.submit("money", spec(order_type=pb.ORDER_TYPE_MARKET, notional="100"))
    refusal = stage.wire.refusal("ReplaceOrder", replace_of(order, quantity="1"))
    assert said(refusal) == (Code.FAILED_PRECONDITION, "ORDER_NOT_REPLACEABLE", "free")


@produces("ORDER_NOT_REPLACEABLE")
def test_a_replace_to_no_more_than_is_filled(stage_of: Staging, tmp_path: Path) -> None:
    stage = stage_of(venue={"tape": tape(tmp_path), "tape_start": "now"}, is_warm=False)
    wanted = spec(symbol="XYZ", quantity="300", limit_price="100.10")
    order = stage.until(stage.submit("partly", wanted), pb.ORDER_STATE_PARTIALLY_FILLED)
    assert order.filled_quantity == "100"
    for quantity in ("100", "99"):
        refusal = stage.wire.refusal("ReplaceOrder", replace_of(order, quantity=quantity))
        assert said(refusal) == (Code.FAILED_PRECONDITION, "ORDER_NOT_REPLACEABLE", "free")
    assert stage.emulator.requests("PATCH /v2/orders/{id}") == 0


@produces("NOT_SENT")
def test_canceled_before_it_was_sent(stage_of: Staging) -> None:
    """The venue takes no requests, so the order has certainly not left; its cancel comes first."""
    stage = stage_of(submit_wait_ms=10_000)
    stage.emulator.fault("http_429", "POST /v2/orders", count=1_000)
    request = submit()
    updates = stage.wire.stream("StreamOrderUpdates", pb.StreamOrderUpdatesRequest(live_only=True))
    assert next(updates).HasField("feed_status")
    submitting = stage.wire.begin("SubmitOrder", request)
    sent = next(update for update in updates if update.event.kind == pb.OrderEvent.KIND_SUBMITTED)
    stage.wire.call("CancelOrder", pb.CancelOrderRequest(order=ref(sent.event.order)))
    refusal = noted(submitting.exception())
    updates.cancel()
    assert said(refusal) == (Code.FAILED_PRECONDITION, "NOT_SENT", "spent")
    assert said(stage.wire.refusal("SubmitOrder", request)) == said(refusal)
    assert list(stage.orders().values()) == [pb.ORDER_STATE_NOT_SENT]


class Impatient(Module):
    """Looks an order up as often as ever, and in no time."""

    @provider
    @singleton
    def resolver(
        self,
        orders: OrderManager,
        feed: OrderFeed,
        venue: OrderService,
        lookups: Lookups,
        alarms: Alarms,
        calls: VenueCalls,
        tasks: OwnedTasks,
        clocks: Clocks,
    ) -> OutcomeResolver:
        """With a settle window of 0.2 s instead of 60 s, and a tenth of the pauses."""

        async def sleep(seconds: float) -> None:
            await clocks.sleep(seconds / 10)

        return OutcomeResolver(
            orders, feed, venue, lookups, alarms, calls, tasks, clocks.wall, clocks.monotonic, sleep, 200
        )


@produces("ABSENT")
def test_an_order_that_the_venue_never_had(stage_of: Staging) -> None:
    stage = stage_of(modules=[Impatient()], submit_wait_ms=50, venue_read_timeout_ms=100)
    stage.emulator.fault("request_lost", "POST /v2/orders", delay_ms=5_000)
    request = submit()
    order = stage.until(stage.wire.call("SubmitOrder", request).order, pb.ORDER_STATE_ABSENT)
    assert order.failure.code == Code.NOT_FOUND.value[0]
    meet(reason_of(order.failure))
    again = stage.wire.call("SubmitOrder", request)
    assert (again.replayed, again.order.state) == (True, pb.ORDER_STATE_ABSENT)
    assert stage.emulator.requests("POST /v2/orders") == 1


def reason_of(status: Any) -> str:
    """Of a status inside an answer."""
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return str(info.reason)


@produces("JOURNAL_UNAVAILABLE")
def test_there_is_no_room_to_remember_an_order(stage_of: Staging) -> None:
    stage = stage_of(orders_max=1)
    first = stage.submit("first", spec())
    refusal = stage.wire.refusal("SubmitOrder", submit())
    assert said(refusal) == (Code.UNAVAILABLE, "JOURNAL_UNAVAILABLE", "free")
    assert stage.ended(first).state == pb.ORDER_STATE_CANCELED, "a cancel needs no room"
    assert stage.emulator.requests("POST /v2/orders") == 1


# --- none is left out


def test_every_reason_has_a_producer() -> None:
    produced = {case.reason for case in CASES if case.reason}
    for module in (test_access, test_bad_input, test_gateway_reasons, test_tokens, _this_module()):
        for _, test in inspect.getmembers(module, inspect.isfunction):
            produced |= set(getattr(test, "produces", ()))
    assert produced == REASONS


def _this_module() -> ModuleType:
    module = inspect.getmodule(test_every_reason_has_a_producer)
    assert module is not None
    return module


def test_every_error_of_the_domain_has_a_reason_of_the_contract() -> None:
    kinds, waiting = set[str](), [GatewayError]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if not kind.__subclasses__():
            kinds.add(kind.reason)
    assert kinds | {"INTERNAL", "ABSENT"} == REASONS
