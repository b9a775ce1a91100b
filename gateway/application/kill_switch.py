"""KillSwitch: while trading is KILLED, everything that is open at the venue is canceled, and that is proved.

Promises: one request for all cancels, never one each, repeated until the venue's list of open orders was empty twice
and no order of ours is in doubt; a journal that cannot record does not hold it up; what turns up later (an answer that
was lost, an order from outside) is canceled on sighting, as long as the state is KILLED; a restart goes on with it.
Leaves to `trading_state` that nothing new is sent, and to `cancellations` that every cancel is journaled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import structlog

from gateway.application.cancellations import NOT_AT_VENUE, Cancellations
from gateway.application.commands import CancelResult, CancelScope
from gateway.application.order_manager import OrderManager
from gateway.application.owned_tasks import OwnedTasks
from gateway.application.pauses import pause
from gateway.application.reconciler import Reconciler
from gateway.application.trading_state import TradingStates
from gateway.application.venue_calls import VenueCalls
from gateway.domain.errors import GatewayError, OrderNotFound
from gateway.domain.interfaces import VenueOrderFilter
from gateway.domain.models.orders import JournalEvent, Order
from gateway.domain.models.risk import TradingState
from gateway.domain.types import BudgetLane
from gateway.domain.venue_requests import EVERY_ORDER
from gateway.services.trading import OrderService

EMPTY_LISTS_MIN: Final = 2
"""In a row: the venue is eventually consistent."""
SWEEP_DELAYS_S: Final = (0.05, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""Between requests for all cancels while something is open; the last repeats."""
WATCH_PERIOD_S: Final = 5.0
"""Between readings of the open orders once all is gone, as long as the state is KILLED."""
SWEEP_TIMEOUT_S: Final = 5.0
"""For one request of a sweep."""
FEED_WAIT_S: Final = 0.5
"""How long the order feed may take to tell an end before it is looked up."""
LIST_LIMIT: Final = 500
"""Open orders read at once: whether there are any is what counts."""
LOOKUPS_MAX: Final = 64
"""Orders looked up one by one after all is gone; the reconciler asks for the rest."""
RESULTS_MAX: Final = 10_000
"""Orders that an answer names."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Killed:
    """How far a kill is: every order that it covers, and whether the venue has confirmed that nothing is open."""

    results: tuple[CancelResult, ...]
    all_gone: bool


class KillSwitch:
    """Cancels everything while trading is KILLED.

    Args:
        sleep: Seconds, as `asyncio.sleep`.
    """

    def __init__(
        self,
        states: TradingStates,
        orders: OrderManager,
        venue: OrderService,
        cancellations: Cancellations,
        reconciler: Reconciler,
        calls: VenueCalls,
        tasks: OwnedTasks,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._states = states
        self._orders = orders
        self._venue = venue
        self._cancellations = cancellations
        self._reconciler = reconciler
        self._calls = calls
        self._tasks = tasks
        self._sleep = sleep
        self._is_on = False
        self._running: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._gone = asyncio.Event()
        self._covered: dict[str, GatewayError | None] = {}
        self._unseen: set[str] = set()
        states.add_listener(self._on_state)
        orders.news.add_listener(self._on_event)

    def start(self) -> None:
        """Go on with a kill of an earlier life."""
        self._on_state(self._states.current)

    async def stop(self) -> None:
        """End; the state stays."""
        self._is_on = False
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def progress(self, wait_s: float) -> Killed:
        """How far it is; waits at most so long for everything to be gone, and known to be."""
        if self._is_on and wait_s > 0:
            try:
                async with asyncio.timeout(wait_s):
                    await self._gone.wait()
                    for order_id in tuple(self._covered):
                        while not self._orders.order(order_id).state.is_terminal:
                            await self._orders.news.wait_for_change(order_id, wait_s)
            except TimeoutError:
                pass
        results = [
            CancelResult(order_id, self._orders.order(order_id).state, error)
            for order_id, error in tuple(self._covered.items())[:RESULTS_MAX]
        ]
        return Killed(tuple(results), self._is_on and self._gone.is_set())

    # What happens.

    def _on_state(self, state: TradingState) -> None:
        if self._states.is_killed == self._is_on:
            return
        self._is_on = self._states.is_killed
        self._wake.set()
        if not self._is_on:
            self._cancellations.pursue_owed()
            return
        self._gone.clear()
        self._covered = {}
        self._unseen = set()
        self._tasks.spawn(self._owe())
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        _log.critical("kill_began", open_orders=self._orders.open_count, version=state.version)

    def _on_event(self, _event: JournalEvent, order: Order) -> None:
        """An order that is seen for the first time is canceled with all others."""
        if not self._is_on or order.state.is_terminal or order.state in NOT_AT_VENUE:
            return
        order_id = order.order_id
        if order_id in self._covered and order_id not in self._unseen:
            return
        self._unseen.discard(order_id)
        self._gone.clear()
        self._wake.set()
        if order_id not in self._covered:
            self._covered[order_id] = None
            self._tasks.spawn(self._owe())

    async def _owe(self) -> None:
        """Journal every cancel, beside the requests and never before them."""
        for order in self._orders.open_orders():
            self._covered.setdefault(order.order_id, None)
            if order.state in NOT_AT_VENUE:
                self._unseen.add(order.order_id)
        for result in await self._cancellations.request_all(CancelScope(None)):
            if result.order_id in self._covered:
                self._covered[result.order_id] = result.error

    async def _run(self) -> None:
        empty_lists, step = 0, 0
        while self._is_on:
            if empty_lists < EMPTY_LISTS_MIN:
                await self._cancel_all()
            empty_lists = empty_lists + 1 if await self._is_nothing_listed() else 0
            if empty_lists >= EMPTY_LISTS_MIN:
                self._say_gone()
            elif self._gone.is_set():
                self._gone.clear()
                step = 0
            delay_s = SWEEP_DELAYS_S[min(step, len(SWEEP_DELAYS_S) - 1)]
            if await pause(self._wake, WATCH_PERIOD_S if self._gone.is_set() else delay_s, self._sleep):
                empty_lists, step = 0, 0
                await self._sleep(SWEEP_DELAYS_S[0])  # orders that are seen one by one are canceled together
            else:
                step += 1

    async def _cancel_all(self) -> None:
        try:
            own = self._calls.own(BudgetLane.KILL, SWEEP_TIMEOUT_S, order_id=EVERY_ORDER)
            answers = await self._venue.cancel_all(own)
        except Exception as error:  # whatever it is: this loop is the last thing that may end
            _log.error("kill_unanswered", error=type(error).__name__, detail=str(error))
            self._states.note_refusal(error)
            return
        for answer in answers:
            if not answer.is_taken:
                _log.warning("kill_refused", venue_order_id=answer.venue_order_id, http_status=answer.http_status)
            try:
                self._covered.setdefault(self._orders.find_by_venue_id(answer.venue_order_id).order_id, None)
            except OrderNotFound:
                _log.warning("kill_met_unknown_order", venue_order_id=answer.venue_order_id)

    async def _is_nothing_listed(self) -> bool:
        call = self._calls.own(BudgetLane.KILL, SWEEP_TIMEOUT_S)
        try:
            return not await self._venue.list(call, VenueOrderFilter.OPEN, limit=LIST_LIMIT)
        except Exception as error:
            _log.error("kill_unread", error=type(error).__name__)
            return False

    def _say_gone(self) -> None:
        """Nothing is open at the venue; and unless one of ours may still turn up there, that is the end."""
        if self._gone.is_set() or any(order.state in NOT_AT_VENUE for order in self._orders.open_orders()):
            return
        _log.critical("kill_all_gone", covered=len(self._covered))
        self._gone.set()
        self._tasks.spawn(self._look_up_rest())

    async def _look_up_rest(self) -> None:
        """What the feed does not tell of the end is asked for."""
        await self._sleep(FEED_WAIT_S)
        for order in tuple(self._orders.open_orders())[:LOOKUPS_MAX]:
            try:
                await self._reconciler.refresh_order(order.order_id)
            except OrderNotFound:
                continue
            except GatewayError:
                return
