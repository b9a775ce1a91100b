"""FullListings: the ids of every order that the venue lists from a span of time, read once for all who ask meanwhile.

Promises: an answer was read after it was asked for, every page of it. After a crash a hundred orders may be in doubt at
once, and each needs such a list before it may be called absent: a list each would keep the venue busy for minutes. Only
spans that touch are read together: the day between an old order and a new one is nobody's question.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, NamedTuple

from gateway.application.venue_calls import VenueCalls
from gateway.domain.errors import GatewayError
from gateway.domain.interfaces import VenueOrderFilter
from gateway.domain.types import BudgetLane
from gateway.services.trading import OrderService

LIST_PAGE: Final = 500
LIST_PAGES_MAX: Final = 20
LISTINGS_KEPT_MAX: Final = 4
"""Readings kept for those who waited meanwhile."""


class Span(NamedTuple):
    """Submitted after one instant and, at least, up to another; nanoseconds since the Unix epoch."""

    after_ns: int
    until_ns: int


class _Listing(NamedTuple):
    number: int
    span: Span
    ids: frozenset[str] | None


class FullListings:
    """Reads them, one at a time."""

    def __init__(self, venue: OrderService, calls: VenueCalls) -> None:
        self._venue = venue
        self._calls = calls
        self._reading = asyncio.Lock()
        self._newest: deque[_Listing] = deque(maxlen=LISTINGS_KEPT_MAX)
        self._begun = 0
        self._waiting: list[Span] = []

    async def read(self, wanted: Span) -> frozenset[str] | None:
        """The client order ids of all orders submitted in a span; None when they could not all be read."""
        before = self._begun
        self._waiting.append(wanted)
        async with self._reading:
            for listing in self._newest:
                if listing.number > before and _covers(listing.span, wanted):
                    return listing.ids
            self._begun += 1
            number, span = self._begun, self._joined(wanted)
            ids = await self._read(span)
            self._newest.appendleft(_Listing(number, span, ids))
            return ids

    def _joined(self, wanted: Span) -> Span:
        """The span of all who wait and whose spans touch; they wait no more."""
        left: list[Span] = []
        for span in sorted({wanted, *self._waiting}):
            if span.after_ns <= wanted.until_ns and span.until_ns >= wanted.after_ns:
                wanted = Span(min(span.after_ns, wanted.after_ns), max(span.until_ns, wanted.until_ns))
            else:
                left.append(span)
        self._waiting = left
        return wanted

    async def _read(self, span: Span) -> frozenset[str] | None:
        listed: set[str] = set()
        after_ns = span.after_ns
        for _ in range(LIST_PAGES_MAX):
            call = self._calls.own(BudgetLane.LOOKUP)
            try:
                page = await self._venue.list(
                    call, VenueOrderFilter.ALL, after_ns=after_ns, oldest_first=True, limit=LIST_PAGE
                )
            except GatewayError:
                return None
            listed.update(found.venue_client_order_id for found in page)
            newest = max((found.submit_time_ns or 0 for found in page), default=0)
            if len(page) < LIST_PAGE or newest > span.until_ns:
                return frozenset(listed)
            if newest <= after_ns:
                return None
            after_ns = newest - 1  # bounds are exclusive, and times may tie
        return None


def _covers(read: Span, wanted: Span) -> bool:
    return read.after_ns <= wanted.after_ns and read.until_ns >= wanted.until_ns
