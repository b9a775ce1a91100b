"""The timeline of an order: what the journal has of it, step by step, for people and for a support desk.

Promises: every event of the order that the journal keeps is a step, with what was decided by which figures, and how
long after the step before. Every request that left for the venue about it is one too, and every answer, under the
venue's id and with the time it took, also when it changed nothing because the order feed had been faster; so are the
lookups while its fate was unknown. Nothing is inferred beyond them. A long story is read a slice at a time, so that
nobody else waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from gateway.application.order_manager import OrderManager
from gateway.domain.interfaces import OrderJournal
from gateway.domain.models.orders import (
    Fill,
    JournalEvent,
    Order,
    OrderChanges,
    OrderEventKind,
    OrderRef,
    OrderSpec,
    VenueOrder,
)
from gateway.domain.models.risk import RiskCheckResult
from gateway.domain.types import NANOS_PER_MS, LegRole, format_decimal, venue_client_order_id
from gateway.domain.venue_requests import EVERY_ORDER, VenueRequest, VenueRequestLog

ENTRIES_MAX: Final = 5_000
"""Of one timeline; of more the newest are shown."""
REQUESTS_MAX: Final = 1_000
"""Of them, requests to the venue; of more the newest are shown, and as many that asked for every order's end."""
SLICE_STEPS: Final = 64
"""Events or requests that are read and put into words before others get their turn: one or two milliseconds."""


class EntryKind(StrEnum):
    """What kind of step; the values are `OrderTimeline.Entry.Kind`'s names in lower case."""

    INTENT = "intent"
    RISK = "risk"
    REQUEST = "request"
    RESPONSE = "response"
    VENUE_EVENT = "venue_event"
    RECONCILE = "reconcile"


@dataclass(slots=True)
class TimelineEntry:
    """One step; treat as immutable once it is in a timeline.

    Attributes:
        sequence: The journal's; a decision and what was recorded with it share one. 0: no event, but a request to the
            venue, or its answer.
        since_previous_ns: Of an answer or a lookup, since its request left; else since the step before; None in the
            first.
        checks: In RISK.
    """

    sequence: int
    time_ns: int
    kind: EntryKind
    detail: str
    venue_request_id: str = ""
    since_previous_ns: int | None = None
    checks: tuple[RiskCheckResult, ...] = ()


@dataclass(frozen=True, slots=True)
class OrderTimeline:
    """The story of one order, oldest step first."""

    order: Order
    entries: tuple[TimelineEntry, ...]


class OrderTimelines:
    """Reads stories from the journal."""

    def __init__(self, orders: OrderManager, journal: OrderJournal) -> None:
        self._orders = orders
        self._journal = journal

    async def get(self, ref: OrderRef) -> OrderTimeline:
        """The story of one order, by any of its ids; without steps where the journal keeps none of them any more.

        Raises:
            OrderNotFound: No such order.
        """
        order = self._orders.get(ref)
        requests = await self._requests(order)
        answers = _answers(requests)
        if order.parent_order_id:  # its parent's answer told of it
            answers |= _answers(await _newest(self._journal.requests, order.parent_order_id, 0))
        entries = [entry for request in requests for entry in _of_request(request)]
        up_to: int | None = None
        while up_to != 0 and len(entries) < ENTRIES_MAX + REQUESTS_MAX:
            events, up_to = self._journal.read_story(order.order_id, SLICE_STEPS, up_to)
            entries += [entry for event in events for entry in _of_event(event, answers)]
            await asyncio.sleep(0)
        return _told(order, entries)

    async def _requests(self, order: Order) -> list[VenueRequest]:
        """Those about the order, and while it was open about every order."""
        requests = await _newest(self._journal.requests, order.order_id, 0)
        until_ns = order.update_time_ns if order.state.is_terminal else None
        for request in await _newest(self._journal.requests, EVERY_ORDER, order.create_time_ns):
            if until_ns is None or (request.send_time_ns or request.end_time_ns) <= until_ns:
                requests.append(request)
        return requests


async def _newest(log: VenueRequestLog, order_id: str, since_ns: int) -> list[VenueRequest]:
    """The newest requests about an order that ended at an instant or later."""
    found: list[VenueRequest] = []
    before: int | None = None
    while len(found) < REQUESTS_MAX:
        page = log.read(order_id, SLICE_STEPS, before)
        found += [request for _, request in page if request.end_time_ns >= since_ns]
        if len(page) < SLICE_STEPS or page[-1][1].end_time_ns < since_ns:
            break
        before = page[-1][0]
        await asyncio.sleep(0)
    return found[:REQUESTS_MAX]


