"""The story of an order: every event a step, with figures and the time between."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

import pytest

from gateway.application.order_timeline import ENTRIES_MAX, EntryKind, OrderTimelines, timeline_of
from gateway.domain.errors import OrderNotFound
from gateway.domain.models.orders import Failure, JournalEvent, OrderChanges, OrderEventKind, OrderRef
from gateway.domain.models.risk import RiskCheckResult
from gateway.domain.types import NANOS_PER_MS, LegRole
from tests.application.books import BEGIN_NS, Books, Story
from tests.application.rig import Rig, settle
from tests.emulator.exchange.desk import make_spec

PASSED = RiskCheckResult("RISK_BUYING_POWER", True, Decimal(900), Decimal(1_000), Decimal(100), "USD")
FAILED = RiskCheckResult("RISK_SHORT_NOT_ALLOWED", False, Decimal(3), Decimal(0), Decimal(-3), "shares")


def event(kind: OrderEventKind, **fields: object) -> JournalEvent:
    values = {"record_time_ns": BEGIN_NS, "event_time_ns": BEGIN_NS, "sequence": 7} | fields
    return JournalEvent(kind, "order-1", "default", **values)  # type: ignore[arg-type]


def told(*events: JournalEvent) -> list[tuple[EntryKind, str]]:
    return [(entry.kind, entry.detail) for entry in timeline_of(None, events).entries]  # type: ignore[arg-type]


async def test_every_event_is_a_step_whatever_it_is() -> None:
    books = Books()
    await Story(1, books).tell(400)
    timelines = OrderTimelines(books.orders, books.journal)
    for order_id in {row.order_id for _, row in books.rows(None)}:
        rows = [row for _, row in books.rows(None) if row.order_id == order_id]
        timeline = timelines.get(OrderRef(order_id=order_id))
        assert timeline.order == books.orders.order(order_id)
        assert [entry.sequence for entry in timeline.entries] == [row.sequence for row in rows]
        assert [entry.time_ns for entry in timeline.entries] == [row.record_time_ns for row in rows]
        first, *others = timeline.entries
        assert first.since_previous_ns is None
        assert [entry.since_previous_ns for entry in others] == [
            after.record_time_ns - before.record_time_ns for before, after in pairwise(rows)
        ]
    with pytest.raises(OrderNotFound):
        timelines.get(OrderRef(order_id="nobody's"))


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
    entries = timeline_of(None, [recorded, denied]).entries  # type: ignore[arg-type]
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
        (EntryKind.REQUEST, "sent to the venue, attempt 2"),
        (EntryKind.RESPONSE, "no answer that proves anything"),
        (EntryKind.REQUEST, "cancel requested"),
        (EntryKind.VENUE_EVENT, 'cancel requested; the venue said "pending_cancel"'),
        (EntryKind.RECONCILE, "proved not to be at the venue"),
        (EntryKind.INTENT, "never sent"),
    ]


def test_the_venues_id_of_an_answer_is_shown_and_how_late_news_came() -> None:
    answered = event(OrderEventKind.REJECTED, venue_request_id="request-1")
    (entry,) = timeline_of(None, [answered]).entries  # type: ignore[arg-type]
    assert entry.venue_request_id == "request-1"


def test_of_a_long_story_the_newest_steps_are_told() -> None:
    events = [event(OrderEventKind.RESTATED, sequence=number) for number in range(ENTRIES_MAX + 5)]
    entries = timeline_of(None, events).entries  # type: ignore[arg-type]
    assert [entry.sequence for entry in entries] == list(range(5, ENTRIES_MAX + 5))


async def test_a_real_order_from_intent_to_fill(rig: Rig) -> None:
    submitted = await rig.submit("k1", make_spec("AAPL", "buy", 10))
    await settle()
    rig.clock.now_ns += 5 * NANOS_PER_MS
    timeline = OrderTimelines(rig.gateway.orders, rig.gateway.journal).get(OrderRef(order_id=submitted.order.order_id))
    kinds = [entry.kind for entry in timeline.entries if entry.kind is not EntryKind.RISK]
    assert kinds[:2] == [EntryKind.INTENT, EntryKind.REQUEST]
    assert EntryKind.VENUE_EVENT in kinds[2:]
    assert timeline.entries[0].detail == "recorded under the key k1: buy 10 AAPL market day"
    assert any(entry.detail.startswith("filled 10 at 100, 10 in all (execution ") for entry in timeline.entries)
