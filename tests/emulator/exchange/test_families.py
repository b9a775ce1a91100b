"""Brackets, OCO and OTO: who waits for whom, and who ends with whom."""

from __future__ import annotations

import pytest

from gateway.emulator.exchange import ExchangeOrder, SessionRule
from tests.emulator.exchange.desk import Desk, refused

BRACKET = {"order_class": "bracket", "take_profit": 110, "stop_loss": 90}


def at_100(**config: object) -> Desk:
    desk = Desk(**config)
    desk.trade("AAPL", 100.0)
    desk.quote("AAPL", 100.00, 100.00)
    return desk


def legs(desk: Desk, parent: ExchangeOrder) -> tuple[ExchangeOrder, ...]:
    found = desk.order(parent).legs
    assert found is not None
    return found


def statuses(desk: Desk, parent: ExchangeOrder) -> list[str]:
    return [desk.status(parent), *(leg.status.value for leg in legs(desk, parent))]


def test_the_answer_nests_the_legs_and_the_take_profit_comes_first() -> None:
    desk = at_100()
    parent = desk.buy("AAPL", 10, limit_price=99, tif="gtc", **BRACKET | {"stop_loss": (90, 89)})
    assert parent.legs is not None
    profit, loss = parent.legs
    assert (profit.order_type, profit.side, profit.limit_price, profit.quantity) == ("limit", "sell", 110, 10)
    assert (loss.order_type, loss.side, loss.stop_price, loss.limit_price) == ("stop_limit", "sell", 90, 89)
    for leg in (profit, loss):
        assert (leg.status, leg.time_in_force, leg.order_class) == ("held", "gtc", "bracket")
        assert leg.client_order_id != parent.client_order_id
    assert desk.events() == ["new"], "legs that wait are not announced"


def test_legs_begin_when_the_parent_is_wholly_filled_and_not_before() -> None:
    desk = at_100()
    parent = desk.buy("AAPL", 10, limit_price=99, **BRACKET)
    desk.quote("AAPL", 98.00, 98.00, size=4)
    desk.trade("AAPL", 80.0)
    desk.trade("AAPL", 98.0)
    assert statuses(desk, parent) == ["partially_filled", "held", "held"], "80 set nothing off: they wait"
    desk.quote("AAPL", 98.00, 98.00, size=6)
    assert statuses(desk, parent) == ["filled", "new", "held"]


@pytest.mark.parametrize(
    ("price", "trades", "end", "proceeds"),
    [(111.0, False, ["filled", "filled", "canceled"], 111), (89.0, True, ["filled", "canceled", "filled"], 89)],
)
def test_one_exit_cancels_the_other(price: float, trades: bool, end: list[str], proceeds: int) -> None:
    desk = at_100()
    parent = desk.buy("AAPL", 10, **BRACKET)
    assert statuses(desk, parent) == ["filled", "new", "held"]
    desk.quote("AAPL", price, price)
    if trades:
        desk.trade("AAPL", price)
    assert statuses(desk, parent) == end
    assert desk.held("AAPL") == 0
    assert desk.cash == 100_000 - 1000 + 10 * proceeds


def test_the_stop_loss_is_announced_when_it_is_set_off_after_its_sibling_gave_way() -> None:
    desk = at_100()
    parent = desk.buy("AAPL", 10, **BRACKET)
    desk.events()
    desk.quote("AAPL", 89.0, 89.0)
    desk.trade("AAPL", 89.0)
    profit, loss = legs(desk, parent)
    told = [(update.event, update.order.id) for update in desk.updates()]
    assert told == [("canceled", profit.id), ("new", loss.id), ("fill", loss.id)]


def test_a_partly_filled_exit_shrinks_the_other() -> None:
    desk = at_100()
    parent = desk.buy("AAPL", 10, **BRACKET)
    desk.quote("AAPL", 111.0, 111.0, size=4)
    assert [(leg.quantity, leg.filled_quantity) for leg in legs(desk, parent)] == [(10, 4), (6, 0)]
    desk.trade("AAPL", 89.0)
    desk.quote("AAPL", 89.0, 89.0)
    assert statuses(desk, parent) == ["filled", "canceled", "filled"]
    assert desk.held("AAPL") == 0, "sold four and six, never sixteen"


