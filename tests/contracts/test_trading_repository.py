"""TradingRepository: what every road to a venue owes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from uuid import uuid4

import pytest

from gateway.domain.errors import OrderNotFound, OrderRejected, OutcomeUnknown, SymbolUnknown
from gateway.domain.interfaces import VenueOrderFilter
from gateway.domain.models.orders import OrderChanges
from gateway.domain.types import BudgetLane, OrderClass, OrderSide, OrderType, TimeInForce
from tests.contracts.roads import Road
from tests.contracts.specs import bracket, key, market, resting


async def test_a_submitted_order_is_known_under_both_of_its_ids(road: Road) -> None:
    name = key()
    sent = await road.trading.submit_order(road.context(), name, resting(limit_price="1.25"))
    try:
        assert (sent.venue_client_order_id, sent.symbol, sent.side) == (name, "AAPL", OrderSide.BUY)
        assert (sent.order_type, sent.time_in_force, sent.order_class) == (
            OrderType.LIMIT,
            TimeInForce.DAY,
            OrderClass.SIMPLE,
        )
        assert (sent.quantity, sent.limit_price, sent.filled_quantity) == (Decimal(3), Decimal("1.25"), 0)
        by_id = await road.trading.get_order(road.context(), sent.venue_order_id)
        by_key = await road.trading.find_order(road.context(), name)
        assert by_key is not None
        assert by_id.venue_order_id == by_key.venue_order_id == sent.venue_order_id
    finally:
        await road.trading.cancel_order(road.context(), sent.venue_order_id)


async def test_an_id_is_good_for_one_order_and_the_second_is_no_refusal(road: Road) -> None:
    name = key()
    sent = await road.trading.submit_order(road.context(), name, resting())
    try:
        with pytest.raises(OutcomeUnknown) as caught:
            await road.trading.submit_order(road.context(), name, resting())
        assert caught.value.duplicate_id
    finally:
        await road.trading.cancel_order(road.context(), sent.venue_order_id)


async def test_what_the_venue_does_not_know(road: Road) -> None:
    trading = road.trading
    assert await trading.find_order(road.context(), key()) is None
    for venue_order_id in (str(uuid4()), "no-uuid", "../positions", ""):
        with pytest.raises(OrderNotFound):
            await trading.get_order(road.context(), venue_order_id)
        with pytest.raises(OrderNotFound):
            await trading.cancel_order(road.context(), venue_order_id)
        with pytest.raises(OrderRejected) as caught:
            await trading.replace_order(road.context(), venue_order_id, key(), OrderChanges(quantity=Decimal(2)))
        assert caught.value.metadata["venue_http_status"] == "404"


async def test_what_is_no_symbol_is_not_asked_for(road: Road) -> None:
    with pytest.raises(SymbolUnknown):
        await road.trading.submit_order(road.context(), key(), market("../orders"))


async def test_a_wrong_value_and_a_refusal_are_told_apart(emulated: Road) -> None:
    with pytest.raises(OrderRejected) as wrong:
        await emulated.trading.submit_order(emulated.context(), key(), resting("1", limit_price="290.123"))
    assert (wrong.value.is_bad_value, wrong.value.metadata["venue_http_status"]) == (True, "422")
    with pytest.raises(OrderRejected) as refused:
        await emulated.trading.submit_order(emulated.context(), key(), market(quantity="1000000"))
    assert (refused.value.is_bad_value, refused.value.metadata["venue_http_status"]) == (False, "403")
    assert refused.value.metadata["venue_code"] == "40310000"
    assert "buying power" in refused.value.metadata["venue_message"]


async def test_a_market_order_fills(emulated: Road) -> None:
    sent = await emulated.trading.submit_order(emulated.context(), "default.fill", market())
    await emulated.advance(1.0)
    filled = await emulated.trading.get_order(emulated.context(), sent.venue_order_id)
    assert (filled.venue_status, filled.filled_quantity) == ("filled", Decimal(3))
    assert filled.filled_average_price is not None
    assert filled.fill_time_ns is not None


@pytest.mark.parametrize("spec", [market(quantity="0.123456789"), market("BTC/USD", "0.00012345"), resting("7")])
async def test_quantities_keep_every_digit(emulated: Road, spec: object) -> None:
    sent = await emulated.trading.submit_order(emulated.context(), key(), spec)  # type: ignore[arg-type]
    assert sent.quantity == spec.quantity  # type: ignore[attr-defined]
    assert sent.symbol == spec.symbol  # type: ignore[attr-defined]


async def test_an_order_by_money_has_no_quantity(emulated: Road) -> None:
    sent = await emulated.trading.submit_order(
        emulated.context(), key(), replace(market(), quantity=None, notional=Decimal("250.50"))
    )
    assert (sent.notional, sent.quantity) == (Decimal("250.50"), None)


async def test_a_replaced_order_is_a_new_one(emulated: Road) -> None:
    old = await emulated.trading.submit_order(emulated.context(), "default.old", resting())
    await emulated.advance(1.0)
    changes = OrderChanges(quantity=Decimal(5), limit_price=Decimal("1.10"))
    new = await emulated.trading.replace_order(emulated.context(), old.venue_order_id, "default.new", changes)
    assert (new.venue_client_order_id, new.replaces, new.quantity) == ("default.new", old.venue_order_id, Decimal(5))
    await emulated.advance(1.0)
    was = await emulated.trading.get_order(emulated.context(), old.venue_order_id)
    assert (was.venue_status, was.replaced_by) == ("replaced", new.venue_order_id)
    with pytest.raises(OrderRejected):
        await emulated.trading.replace_order(emulated.context(), old.venue_order_id, "default.again", changes)


async def test_a_canceled_order_stays_canceled_whatever_is_asked(emulated: Road) -> None:
    sent = await emulated.trading.submit_order(emulated.context(), key(), resting())
    await emulated.advance(1.0)
    await emulated.trading.cancel_order(emulated.context(), sent.venue_order_id)
    await emulated.advance(1.0)
    order = await emulated.trading.get_order(emulated.context(), sent.venue_order_id)
    assert order.venue_status == "canceled"
    assert order.cancel_time_ns is not None
    with suppress(OrderRejected):  # repeating it is safe; whether it is refused is the venue's choice
        await emulated.trading.cancel_order(emulated.context(), sent.venue_order_id)
    again = await emulated.trading.get_order(emulated.context(), sent.venue_order_id)
    assert again.venue_status == "canceled"


async def test_a_filled_order_cannot_be_canceled(emulated: Road) -> None:
    sent = await emulated.trading.submit_order(emulated.context(), key(), market())
    await emulated.advance(1.0)
    with pytest.raises(OrderRejected) as caught:
        await emulated.trading.cancel_order(emulated.context(), sent.venue_order_id)
    assert caught.value.metadata["venue_http_status"] == "422"


async def test_a_bracket_has_its_legs_nested(emulated: Road) -> None:
    sent = await emulated.trading.submit_order(emulated.context(), key(), bracket())
    found = await emulated.trading.get_order(emulated.context(), sent.venue_order_id)
    assert found.order_class is OrderClass.BRACKET
    assert {(leg.order_type, leg.side) for leg in found.legs} == {
        (OrderType.LIMIT, OrderSide.SELL),
        (OrderType.STOP_LIMIT, OrderSide.SELL),
    }
    listed = await emulated.trading.list_orders(emulated.context(), VenueOrderFilter.OPEN)
    assert [order.venue_order_id for order in listed] == [sent.venue_order_id], "legs stand in their parent alone"
    assert len(listed[0].legs) == 2


async def test_lists_are_filtered_ordered_and_bounded_exclusively(emulated: Road) -> None:
    sent = []
    for number in range(4):
        sent.append(await emulated.trading.submit_order(emulated.context(), f"default.{number}", resting()))
        await emulated.advance(1.0)
    await emulated.trading.cancel_order(emulated.context(), sent[0].venue_order_id)
    await emulated.advance(1.0)

    async def keys(status: VenueOrderFilter = VenueOrderFilter.ALL, **bounds: object) -> list[str]:
        found = await emulated.trading.list_orders(emulated.context(), status, **bounds)  # type: ignore[arg-type]
        return [order.venue_client_order_id.removeprefix("default.") for order in found]

    times = [order.submit_time_ns for order in sent]
    assert await keys() == ["3", "2", "1", "0"]
    assert await keys(oldest_first=True) == ["0", "1", "2", "3"]
    assert await keys(VenueOrderFilter.OPEN) == ["3", "2", "1"]
    assert await keys(VenueOrderFilter.CLOSED) == ["0"]
    assert await keys(limit=2) == ["3", "2"]
    assert await keys(oldest_first=True, after_ns=times[0], until_ns=times[3]) == ["1", "2"], "both bounds exclusive"


async def test_one_request_ends_every_open_order(emulated: Road) -> None:
    """Not on paper: it would end orders that are somebody else's."""
    road, trading = emulated, emulated.trading
    sent = [await trading.submit_order(road.context(), key(), resting()) for _ in range(3)]
    family = await trading.submit_order(road.context(), key(), bracket())
    answers = await trading.cancel_all_orders(road.context(BudgetLane.KILL))
    assert {order.venue_order_id for order in (*sent, family)} <= {answer.venue_order_id for answer in answers}
    assert all(answer.is_taken for answer in answers)
    assert await trading.list_orders(road.context(), VenueOrderFilter.OPEN) == []
    assert await trading.cancel_all_orders(road.context(BudgetLane.KILL)) == []
