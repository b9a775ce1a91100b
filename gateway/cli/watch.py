"""`quotes`: the newest quotes once, or a live table with their age and the feed's state."""

from __future__ import annotations

import time
from collections.abc import Iterable

import typer
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gateway.cli.connection import TIMEOUT_S, as_json, connected
from trading_gateway.v1 import common_pb2, market_data_pb2, market_data_pb2_grpc

_REFRESH_PER_S = 8
_COLUMNS = ("symbol", "bid", "size", "ask", "size", "age", "feed", "")


def latest(target: str, symbols: list[str], json: bool) -> None:
    """Print the newest quote of each symbol."""
    request = market_data_pb2.GetLatestQuotesRequest(symbols=symbols)
    with connected(target) as channel:
        response = market_data_pb2_grpc.MarketDataServiceStub(channel).GetLatestQuotes(request, timeout=TIMEOUT_S)
    if json:
        typer.echo(as_json(response))
        return
    Console().print(_table({quote.symbol: quote for quote in response.quotes}, set()))
    if response.missing_symbols:
        typer.echo(f"no quote: {', '.join(response.missing_symbols)}", err=True)


def follow(target: str, symbols: list[str], json: bool) -> None:
    """Follow quotes until interrupted: a live table on a terminal, one JSON message a line with --json."""
    request = market_data_pb2.StreamQuotesRequest(symbols=symbols)
    with connected(target) as channel:
        stream = market_data_pb2_grpc.MarketDataServiceStub(channel).StreamQuotes(request)
        try:
            if json:
                for response in stream:
                    typer.echo(as_json(response, indent=None))
            else:
                _show(stream)
        except KeyboardInterrupt:
            stream.cancel()


def _show(stream: Iterable[market_data_pb2.StreamQuotesResponse]) -> None:
    quotes: dict[str, market_data_pb2.Quote] = {}
    stale: set[str] = set()
    refused: dict[str, str] = {}
    feed = "connecting"
    with Live(_screen(quotes, [feed], stale), refresh_per_second=_REFRESH_PER_S) as live:
        for response in stream:
            for quote in response.quotes:
                quotes[quote.symbol] = quote
                (stale.add if quote.stale else stale.discard)(quote.symbol)
            stale.update(response.status.stale_symbols)
            for ack in response.status.acks:
                refused.pop(ack.symbol, None)
                if ack.status.code:
                    refused[ack.symbol] = f"{ack.symbol}: {ack.status.message}"
            feed = _feed_line(response.status) or feed
            live.update(_screen(quotes, [feed, *refused.values()], stale))


def _feed_line(status: market_data_pb2.StreamStatus) -> str:
    parts = [
        f"{feed.feed} {common_pb2.FeedState.Name(feed.state).removeprefix('FEED_STATE_')} {feed.detail}".rstrip()
        for feed in status.feeds
    ]
    parts += [f"gap in {gap.feed}" for gap in status.gaps]
    if status.conflated_total:
        parts.append(f"{status.conflated_total} conflated")
    return " · ".join(parts)


def _screen(quotes: dict[str, market_data_pb2.Quote], notes: list[str], stale: set[str]) -> Group:
    return Group(_table(quotes, stale), Text(" · ".join(notes), style="dim italic"))


def _table(quotes: dict[str, market_data_pb2.Quote], stale: set[str]) -> Table:
    table = Table(*_COLUMNS, box=None, header_style="bold", pad_edge=False)
    for symbol in sorted(quotes):
        quote = quotes[symbol]
        feed = common_pb2.DataFeed.Name(quote.feed).removeprefix("DATA_FEED_").lower()
        marks = [word for word, is_set in (("stale", symbol in stale), ("snapshot", quote.snapshot)) if is_set]
        table.add_row(
            symbol,
            f"{quote.bid_price:g}",
            f"{quote.bid_size:g}",
            f"{quote.ask_price:g}",
            f"{quote.ask_size:g}",
            f"{_age_s(quote.receive_time):.1f} s",
            feed,
            " ".join(marks),
        )
    return table


def _age_s(received: Timestamp) -> float:
    return max(0.0, time.time() - received.ToNanoseconds() / 1e9)
