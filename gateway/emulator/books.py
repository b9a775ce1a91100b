"""Order books of pairs. This market shows no depth: the best bid and offer are the whole book.

On a stream a book is told whole once, and then what changes in it: a level that is gone has the size 0.
"""

from __future__ import annotations

from dataclasses import replace

from gateway.domain.models.market_data import BookLevel, OrderBook, Quote


def book_of(quote: Quote) -> OrderBook:
    """The book that stands behind a quote; a price of 0 is no level."""
    return OrderBook(
        symbol=quote.symbol,
        time_ns=quote.time_ns,
        bids=(BookLevel(quote.bid_price, quote.bid_size),) if quote.bid_price else (),
        asks=(BookLevel(quote.ask_price, quote.ask_size),) if quote.ask_price else (),
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
