"""VenueReadings: what the venue says when it is asked, page by page: orders, their successors, their executions.

Promises: every list is bounded, and says whether it is whole; pages overlap, because the venue's bounds are exclusive
and its times may tie, so nothing falls between two of them; whoever reads takes each order once. It asks, and judges
nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final, NamedTuple

import structlog

from gateway.application.venue_calls import VenueCalls
from gateway.domain.interfaces import VenueOrderFilter
from gateway.domain.models.account import Activity
from gateway.domain.models.orders import UNREADABLE, VenueOrder
from gateway.domain.types import BudgetLane
from gateway.services.trading import OrderService

LIST_PAGE: Final = 500
PAGES_MAX: Final = 40
"""Of one list of orders."""
FILLS_PAGE: Final = 100
FILLS_PAGES_MAX: Final = 50
"""Of one reading of the account's executions; the next goes on behind it."""
FILLS_READINGS_MAX: Final = 20
"""Of all executions since an instant, which must be known before it goes on: 100,000 of them."""
CHAIN_MAX: Final = 32
"""Replaces followed in one go; the next look goes on from there."""

_log = structlog.get_logger(__name__)


class OrdersPage(NamedTuple):
    """Some orders of a list, legs nested; `is_last` when the list is whole with them."""

    orders: list[VenueOrder]
    is_last: bool


class Executions(NamedTuple):
    """Fills, oldest first; a token when there are more behind them."""

    fills: list[Activity]
    next_token: str


class VenueReadings:
    """Asks in the gateway's own name; raises as `OrderService`."""

    def __init__(self, venue: OrderService, calls: VenueCalls) -> None:
        self._venue = venue
        self._calls = calls

    async def chain(self, venue_order_id: str, lane: BudgetLane = BudgetLane.LOOKUP) -> list[VenueOrder]:
        """One order, and those that stand for it now: replaced by somebody else, unseen."""
        chain = [await self._venue.get(self._calls.own(lane), venue_order_id)]
        while (following := chain[-1].replaced_by) and len(chain) < CHAIN_MAX:
            chain.append(await self._venue.get(self._calls.own(lane), following))
        return chain

    async def open_orders(self) -> list[VenueOrder]:
        """Every open order, nested, newest first."""
        return await self._newest_first(VenueOrderFilter.OPEN, PAGES_MAX)

    async def newest_orders(self, pages_max: int) -> list[VenueOrder]:
        """The newest orders, whatever became of them, newest first."""
        return await self._newest_first(VenueOrderFilter.ALL, pages_max)

    async def orders_since(self, after_ns: int) -> list[VenueOrder]:
        """Every order submitted after an instant, oldest first."""
        found: list[VenueOrder] = []
        is_whole = False
        async for page in self.order_pages(after_ns):
            found += page.orders
            is_whole = page.is_last
        if not is_whole:
            _log.error("more_orders_than_are_read", read=len(found))
        return found

    async def order_pages(
        self,
        after_ns: int,
        until_ns: int | None = None,
        lane: BudgetLane = BudgetLane.LOOKUP,
        pages_max: int = PAGES_MAX,
        *,
        is_repeated: bool = True,
    ) -> AsyncIterator[OrdersPage]:
        """The orders submitted after an instant and, at least, up to another, oldest first, a request for each page.

        Args:
            after_ns: Exclusive.
            until_ns: None: up to now.
            lane: What the requests draw on.
            pages_max: If none of them is the last, the list is not whole.
            is_repeated: A page that failed is asked for again.
        """
        for _ in range(pages_max):
            page = await self._venue.list(
                self._calls.own(lane),
                VenueOrderFilter.ALL,
                after_ns=after_ns,
                oldest_first=True,
                limit=LIST_PAGE,
                is_repeated=is_repeated,
            )
            newest = max(_times(page), default=0)
            is_last = len(page) < LIST_PAGE or (until_ns is not None and newest > until_ns)
            yield OrdersPage(page, is_last)
            if is_last or newest - 1 <= after_ns:  # a page of one instant leads no further
                return
            after_ns = newest - 1

    async def executions(self, after_ns: int, token: str = "") -> Executions:
        """The account's fills after an instant: so many as one reading takes, from a token on.

        Args:
            after_ns: Exclusive; the same for every reading of one list.
            token: Where the reading before left off; empty for the first.
        """
        found: list[Activity] = []
        for _ in range(FILLS_PAGES_MAX):
            call = self._calls.own(BudgetLane.LOOKUP)
            page = await self._venue.fills(call, max(after_ns, 0), token, FILLS_PAGE)
            found += page.items
            token = page.next_page_token
            if not token:
                break
        return Executions(found, token)

    async def executions_since(self, after_ns: int) -> Executions:
        """All of the account's fills after an instant, reading after reading; a token when even that was not all."""
        found, token = await self.executions(after_ns)
        for _ in range(FILLS_READINGS_MAX - 1):
            if not token:
                break
            more, token = await self.executions(after_ns, token)
            found += more
        if token:
            _log.error("more_fills_than_are_read", read=len(found))
        return Executions(found, token)

    async def _newest_first(self, status: VenueOrderFilter, pages_max: int) -> list[VenueOrder]:
        found: list[VenueOrder] = []
        until_ns: int | None = None
        for _ in range(pages_max):
            call = self._calls.own(BudgetLane.LOOKUP)
            page = await self._venue.list(call, status, until_ns=until_ns, limit=LIST_PAGE)
            found += page
            oldest = min(_times(page), default=0)
            if len(page) < LIST_PAGE or (until_ns is not None and oldest + 1 >= until_ns):
                break
            until_ns = oldest + 1
        return found


def by_order(executions: Sequence[Activity]) -> dict[str, list[Activity]]:
    """The executions of each venue order, oldest first."""
    found: dict[str, list[Activity]] = {}
    for execution in executions:
        found.setdefault(execution.venue_order_id, []).append(execution)
    return found


def readable(found: Sequence[VenueOrder]) -> list[VenueOrder]:
    """The orders of a list of which more than the ids is known."""
    return [venue_order for venue_order in found if venue_order.venue_status != UNREADABLE]


def _times(page: Sequence[VenueOrder]) -> Iterator[int]:
    return (venue_order.submit_time_ns for venue_order in page if venue_order.submit_time_ns is not None)
