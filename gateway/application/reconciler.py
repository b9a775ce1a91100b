"""Reconciler: the venue's truth against ours: at the start, after every connect of the order feed, and continuously.

Promises: the feed is LIVE only after everything that may have been missed was read; what was missed is told on the
order streams, flagged as back-fill, with the venue's own executions where it still has them; an order that ended
unnoticed is noticed within one period, an execution within one sweep (`fill_sweep`). What is met at the venue under an
id of ours and without a row of ours is an orphan: adopted, and an alarm. It reads and records; it never sends, cancels
or replaces. What holdings must be is `position_check`'s, what must not live `zombie_watch`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Final

import structlog

from gateway.application.alarms import Alarms
from gateway.application.cancellations import Cancellations
from gateway.application.fill_sweep import OVERLAP_NS, FillSweep
from gateway.application.order_feed import OrderFeed
from gateway.application.order_manager import OrderManager
from gateway.application.pauses import pause
from gateway.application.position_check import PositionCheck
from gateway.application.venue_calls import VenueCalls
from gateway.application.venue_readings import Executions, VenueReadings, by_order, readable
from gateway.application.zombie_watch import ZombieWatch
from gateway.domain.errors import GatewayError, OrderNotFound
from gateway.domain.models.account import Activity
from gateway.domain.models.market_data import Gap
from gateway.domain.models.orders import JournalEvent, Order, VenueOrder
from gateway.domain.models.risk import TradingMode
from gateway.domain.order_lifecycle import venue_order_of
from gateway.domain.types import NANOS_PER_SECOND, ORDER_FEED, BudgetLane, FeedState, OrderState
from gateway.domain.venue_reports import Report, rewound
from gateway.services.account import BalanceService
from gateway.services.trading import PositionService

OPEN_CHECK_PERIOD_S: Final = 10.0
"""Between readings of the open orders, while any is open."""
HOLDINGS_PERIOD_S: Final = 30.0
"""Between readings of positions and account."""
HOLDINGS_AGAIN_S: Final = 6.0
"""The same, after one that differs or a fill that contradicts what was counted."""
TICK_S: Final = 0.5
SUSPECT_AFTER_S: Final = 1.0
"""A fill that a read shows is left to the feed for so long."""
SUSPECT_AGAIN_S: Final = 5.0
"""After a look that failed."""
EXPECTED_AFTER_S: Final = 3.0
"""An order that the venue has acknowledged is looked up when the feed says nothing of it for so long."""
SUSPECTS_PER_TICK_MAX: Final = 10
PARKED_MAX_S: Final = 2.0
"""A report whose parent does not turn up is adopted after so long."""
GRACE_NS: Final = 5 * NANOS_PER_SECOND
"""What changed more recently than this may be missing in a list without meaning anything."""
ORDERS_PER_TURN: Final = 64
"""Orders of a reading that are taken in before others may run."""
HISTORY_PAGES_MAX: Final = 4
"""With a new journal: so many pages of orders are looked through for our own."""
RETRY_DELAYS_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)

_log = structlog.get_logger(__name__)


class Reconciler:
    """Reads what the feed did not tell.

    Args:
        wall: Nanoseconds since the Unix epoch.
        monotonic: Seconds, as `time.monotonic`.
        sleep: Seconds, as `asyncio.sleep`.
        is_journal_kept: The journal outlives the process: an order of ours without a row means that rows were lost.
    """

    def __init__(
        self,
        orders: OrderManager,
        feed: OrderFeed,
        readings: VenueReadings,
        positions: PositionService,
        balances: BalanceService,
        cancellations: Cancellations,
        holdings: PositionCheck,
        zombies: ZombieWatch,
        alarms: Alarms,
        calls: VenueCalls,
        wall: Callable[[], int],
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        is_journal_kept: bool = False,
    ) -> None:
        self._orders = orders
        self._feed = feed
        self._readings = readings
        self._positions = positions
        self._balances = balances
        self._cancellations = cancellations
        self._holdings = holdings
        self._zombies = zombies
        self._alarms = alarms
        self._calls = calls
        self._wall = wall
        self._monotonic = monotonic
        self._sleep = sleep
        self._is_journal_kept = is_journal_kept
        self._connected = asyncio.Event()
        self._suspects: dict[str, float] = {}
        self._parked_since: float | None = None
        self._open_checked_at = self._held_checked_at = float("-inf")
        self._sweep = FillSweep(orders, readings, self._take_all, wall, monotonic)
        self._high_water_ns: int | None = orders.last_record_time_ns
        self._fills_made_up = 0
        self._is_first = True
        orders.adopts_whole = self._high_water_ns is not None
        orders.on_adopted = self._on_adopted
        feed.bind(self._on_connected, self.on_doubt, self._close_gap)
        orders.news.add_listener(self._on_event)
        orders.news.add_listener(holdings.on_event)

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

    async def refresh_order(
        self,
        order_id: str,
        lane: BudgetLane = BudgetLane.LOOKUP,
        executions: Mapping[str, Sequence[Activity]] | None = None,
    ) -> Order:
        """Ask the venue about one order, executions included; those that were read already need not be asked for.

        Raises:
            OrderNotFound, VenueUnreachable, VenueRateLimited, VenueAuthentication: It could not be read.
        """
        order = self._orders.order(order_id)
        root = self._orders.order(order.parent_order_id) if order.parent_order_id else order
        try:
            for known in {target.venue_order_id: target for target in (root, order)}.values():
                if known.venue_order_id:
                    await self._take_all(await self._readings.chain(known.venue_order_id, lane), executions)
        except OrderNotFound:
            if not order.state.is_terminal:
                self._zombies.note_denied(order)
            raise
        self._zombies.note_known(order_id)
        return self._orders.order(order_id)

    async def run(self) -> None:
        """Reconcile when the feed connects, and look after what is open in between; until canceled."""
        await self._holdings.load()
        while True:
            if await pause(self._connected, TICK_S, self._sleep):
                await self._reconcile()
            if not self._feed.is_latched:
                await self._look_after()

    def _on_connected(self) -> None:
        self._connected.set()

    def _on_event(self, event: JournalEvent, order: Order) -> None:
        order_id = event.order_id
        if order.state.is_terminal or event.venue_event:
            self._suspects.pop(order_id, None)
        elif event.venue_order is not None and not event.backfill and len(order.venue_orders) == 1:
            self._suspects.setdefault(order_id, self._monotonic() + EXPECTED_AFTER_S)
        if event.venue_order is not None:
            self._high_water_ns = max(self._high_water_ns or 0, event.event_time_ns)
        if event.fill is not None and event.backfill:
            self._fills_made_up += 1
        if event.fill is not None and order.spec.quantity is not None and order.filled_quantity > order.spec.quantity:
            self._alarms.tell("order_overfilled", order_id=order_id, filled_quantity=str(order.filled_quantity))
        if order.state is OrderState.UNRECOGNIZED and event.venue_order is not None:
            self._alarms.tell("status_unrecognized", order_id=order_id, venue_status=order.venue_status)

    def _on_adopted(self, order: Order, found: VenueOrder, is_collision: bool) -> None:
        """An order met at the venue: from outside, or an orphan of ours."""
        facts = {"order_id": order.order_id, "venue_order_id": found.venue_order_id, "venue_status": found.venue_status}
        if order.external:
            _log.info("order_from_outside", **facts)
        elif is_collision:
            self._alarms.tell_collision(order.order_id, found, self._wall())
        elif self._is_journal_kept:
            reason = "The venue has orders of this gateway that its journal does not: rows were lost."
            self._alarms.trip("orphan_adopted", TradingMode.REDUCING, reason, **facts)
        else:  # every start meets the orders of the one before
            _log.warning("orphan_adopted", **facts)
            self._alarms.counts["orphan_adopted"] += 1

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
        self._fills_made_up = 0
        await self._balances.refresh(self._calls.own(BudgetLane.LOOKUP))
        await self._feed.drained()
        working = await self._readings.open_orders()
        if self._orders.adopts_whole:
            # A record of a clock that was ahead is no reason to look at nothing before it.
            since_ns = min(self._high_water_ns or began_ns, began_ns) - OVERLAP_NS
            recent = await self._readings.orders_since(since_ns)
            read = await self._readings.executions_since(since_ns)
            executions = by_order(read.fills)
        else:
            recent, executions = await self._readings.newest_orders(HISTORY_PAGES_MAX), {}
            read = Executions([], "")
        await self._take_all([*recent, *working], executions)
        await self._take_missing(_ids((*recent, *working)), executions)
        await self._sweep.take_untold(executions)
        await self._orders.release_parked(adopt=True)
        await self._check_holdings()
        self._cancellations.pursue_owed()
        self._orders.adopts_whole = True
        self._open_checked_at = self._monotonic()
        self._sweep.cover(read.fills[-1].time_ns if read.next_token else began_ns)
        if not self._is_first:
            self._feed.tell_gap(
                Gap(ORDER_FEED, last_message_ns, began_ns, backfilled=True, backfilled_count=self._fills_made_up)
            )
        self._is_first = False

    async def _look_after(self) -> None:
        """What is due. A question that fails is no evidence."""
        steps = (self._check_suspects, self._check_parked, self._check_open, self._check_held, self._check_executions)
        for step in steps:
            try:
                await step()
            except GatewayError as error:
                _log.info("check_failed", reason=error.reason)
            except Exception:
                _log.exception("check_failed")

    async def _check_suspects(self) -> None:
        due = self._due_suspects()
        if len(due) > SUSPECTS_PER_TICK_MAX and self._monotonic() - self._open_checked_at >= SUSPECT_AGAIN_S:
            await self._take_open(frozenset(due))  # one list tells of most of them
            due = self._due_suspects()
        for order_id in due[:SUSPECTS_PER_TICK_MAX]:
            if self._suspects.pop(order_id, None) is None:
                continue  # it has ended meanwhile
            if self._orders.order(order_id).state.is_terminal:
                continue
            try:
                await self.refresh_order(order_id)
            except GatewayError:
                self._suspects.setdefault(order_id, self._monotonic() + SUSPECT_AGAIN_S)
                raise

    def _due_suspects(self) -> list[str]:
        now = self._monotonic()
        return [order_id for order_id, due_at in self._suspects.items() if due_at <= now]

    async def _check_parked(self) -> None:
        if not self._orders.parked_count:
            self._parked_since = None
        elif self._parked_since is None:
            self._parked_since = self._monotonic()
        elif self._monotonic() - self._parked_since >= PARKED_MAX_S:
            self._parked_since = None
            await self._take_all(await self._readings.open_orders())
            await self._orders.release_parked(adopt=True)

    async def _check_open(self) -> None:
        """The open orders there against the open orders here; fills are left to the feed for a moment."""
        is_due = self._monotonic() - self._open_checked_at >= OPEN_CHECK_PERIOD_S
        if not (is_due and self._feed.is_live and self._orders.open_count):
            return
        asked_ns = self._wall()
        working = await self._take_open()
        await self._take_missing(_ids(working), {}, changed_before_ns=asked_ns - GRACE_NS)
        self._cancellations.pursue_owed()

    async def _take_open(self, suspects: Collection[str] = ()) -> list[VenueOrder]:
        """Record what the list of open orders says; a suspect that it shows as it is known is one no more."""
        self._open_checked_at = self._monotonic()
        working = await self._readings.open_orders()
        for index, found in enumerate(readable(working)):
            if index % ORDERS_PER_TURN == 0:
                await asyncio.sleep(0)
            order = await self._orders.observe(Report(found, self._wall(), with_fills=False), park=False)
            if order is None:
                continue
            if found.filled_quantity > _known_filled(order, found):
                self.suspect(order.order_id)
            elif order.order_id in suspects and not order.leg_order_ids:
                self._suspects.pop(order.order_id, None)
        return working

    async def _check_held(self) -> None:
        period_s = HOLDINGS_AGAIN_S if self._holdings.is_suspicious else HOLDINGS_PERIOD_S
        if self._feed.is_live and self._monotonic() - self._held_checked_at >= period_s:
            self._held_checked_at = self._monotonic()
            await self._balances.refresh(self._calls.own(BudgetLane.LOOKUP))
            await self._check_holdings()

    async def _check_holdings(self) -> None:
        """Compare what is held; a difference is looked for among the executions at once."""
        self._held_checked_at = asked_at = self._monotonic()
        read = await self._positions.list_positions(self._calls.own(BudgetLane.LOOKUP), max_staleness_ms=0)
        held = {position.symbol: position.quantity for position in read.positions}
        if not await self._holdings.compare(held, asked_at):
            self._sweep.want()

    async def _check_executions(self) -> None:
        if self._feed.is_live:
            await self._sweep.step()

    async def _take_missing(
        self, listed: set[str], executions: Mapping[str, Sequence[Activity]], changed_before_ns: int | None = None
    ) -> None:
        """Orders that are open here and not there: ask for each."""
        for order in self._orders.open_orders():
            venue_order_id = order.venue_order_id
            if not venue_order_id or venue_order_id in listed:
                continue
            if changed_before_ns is not None and order.update_time_ns > changed_before_ns:
                continue
            try:
                await self.refresh_order(order.order_id, executions=executions)
            except OrderNotFound:
                _log.error("acknowledged_order_unknown_to_venue", order_id=order.order_id)

    async def _close_gap(self, venue_order_id: str) -> None:
        """Fetch the executions between what is known of an order and what the feed told too early."""
        await self._take_all(await self._readings.chain(venue_order_id))

    async def _take_all(
        self, found: list[VenueOrder], executions: Mapping[str, Sequence[Activity]] | None = None
    ) -> None:
        """Record what a read says, executions first; oldest orders first."""
        ordered = _oldest_first(readable(found))
        behind = [member for venue_order in ordered for member in _family(venue_order) if self._is_behind(member)]
        known = dict(executions or {})
        missing = [member for member in behind if not _reaches(known.get(member.venue_order_id, ()), member)]
        if missing:
            known |= by_order((await self._readings.executions_since(self._untold_since_ns(missing))).fills)
        for index, venue_order in enumerate(ordered):
            if index % ORDERS_PER_TURN == 0:
                await asyncio.sleep(0)
            await self._take(venue_order, known)

    async def _take(self, venue_order: VenueOrder, executions: Mapping[str, Sequence[Activity]]) -> None:
        """One order: its own executions, then legs as if nothing of them were filled, then the legs' executions."""
        await self._take_executions(venue_order, executions)
        if any(leg.filled_quantity for leg in venue_order.legs):
            legs = tuple(rewound(leg, Decimal(0), None) if self._is_unknown(leg) else leg for leg in venue_order.legs)
            unfilled = tuple(leg for leg in legs if not leg.filled_quantity)
            await self._orders.observe(
                Report(replace(venue_order, legs=unfilled), self._wall(), backfill=True), park=False
            )
            for leg in venue_order.legs:
                await self._take_executions(leg, executions)
        await self._orders.observe(Report(venue_order, self._wall(), backfill=True), park=False)

    async def _take_executions(self, member: VenueOrder, executions: Mapping[str, Sequence[Activity]]) -> None:
        if not self._is_behind(member):
            return
        for report in _fill_reports(member, executions.get(member.venue_order_id, ()), self._wall()):
            await self._orders.observe(report, park=False)

    def _is_behind(self, venue_order: VenueOrder) -> bool:
        """Whether an order has fills that were not told."""
        known = self._orders.filled_at_venue(venue_order)
        if known is None:
            return self._orders.adopts_whole and venue_order.filled_quantity > 0
        return venue_order.filled_quantity > known

    def _is_unknown(self, venue_order: VenueOrder) -> bool:
        return self._orders.adopts_whole and self._orders.filled_at_venue(venue_order) is None

    def _untold_since_ns(self, behind: Iterable[VenueOrder]) -> int:
        """An instant before which no execution of these orders can be missing."""
        return min(self._last_known_ns(member) for member in behind)

    def _last_known_ns(self, venue_order: VenueOrder) -> int:
        began_ns = venue_order.submit_time_ns or 0
        try:
            order = self._orders.find_by_venue_id(venue_order.venue_order_id)
        except OrderNotFound:
            return began_ns - 1
        return max(began_ns - 1, order.update_time_ns - OVERLAP_NS)


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


def _reaches(executions: Iterable[Activity], venue_order: VenueOrder) -> bool:
    """Whether executions go as far as the order is filled."""
    reached = max((found.cumulative_quantity or Decimal(0) for found in executions), default=Decimal(0))
    return reached >= venue_order.filled_quantity


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
