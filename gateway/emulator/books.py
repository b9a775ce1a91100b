"""Order books of pairs: the best bid and offer, and behind each as many levels as make up LEVELS.

The market itself has no depth, and orders are not filled by it: what stands behind the best price is drawn from symbol
and price, on a grid of a thousandth, so that the same prices have the same sizes and a move changes a few levels. On a
stream a book is told whole once, and then what changes in it: a level that is gone has the size 0.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final
from zlib import crc32

from gateway.domain.models.market_data import BookLevel, OrderBook, Quote

LEVELS: Final = 10
"""On each side."""
_GRID_DIGITS: Final = 4
"""Of a price, those in which levels differ: 95,123 has them at 95,120, 95,110 and so on."""
_LEVEL_WORTH_MIN: Final = 1_000
_LEVEL_WORTH_SPREAD: Final = 9_000
"""What stands at a level, in dollars: from the least on."""
_SIZE_DECIMALS: Final = 6
_PRICE_DECIMALS: Final = 9


def book_of(quote: Quote) -> OrderBook:
    """The book that stands behind a quote; a price of 0 is no level, and has none behind it."""
    return OrderBook(
        symbol=quote.symbol,
        time_ns=quote.time_ns,
        bids=_side(quote.symbol, quote.bid_price, quote.bid_size, -1),
        asks=_side(quote.symbol, quote.ask_price, quote.ask_size, 1),
        reset=True,
        feed=quote.feed,
        receive_time_ns=quote.receive_time_ns,
    )


class Books:
    """The books that somebody follows."""

    def __init__(self) -> None:
        self._standing: dict[str, OrderBook] = {}

    def stand(self, symbol: str, quote: Quote | None) -> OrderBook | None:
        """The whole book for somebody who begins to follow: as it was told last, or what stands behind a quote."""
        if symbol not in self._standing and quote is not None:
            self._standing[symbol] = book_of(quote)
        return self._standing.get(symbol)

    def follow(self, quote: Quote) -> OrderBook | None:
        """What to tell of the next quote: a whole book if none was told yet, else changes, or nothing."""
        before, book = self._standing.get(quote.symbol), book_of(quote)
        self._standing[quote.symbol] = book
        if before is None:
            return book
        bids, asks = _changes(before.bids, book.bids), _changes(before.asks, book.asks)
        return replace(book, bids=bids, asks=asks, reset=False) if bids or asks else None

    def forget(self, symbol: str) -> None:
        """Nobody follows this one."""
        self._standing.pop(symbol, None)


def _changes(before: tuple[BookLevel, ...], after: tuple[BookLevel, ...]) -> tuple[BookLevel, ...]:
    prices = {level.price for level in after}
    gone = tuple(BookLevel(level.price, 0.0) for level in before if level.price not in prices)
    return gone + tuple(level for level in after if level not in before)


def _side(symbol: str, best: float, size: float, outwards: int) -> tuple[BookLevel, ...]:
    """The best price, and the prices of the grid behind it: downwards with -1, upwards with 1."""
    if not best:
        return ()
    step = 10.0 ** (math.floor(math.log10(best)) + 1 - _GRID_DIGITS)
    place_of_best = round(best / step, _SIZE_DECIMALS)  # on the grid, it may seem to lie a hair beside it
    nearest = math.ceil(place_of_best) - 1 if outwards < 0 else math.floor(place_of_best) + 1
    behind = [_level(symbol, nearest + outwards * place, step) for place in range(LEVELS - 1)]
    return (BookLevel(best, size), *(level for level in behind if level.price > 0 and level.price != best))


def _level(symbol: str, place: int, step: float) -> BookLevel:
    price = round(place * step, _PRICE_DECIMALS)
    worth = _LEVEL_WORTH_MIN + crc32(f"{symbol} {price}".encode()) % _LEVEL_WORTH_SPREAD
    return BookLevel(price, round(worth / price, _SIZE_DECIMALS) if price > 0 else 0.0)
