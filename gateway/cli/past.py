"""`bars`, `trades` and `quotes --start`: past values, as many as fit in one page.

Leaves long ranges to the clients: they go on from page to page, and over a connection that breaks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import typer
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.cli.connection import TIMEOUT_S, as_json, connected
from gateway.cli.show import print_table
from trading_gateway.v1 import common_pb2, market_data_pb2 as pb, market_data_pb2_grpc

LIMIT_MAX: Final = 10_000
"""The largest page."""

_UNITS: Final = {
    "m": common_pb2.Timeframe.UNIT_MINUTE,
    "h": common_pb2.Timeframe.UNIT_HOUR,
    "d": common_pb2.Timeframe.UNIT_DAY,
    "w": common_pb2.Timeframe.UNIT_WEEK,
    "mo": common_pb2.Timeframe.UNIT_MONTH,
}
_TIMEFRAME: Final = re.compile(r"([1-9]\d{0,3})(m|h|d|w|mo)", re.ASCII)
_BAR_COLUMNS: Final = ("symbol", "start", "open", "high", "low", "close", "volume", "trades", "vwap")
_TRADE_COLUMNS: Final = ("symbol", "time", "price", "size", "exchange", "trade_id", "conditions", "")
_QUOTE_COLUMNS: Final = ("symbol", "time", "bid", "size", "ask", "size")


@dataclass(frozen=True, slots=True)
class Range:
    """Which values.

    Attributes:
        start, end: As a person writes them, empty for the gateway's own defaults.
        limit: How many at most.
        newest: The last ones of the range, not the first.
    """

    start: str
    end: str
    limit: int
    newest: bool

    def fields(self) -> dict[str, Any]:
        """For a request of any kind."""
        return {
            "start_time": _timestamp("--start", self.start),
            "end_time": _timestamp("--end", self.end),
            "newest_first": self.newest,
            "page_size": self.limit,
        }


def bars(target: str, symbols: list[str], timeframe: str, wanted: Range, json: bool) -> None:
    """Print past bars."""
    found = _TIMEFRAME.fullmatch(timeframe)
    if found is None:
        raise typer.BadParameter("is a number and m, h, d, w or mo: 1m, 15m, 1d", param_hint="--timeframe")
    unit = common_pb2.Timeframe(amount=int(found[1]), unit=_UNITS[found[2]])
    request = pb.ListBarsRequest(symbols=symbols, timeframe=unit, **wanted.fields())
    _print(target, lambda stub: stub.ListBars(request, timeout=TIMEOUT_S), _BAR_COLUMNS, _bar_rows, json)


def trades(target: str, symbols: list[str], wanted: Range, json: bool) -> None:
    """Print past trades."""
    request = pb.ListTradesRequest(symbols=symbols, **wanted.fields())
    _print(target, lambda stub: stub.ListTrades(request, timeout=TIMEOUT_S), _TRADE_COLUMNS, _trade_rows, json)


def quotes(target: str, symbols: list[str], wanted: Range, json: bool) -> None:
    """Print past quotes."""
    request = pb.ListQuotesRequest(symbols=symbols, **wanted.fields())
    _print(target, lambda stub: stub.ListQuotes(request, timeout=TIMEOUT_S), _QUOTE_COLUMNS, _quote_rows, json)


def _print(
    target: str,
    ask: Callable[[Any], Any],
    columns: tuple[str, ...],
    rows_of: Callable[[Any], Iterable[tuple[str, ...]]],
    json: bool,
) -> None:
    with connected(target) as channel:
        page = ask(market_data_pb2_grpc.MarketDataServiceStub(channel))
    if json:
        typer.echo(as_json(page))
    else:
        print_table(columns, rows_of(page))
    if page.next_page_token:
        typer.echo(f"There are more: a narrower range, or --limit up to {LIMIT_MAX}.", err=True)


def _timestamp(option: str, text: str) -> Timestamp | None:
    """ISO 8601; without an offset it is UTC, as everything that is printed here."""
    if not text:
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("is a day or a time, as 2024-01-02 or 2024-01-02T14:30", param_hint=option) from None
    stamp = Timestamp()
    stamp.FromDatetime((when if when.tzinfo else when.replace(tzinfo=UTC)).astimezone(UTC))
    return stamp


def _bar_rows(page: pb.ListBarsResponse) -> Iterable[tuple[str, ...]]:
    for bar in page.bars:
        prices = (f"{price:.10g}" for price in (bar.open, bar.high, bar.low, bar.close, bar.volume))
        vwap = f"{bar.vwap:.10g}" if bar.HasField("vwap") else ""
        yield bar.symbol, bar.start_time.ToJsonString(), *prices, str(bar.trade_count), vwap


def _trade_rows(page: pb.ListTradesResponse) -> Iterable[tuple[str, ...]]:
    for trade in page.trades:
        yield (
            trade.symbol,
            trade.time.ToJsonString(),
            f"{trade.price:.10g}",
            f"{trade.size:.10g}",
            trade.exchange,
            str(trade.trade_id),
            " ".join(trade.conditions),
            trade.update,
        )


def _quote_rows(page: pb.ListQuotesResponse) -> Iterable[tuple[str, ...]]:
    for quote in page.quotes:
        numbers = (quote.bid_price, quote.bid_size, quote.ask_price, quote.ask_size)
        yield quote.symbol, quote.time.ToJsonString(), *(f"{number:.10g}" for number in numbers)
