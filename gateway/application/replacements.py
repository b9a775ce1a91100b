"""Replacements: new values for a working order.

Promises: a replace is journaled before it is sent, and sent once; at the venue it makes a new order, here it stays the
same one. Until the venue has settled it both may trade, and both are counted. An unanswered replace is never sent
blindly again: `replacement_outcomes` looks for it. A fill that crosses it is corrected at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import structlog

from gateway.application.alarms import Alarms
from gateway.application.cancellations import Cancellations
from gateway.application.commands import ReplaceRequest
from gateway.application.failures import error_of, failure_of
from gateway.application.key_desk import Command
from gateway.application.order_feed import OrderFeed
from gateway.application.order_manager import OrderManager
from gateway.application.outcome_resolver import (
    OutcomeResolver,
)
from gateway.application.owned_tasks import OwnedTasks
from gateway.application.replacement_outcomes import ReplacementOutcomes, refusal_of
from gateway.application.risk_manager import RiskManager, denial_of
from gateway.application.submissions import stopped
from gateway.application.trading_state import TradingStates
from gateway.application.venue_calls import VenueCalls
from gateway.domain.errors import (
    ExpiredUnsent,
    GatewayError,
    KeyFate,
    NotReplaceableYet,
    NotSent,
    OrderNotReplaceable,
    OrderTerminal,
    OutcomeUnknown,
    TradingStopped,
    VersionMismatch,
)
from gateway.domain.models.market_data import Quote
from gateway.domain.models.orders import JournalEvent, Order, OrderChanges, OrderEventKind, VenueOrder
from gateway.domain.models.reference import Asset
from gateway.domain.models.risk import Clearance, TradingMode
from gateway.domain.order_lifecycle import changed, excess
from gateway.domain.types import BudgetLane, CallContext, Caller, OrderState, venue_client_order_id
from gateway.domain.venue_reports import is_answer_to
from gateway.services.recovery import CERTAINLY_UNSENT, ErrorService, is_ambiguous
from gateway.services.reference import AssetService, MarketCalendarService
from gateway.services.trading import OrderService
from gateway.services.validation import ValidationService

NOT_YET_RETRY_AFTER_MS: Final = 500
CORRECTION_VALID_NS: Final = 5_000_000_000
_NOT_YET: Final = frozenset(
    {
        OrderState.RECORDED,
        OrderState.SUBMITTING,
        OrderState.ACCEPTED,
        OrderState.PENDING_REPLACE,
        OrderState.PENDING_CANCEL,
    }
)
_HELD: Final = "held"
"""A leg that waits for its parent: not on the market, and still replaceable."""

_log = structlog.get_logger(__name__)


class Replacements:
    """Sends replaces.

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
        outcomes: ReplacementOutcomes,
        cancellations: Cancellations,
        states: TradingStates,
        alarms: Alarms,
        calls: VenueCalls,
        tasks: OwnedTasks,
        wall: Callable[[], int],
        monotonic: Callable[[], float],
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
        self._outcomes = outcomes
        self._cancellations = cancellations
        self._states = states
        self._alarms = alarms
        self._calls = calls
        self._tasks = tasks
        self._wall = wall
        self._monotonic = monotonic
        orders.news.add_listener(self._on_event)

    async def perform(self, command: Command, order_id: str, request: ReplaceRequest, call: CallContext) -> None:
        """Everything between a free key and the venue's answer.

        Raises:
            GatewayError: What the callers are told; nothing changed.
        """
        before = self._orders.order(order_id)
        self._risk.check_symbol(before.spec, call.caller)
        asset = self._assets.find(before.spec.symbol) or await self._assets.get(before.spec.symbol, call)
        self._validation.check_changes(before.spec, request.changes, asset)
        after = changed(before.spec, request.changes)
        if request.changes.time_in_force is not None:
            await self._calendar.check_cut_off(request.changes.time_in_force, call)
        quote = await self._risk.prepare(after, call)
        if not self._feed.is_live:
            await self._risk.refresh_positions(call)
        clearance = await self._record(command, order_id, request, asset, quote, call.caller, is_fresh=False)
        if clearance is None:
            await self._risk.refresh(call)  # outside of the lock, which the order's own news wait for
            clearance = await self._record(command, order_id, request, asset, quote, call.caller, is_fresh=True)
        assert clearance is not None, "fresh figures decide"
        try:
            await self._send(command, request.client_order_id, request.changes, request.valid_until_ns, clearance, call)
        except GatewayError:
            raise
        except Exception:  # a bug of ours: nobody else looks for this replace
            _log.exception("replace_failed", order_id=order_id)
            self._outcomes.watch(order_id)

    async def _record(
        self,
        command: Command,
        order_id: str,
        request: ReplaceRequest,
        asset: Asset,
        quote: Quote | None,
        caller: Caller,
        *,
        is_fresh: bool,
    ) -> Clearance | None:
        """Check, reserve and journal in one step; None when a check failed on figures that are too old to deny by."""
        async with self._orders.family_lock(self._orders.order(order_id)):
            before = self._orders.order(order_id)
            self._check_replaceable(before, request)
            after = changed(before.spec, request.changes)
            if after.quantity is not None:
                after = replace(after, quantity=after.quantity - before.filled_quantity)
            evaluation = self._risk.evaluate(after, asset, quote, caller, before)
            if not (evaluation.passed or is_fresh) and self._risk.is_stale:
                return None
            clearance = self._states.admit(is_reduction=evaluation.is_reduction, valid_until_ns=request.valid_until_ns)
            if not evaluation.is_reduction:
                self._feed.check_live()
            asked = self._asked(before, request.client_order_id, request.changes, request.fingerprint())
            asked = replace(asked, checks=evaluation.checks)
            if not evaluation.passed:
                command.settle()
                failure = failure_of(denial_of(evaluation, after), KeyFate.SPENT)
                await self._orders.record([asked, refusal_of(before, request.client_order_id, failure, self._wall())])
                raise error_of(failure, order_id)
            if self._wall() >= request.valid_until_ns:
                raise ExpiredUnsent("valid_until passed before the replace could be sent; nothing is stored.")
            self._risk.reserve_replace(order_id, evaluation.cost)
            try:
                await self._orders.record([asked])
            except Exception:
                self._risk.release_replace(order_id)
                raise
        command.mark_recorded(order_id)
        return clearance

    def watch(self, order_id: str) -> None:
        """Find out what became of a replace without an answer."""
        self._outcomes.watch(order_id)

    def _check_replaceable(self, order: Order, request: ReplaceRequest) -> None:
        if order.state.is_terminal:
            raise OrderTerminal("The order can change no more.", metadata={"state": order.state.value})
        if request.expected_version is not None and order.version != request.expected_version:
            raise VersionMismatch("The order has another version.", metadata={"version": str(order.version)})
        if order.external or order.spec.quantity is None:
            raise OrderNotReplaceable("Orders by notional, and orders from outside, cannot be replaced.")
        if order.state in (OrderState.OUTCOME_UNKNOWN, OrderState.UNRECOGNIZED):
            raise OrderNotReplaceable("It is not known what the order is now.", metadata={"state": order.state.value})
        if order.state in _NOT_YET and order.venue_status != _HELD:
            raise NotReplaceableYet(
                "The venue is still taking the order in, or an earlier change is pending.",
                metadata={"state": order.state.value},
                retry_after_ms=NOT_YET_RETRY_AFTER_MS,
            )
        if request.changes.quantity is not None and not request.changes.quantity > order.filled_quantity:
            raise OrderNotReplaceable("As much, or more, is already filled.")

    async def _send(
        self,
        command: Command,
        key: str,
        changes: OrderChanges,
        valid_until_ns: int,
        clearance: Clearance,
        call: CallContext,
    ) -> None:
        order_id = command.order_id
        attempts, begun = 1, self._orders.order(order_id)
        while True:
            order = self._orders.order(order_id)
            too_late = self._too_late(begun, order, changes, valid_until_ns, clearance)
            if too_late is not None:
                await self._refuse(command, key, too_late)
                return
            asked = self._for_venue(order, changes)
            try:
                answer = await self._venue.replace(
                    self._calls.on_behalf(call, BudgetLane.ORDER, clearance, order_id),
                    order.venue_order_id,
                    order.pending_replace_id,
                    asked,
                )
            except TradingStopped as error:
                await self._refuse(command, key, stopped(error))
                return
            except ExpiredUnsent:
                await self._refuse(command, key, _expired())
                return
            except CERTAINLY_UNSENT as error:
                if not await self._may_send_again(command, key, attempts, error, valid_until_ns):
                    await self._refuse(command, key, _expired())
                    return
            except Exception as error:
                await self._not_accepted(command, key, error)
                return
            else:
                await self._accepted(order, key, asked, answer)
                return
            attempts += 1
            await self._record_attempt(order_id, key, changes, attempts)

    def _too_late(
        self, begun: Order, order: Order, changes: OrderChanges, valid_until_ns: int, clearance: Clearance
    ) -> GatewayError | None:
        """Why a replace that has not left must not leave any more: what leaves is what the journal has pending."""
        try:
            self._states.check(clearance)
        except TradingStopped as error:
            return stopped(error)
        if order.state.is_terminal:
            return OrderTerminal("The order ended before the replace was sent.", metadata={"state": order.state.value})
        if order.cancel_request_time_ns is not None:
            return NotSent("The order was canceled before the replace was sent.")
        if (order.pending_replace_id, order.venue_order_id) != (begun.pending_replace_id, begun.venue_order_id):
            return NotSent("The order was changed otherwise before the replace was sent.")
        if changes.quantity is not None and not changes.quantity > order.filled_quantity:
            return OrderNotReplaceable("As much, or more, was filled before the replace was sent.")
        return _expired() if self._wall() >= valid_until_ns else None

    async def _may_send_again(
        self, command: Command, key: str, attempts: int, error: GatewayError, valid_until_ns: int
    ) -> bool:
        try:
            return await self._errors.may_send_again(attempts, error, valid_until_ns)
        except asyncio.CancelledError:  # a shutdown that waits no longer; nothing has left, and nothing will
            await self._refuse(command, key, NotSent("The gateway stopped before the replace was sent."))
            raise

    async def _record_attempt(self, order_id: str, key: str, changes: OrderChanges, attempt: int) -> None:
        """Each attempt has a row of its own before it leaves; none where the replace is settled meanwhile."""
        async with self._orders.family_lock(self._orders.order(order_id)):
            order = self._orders.order(order_id)
            if order.pending_replace_id != venue_client_order_id(order.strategy_id, key):
                return
            entry = self._orders.key(order.strategy_id, key)
            again = self._asked(order, key, changes, "" if entry is None else entry.fingerprint)
            await self._orders.record([replace(again, attempt=attempt)])

    async def _accepted(self, before: Order, key: str, asked: OrderChanges, answer: VenueOrder) -> None:
        """Take the answer in, if it speaks of this replace; else nobody knows what the venue has done."""
        order_id = before.order_id
        if is_answer_to(answer, before, venue_client_order_id(before.strategy_id, key), asked):
            await self._resolver.take(order_id, answer)
            return
        self._alarms.trip_wrong_answer(order_id, answer)
        self._outcomes.watch(order_id)

    def _for_venue(self, order: Order, changes: OrderChanges) -> OrderChanges:
        """The venue's new order begins with nothing filled: it is asked for what is left of the new total."""
        if changes.quantity is None:
            return changes
        return replace(changes, quantity=changes.quantity - order.filled_quantity)

    async def _not_accepted(self, command: Command, key: str, error: Exception) -> None:
        self._states.note_refusal(error)
        if is_ambiguous(error):
            if not isinstance(error, OutcomeUnknown):
                _log.error("replace_failed", order_id=command.order_id, exc_info=error)
            self._outcomes.watch(command.order_id)
            return
        assert isinstance(error, GatewayError), "everything else is ambiguous"
        await self._refuse(command, key, error)

    async def _refuse(self, command: Command, key: str, error: GatewayError) -> None:
        """Record that nothing changed, and tell it to those who were told nothing yet."""
        is_answer = command.settle()
        failure = failure_of(error, KeyFate.SPENT if is_answer else None)
        request_id = error.metadata.get("venue_request_id", "")
        is_refused = await self._outcomes.record_refusal(command.order_id, key, failure, request_id)
        if is_answer and is_refused:
            raise error_of(failure, command.order_id)

    def _on_event(self, event: JournalEvent, order: Order) -> None:
        """A fill that crossed a replace leaves more at work than was asked for."""
        is_refused = event.kind is OrderEventKind.REPLACE_REJECTED
        if not is_refused and (event.venue_order is None or not event.venue_order.replaces):
            return
        if order.state.is_terminal or order.external or order.pending_replace is not None:
            return
        if (surplus := excess(order)) > 0:
            _log.warning("replace_crossed_by_fill", order_id=order.order_id, excess=str(surplus))
            # What a replace could not take back, the end of the order does.
            work = self._cancellations.request(order.order_id) if is_refused else self._correct(order.order_id)
            self._tasks.spawn(work)

    async def _correct(self, order_id: str) -> None:
        """Take the excess back: a second replace down to the total, or the end of what is left."""
        async with self._orders.family_lock(self._orders.order(order_id)):
            order = self._orders.order(order_id)
            total = order.spec.quantity
            if order.state.is_terminal or total is None or order.pending_replace is not None or excess(order) <= 0:
                return
            # While trading is stopped no replace leaves, not even this one: the order is canceled instead.
            may_replace = order.filled_quantity < total and self._states.mode is TradingMode.ACTIVE
            valid_until_ns = self._wall() + CORRECTION_VALID_NS
            clearance = None
            if may_replace:
                clearance = self._states.admit(is_reduction=False, valid_until_ns=valid_until_ns)
            changes = OrderChanges(quantity=total)
            key = f"{_last_key(order)}~{len(order.venue_orders)}"
            if clearance is not None:
                await self._orders.record([self._asked(order, key, changes, "")])
        if clearance is None:
            await self._cancellations.request(order_id)
            return
        command = Command("", self._monotonic(), answered_ok=True)
        command.mark_recorded(order_id)
        own = self._calls.own(BudgetLane.ORDER)
        await self._send(command, key, changes, valid_until_ns, clearance, own)

    def _asked(self, order: Order, key: str, changes: OrderChanges, fingerprint: str) -> JournalEvent:
        now_ns = self._wall()
        return JournalEvent(
            OrderEventKind.REPLACE_REQUESTED,
            order.order_id,
            order.strategy_id,
            now_ns,
            now_ns,
            client_order_id=key,
            changes=changes,
            fingerprint=fingerprint,
            attempt=1,
        )


def _expired() -> ExpiredUnsent:
    return ExpiredUnsent("valid_until passed before the replace could be sent.")


def _last_key(order: Order) -> str:
    present = order.venue_order
    assert present is not None
    return present.venue_client_order_id.partition(".")[2].partition("~")[0]
