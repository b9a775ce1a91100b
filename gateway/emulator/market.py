"""The synthetic market: quotes, trades and bars that are a pure function of (seed, symbol, time).

Promises: every symbol has one quote per quarter of a second and a trade in most seconds, printed at the bid or
the offer of the quote before it; minute and daily bars are the exact sums of those trades, also for the past. Two
runs with one seed see the same market, and a restart continues where the market is. Leaves publishing to `floor`.

`Market` is the seam: a recorded tape (`tape.Tape`) stands in its place.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date, timedelta
from functools import lru_cache
from operator import itemgetter
from typing import Final, Protocol

from gateway.domain.models.market_data import (
    Bar,
    Luld,
    News,
    OrderBook,
    Quote,
    Timeframe,
    TimeframeUnit,
    Trade,
    TradeCancel,
    TradeCorrection,
    TradingStatus,
)
from gateway.domain.types import Channel
from gateway.emulator.afterthoughts import UPDATED_BAR_DELAY_NS, Afterthoughts, band_after, updated_bar
from gateway.emulator.articles import Newsroom
from gateway.emulator.bars import DAY_NS, MINUTE_NS, aggregate, date_of, is_daily, midnight_ns, period_start_ns, zone_of
from gateway.emulator.synthetic import LISTINGS, MinuteSums, symbol_market

HOUR_NS: Final = 60 * MINUTE_NS
MARKET_BEGAN_NS: Final = 946_684_800 * 10**9
"""The year 2000. Nothing was quoted or printed before: Alpaca's own history is younger still, and answers nothing."""
HISTORY_DAYS_MAX: Final = 3650
"""Nothing is known of the market more than this long before the instant of asking."""

QUIET_NS_MAX: Final = 14 * DAY_NS
"""No exchange is closed for longer, so the latest of anything is looked for no further back."""

FAR_FUTURE_NS: Final = 2**62
MINUTE: Final = Timeframe(1, TimeframeUnit.MINUTE)
DAY: Final = Timeframe(1, TimeframeUnit.DAY)

_CACHED_BLOCKS: Final = 3
_CACHED_HOURS: Final = 4096
_CACHED_DAYS: Final = 8192


Event = Quote | Trade | TradeCorrection | TradeCancel | Bar | OrderBook | TradingStatus | Luld | News
"""What is published. A bar is one whose minute is over, or that minute again, or the day so far: its channel says."""

Hours = Callable[[date], tuple[int, int] | None]
"""First and last instant, in ns, at which equities are quoted on a date; None when they are not."""


class Market(Protocol):
    """Where prices come from."""

    @property
    def symbols(self) -> tuple[str, ...]:
        """What can be traded."""
        ...

    def open(self, now_ns: int) -> None:
        """The emulator is up; a tape that waits for nobody begins."""
        ...

    def start(self, now_ns: int) -> None:
        """Somebody subscribed to market data: a tape that waits for that begins. Later calls change nothing."""
        ...

    def prepare(self, now_ns: int) -> None:
        """Get ready for the next minute; called on a worker thread."""
        ...

    def next_event_ns(self, after_ns: int) -> int | None:
        """When the next event after an instant is due; None when none is in sight."""
        ...

    def events(self, after_ns: int, until_ns: int) -> Iterator[tuple[int, Event]]:
        """What happens in (after, until], and when, in order: at equal times bars, quotes, trades, and what else."""
        ...

    def quotes(self, symbol: str, start_ns: int, end_ns: int, *, descending: bool = False) -> Iterator[Quote]:
        """Quotes in [start, end]."""
        ...

    def trades(self, symbol: str, start_ns: int, end_ns: int, *, descending: bool = False) -> Iterator[Trade]:
        """Trades in [start, end]."""
        ...

    def bars(
        self, symbol: str, timeframe: Timeframe, start_ns: int, end_ns: int, now_ns: int, *, descending: bool = False
    ) -> Iterator[Bar]:
        """Bars that start in [start, end], made of the minutes that are over at now_ns."""
        ...

    def latest_quote(self, symbol: str, now_ns: int) -> Quote | None:
        """The quote that stands at an instant."""
        ...

    def latest_trade(self, symbol: str, now_ns: int) -> Trade | None:
        """The last print at an instant."""
        ...

    def latest_bar(self, symbol: str, now_ns: int) -> Bar | None:
        """The bar of the last minute that is over and had trades."""
        ...

    def is_regular(self, trade: Trade) -> bool:
        """Whether a print may trigger stops and set the last price; prints off the market may not."""
        ...


