"""`quotes`: the newest quotes once, or as they come, with their age, the feed's state and what was left out."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import Final

import typer
from google.protobuf.message import Message
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gateway.cli.connection import TIMEOUT_S, as_json, connected
from gateway.cli.quote_board import COLUMNS, Line, QuoteBoard, gap_words
from trading_gateway.client import Client
from trading_gateway.following import Following
from trading_gateway.market_streams import Disconnected, QuoteItem
from trading_gateway.retry import RetryPolicy
from trading_gateway.v1 import market_data_pb2, market_data_pb2_grpc

_REFRESH_PER_S: Final = 8
_RETRY: Final = RetryPolicy(reconnects_max=720)
"""Somebody looks: a gateway that is gone is waited for an hour."""

_WIDTHS: Final = (8, 10, 8, 10, 8, 8, 10, 0)
"""Columns of the plain lines, in characters, in the order of COLUMNS."""


def latest(target: str, symbols: list[str], json: bool) -> None:
    """Print the newest quote of each symbol."""
    request = market_data_pb2.GetLatestQuotesRequest(symbols=symbols)
    with connected(target) as channel:
        response = market_data_pb2_grpc.MarketDataServiceStub(channel).GetLatestQuotes(request, timeout=TIMEOUT_S)
    if json:
        typer.echo(as_json(response))
        return
    board = QuoteBoard()
    for quote in response.quotes:
        board.take(quote)
    Console().print(_table(board.lines(time.time_ns())))
    if response.missing_symbols:
        typer.echo(f"no quote: {', '.join(response.missing_symbols)}", err=True)


def follow(target: str, symbols: list[str], json: bool) -> None:
    """Follow quotes until interrupted, also over a gateway that goes and comes back.

    A live table on a terminal; else a line for each quote, or with --json one message a line.
    """
    with connected(target) as channel, Client(channel=channel, retry=_RETRY) as client:
        try:
            if json:
                _print_messages(client.stream_quotes(symbols, on_notice=_tell_break))
                return
            with client.follow_quotes(symbols) as quotes:
                (_show if sys.stdout.isatty() else _print_lines)(quotes, QuoteBoard())
        except KeyboardInterrupt:
            return


def _print_messages(batches: Iterable[Message]) -> None:
    for batch in batches:
        typer.echo(as_json(batch, indent=None))


def _print_lines(quotes: Following[QuoteItem], board: QuoteBoard) -> None:
    """A line for each quote, and one for each change of what stands behind them."""
    said: list[str] = []
    try:
        for item in quotes:
            board.take(item)
            if isinstance(item, market_data_pb2.Quote):
                typer.echo(_plain(board.line(item.symbol, quotes.gateway_ns)))
            elif isinstance(item, Disconnected):
                _tell_break(item)
            elif (standing := board.standing()) != said:
                said = standing
                typer.echo(_status(board, quotes))
                for gap in item.gaps:
                    typer.echo(f"again: {gap_words(gap)}", err=True)
    finally:
        typer.echo(_status(board, quotes))


def _status(board: QuoteBoard, quotes: Following[QuoteItem]) -> str:
    return " · ".join([*board.measures(quotes.lag_s), *board.standing()])


def _show(quotes: Following[QuoteItem], board: QuoteBoard) -> None:
    """A table that is drawn anew as time passes, for a quote becomes older without a word."""

    def screen() -> Group:
        return Group(_table(board.lines(quotes.gateway_ns)), Text(_status(board, quotes), style="dim italic"))

    with Live(get_renderable=screen, refresh_per_second=_REFRESH_PER_S):
        for item in quotes:
            if isinstance(item, Disconnected) and item.last_send_ns is None:
                raise item.error
            board.take(item)


def _tell_break(broken: Disconnected) -> None:
    """A word on stderr; a gateway that was never there is an error."""
    if broken.last_send_ns is None:
        raise broken.error
    typer.echo(f"connection lost, trying again: {broken.error}", err=True)


def _plain(line: Line) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(line.cells, _WIDTHS, strict=True)).rstrip()


def _table(lines: Iterable[Line]) -> Table:
    table = Table(*COLUMNS, box=None, header_style="bold", pad_edge=False)
    for line in lines:
        table.add_row(*line.cells)
    return table
