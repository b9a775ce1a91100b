"""Cash, positions and the account's numbers; formulas from the OpenAPI document."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gateway.emulator.exchange import ExchangeConfig, SessionRule
from gateway.emulator.exchange.account import COST_STEP, Holding, fee_of
from tests.emulator.exchange.desk import Desk, instant


def test_an_untouched_account() -> None:
    account = Desk().exchange.account(0)
    assert account.account_number == "EMULATOR1"
    assert (account.cash, account.equity, account.last_equity) == (100_000, 100_000, 100_000)
    assert (account.buying_power, account.regt_buying_power, account.multiplier) == (200_000, 200_000, "2")
    assert account.non_marginable_buying_power == account.options_buying_power == 100_000
    assert account.pattern_day_trader is None
    assert Desk(legacy_pdt_fields=True).exchange.account(0).pattern_day_trader is False


def test_numbers_of_an_account_with_positions_of_every_kind() -> None:
    desk = Desk(crypto_fee_bps=Decimal(0))
    desk.hold("AAPL", 100, 100.0)
    desk.hold("MSFT", -50, 40.0)
    desk.hold("BTC/USD", "0.1", 50_000.0)
    account = desk.exchange.account(desk.now_ns)
    assert account.cash == 100_000 - 10_000 + 2_000 - 5_000
    assert (account.long_market_value, account.short_market_value) == (15_000, -2_000)
    assert account.equity == 100_000
    assert account.initial_margin == 5_000 + 1_000 + 5_000, "half of the equities, all of the coins"
    assert account.maintenance_margin == 3_000 + 600 + 5_000
    assert account.buying_power == 2 * (100_000 - 11_000)
    desk.quote("AAPL", 110.0, 110.0)
    after = desk.exchange.account(desk.now_ns)
    assert (after.equity, after.cash) == (101_000, account.cash)


def test_without_margin_everything_is_paid_in_full() -> None:
    desk = Desk(multiplier=1)
    desk.hold("AAPL", 100, 100.0)
    account = desk.exchange.account(desk.now_ns)
    assert (account.initial_margin, account.buying_power) == (10_000, 90_000)
    small = Desk(cash=Decimal(1999)).exchange.account(0)
    assert (small.multiplier, small.buying_power) == ("1", 1999)
    limited = Desk()
    limited.exchange.configure(limited.now_ns, max_margin_multiplier="1")
    assert limited.exchange.account(limited.now_ns).buying_power == 100_000


def test_open_orders_bind_buying_power_until_they_end() -> None:
    desk = Desk()
    desk.quote("AAPL", 100.0, 100.0, ask_size=4)
    order = desk.buy("AAPL", 10, limit_price=100)
    assert desk.reserved == 6 * 100 // 2, "four are filled and count as a position"
    coin = desk.buy("BTC/USD", "0.1", limit_price=1000)
    short = desk.sell("MSFT", 10, limit_price=50)
    assert desk.reserved == 300 + 100 + 250
    for one in (order, coin, short):
        desk.cancel(one)
    assert desk.reserved == 0
    desk.sell("AAPL", 4, limit_price=200)
    assert desk.reserved == 0, "what closes a position binds nothing"


def test_a_position_and_its_profit() -> None:
    desk = Desk(session=SessionRule.NYSE)
    desk.hold("AAPL", 10, 100.0)
    desk.at("2024-01-03 16:00")
    desk.at("2024-01-04 10:00")
    desk.quote("AAPL", 110.0, 110.0)
    desk.buy("AAPL", 10)
    desk.trade("AAPL", 120.0)
    position = desk.exchange.position(desk.now_ns, "AAPL")
    assert (position.quantity, position.average_entry_price, position.cost_basis) == (20, 105, 2_100)
    assert (position.current_price, position.market_value) == (120, 2_400)
    assert (position.unrealized_pl, position.unrealized_pl_ratio) == (300, Decimal("0.142857143"))
    assert position.lastday_price == 100
    assert position.change_today == Decimal("0.2")
    assert position.unrealized_intraday_pl == 10 * 20 + 10 * 10, "from yesterday's close, and from today's buy"
    assert desk.exchange.account(desk.now_ns).last_equity == 100_000


def test_a_sale_leaves_the_average_and_a_crossing_begins_anew() -> None:
    holding = Holding("AAPL")
    for quantity, price in ((3, "10"), (4, "11"), (-2, "50")):
        holding.trade(Decimal(quantity), Decimal(price))
    assert holding.average_price == Decimal("10.571428571")
    assert abs(holding.cost - Decimal(370) / 7) < COST_STEP
    holding.trade(Decimal(-8), Decimal(20))
    assert (holding.quantity, holding.cost, holding.average_price) == (-3, -60, 20)
    holding.trade(Decimal(3), Decimal(5))
    assert (holding.quantity, holding.cost, holding.day_cost) == (0, 0, 0)


def test_money_is_exact_where_floats_and_short_decimals_are_not() -> None:
    desk = Desk(cash=Decimal("999999999999.99"))
    spent = Decimal(0)
    for price in (0.1, 0.2, 0.3, 1.1):
        desk.quote("AAPL", price, price, size=1e9)
        desk.buy("AAPL", "123456789")
        spent += 123456789 * Decimal(str(price))
    assert desk.cash == Decimal("999999999999.99") - spent
    holding = Holding("BTC/USD")
    holding.trade(Decimal("999999999999.123456789"), Decimal("99999.123456789"))
    digits = 999999999999123456789 * 99999123456789
    assert str(holding.cost) == f"{digits // 10**18}.{digits % 10**18:018d}"


@pytest.mark.parametrize(
    ("amount", "fee"), [("1", "0.0025"), ("0.0001", "0.00000025"), ("0.0000001", "0"), ("0.0000002", "0.000000001")]
)
def test_fees_are_rounded_half_up_at_nine_decimals(amount: str, fee: str) -> None:
    assert fee_of(Decimal(amount), Decimal(25)) == Decimal(fee)


def test_the_equity_is_sampled_and_told_in_windows() -> None:
    desk = Desk("2024-01-03 10:00")
    desk.hold("AAPL", 100, 100.0)
    for minute, price in ((10, 101.0), (20, 99.0), (30, 105.0)):
        desk.at(f"2024-01-03 10:{minute}")
        desk.trade("AAPL", price)
        desk.at(f"2024-01-03 10:{minute + 5}")
    start_ns, end_ns = instant("2024-01-03 10:00"), instant("2024-01-03 10:40")
    found = desk.exchange.portfolio_history(desk.now_ns, start_ns=start_ns, end_ns=end_ns, timeframe_s=600)
    assert [second - start_ns // 10**9 for second in found.timestamps_s] == [0, 600, 1200, 1800]
    assert found.equity == (100_000, 100_100, 99_900, 100_500)
    assert found.base_value == 100_000
    assert found.profit_loss == (0, 100, -100, 500)
    assert found.profit_loss_ratio[1] == Decimal("0.001")


def test_closing_a_position_by_parts_and_whole() -> None:
    desk = Desk()
    desk.hold("AAPL", 11, 100.0)
    desk.quote("AAPL", 100.0, 100.0)
    half = desk.exchange.close_position(desk.now_ns, "AAPL", percentage=Decimal(50))
    assert (half.quantity, half.side, half.order_type, half.time_in_force) == (5, "sell", "market", "day")
    three = desk.exchange.close_position(desk.now_ns, "AAPL", quantity=Decimal(3))
    assert three.quantity == 3
    assert desk.exchange.close_position(desk.now_ns, "AAPL").quantity == 3
    assert desk.exchange.positions(desk.now_ns) == []
    desk.hold("BTC/USD", "0.001", 50_000.0)
    desk.quote("BTC/USD", 5_000.0, 5_000.0)
    dust = desk.exchange.close_position(desk.now_ns, "BTCUSD")
    assert dust.time_in_force == "gtc"
    assert desk.held("BTC/USD") == 0, "even a position below the least cost can be closed"


def test_closing_everything_reports_each_position() -> None:
    desk = Desk()
    desk.hold("AAPL", 10, 100.0)
    desk.hold("BTC/USD", "0.1", 50_000.0)
    desk.hold("MSFT", -5, 40.0)
    resting = desk.sell("AAPL", 10, limit_price=200)
    closed = desk.exchange.close_positions(desk.now_ns)
    assert [(one.symbol, one.status) for one in closed] == [("AAPL", 403), ("BTCUSD", 200), ("MSFT", 200)]
    assert closed[0].refusal is not None
    assert closed[0].refusal.extra["held_for_orders"] == "10"
    again = desk.exchange.close_positions(desk.now_ns, cancel_orders=True)
    assert [(one.symbol, one.status) for one in again] == [("AAPL", 200)]
    assert desk.status(resting) == "canceled"
    assert desk.exchange.positions(desk.now_ns) == []


@pytest.mark.parametrize(
    "settings",
    [{"multiplier": 3}, {"cash": Decimal(-1)}, {"cash": Decimal("NaN")}, {"equity_sample_s": 0}, {"session": "nyse"}],
)
def test_settings_that_cannot_be(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        ExchangeConfig(**settings)  # type: ignore[arg-type]
