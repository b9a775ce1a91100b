"""FillSweep: reads every execution of a while ago again: one that nobody told belongs to an order to be looked up.

Promises: it looks as far back as the last sweep that came to its end, and a while further; however many executions
there are, they are read part by part, one step after the other, and the mark moves only when all of them were read and
all orders that they name were looked up. A part that fails is no part: the next sweep begins where this one did.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from typing import Final

import structlog

from gateway.application.order_manager import OrderManager
from gateway.application.venue_readings import VenueReadings, by_order
from gateway.domain.errors import OrderNotFound
from gateway.domain.models.account import Activity
from gateway.domain.models.orders import VenueOrder
from gateway.domain.order_lifecycle import venue_order_of
from gateway.domain.types import NANOS_PER_SECOND

SWEEP_PERIOD_S: Final = 300.0
"""Between sweeps; with what else is looked at that is 11 requests a minute, beside open orders by the page."""
OVERLAP_NS: Final = 900 * NANOS_PER_SECOND
"""A reading begins so long before the last thing that is known."""
GRACE_NS: Final = 5 * NANOS_PER_SECOND
"""What happened more recently than this may still be told."""
UNTOLD_ORDERS_MAX: Final = 100
"""Orders looked up in one step."""

ByOrder = Mapping[str, Sequence[Activity]]

_log = structlog.get_logger(__name__)


class FillSweep:
    """Reads executions again, and has the orders that they name taken in.

    Args:
        take: Records what a read says of orders, with executions that are known.
        wall: Nanoseconds since the Unix epoch.
        monotonic: Seconds, as `time.monotonic`.
    """

    def __init__(
        self,
        orders: OrderManager,
        readings: VenueReadings,
        take: Callable[[list[VenueOrder], ByOrder], Awaitable[None]],
        wall: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        self._orders = orders
        self._readings = readings
        self._take = take
        self._wall = wall
        self._monotonic = monotonic
        self._began_at = float("-inf")
        self._swept_ns = 0
        self._after_ns = self._began_ns = 0
        self._token = ""
        self._part: ByOrder = {}
        self._untold: list[str] = []

    def want(self) -> None:
        """Something differs: the next step begins a sweep."""
        if not self._is_under_way:
            self._began_at = float("-inf")

    def cover(self, began_ns: int) -> None:
        """Everything up to an instant was read by other means."""
        self._swept_ns = began_ns
        self._began_at = self._monotonic()
        self._token, self._untold = "", []

    async def step(self) -> None:
        """The next part, if a sweep is due or under way; raises as VenueReadings."""
        is_due = self._monotonic() - self._began_at >= SWEEP_PERIOD_S
        if not (is_due or self._is_under_way):
            return
        try:
            if not self._untold:
                await self._read(is_first=not self._token)
            due, left = self._untold[:UNTOLD_ORDERS_MAX], self._untold[UNTOLD_ORDERS_MAX:]
            await self._look_up(due, self._part)
            self._untold = left
        except BaseException:
            self._token, self._untold = "", []
            raise
        if not self._is_under_way:
            self._swept_ns, self._part = self._began_ns, {}

    async def take_untold(self, executions: ByOrder) -> None:
        """Look up the orders of all executions that nobody told."""
        await self._look_up(self._untold_orders(executions), executions)

    @property
    def _is_under_way(self) -> bool:
        return bool(self._token or self._untold)

    async def _read(self, *, is_first: bool) -> None:
        if is_first:
            self._began_at, self._began_ns = self._monotonic(), self._wall()
            self._after_ns = min(self._swept_ns, self._began_ns) - OVERLAP_NS  # the clock may have gone back
        fills, self._token = await self._readings.executions(self._after_ns, self._token)
        self._part = by_order(fills)
        self._untold = self._untold_orders(self._part, self._began_ns - GRACE_NS)

    def _untold_orders(self, executions: ByOrder, before_ns: int | None = None) -> list[str]:
        return [
            venue_order_id
            for venue_order_id, found in executions.items()
            if venue_order_id and self._is_untold(venue_order_id, found, before_ns)
        ]

    async def _look_up(self, venue_order_ids: Sequence[str], executions: ByOrder) -> None:
        for venue_order_id in venue_order_ids:
            try:
                await self._take(await self._readings.chain(venue_order_id), executions)
            except OrderNotFound:
                _log.error("execution_of_unknown_order", venue_order_id=venue_order_id)

    def _is_untold(self, venue_order_id: str, executions: Sequence[Activity], before_ns: int | None) -> bool:
        """Whether the newest execution, if it is old enough, goes beyond what is known."""
        settled = [found for found in executions if before_ns is None or found.time_ns < before_ns]
        reached = max((found.cumulative_quantity or Decimal(0) for found in settled), default=Decimal(0))
        try:
            known = venue_order_of(self._orders.find_by_venue_id(venue_order_id), venue_order_id)
        except OrderNotFound:
            return bool(settled)
        return known is not None and reached > known.filled_quantity
