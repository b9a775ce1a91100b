"""AccountAdapter and MarketDataAdapter: what they ask, page by page, and what they make of answers."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from gateway.domain.errors import SymbolUnknown, VenueAuthentication, VenueUnreachable
from gateway.domain.models.market_data import Adjustment, Timeframe, TimeframeUnit
from gateway.domain.types import AssetClass, DataFeed, Venue
from gateway.infrastructure.alpaca.account_adapter import AccountAdapter
from gateway.infrastructure.alpaca.asset_table import RELOAD_INTERVAL_MIN_S, AssetTable
from gateway.infrastructure.alpaca.clients import ClientFactory
from gateway.infrastructure.alpaca.history_parts import SYMBOLS_PER_REQUEST_MAX
from gateway.infrastructure.alpaca.market_data_adapter import MarketDataAdapter
from tests.infrastructure.alpaca.samples import BTC_ID, account, asset, crypto_asset, error, order, position
from tests.infrastructure.alpaca.scripted import Reply, ScriptedHttp, context, factory_at, json_reply

NOW_NS = 1_790_000_000_000_000_000
T = "2026-09-21T14:13:20.123456789Z"
QUOTE = {"t": T, "bx": "V", "bp": 240.23, "bs": 3, "ax": "Q", "ap": 240.25, "as": 1, "c": ["R"], "z": "C"}
TRADE = {"t": T, "x": "V", "p": 240.24, "s": 100, "i": 7, "c": ["@"], "z": "C"}
BAR = {"t": T, "o": 1.0, "h": 2.0, "l": 0.5, "c": 1.5, "v": 10, "n": 3, "vw": 1.25}
MINUTE = Timeframe(1, TimeframeUnit.MINUTE)


def market(factory: ClientFactory) -> MarketDataAdapter:
    return MarketDataAdapter(factory, lambda: NOW_NS)


def accounts(factory: ClientFactory, monotonic: Any = lambda: 0.0) -> AccountAdapter:
    return AccountAdapter(factory, AssetTable(market(factory).list_assets, monotonic), lambda: NOW_NS)


async def test_the_account_says_when_it_was_read_and_where() -> None:
    async with ScriptedHttp(json_reply(account())) as venue, factory_at(venue.url) as factory:
        read = await accounts(factory).get_account(context())
        assert (read.venue, read.read_time_ns, read.buying_power) == (Venue.EMULATOR, NOW_NS, Decimal("262113.632"))
        assert venue.asked[0].target == "/v2/account"


async def test_crypto_positions_are_named_by_the_asset_table_never_by_cutting_strings() -> None:
    rows = [
        position(),
        position(asset_id=BTC_ID, symbol="BTCUSD", asset_class="crypto", qty="0.5", qty_available="0.5"),
        position(asset_id="99999999-9999-4999-8999-999999999999", symbol="WUSDUSD", asset_class="crypto"),
    ]
    table = [crypto_asset(), crypto_asset(id="77777777-7777-4777-8777-777777777777", symbol="ETH/USD")]
    async with ScriptedHttp(json_reply(rows), json_reply(table), json_reply(rows)) as venue, factory_at(venue.url) as f:
        adapter = accounts(f)
        held = await adapter.list_positions(context())
        assert [(one.symbol, one.asset_class) for one in held] == [
            ("AAPL", AssetClass.US_EQUITY),
            ("BTC/USD", AssetClass.CRYPTO),
            ("WUSDUSD", AssetClass.UNRECOGNIZED),
        ]
        assert await adapter.list_positions(context()) == held
        paths = [asked.path for asked in venue.asked]
        assert paths == ["/v2/positions", "/v2/assets", "/v2/positions"], "an unknown id is not looked up at once again"


async def test_an_id_that_stays_unknown_is_looked_up_again_after_a_while() -> None:
    now_s = 0.0
    rows = [position(asset_id=BTC_ID, symbol="BTCUSD", asset_class="crypto")]
    steps = [json_reply(rows), json_reply([]), json_reply(rows), json_reply([crypto_asset()])]
    async with ScriptedHttp(*steps) as venue, factory_at(venue.url) as factory:
        adapter = accounts(factory, lambda: now_s)
        assert [one.symbol for one in await adapter.list_positions(context())] == ["BTCUSD"]
        now_s = RELOAD_INTERVAL_MIN_S + 1
        assert [one.symbol for one in await adapter.list_positions(context())] == ["BTC/USD"]
        assert len(venue.asked) == 4


async def test_without_crypto_the_asset_table_is_not_read() -> None:
    async with ScriptedHttp(json_reply([position()])) as venue, factory_at(venue.url) as factory:
        await accounts(factory).list_positions(context())
        assert len(venue.asked) == 1


@pytest.mark.parametrize("rows", [[position(qty="NaN")], [position(asset_id=None)], [position(symbol=None)], {}, [1]])
async def test_positions_that_cannot_be_read_fail_as_a_read(rows: Any) -> None:
    async with ScriptedHttp(json_reply(rows)) as venue, factory_at(venue.url) as factory:
        with pytest.raises(VenueUnreachable):
            await accounts(factory).list_positions(context())


async def test_fills_come_page_by_page() -> None:
    def fill(number: int) -> dict[str, Any]:
        return {
            "id": f"2026030200000000{number}::x",
            "activity_type": "FILL",
            "transaction_time": T,
            "type": "fill",
            "price": "1.50",
            "qty": "2",
            "side": "sell_short",
            "symbol": "AAPL",
            "leaves_qty": "0",
            "cum_qty": "2",
            "order_id": order()["id"],
        }

    async with ScriptedHttp(json_reply([fill(1), fill(2)]), json_reply([fill(3)])) as venue, factory_at(venue.url) as f:
        adapter = accounts(f)
        first = await adapter.list_fill_activities(context(), after_ns=NOW_NS, page_size=2)
        assert [one.activity_id for one in first.items] == [fill(1)["id"], fill(2)["id"]]
        assert first.next_page_token == fill(2)["id"]
        last = await adapter.list_fill_activities(context(), page_size=2, page_token=first.next_page_token)
        assert (len(last.items), last.next_page_token) == (1, "")
        assert [asked.path for asked in venue.asked] == ["/v2/account/activities/FILL"] * 2
        assert venue.asked[0].query["after"] == "2026-09-21T14:13:20.000000000Z"
        assert venue.asked[1].query == {"direction": "asc", "page_size": "2", "page_token": fill(2)["id"]}


async def test_crypto_fills_are_named_by_the_asset_table() -> None:
    def fill(symbol: str) -> dict[str, Any]:
        return {"id": f"1::{symbol}", "activity_type": "FILL", "transaction_time": T, "symbol": symbol, "side": "buy"}

    table = [
        crypto_asset(),
        crypto_asset(id="1", symbol="ABC/USD"),
        crypto_asset(id="2", symbol="AB/CUSD"),
    ]
    rows = [fill(symbol) for symbol in ("AAPL", "BRK.B", "BTCUSD", "ETH/USD", "ABCUSD", "WUSDUSD")]
    async with ScriptedHttp(json_reply(rows), json_reply(table), json_reply(rows)) as venue, factory_at(venue.url) as f:
        adapter = accounts(f)
        for _ in range(2):
            page = await adapter.list_fill_activities(context())
            assert [one.symbol for one in page.items] == ["AAPL", "BRK.B", "BTC/USD", "ETH/USD", "ABCUSD", "WUSDUSD"]
        assert [asked.path for asked in venue.asked].count("/v2/assets") == 1
    stocks = json_reply([fill("AAPL"), fill("BRK.B"), fill("BTC/USD")])
    async with ScriptedHttp(stocks) as venue, factory_at(venue.url) as factory:
        await accounts(factory).list_fill_activities(context())
        assert len(venue.asked) == 1, "no equity's spelling makes the table be read"


async def test_latest_values_of_both_worlds_and_symbols_without_one() -> None:
    async with ScriptedHttp(json_reply({"quotes": {"AAPL": QUOTE, "MSFT": None}})) as venue, factory_at(venue.url) as f:
        (quote,) = await market(f).get_latest_quotes(context(), DataFeed.SIP, ["AAPL", "MSFT", "BRK.B"])
        assert (quote.symbol, quote.time_ns % 10**9, quote.feed) == ("AAPL", 123_456_789, DataFeed.SIP)
        assert venue.asked[0].path == "/v2/stocks/quotes/latest"
        assert venue.asked[0].query == {"symbols": "AAPL,MSFT,BRK.B", "feed": "sip"}
    async with ScriptedHttp(json_reply({"trades": {"BTC/USD": TRADE}})) as venue, factory_at(venue.url) as factory:
        (trade,) = await market(factory).get_latest_trades(context(), DataFeed.CRYPTO_US, ["BTC/USD"])
        assert trade.symbol == "BTC/USD"
        assert (venue.asked[0].path, venue.asked[0].query) == (
            "/v1beta3/crypto/us/latest/trades",
            {"symbols": "BTC/USD"},
        )
    async with ScriptedHttp(json_reply({"bars": None})) as venue, factory_at(venue.url) as factory:
        assert await market(factory).get_latest_bars(context(), DataFeed.IEX, ["AAPL"]) == []


async def test_snapshots_are_read_in_both_wrappings_and_past_extra_keys() -> None:
    whole = {"latestTrade": TRADE, "latestQuote": QUOTE, "minuteBar": BAR, "dailyBar": BAR, "prevDailyBar": None}
    bare = {"AAPL": whole, "currency": "USD", "MSFT": None}
    async with ScriptedHttp(json_reply(bare)) as venue, factory_at(venue.url) as factory:
        (snapshot,) = await market(factory).get_snapshots(context(), DataFeed.IEX, ["AAPL", "MSFT"])
        assert snapshot.daily_bar is not None
        assert (snapshot.symbol, snapshot.daily_bar.final, snapshot.previous_daily_bar) == ("AAPL", False, None)
    async with (
        ScriptedHttp(json_reply({"snapshots": {"BTC/USD": {"latestTrade": TRADE}}})) as venue,
        factory_at(venue.url) as factory,
    ):
        (snapshot,) = await market(factory).get_snapshots(context(), DataFeed.CRYPTO_US, ["BTC/USD"])
        assert (snapshot.latest_quote, snapshot.latest_trade is not None) == (None, True)


@pytest.mark.parametrize(
    ("feed", "symbol"),
    [
        (DataFeed.IEX, "../account"), (DataFeed.IEX, ""), (DataFeed.IEX, "BTC/USD"), (DataFeed.CRYPTO_US, "AAPL"),
        (DataFeed.IEX, "AAPL,MSFT"), (DataFeed.IEX, "AAPL&feed=sip"), (DataFeed.CRYPTO_US, "BTCUSD"),
    ],
)  # fmt: skip
async def test_a_symbol_of_another_spelling_never_leaves(feed: DataFeed, symbol: str) -> None:
    async with ScriptedHttp(json_reply({})) as venue, factory_at(venue.url) as factory:
        adapter = market(factory)
        for ask in (
            adapter.get_latest_quotes,
            adapter.get_latest_trades,
            adapter.get_latest_bars,
            adapter.get_snapshots,
        ):
            with pytest.raises(SymbolUnknown):
                await ask(context(), feed, ["AAPL", symbol])
        with pytest.raises(SymbolUnknown):
            await adapter.list_bars(context(), feed, [symbol], MINUTE, start_ns=0, end_ns=1)
        assert venue.asked == []


async def test_many_symbols_are_asked_for_in_parts() -> None:
    symbols = [f"S{number}" for number in range(SYMBOLS_PER_REQUEST_MAX + 1)]
    answers = [json_reply({"quotes": {symbol: QUOTE}}) for symbol in ("S0", f"S{SYMBOLS_PER_REQUEST_MAX}")]
    async with ScriptedHttp(*answers) as venue, factory_at(venue.url) as factory:
        quotes = await market(factory).get_latest_quotes(context(), DataFeed.IEX, symbols)
        assert [quote.symbol for quote in quotes] == ["S0", f"S{SYMBOLS_PER_REQUEST_MAX}"]
        assert [len(asked.query["symbols"].split(",")) for asked in venue.asked] == [SYMBOLS_PER_REQUEST_MAX, 1]


async def test_bars_come_one_page_at_a_time_and_an_error_loses_no_page() -> None:
    pages = [
        json_reply({"bars": {"AAPL": [BAR]}, "next_page_token": "two"}),
        json_reply(error(50010000, "internal"), 500),
        json_reply({"bars": {"MSFT": [BAR]}, "next_page_token": None}),
    ]
    async with ScriptedHttp(*pages) as venue, factory_at(venue.url) as factory:
        adapter = market(factory)

        async def page(token: str) -> Any:
            return await adapter.list_bars(
                context(), DataFeed.IEX, ["AAPL", "MSFT"], Timeframe(5, TimeframeUnit.MINUTE), start_ns=0,
                end_ns=NOW_NS, adjustments=(Adjustment.SPLIT, Adjustment.DIVIDEND), as_of_date=date(2026, 1, 2),
                page_size=50_000, page_token=token,
            )  # fmt: skip

        first = await page("")
        assert len(venue.asked) == 1, "one page is one request, however many there are"
        with pytest.raises(VenueUnreachable):
            await page(first.next_page_token)
        second = await page(first.next_page_token)
        assert ([bar.symbol for bar in second.items], second.next_page_token) == (["MSFT"], "")
        assert venue.asked[0].query == {
            "symbols": "AAPL,MSFT", "timeframe": "5Min", "start": "1970-01-01T00:00:00.000000000Z",
            "end": "2026-09-21T14:13:20.000000000Z", "limit": "10000", "sort": "asc", "adjustment": "split,dividend",
            "asof": "2026-01-02", "feed": "iex",
        }  # fmt: skip
        assert venue.asked[2].query["page_token"] == "two"


async def test_crypto_bars_know_no_adjustments() -> None:
    async with ScriptedHttp(json_reply({"bars": {}, "next_page_token": None})) as venue, factory_at(venue.url) as f:
        await market(f).list_bars(
            context(), DataFeed.CRYPTO_US, ["BTC/USD"], MINUTE, start_ns=0, end_ns=1, adjustments=(Adjustment.ALL,),
            as_of_date=date(2026, 1, 2), newest_first=True,
        )  # fmt: skip
        assert venue.asked[0].path == "/v1beta3/crypto/us/bars"
        assert venue.asked[0].query["sort"] == "desc"
        assert not {"adjustment", "asof", "feed"} & venue.asked[0].query.keys()


async def test_what_market_data_refusals_mean() -> None:
    for reply, wanted in (
        (json_reply({"message": "invalid symbol: AAPLX"}, 400), SymbolUnknown),
        (json_reply({"message": "forbidden."}, 403), VenueAuthentication),
        (json_reply({"message": "subscription does not permit querying recent SIP data"}, 403), VenueUnreachable),
        (json_reply({"quotes": {"AAPL": QUOTE | {"bp": -1}}}), VenueUnreachable),
        (Reply(body=b'{"quotes": {"AAPL": {"bp": 1e400}}}'), VenueUnreachable),
    ):
        async with ScriptedHttp(reply) as venue, factory_at(venue.url) as factory:
            with pytest.raises(wanted):
                await market(factory).get_latest_quotes(context(), DataFeed.IEX, ["AAPL"])


async def test_assets_of_every_status_without_the_unreadable() -> None:
    rows = [asset(), asset(symbol="NO GO"), asset(symbol="ZZZ", status="inactive")]
    async with ScriptedHttp(json_reply(rows)) as venue, factory_at(venue.url) as factory:
        adapter = market(factory)
        assert [one.symbol for one in await adapter.list_assets(context(), AssetClass.US_EQUITY)] == ["AAPL", "ZZZ"]
        assert venue.asked[0].query == {"asset_class": "us_equity"}
        assert await adapter.list_assets(context(), AssetClass.UNRECOGNIZED) == []
        assert len(venue.asked) == 1


async def test_the_clock_and_the_days() -> None:
    clock = {"timestamp": T, "is_open": True, "next_open": "2026-09-22T09:30:00-04:00", "next_close": T}
    async with ScriptedHttp(json_reply(clock)) as venue, factory_at(venue.url) as factory:
        read = await market(factory).get_market_clock(context())
        assert (read.is_open, read.next_open_time_ns) == (True, 1_790_083_800_000_000_000)
    for broken in (clock | {"is_open": "yes"}, clock | {"next_open": None}, []):
        async with ScriptedHttp(json_reply(broken)) as venue, factory_at(venue.url) as factory:
            with pytest.raises(VenueUnreachable):
                await market(factory).get_market_clock(context())
    days = [{"date": f"2026-03-0{day}", "open": "09:30", "close": "16:00"} for day in (4, 2, 3)]
    async with ScriptedHttp(json_reply(days)) as venue, factory_at(venue.url) as factory:
        found = await market(factory).list_market_days(context(), date(2026, 3, 2), date(2026, 3, 3))
        assert [day.date.day for day in found] == [2, 3]
        assert venue.asked[0].query == {"start": "2026-03-02", "end": "2026-03-03"}
