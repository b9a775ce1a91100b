"""UnrecordedCancels: cancels while the journal cannot record.

A cancel only ever reduces risk, so it is tried all the same. Promises: a bounded number of requests, and an answer that
is true: the order as it will read when the venue took the request or the order has ended there; otherwise the refusal
that nothing is recorded, so that nobody believes that the gateway will try again after a restart. Nothing of it enters
the books.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from gateway.application.venue_calls import VenueCalls
from gateway.domain.errors import GatewayError, JournalUnavailable, OrderNotFound, OrderRejected, OutcomeUnknown
from gateway.domain.models.orders import JournalEvent, Order, OrderEventKind, VenueOrder
from gateway.domain.order_lifecycle import apply
from gateway.domain.types import BudgetLane, venue_client_order_id
from gateway.domain.venue_reports import Report, interpret
from gateway.services.trading import OrderService

RETRY_DELAYS_S: Final = (0.25, 0.5)
"""Between the requests for one cancel."""

_log = structlog.get_logger(__name__)


class UnrecordedCancels:
    """Asks the venue, and remembers nothing.

    Args:
        wall: Nanoseconds since the Unix epoch.
        sleep: Seconds, as `asyncio.sleep`.
    """

    def __init__(
        self,
        venue: OrderService,
        calls: VenueCalls,
        wall: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._venue = venue
        self._calls = calls
        self._wall = wall
        self._sleep = sleep

    async def request(self, order: Order) -> Order:
        """Ask for the end of an order; what it will read as.

        Raises:
            JournalUnavailable: It could not be recorded, and the venue has not taken it either.
        """
        for delay_s in (*RETRY_DELAYS_S, None):
            after = await self._ask(order)
            if after is not None:
                _log.critical("cancel_unrecorded", order_id=order.order_id, state=after.state.value)
                return after
            if delay_s is not None:
                await self._sleep(delay_s)
        raise JournalUnavailable(
            "The cancel cannot be recorded. It was tried, and the venue has not confirmed that it took it: try again.",
            metadata={"order_id": order.order_id},
        )

    async def _ask(self, order: Order) -> Order | None:
        """One request; None when it is not known to be taken."""
        try:
            venue_order_id = order.venue_order_id
            if not venue_order_id:
                venue_id = venue_client_order_id(order.strategy_id, order.client_order_id)
                found = await self._venue.find(self._calls.own(BudgetLane.CANCEL), venue_id)
                if found is None:
                    return None
                order, venue_order_id = self._as_found(order, found), found.venue_order_id
            try:
                await self._venue.cancel(self._calls.own(BudgetLane.CANCEL), venue_order_id)
            except (OrderRejected, OrderNotFound):
                found = await self._venue.get(self._calls.own(BudgetLane.CANCEL), venue_order_id)
                after = self._as_found(order, found)
                return after if after.state.is_terminal else None
        except (GatewayError, OutcomeUnknown) as error:
            _log.warning("cancel_unanswered", order_id=order.order_id, error=type(error).__name__)
            return None
        now_ns = self._wall()
        asked = JournalEvent(OrderEventKind.CANCEL_REQUESTED, order.order_id, order.strategy_id, now_ns, now_ns)
        return apply(order, asked)

    def _as_found(self, order: Order, found: VenueOrder) -> Order:
        """The order as the venue shows it."""
        for event in interpret(order, Report(found, self._wall(), backfill=True)):
            order = apply(order, event)
        return order
