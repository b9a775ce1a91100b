"""OutcomeResolver: finds out what became of orders whose answer was lost.

Promises: it looks, and never sends. Absence is only said after time and proof: the settle window has passed since the
last request, at least five lookups in a row found nothing, a full list does not have it, and the order feed is live.
Whenever the order is seen after all it lives, even after ABSENT. When each is looked for is decided here; how they are
asked for without keeping the venue busy, by themselves or many in one list, is Lookups'.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from gateway.application.alarms import Alarms
from gateway.application.lookups import Lookups, Question, Span
from gateway.application.order_feed import OrderFeed
from gateway.application.order_manager import OrderManager
from gateway.application.owned_tasks import OwnedTasks
from gateway.application.pauses import pause
from gateway.application.venue_calls import VenueCalls
from gateway.domain.errors import ClientOrderIdReused, GatewayError, JournalUnavailable, OutcomeUnknown
from gateway.domain.models.orders import Failure, JournalEvent, Order, OrderEventKind, VenueOrder
from gateway.domain.order_lifecycle import is_known_terminal
from gateway.domain.types import MS_PER_SECOND, NANOS_PER_SECOND, BudgetLane, OrderState, venue_client_order_id
from gateway.domain.venue_reports import Report, same_order
from gateway.services.trading import OrderService

LOOKUP_DELAYS_S: Final = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0)
"""Before each lookup; the last repeats until the fate is known."""
SETTLE_WINDOW_MS: Final = 60_000
MISSES_MIN: Final = 5
LIST_BEFORE_NS: Final = 300 * NANOS_PER_SECOND
"""The full list begins so long before the order was recorded."""
LIST_AFTER_NS: Final = 1_200 * NANOS_PER_SECOND
"""And goes on so long after it, twice the longest settle window: an order that arrives later is a zombie's matter."""

_log = structlog.get_logger(__name__)


