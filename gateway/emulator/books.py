"""Order books of pairs. This market shows no depth: the best bid and offer are the whole book."""

from __future__ import annotations

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
