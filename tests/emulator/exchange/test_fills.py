"""Orders meet the best bid and offer, for as much as is displayed."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.emulator.exchange.desk import Desk, refused


def test_a_market_order_takes_what_is_displayed_and_waits_for_the_next_quote() -> None:
    desk = Desk()
    desk.quote("AAPL", 100.00, 100.02, ask_size=30)
    order = desk.buy("AAPL", 50)
    assert order.status == "pending_new"
    assert desk.events() == ["new", "partial_fill"]
    assert desk.order(order).filled_quantity == 30
    desk.quote("MSFT", 40.00, 40.01)
    desk.trade("AAPL", 100.02)
    assert desk.events() == [], "only a quote of this symbol refreshes what is displayed"
    desk.quote("AAPL", 100.01, 100.05, ask_size=30)
    assert desk.fills() == [("20", "100.05")]
    done = desk.order(order)
    assert (done.status, done.leaves_quantity) == ("filled", 0)
    assert done.filled_average_price == Decimal("100.032")


@pytest.mark.parametrize(
    ("side", "limit", "fill"),
    [("buy", "100.02", "100.02"), ("buy", "101", "100.02"), ("sell", "100", "100.0"), ("sell", "99.5", "100.0")],
)
def test_a_marketable_limit_order_fills_at_the_quote_not_at_its_limit(side: str, limit: str, fill: str) -> None:
    desk = Desk()
    desk.quote("AAPL", 100.00, 100.02)
    getattr(desk, side)("AAPL", 10, limit_price=limit)
    assert desk.fills() == [("10", fill)]


@pytest.mark.parametrize(("side", "limit"), [("buy", "100.01"), ("sell", "100.01")])
def test_a_limit_order_inside_the_spread_rests(side: str, limit: str) -> None:
    desk = Desk()
    desk.quote("AAPL", 100.00, 100.02)
    order = getattr(desk, side)("AAPL", 10, limit_price=limit)
    desk.trade("AAPL", 100.01)
    assert desk.events() == ["new"], "a print fills nothing"
    desk.quote("AAPL", 100.01, 100.01)
    assert desk.status(order) == "filled"


def test_the_better_price_goes_first_then_the_earlier_order() -> None:
    desk = Desk()
    desk.quote("AAPL", 100.00, 101.00)
    late, early, best = (desk.buy("AAPL", 10, limit_price=price) for price in (100, 100, "100.5"))
    desk.events()
    desk.quote("AAPL", 99.00, 99.50, ask_size=25)
    assert [desk.order(order).filled_quantity for order in (best, late, early)] == [10, 10, 5]


def test_size_zero_and_price_zero_are_no_quote() -> None:
    desk = Desk()
    desk.quote("AAPL", 100.00, 100.02)
    order = desk.buy("AAPL", 10, limit_price=100)
    desk.quote("AAPL", 99.00, 99.50, ask_size=0)
    desk.quote("AAPL", 99.00, 0.0)
    assert desk.status(order) == "new"
    desk.quote("AAPL", 99.00, 99.50, ask_size=10)
    assert desk.status(order) == "filled"


def test_whole_shares_stay_whole_though_a_fraction_is_displayed() -> None:
    desk = Desk()
    desk.quote("AAPL", 100.00, 100.02, ask_size=10.5)
    order = desk.buy("AAPL", 20)
    assert desk.order(order).filled_quantity == 10
    coin = Desk()
    coin.quote("BTC/USD", 100.00, 100.02, ask_size=10.5)
    assert coin.order(coin.buy("BTC/USD", 20)).filled_quantity == Decimal("10.5")


def test_fractions_of_shares() -> None:
    desk = Desk()
    desk.quote("AAPL", 100.00, 100.02)
    desk.buy("AAPL", "0.333333333")
    assert desk.fills() == [("0.333333333", "100.02")]
    assert desk.held("AAPL") == Decimal("0.333333333")
    assert desk.cash == Decimal("100000") - Decimal("33.340000") + Decimal("0.000000033")


def test_a_notional_order_buys_what_its_money_buys() -> None:
    desk = Desk()
    desk.quote("AAPL", 100.00, 100.02)
    order = desk.buy("AAPL", notional=250)
    done = desk.order(order)
    assert (done.status, done.quantity, done.notional) == ("filled", None, 250)
    assert done.filled_quantity == Decimal("2.499500099"), "rounded down to nine decimals"
    assert done.filled_value <= 250


def test_a_notional_order_is_partly_filled_by_displayed_size_and_goes_on_with_the_rest_of_its_money() -> None:
    desk = Desk()
    desk.quote("AAPL", 100.00, 100.00, ask_size=1)
    order = desk.buy("AAPL", notional=250)
    partial = desk.exchange.activities()[0]
    assert (desk.status(order), partial.leaves_quantity) == ("partially_filled", Decimal("1.5"))
    desk.quote("AAPL", 49.00, 50.00, ask_size=100)
    done = desk.order(order)
    assert (done.status, done.filled_quantity, done.filled_value) == ("filled", 4, 250)
    assert desk.events() == ["new", "partial_fill", "fill"]


def test_a_notional_sale_ends_with_the_position() -> None:
    desk = Desk()
    desk.hold("AAPL", 2, 100.0)
    desk.quote("AAPL", 100.00, 100.02, size=1)
    order = desk.sell("AAPL", notional=190)
    desk.quote("AAPL", 50.00, 50.02, size=100)
    assert desk.status(order) == "filled"
    assert desk.held("AAPL") == 0


def test_an_order_that_closes_never_opens_the_other_side() -> None:
    """A notional sale needs more shares than it was reckoned to when the price falls."""
    desk = Desk()
    desk.hold("AAPL", 10, 100.0)
    desk.quote("AAPL", 100.00, 100.02, size=0)
    money, limit = desk.sell("AAPL", notional=100), desk.sell("AAPL", 9, limit_price=50)
    desk.quote("AAPL", 50.0, 50.02, size=2)
    assert (desk.status(money), desk.held("AAPL")) == ("filled", 8)
    desk.quote("AAPL", 50.0, 50.02)
    assert desk.held("AAPL") == 0
    assert (desk.status(limit), desk.order(limit).filled_quantity) == ("canceled", 8)


@pytest.mark.parametrize(
    ("tif", "size", "filled", "events"),
    [
        ("ioc", 30, 30, ["new", "partial_fill", "canceled"]),
        ("ioc", 50, 50, ["new", "fill"]),
        ("ioc", 0, 0, ["new", "canceled"]),
        ("fok", 30, 0, ["new", "canceled"]),
        ("fok", 50, 50, ["new", "fill"]),
    ],
)
def test_immediate_or_cancel_and_fill_or_kill(tif: str, size: float, filled: int, events: list[str]) -> None:
    desk = Desk()
    desk.quote("AAPL", 100.00, 100.02, ask_size=size)
    order = desk.buy("AAPL", 50, tif=tif)
    assert desk.events() == events
    assert desk.order(order).filled_quantity == filled
    desk.quote("AAPL", 100.00, 100.02, ask_size=1000)
    assert desk.events() == [], "what is over stays over"


def test_an_immediate_limit_order_that_is_not_marketable_is_canceled() -> None:
    desk = Desk()
    desk.quote("AAPL", 100.00, 100.02)
    desk.buy("AAPL", 5, limit_price=99, tif="ioc")
    assert desk.events() == ["new", "canceled"]


def test_the_two_immediate_orders_share_one_displayed_size() -> None:
    desk = Desk()
    desk.quote("AAPL", 100.00, 100.02, ask_size=30)
    first, second = desk.buy("AAPL", 20, tif="ioc"), desk.buy("AAPL", 20, tif="ioc")
    assert [desk.order(order).filled_quantity for order in (first, second)] == [20, 10]


def test_a_market_order_without_a_quote_waits_for_one() -> None:
    desk = Desk()
    desk.trade("AAPL", 100.0)
    order = desk.buy("AAPL", 5)
    assert desk.status(order) == "new"
    desk.quote("AAPL", 100.00, 100.02)
    assert desk.status(order) == "filled"


def test_a_market_order_whose_cost_nobody_knows_is_refused() -> None:
    with refused(42210000, 'no price is known for asset "AAPL" yet: the cost cannot be reckoned'):
        Desk().buy("AAPL", 5)


def test_crypto_pays_its_fee_in_coins_when_bought_and_in_dollars_when_sold() -> None:
    desk = Desk()
    desk.quote("BTC/USD", 60_000.0, 60_000.0, size=5)
    desk.buy("BTC/USD", "0.5")
    fill = desk.updates()[-1]
    assert (fill.quantity, fill.position_quantity) == (Decimal("0.5"), Decimal("0.49875"))
    assert desk.held("BTC/USD") == Decimal("0.49875")
    assert desk.cash == 70_000, "the fee in kind costs no cash"
    desk.quote("BTC/USD", 60_000.0, 60_000.0, size=5)
    desk.sell("BTC/USD", "0.4")
    assert desk.cash == 70_000 + 24_000 - 60
    fees = desk.exchange.activities(types=["CFEE"], direction="asc")
    assert [(fee.symbol, fee.quantity, fee.net_amount) for fee in fees] == [
        ("BTC/USD", Decimal("-0.00125"), 0),
        ("BTC/USD", 0, -60),
    ]


def test_the_crypto_fee_is_a_setting_and_equities_have_none() -> None:
    desk = Desk(crypto_fee_bps=Decimal(0))
    desk.hold("BTC/USD", "0.5", 60_000.0)
    desk.hold("AAPL", 5, 100.0)
    assert desk.exchange.activities(types=["CFEE"]) == []
    assert desk.held("BTC/USD") == Decimal("0.5")


def test_both_spellings_of_crypto_are_taken_and_orders_show_the_one_with_the_slash() -> None:
    desk = Desk()
    desk.quote("BTC/USD", 60_000.0, 60_000.0)
    asset_id = desk.exchange.asset("btcusd").asset_id
    for spelling in ("BTC/USD", "BTCUSD"):
        assert desk.buy(spelling, "0.01").symbol == "BTC/USD"
        assert desk.exchange.position(desk.now_ns, spelling).asset_id == asset_id
    assert desk.exchange.position(desk.now_ns, asset_id).symbol == "BTC/USD"


def test_short_sales_open_and_close_a_negative_position() -> None:
    desk = Desk()
    desk.hold("AAPL", -10, 100.0)
    position = desk.exchange.position(desk.now_ns, "AAPL")
    assert (position.quantity, position.cost_basis, position.average_entry_price) == (-10, -1000, 100)
    assert desk.cash == 101_000
    desk.quote("AAPL", 90.0, 90.0)
    assert desk.exchange.position(desk.now_ns, "AAPL").unrealized_pl == 100
    assert desk.buy("AAPL", 10).position_intent == "buy_to_close"
    assert desk.held("AAPL") == 0
    assert desk.cash == 100_100
