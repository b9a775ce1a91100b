"""Cancellations: cancels that are owed, until the order can change no more.

Promises: a cancel is journaled before it is sent, and sent again on a bounded schedule; canceling only ever reduces
risk, and so it waits for a disk no longer than RECORD_WAIT_MS. An order whose outcome is unknown is canceled the moment
it is seen; a leg is covered by its family's cancel. While trading is KILLED the cancels are the kill switch's to ask
for, all in one request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from gateway.application.commands import CancelResult, CancelScope
from gateway.application.order_manager import OrderManager
from gateway.application.outcome_resolver import OutcomeResolver
from gateway.application.owned_tasks import OwnedTasks
from gateway.application.pauses import pause
from gateway.application.trading_state import TradingStates
from gateway.application.unrecorded_cancels import UnrecordedCancels
from gateway.application.venue_calls import VenueCalls
from gateway.domain.errors import GatewayError, JournalUnavailable, OrderNotFound, OrderRejected, OutcomeUnknown
from gateway.domain.models.orders import Failure, JournalEvent, Order, OrderEventKind
from gateway.domain.types import MS_PER_SECOND, BudgetLane, OrderState
from gateway.services.trading import OrderService

RESEND_DELAYS_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 10.0)
"""Between requests for the end of one order; the last repeats."""
REQUESTS_MAX: Final = 60
"""About ten minutes; after that the reconciler's reading of the open orders takes it up again."""
RECORD_WAIT_MS: Final = 500
"""A cancel that the journal has not taken by then is asked for all the same."""
BURST_MAX: Final = 64
"""Cancels journaled at once."""

NOT_AT_VENUE: Final = frozenset({OrderState.RECORDED, OrderState.SUBMITTING, OrderState.OUTCOME_UNKNOWN})
"""States in which there is nothing yet that a cancel could be asked for."""
_log = structlog.get_logger(__name__)


