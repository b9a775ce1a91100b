"""The emulator's own dictionary of the market-data sockets: each event as its message, by its channel.

Written from Alpaca's documents; like `wire` it must not know the gateway's converters. Key `T` comes first.

Source: Alpaca's pages on real-time stock data, crypto data and news.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gateway.domain.models.market_data import (
    Bar,
    Luld,
    News,
    OrderBook,
    Quote,
    Trade,
    TradeCancel,
    TradeCorrection,
    TradingStatus,
)
from gateway.domain.types import Channel
from gateway.emulator.market import Event
from gateway.emulator.synthetic import LISTINGS
from gateway.emulator.wire import JsonObject, bar_fields, book_fields, quote_fields, trade_fields, whole_or_fraction

Stamp = Callable[[int], object]
"""An instant as a value of the encoding."""

_TAPE_OF: Final = {listing.symbol: listing.tape for listing in LISTINGS}
_BARS: Final = {
    Channel.BARS: ("bars", "b"),
    Channel.UPDATED_BARS: ("updatedBars", "u"),
    Channel.DAILY_BARS: ("dailyBars", "d"),
}


def channel_of(event: Event) -> str:
    """The channel whose subscribers are told; corrections and cancels come with trades."""
    return _BARS[event.channel][0] if isinstance(event, Bar) else _EVENTS[type(event)][0]


def message_of(event: Event, stamp: Stamp) -> JsonObject:
    """An event as its message."""
    if isinstance(event, Bar):
        return {"T": _BARS[event.channel][1], "S": event.symbol, **bar_fields(event, stamp(event.start_time_ns))}
    if isinstance(event, News):
        return {"T": "n", **article_fields(event, stamp)}
    _, letter, fields = _EVENTS[type(event)]
    return {"T": letter, "S": event.symbol, **fields(event, stamp(event.time_ns))}


def correction_fields(correction: TradeCorrection, time: object) -> JsonObject:
    """A correction's letters: o as reported first, c as it stands now."""
    original, corrected = correction.original, correction.corrected
    return {
        "x": original.exchange,
        "oi": original.trade_id,
        "op": original.price,
        "os": whole_or_fraction(original.size),
        "oc": original.conditions,
        "ci": corrected.trade_id,
        "cp": corrected.price,
        "cs": whole_or_fraction(corrected.size),
        "cc": corrected.conditions,
        "t": time,
        "z": original.tape,
    }


def cancel_fields(cancel: TradeCancel, time: object) -> JsonObject:
    """A cancel's letters."""
    return {
        "i": cancel.trade_id,
        "x": cancel.exchange,
        "p": cancel.price,
        "s": whole_or_fraction(cancel.size),
        "a": cancel.action,
        "t": time,
        "z": _TAPE_OF.get(cancel.symbol, ""),
    }


def status_fields(status: TradingStatus, time: object) -> JsonObject:
    """A trading status's letters; codes are those of the tape's plan."""
    return {
        "sc": status.status_code,
        "sm": status.status_message,
        "rc": status.reason_code,
        "rm": status.reason_message,
        "t": time,
        "z": status.tape,
    }


def band_fields(band: Luld, time: object) -> JsonObject:
    """A price band's letters."""
    return {"u": band.limit_up, "d": band.limit_down, "i": band.indicator, "t": time, "z": band.tape}


def changed_book_fields(book: OrderBook, time: object) -> JsonObject:
    """A book's letters; `r` is there when the book is whole."""
    return {**book_fields(book, time), **({"r": True} if book.reset else {})}


def article_fields(article: News, stamp: Stamp) -> JsonObject:
    """An article's words; it names no single symbol, so it has no letter for one."""
    return {
        "id": article.news_id,
        "headline": article.headline,
        "summary": article.summary,
        "author": article.author,
        "created_at": stamp(article.create_time_ns or article.time_ns),
        "updated_at": stamp(article.time_ns),
        "url": article.url,
        "content": f"<p>{article.summary}</p>",
        "symbols": list(article.symbols),
        "source": article.source,
    }


_EVENTS: Final[dict[type, tuple[str, str, Callable[[Any, object], JsonObject]]]] = {
    Quote: ("quotes", "q", quote_fields),
    Trade: ("trades", "t", trade_fields),
    TradeCorrection: ("trades", "c", correction_fields),
    TradeCancel: ("trades", "x", cancel_fields),
    OrderBook: ("orderbooks", "o", changed_book_fields),
    TradingStatus: ("statuses", "s", status_fields),
    Luld: ("lulds", "l", band_fields),
}
