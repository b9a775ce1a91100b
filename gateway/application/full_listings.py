"""FullListings: the ids of every order that the venue lists since an instant, read once for all who ask meanwhile.

Promises: an answer was read after it was asked for, every page of it. After a crash a hundred orders may be in doubt at
once, and each needs such a list before it may be called absent: a list each would keep the venue busy for minutes.
"""

from __future__ import annotations

import asyncio
from typing import Final

from gateway.application.venue_calls import VenueCalls
from gateway.domain.errors import GatewayError
from gateway.domain.interfaces import VenueOrderFilter
from gateway.domain.types import BudgetLane
from gateway.services.trading import OrderService

LIST_PAGE: Final = 500
LIST_PAGES_MAX: Final = 20


class FullListings:
    """Reads them, one at a time."""

    def __init__(self, venue: OrderService, calls: VenueCalls) -> None:
        self._venue = venue
        self._calls = calls
        self._reading = asyncio.Lock()
        self._begun = 0
        self._newest: tuple[int, int, frozenset[str] | None] = (0, 0, None)
        self._waiting: list[int] = []

    async def read(self, after_ns: int) -> frozenset[str] | None:
        """The client order ids of all orders submitted since an instant; None when they could not all be read."""
        before = self._begun
        self._waiting.append(after_ns)
        async with self._reading:
            number, since_ns, listed = self._newest
            if number > before and since_ns <= after_ns:
                return listed
            self._begun += 1
            since_ns = min((after_ns, *self._waiting))
            self._waiting.clear()
            listed = await self._read(since_ns)
            self._newest = (self._begun, since_ns, listed)
            return listed

    async def _read(self, after_ns: int) -> frozenset[str] | None:
        listed: set[str] = set()
        for _ in range(LIST_PAGES_MAX):
            call = self._calls.own(BudgetLane.LOOKUP)
            try:
                page = await self._venue.list(
                    call, VenueOrderFilter.ALL, after_ns=after_ns, oldest_first=True, limit=LIST_PAGE
                )
            except GatewayError:
                return None
            listed.update(found.venue_client_order_id for found in page)
            if len(page) < LIST_PAGE:
                return frozenset(listed)
            newest = max((found.submit_time_ns or 0 for found in page), default=0)
            if newest <= after_ns:
                return None
            after_ns = newest - 1  # bounds are exclusive, and times may tie
        return None
