"""OrderRetention: what leaves memory, and what streams can be told no more.

Promises: an order that may still change is never let go, nor any event of it. A terminal order leaves memory when there
are more than `OrderManager.orders_max`, or with its last event; it stays in the archive, where its ids and its keys
find it, for `archive_days`. Events can be told for `events_days` and at most `events_max` of them; older ones go once
their orders are archived. Nothing is let go before it is durable elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import structlog

from gateway.application.order_manager import OrderManager
from gateway.application.pauses import pause
from gateway.domain.errors import JournalUnavailable
from gateway.domain.interfaces import OrderJournal
from gateway.domain.models.orders import JournalEvent, Order
from gateway.domain.types import NANOS_PER_SECOND

SWEEP_EVERY_S: Final = 60.0
ARCHIVE_SLICE_ORDERS: Final = 64
"""Orders archived in one transaction, and then let go: about a millisecond of the event loop."""
_SURPLUS_PART: Final = 16
"""Of `orders_max` that leaves memory beyond the surplus, so that it is rare."""
_DAY_NS: Final = 86_400 * NANOS_PER_SECOND

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Retention:
    """How long what is kept."""

    events_days: int = 7
    events_max: int = 1_000_000
    archive_days: int = 400


class OrderRetention:
    """Sweeps once a minute, and when there are too many orders in memory.

    Args:
        wall: Nanoseconds since the Unix epoch.
        sleep: Seconds, as `asyncio.sleep`.
    """

    def __init__(
        self,
        orders: OrderManager,
        journal: OrderJournal,
        wall: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]],
        retention: Retention | None = None,
    ) -> None:
        self._orders = orders
        self._journal = journal
        self._wall = wall
        self._sleep = sleep
        self._retention = retention or Retention()
        self._crowded = asyncio.Event()
        orders.news.add_listener(self._on_event, is_reader=True)

    async def run(self) -> None:
        """Until canceled."""
        while True:
            await pause(self._crowded, SWEEP_EVERY_S, self._sleep)
            try:
                await self.sweep()
            except JournalUnavailable:
                _log.error("retention_stopped", fault=self._journal.fault)
                return
            except Exception:  # the next sweep finds the same
                _log.exception("retention_failed")
            self._crowded.clear()

    async def sweep(self) -> None:
        """Let go what may go now.

        Raises:
            JournalUnavailable: The rest stays.
        """
        oldest = self._oldest_wanted()
        surplus = self._orders.surplus
        wanted = surplus + self._orders.orders_max // _SURPLUS_PART if surplus else 0
        while leaving := self._orders.oldest_terminal(wanted, oldest, ARCHIVE_SLICE_ORDERS):
            await self._journal.archive.put(leaving, self._wall())
            self._orders.let_go(leaving)
            wanted = max(0, wanted - len(leaving))
            await asyncio.sleep(0)
        if oldest > self._journal.oldest:
            await self._journal.compact(oldest)
        await self._journal.archive.drop_before(self._wall() - self._retention.archive_days * _DAY_NS)

    def _oldest_wanted(self) -> int:
        """The first event that is to be told for longer: young enough, and one of the newest."""
        young_ns = self._wall() - self._retention.events_days * _DAY_NS
        first_young = self._journal.first_since(young_ns)
        return max(first_young, self._journal.head + 1 - self._retention.events_max)

    def _on_event(self, _: JournalEvent, __: Order) -> None:
        if self._orders.surplus and not self._crowded.is_set():
            self._crowded.set()
