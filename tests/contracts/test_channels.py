"""Every channel, on every road: what is subscribed comes, by its channel, in order, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gateway.domain.models.market_data import (
    Bar,
    LiveValue,
    Luld,
    News,
    OrderBook,
    SubscriptionSet,
    Trade,
    TradeCancel,
    TradeCorrection,
)
from gateway.domain.types import Channel, DataFeed
from tests.contracts.roads import EMULATED, Road
from tests.emulator.host import EmulatorHost
from tests.infrastructure.alpaca.listeners import MarketNotes

STOCKS = {"AAPL", "SPY", "NVDA", "MSFT"}
_NOT_OF_STOCKS = (Channel.QUOTES, Channel.ORDER_BOOKS, Channel.NEWS)
STOCK_CHANNELS = [channel for channel in Channel if channel not in _NOT_OF_STOCKS]
MINUTES = 4


async def heard(road: Road, feed: DataFeed, channels: list[Channel], symbols: set[str]) -> MarketNotes:
    """Some minutes of channels, until the emulator has said all."""
    notes = MarketNotes()
    connection = await road.streaming.open_market_data(feed, notes)
    await connection.set_subscriptions(SubscriptionSet({channel: frozenset(symbols) for channel in channels}))
    await road.until(lambda: notes.state_names()[-1:] == ["live"])
    for _ in range(MINUTES * 2):
        await road.advance(30.0)
    await road.until(_has_all(notes, channels, symbols))
    await connection.close()
    return notes


def _has_all(notes: MarketNotes, channels: list[Channel], symbols: set[str]) -> Callable[[], bool]:
    """Frames travel in order, and the last minute's bar is the last event: when it is here, so is the rest."""
    last = Channel.BARS if Channel.BARS in channels else channels[0]
    if last is Channel.NEWS:
        return lambda: len(notes.values.get(last, ())) >= MINUTES
    return lambda: all(
        sum(value.symbol == symbol for value in notes.values.get(last, ())) >= MINUTES for symbol in symbols
    )


async def test_stocks_have_every_channel_but_books(emulated: Road) -> None:
    notes = await heard(emulated, DataFeed.IEX, STOCK_CHANNELS, STOCKS)
    assert notes.quotes == []
    trades = notes.values[Channel.TRADES]
    assert {type(value) for value in trades} == {Trade, TradeCorrection, TradeCancel}
    printed = {(value.symbol, value.trade_id): value for value in trades if isinstance(value, Trade)}
    told = [value for value in trades if isinstance(value, TradeCorrection | TradeCancel)]
    known = 0
    for value in told:
        trade_id = value.trade_id if isinstance(value, TradeCancel) else value.original.trade_id
        known += (value.symbol, trade_id) in printed
    assert known >= len(told) - len(STOCKS), "but for prints of before the subscription"
    for channel, is_final in ((Channel.BARS, True), (Channel.UPDATED_BARS, True), (Channel.DAILY_BARS, False)):
        for bar in notes.values[channel]:
            assert isinstance(bar, Bar)
            assert (bar.channel, bar.final) == (channel, is_final)
    assert {type(value) for value in notes.values[Channel.LULD]} == {Luld}
    assert {value.symbol for values in notes.values.values() for value in values} == STOCKS
    assert {value.feed for values in notes.values.values() for value in values} == {DataFeed.IEX}


@pytest.mark.parametrize(
    ("feed", "symbol", "foreign"),
    [
        (DataFeed.IEX, "AAPL", {Channel.ORDER_BOOKS, Channel.NEWS}),
        (DataFeed.CRYPTO_US, "BTC/USD", {Channel.TRADING_STATUS, Channel.LULD, Channel.NEWS}),
        (DataFeed.NEWS, "AAPL", set(Channel) - {Channel.NEWS}),
    ],
)
async def test_a_channel_that_a_feed_does_not_have_is_never_acknowledged(
    emulated: Road, feed: DataFeed, symbol: str, foreign: set[Channel]
) -> None:
    notes = MarketNotes()
    connection = await emulated.streaming.open_market_data(feed, notes)
    await connection.set_subscriptions(SubscriptionSet({channel: frozenset({symbol}) for channel in Channel}))
    own = {channel: {symbol} for channel in set(Channel) - foreign}
    await emulated.until(lambda: notes.sets and _named(notes.sets[-1]) == own)
    assert not any(set(_named(told)) & foreign for told in notes.sets)
    await connection.close()


