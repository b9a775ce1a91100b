"""Pages of past quotes and trades, and order books: what is asked, and what is made of answers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from gateway.domain.errors import SymbolUnknown, VenueUnreachable
from gateway.domain.models.market_data import Page, Timeframe, TimeframeUnit
from gateway.domain.types import DataFeed
from gateway.infrastructure.alpaca.clients import ClientFactory
from gateway.infrastructure.alpaca.history_parts import SYMBOLS_PER_REQUEST_MAX, part_of
from gateway.infrastructure.alpaca.market_data_adapter import MarketDataAdapter
from tests.infrastructure.alpaca.scripted import Reply, ScriptedHttp, context, factory_at, json_reply

NOW_NS = 1_790_000_000_000_000_000
SPAN: dict[str, Any] = {"start_ns": 0, "end_ns": NOW_NS}
MANY = [f"S{number:03}" for number in range(2 * SYMBOLS_PER_REQUEST_MAX + 1)]
QUOTE = {"bx": "V", "bp": 240.23, "bs": 3, "ax": "Q", "ap": 240.25, "as": 1, "c": ["R"], "z": "C"}
TRADE = {"x": "V", "p": 240.24, "s": 100, "i": 7, "c": ["@"], "z": "C"}
BAR = {"o": 1.0, "h": 2.0, "l": 0.5, "c": 1.5, "v": 10, "n": 3, "vw": 1.25}
ROW = {"quotes": QUOTE, "trades": TRADE, "bars": BAR}
NOUNS = tuple(ROW)


def at(noun: str, second: int, **changes: Any) -> dict[str, Any]:
    return {"t": f"2026-09-21T14:13:{second:02}.123456789Z", **ROW[noun], **changes}


def asking(factory: ClientFactory, noun: str) -> Callable[..., Any]:
    """The adapter's method of a noun, with what only bars want."""
    adapter = MarketDataAdapter(factory, lambda: NOW_NS)
    if noun != "bars":
        return getattr(adapter, f"list_{noun}")  # type: ignore[no-any-return]

    async def list_bars(call: Any, feed: DataFeed, symbols: list[str], **options: Any) -> Page[Any]:
        return await adapter.list_bars(call, feed, symbols, Timeframe(1, TimeframeUnit.MINUTE), **options)

    return list_bars


