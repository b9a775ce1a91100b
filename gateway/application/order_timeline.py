"""The timeline of an order: what the journal has of it, step by step, for people and for a support desk.

Promises: every event of the order that the journal keeps is a step, with what was decided by which figures, and how
long after the step before. Nothing is inferred beyond the event itself. A lookup that found nothing is no event, so it
is not shown; what the gateway concluded from it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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

ENTRIES_MAX: Final = 5_000
"""Of one timeline; of more the newest are shown."""


class EntryKind(StrEnum):
    """What kind of step; the values are `OrderTimeline.Entry.Kind`'s names in lower case."""

    INTENT = "intent"
    RISK = "risk"
    REQUEST = "request"
    RESPONSE = "response"
    VENUE_EVENT = "venue_event"
    RECONCILE = "reconcile"


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One step.

    Attributes:
        sequence: The journal's; a decision and what was recorded with it share one.
        since_previous_ns: None in the first.
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

    def get(self, ref: OrderRef) -> OrderTimeline:
        """The story of one order, by any of its ids; without steps where the journal keeps none of them any more.

        Raises:
            OrderNotFound: No such order.
        """
        order = self._orders.get(ref)
        return timeline_of(order, self._journal.read_order_events([order.order_id], self._journal.head))


def timeline_of(order: Order, events: Sequence[JournalEvent]) -> OrderTimeline:
    """The story that an order's events tell.

    Args:
        order: As it is now.
        events: Its own, in the journal's order.
    """
    entries: list[TimelineEntry] = []
    time_ns: int | None = None
    for event in events[-ENTRIES_MAX:]:
        for kind, detail, checks in _steps(event):
            entries.append(
                TimelineEntry(
                    sequence=event.sequence,
                    time_ns=event.record_time_ns,
                    kind=kind,
                    detail=detail,
                    venue_request_id=_venue_request_id(event) if kind is not EntryKind.RISK else "",
                    since_previous_ns=None if time_ns is None else max(0, event.record_time_ns - time_ns),
                    checks=checks,
                )
            )
            time_ns = event.record_time_ns
    return OrderTimeline(order, tuple(entries[-ENTRIES_MAX:]))


_Step = tuple[EntryKind, str, tuple[RiskCheckResult, ...]]


def _steps(event: JournalEvent) -> Iterator[_Step]:
    """The checks that an event was decided by, and the event; a denial is one step."""
    if event.kind is OrderEventKind.DENIED:
        yield EntryKind.RISK, _detail(event), event.checks
        return
    if event.checks and event.kind is not OrderEventKind.RECORDED:
        yield EntryKind.RISK, _checked(event.checks), event.checks
    yield _kind(event), _detail(event), ()
    if event.checks and event.kind is OrderEventKind.RECORDED:
        yield EntryKind.RISK, _checked(event.checks), event.checks


def _kind(event: JournalEvent) -> EntryKind:
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
    return EntryKind.RECONCILE if event.backfill else EntryKind.RESPONSE


def _venue_request_id(event: JournalEvent) -> str:
    if event.venue_request_id or event.venue_order is None:
        return event.venue_request_id
    return event.venue_order.venue_request_id if _kind(event) is EntryKind.RESPONSE else ""


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
            return f"sent to the venue, attempt {max(1, event.attempt)}"
        case OrderEventKind.REPLACE_REQUESTED if event.changes is not None:
            name = venue_client_order_id(event.strategy_id, event.client_order_id)
            return f"replace requested as {name}: {_changes(event.changes)}"
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