async def test_articles_are_brought_once_whatever_they_are_about(emulated: Road) -> None:
    symbols = {"AAPL", "MSFT", "AMZN", "BTC/USD"}
    notes = await heard(emulated, DataFeed.NEWS, [Channel.NEWS], symbols)
    articles = [value for value in notes.values[Channel.NEWS] if isinstance(value, News)]
    assert set(notes.values) == {Channel.NEWS}
    assert all({symbol.replace("/", "") for symbol in symbols} & set(article.symbols) for article in articles)
    assert any(len(article.symbols) > 1 for article in articles)
    told = [(article.news_id, article.update_time_ns) for article in articles]
    assert len(set(told)) == len(told)
    assert {article.feed for article in articles} == {DataFeed.NEWS}


async def test_a_book_begins_whole_and_its_changes_keep_it_sound(emulated: Road) -> None:
    notes = await heard(emulated, DataFeed.CRYPTO_US, [Channel.BARS, Channel.ORDER_BOOKS], {"BTC/USD"})
    books: list[Any] = notes.values[Channel.ORDER_BOOKS]
    assert [book.reset for book in books[:2]] == [True, False]
    whole: OrderBook = books[0]
    for book in books[1:]:
        whole = whole.changed_by(book)
        assert whole.bids
        assert whole.asks
        assert whole.bids[0].price < whole.asks[0].price
    (latest,) = await emulated.market_data.get_latest_order_books(emulated.context(), DataFeed.CRYPTO_US, ["BTC/USD"])
    assert (whole.bids, whole.asks) == (latest.bids, latest.asks), "changes end where a question does"


async def test_a_book_that_is_asked_for_again_begins_whole_again(emulated: Road) -> None:
    notes = MarketNotes()
    connection = await emulated.streaming.open_market_data(DataFeed.CRYPTO_US, notes)
    books, quotes = Channel.ORDER_BOOKS, Channel.QUOTES
    for wanted in ({quotes: "ETH/USD", books: "BTC/USD"}, {quotes: "ETH/USD"}, {quotes: "ETH/USD", books: "BTC/USD"}):
        notes.values.clear()
        before = len(notes.sets)
        await connection.set_subscriptions(SubscriptionSet({key: frozenset({name}) for key, name in wanted.items()}))
        await emulated.until(lambda: len(notes.sets) > before)  # noqa: B023 - asked at once
        await emulated.advance(2.0)
        if books in wanted:
            await emulated.until(lambda: notes.values.get(books))
            first = notes.values[books][0]
            assert isinstance(first, OrderBook)
            assert first.reset
    await connection.close()


@pytest.mark.parametrize(
    ("feed", "channels", "symbols"),
    [
        (DataFeed.SIP, STOCK_CHANNELS, STOCKS),
        (DataFeed.CRYPTO_US, [Channel.BARS, Channel.DAILY_BARS, Channel.TRADES], {"BTC/USD"}),
        (DataFeed.NEWS, [Channel.NEWS], {"AAPL", "TSLA", "SPY", "BTC/USD"}),
    ],
)
async def test_every_road_brings_the_same(
    start_emulator: EmulatorHost, feed: DataFeed, channels: list[Channel], symbols: set[str]
) -> None:
    """Value for value, but for when each was read."""
    brought = []
    for name in sorted(EMULATED):
        async with EMULATED[name](start_emulator) as road:
            notes = await heard(road, feed, channels, symbols)
            brought.append({channel: [_unread(value) for value in values] for channel, values in notes.values.items()})
    assert set(brought[0]) == set(brought[1])
    for channel in brought[0]:
        assert brought[0][channel] == brought[1][channel], channel


def _named(told: SubscriptionSet) -> dict[Channel, set[str]]:
    return {channel: set(symbols) for channel, symbols in told.symbols.items() if symbols}


def _unread(value: LiveValue) -> LiveValue:
    if isinstance(value, TradeCorrection):
        original, corrected = replace(value.original, receive_time_ns=0), replace(value.corrected, receive_time_ns=0)
        value = replace(value, original=original, corrected=corrected)
    return replace(value, receive_time_ns=0)
