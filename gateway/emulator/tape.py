"""A recorded tape in the place of the synthetic market: real quotes, trades and bars, replayed.

Promises: every row of the tape once and in order, its prices, sizes, exchanges and conditions bit for bit. A row
recorded at t is stamped and due at `start + (t - first) // speed` to the nanosecond: `first` is the earliest
quote or trade of the tape, the speed is an exact fraction, the division is of integers and rounds down. A minute
bar is due when the clock passes its end; its own start is stamped by the same formula. At equal times bars come
before quotes and quotes before trades.

Leaves pacing and sending to `floor`: this module only says what is due.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Final

from gateway.domain.models.market_data import Bar, Quote, Timeframe, Trade
from gateway.domain.types import NANOS_PER_SECOND
from gateway.emulator.bars import MINUTE_NS, aggregate
from gateway.emulator.market import MINUTE, Event
from gateway.emulator.tape_files import INELIGIBLE_FOR_PRICE, Recording, load

LOOP_GAP_NS: Final = NANOS_PER_SECOND
"""Between the last event of a pass and the first of the next, when the tape loops."""

SPEED_MAX: Final = Fraction(1_000_000)
_LOOKBACK_PASSES: Final = 2  # history reaches back over this many passes of a loop

Row = Quote | Trade | Bar
_RANK: Final = {Bar: 0, Quote: 1, Trade: 2}


@dataclass(frozen=True, slots=True)
class TapeOptions:
    """How a tape is played.

    Attributes:
        path: A folder such as us_equity/2018-01-02.
        speed: Recorded time over replayed time; exact, above 0, at most SPEED_MAX.
        waits: Begin with the first market-data subscription; otherwise at once.
        loops: Begin again after the last event.
    """

    path: Path
    speed: Fraction = Fraction(1)
    waits: bool = True
    loops: bool = False


class Tape:
    """One recording, played from `start` on.

    Raises:
        ValueError: When the speed is out of range or the folder holds no recording.
    """

    def __init__(self, options: TapeOptions) -> None:
        if not 0 < options.speed <= SPEED_MAX:
            raise ValueError(f"the tape's speed must be above 0 and at most {SPEED_MAX}")
        recording = load(options.path)
        self.speed, self._loops, self._waits = options.speed, options.loops, options.waits
        self._events = _in_replay_order(recording)
        self._due = [_due_ns(event) for event in self._events]
        self._series = {symbol: _Series(recording, symbol) for symbol in recording.symbols}
        self.symbols = recording.symbols
        self.first_ns = recording.first_ns
        self.start_ns: int | None = None
        self._pass_ns = self._offset_ns(self._due[-1]) + LOOP_GAP_NS

    def open(self, now_ns: int) -> None:
        """The emulator is up: begin, unless the tape waits for a subscription."""
        if not self._waits:
            self.start(now_ns)

    def start(self, now_ns: int) -> None:
        """Play from an instant on; the first call counts."""
        if self.start_ns is None:
            self.start_ns = now_ns

    def is_regular(self, trade: Trade) -> bool:
        """Whether the print's conditions let it set a price; crypto prints have none."""
        return INELIGIBLE_FOR_PRICE.isdisjoint(trade.conditions)

    def prepare(self, now_ns: int) -> None:
        """The recording is in memory already."""

    def next_event_ns(self, after_ns: int) -> int | None:
        """When the next row is due."""
        if self.start_ns is None:
            return None
        for number in self._passes(after_ns, after_ns + self._pass_ns):
            index = bisect_right(self._due, self._recorded_by(after_ns, number))
            if index < len(self._due):
                return self._stamp_ns(self._due[index], number)
        return None

    def events(self, after_ns: int, until_ns: int) -> Iterator[tuple[int, Event]]:
        """The rows due in (after, until], stamped."""
        for number in self._passes(after_ns, until_ns):
            first = bisect_right(self._due, self._recorded_by(after_ns, number))
            last = bisect_right(self._due, self._recorded_by(until_ns, number))
            for index in range(first, last):
                due_ns, event = self._stamp_ns(self._due[index], number), self._events[index]
                if isinstance(event, Bar):
                    yield due_ns, self._stamped_bar(event, number)
                else:
                    yield due_ns, _stamped(event, due_ns)

    def quotes(self, symbol: str, start_ns: int, end_ns: int, *, descending: bool = False) -> Iterator[Quote]:
        """Quotes stamped in [start, end]."""
        series = self._series[symbol]
        for number, first, last in self._ranges(series.quote_times, start_ns, end_ns, descending):
            for index in reversed(range(first, last)) if descending else range(first, last):
                yield _stamped_quote(series.quotes[index], self._stamp_ns(series.quote_times[index], number))

    def trades(self, symbol: str, start_ns: int, end_ns: int, *, descending: bool = False) -> Iterator[Trade]:
        """Trades stamped in [start, end]."""
        series = self._series[symbol]
        for number, first, last in self._ranges(series.trade_times, start_ns, end_ns, descending):
            for index in reversed(range(first, last)) if descending else range(first, last):
                yield _stamped_trade(series.trades[index], self._stamp_ns(series.trade_times[index], number))

    def bars(
        self, symbol: str, timeframe: Timeframe, start_ns: int, end_ns: int, now_ns: int, *, descending: bool = False
    ) -> Iterator[Bar]:
        """Bars stamped in [start, end] whose minute is over; longer ones are folded by their stamps."""
        series, found = self._series[symbol], list[Bar]()
        for number, first, last in self._ranges(series.bar_ends, 0, now_ns, descending=False):
            found += [self._stamped_bar(series.bars[index], number) for index in range(first, last)]
        folded: Iterable[Bar] = found if timeframe == MINUTE else aggregate(found, timeframe)
        chosen = [bar for bar in folded if start_ns <= bar.start_time_ns <= end_ns]
        return reversed(chosen) if descending else iter(chosen)

    def latest_quote(self, symbol: str, now_ns: int) -> Quote | None:
        """The last quote that was due."""
        return next(self.quotes(symbol, 0, now_ns, descending=True), None)

    def latest_trade(self, symbol: str, now_ns: int) -> Trade | None:
        """The last regular print that was due."""
        return next(filter(self.is_regular, self.trades(symbol, 0, now_ns, descending=True)), None)

    def latest_bar(self, symbol: str, now_ns: int) -> Bar | None:
        """The last bar that was due."""
        series = self._series[symbol]
        for number, first, last in self._ranges(series.bar_ends, 0, now_ns, descending=True):
            if last > first:
                return self._stamped_bar(series.bars[last - 1], number)
        return None

    def _offset_ns(self, recorded_ns: int) -> int:
        """Replayed time from the first row to a recorded instant."""
        return (recorded_ns - self.first_ns) * self.speed.denominator // self.speed.numerator

    def _stamp_ns(self, recorded_ns: int, number: int) -> int:
        assert self.start_ns is not None
        return self.start_ns + number * self._pass_ns + self._offset_ns(recorded_ns)

    def _recorded_by(self, now_ns: int, number: int) -> int:
        """The last recorded instant whose stamp in a pass is not after now: the formula read backwards."""
        assert self.start_ns is not None
        elapsed_ns = now_ns - self.start_ns - number * self._pass_ns
        return self.first_ns + ((elapsed_ns + 1) * self.speed.numerator - 1) // self.speed.denominator

    def _passes(self, start_ns: int, end_ns: int) -> range:
        """The passes that may touch a stretch of time."""
        if self.start_ns is None or end_ns < self.start_ns:
            return range(0)
        if not self._loops:
            return range(1)
        return range(max(0, start_ns - self.start_ns) // self._pass_ns, (end_ns - self.start_ns) // self._pass_ns + 1)

    def _ranges(self, times: list[int], start_ns: int, end_ns: int, descending: bool) -> Iterator[tuple[int, int, int]]:
        """Per pass, the rows of a series that are stamped in [start, end]."""
        passes = self._passes(start_ns, end_ns)[-_LOOKBACK_PASSES:]
        for number in reversed(passes) if descending else passes:
            first = bisect_right(times, self._recorded_by(start_ns - 1, number))
            last = bisect_right(times, self._recorded_by(end_ns, number))
            yield number, first, last

    def _stamped_bar(self, bar: Bar, number: int) -> Bar:
        return replace(bar, start_time_ns=self._stamp_ns(bar.start_time_ns, number))


class _Series:
    """The rows of one symbol, with the times to search them by."""

    def __init__(self, recording: Recording, symbol: str) -> None:
        self.quotes = [quote for quote in recording.quotes if quote.symbol == symbol]
        self.trades = [trade for trade in recording.trades if trade.symbol == symbol]
        self.bars = [bar for bar in recording.bars if bar.symbol == symbol]
        self.quote_times = [quote.time_ns for quote in self.quotes]
        self.trade_times = [trade.time_ns for trade in self.trades]
        self.bar_ends = [bar.start_time_ns + MINUTE_NS for bar in self.bars]


def _stamped(event: Quote | Trade, stamp_ns: int) -> Quote | Trade:
    return _stamped_quote(event, stamp_ns) if isinstance(event, Quote) else _stamped_trade(event, stamp_ns)


def _stamped_quote(quote: Quote, stamp_ns: int) -> Quote:
    return Quote(
        quote.symbol, stamp_ns, quote.bid_price, quote.bid_size, quote.ask_price, quote.ask_size, quote.feed,
        stamp_ns, quote.bid_exchange, quote.ask_exchange, quote.conditions, quote.tape,
    )  # fmt: skip


def _stamped_trade(trade: Trade, stamp_ns: int) -> Trade:
    return Trade(
        trade.symbol, stamp_ns, trade.price, trade.size, trade.feed, stamp_ns, trade.exchange, trade.trade_id,
        trade.conditions, trade.tape, trade.taker_side,
    )  # fmt: skip


def _in_replay_order(recording: Recording) -> list[Row]:
    events: list[Row] = [*recording.bars, *recording.quotes, *recording.trades]
    events.sort(key=lambda event: (_due_ns(event), _RANK[type(event)]))  # stable: ties keep source order
    return events


def _due_ns(event: Row) -> int:
    return event.start_time_ns + MINUTE_NS if isinstance(event, Bar) else event.time_ns
