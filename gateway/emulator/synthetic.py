"""One symbol of the synthetic market: its quotes, trades and minute bars from hashes of (seed, symbol, time).

Promises: a trade prints at the bid or the offer of the quote before it and within its size, and a minute's bar is
the exact fold of that minute's trades: prices are whole cents and sizes whole steps until the very end, so that
sums are exact however they are cut. Leaves hours, order across symbols and paging to `market`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Final

import numpy as np

from gateway.domain.models.market_data import Bar, Quote, Trade
from gateway.domain.types import DataFeed
from gateway.emulator.bars import MINUTE_NS, VWAP_DECIMALS
from gateway.emulator.prices import SLOT_NS, SLOTS_PER_MINUTE, Hashes, Ints, PricePath, hash64, key_of

_CACHED_SYMBOLS: Final = 64
_CACHED_MINUTES: Final = 8
_CACHED_HOURS: Final = 4096
_CENTS: Final = 100
_TRADE_SLOTS: Final = np.arange(3, SLOTS_PER_MINUTE, 4)  # the last quote of each second
_ALL_SLOTS: Final = np.arange(SLOTS_PER_MINUTE)
_QUOTE_JITTER_NS: Final = np.uint64(190_000_000)
_TRADE_OFFSET_NS: Final = 200_000_000  # after every quote of its slot
_TRADE_JITTER_NS: Final = np.uint64(49_000_000)
_EXCHANGE: Final = "V"
_REGULAR_QUOTE: Final = ("R",)
_REGULAR_TRADE: Final = ("@",)
_EMPTY_LOW: Final = np.int64(2**62)


@dataclass(frozen=True, slots=True)
class Listing:
    """What the synthetic market knows of one symbol.

    Attributes:
        base_price: The price that the noise moves around, US dollars.
        spread_cents: Of the narrowest quote.
        steps_per_unit: Sizes are whole multiples of one over this.
        size_steps_max: The largest size displayed, in those steps.
        tape: The consolidated tape of the listing; empty for crypto.
    """

    symbol: str
    base_price: float
    spread_cents: int = 1
    steps_per_unit: int = 1
    size_steps_max: int = 1200
    tape: str = "C"


LISTINGS: Final = (
    Listing("AAPL", 230.0),
    Listing("MSFT", 440.0, 2),
    Listing("AMZN", 200.0),
    Listing("GOOGL", 185.0),
    Listing("META", 590.0, 4),
    Listing("NVDA", 140.0),
    Listing("TSLA", 340.0, 3),
    Listing("JPM", 240.0, 2, tape="A"),
    Listing("SPY", 595.0, tape="B"),
    Listing("QQQ", 510.0),
    Listing("BTC/USD", 95_000.0, 600, 10_000, 20_000, tape=""),
    Listing("ETH/USD", 3_300.0, 30, 1_000, 30_000, tape=""),
)


@dataclass(frozen=True, slots=True)
class MinuteSums:
    """Bars of consecutive minutes, one element each: prices in cents, sizes in steps, value in cents x steps."""

    open: Ints
    high: Ints
    low: Ints
    close: Ints
    volume: Ints
    count: Ints
    value: Ints

    def first(self, minutes: int) -> MinuteSums:
        """The first of them."""
        return MinuteSums(*(getattr(self, field.name)[:minutes] for field in fields(self)))


@lru_cache(maxsize=_CACHED_SYMBOLS)
def symbol_market(seed: int, listing: Listing) -> SymbolMarket:
    """The market of one symbol: a pure function, so that emulators of one process share what they computed."""
    return SymbolMarket(seed, listing)


class SymbolMarket:
    """The market of one symbol."""

    def __init__(self, seed: int, listing: Listing) -> None:
        self._listing = listing
        self._path = PricePath(seed, listing.symbol, listing.base_price)
        self._quote_key = key_of(seed, listing.symbol, "quotes")
        self._trade_key = key_of(seed, listing.symbol, "trades")
        self._feed = DataFeed.CRYPTO_US if "/" in listing.symbol else DataFeed.SIP
        self.quotes = lru_cache(maxsize=_CACHED_MINUTES)(self._make_quotes)
        self.trades = lru_cache(maxsize=_CACHED_MINUTES)(self._make_trades)
        self.hour = lru_cache(maxsize=_CACHED_HOURS)(self._make_hour)

    def bar(self, sums: Sequence[MinuteSums], start_ns: int) -> Bar:
        """One bar of all the minutes in these sums."""
        unit = self._listing.steps_per_unit
        volume = sum(int(part.volume.sum()) for part in sums)
        value = sum(int(part.value.sum()) for part in sums)
        return Bar(
            symbol=self._listing.symbol,
            start_time_ns=start_ns,
            open=int(sums[0].open[0]) / _CENTS,
            high=max(int(part.high.max()) for part in sums) / _CENTS,
            low=min(int(part.low.min()) for part in sums) / _CENTS,
            close=int(sums[-1].close[-1]) / _CENTS,
            volume=volume / unit,
            feed=self._feed,
            receive_time_ns=start_ns,
            trade_count=sum(int(part.count.sum()) for part in sums),
            vwap=round(value / volume / _CENTS, VWAP_DECIMALS),
        )

    def minute_bars(self, first_minute: int, sums: MinuteSums) -> list[Bar]:
        """One bar for each minute of the sums."""
        symbol, feed, unit = self._listing.symbol, self._feed, self._listing.steps_per_unit
        columns = (sums.open, sums.high, sums.low, sums.close, sums.volume, sums.count, sums.value)
        bars = []
        for minute, row in enumerate(zip(*(column.tolist() for column in columns), strict=True), first_minute):
            o, h, l, c, volume, count, value = row  # noqa: E741 - Alpaca's letters
            start_ns = minute * MINUTE_NS
            vwap = round(value / volume / _CENTS, VWAP_DECIMALS)
            prices = (o / _CENTS, h / _CENTS, l / _CENTS, c / _CENTS)
            bars.append(Bar(symbol, start_ns, *prices, volume / unit, feed, start_ns, count, vwap))
        return bars

    def _quote_arrays(self, minutes: range, slots: Ints) -> tuple[Ints, Ints, Ints, Ints, Hashes]:
        """Bid and ask in cents, their sizes in steps, and the hash they came from; shaped (minutes, slots)."""
        noise = hash64(self._quote_key, np.array(minutes)[:, None] * SLOTS_PER_MINUTE + slots[None, :])
        mid = np.floor(self._path.mid(minutes, slots) * _CENTS).astype(np.int64)
        narrow, steps = self._listing.spread_cents, np.uint64(self._listing.size_steps_max)
        bid = mid - (narrow // 2) - (noise & np.uint64(1)).astype(np.int64)
        ask = mid - (narrow // 2) + narrow + ((noise >> np.uint64(1)) & np.uint64(1)).astype(np.int64)
        bid_size = ((noise >> np.uint64(2)) & np.uint64(0xFFFFF)) % steps
        ask_size = ((noise >> np.uint64(22)) & np.uint64(0xFFFFF)) % steps
        return bid, ask, bid_size.astype(np.int64) + 1, ask_size.astype(np.int64) + 1, noise

    def _trade_arrays(self, minutes: range) -> tuple[Ints, Ints, Ints, Hashes]:
        """Whether each second has a trade, its price in cents and size in steps, and its hash."""
        bid, ask, bid_size, ask_size, _ = self._quote_arrays(minutes, _TRADE_SLOTS)
        noise = hash64(self._trade_key, np.array(minutes)[:, None] * 60 + np.arange(60)[None, :])
        present = (noise & np.uint64(3)) != 0
        present[:, 0] = True  # so that no minute is without a bar
        buys = (noise & np.uint64(4)) != 0
        shown = np.where(buys, ask_size, bid_size)
        size = ((noise >> np.uint64(3)) & np.uint64(0xFFFFF)).astype(np.int64) % shown + 1
        return present.astype(np.int64), np.where(buys, ask, bid), size, noise

    def _make_quotes(self, minute: int) -> list[Quote]:
        bid, ask, bid_size, ask_size, noise = self._quote_arrays(range(minute, minute + 1), _ALL_SLOTS)
        jitter = ((noise[0] >> np.uint64(42)) * _QUOTE_JITTER_NS) >> np.uint64(22)
        times = (minute * SLOTS_PER_MINUTE + _ALL_SLOTS) * SLOT_NS + jitter.astype(np.int64)
        symbol, feed, unit = self._listing.symbol, self._feed, self._listing.steps_per_unit
        exchange = _EXCHANGE if self._listing.tape else ""
        conditions = _REGULAR_QUOTE if self._listing.tape else ()
        columns = zip(
            times.tolist(), bid[0].tolist(), bid_size[0].tolist(), ask[0].tolist(), ask_size[0].tolist(), strict=True
        )
        return [
            Quote(symbol, t, b / _CENTS, bs / unit, a / _CENTS, as_ / unit, feed, t, exchange, exchange, conditions,
                  self._listing.tape)
            for t, b, bs, a, as_ in columns
        ]  # fmt: skip

    def _make_trades(self, minute: int) -> list[Trade]:
        present, price, size, noise = self._trade_arrays(range(minute, minute + 1))
        jitter = ((noise[0] >> np.uint64(42)) * _TRADE_JITTER_NS) >> np.uint64(22)
        times = (minute * SLOTS_PER_MINUTE + _TRADE_SLOTS) * SLOT_NS + _TRADE_OFFSET_NS + jitter.astype(np.int64)
        symbol, feed, unit = self._listing.symbol, self._feed, self._listing.steps_per_unit
        stock = bool(self._listing.tape)
        trades = []
        columns = (present[0], times, price[0], size[0], (noise[0] & np.uint64(4)).astype(np.int64))
        for second, row in enumerate(zip(*(column.tolist() for column in columns), strict=True), minute * 60):
            printed, t, cents, steps, buys = row
            if not printed:
                continue
            trade = Trade(symbol, t, cents / _CENTS, steps / unit, feed, t, trade_id=second)
            if stock:
                trade.exchange, trade.conditions, trade.tape = _EXCHANGE, _REGULAR_TRADE, self._listing.tape
            else:
                trade.taker_side = "B" if buys else "S"
            trades.append(trade)
        return trades

    def _make_hour(self, hour: int) -> MinuteSums:
        present, price, size, _ = self._trade_arrays(range(hour * 60, hour * 60 + 60))
        first = present.argmax(axis=1)
        last = 59 - present[:, ::-1].argmax(axis=1)
        rows = np.arange(60)
        volume = present * size
        return MinuteSums(
            open=price[rows, first],
            high=(price * present).max(axis=1),
            low=np.where(present == 1, price, _EMPTY_LOW).min(axis=1),
            close=price[rows, last],
            volume=volume.sum(axis=1),
            count=present.sum(axis=1),
            value=(volume * price).sum(axis=1),
        )
