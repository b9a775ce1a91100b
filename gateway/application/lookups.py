"""Lookups: asks the venue for orders of which nobody knows what became: each by itself, or, while many wait, together.

Promises: an answer was read after it was asked for; a list answers with absence only when it was read to its end, and
surely reaches over the whole time in which the order may have been submitted, by a clock that is the venue's; a
question that failed, a list that was cut short and an order that cannot be read prove nothing. After a crash a hundred
orders may be in doubt at once: what they take together is LookupPace's share of the budget, however many they are, and
one list answers all who wait for it. Only spans that touch are read together: the day between an old order and a new
one is nobody's question. What an answer means for an order is for whoever asks to say.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

import structlog

from gateway.application.owned_tasks import OwnedTasks
from gateway.application.venue_calls import VenueCalls
from gateway.application.venue_readings import VenueReadings
from gateway.domain.errors import GatewayError, OutcomeUnknown
from gateway.domain.models.orders import UNREADABLE, VenueOrder
from gateway.domain.types import NANOS_PER_MS, NANOS_PER_SECOND, BudgetLane, CallContext
from gateway.services.lookup_pace import LookupPace
from gateway.services.reference import MarketCalendarService
from gateway.services.trading import OrderService

TOGETHER_MIN: Final = 5
"""So many that wait are looked for in one list, if that takes no more requests than they are."""
LIST_PAGES_MAX: Final = 20
SPAN_MAX_NS: Final = 7_200 * NANOS_PER_SECOND
"""An order that is replaced may be days old: it is looked up by itself."""
LIST_GAP_S: Final = 2.0
"""From one list to the next, whatever the budget: a page of it costs more than a lookup."""
CLOCKS_APART_MAX_NS: Final = 60 * NANOS_PER_SECOND
"""Beyond this a list by time need not have what was submitted in that time by another clock; a lookup by name does."""
CLOCK_CHECK_PERIOD_S: Final = 60.0
ALONE_AFTER_FAILURE: Final = 5
"""After a list that was not whole, so many are looked up by themselves before the next one is tried."""

_log = structlog.get_logger(__name__)


class Span(NamedTuple):
    """Submitted after one instant and, at least, up to another; nanoseconds since the Unix epoch."""

    after_ns: int
    until_ns: int


@dataclass(frozen=True, slots=True)
class Question:
    """What became of an order, or of a replace.

    Attributes:
        order_id: The gateway's, whose story the lookup belongs to.
        venue_client_id: Under which it was sent.
        span: When it may have been submitted; None: not known, and it is looked up by itself.
        lane: What the lookup draws on; those that somebody wants canceled come first.
        replaced_id: The venue's id of the order that it is to replace, which may name its successor; else empty.
        is_for_list: Only a full list answers it.
    """

    order_id: str
    venue_client_id: str
    span: Span | None
    lane: BudgetLane = BudgetLane.LOOKUP
    replaced_id: str = ""
    is_for_list: bool = False


class Answer(NamedTuple):
    """What the venue showed.

    Attributes:
        is_proof: It was asked, and could answer; otherwise nothing follows from what was not found.
        found: The order, or the successor; None when there is none (yet).
        replaced: The order that was to be replaced, if it was asked for and has no successor.
    """

    is_proof: bool
    found: VenueOrder | None = None
    replaced: VenueOrder | None = None


_NO_PROOF: Final = Answer(is_proof=False)


class _Waiting(NamedTuple):
    question: Question
    answer: asyncio.Future[Answer]


class Lookups:
    """Answers one after the other, while anybody asks.

    Args:
        wall: Nanoseconds since the Unix epoch.
        monotonic: Seconds, as `time.monotonic`.
        sleep: Seconds, as `asyncio.sleep`.
    """

    def __init__(
        self,
        venue: OrderService,
        readings: VenueReadings,
        calendar: MarketCalendarService,
        pace: LookupPace,
        calls: VenueCalls,
        tasks: OwnedTasks,
        wall: Callable[[], int],
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._venue = venue
        self._readings = readings
        self._calendar = calendar
        self._pace = pace
        self._calls = calls
        self._tasks = tasks
        self._wall = wall
        self._monotonic = monotonic
        self._sleep = sleep
        self._waiting: dict[int, _Waiting] = {}
        self._count = itertools.count()
        self._is_serving = False
        self._listed_at = self._clock_checked_at = float("-inf")
        self._list_cost = 1
        self._alone_left = 0

    async def look(self, question: Question) -> Answer:
        """Ask, when it is its turn; never raises what the venue raises."""
        number = next(self._count)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = _Waiting(question, answer)
        if not self._is_serving:
            self._is_serving = True
            self._tasks.spawn(self._serve(), lasting=True)
        try:
            return await answer
        finally:
            self._waiting.pop(number, None)

    async def _serve(self) -> None:
        try:
            while self._waiting:
                wait_s = self._pace.wait_s()
                if wait_s > 0:
                    await self._sleep(wait_s)
                    continue
                batch = self._next_batch()
                if not batch:  # a list is due, and must not begin yet
                    await self._sleep(max(0.0, self._listed_at + LIST_GAP_S - self._monotonic()))
                    batch = self._next_batch(is_list_due=True)
                for number in batch:
                    self._waiting.pop(number, None)
                await self._answer(list(batch.values()))
        finally:
            self._is_serving = False
            for waiting in self._waiting.values():
                if not waiting.answer.done():
                    waiting.answer.set_result(_NO_PROOF)

    def _next_batch(self, *, is_list_due: bool = False) -> dict[int, _Waiting]:
        """Whose turn it is: the first of those that somebody wants canceled, else the first, and who shares a list with
        it. Nobody, when that list must wait.
        """
        if not self._waiting:
            return {}
        urgent = (number for number, waiting in self._waiting.items() if waiting.question.lane is BudgetLane.CANCEL)
        first = next(urgent, next(iter(self._waiting)))
        question = self._waiting[first].question
        alone = {first: self._waiting[first]}
        if question.span is None or _is_long(question.span):
            return alone
        together = _touching(question.span, self._waiting)
        are_enough = len(together) >= max(TOGETHER_MIN, self._list_cost)
        if not question.is_for_list and (self._alone_left > 0 or not are_enough):
            return alone
        is_due = is_list_due or self._monotonic() >= self._listed_at + LIST_GAP_S
        return together if is_due else {}

    async def _answer(self, batch: list[_Waiting]) -> None:
        if len(batch) == 1 and not batch[0].question.is_for_list:
            self._alone_left = max(0, self._alone_left - 1)
            answers = [await self._ask(batch[0].question)]
        elif batch:
            answers = await self._list([waiting.question for waiting in batch])
        else:
            return
        for waiting, answer in zip(batch, answers, strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(answer)

    async def _ask(self, question: Question) -> Answer:
        """One order by itself, under its own id, then by the order that it is to replace."""

        def own() -> CallContext:
            self._pace.spend()
            return self._calls.own(question.lane, order_id=question.order_id)

        try:
            found = await self._venue.find(own(), question.venue_client_id)
            if found is not None or not question.replaced_id:
                return Answer(True, found)
            replaced = await self._venue.get(own(), question.replaced_id)
            if replaced.replaced_by:
                return Answer(True, await self._venue.get(own(), replaced.replaced_by))
            return Answer(True, None, replaced)
        except (GatewayError, OutcomeUnknown) as error:
            _log.info("lookup_failed", order_id=question.order_id, reason=getattr(error, "reason", "unknown"))
            return _NO_PROOF
        except Exception:  # whatever it is: the others wait
            _log.exception("lookup_failed", order_id=question.order_id)
            return _NO_PROOF

    async def _list(self, questions: list[Question]) -> list[Answer]:
        """All of them in one list; what it shows counts even if it is cut short."""
        spans = [question.span for question in questions if question.span is not None]
        after_ns, until_ns = min(span.after_ns for span in spans), max(span.until_ns for span in spans)
        lane = min((question.lane for question in questions), key=_urgency)
        listed: list[VenueOrder] = []
        cost, is_whole = 0, False
        try:
            pages = self._readings.order_pages(after_ns, until_ns, lane, LIST_PAGES_MAX, is_repeated=False)
            async for page in pages:
                cost += 1
                listed += page.orders
                is_whole = page.is_last
            is_whole = is_whole and await self._is_clock_shared()
        except (GatewayError, OutcomeUnknown) as error:
            _log.info("list_failed", orders=len(questions), reason=getattr(error, "reason", "unknown"))
        except Exception:  # whatever it is: nobody else answers those who wait
            _log.exception("list_failed", orders=len(questions))
        self._pace.spend(max(1, cost))
        self._listed_at = self._monotonic()
        self._list_cost = max(1, cost)
        self._alone_left = 0 if is_whole else ALONE_AFTER_FAILURE
        listing = _Listing(listed, is_whole)
        return [listing.answer(question) for question in questions]

    async def _is_clock_shared(self) -> bool:
        """Whether the venue's times mean here what they mean there; asked for now and then."""
        if self._monotonic() - self._clock_checked_at < CLOCK_CHECK_PERIOD_S:
            return True
        self._pace.spend()
        clock = await self._calendar.get_clock(self._calls.own(BudgetLane.LOOKUP))
        apart_ns = abs(clock.time_ns - self._wall())
        if apart_ns > CLOCKS_APART_MAX_NS:
            _log.error("clocks_apart", apart_ms=apart_ns // NANOS_PER_MS)
            return False
        self._clock_checked_at = self._monotonic()
        return True


class _Listing:
    """Orders by the names under which they are looked for."""

    def __init__(self, orders: list[VenueOrder], is_whole: bool) -> None:
        self._by_client_id = {found.venue_client_order_id: found for found in orders}
        self._by_venue_id = {found.venue_order_id: found for found in orders}
        # An order without an id that can be read may be the one that is looked for.
        self._is_proof = is_whole and "" not in self._by_client_id

    def answer(self, question: Question) -> Answer:
        found = self._by_client_id.get(question.venue_client_id)
        replaced = None
        if found is None and question.replaced_id:
            replaced = self._by_venue_id.get(question.replaced_id)
            if replaced is None:
                return _NO_PROOF
            found = self._by_venue_id.get(replaced.replaced_by or "")
            if found is None and (replaced.replaced_by or replaced.venue_status == UNREADABLE):
                return _NO_PROOF
        if found is not None:
            return _NO_PROOF if found.venue_status == UNREADABLE else Answer(True, found)
        return Answer(True, None, replaced) if self._is_proof else _NO_PROOF


def _touching(span: Span, waiting: dict[int, _Waiting]) -> dict[int, _Waiting]:
    """Those whose spans touch one span, or one that touches it, and so on."""
    group: list[int] = []
    until_ns = span.after_ns
    is_reached = False
    by_time = sorted(
        (found.question.span, number)
        for number, found in waiting.items()
        if found.question.span is not None and not _is_long(found.question.span)
    )
    for other, number in by_time:
        if group and other.after_ns > until_ns:
            if is_reached:
                break
            group = []
        until_ns = max(until_ns, other.until_ns) if group else other.until_ns
        is_reached = is_reached or other == span
        group.append(number)
    return {number: waiting[number] for number in group}


def _is_long(span: Span) -> bool:
    return span.until_ns - span.after_ns > SPAN_MAX_NS


def _urgency(lane: BudgetLane) -> bool:
    return lane is not BudgetLane.CANCEL
