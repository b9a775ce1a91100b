"""The synthetic market: a pure function of seed, symbol and time, and bars that are the sums of its trades."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from gateway.domain.models.market_data import Bar, News, Quote, Timeframe, TimeframeUnit, Trade
from gateway.domain.types import NANOS_PER_SECOND
from gateway.emulator.bars import DAY_NS, MINUTE_NS, NEW_YORK, midnight_ns, parse_timeframe
from gateway.emulator.exchange.config import SessionRule
from gateway.emulator.market import SyntheticMarket
from gateway.emulator.server import EmulatorOptions, make_market

NOON_NS = int(datetime(2026, 3, 11, 16, 0, tzinfo=UTC).timestamp()) * NANOS_PER_SECOND
MINUTE = Timeframe(1, TimeframeUnit.MINUTE)
DAY = Timeframe(1, TimeframeUnit.DAY)


@pytest.fixture(scope="module")
def market() -> SyntheticMarket:
    return SyntheticMarket(7)


def test_two_runs_see_the_same_market(market: SyntheticMarket) -> None:
    again, other = SyntheticMarket(7), SyntheticMarket(8)
    window = (NOON_NS, NOON_NS + 90 * NANOS_PER_SECOND)
    assert list(market.events(*window)) == list(again.events(*window))
    assert list(market.events(*window)) != list(other.events(*window))


def test_events_are_in_order_and_pieces_make_the_whole(market: SyntheticMarket) -> None:
    end_ns = NOON_NS + 3 * NANOS_PER_SECOND
    whole = list(market.events(NOON_NS, end_ns))
    assert [due for due, _ in whole] == sorted(due for due, _ in whole)
    pieces, seen = [], NOON_NS
    while (due := market.next_event_ns(seen)) is not None and due <= end_ns:
        pieces += market.events(seen, due)
        seen = due
    assert pieces == whole
    counts = {kind: sum(isinstance(event, kind) for _, event in whole) for kind in (Quote, Trade)}
    assert counts[Quote] == 3 * 4 * len(market.symbols)
    assert counts[Trade] >= len(market.symbols)


def test_quotes_are_never_crossed_and_prices_are_cents(market: SyntheticMarket) -> None:
    for symbol in market.symbols:
        quotes = list(market.quotes(symbol, NOON_NS, NOON_NS + 5 * MINUTE_NS))
        assert len(quotes) == 5 * 240
        assert all(0 < quote.bid_price < quote.ask_price for quote in quotes)
        assert all(quote.bid_size > 0 and quote.ask_size > 0 for quote in quotes)
        assert all(round(quote.bid_price, 2) == quote.bid_price for quote in quotes)
        assert len({quote.bid_price for quote in quotes}) > 5, "it moves"


def test_trades_print_at_the_quote_before_them_within_its_size(market: SyntheticMarket) -> None:
    quotes = list(market.quotes("TSLA", NOON_NS, NOON_NS + 2 * MINUTE_NS))
    for trade in market.trades("TSLA", NOON_NS, NOON_NS + 2 * MINUTE_NS):
        quote = [quote for quote in quotes if quote.time_ns < trade.time_ns][-1]
        sides = {quote.bid_price: quote.bid_size, quote.ask_price: quote.ask_size}
        assert 0 < trade.size <= sides[trade.price]


def fold(trades: list[Trade]) -> tuple[float, float, float, float, float, int]:
    prices = [trade.price for trade in trades]
    volume = round(sum(trade.size for trade in trades), 9)
    return prices[0], max(prices), min(prices), prices[-1], volume, len(trades)


@pytest.mark.parametrize("symbol", ["AAPL", "BTC/USD"])
def test_bars_are_the_sums_of_the_trades(market: SyntheticMarket, symbol: str) -> None:
    start_ns = NOON_NS // DAY_NS * DAY_NS
    bars = list(market.bars(symbol, MINUTE, start_ns, start_ns + 89 * MINUTE_NS, NOON_NS))
    assert len(bars) == 90
    for bar in bars[58:62]:  # over the edge of an hour
        trades = list(market.trades(symbol, bar.start_time_ns, bar.start_time_ns + MINUTE_NS - 1))
        assert (bar.open, bar.high, bar.low, bar.close, bar.volume, bar.trade_count) == fold(trades)
        value = sum(trade.price * trade.size for trade in trades)
        assert bar.vwap == pytest.approx(value / bar.volume, abs=1e-5)


def test_longer_bars_are_folds_of_minutes(market: SyntheticMarket) -> None:
    midnight = midnight_ns(date(2026, 3, 10), NEW_YORK)
    minutes = list(market.bars("AAPL", MINUTE, midnight, midnight + DAY_NS - 1, NOON_NS))
    assert len(minutes) == 1440
    for timeframe in (DAY, Timeframe(5, TimeframeUnit.MINUTE), Timeframe(2, TimeframeUnit.HOUR)):
        (first, *_) = market.bars("AAPL", timeframe, midnight, midnight + DAY_NS - 1, NOON_NS)
        length = {"Day": 1440, "Min": 5, "Hour": 120}[timeframe.unit]
        part = minutes[:length]
        assert (first.start_time_ns, first.open, first.close) == (midnight, part[0].open, part[-1].close)
        assert (first.high, first.low) == (max(bar.high for bar in part), min(bar.low for bar in part))
        assert first.volume == sum(bar.volume for bar in part)


def test_weeks_and_months_begin_where_they_should(market: SyntheticMarket) -> None:
    start_ns = NOON_NS - 45 * DAY_NS
    weeks = list(market.bars("MSFT", Timeframe(1, TimeframeUnit.WEEK), start_ns, NOON_NS, NOON_NS))
    months = list(market.bars("MSFT", Timeframe(1, TimeframeUnit.MONTH), start_ns, NOON_NS, NOON_NS))
    assert {datetime.fromtimestamp(bar.start_time_ns / 1e9, NEW_YORK).weekday() for bar in weeks} == {0}
    assert [datetime.fromtimestamp(bar.start_time_ns / 1e9, NEW_YORK).date() for bar in months] == [
        date(2026, 2, 1),
        date(2026, 3, 1),
    ]


def test_descending_is_ascending_turned_around(market: SyntheticMarket) -> None:
    window = ("AAPL", MINUTE, NOON_NS - DAY_NS, NOON_NS, NOON_NS)
    assert list(market.bars(*window, descending=True)) == list(market.bars(*window))[::-1]
    window = ("AAPL", NOON_NS - MINUTE_NS, NOON_NS)
    assert list(market.quotes(*window, descending=True)) == list(market.quotes(*window))[::-1]


def test_only_minutes_that_are_over_have_bars(market: SyntheticMarket) -> None:
    half_past = NOON_NS + 30 * NANOS_PER_SECOND
    bars = list(market.bars("AAPL", MINUTE, NOON_NS - 2 * MINUTE_NS, half_past, half_past))
    assert [bar.start_time_ns for bar in bars] == [NOON_NS - 2 * MINUTE_NS, NOON_NS - MINUTE_NS]
    assert market.latest_bar("AAPL", half_past) == bars[-1]
    published = [event for _, event in market.events(NOON_NS - 1, NOON_NS) if isinstance(event, Bar)]
    assert bars[-1] in published


def test_nyse_hours_close_the_market_for_stocks_alone() -> None:
    market = make_market(EmulatorOptions(session=SessionRule.NYSE))
    saturday_ns = midnight_ns(date(2026, 3, 14), NEW_YORK) + DAY_NS // 2
    events = [event for _, event in market.events(saturday_ns, saturday_ns + MINUTE_NS)]
    symbols = {event.symbol for event in events if not isinstance(event, News)}
    assert symbols == {"BTC/USD", "ETH/USD"}
    friday_close_ns = midnight_ns(date(2026, 3, 13), NEW_YORK) + 20 * 60 * MINUTE_NS
    standing = market.latest_quote("AAPL", saturday_ns)
    assert friday_close_ns - NANOS_PER_SECOND < standing.time_ns < friday_close_ns
    days = list(market.bars("AAPL", DAY, saturday_ns - 7 * DAY_NS, saturday_ns, saturday_ns))
    assert [datetime.fromtimestamp(bar.start_time_ns / 1e9, NEW_YORK).date() for bar in days] == [
        date(2026, 3, 8) + timedelta(days=offset) for offset in range(1, 6)
    ]


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("1Min", 1, "Min"),
        ("59T", 59, "Min"),
        ("Hour", 1, "Hour"),
        ("1D", 1, "Day"),
        ("1W", 1, "Week"),
        ("3M", 3, "Month"),
    ],
)
def test_timeframes(text: str, amount: int, unit: str) -> None:
    assert parse_timeframe(text) == Timeframe(amount, TimeframeUnit(unit))


@pytest.mark.parametrize("text", ["", "60Min", "0Min", "24Hour", "2Day", "5Month", "Min1", "1min", "١Min"])
def test_no_timeframes(text: str) -> None:
    assert parse_timeframe(text) is None
