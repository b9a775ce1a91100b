"""What the synthetic market says beside quotes, trades and bars; and how each of it goes out on the sockets."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgpack
import orjson
import pytest
from hypothesis import given, strategies as st

from gateway.domain.models.market_data import (
    Bar,
    BookLevel,
    Luld,
    OrderBook,
    Quote,
    Trade,
    TradeCancel,
    TradeCorrection,
    TradingStatus,
)
from gateway.domain.types import NANOS_PER_SECOND, Channel, DataFeed
from gateway.emulator.afterthoughts import AFTERTHOUGHT_NS_MAX, AFTERTHOUGHT_NS_MIN, UPDATED_BAR_DELAY_NS
from gateway.emulator.bars import MINUTE_NS
from gateway.emulator.books import LEVELS, Books, book_of
from gateway.emulator.market import SyntheticMarket, day_so_far
from gateway.emulator.streams.codec import JSON, MSGPACK
from gateway.emulator.wire_events import channel_of, message_of

NOON_NS = int(datetime(2026, 3, 11, 16, 0, tzinfo=UTC).timestamp()) * NANOS_PER_SECOND
T_NS = 1_772_461_800_123_456_789
SIP, CRYPTO = DataFeed.SIP, DataFeed.CRYPTO_US


@pytest.fixture(scope="module")
def events() -> list[tuple[int, Any]]:
    """Five minutes of the market of seed 7."""
    return list(SyntheticMarket(7).events(NOON_NS, NOON_NS + 5 * MINUTE_NS))


def test_corrections_and_cancels_are_of_prints_that_were_told_before(events: list[tuple[int, Any]]) -> None:
    printed: dict[tuple[str, int], Trade] = {}
    said = set()
    for due_ns, event in events:
        if isinstance(event, Trade):
            printed[event.symbol, event.trade_id] = event
        elif isinstance(event, TradeCorrection | TradeCancel) and due_ns > NOON_NS + AFTERTHOUGHT_NS_MAX:
            first = event.original if isinstance(event, TradeCorrection) else event
            trade = printed[event.symbol, first.trade_id]
            assert AFTERTHOUGHT_NS_MIN <= due_ns - trade.time_ns < AFTERTHOUGHT_NS_MAX
            assert (first.price, first.size, first.exchange) == (trade.price, trade.size, trade.exchange)
            assert (event.symbol, first.trade_id) not in said, "once"
            said.add((event.symbol, first.trade_id))
            if isinstance(event, TradeCorrection):
                assert (event.symbol, event.corrected.trade_id) not in printed
                assert round(abs(event.corrected.price - trade.price), 2) == 0.01
    kinds = {type(event) for _, event in events}
    assert {TradeCorrection, TradeCancel} <= kinds
    assert 10 < len(said) < 60, "one print in 64, of ten stocks"
    assert not any("/" in symbol for symbol, _ in said)


def test_a_minute_is_made_again_from_its_prints_as_they_stand(events: list[tuple[int, Any]]) -> None:
    again = [(due, bar) for due, bar in events if isinstance(bar, Bar) and bar.channel is Channel.UPDATED_BARS]
    assert again
    for due_ns, bar in again:
        assert due_ns == bar.start_time_ns + MINUTE_NS + UPDATED_BAR_DELAY_NS
        if bar.start_time_ns < NOON_NS:
            continue
        within = (bar.start_time_ns, bar.start_time_ns + MINUTE_NS)
        kept = {
            one.trade_id: (one.price, one.size)
            for _, one in events
            if isinstance(one, Trade) and one.symbol == bar.symbol and within[0] <= one.time_ns < within[1]
        }
        before = len(kept)
        for _, one in events:
            if isinstance(one, TradeCancel) and one.symbol == bar.symbol:
                kept.pop(one.trade_id, None)
            elif isinstance(one, TradeCorrection) and one.symbol == bar.symbol and one.original.trade_id in kept:
                kept[one.original.trade_id] = (one.corrected.price, one.corrected.size)
        prices = [price for price, _ in kept.values()]
        assert (bar.open, bar.high, bar.low, bar.close) == (prices[0], max(prices), min(prices), prices[-1])
        assert (bar.volume, bar.trade_count) == (sum(size for _, size in kept.values()), len(kept))
        assert bar.trade_count <= before


def test_every_minute_of_a_stock_has_its_band(events: list[tuple[int, Any]]) -> None:
    bands = [event for _, event in events if isinstance(event, Luld)]
    assert len(bands) == 5 * 10
    bars = {
        (event.symbol, event.start_time_ns): event
        for _, event in events
        if isinstance(event, Bar) and event.channel is Channel.BARS
    }
    for band in bands:
        bar = bars.get((band.symbol, band.time_ns - NANOS_PER_SECOND - MINUTE_NS))
        assert band.limit_down < band.limit_up
        if bar is not None:
            assert bar.vwap is not None
            assert band.limit_up == pytest.approx(1.05 * bar.vwap, abs=0.01)


def test_the_day_so_far_ends_with_the_minute() -> None:
    market = SyntheticMarket(7)
    minute = market.latest_bar("SPY", NOON_NS)
    assert minute is not None
    day = day_so_far(market, minute)
    assert day is not None
    assert (day.channel, day.final, day.close, day.start_time_ns < minute.start_time_ns) == (
        Channel.DAILY_BARS,
        False,
        minute.close,
        True,
    )


def pair(number: int, bid: float, ask: float, bid_size: float = 1.0) -> Quote:
    return Quote("BTC/USD", number, bid, bid_size, ask, 2.0, CRYPTO, number)


def level_of(book: OrderBook, price: float) -> BookLevel:
    [found] = [level for level in book.bids if level.price == price]
    return found


@pytest.mark.parametrize(("bid", "ask"), [(95_123.4, 95_130.0), (100.0, 100.1), (0.0123, 0.0124), (9_999.5, 10_000.5)])
def test_behind_the_best_prices_are_levels_in_order(bid: float, ask: float) -> None:
    book = book_of(pair(1, bid, ask))
    assert (book.bids[0], book.asks[0]) == (BookLevel(bid, 1.0), BookLevel(ask, 2.0))
    for side, best_first in ((book.bids, True), (book.asks, False)):
        prices = [level.price for level in side]
        assert len(side) == LEVELS
        assert prices == sorted(set(prices), reverse=best_first)
        assert all(level.size > 0 for level in side)
    assert book == book_of(pair(1, bid, ask)), "the same market has the same book"
    assert not book_of(pair(1, 0.0, ask)).bids


@given(st.lists(st.tuples(st.floats(0.01, 200_000), st.floats(1.0001, 1.01)), min_size=1, max_size=12))
def test_whole_and_changes_make_the_book_that_is_shown(moves: list[tuple[float, float]]) -> None:
    books, held = Books(), None
    for number, (bid, factor) in enumerate(moves):
        told = books.follow(pair(number, bid, bid * factor))
        if told is not None:
            held = told if held is None or told.reset else held.changed_by(told)
        shown = book_of(pair(number, bid, bid * factor))
        assert held is not None
        assert (held.bids, held.asks) == (shown.bids, shown.asks)


def test_a_book_is_followed_from_whole_to_change() -> None:
    books = Books()
    first = books.stand("BTC/USD", pair(1, 100.0, 101.0))
    assert first is not None
    assert first.reset
    change = books.follow(pair(2, 100.05, 101.0))
    assert change is not None
    assert (change.reset, change.asks) == (False, ())
    assert change.bids == (BookLevel(99.1, 0.0), BookLevel(100.05, 1.0), level_of(change, 100.0)), "one in, one out"
    assert level_of(change, 100.0) != first.bids[0], "it stands behind the best now"
    assert books.follow(pair(3, 100.05, 101.0)) is None, "nothing changed"
    assert first.changed_by(change) == book_of(pair(2, 100.05, 101.0))
    books.forget("BTC/USD")
    again = books.follow(pair(4, 99.0, 101.0))
    assert again is not None
    assert again.reset


TRADE = Trade("AAPL", T_NS, 10.5, 7.0, SIP, 0, "V", 12, ("@",), "C")
MESSAGES: list[tuple[Any, str, dict[str, Any]]] = [
    (
        TradeCorrection("AAPL", T_NS, TRADE, Trade("AAPL", T_NS, 10.6, 7.5, SIP, 0, "V", 13, ("I",), "C"), SIP, 0),
        "trades",
        {"T": "c", "S": "AAPL", "x": "V", "oi": 12, "op": 10.5, "os": 7, "oc": ["@"], "ci": 13, "cp": 10.6, "cs": 7.5,
         "cc": ["I"], "z": "C"},
    ),
    (
        TradeCancel("JPM", T_NS, 12, 10.5, 7.0, SIP, 0, "V", "C"),
        "trades",
        {"T": "x", "S": "JPM", "i": 12, "x": "V", "p": 10.5, "s": 7, "a": "C", "z": "A"},
    ),
    (
        Bar("SPY", T_NS, 1.0, 2.0, 0.5, 1.5, 300.0, SIP, 0, 3, 1.25, channel=Channel.UPDATED_BARS),
        "updatedBars",
        {"T": "u", "S": "SPY", "o": 1.0, "h": 2.0, "l": 0.5, "c": 1.5, "v": 300, "n": 3, "vw": 1.25},
    ),
    (
        Bar("SPY", T_NS, 1.0, 2.0, 0.5, 1.5, 300.0, SIP, 0, 3, 1.25, channel=Channel.DAILY_BARS),
        "dailyBars",
        {"T": "d", "S": "SPY", "o": 1.0, "h": 2.0, "l": 0.5, "c": 1.5, "v": 300, "n": 3, "vw": 1.25},
    ),
    (
        OrderBook("BTC/USD", T_NS, (BookLevel(1.0, 2.5),), (), True, CRYPTO, 0),
        "orderbooks",
        {"T": "o", "S": "BTC/USD", "b": [{"p": 1.0, "s": 2.5}], "a": [], "r": True},
    ),
    (
        OrderBook("BTC/USD", T_NS, (), (BookLevel(1.0, 0.0),), False, CRYPTO, 0),
        "orderbooks",
        {"T": "o", "S": "BTC/USD", "b": [], "a": [{"p": 1.0, "s": 0.0}]},
    ),
    (
        TradingStatus("AAPL", T_NS, "H", SIP, 0, "Trading Halt", "T12", "Halt", "C"),
        "statuses",
        {"T": "s", "S": "AAPL", "sc": "H", "sm": "Trading Halt", "rc": "T12", "rm": "Halt", "z": "C"},
    ),
    (Luld("AAPL", T_NS, 3.24, 2.65, SIP, 0, "B", "C"), "lulds",
     {"T": "l", "S": "AAPL", "u": 3.24, "d": 2.65, "i": "B", "z": "C"}),
]  # fmt: skip


@pytest.mark.parametrize(("event", "channel", "letters"), MESSAGES)
def test_every_event_goes_out_in_alpacas_letters(event: Any, channel: str, letters: dict[str, Any]) -> None:
    assert channel_of(event) == channel
    text = orjson.loads(JSON.encode(message_of(event, JSON.time)))
    assert text == letters | {"t": "2026-03-02T14:30:00.123456789Z"}
    packed = msgpack.unpackb(MSGPACK.encode(message_of(event, MSGPACK.time)))
    assert packed == letters | {"t": msgpack.Timestamp(*divmod(T_NS, NANOS_PER_SECOND))}
    assert next(iter(text)) == next(iter(packed)) == "T"