def _told(order: Order, entries: list[TimelineEntry]) -> OrderTimeline:
    """Steps in the order of time, each event's after those of the event before it; they come with the newest first.

    An event that an answer caused is recorded after it, by the same clock.
    """
    entries.reverse()
    entries.sort(key=lambda entry: entry.time_ns)
    del entries[:-ENTRIES_MAX]
    before: TimelineEntry | None = None
    for entry in entries:
        if before is not None and entry.since_previous_ns is None:
            entry.since_previous_ns = max(0, entry.time_ns - before.time_ns)
        before = entry
    return OrderTimeline(order, tuple(entries))


def _answers(requests: Sequence[VenueRequest]) -> set[str]:
    """The venue's ids of the answers to changes; only those are answers, a list has an id too."""
    return {request.venue_request_id for request in requests if not request.is_read}


def _of_request(request: VenueRequest) -> Iterator[TimelineEntry]:
    """The answer, then the request: the newest first."""
    what = f"{request.method} {request.path}" + (" for every open order" if request.order_id == EVERY_ORDER else "")
    if request.send_time_ns is None:
        yield TimelineEntry(0, request.end_time_ns, EntryKind.REQUEST, f"{what} never left")
        return
    took_ns = max(0, request.end_time_ns - request.send_time_ns)
    kind = EntryKind.RECONCILE if request.is_read else EntryKind.RESPONSE
    said = f"answered HTTP {request.status}" if request.status else "had no whole answer, given up"
    detail = f"{what} {said} after {took_ns / NANOS_PER_MS:.3f} ms"
    yield TimelineEntry(0, request.end_time_ns, kind, detail, request.venue_request_id, took_ns)
    if not request.is_read:
        yield TimelineEntry(0, request.send_time_ns, EntryKind.REQUEST, f"{what} left")


def _of_event(event: JournalEvent, answers: Collection[str]) -> Iterator[TimelineEntry]:
    """The checks that an event was decided by, and the event, the later first; a denial is one step."""
    has_checks = bool(event.checks) and event.kind is not OrderEventKind.DENIED
    if has_checks and event.kind is OrderEventKind.RECORDED:
        yield _risk(event)
    kind = _kind(event, answers)
    yield TimelineEntry(
        sequence=event.sequence,
        time_ns=event.record_time_ns,
        kind=kind,
        detail=_detail(event),
        venue_request_id=_venue_request_id(event, kind),
        checks=event.checks if event.kind is OrderEventKind.DENIED else (),
    )
    if has_checks and event.kind is not OrderEventKind.RECORDED:
        yield _risk(event)


def _risk(event: JournalEvent) -> TimelineEntry:
    return TimelineEntry(
        event.sequence, event.record_time_ns, EntryKind.RISK, _checked(event.checks), checks=event.checks
    )


def _kind(event: JournalEvent, answers: Collection[str]) -> EntryKind:
    decided = _KINDS.get(event.kind)
    if decided is not None:
        return decided
    if event.request is not None:
        return EntryKind.INTENT
    is_cancel = event.kind is OrderEventKind.CANCEL_REQUESTED and event.venue_order is None and not event.venue_event
    if event.changes is not None or is_cancel:
        return EntryKind.REQUEST
    if event.venue_event:
        return EntryKind.VENUE_EVENT
    # What was read under an id that is no answer's came by a lookup; where no answer is known the event's word counts.
    is_read = bool(answers) and bool(event.venue_request_id) and event.venue_request_id not in answers
    return EntryKind.RECONCILE if event.backfill or is_read else EntryKind.RESPONSE


def _venue_request_id(event: JournalEvent, kind: EntryKind) -> str:
    if kind is EntryKind.RISK:
        return ""
    if event.venue_request_id or event.venue_order is None:
        return event.venue_request_id
    return event.venue_order.venue_request_id if kind is EntryKind.RESPONSE else ""


def _detail(event: JournalEvent) -> str:
    """One line: what happened, what the venue said, why, and how old the news was."""
    parts = [_what(event)]
    if event.venue_event:
        parts.append(f'the venue said "{event.venue_event}"')
    if event.venue_order is not None:
        parts.append(_at_venue(event.venue_order))
    if event.failure is not None:
        parts.append(f"{event.failure.reason}: {event.failure.message}")
    if event.backfill:
        parts.append("learned late")
    if event.venue_order is not None and event.record_time_ns - event.event_time_ns >= NANOS_PER_MS:
        parts.append(f"{(event.record_time_ns - event.event_time_ns) // NANOS_PER_MS} ms after it happened")
    return "; ".join(parts)


def _what(event: JournalEvent) -> str:
    if event.fill is not None:
        return _filled(event.fill)
    match event.kind:
        case OrderEventKind.RECORDED:
            return _recorded(event)
        case OrderEventKind.SUBMITTED:
            return f"to be sent to the venue, attempt {max(1, event.attempt)}"
        case OrderEventKind.REPLACE_REQUESTED if event.changes is not None:
            name = venue_client_order_id(event.strategy_id, event.client_order_id)
            again = f", attempt {event.attempt}" if event.attempt > 1 else ""
            return f"replace requested as {name}: {_changes(event.changes)}{again}"
        case _:
            return _WORDS[event.kind]


