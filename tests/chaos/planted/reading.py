"""Planted bugs of reading the venue: reports merged, fills told, orders recognized."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

from gateway.application import order_manager
from gateway.application.order_manager import OrderManager
from gateway.application.reconciler import Reconciler
from gateway.domain import order_lifecycle, venue_reports
from gateway.domain.models.orders import JournalEvent, VenueOrder
from gateway.domain.types import FeedState
from tests.chaos.planted.registry import Patch, bug


@bug("I20", "I21", needs="events that come twice")
def fills_told_as_often_as_they_come(patch: Patch) -> None:
    """De-duplication is off: a fill that is known is journaled again."""

    def interpret(order: Any, report: Any) -> tuple[JournalEvent, ...]:
        events: tuple[JournalEvent, ...] = was(order, report)
        is_fill = report.word in ("fill", "partial_fill") and report.quantity is not None and report.price is not None
        if events or not is_fill:
            return events
        fill_event = venue_reports._fill_event
        return (fill_event(order, report, report.venue_order, report.quantity, report.price, synthesized=False),)

    was = patch.set(order_manager, "interpret", interpret)


@bug("I20", "I21", needs="events that are lost")
def missed_fills_not_made_up(patch: Patch) -> None:
    """Of several executions behind a report only the one that it tells is journaled."""

    def fill_events(order: Any, report: Any, known: Any, carried: Any) -> Iterator[JournalEvent]:
        events = list(was(order, report, known, carried))
        return iter(events[-1:])

    was = patch.set(venue_reports, "_fill_events", fill_events)


@bug("I20", "I21", "I24", needs="orders that are filled in parts")
def fills_at_the_average_price(patch: Patch) -> None:
    """A fill is told at the order's average price instead of its own."""

    def fill_event(order: Any, report: Any, venue_order: VenueOrder, *rest: Any, **named: Any) -> JournalEvent:
        event: JournalEvent = was(order, report, venue_order, *rest, **named)
        if event.fill is not None and venue_order.filled_average_price is not None:
            event.fill = replace(event.fill, price=venue_order.filled_average_price)
        return event

    was = patch.set(venue_reports, "_fill_event", fill_event)


@bug("I20", "I21", "I29", needs="events that are lost, and connections that break")
def live_without_reading_what_was_missed(patch: Patch) -> None:
    """After a connection of the order feed it is live at once."""

    async def reconcile(self: Any) -> None:
        self._connected.clear()
        self._feed.set_state(FeedState.LIVE)

    async def nothing(self: Any, *_: Any, **__: Any) -> None:
        return None

    patch.set(Reconciler, "_reconcile", reconcile)
    patch.set(Reconciler, "_look_after", nothing)


@bug("I20", needs="events that come late or out of order")
def the_latest_report_wins(patch: Patch) -> None:
    """Whatever is read last overwrites what is known, older or not."""

    def merge(known: VenueOrder | None, report: VenueOrder) -> VenueOrder:
        return report if not report.legs else replace(report, legs=())

    patch.set(order_lifecycle, "merge", merge)
    patch.set(venue_reports, "merge", merge)


@bug("I20", "I24", needs="replaces of orders that are partly filled")
def only_the_present_venue_order_counts(patch: Patch) -> None:
    """After a replace, what was filled before it is forgotten."""

    def filled(venue_orders: tuple[VenueOrder, ...]) -> tuple[Decimal, Decimal | None]:
        return venue_orders[-1].filled_quantity, venue_orders[-1].filled_average_price

    patch.set(order_lifecycle, "_filled", filled)


@bug("I24", needs="replaces of orders that are partly filled")
def average_of_the_present_venue_order(patch: Patch) -> None:
    """After a replace the quantity is the sum, and the average price only the last part's."""

    def filled(venue_orders: tuple[VenueOrder, ...]) -> tuple[Decimal, Decimal | None]:
        quantity, average = was(venue_orders)
        return quantity, venue_orders[-1].filled_average_price or average

    was = patch.set(order_lifecycle, "_filled", filled)


@bug("I8", needs="orders that arrive after they were called absent")
def resurrected_silently(patch: Patch) -> None:
    """An order that was called absent, and turns up, goes on as if nothing had been said."""
    patch.set(venue_reports, "_NEVER_THERE", frozenset())


@bug("I4", "I20", "I29", needs="events before answers")
def not_recognized_by_its_key(patch: Patch) -> None:
    """An order that the feed tells of before the answer came is taken for somebody else's."""

    def find(self: Any, venue_order: VenueOrder) -> Any:
        order_id = self._id_at_venue(venue_order.venue_order_id)
        return self._known(order_id) if order_id is not None else None

    patch.set(OrderManager, "_find", find)


@bug("I21", "I22", "I20", needs="orders that end with fills which the feed did not tell")
def end_told_without_its_fills(patch: Patch) -> None:
    """A canceled order's report is taken for its end alone, whatever it says was filled."""

    def events(order: Any, report: Any) -> Iterator[JournalEvent]:
        for event in was(order, report):
            is_made_up = event.fill is not None and event.fill.synthesized
            if not is_made_up:
                yield event

    was = patch.set(venue_reports, "_events", events)