@pytest.mark.parametrize("filled", [0, 4])
def test_a_parent_canceled_before_it_is_wholly_filled_cancels_its_legs(filled: int) -> None:
    desk = at_100()
    parent = desk.buy("AAPL", 10, limit_price=99, **BRACKET)
    if filled:
        desk.quote("AAPL", 98.00, 98.00, size=filled)
    desk.cancel(parent)
    assert statuses(desk, parent) == ["canceled", "canceled", "canceled"]
    assert desk.held("AAPL") == filled, "unprotected from now on"


def test_canceling_a_leg_cancels_its_group_or_by_a_setting_itself_alone() -> None:
    desk = at_100()
    parent = desk.buy("AAPL", 10, limit_price=99, **BRACKET)
    desk.cancel(legs(desk, parent)[0])
    assert statuses(desk, parent) == ["canceled", "canceled", "canceled"]
    alone = at_100(leg_cancel_cancels_group=False)
    parent = alone.buy("AAPL", 10, limit_price=99, **BRACKET)
    alone.cancel(legs(alone, parent)[0])
    assert statuses(alone, parent) == ["new", "canceled", "held"]
    alone.quote("AAPL", 98.0, 98.0)
    assert statuses(alone, parent) == ["filled", "canceled", "new"]


def test_a_pair_of_exits_holds_the_shares_once() -> None:
    desk = at_100()
    desk.buy("AAPL", 10, **BRACKET)
    assert desk.exchange.position(desk.now_ns, "AAPL").available_quantity == 0
    desk.hold("MSFT", 10, 40.0)
    desk.sell("MSFT", 10, order_class="oco", take_profit=44, stop_loss=36)
    assert desk.exchange.position(desk.now_ns, "MSFT").available_quantity == 0


def test_a_short_bracket() -> None:
    desk = at_100()
    parent = desk.sell("AAPL", 10, order_class="bracket", take_profit=90, stop_loss=110)
    assert statuses(desk, parent) == ["filled", "new", "held"]
    assert {leg.side.value for leg in legs(desk, parent)} == {"buy"}
    desk.quote("AAPL", 89.0, 89.0)
    assert statuses(desk, parent) == ["filled", "filled", "canceled"]
    assert desk.cash == 100_110


def test_an_oco_is_its_take_profit_with_a_stop_loss_beside_it() -> None:
    desk = at_100()
    desk.hold("AAPL", 10, 100.0)
    parent = desk.sell("AAPL", 10, order_class="oco", take_profit=110, stop_loss=(90, 85))
    assert (parent.order_type, parent.limit_price) == ("limit", 110)
    assert statuses(desk, parent) == ["new", "held"]
    desk.quote("AAPL", 88.0, 88.0)
    desk.trade("AAPL", 89.0)
    assert statuses(desk, parent) == ["canceled", "filled"]
    again = at_100()
    again.hold("AAPL", 10, 100.0)
    parent = again.sell("AAPL", 10, order_class="oco", take_profit=110, stop_loss=90)
    again.quote("AAPL", 110.0, 110.0)
    assert statuses(again, parent) == ["filled", "canceled"]


@pytest.mark.parametrize(("fields", "kind"), [({"take_profit": 110}, "limit"), ({"stop_loss": 90}, "stop")])
def test_an_oto_sends_one_exit_after_its_entry(fields: dict[str, int], kind: str) -> None:
    desk = at_100()
    parent = desk.buy("AAPL", 10, order_class="oto", **fields)
    assert statuses(desk, parent) == ["filled", "new"]
    assert legs(desk, parent)[0].order_type == kind


def test_legs_end_with_the_day_of_their_parent() -> None:
    desk = Desk(session=SessionRule.NYSE)
    desk.trade("AAPL", 100.0)
    desk.quote("AAPL", 100.00, 100.00)
    filled = desk.buy("AAPL", 10, **BRACKET)
    waiting = desk.buy("AAPL", 10, limit_price=99, **BRACKET)
    desk.at("2024-01-03 16:00")
    assert statuses(desk, filled) == ["filled", "expired", "expired"]
    assert statuses(desk, waiting) == ["expired", "expired", "expired"]
    assert desk.exchange.position(desk.now_ns, "AAPL").available_quantity == 10