class Cancellations:
    """Owes and pursues cancels, one task per family of orders.

    Args:
        wall: Nanoseconds since the Unix epoch.
        sleep: Seconds, as `asyncio.sleep`.
    """

    def __init__(
        self,
        orders: OrderManager,
        venue: OrderService,
        resolver: OutcomeResolver,
        states: TradingStates,
        calls: VenueCalls,
        tasks: OwnedTasks,
        wall: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._orders = orders
        self._venue = venue
        self._resolver = resolver
        self._states = states
        self._calls = calls
        self._tasks = tasks
        self._wall = wall
        self._sleep = sleep
        self._pursued: dict[str, asyncio.Event] = {}
        self._unrecorded = UnrecordedCancels(venue, calls, wall, sleep)
        orders.news.add_listener(self._on_event)

    async def request(self, order_id: str) -> Order:
        """Owe the end of an order; returns when that is journaled. The caller may go away meanwhile."""
        return await self._tasks.see_through(self._request(order_id))

    async def request_all(self, scope: CancelScope) -> list[CancelResult]:
        """Owe the end of every open order in scope, as it is at this moment. The caller may go away meanwhile."""
        covered = [order.order_id for order in self._orders.open_orders() if _in_scope(order, scope)]
        return await self._tasks.see_through(self._request_each(covered))

    async def _request_each(self, covered: Sequence[str]) -> list[CancelResult]:
        results: list[CancelResult] = []
        surprise: BaseException | None = None
        for start in range(0, len(covered), BURST_MAX):
            burst = (self._result(order_id) for order_id in covered[start : start + BURST_MAX])
            for found in await asyncio.gather(*burst, return_exceptions=True):
                if isinstance(found, BaseException):
                    surprise = found
                else:
                    results.append(found)
        if surprise is not None:
            raise surprise  # after all others were asked for
        return results

    def pursue_owed(self) -> None:
        """Take up every cancel that is owed and that nobody pursues."""
        for order in self._orders.open_orders():
            if order.cancel_request_time_ns is not None:
                self._pursue(order)

    async def _result(self, order_id: str) -> CancelResult:
        try:
            order = await self.request(order_id)
        except GatewayError as error:
            return CancelResult(order_id, self._orders.order(order_id).state, error)
        return CancelResult(order_id, order.state)

    async def _request(self, order_id: str) -> Order:
        owing = self._tasks.spawn(self._owe(order_id))
        # While killed the kill switch asks for all of them, whatever the journal does.
        wait_s = None if self._states.is_killed else RECORD_WAIT_MS / MS_PER_SECOND
        await asyncio.wait((owing,), timeout=wait_s)
        try:
            if owing.done():
                return owing.result()
            _log.critical("cancel_not_recorded_yet", order_id=order_id)
        except JournalUnavailable:
            if self._states.is_killed:
                raise
        order = self._orders.order(order_id)
        return order if order.state.is_terminal else await self._unrecorded.request(order)

    async def _owe(self, order_id: str) -> Order:
        """Journal it, then have it pursued."""
        async with self._orders.family_lock(self._orders.order(order_id)):
            order = self._orders.order(order_id)
            if not order.state.is_terminal and order.cancel_request_time_ns is None:
                order = await self._orders.record([self._event(OrderEventKind.CANCEL_REQUESTED, order)])
        if not order.state.is_terminal:
            self._resolver.nudge(order_id)
            self._pursue(order)
        return order

    def _on_event(self, _event: JournalEvent, order: Order) -> None:
        """An owed cancel fires when its order is seen."""
        if order.state.is_terminal or order.cancel_request_time_ns is None:
            settled = self._pursued.get(order.parent_order_id or order.order_id)
            if settled is not None:
                settled.set()
        if order.state.is_terminal:
            return
        if order.cancel_request_time_ns is not None and order.state not in NOT_AT_VENUE:
            self._pursue(order)

    def _pursue(self, order: Order) -> None:
        root_id = order.parent_order_id or order.order_id
        if self._states.is_killed:
            return
        if root_id not in self._pursued and order.state not in NOT_AT_VENUE:
            self._pursued[root_id] = asyncio.Event()
            self._tasks.spawn(self._pursue_family(root_id), lasting=True)

    async def _pursue_family(self, root_id: str) -> None:
        try:
            for attempt in range(REQUESTS_MAX):
                target = self._target(root_id)
                if target is None or self._states.is_killed:
                    return
                # A shutdown waits for the request, and not for what becomes of it: the journal knows what is owed.
                await self._tasks.spawn(self._ask(target))
                delay_s = RESEND_DELAYS_S[min(attempt, len(RESEND_DELAYS_S) - 1)]
                await pause(self._pursued[root_id], delay_s, self._sleep)
            _log.error("cancel_unconfirmed", order_id=root_id, requests=REQUESTS_MAX)
        finally:
            del self._pursued[root_id]

    def _target(self, root_id: str) -> Order | None:
        """Whom to ask about next: the parent while it is open, then one leg at a time; a sibling's end may end both."""
        root = self._orders.order(root_id)
        for order in (root, *self._orders.legs(root)):
            is_owed = order.cancel_request_time_ns is not None and not order.state.is_terminal
            if is_owed and order.state not in NOT_AT_VENUE:
                return order
        return None

    async def _ask(self, order: Order) -> None:
        """One request; what it meets is looked into, and decides nothing by itself."""
        try:
            own = self._calls.own(BudgetLane.CANCEL, order_id=order.order_id)
            await self._venue.cancel(own, order.venue_order_id)
        except (OrderRejected, OrderNotFound) as error:
            await self._refused(order, error)
        except (GatewayError, OutcomeUnknown) as error:
            self._states.note_refusal(error)
            _log.info("cancel_unanswered", order_id=order.order_id, error=type(error).__name__)

    async def _refused(self, order: Order, error: GatewayError) -> None:
        """The venue would not: usually because the order has ended. Ask what it is."""
        try:
            own = self._calls.own(BudgetLane.CANCEL, order_id=order.order_id)
            found = await self._venue.get(own, order.venue_order_id)
        except (GatewayError, OutcomeUnknown):
            return
        await self._resolver.take(order.order_id, found)
        known = self._orders.order(order.order_id)
        is_alive = not known.state.is_terminal and found.venue_status in _CANCELABLE
        if not is_alive or isinstance(error, OrderNotFound) or found.venue_order_id != known.venue_order_id:
            return
        async with self._orders.family_lock(known):
            known = self._orders.order(order.order_id)
            if known.cancel_request_time_ns is not None and not known.state.is_terminal:
                failure = Failure(error.reason, error.message, error.metadata)
                await self._orders.record([self._event(OrderEventKind.CANCEL_REJECTED, known, failure)])

    def _event(self, kind: OrderEventKind, order: Order, failure: Failure | None = None) -> JournalEvent:
        now_ns = self._wall()
        return JournalEvent(kind, order.order_id, order.strategy_id, now_ns, now_ns, failure=failure)


_CANCELABLE: Final = frozenset(
    {"new", "partially_filled", "accepted", "pending_new", "held", "done_for_day", "stopped"}
)
"""Statuses in which a refused cancel is a refusal, and not news of the order's end."""


def _in_scope(order: Order, scope: CancelScope) -> bool:
    return (
        (scope.strategy_id is None or order.strategy_id == scope.strategy_id)
        and (not scope.symbols or order.spec.symbol in scope.symbols)
        and (scope.side is None or order.spec.side is scope.side)
    )
