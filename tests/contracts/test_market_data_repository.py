"""MarketDataRepository: what every road to a venue owes."""

from __future__ import annotations

from datetime import date

import pytest

from gateway.domain.errors import SymbolUnknown
from gateway.domain.models.market_data import Timeframe, TimeframeUnit
from gateway.domain.types import NANOS_PER_SECOND, AssetClass, BudgetLane, DataFeed, is_symbol
from tests.contracts.roads import Road

MINUTE = Timeframe(1, TimeframeUnit.MINUTE)
FIVE_MINUTES = Timeframe(5, TimeframeUnit.MINUTE)
WORLDS = [(DataFeed.IEX, ["AAPL", "MSFT"]), (DataFeed.CRYPTO_US, ["BTC/USD", "ETH/USD"])]
HOUR_NS = 3_600 * NANOS_PER_SECOND


@pytest.mark.parametrize(("feed", "symbols"), WORLDS)
async def test_the_newest_of_everything(road: Road, feed: DataFeed, symbols: list[str]) -> None:
    context = road.context(BudgetLane.READ)
    quotes = await road.market_data.get_latest_quotes(context, feed, symbols)
    trades = await road.market_data.get_latest_trades(context, feed, symbols)
    bars = await road.market_data.get_latest_bars(context, feed, symbols)
    snapshots = await road.market_data.get_snapshots(context, feed, symbols)
    for values in (quotes, trades, bars, snapshots):
        assert [value.symbol for value in values] == symbols  # type: ignore[attr-defined]
    for quote in quotes:
        assert (quote.feed, type(quote.bid_price), type(quote.bid_size)) == (feed, float, float)
        assert quote.time_ns <= quote.receive_time_ns
    for bar in bars:
        assert bar.low <= bar.open <= bar.high
        assert bar.final
    for snapshot in snapshots:
        assert snapshot.latest_quote is not None
        assert snapshot.daily_bar is not None
        assert not snapshot.daily_bar.final


async def test_symbols_without_a_value_are_left_out(road: Road) -> None:
    quotes = await road.market_data.get_latest_quotes(road.context(), DataFeed.IEX, ["AAPL", "ZZZZZZ"])
    assert [quote.symbol for quote in quotes] == ["AAPL"]


@pytest.mark.parametrize(
    ("feed", "symbol"),
    [(DataFeed.IEX, "BTC/USD"), (DataFeed.CRYPTO_US, "AAPL"), (DataFeed.IEX, "../x"), (DataFeed.CRYPTO_US, "BTCUSD")],
)
async def test_a_symbol_of_another_spelling_is_refused(road: Road, feed: DataFeed, symbol: str) -> None:
    with pytest.raises(SymbolUnknown):
        await road.market_data.get_latest_quotes(road.context(), feed, [symbol])


@pytest.mark.parametrize(("feed", "symbols"), WORLDS)
async def test_bars_page_by_page_are_the_bars_in_one_page(emulated: Road, feed: DataFeed, symbols: list[str]) -> None:
    start_ns, end_ns = emulated.now_ns() - HOUR_NS, emulated.now_ns()

    async def page(token: str, size: int, *, newest_first: bool = False) -> tuple[tuple[object, ...], str]:
        found = await emulated.market_data.list_bars(
            emulated.context(), feed, symbols, FIVE_MINUTES, start_ns=start_ns, end_ns=end_ns, page_size=size,
            page_token=token, newest_first=newest_first,
        )  # fmt: skip
        return found.items, found.next_page_token

    whole, token = await page("", 1000)
    assert token == ""
    assert [bar.symbol for bar in whole] == sorted(bar.symbol for bar in whole)  # type: ignore[attr-defined]
    assert len(whole) >= 2 * 12
    parts: list[object] = []
    token, pages = "", 0
    while pages == 0 or token:
        items, token = await page(token, 7)
        assert len(items) <= 7
        parts += items
        pages += 1
        assert pages < 20
    assert tuple(parts) == whole
    newest, _ = await page("", 1000, newest_first=True)
    assert sorted(newest, key=str) == sorted(whole, key=str)
    of_first = [bar.start_time_ns for bar in newest if bar.symbol == symbols[0]]  # type: ignore[attr-defined]
    assert of_first == sorted(of_first, reverse=True)


async def test_a_running_bar_is_not_final(emulated: Road) -> None:
    await emulated.advance(30.0)
    found = await emulated.market_data.list_bars(
        emulated.context(),
        DataFeed.IEX,
        ["AAPL"],
        MINUTE,
        start_ns=emulated.now_ns() - HOUR_NS,
        end_ns=emulated.now_ns(),
    )
    finals = [bar.final for bar in found.items]
    assert all(finals[:-1])
    if found.items[-1].start_time_ns + 60 * NANOS_PER_SECOND > emulated.now_ns():
        assert not finals[-1]


async def test_assets_by_class(road: Road) -> None:
    for asset_class, symbol in ((AssetClass.US_EQUITY, "AAPL"), (AssetClass.CRYPTO, "BTC/USD")):
        assets = await road.market_data.list_assets(road.context(BudgetLane.READ), asset_class)
        symbols = [asset.symbol for asset in assets]
        assert symbols == sorted(symbols)
        assert symbol in symbols
        assert all(is_symbol(one) for one in symbols)
        assert {asset.asset_class for asset in assets} == {asset_class}
    assert await road.market_data.list_assets(road.context(), AssetClass.UNRECOGNIZED) == []


async def test_the_clock_and_the_days(road: Road) -> None:
    clock = await road.market_data.get_market_clock(road.context(BudgetLane.READ))
    assert abs(clock.time_ns - road.now_ns()) < 60 * NANOS_PER_SECOND
    assert clock.next_open_time_ns > clock.time_ns or clock.is_open
    days = await road.market_data.list_market_days(road.context(BudgetLane.READ), date(2024, 1, 2), date(2024, 1, 5))
    assert [day.date.day for day in days] == [2, 3, 4, 5]
    assert all(
        day.session_open_time_ns <= day.open_time_ns < day.close_time_ns <= day.session_close_time_ns for day in days
    )
