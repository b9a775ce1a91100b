"""MarketDataRepository: what every road to a venue owes."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from gateway.domain.errors import SymbolUnknown, VenueUnreachable
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


@pytest.mark.parametrize("noun", ["quotes", "trades"])
@pytest.mark.parametrize(("feed", "symbols"), WORLDS)
async def test_past_values_page_by_page_are_those_in_one_page(
    emulated: Road, feed: DataFeed, symbols: list[str], noun: str
) -> None:
    end_ns = emulated.now_ns()
    start_ns = end_ns - 20 * NANOS_PER_SECOND
    listed: Any = getattr(emulated.market_data, f"list_{noun}")

    async def page(token: str, size: int, *, newest_first: bool = False) -> Any:
        return await listed(
            emulated.context(BudgetLane.READ), feed, symbols, start_ns=start_ns, end_ns=end_ns, page_size=size,
            page_token=token, newest_first=newest_first,
        )  # fmt: skip

    for newest_first in (False, True):
        whole = await page("", 10_000, newest_first=newest_first)
        assert whole.next_page_token == ""
        assert len(whole.items) > 2 * 12
        assert {value.feed for value in whole.items} == {feed}
        assert all(start_ns <= value.time_ns <= end_ns <= value.receive_time_ns for value in whole.items)
        assert [value.symbol for value in whole.items] == sorted(value.symbol for value in whole.items)
        of_first = [value.time_ns for value in whole.items if value.symbol == symbols[0]]
        assert of_first == sorted(of_first, reverse=newest_first)
        parts: list[Any] = []
        token, pages = "", 0
        while pages == 0 or token:
            found = await page(token, 7, newest_first=newest_first)
            assert len(found.items) <= 7
            parts += found.items
            token, pages = found.next_page_token, pages + 1
            assert pages < 50
        assert [replace(value, receive_time_ns=0) for value in parts] == [
            replace(value, receive_time_ns=0) for value in whole.items
        ]


async def test_past_values_of_a_time_without_any(emulated: Road) -> None:
    future_ns = emulated.now_ns() + HOUR_NS
    for listed in (emulated.market_data.list_quotes, emulated.market_data.list_trades):
        page: Any = await listed(emulated.context(), DataFeed.IEX, ["AAPL"], start_ns=future_ns, end_ns=future_ns + 1)
        assert (page.items, page.next_page_token) == ((), "")


@pytest.mark.parametrize("noun", ["quotes", "trades", "bars"])
async def test_a_token_that_the_venue_never_gave_is_no_page(emulated: Road, noun: str) -> None:
    options: dict[str, Any] = {"start_ns": emulated.now_ns() - HOUR_NS, "end_ns": emulated.now_ns()}
    if noun == "bars":
        options["timeframe"] = MINUTE
    listed: Any = getattr(emulated.market_data, f"list_{noun}")
    with pytest.raises(VenueUnreachable):
        await listed(emulated.context(), DataFeed.IEX, ["AAPL"], page_token="never given", **options)


async def test_order_books_are_whole_and_of_pairs_alone(road: Road) -> None:
    pairs = ["BTC/USD", "ETH/USD"]
    books = await road.market_data.get_latest_order_books(road.context(BudgetLane.READ), DataFeed.CRYPTO_US, pairs)
    assert [book.symbol for book in books] == pairs
    for book in books:
        assert book.reset
        assert book.time_ns <= book.receive_time_ns
        bids, asks = [level.price for level in book.bids], [level.price for level in book.asks]
        assert (bids, asks) == (sorted(bids, reverse=True), sorted(asks))
        assert bids[0] <= asks[0]
        assert all(level.size > 0 for level in (*book.bids, *book.asks))
    for feed, symbol in ((DataFeed.IEX, "AAPL"), (DataFeed.CRYPTO_US, "AAPL")):
        with pytest.raises(SymbolUnknown):
            await road.market_data.get_latest_order_books(road.context(), feed, [symbol])


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
