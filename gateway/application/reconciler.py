"""Reconciler: the venue's truth against ours: after every connect of the order feed, and while orders are open.

Promises: the feed is LIVE only after everything that may have been missed was read; what was missed is told on the
order streams, flagged as back-fill, with the venue's own executions where it still has them; an order that ended
unnoticed is noticed within one period. It reads and records; it never sends, cancels or replaces.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Final

import structlog

from gateway.application.cancellations import Cancellations
from gateway.application.order_feed import OrderFeed
from gateway.application.order_manager import OrderManager
from gateway.application.pauses import pause
from gateway.application.venue_calls import VenueCalls
from gateway.domain.errors import GatewayError, OrderNotFound
from gateway.domain.interfaces import VenueOrderFilter
from gateway.domain.models.account import Activity
from gateway.domain.models.market_data import Gap
from gateway.domain.models.orders import JournalEvent, Order, VenueOrder
from gateway.domain.order_lifecycle import venue_order_of
from gateway.domain.types import NANOS_PER_SECOND, ORDER_FEED, BudgetLane, FeedState
from gateway.domain.venue_reports import Report, rewound
from gateway.services.account import BalanceService
from gateway.services.trading import OrderService, PositionService

OPEN_CHECK_PERIOD_S: Final = 10.0
"""Between readings of the open orders, while any is open."""
TICK_S: Final = 0.5
SUSPECT_AFTER_S: Final = 1.0
"""A fill that a read shows is left to the feed for so long."""
PARKED_MAX_S: Final = 2.0
"""A report whose parent does not turn up is adopted after so long."""
GRACE_NS: Final = 5 * NANOS_PER_SECOND
"""An order changed more recently than this may be missing in a list without meaning anything."""
OVERLAP_NS: Final = 900 * NANOS_PER_SECOND
"""A reading after a reconnect begins so long before the last message."""
ORDERS_PER_TURN: Final = 64
"""Orders of a reading that are taken in before others may run."""
LIST_PAGE: Final = 500
HISTORY_PAGES_MAX: Final = 4
"""At the first connect: so many pages of orders are looked through for our own."""
RECENT_PAGES_MAX: Final = 40
FILLS_PAGE: Final = 100
FILLS_PAGES_MAX: Final = 50
CHAIN_MAX: Final = 32
"""Replaces followed in one go; the next look goes on from there."""
RETRY_DELAYS_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)

_log = structlog.get_logger(__name__)


class Reconciler:
    """Reads what the feed did not tell.

    Args:
        wall: Nanoseconds since the Unix epoch.
        monotonic: Seconds, as `time.monotonic`.
        sleep: Seconds, as `asyncio.sleep`.
    """

    def __init__(
        self,
        orders: OrderManager,
        feed: OrderFeed,
        venue: OrderService,
        positions: PositionService,
        balances: BalanceService,
        cancellations: Cancellations,
        calls: VenueCalls,
        wall: Callable[[], int],
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._orders = orders
        self._feed = feed
        self._venue = venue
        self._positions = positions
        self._balances = balances
        self._cancellations = cancellations
        self._calls = calls
        self._wall = wall
        self._monotonic = monotonic
        self._sleep = sleep
        self._connected = asyncio.Event()
        self._suspects: dict[str, float] = {}
        self._parked_since: float | None = None
        self._checked_at = float("-inf")
        self._high_water_ns: int | None = None
        self._fills_made_up = 0
        feed.bind(self._on_connected, self.on_doubt)
        orders.add_listener(self._on_event)

    def suspect(self, order_id: str) -> None:
        """A read shows more of an order than the feed has told: look again in a moment."""
        self._suspects.setdefault(order_id, self._monotonic() + SUSPECT_AFTER_S)

    def on_doubt(self, venue_order_id: str) -> None:
        """Something could not be read: look that order up, or ("") everything."""
        try:
            known = self._orders.find_by_venue_id(venue_order_id) if venue_order_id else None
        except OrderNotFound:
            known = None
        if known is not None:
            self._suspects[known.order_id] = self._monotonic()
        else:
            self._on_connected()

    async def refresh_order(self, order_id: str, lane: BudgetLane = BudgetLane.LOOKUP) -> Order:
        """Ask the venue about one order, executions included.

        Raises:
            OrderNotFound, VenueUnreachable, VenueRateLimited, VenueAuthentication: It could not be read.
        """
        order = self._orders.order(order_id)
        root = self._orders.order(order.parent_order_id) if order.parent_order_id else order
        for known in {target.venue_order_id: target for target in (root, order)}.values():
            if known.venue_order_id:
                await self._take_all(await self._chain(known.venue_order_id, lane))
        return self._orders.order(order_id)

    async def _chain(self, venue_order_id: str, lane: BudgetLane) -> list[VenueOrder]:
        """One order at the venue, and those that stand for it now: replaced by somebody else, unseen."""
        chain = [await self._venue.get(self._calls.own(lane), venue_order_id)]
        while (following := chain[-1].replaced_by) and len(chain) < CHAIN_MAX:
            chain.append(await self._venue.get(self._calls.own(lane), following))
        return chain

    async def run(self) -> None:
        """Reconcile when the feed connects, and look after what is open in between; until canceled."""
        while True:
            if await pause(self._connected, TICK_S, self._sleep):
                await self._reconcile()
            await self._look_after()

    def _on_connected(self) -> None:
        self._connected.set()

    def _on_event(self, event: JournalEvent, order: Order) -> None:
        if order.state.is_terminal:
            self._suspects.pop(order.order_id, None)
        if event.venue_order is not None:
            self._high_water_ns = max(self._high_water_ns or 0, event.event_time_ns)
        if event.fill is not None and event.backfill:
            self._fills_made_up += 1

    async def _reconcile(self) -> None:
        """Read everything that may have been missed; LIVE when that is done, and tried again until it is."""
        attempt = 0
        while self._feed.status.state in (FeedState.RECONCILING, FeedState.LIVE):
            was_live = self._feed.is_live
            try:
                await self._back_fill()
            except Exception as error:  # whatever it is: nobody else would ever say LIVE again
                if isinstance(error, GatewayError):
                    _log.warning("reconcile_failed", reason=error.reason)
                else:
                    _log.exception("reconcile_failed")
                await self._sleep(RETRY_DELAYS_S[min(attempt, len(RETRY_DELAYS_S) - 1)])
                attempt += 1
                continue
            if self._connected.is_set():  # it broke and came back meanwhile
                self._connected.clear()
                continue
            if not was_live and self._feed.status.state is FeedState.RECONCILING:
                self._feed.set_state(FeedState.LIVE)
            return

    async def _back_fill(self) -> None:
        last_message_ns, began_ns = self._feed.last_message_ns, self._wall()
        is_first = self._high_water_ns is None
        self._fills_made_up = 0
        await self._feed.drained()
        recent = await self._history() if is_first else await self._since(self._high_water_ns or 0)
        working = await self._open_orders()
        listed = _ids((*recent, *working))
        await self._take_all([*recent, *working])
        await self._take_missing(listed)
        await self._orders.release_parked(adopt=True)
        await self._positions.refresh(self._calls.own(BudgetLane.LOOKUP))
        await self._balances.refresh(self._calls.own(BudgetLane.LOOKUP))
        self._cancellations.pursue_owed()
        self._checked_at = self._monotonic()
        if not is_first:
            self._feed.tell_gap(
                Gap(ORDER_FEED, last_message_ns, began_ns, backfilled=True, backfilled_count=self._fills_made_up)
            )

    async def _look_after(self) -> None:
        """Suspects, parked reports, and the open orders once in a period. A question that fails is no evidence."""
        try:
            await self._check_suspects()
            await self._check_parked()
            is_due = self._monotonic() - self._checked_at >= OPEN_CHECK_PERIOD_S
            if is_due and self._feed.is_live and self._orders.open_count:
                self._checked_at = self._monotonic()
                await self._check_open()
        except GatewayError as error:
            _log.info("check_failed", reason=error.reason)
        except Exception:
            _log.exception("check_failed")

    async def _check_suspects(self) -> None:
        now = self._monotonic()
        for order_id in [order_id for order_id, due in self._suspects.items() if due <= now]:
            del self._suspects[order_id]
            if not self._orders.order(order_id).state.is_terminal:
                await self.refresh_order(order_id)

    async def _check_parked(self) -> None:
        if not self._orders.parked_count:
            self._parked_since = None
        elif self._parked_since is None:
            self._parked_since = self._monotonic()
        elif self._monotonic() - self._parked_since >= PARKED_MAX_S:
            self._parked_since = None
            await self._take_all(await self._open_orders())
            await self._orders.release_parked(adopt=True)

    async def _check_open(self) -> None:
        """The open orders there against the open orders here; fills are left to the feed for a moment."""
        asked_ns = self._wall()
        working = await self._open_orders()
        for index, found in enumerate(working):
            if index % ORDERS_PER_TURN == 0:
                await asyncio.sleep(0)
            order = await self._orders.observe(Report(found, self._wall(), with_fills=False), park=False)
            if order is not None and found.filled_quantity > _known_filled(order, found):
                self.suspect(order.order_id)
        await self._take_missing(_ids(working), changed_before_ns=asked_ns - GRACE_NS)
        self._cancellations.pursue_owed()

    async def _take_missing(self, listed: set[str], changed_before_ns: int | None = None) -> None:
        """Orders that are open here and not there: ask for each."""
        for order in self._orders.open_orders():
            venue_order_id = order.venue_order_id
            if not venue_order_id or venue_order_id in listed:
                continue
            if changed_before_ns is not None and order.update_time_ns > changed_before_ns:
                continue
            try:
                await self.refresh_order(order.order_id)
            except OrderNotFound:
                _log.error("acknowledged_order_unknown_to_venue", order_id=order.order_id)

    async def _take_all(self, found: list[VenueOrder]) -> None:
        """Record what a read says, executions first; oldest orders first."""
        ordered = _oldest_first(found)
        behind = [member for venue_order in ordered for member in _family(venue_order) if self._is_behind(member)]
        executions = await self._executions(behind) if behind else {}
        for index, venue_order in enumerate(ordered):
            if index % ORDERS_PER_TURN == 0:
                await asyncio.sleep(0)
            for member in _family(venue_order):
                for report in _fill_reports(member, executions.get(member.venue_order_id, ()), self._wall()):
                    await self._orders.observe(report, park=False)
            await self._orders.observe(Report(venue_order, self._wall(), backfill=True), park=False)

    def _is_behind(self, venue_order: VenueOrder) -> bool:
        """Whether a known order has fills that were not told."""
        try:
            order = self._orders.find_by_venue_id(venue_order.venue_order_id)
        except OrderNotFound:
            return False
        return venue_order.filled_quantity > _known_filled(order, venue_order)

    async def _executions(self, behind: Iterable[VenueOrder]) -> dict[str, list[Activity]]:
        """The fills of these orders as the account's activities tell them, oldest first."""
        wanted = {venue_order.venue_order_id for venue_order in behind}
        began = min((venue_order.submit_time_ns or 0 for venue_order in behind), default=0)
        found: dict[str, list[Activity]] = {}
        token = ""
        for _ in range(FILLS_PAGES_MAX):
            page = await self._venue.fills(self._calls.own(BudgetLane.LOOKUP), max(began - 1, 0), token, FILLS_PAGE)
            for activity in page.items:
                if activity.venue_order_id in wanted:
                    found.setdefault(activity.venue_order_id, []).append(activity)
            token = page.next_page_token
            if not token:
                break
        return found

    async def _open_orders(self) -> list[VenueOrder]:
        """Every open order, nested, newest first."""
        return await self._pages(VenueOrderFilter.OPEN, RECENT_PAGES_MAX)

    async def _history(self) -> list[VenueOrder]:
        """The newest orders, whatever became of them: an earlier life of the gateway may have sent them."""
        return await self._pages(VenueOrderFilter.ALL, HISTORY_PAGES_MAX)

    async def _pages(self, status: VenueOrderFilter, pages_max: int) -> list[VenueOrder]:
        found: list[VenueOrder] = []
        until_ns: int | None = None
        for _ in range(pages_max):
            call = self._calls.own(BudgetLane.LOOKUP)
            page = await self._venue.list(call, status, until_ns=until_ns, limit=LIST_PAGE)
            found += page
            oldest = min((venue_order.submit_time_ns or 0 for venue_order in page), default=0)
            if len(page) < LIST_PAGE or (until_ns is not None and oldest + 1 >= until_ns):
                break
            until_ns = oldest + 1  # bounds are exclusive, and times may tie
        return found

    async def _since(self, high_water_ns: int) -> list[VenueOrder]:
        found: list[VenueOrder] = []
        after_ns = high_water_ns - OVERLAP_NS
        for _ in range(RECENT_PAGES_MAX):
            call = self._calls.own(BudgetLane.LOOKUP)
            page = await self._venue.list(
                call, VenueOrderFilter.ALL, after_ns=after_ns, oldest_first=True, limit=LIST_PAGE
            )
            found += page
            newest = max((venue_order.submit_time_ns or 0 for venue_order in page), default=0)
            if len(page) < LIST_PAGE or newest - 1 <= after_ns:
                break
            after_ns = newest - 1
        return found


