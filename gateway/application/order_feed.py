"""OrderFeed: the venue's order feed as it arrives: into OrderManager in order, and its state to whoever must know.

Promises: every message that was read is taken in, in the order received; what could not be read is reported as a doubt.
The feed is LIVE only while it is connected and what was missed has been made up for. Leaves the making-up to the
reconciler, which is told through `on_connected` and `on_doubt`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

import structlog

from gateway.application.order_manager import OrderManager
from gateway.domain.models.market_data import FeedStatus, Gap
from gateway.domain.models.orders import VenueOrderUpdate
from gateway.domain.types import ORDER_FEED, FeedState
from gateway.domain.venue_reports import report_of

UPDATES_QUEUED_MAX: Final = 100_000
"""Messages read and not yet taken in; beyond it everything is read anew."""
UPDATES_PER_TURN: Final = 64
"""Messages taken in before others may run."""

_log = structlog.get_logger(__name__)

Notice = FeedStatus | Gap


class OrderFeed:
    """Implements `OrderUpdateListener`.

    Args:
        wall: Nanoseconds since the Unix epoch.
    """

    def __init__(self, orders: OrderManager, wall: Callable[[], int]) -> None:
        self._orders = orders
        self._wall = wall
        self._queue: deque[VenueOrderUpdate] = deque()
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._listeners: list[Callable[[Notice], None]] = []
        self._on_connected: Callable[[], None] = lambda: None
        self._on_doubt: Callable[[str], None] = lambda _: None
        self.status = FeedStatus(ORDER_FEED, FeedState.CONNECTING, wall())
        self.last_message_ns: int | None = None

    @property
    def is_live(self) -> bool:
        """Connected, and nothing missed."""
        return self.status.state is FeedState.LIVE

    def add_listener(self, listener: Callable[[Notice], None]) -> None:
        """Tell somebody of every change of state and every gap; it must neither block nor raise."""
        self._listeners.append(listener)

    def bind(self, on_connected: Callable[[], None], on_doubt: Callable[[str], None]) -> None:
        """Whom to tell: of a connection that must be reconciled; of an order (or "") that must be looked up."""
        self._on_connected = on_connected
        self._on_doubt = on_doubt

    def on_update(self, update: VenueOrderUpdate) -> None:
        """One message of the feed."""
        self.last_message_ns = update.receive_time_ns
        if len(self._queue) >= UPDATES_QUEUED_MAX:
            self._queue.clear()
            self._on_doubt("")
            return
        self._queue.append(update)
        self._idle.clear()
        self._arrived.set()

    def on_unreadable(self, detail: str, venue_order_id: str) -> None:
        """A frame that could not be read."""
        _log.error("order_update_unreadable", detail=detail, venue_order_id=venue_order_id)
        self._on_doubt(venue_order_id)

    def on_state(self, state: FeedState, detail: str, venue_error_code: int) -> None:
        """CONNECTING, RECONCILING or DISCONNECTED; LIVE is the reconciler's to say."""
        self.set_state(state, detail, venue_error_code)
        if state is FeedState.RECONCILING:
            self._on_connected()

    def set_state(self, state: FeedState, detail: str = "", venue_error_code: int = 0) -> None:
        """Enter a state and say so; the same state with the same words is not said again."""
        known = self.status
        if (known.state, known.detail, known.venue_error_code) == (state, detail, venue_error_code):
            return
        since_ns = known.since_ns if known.state is state else self._wall()
        self.status = FeedStatus(ORDER_FEED, state, since_ns, detail, venue_error_code)
        _log.info("order_feed", state=state.value, detail=detail, venue_error_code=venue_error_code)
        self._tell(self.status)

    def tell_gap(self, gap: Gap) -> None:
        """Say that nothing was received for a while, and what was done about it."""
        self._tell(gap)

    async def run(self) -> None:
        """Take messages in until canceled."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            taken = 0
            while self._queue:
                await self._take(self._queue.popleft())
                taken += 1
                if taken % UPDATES_PER_TURN == 0:
                    await asyncio.sleep(0)
            self._idle.set()

    async def drained(self) -> None:
        """Returns when everything that was read has been taken in."""
        await self._idle.wait()

    async def _take(self, update: VenueOrderUpdate) -> None:
        try:
            await self._orders.observe(report_of(update, self._wall()))
        except Exception:
            _log.exception("order_update_failed", venue_order_id=update.order.venue_order_id, venue_event=update.event)
            self._on_doubt(update.order.venue_order_id)

    def _tell(self, notice: Notice) -> None:
        for listener in self._listeners:
            listener(notice)
