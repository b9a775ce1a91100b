"""AccountRepository: what every road to a venue owes."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from gateway.domain.errors import VenueUnreachable
from gateway.domain.types import AssetClass, BudgetLane, OrderSide, is_symbol
from tests.contracts.roads import Road
from tests.contracts.specs import market


async def test_the_account_adds_up(road: Road) -> None:
    account = await road.account.get_account(road.context(BudgetLane.READ))
    assert account.account_id
    assert account.status == "ACTIVE"
    assert account.currency_code == "USD"
    assert account.buying_power >= 0
    assert abs(account.read_time_ns - road.now_ns()) < 60 * 10**9
    if account.long_market_value is not None and account.short_market_value is not None:
        assert account.equity == account.cash + account.long_market_value + account.short_market_value


async def test_positions_are_spelled_as_the_gateway_spells(road: Road) -> None:
    for position in await road.account.list_positions(road.context(BudgetLane.READ)):
        assert is_symbol(position.symbol)
        assert ("/" in position.symbol) == (position.asset_class is AssetClass.CRYPTO)


async def test_what_was_bought_is_held(emulated: Road) -> None:
    before = await emulated.account.get_account(emulated.context())
    assert await emulated.account.list_positions(emulated.context()) == []
    await emulated.trading.submit_order(emulated.context(), "default.a", market())
    await emulated.trading.submit_order(emulated.context(), "default.b", market("BTC/USD", "0.01"))
    await emulated.advance(1.0)
    stock, coin = await emulated.account.list_positions(emulated.context())
    assert (stock.symbol, stock.asset_class, stock.quantity) == ("AAPL", AssetClass.US_EQUITY, Decimal(3))
    assert (coin.symbol, coin.asset_class) == ("BTC/USD", AssetClass.CRYPTO)
    assert Decimal(0) < coin.quantity <= Decimal("0.01"), "less a fee in kind"
    after = await emulated.account.get_account(emulated.context())
    assert after.cash < before.cash
    assert after.long_market_value == sum(position.market_value or 0 for position in (stock, coin))


async def test_a_short_position_is_negative(emulated: Road) -> None:
    await emulated.trading.submit_order(emulated.context(), "default.s", replace(market(), side=OrderSide.SELL))
    await emulated.advance(1.0)
    (short,) = await emulated.account.list_positions(emulated.context())
    assert (short.symbol, short.quantity) == ("AAPL", Decimal(-3))
    assert short.market_value is not None
    assert short.market_value < 0


async def test_fills_come_oldest_first_page_by_page(emulated: Road) -> None:
    for number in range(3):
        await emulated.trading.submit_order(emulated.context(), f"default.{number}", market(quantity=str(number + 1)))
        await emulated.advance(1.0)
    whole = await emulated.account.list_fill_activities(emulated.context())
    assert [fill.quantity for fill in whole.items] == [Decimal(1), Decimal(2), Decimal(3)]
    assert whole.next_page_token == ""
    assert all(fill.activity_type == "FILL" and fill.side is OrderSide.BUY for fill in whole.items)
    first = await emulated.account.list_fill_activities(emulated.context(), page_size=2)
    rest = await emulated.account.list_fill_activities(
        emulated.context(), page_size=2, page_token=first.next_page_token
    )
    assert first.items + rest.items == whole.items
    later = await emulated.account.list_fill_activities(emulated.context(), after_ns=whole.items[0].time_ns)
    assert [fill.quantity for fill in later.items] == [Decimal(2), Decimal(3)]
    orders = {fill.venue_order_id for fill in whole.items}
    assert len(orders) == 3
    with pytest.raises(VenueUnreachable):
        await emulated.account.list_fill_activities(emulated.context(), page_token="nonsense")