@pytest.mark.parametrize("noun", ["quotes", "trades"])
async def test_a_page_is_one_request_and_an_error_loses_no_page(noun: str) -> None:
    pages = [
        json_reply({noun: {"MSFT": [at(noun, 1)], "AAPL": [at(noun, 3), at(noun, 2)]}, "next_page_token": "two"}),
        json_reply({"code": 50010000, "message": "internal"}, 500),
        json_reply({noun: None, "next_page_token": None}),
    ]
    async with ScriptedHttp(*pages) as venue, factory_at(venue.url) as factory:
        ask = asking(factory, noun)
        options = SPAN | {"as_of_date": date(2026, 1, 2), "page_size": 50_000, "newest_first": True}
        first = await ask(context(), DataFeed.SIP, ["MSFT", "AAPL"], **options)
        assert [(value.symbol, value.time_ns // 10**9 % 60) for value in first.items] == [
            ("AAPL", 3), ("AAPL", 2), ("MSFT", 1),
        ]  # fmt: skip
        assert {(value.feed, value.receive_time_ns) for value in first.items} == {(DataFeed.SIP, NOW_NS)}
        assert first.items[0].time_ns % 10**9 == 123_456_789
        with pytest.raises(VenueUnreachable):
            await ask(context(), DataFeed.SIP, ["MSFT", "AAPL"], page_token=first.next_page_token, **options)
        last = await ask(context(), DataFeed.SIP, ["MSFT", "AAPL"], page_token=first.next_page_token, **options)
        assert last == Page((), "")
        assert [asked.path for asked in venue.asked] == [f"/v2/stocks/{noun}"] * 3
        asked = {
            "symbols": "MSFT,AAPL", "start": "1970-01-01T00:00:00.000000000Z",
            "end": "2026-09-21T14:13:20.000000000Z", "limit": "10000", "sort": "desc", "asof": "2026-01-02",
            "feed": "sip",
        }  # fmt: skip
        assert [one.query for one in venue.asked] == [asked, *[asked | {"page_token": "two"}] * 2]


@pytest.mark.parametrize("noun", NOUNS)
async def test_pairs_have_neither_feeds_nor_names_of_another_day(noun: str) -> None:
    async with ScriptedHttp(json_reply({noun: {"BTC/USD": [at(noun, 1)]}})) as venue, factory_at(venue.url) as factory:
        page = await asking(factory, noun)(
            context(), DataFeed.CRYPTO_US, ["BTC/USD"], as_of_date=date(2026, 1, 2), **SPAN
        )
        assert [value.symbol for value in page.items] == ["BTC/USD"]
        assert venue.asked[0].path == f"/v1beta3/crypto/us/{noun}"
        assert not {"feed", "asof"} & set(venue.asked[0].query)


async def test_what_became_of_a_trade_is_kept() -> None:
    rows = [at("trades", second, **({"u": word} if word else {})) for second, word in enumerate(("", "canceled"))]
    async with ScriptedHttp(json_reply({"trades": {"AAPL": rows}})) as venue, factory_at(venue.url) as factory:
        page = await asking(factory, "trades")(context(), DataFeed.IEX, ["AAPL"], **SPAN)
        assert [trade.update for trade in page.items] == ["", "canceled"]


@pytest.mark.parametrize("noun", NOUNS)
async def test_more_symbols_than_an_address_carries_are_read_part_after_part(noun: str) -> None:
    def reply(symbol: str, token: str | None) -> Reply:
        return json_reply({noun: {symbol: [at(noun, 1)]}, "next_page_token": token})

    replies = [reply(MANY[0], "more"), reply(MANY[1], None), json_reply({noun: {}}), reply(MANY[-1], None)]
    async with ScriptedHttp(*replies) as venue, factory_at(venue.url) as factory:
        ask = asking(factory, noun)
        found: list[str] = []
        token, pages = "", 0
        while pages == 0 or token:
            page = await ask(context(), DataFeed.IEX, list(reversed(MANY)), page_token=token, **SPAN)
            found += [value.symbol for value in page.items]
            token, pages = page.next_page_token, pages + 1
            assert pages <= len(replies)
        assert found == [MANY[0], MANY[1], MANY[-1]]
        asked = [(one.query["symbols"].split(","), one.query.get("page_token", "")) for one in venue.asked]
        assert [token for _, token in asked] == ["", "more", "", ""]
        assert [symbols[0] for symbols, _ in asked] == [MANY[0], MANY[0], MANY[200], MANY[400]]
        assert [symbol for symbols, _ in asked[1:] for symbol in symbols] == MANY


@pytest.mark.parametrize("token", ["3:", "-1:", "x", ":x", "1", "0001:x", "\u00b2:"])
def test_a_token_of_no_part_is_refused(token: str) -> None:
    with pytest.raises(VenueUnreachable):
        part_of(MANY, token)


@pytest.mark.parametrize("noun", ["quotes", "trades"])
@pytest.mark.parametrize(
    "wrong",
    [{"t": None}, {"t": "yesterday"}, {"bp": -1, "p": -1}, {"bs": "NaN", "s": "NaN"}, {"ap": True, "p": True}],
)
async def test_a_page_with_one_unreadable_value_is_no_page(noun: str, wrong: dict[str, Any]) -> None:
    page = {noun: {"AAPL": [at(noun, 1), at(noun, 2, **wrong)]}}
    async with ScriptedHttp(json_reply(page)) as venue, factory_at(venue.url) as factory:
        with pytest.raises(VenueUnreachable):
            await asking(factory, noun)(context(), DataFeed.IEX, ["AAPL"], **SPAN)


@pytest.mark.parametrize("page", [[], {"quotes": [7]}, {"quotes": {"AAPL": {}}}, {"quotes": {}, "next_page_token": 7}])
async def test_what_is_no_page_is_none(page: Any) -> None:
    async with ScriptedHttp(json_reply(page)) as venue, factory_at(venue.url) as factory:
        with pytest.raises(VenueUnreachable):
            await asking(factory, "quotes")(context(), DataFeed.IEX, ["AAPL"], **SPAN)


@pytest.mark.parametrize("noun", NOUNS)
async def test_a_symbol_of_another_spelling_never_leaves(noun: str) -> None:
    async with ScriptedHttp(json_reply({})) as venue, factory_at(venue.url) as factory:
        for feed, symbol in ((DataFeed.IEX, "../account"), (DataFeed.IEX, "BTC/USD"), (DataFeed.CRYPTO_US, "AAPL")):
            with pytest.raises(SymbolUnknown):
                await asking(factory, noun)(context(), feed, [symbol], **SPAN)
        assert venue.asked == []


async def test_order_books_are_whole_sorted_and_without_levels_that_are_gone() -> None:
    book = {
        "t": "2026-09-21T14:13:20.123456789Z",
        "b": [{"p": 20846, "s": 0.1902}, {"p": 20900.5, "s": 1}, {"p": 20350, "s": 0}],
        "a": [{"p": 21444, "s": 0}, {"p": 20902, "s": 0.0097}, {"p": 20901, "s": 2}],
    }
    async with (
        ScriptedHttp(json_reply({"orderbooks": {"BTC/USD": book, "ETH/USD": None}})) as venue,
        factory_at(venue.url) as factory,
    ):
        adapter = MarketDataAdapter(factory, lambda: NOW_NS)
        (read,) = await adapter.get_latest_order_books(context(), DataFeed.CRYPTO_US, ["BTC/USD", "ETH/USD"])
        assert (read.symbol, read.reset, read.feed, read.receive_time_ns) == (
            "BTC/USD", True, DataFeed.CRYPTO_US, NOW_NS,
        )  # fmt: skip
        assert [(level.price, level.size) for level in read.bids] == [(20900.5, 1.0), (20846.0, 0.1902)]
        assert [(level.price, level.size) for level in read.asks] == [(20901.0, 2.0), (20902.0, 0.0097)]
        assert venue.asked[0].path == "/v1beta3/crypto/us/latest/orderbooks"
        assert venue.asked[0].query == {"symbols": "BTC/USD,ETH/USD"}
        with pytest.raises(SymbolUnknown):
            await adapter.get_latest_order_books(context(), DataFeed.IEX, ["AAPL"])
    for wrong in ({"b": [7]}, {"b": [{"p": "x", "s": 1}]}, {"a": {}}, {"t": None}):
        async with (
            ScriptedHttp(json_reply({"orderbooks": {"BTC/USD": book | wrong}})) as venue,
            factory_at(venue.url) as factory,
        ):
            with pytest.raises(VenueUnreachable):
                await MarketDataAdapter(factory).get_latest_order_books(context(), DataFeed.CRYPTO_US, ["BTC/USD"])