def _oldest_first(found: list[VenueOrder]) -> list[VenueOrder]:
    """By submit time, each once, and whatever the times say: an order after the one that it replaces."""
    unique = {venue_order.venue_order_id: venue_order for venue_order in found}
    ordered: dict[str, VenueOrder] = {}
    for venue_order in sorted(unique.values(), key=lambda venue_order: venue_order.submit_time_ns or 0):
        chain = [venue_order]
        while (before := unique.get(chain[-1].replaces or "")) is not None and len(chain) < len(unique):
            chain.append(before)
        for link in reversed(chain):
            ordered.setdefault(link.venue_order_id, link)
    return list(ordered.values())


def _family(venue_order: VenueOrder) -> tuple[VenueOrder, ...]:
    return (venue_order, *venue_order.legs)


def _ids(found: Iterable[VenueOrder]) -> set[str]:
    return {member.venue_order_id for venue_order in found for member in _family(venue_order)}


def _known_filled(order: Order, venue_order: VenueOrder) -> Decimal:
    known = venue_order_of(order, venue_order.venue_order_id)
    return known.filled_quantity if known is not None else Decimal(0)


def _fill_reports(final: VenueOrder, executions: Iterable[Activity], now_ns: int) -> list[Report]:
    """One report per execution, each with the order as it was right after it."""
    reports = []
    filled, value = Decimal(0), Decimal(0)
    for execution in sorted(executions, key=lambda activity: activity.cumulative_quantity or Decimal(0)):
        if execution.quantity is None or execution.price is None or execution.cumulative_quantity is None:
            continue
        filled, value = execution.cumulative_quantity, value + execution.quantity * execution.price
        is_last = filled == final.filled_quantity and final.venue_status == "filled"
        after = final if is_last else rewound(final, filled, value / filled if filled else None)
        reports.append(
            Report(
                venue_order=replace(after, legs=()),
                record_time_ns=now_ns,
                word="fill" if is_last else "partial_fill",
                event_time_ns=execution.time_ns,
                execution_id=execution.activity_id,
                price=execution.price,
                quantity=execution.quantity,
                backfill=True,
            )
        )
    return reports