def _recorded(event: JournalEvent) -> str:
    if event.request is not None:
        return f"recorded under the key {event.request.client_order_id}: {_spec(event.request.spec)}"
    if event.leg_role is not None:
        return f"found as the {_LEGS[event.leg_role]} leg of {event.parent_order_id}"
    return "found at the venue" + (f" under the key {event.client_order_id}" if event.client_order_id else "")


def _spec(spec: OrderSpec) -> str:
    size = format_decimal(spec.quantity) if spec.quantity is not None else f"${_number(spec.notional)} of"
    words = [spec.side.value, size, spec.symbol, spec.order_type.value]
    words += [f"limit {_number(spec.limit_price)}"] if spec.limit_price is not None else []
    words += [f"stop {_number(spec.stop_price)}"] if spec.stop_price is not None else []
    words += [f"trail ${_number(spec.trail_price)}"] if spec.trail_price is not None else []
    words += [f"trail {_number(spec.trail_percent)} %"] if spec.trail_percent is not None else []
    return " ".join([*words, spec.time_in_force.value])


def _changes(changes: OrderChanges) -> str:
    told = {name: value for name, value in changes.canonical().items() if value is not None}
    return ", ".join(f"{name} {value}" for name, value in told.items()) or "nothing"


def _filled(fill: Fill) -> str:
    told = "made up" if fill.synthesized else f"execution {fill.fill_id}"
    return (
        f"filled {format_decimal(fill.quantity)} at {format_decimal(fill.price)}, "
        f"{format_decimal(fill.cumulative_quantity)} in all ({told})"
    )


def _checked(checks: tuple[RiskCheckResult, ...]) -> str:
    failed = [check.reason for check in checks if not check.passed]
    return f"{len(checks)} checks, failed: {', '.join(failed)}" if failed else f"{len(checks)} checks passed"


def _at_venue(venue_order: VenueOrder) -> str:
    return f'venue order {venue_order.venue_order_id} is "{venue_order.venue_status}"'


def _number(value: Decimal | None) -> str:
    return format_decimal(value) if value is not None else ""


_KINDS: Final[Mapping[OrderEventKind, EntryKind]] = MappingProxyType(
    {
        OrderEventKind.DENIED: EntryKind.RISK,
        OrderEventKind.NOT_SENT: EntryKind.INTENT,
        OrderEventKind.SUBMITTED: EntryKind.REQUEST,
        OrderEventKind.OUTCOME_UNKNOWN: EntryKind.RESPONSE,
        OrderEventKind.ABSENT: EntryKind.RECONCILE,
        OrderEventKind.RECONCILED: EntryKind.RECONCILE,
    }
)
"""Of the others it depends on where the news came from."""
_LEGS: Final[Mapping[LegRole, str]] = MappingProxyType(
    {LegRole.TAKE_PROFIT: "take-profit", LegRole.STOP_LOSS: "stop-loss"}
)
_WORDS: Final[Mapping[OrderEventKind, str]] = MappingProxyType(
    {
        OrderEventKind.DENIED: "denied",
        OrderEventKind.NOT_SENT: "never sent",
        OrderEventKind.OUTCOME_UNKNOWN: "no answer that proves anything",
        OrderEventKind.ABSENT: "proved not to be at the venue",
        OrderEventKind.RESURRECTED: "found at the venue after all",
        OrderEventKind.REJECTED: "rejected",
        OrderEventKind.ACCEPTED: "accepted",
        OrderEventKind.WORKING: "on the market",
        OrderEventKind.PARTIAL_FILL: "filled in part",
        OrderEventKind.FILL: "filled",
        OrderEventKind.REPLACE_REQUESTED: "a replace is on its way",
        OrderEventKind.REPLACED: "replaced",
        OrderEventKind.REPLACE_REJECTED: "replace refused",
        OrderEventKind.CANCEL_REQUESTED: "cancel requested",
        OrderEventKind.CANCELED: "canceled",
        OrderEventKind.CANCEL_REJECTED: "cancel refused",
        OrderEventKind.EXPIRED: "expired",
        OrderEventKind.DONE_FOR_DAY: "done for the day",
        OrderEventKind.SUSPENDED: "suspended",
        OrderEventKind.RESTATED: "changed by the venue itself",
        OrderEventKind.RECONCILED: "repaired from a read of the venue",
        OrderEventKind.OTHER: "something this build does not know",
    }
)
"""Kinds whose events need no figures of their own."""
