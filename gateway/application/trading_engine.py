"""TradingEngine: admit, check, journal, submit, record.

Promises: an order is sent at most once and its fate is never guessed; what was begun is seen to its end, whoever goes
away; cancels and reads pass whatever else is refused. The steps are their own modules: `key_desk` (one key, one
command), `submissions`, `replacements`, `cancellations`, `outcome_resolver`, `reconciler`.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Final

import structlog

from gateway.application.alarms import Alarms
from gateway.application.cancellations import Cancellations
from gateway.application.commands import (
    CANCEL_WAIT_MAX_MS,
    VALID_FOR_MAX_MS,
    Canceled,
    CanceledMany,
    CancelScope,
    Preview,
    ReplaceRequest,
    Submitted,
)
from gateway.application.key_desk import ANSWER_MARGIN_MS, Command, KeyDesk
from gateway.application.kill_switch import KillSwitch
from gateway.application.order_feed import OrderFeed
from gateway.application.order_manager import OrderManager
from gateway.application.order_updates import OrderUpdates
from gateway.application.outcome_resolver import OutcomeResolver
from gateway.application.owned_tasks import OwnedTasks
from gateway.application.reconciler import Reconciler
from gateway.application.replacements import Replacements
from gateway.application.submissions import Submissions
from gateway.application.trading_state import TradingStates
from gateway.domain.errors import (
    Draining,
    ExpiredUnsent,
    FieldInvalid,
    FieldViolation,
    InsufficientTime,
    OrderNotFound,
    OrderRejected,
    TradingStopped,
)
from gateway.domain.interfaces import OrderUpdateConnection, StreamingRepository
from gateway.domain.models.orders import (
    Failure,
    JournalEvent,
    Order,
    OrderChanges,
    OrderEventKind,
    OrderRef,
    OrderRequest,
    OrderSpec,
)
from gateway.domain.models.risk import RiskCheckResult, TradingMode
from gateway.domain.types import MS_PER_SECOND, NANOS_PER_MS, BudgetLane, CallContext, OrderSide, OrderState

SUBMIT_TIME_MIN_MS: Final = ANSWER_MARGIN_MS + 10
"""A caller that waits for less is refused before anything is recorded."""
_ANSWER_MARGIN_S: Final = ANSWER_MARGIN_MS / MS_PER_SECOND

_log = structlog.get_logger(__name__)


class TradingEngine:
    """Every command about orders.

    Args:
        wall: Nanoseconds since the Unix epoch.
        monotonic: Seconds, as `time.monotonic`.
    """

    def __init__(
        self,
        orders: OrderManager,
        desk: KeyDesk,
        submissions: Submissions,
        replacements: Replacements,
        cancellations: Cancellations,
        resolver: OutcomeResolver,
        feed: OrderFeed,
        reconciler: Reconciler,
        updates: OrderUpdates,
        states: TradingStates,
        kill: KillSwitch,
        alarms: Alarms,
        streaming: StreamingRepository,
        tasks: OwnedTasks,
        wall: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        self._orders = orders
        self._desk = desk
        self._submissions = submissions
        self._replacements = replacements
        self._cancellations = cancellations
        self._resolver = resolver
        self._feed = feed
        self._reconciler = reconciler
        self._updates = updates
        self._states = states
        self._kill = kill
        self._alarms = alarms
        self._streaming = streaming
        self._tasks = tasks
        self._wall = wall
        self._monotonic = monotonic
        self._is_draining = False
        self._doors: list[Callable[[], None]] = []
        self._connection: OrderUpdateConnection | None = None
        self._running: list[asyncio.Task[None]] = []
        resolver.on_fills_withheld = reconciler.suspect
        orders.add_fault_listener(self._on_journal_fault)

    async def start(self) -> None:
        """Take up what an earlier life left open, and begin to listen to the venue's order feed; returns at once."""
        await self._take_up()
        self._kill.start()
        self._running = [asyncio.create_task(self._feed.run()), asyncio.create_task(self._reconciler.run())]
        for task in self._running:
            task.add_done_callback(self._on_task_ended)
        self._tasks.spawn(self._submissions.warm())
        self._connection = await self._streaming.open_order_updates(self._feed)

    async def stop(self, drain_ms: int) -> None:
        """Refuse new orders, wait for those in flight, end streams with a token, then end all tasks."""
        self._is_draining = True
        await self._tasks.drain(drain_ms / MS_PER_SECOND)
        await self._kill.stop()
        self._updates.drain()
        if self._connection is not None:
            await self._connection.close()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._tasks.close()

    async def submit(self, request: OrderRequest, call: CallContext) -> Submitted:
        """Send an order at most once; the same key again asks what became of it.

        Returns when the venue has answered, or after `submit_wait_ms`, with the order as it then is.

        Raises:
            GatewayError: The call had no effect; `key` says what that means for the key.
        """
        fingerprint = request.fingerprint()

        async def work(command: Command) -> None:
            await self._submissions.perform(command, request, fingerprint, call)

        return await self._desk.run(
            (request.strategy_id, request.client_order_id),
            fingerprint,
            call,
            work,
            is_alike=lambda sent: sent == dataclasses.replace(request.spec, reduce_only=False),
            door=lambda: self.check_door(request.valid_until_ns, call),
        )

    async def submit_within(self, command: Command, request: OrderRequest, fingerprint: str, call: CallContext) -> None:
        """Send an order as the last step of a running command whose key it carries; raises as `submit`."""
        self.check_door(request.valid_until_ns, call)
        command.wait_from = self._monotonic()
        await self._submissions.perform(command, request, fingerprint, call)

    async def preview(self, strategy_id: str, spec: OrderSpec, call: CallContext) -> Preview:
        """The same validation and checks as `submit`; nothing is recorded or sent."""
        del strategy_id  # limits per strategy come with the limits
        approved = await self._submissions.approve(spec, call)
        evaluation = approved.evaluation
        is_exit = approved.spec.side is OrderSide.SELL and not evaluation.cost and evaluation.value is not None
        effect = -evaluation.value if is_exit and evaluation.value is not None else evaluation.cost
        stopped = self._stopped(is_reduction=evaluation.is_reduction)
        return Preview(
            would_be_accepted=evaluation.passed and not stopped and (self._feed.is_live or evaluation.is_reduction),
            normalized_spec=approved.spec,
            checks=(*stopped, *evaluation.checks),
            estimated_notional=evaluation.value,
            estimated_buying_power_effect=effect,
        )

    async def replace(self, request: ReplaceRequest, call: CallContext) -> Submitted:
        """Ask for new values; the end comes on the order stream.

        The key is in the key space of the order's strategy.

        Raises:
            GatewayError: Nothing changed; `key` says what that means for the key.
        """
        try:
            order = self._orders.get(request.ref)
        except OrderNotFound:
            self._desk.check_free((request.strategy_id, request.client_order_id))
            raise
        fingerprint = request.fingerprint()

        async def work(command: Command) -> None:
            await self._replacements.perform(command, order.order_id, request, call)

        return await self._desk.run(
            (order.strategy_id or request.strategy_id, request.client_order_id),
            fingerprint,
            call,
            work,
            is_alike=lambda sent: _has_changes(sent, request.changes),
            door=lambda: self.check_door(request.valid_until_ns, call),
        )

    async def cancel(self, ref: OrderRef, wait_ms: int, call: CallContext) -> Canceled:
        """Owe the order's end; wait at most so long for it to be terminal.

        Raises:
            OrderNotFound: No such order.
            OrderRejected: The venue would not cancel it, and it is still open; only told to a caller that waits.
        """
        order = self._orders.get(ref)
        if order.state.is_terminal:
            return Canceled(order, already_terminal=True)
        order = await self._cancellations.request(order.order_id)
        wait_s = min(wait_ms, CANCEL_WAIT_MAX_MS) / MS_PER_SECOND
        until = min(self._monotonic() + wait_s, call.deadline - _ANSWER_MARGIN_S)
        # Without a journal the books never show the end: what the venue has said of it is all that can be told.
        while not (order.state.is_terminal or self._feed.is_latched) and (left_s := until - self._monotonic()) > 0:
            if order.cancel_request_time_ns is None:
                error = OrderRejected("The venue would not cancel the order.")
                error.key = None
                raise error
            if not await self._orders.news.wait_for_change(order.order_id, left_s):
                break
            order = self._orders.order(order.order_id)
        known = self._orders.order(order.order_id)
        if order.version > known.version:  # asked without a journal: the books do not have it
            return Canceled(order, already_terminal=order.state.is_terminal)
        return Canceled(known, already_terminal=False)

    async def cancel_orders(self, scope: CancelScope, call: CallContext) -> CanceledMany:
        """Owe the end of every open order in scope; never waits for the venue."""
        del call  # never rate-limited, and bound to no deadline
        sequence = self._orders.log.head(scope.strategy_id) + 1
        results = await self._cancellations.request_all(scope)
        return CanceledMany(tuple(results), sequence)

    async def refresh(self, ref: OrderRef, call: CallContext) -> Order:
        """Ask the venue about one order first, then answer as `OrderManager.get` does."""
        del call
        order = self._orders.get(ref)
        return await self._reconciler.refresh_order(order.order_id, BudgetLane.READ)

    def add_door(self, check: Callable[[], None]) -> None:
        """Let somebody else keep new commands out, too, by raising."""
        self._doors.append(check)

    def check_door(self, valid_until_ns: int, call: CallContext) -> None:
        """What keeps a new command out, whatever it is; nothing is stored.

        Raises:
            Draining, TradingHalted, ExpiredUnsent, FieldInvalid, InsufficientTime, JournalUnavailable: Key free.
        """
        if self._is_draining:
            raise Draining("The gateway is shutting down.")
        self._orders.check_room()  # first: a journal at fault also halts trading, and is the better answer
        self._states.check_door()
        for check in self._doors:
            check()
        now_ns = self._wall()
        if valid_until_ns <= now_ns:
            raise ExpiredUnsent("valid_until has passed; nothing is stored.")
        if valid_until_ns > now_ns + VALID_FOR_MAX_MS * NANOS_PER_MS:
            violation = FieldViolation("valid_until", f"is more than {VALID_FOR_MAX_MS // MS_PER_SECOND} s ahead")
            raise FieldInvalid("valid_until is too far ahead.", violations=[violation])
        if (call.deadline - self._monotonic()) * MS_PER_SECOND < SUBMIT_TIME_MIN_MS:
            raise InsufficientTime("The deadline leaves no time to send the order safely.")

    def _stopped(self, *, is_reduction: bool) -> tuple[RiskCheckResult, ...]:
        """The trading state as a check that fails; nothing while it lets the order through."""
        try:
            self._states.admit(is_reduction=is_reduction)
        except TradingStopped as error:
            return (RiskCheckResult(error.reason, passed=False),)
        return ()

    def _on_journal_fault(self, fault: str) -> None:
        """Nothing new is sent, cancels are still tried, and everybody is told: order streams, and the trading state."""
        self._feed.latch(fault)
        self._alarms.trip("journal_fault", TradingMode.HALTED, "The journal cannot record: restart.", fault=fault)

    def _on_task_ended(self, task: asyncio.Task[None]) -> None:
        """What must run for ever has ended: orders cannot be followed any more."""
        if task.cancelled() or (error := task.exception()) is None:
            return
        _log.error("task_failed", exc_info=error)
        reason = "A part of the gateway that orders cannot be followed without has failed: restart."
        self._alarms.trip("task_failed", TradingMode.HALTED, reason, error=type(error).__name__)

    async def _take_up(self) -> None:
        """What a replayed journal left open: never send the old, look for what may be there, finish cancels."""
        orders = self._orders.open_orders()
        now_ns = self._wall()
        found = (self._found_open(order, now_ns) for order in orders)
        await self._orders.record_all([event for event in found if event is not None])
        for order in orders:
            if order.state in (OrderState.SUBMITTING, OrderState.OUTCOME_UNKNOWN):
                self._resolver.watch(order.order_id)
            if order.pending_replace is not None:
                self._replacements.watch(order.order_id)
        self._cancellations.pursue_owed()

    def _found_open(self, order: Order, now_ns: int) -> JournalEvent | None:
        """What it means for an order that an earlier life stopped where it did."""
        names = (order.order_id, order.strategy_id, now_ns, now_ns)
        if order.state is OrderState.RECORDED:
            failure = Failure("NOT_SENT", "The gateway stopped before the order was sent.", {"key": "spent"})
            return JournalEvent(OrderEventKind.NOT_SENT, *names, failure=failure)
        if order.state is OrderState.SUBMITTING:
            return JournalEvent(OrderEventKind.OUTCOME_UNKNOWN, *names)
        return None


def _has_changes(sent: OrderSpec, changes: OrderChanges) -> bool:
    """Whether what the venue was sent has a replace's new values; its quantity was what was then left."""
    trail = sent.trail_price if sent.trail_price is not None else sent.trail_percent
    return (
        changes.limit_price in (None, sent.limit_price)
        and changes.stop_price in (None, sent.stop_price)
        and changes.trail in (None, trail)
        and changes.time_in_force in (None, sent.time_in_force)
    )
