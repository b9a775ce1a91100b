"""What is asked for and not streamed: pages of past quotes and trades, whole order books. Bars: `market_data`.

Promises every item of a page or `Unreadable`: a page with a gap would be history with a gap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from gateway.domain.models.market_data import OrderBook, Page, Quote, Trade
from gateway.domain.types import DataFeed
from gateway.infrastructure.alpaca.converters.fields import as_list, as_object, next_page_token_of
from gateway.infrastructure.alpaca.converters.market_stream import order_book_from_alpaca

N = TypeVar("N", Quote, Trade)


def page_from_alpaca(
    raw: object,
    noun: str,
    convert: Callable[[object, object, DataFeed, int], N],
    feed: DataFeed,
    receive_time_ns: int,
    *,
    newest_first: bool,
) -> Page[N]:
    """One page by symbol, then by time; what shares an instant stays as it came. With the venue's own token.

    Args:
        raw: The answer.
        noun: Its member that has the values, by symbol.
        convert: Reads one value.
        feed: Where it comes from.
        receive_time_ns: When it was read.
        newest_first: Within a symbol, from new to old.
    """
    page = as_object(raw, "page")
    by_symbol = as_object(page.get(noun) or {}, noun)
    values: list[N] = []
    for symbol in sorted(by_symbol):
        found = [convert(symbol, item, feed, receive_time_ns) for item in as_list(by_symbol[symbol], noun)]
        found.sort(key=_time_of, reverse=newest_first)
        values += found
    return Page(tuple(values), next_page_token_of(page))


def whole_book_from_alpaca(symbol: object, raw: object, feed: DataFeed, receive_time_ns: int) -> OrderBook:
    """A book that was asked for: whole, though it does not say so, and without the levels of size 0 left in it."""
    book = order_book_from_alpaca(symbol, raw, feed, receive_time_ns)
    return replace(
        book,
        bids=tuple(level for level in book.bids if level.size),
        asks=tuple(level for level in book.asks if level.size),
        reset=True,
    )


def _time_of(value: Quote | Trade) -> int:
    return value.time_ns
