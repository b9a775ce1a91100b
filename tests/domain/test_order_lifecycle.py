"""The transition function and what a report amounts to: the lattice, fills once each, replaces as one order."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from gateway.domain.models.orders import (
    Failure,
    JournalEvent,
    Order,
    OrderChanges,
    OrderEventKind as Kind,
    OrderRequest,
    OrderSpec,
    StopLoss,
    TakeProfit,
    VenueOrder,
)
from gateway.domain.order_lifecycle import STATES, apply, is_known_terminal, merge
from gateway.domain.types import AssetClass, OrderClass, OrderSide, OrderState, OrderType, TimeInForce
from gateway.domain.venue_reports import KINDS, Report, interpret, same_order

SPEC = OrderSpec(
    "AAPL", OrderSide.BUY, OrderType.LIMIT, TimeInForce.DAY, quantity=Decimal(10), limit_price=Decimal(100)
)
TERMINAL = ("filled", "canceled", "expired", "rejected", "replaced")


def venue_order(status: str = "new", filled: int = 0, time_ns: int | None = None, **changes: Any) -> VenueOrder:
    values: dict[str, Any] = {
        "venue_order_id": "v1",
        "venue_client_order_id": "default.k1",
        "venue_status": status,
        "symbol": "AAPL",
        "asset_class": AssetClass.US_EQUITY,
        "side": OrderSide.BUY,
        "order_type": OrderType.LIMIT,
        "time_in_force": TimeInForce.DAY,
        "quantity": Decimal(10),
        "limit_price": Decimal(100),
        "filled_quantity": Decimal(filled),
        "filled_average_price": Decimal(100) if filled else None,
        "update_time_ns": time_ns,
    }
    return VenueOrder(**(values | changes))


def event(kind: Kind, **fields: Any) -> JournalEvent:
    return JournalEvent(kind, "o1", "default", 1, 1, **fields)


def begun() -> Order:
    order = apply(None, event(Kind.RECORDED, request=OrderRequest("default", "k1", SPEC, 9)))
    return apply(order, event(Kind.SUBMITTED, attempt=1))


def told(order: Order, *reports: Report) -> tuple[Order, list[JournalEvent]]:
    """An order after reports, and the events that they made."""
    events: list[JournalEvent] = []
    for report in reports:
        for found in interpret(order, report):
            order = apply(order, found)
            events.append(found)
    return order, events


def fill(filled: int, quantity: int, price: int = 100, **changes: Any) -> Report:
    status = "filled" if filled == 10 else "partially_filled"
    report = venue_order(status, filled, **changes)
    word = "fill" if filled == 10 else "partial_fill"
    return Report(report, 1, word, execution_id=f"x{filled}", price=Decimal(price), quantity=Decimal(quantity))


@pytest.mark.parametrize(("status", "state"), STATES.items())
def test_every_status_has_its_state(status: str, state: OrderState) -> None:
    order = apply(begun(), event(Kind.RECONCILED, venue_order=venue_order(status)))
    assert order.state is state
    assert order.venue_status == status


def test_an_unknown_status_is_open_and_verbatim() -> None:
    order = apply(begun(), event(Kind.OTHER, venue_order=venue_order("quarantined")))
    assert order.state is OrderState.UNRECOGNIZED
    assert not order.state.is_terminal
    assert order.venue_status == "quarantined"


def test_every_word_of_the_feed_has_a_kind_and_any_other_is_told_too() -> None:
    assert set(KINDS) >= {"new", "fill", "partial_fill", "canceled", "expired", "replaced", "rejected"}
    _, events = told(begun(), Report(venue_order("quarantined"), 1, "odd"))
    assert [(found.kind, found.venue_event) for found in events] == [(Kind.OTHER, "odd")]


@pytest.mark.parametrize("kind", [Kind.DENIED, Kind.NOT_SENT, Kind.ABSENT, Kind.REJECTED])
def test_orders_that_never_were(kind: Kind) -> None:
    order = apply(begun(), event(kind, failure=Failure("X", "x")))
    assert order.state.value == kind.value
    assert (order.leaves_quantity, order.failure) == (0, Failure("X", "x"))


def test_a_journal_that_is_not_ours_is_refused() -> None:
    with pytest.raises(ValueError, match="first event"):
        apply(None, event(Kind.FILL))
    with pytest.raises(ValueError, match="begins"):
        apply(None, event(Kind.RECORDED))


class TestMerge:
    def test_filled_never_falls(self) -> None:
        merged = merge(venue_order("partially_filled", 5, 2), venue_order("partially_filled", 3, 3))
        assert merged.filled_quantity == 5

    def test_terminal_absorbs(self) -> None:
        for status in TERMINAL:
            assert merge(venue_order(status, 0, 1), venue_order("new", 0, 2)).venue_status == status

    def test_a_late_fill_of_a_canceled_order_counts(self) -> None:
        merged = merge(venue_order("canceled", 0, 2), venue_order("partially_filled", 4, 1))
        assert (merged.venue_status, merged.filled_quantity) == ("canceled", 4)

    def test_an_answer_overtaken_by_its_event(self) -> None:
        assert merge(venue_order("new", 0, 1), venue_order("pending_new", 0, 1)).venue_status == "new"

    @settings(max_examples=100)
    @given(st.randoms(use_true_random=False))
    def test_reports_in_any_order_end_the_same(self, chance: random.Random) -> None:
        history = [
            venue_order("pending_new", 0, 1),
            venue_order("new", 0, 2),
            venue_order("partially_filled", 3, 3),
            venue_order("pending_cancel", 3, 4),
            venue_order("canceled", 5, 5),
        ]
        shuffled = [*history, *chance.sample(history, 3)]
        chance.shuffle(shuffled)
        known: VenueOrder | None = None
        floor = Decimal(0)
        for report in shuffled:
            known = merge(known, report)
            assert known.filled_quantity >= floor
            floor = known.filled_quantity
        assert known is not None
        assert (known.venue_status, known.filled_quantity) == ("canceled", 5)
        assert is_known_terminal(known.venue_status)


class TestReports:
    def test_nothing_new_is_no_event(self) -> None:
        order, events = told(begun(), Report(venue_order(), 1, "new"), Report(venue_order(), 2, "new"))
        assert [found.kind for found in events] == [Kind.WORKING]
        assert told(order, Report(venue_order(), 3))[1] == []

    def test_fills_in_order(self) -> None:
        order, events = told(begun(), Report(venue_order(), 1, "new"), fill(4, 4), fill(10, 6))
        assert [found.kind for found in events] == [Kind.WORKING, Kind.PARTIAL_FILL, Kind.FILL]
        assert (order.state, order.filled_quantity, order.leaves_quantity) == (OrderState.FILLED, 10, 0)
        assert [found.fill.fill_id for found in events if found.fill] == ["x4", "x10"]

    def test_a_missed_fill_is_made_up_and_its_late_report_dropped(self) -> None:
        last = fill(10, 6, 110, filled_average_price=Decimal(106))
        order, events = told(begun(), last, fill(4, 4))
        fills = [found.fill for found in events if found.fill is not None]
        assert [(f.fill_id, f.quantity, f.price, f.synthesized) for f in fills] == [
            ("rest:v1:4", 4, 100, True),
            ("x10", 6, 110, False),
        ]
        assert order.filled_quantity == 10

    def test_a_read_makes_up_what_the_feed_did_not_tell(self) -> None:
        _, events = told(begun(), Report(venue_order("filled", 10), 1, backfill=True))
        [found] = events
        assert (found.kind, found.backfill) == (Kind.FILL, True)
        assert found.fill is not None
        assert (found.fill.fill_id, found.fill.synthesized) == ("rest:v1:10", True)

    def test_a_read_of_a_moment_ago_leaves_fills_to_the_feed(self) -> None:
        order, events = told(begun(), Report(venue_order("filled", 10), 1, with_fills=False))
        assert [found.kind for found in events] == [Kind.ACCEPTED]
        assert (order.state, order.filled_quantity) == (OrderState.WORKING, 0)
        assert told(order, Report(venue_order("filled", 10), 1, with_fills=False))[1] == []
        assert told(order, fill(10, 10))[0].state is OrderState.FILLED

    def test_filled_in_part_and_canceled_in_one_read(self) -> None:
        order, events = told(begun(), Report(venue_order("canceled", 4), 1))
        assert [found.kind for found in events] == [Kind.PARTIAL_FILL, Kind.CANCELED]
        assert (order.state, order.filled_quantity) == (OrderState.CANCELED, 4)

    def test_resurrection(self) -> None:
        order = apply(begun(), event(Kind.ABSENT, failure=Failure("ABSENT", "x")))
        order, events = told(order, fill(4, 4))
        assert [found.kind for found in events] == [Kind.RESURRECTED, Kind.PARTIAL_FILL]
        assert (order.state, order.failure) == (OrderState.PARTIALLY_FILLED, None)

    def test_a_cancel_that_is_owed_shows_until_it_is_refused(self) -> None:
        order, _ = told(begun(), Report(venue_order(), 1, "new"))
        order = apply(order, event(Kind.CANCEL_REQUESTED))
        assert order.state is OrderState.PENDING_CANCEL
        assert told(order, fill(4, 4))[0].state is OrderState.PENDING_CANCEL
        order, events = told(order, Report(venue_order(), 1, "order_cancel_rejected"))
        assert [found.kind for found in events] == [Kind.CANCEL_REJECTED]
        assert (order.state, order.cancel_request_time_ns) == (OrderState.WORKING, None)


class TestReplace:
    OLD = venue_order("new", 4, 1)
    ENDED = venue_order("replaced", 4, 2, replaced_by="v2")
    NEW = venue_order(
        "new", 0, 3, venue_order_id="v2", venue_client_order_id="default.k2", replaces="v1", quantity=Decimal(16),
        limit_price=Decimal(95),
    )  # fmt: skip

    def asked(self) -> Order:
        order, _ = told(begun(), Report(self.OLD, 1))
        wanted = OrderChanges(quantity=Decimal(20), limit_price=Decimal(95))
        order = apply(order, event(Kind.REPLACE_REQUESTED, changes=wanted, client_order_id="k2"))
        assert order.state is OrderState.PENDING_REPLACE
        return order

    @pytest.mark.parametrize(
        "reports",
        list(itertools.permutations([Report(NEW, 1), Report(ENDED, 1, "replaced"), Report(NEW, 1, "new")])),
    )
    def test_in_any_order_it_is_one_order(self, reports: tuple[Report, ...]) -> None:
        order, events = told(self.asked(), *reports)
        assert [found.kind for found in events].count(Kind.REPLACED) == 1
        read = self.asked()
        for found in events:
            read = apply(read, found)
            if found.kind is Kind.REPLACED:  # whoever acts on it finds the new values
                assert (read.spec.limit_price, read.pending_replace) == (95, None)
        assert order.state is OrderState.PARTIALLY_FILLED
        assert [known.venue_order_id for known in order.venue_orders] == ["v1", "v2"]
        assert (order.spec.quantity, order.spec.limit_price) == (20, 95)
        assert (order.filled_quantity, order.leaves_quantity) == (4, 16)
        assert (order.pending_replace, order.pending_replace_id) == (None, "")

    def test_the_old_one_may_still_fill(self) -> None:
        order, _ = told(self.asked(), Report(self.NEW, 1))
        order, events = told(order, Report(venue_order("replaced", 6, 3, replaced_by="v2"), 1, "replaced"))
        assert order.filled_quantity == 6
        assert [found.kind for found in events] == [Kind.PARTIAL_FILL]

    def test_refused(self) -> None:
        order, events = told(self.asked(), Report(self.OLD, 1, "order_replace_rejected"))
        assert [found.kind for found in events] == [Kind.REPLACE_REJECTED]
        assert (order.state, order.spec.limit_price, order.failure) == (OrderState.PARTIALLY_FILLED, 100, None)

    def test_a_refused_candidate_never_stood_for_the_order(self) -> None:
        candidate = venue_order(
            "pending_new", 0, 3, venue_order_id="v2", venue_client_order_id="default.k2", replaces="v1"
        )
        order, events = told(self.asked(), Report(candidate, 1))
        assert (events[0].kind, order.state) == (Kind.ACCEPTED, OrderState.PENDING_REPLACE)
        refused = venue_order("rejected", 0, 4, venue_order_id="v2", venue_client_order_id="default.k2", replaces="v1")
        order, events = told(order, Report(refused, 1, "rejected"))
        assert [found.kind for found in events] == [Kind.REPLACE_REJECTED]
        assert (order.state, order.venue_order_id) == (OrderState.PARTIALLY_FILLED, "v1")

    def test_by_somebody_else(self) -> None:
        order, _ = told(begun(), Report(self.OLD, 1), Report(self.NEW, 1, "new"))
        assert (order.spec.quantity, order.spec.limit_price) == (20, 95)


def test_the_pair_assertion() -> None:
    assert same_order(SPEC, venue_order())
    assert not same_order(SPEC, venue_order(symbol="MSFT"))
    assert not same_order(SPEC, venue_order(side=OrderSide.SELL))
    assert not same_order(SPEC, venue_order(quantity=Decimal(11)))
    assert not same_order(SPEC, venue_order(limit_price=Decimal(99)))
    assert same_order(SPEC, venue_order(limit_price=Decimal(99)), whole=False)


def test_the_pair_assertion_sees_class_trail_and_legs() -> None:
    bracket = replace(
        SPEC,
        order_class=OrderClass.BRACKET,
        take_profit=TakeProfit(Decimal(110)),
        stop_loss=StopLoss(Decimal(80)),
    )
    profit = venue_order(venue_order_id="l1", limit_price=Decimal(110))
    loss = venue_order(venue_order_id="l2", order_type=OrderType.STOP, limit_price=None, stop_price=Decimal(80))
    nested = venue_order(order_class=OrderClass.BRACKET, legs=(profit, loss))
    assert same_order(bracket, nested)
    assert same_order(bracket, replace(nested, legs=()))
    assert not same_order(bracket, venue_order())
    assert not same_order(SPEC, nested)
    assert not same_order(replace(bracket, take_profit=TakeProfit(Decimal(120))), nested)
    assert not same_order(replace(bracket, stop_loss=StopLoss(Decimal(70))), nested)
    moved = replace(profit, limit_price=Decimal(120), replaces="l0")
    assert same_order(bracket, replace(nested, legs=(moved, loss)))
    assert same_order(SPEC, venue_order(order_class=None))
    trailing = replace(SPEC, order_type=OrderType.TRAILING_STOP, limit_price=None, trail_percent=Decimal("1.5"))
    there = venue_order(order_type=OrderType.TRAILING_STOP, limit_price=None, trail_percent=Decimal("1.50"))
    assert same_order(trailing, there)
    assert not same_order(trailing, replace(there, trail_percent=Decimal(2)))
    assert not same_order(replace(trailing, trail_percent=None, trail_price=Decimal(1)), there)


def test_legs_that_are_no_orders_here_are_no_news_each_time() -> None:
    option = venue_order(venue_order_id="l1", order_type=None, order_class=None)
    order, _ = told(begun(), Report(venue_order(legs=(option,)), 1))
    _, again = told(order, Report(venue_order(legs=(option,)), 2))
    assert again == []
