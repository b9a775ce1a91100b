"""The story of an order: every event a step, with figures and the time between."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from gateway.application.order_timeline import (
    ENTRIES_MAX,
    REQUESTS_MAX,
    SLICE_STEPS,
    EntryKind,
    OrderTimelines,
    TimelineEntry,
    _answers,
    _of_event,
    _of_request,
    _told,
)
from gateway.domain.errors import OrderNotFound
from gateway.domain.models.orders import Failure, JournalEvent, OrderChanges, OrderEventKind, OrderRef
from gateway.domain.models.risk import RiskCheckResult
from gateway.domain.types import NANOS_PER_MS, LegRole
from gateway.domain.venue_requests import EVERY_ORDER, VenueRequest
from tests.application.books import BEGIN_NS, Books, Story
from tests.application.rig import Rig, settle
from tests.emulator.exchange.desk import make_spec

PASSED = RiskCheckResult("RISK_BUYING_POWER", True, Decimal(900), Decimal(1_000), Decimal(100), "USD")
FAILED = RiskCheckResult("RISK_SHORT_NOT_ALLOWED", False, Decimal(3), Decimal(0), Decimal(-3), "shares")


def event(kind: OrderEventKind, **fields: object) -> JournalEvent:
    values = {"record_time_ns": BEGIN_NS, "event_time_ns": BEGIN_NS, "sequence": 7} | fields
    return JournalEvent(kind, "order-1", "default", **values)  # type: ignore[arg-type]


def entries_of(events: Sequence[JournalEvent], requests: Sequence[VenueRequest] = ()) -> tuple[TimelineEntry, ...]:
    """The steps that events, in the journal's order, and requests tell; no order is needed for them."""
    answers = _answers(requests)
    steps = [entry for event in reversed(events) for entry in _of_event(event, answers)]
    return _told(None, [*(entry for request in requests for entry in _of_request(request)), *steps]).entries  # type: ignore[arg-type]


def told(*events: JournalEvent) -> list[tuple[EntryKind, str]]:
    return [(entry.kind, entry.detail) for entry in entries_of(events)]


async def test_every_event_is_a_step_whatever_it_is() -> None:
    books = Books()
    await Story(1, books).tell(400)
    timelines = OrderTimelines(books.orders, books.journal)
    for order_id in {row.order_id for _, row in books.rows(None)}:
        rows = [row for _, row in books.rows(None) if row.order_id == order_id]
        timeline = await timelines.get(OrderRef(order_id=order_id))
        assert timeline.order == books.orders.order(order_id)
        assert [entry.sequence for entry in timeline.entries] == [row.sequence for row in rows]
        assert [entry.time_ns for entry in timeline.entries] == [row.record_time_ns for row in rows]
        first, *others = timeline.entries
        assert first.since_previous_ns is None
        assert [entry.since_previous_ns for entry in others] == [
            after.record_time_ns - before.record_time_ns for before, after in pairwise(rows)
        ]
    with pytest.raises(OrderNotFound):
        await timelines.get(OrderRef(order_id="nobody's"))


@pytest.mark.parametrize("kind", OrderEventKind)
def test_every_kind_has_words(kind: OrderEventKind) -> None:
    assert told(event(kind))[0][1]


def test_where_the_news_came_from() -> None:
    answer = event(OrderEventKind.ACCEPTED)
    stream = event(OrderEventKind.ACCEPTED, venue_event="new")
    lookup = event(OrderEventKind.ACCEPTED, backfill=True)
    assert [kind for kind, _ in told(answer, stream, lookup)] == [
        EntryKind.RESPONSE,
        EntryKind.VENUE_EVENT,
        EntryKind.RECONCILE,
    ]
    assert told(stream) == [(EntryKind.VENUE_EVENT, 'accepted; the venue said "new"')]


def test_decisions_have_their_figures() -> None:
    recorded = event(OrderEventKind.REPLACE_REQUESTED, changes=OrderChanges(quantity=Decimal("5.0")), checks=(PASSED,))
    recorded.client_order_id = "k2"
    denied = event(OrderEventKind.DENIED, checks=(PASSED, FAILED), failure=Failure("RISK_SHORT_NOT_ALLOWED", "No."))
    entries = entries_of([recorded, denied])
    assert [(entry.kind, entry.detail, entry.checks) for entry in entries] == [
        (EntryKind.RISK, "1 checks passed", (PASSED,)),
        (EntryKind.REQUEST, "replace requested as default.k2: quantity 5", ()),
        (EntryKind.RISK, "denied; RISK_SHORT_NOT_ALLOWED: No.", (PASSED, FAILED)),
    ]
    assert entries[1].since_previous_ns == 0


