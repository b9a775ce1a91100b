"""PATCH: a new order in the place of an old one; what its quantity means after a partial fill is a setting."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from gateway.domain.models.orders import OrderChanges
from gateway.emulator.exchange import ReplaceQuantity
from tests.emulator.exchange.desk import Desk, refused

SYNTAX, MEANING, NOT_ALLOWED, NOT_FOUND = 40010001, 42210000, 40310000, 40410000


def at_100(**config: Any) -> Desk:
    desk = Desk(**config)
    desk.trade("AAPL", 100.0)
    desk.quote("AAPL", 100.00, 100.02)
    return desk


def test_a_replaced_order_is_another_order() -> None:
    desk = at_100()
    old = desk.buy("AAPL", 10, limit_price=99, client_order_id="one")
    new = desk.change(old, "two", limit_price="99.5", quantity=12)
    gone = desk.order(old)
    assert (gone.status, gone.replaced_by) == ("replaced", new.id)
    assert gone.replaced_ns == desk.now_ns
    assert (new.replaces, new.client_order_id, new.status) == (old.id, "two", "pending_new")
    assert (new.limit_price, new.quantity, new.submitted_ns) == (Decimal("99.5"), 12, desk.now_ns)
    told = [(update.event, update.order.id) for update in desk.updates()]
    assert told == [("new", old.id), ("replaced", old.id), ("new", new.id)]


def test_the_venue_makes_a_client_order_id_when_none_is_given() -> None:
    desk = at_100()
    old = desk.buy("AAPL", 10, limit_price=99, client_order_id="one")
    assert len(desk.change(old, limit_price=98).client_order_id) == 36


def test_a_replaced_price_may_fill_at_once() -> None:
    desk = at_100()
    order = desk.change(desk.buy("AAPL", 10, limit_price=99), limit_price=101)
    assert desk.status(order) == "filled"
    assert desk.events() == ["new", "replaced", "new", "fill"]


def test_pending_replace_is_announced_by_a_setting() -> None:
    desk = at_100(announce_pending_replace=True)
    desk.change(desk.buy("AAPL", 10, limit_price=99), limit_price=98)
    assert desk.events() == ["new", "pending_replace", "replaced", "new"]


@pytest.mark.parametrize(
    ("meaning", "wanted", "quantity", "filled", "bought"),
    [
        (ReplaceQuantity.REMAINING, None, 6, 0, 10),
        (ReplaceQuantity.REMAINING, 10, 10, 0, 14),
        (ReplaceQuantity.TOTAL, None, 10, 4, 10),
        (ReplaceQuantity.TOTAL, 12, 12, 4, 12),
    ],
)
def test_quantity_after_a_partial_fill(
    meaning: ReplaceQuantity, wanted: int | None, quantity: int, filled: int, bought: int
) -> None:
    desk = at_100(replace_quantity=meaning)
    old = desk.buy("AAPL", 10, limit_price=99)
    desk.quote("AAPL", 98.0, 98.0, size=4)
    changes = {"limit_price": 97} if wanted is None else {"limit_price": 97, "quantity": wanted}
    new = desk.change(old, **changes)
    assert (new.quantity, new.filled_quantity) == (quantity, filled)
    desk.quote("AAPL", 96.0, 96.0)
    done = desk.order(new)
    assert (done.status, done.filled_quantity) == ("filled", quantity)
    assert desk.held("AAPL") == bought
    assert desk.order(old).filled_quantity == 4, "what was filled stays filled"


def test_a_total_must_leave_something_to_fill() -> None:
    desk = at_100(replace_quantity=ReplaceQuantity.TOTAL)
    order = desk.buy("AAPL", 10, limit_price=99)
    desk.quote("AAPL", 98.0, 98.0, size=4)
    with refused(MEANING, "qty must be greater than the filled qty"):
        desk.change(order, quantity=4)


@pytest.mark.parametrize(
    ("fields", "changes", "code", "message"),
    [
        ({"limit_price": 99}, {"quantity": "1.5"}, SYNTAX, "qty must be integer"),
        ({"limit_price": 99}, {}, MEANING, "order parameters are not changed"),
        ({"limit_price": 99}, {"limit_price": 99}, MEANING, "order parameters are not changed"),
        (
            {"limit_price": 99},
            {"limit_price": "99.001"},
            MEANING,
            "invalid limit_price 99.001. sub-penny increment does not fulfill minimum pricing criteria",
        ),
        ({"limit_price": 99}, {"stop_price": 98}, SYNTAX, "limit orders require no stop_price"),
        ({"limit_price": 99}, {"trail": 1}, SYNTAX, "limit orders require no trail"),
        ({"trail_price": 2}, {"stop_price": 1}, SYNTAX, "trailing_stop orders require no stop_price"),
        ({"limit_price": 99}, {"quantity": 5000}, NOT_ALLOWED, "insufficient buying power"),
        ({"stop_price": 105}, {"tif": "ioc"}, MEANING, "invalid time_in_force ioc for stop orders"),
        (
            {"limit_price": 99, "order_class": "oto", "stop_loss": 90},
            {"tif": "ioc"},
            MEANING,
            "oto orders must be DAY or GTC orders",
        ),
    ],
)
def test_changes_that_are_refused_change_nothing(
    fields: dict[str, Any], changes: dict[str, Any], code: int, message: str
) -> None:
    desk = at_100()
    order = desk.buy("AAPL", 10, **fields)
    before, reserved = desk.order(order), desk.reserved
    with refused(code, message):
        desk.change(order, **changes)
    assert desk.order(order) == before
    assert desk.reserved == reserved


def test_what_cannot_be_replaced_at_all() -> None:
    desk = at_100()
    with refused(NOT_FOUND, "order not found: none"):
        desk.exchange.replace(desk.now_ns, "none", OrderChanges())
    filled = desk.buy("AAPL", 1)
    with refused(MEANING, 'order is already in "filled" state'):
        desk.change(filled, quantity=2)
    old = desk.buy("AAPL", 1, limit_price=90)
    desk.change(old, limit_price=91)
    with refused(MEANING, 'order is already in "replaced" state'):
        desk.change(old, limit_price=92)
    desk.quote("AAPL", 100.0, 0.0)
    notional = desk.buy("AAPL", notional=100)
    with refused(MEANING, "notional orders cannot be replaced"):
        desk.change(notional, quantity=1)
    fraction = desk.buy("AAPL", "0.5", limit_price=90)
    with refused(MEANING, "qty of fractional orders cannot be changed"):
        desk.change(fraction, quantity=1)
    assert desk.change(fraction, limit_price=91).quantity == Decimal("0.5")


def test_a_larger_order_is_paid_for_with_the_reservation_of_the_old_one() -> None:
    desk = at_100()
    order = desk.buy("AAPL", 1500, limit_price=99)
    assert desk.reserved == 1500 * 99 // 2
    bigger = desk.change(order, quantity=2000)
    assert desk.reserved == 2000 * 99 // 2
    with refused(NOT_ALLOWED, "insufficient buying power"):
        desk.change(bigger, quantity=2100)
    desk.cancel(bigger)
    assert desk.reserved == 0


def test_a_replaced_sale_keeps_its_shares() -> None:
    desk = at_100()
    desk.hold("AAPL", 10, 100.0)
    order = desk.sell("AAPL", 10, limit_price=110)
    same = desk.change(order, limit_price=120)
    with refused(NOT_ALLOWED, "insufficient qty available for order (requested: 11, available: 10)"):
        desk.change(same, quantity=11)


def test_a_trail_changes_before_the_trigger_and_keeps_the_mark() -> None:
    desk = at_100()
    desk.hold("AAPL", 10, 100.0)
    order = desk.sell("AAPL", 10, trail_price=2)
    desk.trade("AAPL", 110.0)
    tighter = desk.change(order, trail="1.5")
    assert (tighter.hwm, tighter.stop_price, tighter.trail_price) == (110, Decimal("108.5"), Decimal("1.5"))
    desk.trade("AAPL", 108.4)
    assert desk.status(tighter) == "filled"


def test_a_stop_that_was_set_off_keeps_its_trigger() -> None:
    desk = at_100()
    order = desk.buy("AAPL", 10, stop_price=105, limit_price=106)
    desk.quote("AAPL", 107.0, 107.0)
    desk.trade("AAPL", 107.0)
    with refused(MEANING, "the order's stop price has already been reached"):
        desk.change(order, stop_price=110)
    new = desk.change(order, limit_price=107)
    assert desk.status(new) == "filled", "it does not wait for another trigger"


def test_a_changed_time_in_force_changes_the_expiry() -> None:
    desk = at_100()
    order = desk.buy("AAPL", 10, limit_price=90)
    new = desk.change(order, tif="gtc")
    assert order.expires_ns is not None
    assert new.expires_ns is not None
    assert new.expires_ns > order.expires_ns
    assert desk.change(new, tif="day").expires_ns == order.expires_ns


def test_crypto_changes_by_fractions() -> None:
    desk = at_100()
    desk.quote("BTC/USD", 60_000.0, 60_010.0)
    order = desk.change(desk.buy("BTC/USD", "0.1", limit_price=50_000), quantity="0.25")
    assert order.quantity == Decimal("0.25")
