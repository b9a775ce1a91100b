"""Beginnings: orders whose first row is on its way into the journal, and which nobody can find yet.

An id of ours names one order, whoever meets it first: a caller with its key, or a reader of the venue's orders who has
no row for it. Promises that either of them can see that the other has begun, and wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from gateway.domain.models.orders import JournalEvent, OrderEventKind


class Beginnings:
    """By order id."""

    def __init__(self) -> None:
        self._ended: dict[str, asyncio.Future[None]] = {}

    def __contains__(self, order_id: str) -> bool:
        return order_id in self._ended

    @contextmanager
    def of(self, events: Sequence[JournalEvent]) -> Iterator[None]:
        """While these events are journaled; only an order's first event is a beginning."""
        if events[0].kind is not OrderEventKind.RECORDED:
            yield
            return
        order_id = events[0].order_id
        assert order_id not in self._ended, "an order begins once"
        ended = self._ended[order_id] = asyncio.get_running_loop().create_future()
        try:
            yield
        finally:
            del self._ended[order_id]
            ended.set_result(None)

    async def end(self, order_id: str) -> None:
        """Wait until an order is known, or its first row could not be written."""
        ended = self._ended.get(order_id)
        if ended is not None:
            await asyncio.shield(ended)  # many may wait
