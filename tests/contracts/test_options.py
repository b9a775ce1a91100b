"""Market data of options: what every emulated road to a venue owes. The venue's clock stands at January 3, 2024."""

from __future__ import annotations

from datetime import date

import pytest

from gateway.domain.errors import SymbolUnknown
from gateway.domain.models.market_data import SubscriptionSet, Timeframe, TimeframeUnit
from gateway.domain.types import AssetClass, Channel, DataFeed, FeedState
from tests.contracts.roads import Road
from tests.infrastructure.alpaca.listeners import MarketNotes

CALL, PUT = "AAPL240119C00200000", "AAPL240119P00215000"
FEEDS = (DataFeed.INDICATIVE, DataFeed.OPRA)


@pytest.mark.parametrize("feed", FEEDS)
async def test_the_newest_of_everything(emulated: Road, feed: DataFeed) -> None:
    await emulated.advance(1.0)
    data, context = emulated.market_data, emulated.context()
    quotes = await data.get_latest_quotes(context, feed, [CALL, PUT, "AAPL240119C00201000"])
    trades = await data.get_latest_trades(context, feed, [CALL])
    snapshots = await data.get_snapshots(context, feed, [CALL, PUT, "AAPL240119C00201000"])
    assert [quote.symbol for quote in quotes] == [CALL, PUT], "a contract that is not listed is left out"
    for quote in quotes:
        assert 0 < quote.bid_price < quote.ask_price
        assert (quote.feed, quote.conditions, quote.tape) == (feed, ("A",), "")
        assert quote.bid_size >= 1
        assert quote.bid_exchange
    assert [(trade.symbol, trade.feed, trade.trade_id, trade.conditions) for trade in trades] == [
        (CALL, feed, 0, ("I",))
    ]
    assert [snapshot.symbol for snapshot in snapshots] == [CALL, PUT]
    for snapshot, sign in zip(snapshots, (1, -1), strict=True):
        assert snapshot.latest_quote is not None
        assert snapshot.implied_volatility is not None
        assert 0.1 < snapshot.implied_volatility < 1.0
        assert snapshot.greeks is not None
        assert 0 < sign * snapshot.greeks.delta < 1
        assert snapshot.greeks.gamma > 0
        assert snapshot.greeks.theta < 0
        assert snapshot.greeks.vega > 0
        assert sign * snapshot.greeks.rho > 0
        assert (snapshot.minute_bar, snapshot.daily_bar) == (None, None)


async def test_what_options_do_not_have(emulated: Road) -> None:
    data, context, feed = emulated.market_data, emulated.context(), DataFeed.INDICATIVE
    span = {"start_ns": emulated.now_ns() - 10**9, "end_ns": emulated.now_ns()}
    minute = Timeframe(1, TimeframeUnit.MINUTE)
    for question in (
        data.get_latest_bars(context, feed, [CALL]),
        data.get_latest_order_books(context, feed, [CALL]),
        data.list_quotes(context, feed, [CALL], **span),
        data.list_bars(context, feed, [CALL], minute, **span),
    ):
        with pytest.raises(SymbolUnknown):
            await question


@pytest.mark.parametrize(
    ("feed", "symbol"), [(DataFeed.OPRA, "AAPL"), (DataFeed.IEX, CALL), (DataFeed.OPRA, "AAPL260230C00200000")]
)
async def test_a_symbol_of_another_class_is_refused(emulated: Road, feed: DataFeed, symbol: str) -> None:
    with pytest.raises(SymbolUnknown):
        await emulated.market_data.get_latest_quotes(emulated.context(), feed, [symbol])


async def test_the_contracts_of_a_day(emulated: Road) -> None:
    contracts = await emulated.market_data.list_option_contracts(emulated.context(), "AAPL", date(2024, 1, 19))
    symbols = [contract.symbol for contract in contracts]
    assert symbols == sorted(symbols)
    assert {CALL, PUT} < set(symbols)
    assert {(one.asset_class, one.status, one.tradable) for one in contracts} == {
        (AssetClass.US_OPTION, "active", False)
    }
    for root, day in (("AAPL", date(2024, 1, 18)), ("MSFT", date(2024, 1, 19)), ("NONE", date(2024, 1, 19))):
        assert await emulated.market_data.list_option_contracts(emulated.context(), root, day) == []


async def test_past_trades_page_by_page_are_those_in_one_page(emulated: Road) -> None:
    start_ns, end_ns = emulated.now_ns() - 1_800 * 10**9, emulated.now_ns()

    async def page(token: str, size: int) -> tuple[list[object], str]:
        found = await emulated.market_data.list_trades(
            emulated.context(), DataFeed.OPRA, [PUT, CALL], start_ns=start_ns, end_ns=end_ns, page_size=size,
            page_token=token,
        )  # fmt: skip
        return [(trade.symbol, trade.time_ns, trade.price, trade.size) for trade in found.items], found.next_page_token

    whole, token = await page("", 1_000)
    assert token == ""
    assert len(whole) > 50
    pieces, token = await page("", 20)
    while token:
        more, token = await page(token, 20)
        pieces += more
    assert pieces == whole


@pytest.mark.parametrize("feed", FEEDS)
async def test_quotes_and_trades_come_live(emulated: Road, feed: DataFeed) -> None:
    notes = MarketNotes()
    connection = await emulated.streaming.open_market_data(feed, notes)
    wanted = SubscriptionSet({Channel.QUOTES: frozenset({CALL, PUT}), Channel.TRADES: frozenset({CALL})})
    await connection.set_subscriptions(wanted)
    await emulated.until(lambda: notes.states and notes.states[-1][0] is FeedState.LIVE)
    assert {channel: found for channel, found in notes.sets[-1].symbols.items() if found} == wanted.symbols
    began_ns = emulated.now_ns()
    for _ in range(3):
        await emulated.advance(45.0)
    await emulated.until(lambda: len(notes.quotes) >= 2 * 130 and len(notes.trades) >= 3)
    assert {quote.symbol for quote in notes.quotes} == {CALL, PUT}
    assert {trade.symbol for trade in notes.trades} == {CALL}
    for value in (*notes.quotes, *notes.trades):
        assert (value.feed, value.tape) == (feed, "")
    page = await emulated.market_data.list_trades(
        emulated.context(), feed, [CALL], start_ns=began_ns + 1, end_ns=emulated.now_ns()
    )
    live = [(trade.time_ns, trade.price, trade.size) for trade in notes.trades]
    assert live == [(trade.time_ns, trade.price, trade.size) for trade in page.items], "the past is what was live"
    newest = (await emulated.market_data.get_latest_quotes(emulated.context(), feed, [PUT]))[0]
    last = [quote for quote in notes.quotes if quote.symbol == PUT][-1]
    assert (newest.time_ns, newest.bid_price, newest.ask_price) == (last.time_ns, last.bid_price, last.ask_price)
    with pytest.raises(ValueError, match="spelled"):
        await connection.set_subscriptions(SubscriptionSet({Channel.QUOTES: frozenset({"AAPL"})}))
    await connection.close()