class OutcomeResolver:
    """One task per order in doubt.

    Args:
        sleep: Seconds, as `asyncio.sleep`.
        on_fills_withheld: Told an order's id when a read shows fills that the feed has not told yet.
        lookups: Asks the venue; what replaces became of is asked there, too.
    """

    def __init__(
        self,
        orders: OrderManager,
        feed: OrderFeed,
        venue: OrderService,
        lookups: Lookups,
        alarms: Alarms,
        calls: VenueCalls,
        tasks: OwnedTasks,
        wall: Callable[[], int],
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        settle_window_ms: int = SETTLE_WINDOW_MS,
    ) -> None:
        self._orders = orders
        self._feed = feed
        self._venue = venue
        self._alarms = alarms
        self._calls = calls
        self._tasks = tasks
        self._wall = wall
        self._monotonic = monotonic
        self._sleep = sleep
        self._settle_window_s = settle_window_ms / MS_PER_SECOND
        self.lookups = lookups
        self._nudges: dict[str, asyncio.Event] = {}
        self._is_fault_told = False
        self.on_fills_withheld: Callable[[str], None] = lambda _: None

    def watch(self, order_id: str) -> None:
        """Begin to look for an order; once is enough."""
        if order_id not in self._nudges:
            self._nudges[order_id] = asyncio.Event()
            self._tasks.spawn(self._resolve(order_id), lasting=True)

    def nudge(self, order_id: str) -> None:
        """Look at once and often again: somebody wants it canceled."""
        event = self._nudges.get(order_id)
        if event is not None:
            event.set()

    async def take(self, order_id: str, found: VenueOrder) -> None:
        """The venue showed the order: record what it says; executions are the feed's to tell, or the reconciler's."""
        await self._orders.observe(Report(found, self._wall(), with_fills=False), park=False)
        known = self._orders.order(order_id)
        is_over = is_known_terminal(found.venue_status) and not known.state.is_terminal
        if is_over or found.filled_quantity > known.filled_quantity:
            self.on_fills_withheld(order_id)

    async def look_up_once(self, order_id: str, venue_id: str) -> VenueOrder | None:
        """One lookup; None when the venue does not know it, or could not be asked."""
        try:
            return await self._venue.find(self._calls.own(BudgetLane.LOOKUP, order_id=order_id), venue_id)
        except (GatewayError, OutcomeUnknown):
            return None

    async def _resolve(self, order_id: str) -> None:
        try:
            await self._look_until_known(order_id)
        finally:
            del self._nudges[order_id]

    def tell_failure(self, order_id: str, error: Exception) -> None:
        """What was learned of an order could not be recorded, or worse. One alarm a fault, however many it meets."""
        if not isinstance(error, JournalUnavailable):
            _log.error("lookup_failed", order_id=order_id, exc_info=error)
        elif not self._is_fault_told:
            self._is_fault_told = True
            self._alarms.tell("fates_not_recorded", order_id=order_id, detail=error.message)

    async def _look_until_known(self, order_id: str) -> None:
        began = self._monotonic()
        misses, step = 0, 0
        while self._is_in_doubt(order_id):
            delay_s = LOOKUP_DELAYS_S[min(step, len(LOOKUP_DELAYS_S) - 1)]
            if await pause(self._nudges[order_id], delay_s, self._sleep):
                step = 0
            step += 1
            order = self._orders.order(order_id)
            if order.state is not OrderState.OUTCOME_UNKNOWN:
                return
            if self._feed.is_latched:  # nothing can be recorded any more: the next life looks
                return
            try:
                misses = await self._look(order, misses)
                has_settled = self._monotonic() - began >= self._settle_window_s
                if misses >= MISSES_MIN and has_settled and self._feed.is_live and await self._is_not_listed(order):
                    await self._absent(order_id)
            except Exception as error:  # whatever it is: nobody else looks for this order
                self.tell_failure(order_id, error)
        self._is_fault_told = False

    def _is_in_doubt(self, order_id: str) -> bool:
        return self._orders.order(order_id).state is OrderState.OUTCOME_UNKNOWN

    async def _look(self, order: Order, misses: int) -> int:
        """One lookup; how many in a row found nothing now. A question that failed proves nothing."""
        answer = await self.lookups.look(_question(order))
        if not answer.is_proof:
            return misses
        if answer.found is None:
            return misses + 1
        if same_order(order.spec, answer.found):
            await self.take(order.order_id, answer.found)
        else:
            await self._taken(order, answer.found)
        return 0

    async def _taken(self, order: Order, found: VenueOrder) -> None:
        """Another order stands at the venue under this id: ours cannot have been taken."""
        self._alarms.tell_collision(order.order_id, found, self._wall())
        failure = Failure(ClientOrderIdReused.reason, "The venue holds another order under this key.")
        await self._record_end(order.order_id, OrderEventKind.REJECTED, failure)
        await self._orders.observe(Report(found, self._wall(), backfill=True), park=False)

    async def _is_not_listed(self, order: Order) -> bool:
        """Whether the venue's full list from before the order was sent until long after does not have it."""
        answer = await self.lookups.look(_question(order, is_for_list=True))
        return answer.is_proof and answer.found is None

    async def _absent(self, order_id: str) -> None:
        failure = Failure("ABSENT", "Sent without an answer, and proved not to be at the venue.")
        await self._record_end(order_id, OrderEventKind.ABSENT, failure)

    async def _record_end(self, order_id: str, kind: OrderEventKind, failure: Failure) -> None:
        async with self._orders.family_lock(self._orders.order(order_id)):
            order = self._orders.order(order_id)
            if order.state is not OrderState.OUTCOME_UNKNOWN:
                return
            now_ns = self._wall()
            event = JournalEvent(kind, order_id, order.strategy_id, now_ns, now_ns, failure=failure)
            await self._orders.record([event])
        _log.warning("outcome_resolved", order_id=order_id, kind=kind.value)


def _question(order: Order, *, is_for_list: bool = False) -> Question:
    sent_ns = order.create_time_ns
    return Question(
        order.order_id,
        venue_client_order_id(order.strategy_id, order.client_order_id),
        Span(sent_ns - LIST_BEFORE_NS, sent_ns + LIST_AFTER_NS),
        BudgetLane.LOOKUP if order.cancel_request_time_ns is None else BudgetLane.CANCEL,
        is_for_list=is_for_list,
    )
