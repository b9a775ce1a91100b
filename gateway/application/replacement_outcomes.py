"""ReplacementOutcomes: finds out what became of replaces whose answer was lost.

Promises: it looks, under both ids, and never sends; a replace is said to be absent only after time and proof, as an
order is (`outcome_resolver`). That nothing changed is recorded only where nothing better is known.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from gateway.application.alarms import Alarms
from gateway.application.lookups import Question, Span
from gateway.application.order_feed import OrderFeed
from gateway.application.order_manager import OrderManager
from gateway.application.outcome_resolver import (
    LIST_AFTER_NS,
    LIST_BEFORE_NS,
    LOOKUP_DELAYS_S,
    MISSES_MIN,
    SETTLE_WINDOW_MS,
    OutcomeResolver,
)
from gateway.application.owned_tasks import OwnedTasks
from gateway.application.risk_manager import RiskManager
from gateway.domain.errors import ClientOrderIdReused
from gateway.domain.models.orders import Failure, JournalEvent, Order, OrderEventKind
from gateway.domain.order_lifecycle import venue_order_of
from gateway.domain.types import MS_PER_SECOND, venue_client_order_id


class ReplacementOutcomes:
    """One task per replace in doubt.

    Args:
        wall: Nanoseconds since the Unix epoch.
        monotonic: Seconds, as `time.monotonic`.
        sleep: Seconds, as `asyncio.sleep`.
    """

    def __init__(
        self,
        orders: OrderManager,
        feed: OrderFeed,
        risk: RiskManager,
        resolver: OutcomeResolver,
        alarms: Alarms,
        tasks: OwnedTasks,
        wall: Callable[[], int],
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        settle_window_ms: int = SETTLE_WINDOW_MS,
    ) -> None:
        self._orders = orders
        self._feed = feed
        self._risk = risk
        self._resolver = resolver
        self._alarms = alarms
        self._tasks = tasks
        self._wall = wall
        self._monotonic = monotonic
        self._sleep = sleep
        self._settle_window_s = settle_window_ms / MS_PER_SECOND
        self._watched: set[str] = set()

    def watch(self, order_id: str) -> None:
        """Begin to look for the replace that an order has pending; once is enough."""
        replace_id = self._orders.order(order_id).pending_replace_id
        if replace_id and replace_id not in self._watched:
            self._watched.add(replace_id)
            self._tasks.spawn(self._resolve(order_id, replace_id), lasting=True)

    async def record_refusal(
        self, order_id: str, key: str, failure: Failure, request_id: str = "", *, is_guess: bool = False
    ) -> bool:
        """Record that nothing changed, unless the feed was faster, and knows better; whether it was recorded.

        Args:
            order_id: Whose replace.
            key: Its key.
            failure: Why.
            request_id: The venue's, of the answer that says so.
            is_guess: The venue did not say so: it is only recorded while nothing else is known.
        """
        async with self._orders.family_lock(self._orders.order(order_id)):
            order = self._orders.order(order_id)
            replace_id = venue_client_order_id(order.strategy_id, key)
            is_pending = order.pending_replace_id == replace_id
            is_there = any(known.venue_client_order_id == replace_id for known in order.venue_orders)
            if not is_pending and (is_there or is_guess):
                return False
            refused = await self._orders.record(
                [replace(refusal_of(order, key, failure, self._wall()), venue_request_id=request_id)]
            )
        if refused.pending_replace is None:
            self._risk.release_replace(order_id)
        return True

    async def _resolve(self, order_id: str, replace_id: str) -> None:
        """Look for the new venue order, and at the old one, until one of them tells."""
        began = self._monotonic()
        misses, step = 0, 0
        try:
            while (order := self._orders.order(order_id)).pending_replace_id == replace_id:
                await self._sleep(LOOKUP_DELAYS_S[min(step, len(LOOKUP_DELAYS_S) - 1)])
                step += 1
                if self._feed.is_latched:  # nothing can be recorded any more: the next life looks
                    return
                try:
                    misses = await self._look(order, misses)
                    has_settled = self._monotonic() - began >= self._settle_window_s
                    if misses >= MISSES_MIN and has_settled and self._feed.is_live:
                        failure = Failure("ABSENT", "The replace was sent without an answer, and did not take effect.")
                        await self.record_refusal(order_id, _key_of(order), failure, is_guess=True)
                except Exception as error:  # whatever it is: nobody else looks for this replace
                    self._resolver.tell_failure(order_id, error)
        finally:
            self._watched.discard(replace_id)

    async def _look(self, order: Order, misses: int) -> int:
        """One lookup under both ids; how many in a row found nothing now."""
        answer = await self._resolver.lookups.look(self._question(order))
        found = answer.found
        if not answer.is_proof:
            return misses
        is_named = found is not None and found.venue_client_order_id == order.pending_replace_id
        if found is not None and is_named and venue_order_of(order, found.replaces or "") is None:
            self._alarms.tell_collision(order.order_id, found, self._wall())
            failure = Failure(ClientOrderIdReused.reason, "The venue holds another order under this key.")
            await self.record_refusal(order.order_id, _key_of(order), failure, is_guess=True)
            return 0
        if found is not None:
            await self._resolver.take(order.order_id, found)
            return 0
        if answer.replaced is not None:
            await self._resolver.take(order.order_id, answer.replaced)
        return misses + 1

    def _question(self, order: Order) -> Question:
        """For the new order, and for the old one, which says what stands for it; a list must reach back to that one."""
        present = order.venue_order
        begun_ns = None if present is None or order.parent_order_id else present.submit_time_ns
        span = None if begun_ns is None else Span(begun_ns - LIST_BEFORE_NS, self._wall() + LIST_AFTER_NS)
        return Question(order.order_id, order.pending_replace_id, span, replaced_id=order.venue_order_id)


def refusal_of(order: Order, key: str, failure: Failure, now_ns: int) -> JournalEvent:
    """The event that says that a replace changed nothing."""
    return JournalEvent(
        OrderEventKind.REPLACE_REJECTED,
        order.order_id,
        order.strategy_id,
        now_ns,
        now_ns,
        client_order_id=key,
        failure=failure,
    )


def _key_of(order: Order) -> str:
    """The key of the replace that is not settled yet."""
    return order.pending_replace_id.partition(".")[2]
