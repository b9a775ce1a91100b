"""The emulator's own dictionary of market data: nouns ↔ Alpaca's letters, on REST and websockets alike.

Written from Alpaca's documents; it must not know the gateway's converters, so that a wrong spelling cannot cancel
itself out. Prices and sizes go out bit for bit; sizes of equities that are whole numbers go out as integers, as
Alpaca's do. Times are given by the caller: text on JSON, a timestamp on msgpack. Orders and accounts have a
dictionary of their own, `wire_trading`.

Source: schemas stock_quote, stock_trade, stock_bar, crypto_quote, crypto_trade and crypto_bar of Alpaca's market
data OpenAPI document, and its pages on the real-time streams.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from gateway.domain.models.market_data import Bar, OrderBook, Quote, Trade
from gateway.domain.types import NANOS_PER_SECOND, AssetClass

JsonObject = dict[str, Any]

_SECONDS_CACHED: Final = 4096


@lru_cache(maxsize=_SECONDS_CACHED)
def _seconds_text(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def format_time(time_ns: int) -> str:
    """RFC 3339 in UTC with as many digits of the second as are needed, up to nine."""
    seconds, nanos = divmod(time_ns, NANOS_PER_SECOND)
    if not nanos:
        return _seconds_text(seconds) + "Z"
    return f"{_seconds_text(seconds)}.{nanos:09d}".rstrip("0") + "Z"


def quote_fields(quote: Quote, time: object) -> JsonObject:
    """A quote's letters; crypto has no exchanges and no conditions, options have one condition and no tape."""
    if "/" in quote.symbol:
        return {
            "bp": quote.bid_price,
            "bs": quote.bid_size,
            "ap": quote.ask_price,
            "as": quote.ask_size,
            "t": time,
        }
    fields: JsonObject = {
        "bx": quote.bid_exchange,
        "bp": quote.bid_price,
        "bs": whole_or_fraction(quote.bid_size),
        "ax": quote.ask_exchange,
        "ap": quote.ask_price,
        "as": whole_or_fraction(quote.ask_size),
        "t": time,
    }
    if _is_option(quote):
        return fields | {"c": " ".join(quote.conditions)}
    return fields | {"c": quote.conditions, "z": quote.tape}


def trade_fields(trade: Trade, time: object) -> JsonObject:
    """A trade's letters; options have no trade ids."""
    if "/" in trade.symbol:
        return {"p": trade.price, "s": trade.size, "t": time, "i": trade.trade_id, "tks": trade.taker_side}
    if _is_option(trade):
        return {
            "x": trade.exchange,
            "p": trade.price,
            "s": whole_or_fraction(trade.size),
            "t": time,
            "c": " ".join(trade.conditions),
        }
    fields: JsonObject = {
        "i": trade.trade_id,
        "x": trade.exchange,
        "p": trade.price,
        "s": whole_or_fraction(trade.size),
        "t": time,
        "c": trade.conditions,
        "z": trade.tape,
    }
    if trade.update:  # history alone says what became of a trade, and only if anything did
        fields["u"] = trade.update
    return fields


def book_fields(book: OrderBook, time: object) -> JsonObject:
    """A whole order book's letters."""
    return {
        "t": time,
        "b": [{"p": level.price, "s": level.size} for level in book.bids],
        "a": [{"p": level.price, "s": level.size} for level in book.asks],
    }


def bar_fields(bar: Bar, time: object) -> JsonObject:
    """A bar's letters. Alpaca always gives a volume-weighted price; where the source has none it is 0."""
    volume = bar.volume if "/" in bar.symbol else whole_or_fraction(bar.volume)
    return {
        "o": bar.open,
        "h": bar.high,
        "l": bar.low,
        "c": bar.close,
        "v": volume,
        "n": bar.trade_count,
        "vw": bar.vwap or 0.0,
        "t": time,
    }


def _is_option(value: Quote | Trade) -> bool:
    return value.feed.asset_class is AssetClass.US_OPTION


def whole_or_fraction(size: float) -> int | float:
    """A size of an equity: an integer where it is one."""
    return int(size) if size.is_integer() else size
