"""OrderFeed: the venue's order feed as it arrives: into OrderManager in order, and its state to whoever must know.

Promises: every message that was read is taken in, in the order received; what could not be read is reported as a doubt.
A fill that comes before the one it follows waits for it, at most GAP_WAIT_S; then the executions in between are asked
for, and only what nobody knows is made up. The feed is LIVE only while it is connected and what was missed has been
made up for. Leaves the making-up to the reconciler, which is told through `bind`. Without a journal there is nothing to
take messages into: from its fault on the feed is DISCONNECTED, for good.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from operator import attrgetter
from typing import Final

import structlog

from gateway.application.order_manager import OrderManager
from gateway.domain.errors import GatewayError, OrderFeedBlind, Reconciling
from gateway.domain.models.market_data import FeedStatus, Gap
from gateway.domain.models.orders import VenueOrderUpdate
from gateway.domain.types import ORDER_FEED, FeedState
from gateway.domain.venue_reports import filled_before, report_of

UPDATES_QUEUED_MAX: Final = 100_000
"""Messages read and not yet taken in; beyond it everything is read anew."""
UPDATES_PER_TURN: Final = 64
"""Messages taken in before others may run."""
GAP_WAIT_S: Final = 1.0
"""A fill that comes too early waits so long for the one before it."""
GAPS_MAX: Final = 1_024
"""Orders with such a fill at once; beyond it what is missing is made up from the figures."""
GAP_UPDATES_MAX: Final = 256
"""Messages of one order that wait behind such a fill; with so many, all are taken in as they are."""
TAKES_BACK: Final = frozenset({"trade_bust", "trade_correct"})
"""The venue takes an execution back that was told. What was told stays told: the figures are compared at once, and what
is held then says how far they can be trusted. Source: Alpaca's words for events of trades."""
RECONCILING_RETRY_AFTER_MS: Final = 500
BLIND_RETRY_AFTER_MS: Final = 1_000

_FILLED: Final = attrgetter("order.filled_quantity")

_log = structlog.get_logger(__name__)

Notice = FeedStatus | Gap