class SyntheticMarket:
    """Ten liquid stocks and two crypto pairs, from a seed.

    Args:
        hours: When equities are quoted; None: always. Crypto is quoted always.
    """

    def __init__(self, seed: int, *, hours: Hours | None = None) -> None:
        self._markets = {listing.symbol: symbol_market(seed, listing) for listing in LISTINGS}
        self._tapes = {listing.symbol: listing.tape for listing in LISTINGS}
        self._afterthoughts = {symbol: Afterthoughts(seed, symbol) for symbol, tape in self._tapes.items() if tape}
        self._hours = hours
        self.symbols = tuple(self._markets)
        self._newsroom = Newsroom(seed, self.symbols)
        self._block = lru_cache(maxsize=_CACHED_BLOCKS)(self._make_block)
        self._day_bar = lru_cache(maxsize=_CACHED_DAYS)(self._make_day_bar)
        self._is_open = lru_cache(maxsize=_CACHED_HOURS)(self._is_quoted_hour)

    def open(self, now_ns: int) -> None:
        """This market is always on."""

    def start(self, now_ns: int) -> None:
        """This market waits for nobody."""

    def is_regular(self, trade: Trade) -> bool:  # noqa: ARG002 - the seam's shape
        """All prints of this market are."""
        return True

    def prepare(self, now_ns: int) -> None:
        """Make the next minute's events; a future of this market is as computable as its past."""
        self._block(now_ns // MINUTE_NS + 1)

    def next_event_ns(self, after_ns: int) -> int | None:
        """The next event's time; the end of the minute when this one has none left."""
        minute = after_ns // MINUTE_NS
        times, _ = self._block(minute)
        index = bisect_right(times, after_ns)
        return times[index] if index < len(times) else (minute + 1) * MINUTE_NS

    def events(self, after_ns: int, until_ns: int) -> Iterator[tuple[int, Event]]:
        """Events of all symbols in (after, until], minute by minute."""
        for minute in range(after_ns // MINUTE_NS, until_ns // MINUTE_NS + 1):
            times, events = self._block(minute)
            first, last = bisect_right(times, after_ns), bisect_right(times, until_ns)
            yield from zip(times[first:last], events[first:last], strict=True)

    def quotes(self, symbol: str, start_ns: int, end_ns: int, *, descending: bool = False) -> Iterator[Quote]:
        """Quotes in [start, end]."""
        for minute in self._minutes(symbol, start_ns, end_ns, descending):
            quotes = self._markets[symbol].quotes(minute)
            for quote in reversed(quotes) if descending else quotes:
                if start_ns <= quote.time_ns <= end_ns:
                    yield quote

    def trades(self, symbol: str, start_ns: int, end_ns: int, *, descending: bool = False) -> Iterator[Trade]:
        """Trades in [start, end]."""
        for minute in self._minutes(symbol, start_ns, end_ns, descending):
            trades = self._markets[symbol].trades(minute)
            for trade in reversed(trades) if descending else trades:
                if start_ns <= trade.time_ns <= end_ns:
                    yield trade

    def latest_quote(self, symbol: str, now_ns: int) -> Quote | None:
        """The quote that stands; the last one of the session before while the market is closed."""
        return next(self.quotes(symbol, now_ns - QUIET_NS_MAX, now_ns, descending=True), None)

    def latest_trade(self, symbol: str, now_ns: int) -> Trade | None:
        """The last print."""
        return next(self.trades(symbol, now_ns - QUIET_NS_MAX, now_ns, descending=True), None)

    def latest_bar(self, symbol: str, now_ns: int) -> Bar | None:
        """The bar of the last minute that is over."""
        minute = next(self._minutes(symbol, now_ns - QUIET_NS_MAX, now_ns - MINUTE_NS, descending=True), None)
        return None if minute is None else self._bar_of(symbol, minute)

    def bars(
        self, symbol: str, timeframe: Timeframe, start_ns: int, end_ns: int, now_ns: int, *, descending: bool = False
    ) -> Iterator[Bar]:
        """Bars that start in [start, end]; the last one may be made of the minutes so far."""
        start_ns, end_ns = max(start_ns, now_ns - HISTORY_DAYS_MAX * DAY_NS), min(end_ns, now_ns)
        zone = zone_of(symbol)
        first_ns = period_start_ns(start_ns, timeframe, zone)
        last_ns = now_ns if is_daily(timeframe) else end_ns + DAY_NS
        days = _dates(date_of(first_ns, zone), date_of(min(last_ns, now_ns), zone))
        if timeframe.unit in (TimeframeUnit.WEEK, TimeframeUnit.MONTH):
            found = list(aggregate((bar for day in days for bar in self._daily(symbol, day, now_ns)), timeframe))
            yield from _between(found, start_ns, end_ns, descending)
            return
        for day in reversed(days) if descending else days:
            parts = self._daily(symbol, day, now_ns)
            if timeframe.unit is not TimeframeUnit.DAY:
                parts = self._intraday(symbol, day, timeframe, now_ns)
            yield from _between(parts, start_ns, end_ns, descending)

    def _intraday(self, symbol: str, day: date, timeframe: Timeframe, now_ns: int) -> list[Bar]:
        market, bars = self._markets[symbol], list[Bar]()
        for first, sums in self._day_sums(symbol, day, now_ns):
            bars += market.minute_bars(first, sums)
        return bars if timeframe == MINUTE else list(aggregate(bars, timeframe))

    def _daily(self, symbol: str, day: date, now_ns: int) -> list[Bar]:
        ended = now_ns >= midnight_ns(day + timedelta(days=1), zone_of(symbol))
        bar = self._day_bar(symbol, day) if ended else self._make_day_bar(symbol, day, now_ns)
        return [bar] if bar else []

    def _make_day_bar(self, symbol: str, day: date, now_ns: int = FAR_FUTURE_NS) -> Bar | None:
        sums = [part for _, part in self._day_sums(symbol, day, now_ns)]
        return self._markets[symbol].bar(sums, midnight_ns(day, zone_of(symbol))) if sums else None

    def _day_sums(self, symbol: str, day: date, now_ns: int) -> Iterator[tuple[int, MinuteSums]]:
        """First minute and sums of each hour of a date, as far as its minutes are over."""
        zone = zone_of(symbol)
        first, end = midnight_ns(day, zone) // MINUTE_NS, midnight_ns(day + timedelta(days=1), zone) // MINUTE_NS
        end = min(end, now_ns // MINUTE_NS)
        for hour in range(first // 60, -(-end // 60)):
            if self._is_open(symbol, hour):
                sums, over = self._markets[symbol].hour(hour), end - hour * 60
                yield hour * 60, sums if over >= 60 else sums.first(over)

    def _minutes(self, symbol: str, start_ns: int, end_ns: int, descending: bool) -> Iterator[int]:
        """The minutes of [start, end] in which the symbol is quoted, an hour at a time; none before MARKET_BEGAN_NS."""
        first, last = max(start_ns, MARKET_BEGAN_NS) // MINUTE_NS, end_ns // MINUTE_NS
        hours = range(first // 60, last // 60 + 1)
        for hour in reversed(hours) if descending else hours:
            if self._is_open(symbol, hour):
                minutes = range(max(first, hour * 60), min(last, hour * 60 + 59) + 1)
                yield from reversed(minutes) if descending else minutes

    def _is_quoted_hour(self, symbol: str, hour: int) -> bool:
        """Sessions begin and end on the hour, extended hours included, so an hour is quoted or it is not."""
        if self._hours is None or "/" in symbol:
            return True
        bounds = self._hours(date_of(hour * HOUR_NS, zone_of(symbol)))
        return bounds is not None and bounds[0] <= hour * HOUR_NS < bounds[1]

    def _make_block(self, minute: int) -> tuple[list[int], list[Event]]:
        """Times and events of all symbols in one minute, in replay order; bars of the minute before first."""
        found: list[tuple[int, int, Event]] = []
        start_ns = minute * MINUTE_NS
        for symbol in self.symbols:
            if self._is_open(symbol, (minute - 1) // 60):
                found.append((start_ns, 0, self._bar_of(symbol, minute - 1)))
            if self._is_open(symbol, minute // 60):
                market = self._markets[symbol]
                found += [(quote.time_ns, 1, quote) for quote in market.quotes(minute)]
                found += [(trade.time_ns, 2, trade) for trade in market.trades(minute)]
            if symbol in self._afterthoughts:
                found += self._make_afterthoughts(symbol, minute)
        found += [(article.time_ns, 3, article) for article in self._newsroom.articles(minute)]
        found.sort(key=itemgetter(0, 1))
        return [entry[0] for entry in found], [entry[2] for entry in found]

    def _make_afterthoughts(self, symbol: str, minute: int) -> list[tuple[int, int, Event]]:
        """What a minute has to say of prints: its own and those of the minute before."""
        start_ns, end_ns = minute * MINUTE_NS, (minute + 1) * MINUTE_NS
        found: list[tuple[int, int, Event]] = []
        for printed in (minute - 1, minute):
            if not self._is_open(symbol, printed // 60):
                continue
            trades = self._markets[symbol].trades(printed)
            said = self._afterthoughts[symbol].of(trades)
            found += [(one.time_ns, 3, one) for one in said if start_ns <= one.time_ns < end_ns]
            if printed < minute:
                bar = self._bar_of(symbol, printed)
                again, band = updated_bar(bar, trades, said), band_after(bar, self._tapes[symbol])
                found.append((band.time_ns, 3, band))
                if again is not None:
                    found.append((start_ns + UPDATED_BAR_DELAY_NS, 0, again))
        return found

    def _bar_of(self, symbol: str, minute: int) -> Bar:
        sums = self._markets[symbol].hour(minute // 60)
        return self._markets[symbol].minute_bars(minute - minute % 60, sums)[minute % 60]


def day_so_far(market: Market, bar: Bar) -> Bar | None:
    """The day's bar up to and with a minute that is over."""
    zone, end_ns = zone_of(bar.symbol), bar.start_time_ns + MINUTE_NS
    midnight = midnight_ns(date_of(bar.start_time_ns, zone), zone)
    day = next(market.bars(bar.symbol, DAY, midnight, bar.start_time_ns, end_ns, descending=True), None)
    return None if day is None else replace(day, final=False, channel=Channel.DAILY_BARS)


def _dates(first: date, last: date) -> list[date]:
    return [first + timedelta(days=offset) for offset in range((last - first).days + 1)]


def _between(bars: Sequence[Bar], start_ns: int, end_ns: int, descending: bool) -> Iterator[Bar]:
    for bar in reversed(bars) if descending else bars:
        if start_ns <= bar.start_time_ns <= end_ns:
            yield bar