def test_gtc_exits_rest_overnight_and_work_the_next_day() -> None:
    desk = Desk(session=SessionRule.NYSE)
    desk.trade("AAPL", 100.0)
    desk.quote("AAPL", 100.00, 100.00)
    parent = desk.buy("AAPL", 10, tif="gtc", **BRACKET)
    desk.at("2024-01-03 17:00")
    desk.quote("AAPL", 80.0, 80.0)
    desk.trade("AAPL", 80.0)
    assert statuses(desk, parent) == ["filled", "new", "held"]
    desk.at("2024-01-04 09:30")
    desk.quote("AAPL", 85.0, 85.0)
    assert statuses(desk, parent) == ["filled", "new", "held"], "yesterday evening's trade sets nothing off"
    desk.trade("AAPL", 85.0)
    assert statuses(desk, parent) == ["filled", "canceled", "filled"]


def test_replacing_a_leg_keeps_it_in_its_family() -> None:
    desk = at_100()
    parent = desk.buy("AAPL", 10, **BRACKET)
    profit, loss = legs(desk, parent)
    new_profit = desk.change(profit, limit_price=120)
    new_loss = desk.change(loss, stop_price=95)
    assert [leg.id for leg in legs(desk, parent)] == [new_profit.id, new_loss.id]
    assert (new_loss.status, new_loss.stop_price) == ("held", 95)
    desk.quote("AAPL", 94.0, 94.0)
    desk.trade("AAPL", 94.0)
    assert statuses(desk, parent) == ["filled", "canceled", "filled"]
    assert desk.held("AAPL") == 0


def test_replacing_a_parent_takes_its_waiting_legs_along() -> None:
    desk = at_100()
    parent = desk.buy("AAPL", 10, limit_price=99, **BRACKET)
    desk.quote("AAPL", 98.50, 98.50, size=4)
    new = desk.change(parent, quantity=7)
    assert [leg.quantity for leg in legs(desk, new)] == [11, 11], "four are filled already, seven will be"
    desk.quote("AAPL", 98.50, 98.50)
    assert statuses(desk, new) == ["filled", "new", "held"]
    desk.quote("AAPL", 111.0, 111.0)
    assert desk.held("AAPL") == 0


def test_the_quantity_of_a_leg_follows_its_parent_and_then_what_is_held() -> None:
    desk = at_100()
    parent = desk.buy("AAPL", 10, limit_price=99, **BRACKET)
    with refused(42210000, "qty of a leg follows its parent until that is filled"):
        desk.change(legs(desk, parent)[1], quantity=5)
    desk.quote("AAPL", 98.0, 98.0)
    profit, loss = legs(desk, parent)
    for leg in (profit, loss):
        with refused(40310000, "insufficient qty available for order (requested: 11, available: 10)"):
            desk.change(leg, quantity=11)
    desk.change(loss, quantity=6)
    assert [leg.quantity for leg in legs(desk, parent)] == [6, 6]
    assert desk.exchange.position(desk.now_ns, "AAPL").available_quantity == 4


def test_a_leg_may_not_pass_its_sibling() -> None:
    desk = at_100()
    parent = desk.buy("AAPL", 10, **BRACKET)
    profit, loss = legs(desk, parent)
    for leg, prices in ((profit, {"limit_price": 90}), (loss, {"stop_price": 110})):
        with refused(42210000, "take_profit.limit_price must be > stop_loss.stop_price"):
            desk.change(leg, **prices)


def test_updates_carry_the_legs_or_not() -> None:
    desk = at_100()
    desk.buy("AAPL", 10, **BRACKET)
    assert all(update.order.legs for update in desk.updates() if update.order.leg_ids)
    flat = at_100(updates_nest_legs=False)
    flat.buy("AAPL", 10, **BRACKET)
    assert not any(update.order.legs for update in flat.updates())
