"""Stops wait for a trade, then work as market or limit orders."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gateway.emulator.exchange import StopTrigger
from tests.emulator.exchange.desk import Desk, refused


def at_100(**config: object) -> Desk:
    desk = Desk(**config)
    desk.trade("AAPL", 100.0)
    desk.quote("AAPL", 100.00, 100.02)
    return desk


@pytest.mark.parametrize(
    ("side", "stop", "not_yet", "enough"), [("buy", 105, 104.99, 105.0), ("sell", 95, 95.01, 95.0)]
)
def test_a_stop_is_set_off_by_a_trade_at_its_price(side: str, stop: float, not_yet: float, enough: float) -> None:
    desk = at_100()
    order = getattr(desk, side)("AAPL", 10, stop_price=stop)
    desk.quote("AAPL", enough, enough)
    desk.trade("AAPL", not_yet)
    assert desk.status(order) == "new", "neither the quote nor the trade before set it off"
    desk.trade("AAPL", enough)
    assert desk.status(order) == "filled"


def test_by_a_setting_the_quote_sets_stops_off() -> None:
    desk = at_100(stop_trigger=StopTrigger.QUOTE)
    order = desk.sell("AAPL", 10, stop_price=95)
    desk.trade("AAPL", 90.0)
    assert desk.status(order) == "new"
    desk.quote("AAPL", 95.00, 95.02)
    assert desk.status(order) == "filled"


def test_a_stop_on_the_wrong_side_is_set_off_at_once() -> None:
    desk = at_100()
    assert desk.status(desk.buy("AAPL", 10, stop_price=99)) == "filled"


def test_a_stop_limit_rests_at_its_limit_once_it_is_set_off() -> None:
    desk = at_100()
    order = desk.buy("AAPL", 10, stop_price=105, limit_price=106)
    desk.quote("AAPL", 107.00, 107.50)
    desk.trade("AAPL", 107.0)
    assert desk.status(order) == "new"
    desk.trade("AAPL", 100.0)
    desk.quote("AAPL", 105.00, 105.50)
    assert desk.fills() == [("10", "105.5")], "set off is set off, whatever trades later"


@pytest.mark.parametrize(("stop", "worst"), [(40, "41.6"), (100, "102.5")])
def test_a_buy_stop_never_pays_more_than_its_collar(stop: float, worst: str) -> None:
    desk = Desk()
    desk.trade("AAPL", stop - 1)
    order = desk.buy("AAPL", 10, stop_price=stop)
    desk.quote("AAPL", float(worst) - 0.5, float(worst) + 0.01)
    desk.trade("AAPL", stop + 5.0)
    assert desk.status(order) == "new"
    desk.quote("AAPL", float(worst) - 0.5, float(worst))
    assert desk.fills() == [("10", worst)]
    free = Desk(buy_stop_collar=False)
    free.trade("AAPL", stop - 1)
    free.buy("AAPL", 10, stop_price=stop)
    free.quote("AAPL", 2.0 * stop, 2.0 * stop)
    free.trade("AAPL", stop + 5.0)
    assert len(free.fills()) == 1


@pytest.mark.parametrize(
    ("trail", "prices", "stops"),
    [
        ({"trail_price": 2}, (101, 105, 103.5), ("99", "103", "103")),
        ({"trail_percent": 2}, (101, 105, 103.5), ("98.98", "102.9", "102.9")),
    ],
)
def test_a_trailing_sell_follows_the_highest_trade(
    trail: dict[str, int], prices: tuple[float, ...], stops: tuple[str, ...]
) -> None:
    desk = at_100()
    desk.hold("AAPL", 10, 100.0)
    order = desk.sell("AAPL", 10, **trail)
    assert desk.order(order).hwm == 100
    for price, stop in zip(prices, stops, strict=True):
        desk.trade("AAPL", price)
        assert desk.order(order).stop_price == Decimal(stop)
    assert desk.order(order).hwm == 105
    desk.trade("AAPL", float(stops[-1]))
    assert desk.status(order) == "filled"


def test_a_trailing_buy_follows_the_lowest_trade() -> None:
    desk = at_100()
    order = desk.buy("AAPL", 10, trail_price="1.5")
    desk.trade("AAPL", 97.0)
    assert (desk.order(order).hwm, desk.order(order).stop_price) == (97, Decimal("98.5"))
    desk.trade("AAPL", 98.5)
    assert desk.status(order) == "filled"


def test_a_trailing_stop_begins_with_the_first_trade_it_sees() -> None:
    desk = Desk()
    desk.quote("AAPL", 100.00, 100.02)
    order = desk.buy("AAPL", 10, trail_price=1)
    assert desk.order(order).hwm is None
    desk.trade("AAPL", 100.0)
    assert (desk.order(order).hwm, desk.order(order).stop_price) == (100, 101)


def test_crypto_has_stop_limits_alone() -> None:
    desk = Desk()
    desk.trade("BTC/USD", 60_000.0)
    desk.quote("BTC/USD", 60_000.0, 60_010.0)
    order = desk.buy("BTC/USD", "0.1", stop_price=61_000, limit_price=61_500)
    desk.trade("BTC/USD", 61_000.0)
    assert desk.status(order) == "filled"
    for fields in ({"stop_price": 61_000}, {"trail_price": 10}):
        with refused(42210000, "invalid order type for crypto order"):
            desk.buy("BTC/USD", "0.1", **fields)