def test_what_was_asked_of_the_venue_and_what_was_not() -> None:
    leg = event(OrderEventKind.RECORDED, parent_order_id="parent", leg_role=LegRole.STOP_LOSS)
    assert told(
        leg,
        event(OrderEventKind.SUBMITTED, attempt=2),
        event(OrderEventKind.OUTCOME_UNKNOWN),
        event(OrderEventKind.CANCEL_REQUESTED),
        event(OrderEventKind.CANCEL_REQUESTED, venue_event="pending_cancel"),
        event(OrderEventKind.ABSENT),
        event(OrderEventKind.NOT_SENT),
    ) == [
        (EntryKind.RESPONSE, "found as the stop-loss leg of parent"),
        (EntryKind.REQUEST, "to be sent to the venue, attempt 2"),
        (EntryKind.RESPONSE, "no answer that proves anything"),
        (EntryKind.REQUEST, "cancel requested"),
        (EntryKind.VENUE_EVENT, 'cancel requested; the venue said "pending_cancel"'),
        (EntryKind.RECONCILE, "proved not to be at the venue"),
        (EntryKind.INTENT, "never sent"),
    ]


def test_the_venues_id_of_an_answer_is_shown_and_how_late_news_came() -> None:
    answered = event(OrderEventKind.REJECTED, venue_request_id="request-1")
    (entry,) = entries_of([answered])
    assert entry.venue_request_id == "request-1"


def test_of_a_long_story_the_newest_steps_are_told() -> None:
    events = [event(OrderEventKind.RESTATED, sequence=number) for number in range(ENTRIES_MAX + 5)]
    entries = entries_of(events)
    assert [entry.sequence for entry in entries] == list(range(5, ENTRIES_MAX + 5))


async def test_a_real_order_from_intent_to_fill(rig: Rig) -> None:
    submitted = await rig.submit("k1", make_spec("AAPL", "buy", 10))
    await settle()
    rig.clock.now_ns += 5 * NANOS_PER_MS
    timelines = OrderTimelines(rig.gateway.orders, rig.gateway.journal)
    timeline = await timelines.get(OrderRef(order_id=submitted.order.order_id))
    kinds = [entry.kind for entry in timeline.entries if entry.kind is not EntryKind.RISK]
    assert kinds[:2] == [EntryKind.INTENT, EntryKind.REQUEST]
    assert EntryKind.VENUE_EVENT in kinds[2:]
    assert timeline.entries[0].detail == "recorded under the key k1: buy 10 AAPL market day"
    assert any(entry.detail.startswith("filled 10 at 100, 10 in all (execution ") for entry in timeline.entries)


# What went over the wire.

ID = "request-1"


def asked(
    method: str, left_ms: int, took_ms: int, status: int = 200, request_id: str = ID, **changes: Any
) -> VenueRequest:
    left_ns = BEGIN_NS + left_ms * NANOS_PER_MS
    values = {"order_id": "order-1", "path": "/v2/orders", "send_time_ns": left_ns} | changes
    return VenueRequest(
        method=method,
        end_time_ns=left_ns + took_ms * NANOS_PER_MS,
        status=status,
        venue_request_id=request_id,
        **values,
    )


def at(kind: OrderEventKind, ms: int, **fields: object) -> JournalEvent:
    return event(kind, record_time_ns=BEGIN_NS + ms * NANOS_PER_MS, **fields)


def shown(events: list[JournalEvent], *requests: VenueRequest) -> list[tuple[int, EntryKind, str, str, int | None]]:
    entries = entries_of(events, requests)
    return [
        (
            entry.sequence, entry.kind, entry.detail, entry.venue_request_id,
            None if entry.since_previous_ns is None else entry.since_previous_ns // NANOS_PER_MS,
        )
        for entry in entries
    ]  # fmt: skip


def test_an_answer_that_the_feed_had_overtaken_is_shown_with_its_id_and_how_long_it_took() -> None:
    events = [
        at(OrderEventKind.SUBMITTED, 0, sequence=2, attempt=1),
        at(OrderEventKind.WORKING, 8, sequence=3, venue_event="new"),
    ]
    assert shown(events, asked("POST", 1, 30)) == [
        (2, EntryKind.REQUEST, "to be sent to the venue, attempt 1", "", None),
        (0, EntryKind.REQUEST, "POST /v2/orders left", "", 1),
        (3, EntryKind.VENUE_EVENT, 'on the market; the venue said "new"', "", 7),
        (0, EntryKind.RESPONSE, "POST /v2/orders answered HTTP 200 after 30.000 ms", ID, 30),
    ]


