"""Submissions: one order from its key to the venue's answer.

Promises: nothing leaves before the journal has it; at most one request per attempt, and a second attempt only when the
first certainly did not leave; never after `valid_until`; an answer that proves nothing is OUTCOME_UNKNOWN and never a
failure; a failure that nobody was told otherwise about is the key's answer for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from gateway.application.alarms import Alarms
from gateway.application.failures import error_of, failure_of
from gateway.application.key_desk import ANSWER_MARGIN_MS, SUBMIT_WAIT_MS, Command, KeyOvertaken
from gateway.application.order_feed import OrderFeed
from gateway.application.order_manager import OrderManager, order_id_of
from gateway.application.outcome_resolver import OutcomeResolver
from gateway.application.risk_manager import Evaluation, RiskManager, denial_of
from gateway.application.trading_state import TradingStates
from gateway.application.venue_calls import VenueCalls
from gateway.domain.errors import (
    ClientOrderIdReused,
    ExpiredUnsent,
    GatewayError,
    InsufficientTime,
    KeyFate,
    NotSent,
    OutcomeUnknown,
    TradingStopped,
)
from gateway.domain.models.orders import JournalEvent, OrderEventKind, OrderRequest, OrderSpec, VenueOrder
from gateway.domain.models.reference import Asset
from gateway.domain.models.risk import Clearance, RiskCheckResult, TradingMode
from gateway.domain.types import MS_PER_SECOND, BudgetLane, CallContext, OrderClass, OrderState, venue_client_order_id
from gateway.domain.venue_reports import Report, same_order
from gateway.services.recovery import CERTAINLY_UNSENT, ErrorService, is_ambiguous
from gateway.services.reference import AssetService, MarketCalendarService
from gateway.services.trading import OrderService
from gateway.services.validation import ValidationService

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Approved:
    """A legal order that passed every check."""

    spec: OrderSpec
    evaluation: Evaluation


class Submissions:
    """Sends new orders.

    Args:
        wall: Nanoseconds since the Unix epoch.
        monotonic: Seconds, as `time.monotonic`.
    """

    def __init__(
        self,
        orders: OrderManager,
        feed: OrderFeed,
        venue: OrderService,
        assets: AssetService,
        calendar: MarketCalendarService,
        validation: ValidationService,
        risk: RiskManager,
        errors: ErrorService,
        resolver: OutcomeResolver,
        states: TradingStates,
        alarms: Alarms,
        calls: VenueCalls,
        wall: Callable[[], int],
        monotonic: Callable[[], float],
        submit_wait_ms: int = SUBMIT_WAIT_MS,
    ) -> None:
        self._orders = orders
        self._feed = feed
        self._venue = venue
        self._assets = assets
        self._calendar = calendar
        self._validation = validation
        self._risk = risk
        self._errors = errors
        self._resolver = resolver
        self._states = states
        self._alarms = alarms
        self._calls = calls
        self._wall = wall
        self._monotonic = monotonic
        self._submit_wait_s = submit_wait_ms / MS_PER_SECOND

    async def warm(self) -> None:
        """Have at hand what the first order needs; a list of all assets takes seconds to read."""
        await self._assets.warm(self._calls.own(BudgetLane.LOOKUP))

    async def perform(self, command: Command, request: OrderRequest, fingerprint: str, call: CallContext) -> None:
        """Everything between a free key and the venue's answer.

        Raises:
            GatewayError: What the callers are told; nothing was sent, or the venue proved that it had no effect.
        """
        request, clearance = await self._record(command, request, fingerprint, call)
        try:
            await self._send(command, request, clearance, call)
        except GatewayError:
            raise
        except Exception:  # a bug of ours: nobody else looks for this order
            _log.exception("submit_failed", order_id=command.order_id)
            await self._unknown(command, request)

    async def approve(self, spec: OrderSpec, call: CallContext) -> Approved:
        """Validation and checks, as far as they are the same for a dry run."""
        self._risk.check_symbol(spec, call.caller)
        asset = await self._asset(spec, call)
        spec = self._validation.normalize(spec, asset)
        await self._calendar.check_cut_off(spec.time_in_force, call)
        quote = await self._risk.prepare(spec, call)
        self._risk.check_size(spec, asset, quote)
        self._risk.check_shortable(spec, asset)
        if not self._feed.is_live:
            await self._risk.refresh_positions(call)
        return Approved(spec, await self._risk.judge(spec, asset, quote, call))

    async def _record(
        self, command: Command, request: OrderRequest, fingerprint: str, call: CallContext
    ) -> tuple[OrderRequest, Clearance]:
        """Check, reserve and journal in one step; then the order may leave."""
        margin_s = ANSWER_MARGIN_MS / MS_PER_SECOND
        until = min(self._monotonic() + self._submit_wait_s, call.deadline - margin_s)
        try:
            async with asyncio.timeout(until - self._monotonic()):
                approved = await self.approve(request.spec, call)
        except TimeoutError:
            raise InsufficientTime("The order could not be checked in time; nothing was sent.") from None
        # From here to the journal nothing else runs: what was checked is what is reserved and recorded.
        if approved.spec is not request.spec:
            request = replace(request, spec=approved.spec)
        order_id = order_id_of(venue_client_order_id(request.strategy_id, request.client_order_id))
        if self._orders.has_begun(order_id):
            raise KeyOvertaken(order_id)
        clearance = self._states.admit(
            is_reduction=approved.evaluation.is_reduction, valid_until_ns=request.valid_until_ns
        )
        if not approved.evaluation.is_reduction:
            self._feed.check_live()
        if not approved.evaluation.passed:
            await self._deny(command, request, fingerprint, order_id, approved.evaluation)
        if self._wall() >= request.valid_until_ns:
            raise ExpiredUnsent("valid_until passed before the order could be sent; nothing is stored.")
        self._risk.admit(order_id, request.spec, approved.evaluation)
        try:
            await self._orders.record(
                [
                    self._event(OrderEventKind.RECORDED, order_id, request, fingerprint, approved.evaluation.checks),
                    self._event(OrderEventKind.SUBMITTED, order_id, request, attempt=1),
                ]
            )
        except Exception:
            self._risk.withdraw(order_id)
            raise
        command.mark_recorded(order_id)
        return request, clearance

    async def _deny(
        self, command: Command, request: OrderRequest, fingerprint: str, order_id: str, evaluation: Evaluation
    ) -> None:
        failure = failure_of(denial_of(evaluation, request.spec), KeyFate.SPENT)
        command.settle()
        denied = self._event(OrderEventKind.DENIED, order_id, request)
        await self._orders.record(
            [
                self._event(OrderEventKind.RECORDED, order_id, request, fingerprint),
                replace(denied, failure=failure, checks=evaluation.checks),
            ]
        )
        raise error_of(failure, order_id)

    async def _send(self, command: Command, request: OrderRequest, clearance: Clearance, call: CallContext) -> None:
        """Attempts, until one has left or none may follow."""
        order_id = command.order_id
        venue_id = venue_client_order_id(request.strategy_id, request.client_order_id)
        attempts = 1
        while not self._orders.order(order_id).venue_orders:  # else it is there already: another process sent it
            too_late = self._too_late(command, request, clearance)
            if too_late is not None:
                await self._end(command, request, OrderEventKind.NOT_SENT, too_late)
                return
            try:
                answer = await self._attempt(order_id, venue_id, request, clearance, call)
            except TradingStopped as error:
                await self._end(command, request, OrderEventKind.NOT_SENT, stopped(error))
                return
            except ExpiredUnsent:
                await self._end(command, request, OrderEventKind.NOT_SENT, _expired())
                return
            except CERTAINLY_UNSENT as error:
                if not await self._may_send_again(command, request, attempts, error):
                    await self._end(command, request, OrderEventKind.NOT_SENT, _expired())
                    return
            except Exception as error:
                await self._not_accepted(command, request, venue_id, error)
                return
            else:
                await self._accepted(command, request, venue_id, answer)
                return
            attempts += 1
            await self._orders.record([self._event(OrderEventKind.SUBMITTED, order_id, request, attempt=attempts)])

    async def _may_send_again(
        self, command: Command, request: OrderRequest, attempts: int, error: GatewayError
    ) -> bool:
        try:
            return await self._errors.may_send_again(attempts, error, request.valid_until_ns)
        except asyncio.CancelledError:  # a shutdown that waits no longer; nothing has left, and nothing will
            unsent = NotSent("The gateway stopped before the order was sent.")
            await self._end(command, request, OrderEventKind.NOT_SENT, unsent)
            raise

    def _too_late(self, command: Command, request: OrderRequest, clearance: Clearance) -> GatewayError | None:
        """Why an order that has not left must not leave any more."""
        try:
            self._states.check(clearance)
        except TradingStopped as error:
            return stopped(error)
        if self._orders.order(command.order_id).cancel_request_time_ns is not None:
            return NotSent("The order was canceled before it was sent.")
        return _expired() if self._wall() >= request.valid_until_ns else None

    async def _attempt(
        self, order_id: str, venue_id: str, request: OrderRequest, clearance: Clearance, call: CallContext
    ) -> VenueOrder:
        self._check_row(order_id, venue_id, request)
        return await self._venue.submit(
            self._calls.on_behalf(call, BudgetLane.ORDER, clearance, order_id), venue_id, request.spec
        )

    def _check_row(self, order_id: str, venue_id: str, request: OrderRequest) -> None:
        """What is about to leave is what the journal has; `_accepted` is the other half of the pair."""
        row = self._orders.order(order_id)
        is_id = venue_client_order_id(row.strategy_id, row.client_order_id) == venue_id
        if row.state is OrderState.SUBMITTING and is_id and row.spec == request.spec:
            return
        self._alarms.trip(
            "row_differs_from_request",
            TradingMode.HALTED,
            "An order was about to leave that the journal does not have so.",
            order_id=order_id,
            state=row.state.value,
        )
        raise RuntimeError("about to send what the journal does not have so")

    async def _accepted(self, command: Command, request: OrderRequest, venue_id: str, answer: VenueOrder) -> None:
        if answer.venue_client_order_id != venue_id or not same_order(request.spec, answer):
            self._alarms.trip_wrong_answer(command.order_id, answer)
            await self._unknown(command, request)
            return
        await self._resolver.take(command.order_id, answer)
        if not self._orders.order(command.order_id).venue_orders:  # the venue's id for it is another order's
            self._alarms.trip_wrong_answer(command.order_id, answer)
            await self._unknown(command, request)
            return
        if request.spec.order_class is not OrderClass.SIMPLE:
            await self._orders.release_parked(adopt=False)

    async def _not_accepted(self, command: Command, request: OrderRequest, venue_id: str, error: Exception) -> None:
        self._states.note_refusal(error)
        if isinstance(error, OutcomeUnknown) and error.duplicate_id:
            found = await self._resolver.look_up_once(command.order_id, venue_id)
            if found is not None and same_order(request.spec, found):
                await self._resolver.take(command.order_id, found)
                return
            if found is not None:
                await self._taken(command, request, found)
                return
        if is_ambiguous(error):
            if not isinstance(error, OutcomeUnknown):
                _log.error("submit_failed", order_id=command.order_id, exc_info=error)
            await self._unknown(command, request)
            return
        assert isinstance(error, GatewayError), "everything else is ambiguous"
        await self._end(command, request, OrderEventKind.REJECTED, error)

    async def _unknown(self, command: Command, request: OrderRequest) -> None:
        async with self._orders.family_lock(self._orders.order(command.order_id)):
            order = self._orders.order(command.order_id)
            if order.venue_orders or order.state.is_terminal:
                return  # the feed was faster, and knows better
            await self._orders.record([self._event(OrderEventKind.OUTCOME_UNKNOWN, command.order_id, request)])
        self._resolver.watch(command.order_id)

    async def _taken(self, command: Command, request: OrderRequest, found: VenueOrder) -> None:
        """The venue holds another order under this id: ours was refused, and the key is that order's."""
        error = ClientOrderIdReused(
            "The venue holds another order under this key.", metadata={"venue_order_id": found.venue_order_id}
        )
        self._alarms.tell_collision(command.order_id, found, self._wall())
        try:
            await self._end(command, request, OrderEventKind.REJECTED, error, key=KeyFate.TAKEN)
        finally:
            await self._orders.observe(Report(found, self._wall(), backfill=True), park=False)

    async def _end(
        self,
        command: Command,
        request: OrderRequest,
        kind: OrderEventKind,
        error: GatewayError,
        key: KeyFate = KeyFate.SPENT,
    ) -> None:
        """Record that the order never came to be, and tell it to those who were told nothing yet.

        Raises:
            GatewayError: The answer to the key; not raised when an earlier answer was OK.
        """
        is_answer = command.settle()
        failure = failure_of(error, key if is_answer else None)
        event = self._event(kind, command.order_id, request)
        order = self._orders.order(command.order_id)
        async with self._orders.family_lock(order):
            order = self._orders.order(command.order_id)
            if order.venue_orders:
                return  # the feed was faster, and knows better
            request_id = error.metadata.get("venue_request_id", "")
            await self._orders.record([replace(event, failure=failure, venue_request_id=request_id)])
        if is_answer:
            raise error_of(failure, command.order_id)

    def _event(
        self,
        kind: OrderEventKind,
        order_id: str,
        request: OrderRequest,
        fingerprint: str = "",
        checks: tuple[RiskCheckResult, ...] = (),
        *,
        attempt: int = 0,
    ) -> JournalEvent:
        now_ns = self._wall()
        return JournalEvent(
            kind=kind,
            order_id=order_id,
            strategy_id=request.strategy_id,
            record_time_ns=now_ns,
            event_time_ns=now_ns,
            request=request if kind is OrderEventKind.RECORDED else None,
            fingerprint=fingerprint,
            attempt=attempt,
            checks=checks,
        )

    async def _asset(self, spec: OrderSpec, call: CallContext) -> Asset:
        return self._assets.find(spec.symbol) or await self._assets.get(spec.symbol, call, "spec.symbol")


def stopped(error: TradingStopped) -> NotSent:
    """What an order ends with that was recorded, and may not leave any more."""
    return NotSent("Trading was stopped before the order was sent.", metadata=error.metadata)


def _expired() -> ExpiredUnsent:
    return ExpiredUnsent("valid_until passed before the order could be sent.")
