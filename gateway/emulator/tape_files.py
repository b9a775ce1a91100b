"""The files of a recorded tape: gzipped CSV, read once and whole.

A folder holds some of `quotes.csv.gz`, `trades.csv.gz`, `bars_1min.csv.gz` and `quote_bars_1min.csv.gz`, each with a
header row and sorted by time. Times are nanoseconds since the Unix epoch, UTC, of a bar the start of its minute.
Promises: what is in the cells, as doubles and text, in the file's order. Where there are trades but no bars, bars
are made of the trades by the tape's own rule; where there are quote bars but no quotes, the quote that closed each
minute stands at its end. Leaves time and replay to `tape`.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.domain.models.market_data import Bar, Quote, Trade
from gateway.domain.types import DataFeed
from gateway.emulator.bars import MINUTE_NS, SIZE_DECIMALS, VWAP_DECIMALS

INELIGIBLE_FOR_PRICE: Final = frozenset("CGHIMNPQRTUVWZ479")
"""Sale conditions of prints that set no open, high, low or close, and trigger nothing: odd lots, extended hours,
average and derivative prices, official opens and closes and the like."""

INELIGIBLE_FOR_VOLUME: Final = frozenset("MQ9")
"""Sale conditions of prints that repeat volume already reported."""

ROWS_MAX: Final = 5_000_000
"""A tape is held in memory; a file with more rows is refused."""


@dataclass(frozen=True, slots=True)
class Recording:
    """What a folder holds, each list in order of time."""

    symbols: tuple[str, ...]
    quotes: list[Quote]
    trades: list[Trade]
    bars: list[Bar]

    @property
    def first_ns(self) -> int:
        """The recorded time of the first quote or trade; of the first bar where there is neither."""
        ticks = [rows[0].time_ns for rows in (self.quotes, self.trades) if rows]
        return min(ticks) if ticks else self.bars[0].start_time_ns


def load(folder: Path) -> Recording:
    """Read a folder.

    Raises:
        ValueError: When it holds none of the files, with a sentence that names them.
    """
    quotes = [_quote(row) for row in _rows(folder / "quotes.csv.gz")]
    trades = [_trade(row) for row in _rows(folder / "trades.csv.gz")]
    bars = [_bar(row) for row in _rows(folder / "bars_1min.csv.gz")]
    if not quotes:
        quotes = [_closing_quote(row) for row in _rows(folder / "quote_bars_1min.csv.gz")]
    if trades and not bars:
        bars = minute_bars(trades)
    if not (quotes or trades or bars):
        raise ValueError(f"{folder} is no tape: it has no quotes.csv.gz, trades.csv.gz, bars_1min.csv.gz or "
                         "quote_bars_1min.csv.gz with rows")  # fmt: skip
    symbols = dict.fromkeys(row.symbol for rows in (quotes, trades, bars) for row in rows)
    return Recording(tuple(sorted(symbols)), quotes, trades, bars)


def minute_bars(trades: Iterable[Trade]) -> list[Bar]:
    """Bars of one minute, by the eligibility of the prints; a minute without an eligible print has none."""
    minutes: dict[tuple[int, str], list[Trade]] = {}
    for trade in trades:
        minutes.setdefault((trade.time_ns // MINUTE_NS * MINUTE_NS, trade.symbol), []).append(trade)
    made = (_bar_of(start_ns, symbol, minutes[start_ns, symbol]) for start_ns, symbol in sorted(minutes))
    return [bar for bar in made if bar is not None]


def _bar_of(start_ns: int, symbol: str, trades: list[Trade]) -> Bar | None:
    prices = [trade.price for trade in trades if INELIGIBLE_FOR_PRICE.isdisjoint(trade.conditions)]
    counted = [trade for trade in trades if INELIGIBLE_FOR_VOLUME.isdisjoint(trade.conditions)]
    volume = round(sum(trade.size for trade in counted), SIZE_DECIMALS)
    if not prices or not volume:
        return None
    return Bar(
        symbol, start_ns, prices[0], max(prices), min(prices), prices[-1], volume, feed_of(symbol), start_ns,
        len(counted), round(sum(trade.price * trade.size for trade in counted) / volume, VWAP_DECIMALS),
    )  # fmt: skip


def feed_of(symbol: str) -> DataFeed:
    """The feed that a symbol's data comes by."""
    return DataFeed.CRYPTO_US if "/" in symbol else DataFeed.SIP


def _rows(path: Path) -> Iterator[dict[str, str]]:
    if not path.is_file():
        return
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file)):
            if number >= ROWS_MAX:
                raise ValueError(f"{path} has more than {ROWS_MAX} rows")
            yield row


def _quote(row: dict[str, str]) -> Quote:
    symbol, time_ns = row["symbol"], int(row["ts_ns"])
    return Quote(
        symbol, time_ns, float(row["bid_price"]), float(row["bid_size"]), float(row["ask_price"]),
        float(row["ask_size"]), feed_of(symbol), time_ns, row["bid_exchange"], row["ask_exchange"],
        tuple(row["conditions"]), _tape_of(symbol),
    )  # fmt: skip


def _trade(row: dict[str, str]) -> Trade:
    symbol, time_ns = row["symbol"], int(row["ts_ns"])
    return Trade(
        symbol, time_ns, float(row["price"]), float(row["size"]), feed_of(symbol), time_ns, row["exchange"],
        int(row["id"] or 0), tuple(row["conditions"]), _tape_of(symbol), row["taker_side"],
    )  # fmt: skip


def _bar(row: dict[str, str]) -> Bar:
    symbol, time_ns = row["symbol"], int(row["ts_ns"])
    return Bar(
        symbol, time_ns, float(row["open"]), float(row["high"]), float(row["low"]), float(row["close"]),
        float(row["volume"]), feed_of(symbol), time_ns, int(row["trade_count"] or 0),
        float(row["vwap"]) if row["vwap"] else None,
    )  # fmt: skip


def _closing_quote(row: dict[str, str]) -> Quote:
    symbol, time_ns = row["symbol"], int(row["ts_ns"]) + MINUTE_NS
    return Quote(
        symbol, time_ns, float(row["bid_close"]), float(row["bid_size"] or 0), float(row["ask_close"]),
        float(row["ask_size"] or 0), feed_of(symbol), time_ns, tape=_tape_of(symbol),
    )  # fmt: skip


def _tape_of(symbol: str) -> str:
    """The recordings are of NYSE-listed equities: consolidated tape A."""
    return "" if "/" in symbol else "A"