def test_only_answers_to_changes_are_responses() -> None:
    accepted = at(OrderEventKind.ACCEPTED, 40, sequence=3, venue_request_id=ID)
    listed = at(OrderEventKind.RECONCILED, 50, sequence=4, venue_request_id="list-7")
    working = at(OrderEventKind.WORKING, 60, sequence=5, venue_request_id="look-2")
    rows = [asked("POST", 1, 30), asked("GET", 55, 2, request_id="look-2", path="/v2/orders:by_client_order_id")]
    assert [(kind, request_id) for _, kind, _, request_id, _ in shown([accepted, listed, working], *rows)] == [
        (EntryKind.REQUEST, ""),
        (EntryKind.RESPONSE, ID),
        (EntryKind.RESPONSE, ID),
        (EntryKind.RECONCILE, "list-7"),
        (EntryKind.RECONCILE, "look-2"),
        (EntryKind.RECONCILE, "look-2"),
    ]


def test_every_attempt_is_shown_also_one_that_never_left_and_one_without_an_answer() -> None:
    rows = [
        asked("PATCH", 1, 3, status=0, send_time_ns=None, request_id=""),
        asked("PATCH", 10, 5, status=429),
        asked("PATCH", 20, 5_000, status=0, request_id=""),
        asked("DELETE", 6_000, 4, status=204, request_id="request-9"),
    ]
    assert [(kind, detail) for _, kind, detail, _, _ in shown([], *rows)] == [
        (EntryKind.REQUEST, "PATCH /v2/orders never left"),
        (EntryKind.REQUEST, "PATCH /v2/orders left"),
        (EntryKind.RESPONSE, "PATCH /v2/orders answered HTTP 429 after 5.000 ms"),
        (EntryKind.REQUEST, "PATCH /v2/orders left"),
        (EntryKind.RESPONSE, "PATCH /v2/orders had no whole answer, given up after 5000.000 ms"),
        (EntryKind.REQUEST, "DELETE /v2/orders left"),
        (EntryKind.RESPONSE, "DELETE /v2/orders answered HTTP 204 after 4.000 ms"),
    ]


async def test_what_was_asked_for_every_order_is_shown_with_those_that_were_open(rig: Rig) -> None:
    first = (await rig.submit("k1", make_spec("AAPL", "buy", 10))).order
    await settle()
    rig.clock.now_ns += NANOS_PER_MS
    resting = (await rig.submit("k2", make_spec("AAPL", "buy", 10, limit_price="1"))).order
    await settle()
    journal, now_ns = rig.gateway.journal, rig.clock.now_ns + NANOS_PER_MS
    journal.requests.note(VenueRequest(EVERY_ORDER, "DELETE", "/v2/orders", now_ns, now_ns + 9, 207, "request-1"))
    timelines = OrderTimelines(rig.gateway.orders, journal)
    stories = [await timelines.get(OrderRef(order_id=order.order_id)) for order in (first, resting)]
    kills = [[entry for entry in story.entries if not entry.sequence] for story in stories]
    assert [entry.detail for entry in kills[1]] == [
        "DELETE /v2/orders for every open order left",
        "DELETE /v2/orders for every open order answered HTTP 207 after 0.000 ms",
    ]
    assert kills[0] == [], "it had ended before"


async def test_a_long_story_leaves_turns_to_others() -> None:
    books = Books()
    story = Story(2, books)
    await story.tell(40)
    order_id = next(row.order_id for _, row in books.rows(None))
    template = books.journal.read_order_events([order_id], books.journal.head)[-1]
    count = 40 * SLICE_STEPS
    for number in range(count):
        again = replace(template, sequence=0, book_sequence=0, chain_hash=b"", kind=OrderEventKind.RESTATED)
        books.journal.requests.note(asked("GET", number, 1, order_id=order_id))
        await books.orders.record([again])
    reading = asyncio.create_task(OrderTimelines(books.orders, books.journal).get(OrderRef(order_id=order_id)))
    turns = 0
    while not reading.done():
        await asyncio.sleep(0)
        turns += 1
    entries = reading.result().entries
    assert len([entry for entry in entries if entry.sequence]) >= count
    assert len([entry for entry in entries if not entry.sequence]) == REQUESTS_MAX
    assert turns >= (count + REQUESTS_MAX) // SLICE_STEPS
    assert [entry.sequence for entry in entries if entry.sequence][-1] == books.journal.head