class OrderFeed:
    """Implements `OrderUpdateListener`.

    Args:
        wall: Nanoseconds since the Unix epoch.
        sleep: Seconds, as `asyncio.sleep`.

    Attributes:
        has_been_live: The journal was compared with the venue once in this life.
        is_latched: The journal is at fault.
    """

    def __init__(
        self,
        orders: OrderManager,
        wall: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._orders = orders
        self._wall = wall
        self._sleep = sleep
        self._held: dict[str, list[VenueOrderUpdate]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._queue: deque[VenueOrderUpdate] = deque()
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._listeners: list[Callable[[Notice], None]] = []
        self._on_connected: Callable[[], None] = lambda: None
        self._on_doubt: Callable[[str], None] = lambda _: None
        self._close_gap: Callable[[str], Awaitable[None]] = _nothing
        self.has_been_live = False
        self.is_latched = False
        self.status = FeedStatus(ORDER_FEED, FeedState.CONNECTING, wall())
        self.last_message_ns: int | None = None

    @property
    def is_live(self) -> bool:
        """Connected, and nothing missed."""
        return self.status.state is FeedState.LIVE

    def add_listener(self, listener: Callable[[Notice], None]) -> None:
        """Tell somebody of every change of state and every gap; it must neither block nor raise."""
        self._listeners.append(listener)

    def check_live(self) -> None:
        """Refuse what opens or enlarges a position while nobody can follow it.

        Raises:
            Reconciling: The journal was not compared with the venue yet.
            OrderFeedBlind: The feed is down, or what was missed is not known yet.
        """
        if self.is_live:
            return
        if not self.has_been_live:
            raise Reconciling(
                "The gateway is still comparing its journal with the venue: only orders that reduce a position pass.",
                retry_after_ms=RECONCILING_RETRY_AFTER_MS,
            )
        raise OrderFeedBlind(
            "The venue's order feed is down: only orders that reduce a position pass.",
            retry_after_ms=BLIND_RETRY_AFTER_MS,
        )

    def bind(
        self,
        on_connected: Callable[[], None],
        on_doubt: Callable[[str], None],
        close_gap: Callable[[str], Awaitable[None]],
    ) -> None:
        """Whom to tell: of a connection to reconcile, an order (or "") to look up, one with executions missing."""
        self._on_connected = on_connected
        self._on_doubt = on_doubt
        self._close_gap = close_gap

    def on_update(self, update: VenueOrderUpdate) -> None:
        """One message of the feed."""
        self.last_message_ns = update.receive_time_ns
        if self.is_latched:
            return
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
        if self.is_latched:
            return
        if (known.state, known.detail, known.venue_error_code) == (state, detail, venue_error_code):
            return
        since_ns = known.since_ns if known.state is state else self._wall()
        self.status = FeedStatus(ORDER_FEED, state, since_ns, detail, venue_error_code)
        self.has_been_live |= state is FeedState.LIVE
        _log.info("order_feed", state=state.value, detail=detail, venue_error_code=venue_error_code)
        self._tell(self.status)

    def latch(self, fault: str) -> None:
        """The journal cannot record any more: nothing that happens now can be told, in this life."""
        self.set_state(FeedState.DISCONNECTED, f"the journal cannot record: {fault}")
        self.is_latched = True
        self._queue.clear()

    def tell_gap(self, gap: Gap) -> None:
        """Say that nothing was received for a while, and what was done about it."""
        self._tell(gap)

    async def run(self) -> None:
        """Take messages in until canceled."""
        try:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                taken = 0
                while self._queue:
                    await self._take_safely(self._queue.popleft())
                    taken += 1
                    if taken % UPDATES_PER_TURN == 0:
                        await asyncio.sleep(0)
                self._idle.set()
        finally:
            for task in self._closing:
                task.cancel()

    async def drained(self) -> None:
        """Returns when everything that was read has been taken in, or waits for a fill before it."""
        await self._idle.wait()

    async def _take_safely(self, update: VenueOrderUpdate) -> None:
        """Whatever one message meets, the next is taken in; the reconciler looks at what it was about."""
        try:
            await self._take(update)
        except Exception:  # logged with its trace
            self._failed(update)

    async def _take(self, update: VenueOrderUpdate) -> None:
        venue_order_id = update.order.venue_order_id
        if update.event in TAKES_BACK:
            _log.critical("execution_taken_back", venue_order_id=venue_order_id, venue_event=update.event)
            self._on_doubt("")
        waiting = self._held.get(venue_order_id)
        if waiting is None:
            if not self._is_early(update) or len(self._held) >= GAPS_MAX:
                await self._observe(update)
                return
            waiting = self._held[venue_order_id] = []
            task = asyncio.create_task(self._wait_for_missing(venue_order_id))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        waiting.append(update)
        if len(waiting) < GAP_UPDATES_MAX:
            await self._take_ready(venue_order_id, waiting)
        else:
            await self._take_waiting(venue_order_id)

    def _is_early(self, update: VenueOrderUpdate) -> bool:
        """Whether it contains fills, beside its own, that were not told yet."""
        if not update.order.filled_quantity:
            return False
        known = self._orders.filled_at_venue(update.order)
        return known is not None and filled_before(report_of(update, 0)) > known

    async def _take_ready(self, venue_order_id: str, waiting: list[VenueOrderUpdate]) -> None:
        """Take in what has what it waited for; the others go on waiting."""
        waiting.sort(key=_FILLED)
        while waiting and not self._is_early(waiting[0]):
            await self._observe(waiting.pop(0))
        if not waiting:
            self._held.pop(venue_order_id, None)

    async def _wait_for_missing(self, venue_order_id: str) -> None:
        await self._sleep(GAP_WAIT_S)
        try:
            await self._take_ready(venue_order_id, self._held.get(venue_order_id, []))
            if self._held.get(venue_order_id):
                await self._close_gap(venue_order_id)
        except Exception as error:  # whatever it is: what waits must be taken in, and what is missing is made up then
            bug = None if isinstance(error, GatewayError) else error
            _log.warning("executions_unread", venue_order_id=venue_order_id, error=type(error).__name__, exc_info=bug)
        await self._take_waiting(venue_order_id)

    async def _take_waiting(self, venue_order_id: str) -> None:
        """Take in all that waits, whatever is missing before it."""
        waiting = self._held.pop(venue_order_id, [])
        waiting.sort(key=_FILLED)
        while waiting:  # one at a time: whoever still takes from the same list takes others
            await self._observe(waiting.pop(0))

    async def _observe(self, update: VenueOrderUpdate) -> None:
        try:
            await self._orders.observe(report_of(update, self._wall()))
        except Exception:  # whatever it is: those behind it must be taken in
            self._failed(update)

    def _failed(self, update: VenueOrderUpdate) -> None:
        """To be called where an exception is handled."""
        _log.exception("order_update_failed", venue_order_id=update.order.venue_order_id, venue_event=update.event)
        self._on_doubt(update.order.venue_order_id)

    def _tell(self, notice: Notice) -> None:
        for listener in self._listeners:
            listener(notice)


async def _nothing(_venue_order_id: str) -> None: ...
