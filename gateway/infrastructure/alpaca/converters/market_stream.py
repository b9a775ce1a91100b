"""What only the websocket says: corrections and cancels of trades, order books, statuses, price bands, articles.

Also the table of every kind of message (`T`) that carries market data: its channel and its converter. Promises as
`market_data` does: numbers bit for bit, and `Unreadable` for what is no finite number of 0 or more.

Source: Alpaca's pages on real-time stock data, crypto data and news, its Go SDK's entities.go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway.domain.models.market_data import (
    Bar,
    BookLevel,
    LiveValue,
    Luld,
    News,
    OrderBook,
    Trade,
    TradeCancel,
    TradeCorrection,
    TradingStatus,
)
from gateway.domain.types import Channel, DataFeed
from gateway.infrastructure.alpaca.converters.fields import (
    JsonObject,
    Unreadable,
    as_list,
    as_object,
    flag,
    text,
    text_or_empty,
    texts,
    whole_or_none,
    whole_text,
)
from gateway.infrastructure.alpaca.converters.market_data import (
    bar_from_alpaca,
    instant_of,
    instant_or_none,
    measure_of,
    quote_from_alpaca,
    symbol_of,
    trade_from_alpaca,
)

HEADLINE_LENGTH_MAX: Final = 1_024
SUMMARY_LENGTH_MAX: Final = 8_192
URL_LENGTH_MAX: Final = 2_048
"""Characters of an article's texts; what is longer is cut, and ends in an ellipsis."""
ARTICLE_SYMBOLS_MAX: Final = 2_048
"""An article about more is about none in particular."""

Converter = Callable[[object, object, DataFeed, int], LiveValue]


def updated_bar_from_alpaca(symbol: object, raw: object, feed: DataFeed, receive_time_ns: int) -> Bar:
    """A minute again, after late trades."""
    bar = bar_from_alpaca(symbol, raw, feed, receive_time_ns)
    bar.channel = Channel.UPDATED_BARS
    return bar


def daily_bar_from_alpaca(symbol: object, raw: object, feed: DataFeed, receive_time_ns: int) -> Bar:
    """The running day."""
    bar = bar_from_alpaca(symbol, raw, feed, receive_time_ns, final=False)
    bar.channel = Channel.DAILY_BARS
    return bar


def correction_from_alpaca(symbol: object, raw: object, feed: DataFeed, receive_time_ns: int) -> TradeCorrection:
    """A trade as reported first (`o`), and as it stands now (`c`); both at one exchange."""
    correction = as_object(raw, "correction")
    name, time_ns = symbol_of(symbol), instant_of(correction)

    def side(letter: str) -> Trade:
        return Trade(
            symbol=name,
            time_ns=time_ns,
            price=measure_of(correction.get(f"{letter}p"), f"{letter}p"),
            size=measure_of(correction.get(f"{letter}s"), f"{letter}s"),
            feed=feed,
            receive_time_ns=receive_time_ns,
            exchange=text_or_empty(correction, "x"),
            trade_id=_trade_id(correction, f"{letter}i"),
            conditions=texts(correction.get(f"{letter}c")),
            tape=text_or_empty(correction, "z"),
        )

    return TradeCorrection(name, time_ns, side("o"), side("c"), feed, receive_time_ns)


def cancel_from_alpaca(symbol: object, raw: object, feed: DataFeed, receive_time_ns: int) -> TradeCancel:
    """An annulled trade."""
    cancel = as_object(raw, "cancel")
    return TradeCancel(
        symbol=symbol_of(symbol),
        time_ns=instant_of(cancel),
        trade_id=_trade_id(cancel, "i"),
        price=measure_of(cancel.get("p"), "p"),
        size=measure_of(cancel.get("s"), "s"),
        feed=feed,
        receive_time_ns=receive_time_ns,
        exchange=text_or_empty(cancel, "x"),
        action=text_or_empty(cancel, "a"),
    )


def order_book_from_alpaca(symbol: object, raw: object, feed: DataFeed, receive_time_ns: int) -> OrderBook:
    """A book, whole when the venue says so, changes of one otherwise. Sorted here: nobody promises an order."""
    book = as_object(raw, "book")
    return OrderBook(
        symbol=symbol_of(symbol),
        time_ns=instant_of(book),
        bids=tuple(sorted(_levels(book, "b"), key=_price, reverse=True)),
        asks=tuple(sorted(_levels(book, "a"), key=_price)),
        reset=flag(book, "r"),
        feed=feed,
        receive_time_ns=receive_time_ns,
    )


def status_from_alpaca(symbol: object, raw: object, feed: DataFeed, receive_time_ns: int) -> TradingStatus:
    """A halt, a resumption or the like; without its code it says nothing."""
    status = as_object(raw, "status")
    return TradingStatus(
        symbol=symbol_of(symbol),
        time_ns=instant_of(status),
        status_code=text(status, "sc"),
        feed=feed,
        receive_time_ns=receive_time_ns,
        status_message=text_or_empty(status, "sm"),
        reason_code=text_or_empty(status, "rc"),
        reason_message=text_or_empty(status, "rm"),
        tape=text_or_empty(status, "z"),
    )


def luld_from_alpaca(symbol: object, raw: object, feed: DataFeed, receive_time_ns: int) -> Luld:
    """A price band."""
    band = as_object(raw, "band")
    return Luld(
        symbol=symbol_of(symbol),
        time_ns=instant_of(band),
        limit_up=measure_of(band.get("u"), "u"),
        limit_down=measure_of(band.get("d"), "d"),
        feed=feed,
        receive_time_ns=receive_time_ns,
        indicator=text_or_empty(band, "i"),
        tape=text_or_empty(band, "z"),
    )


def news_from_alpaca(symbol: object, raw: object, feed: DataFeed, receive_time_ns: int) -> News:  # noqa: ARG001 - a converter's shape
    """An article; without its id it cannot be told from the next, and without symbols it is nobody's."""
    article = as_object(raw, "article")
    news_id = whole_or_none(article, "id")
    if news_id is None:
        raise Unreadable("id is no id")
    names = [name for name in as_list(article.get("symbols"), "symbols") if type(name) is str and name]
    if not 0 < len(names) <= ARTICLE_SYMBOLS_MAX:
        raise Unreadable("no symbols, or more than an article has")
    return News(
        news_id=news_id,
        headline=_long_text(article, "headline", HEADLINE_LENGTH_MAX),
        symbols=tuple(dict.fromkeys(map(whole_text, names))),
        create_time_ns=instant_or_none(article, "created_at"),
        update_time_ns=instant_or_none(article, "updated_at"),
        feed=feed,
        receive_time_ns=receive_time_ns,
        summary=_long_text(article, "summary", SUMMARY_LENGTH_MAX),
        author=text_or_empty(article, "author"),
        source=text_or_empty(article, "source"),
        url=_long_text(article, "url", URL_LENGTH_MAX),
    )


KINDS: Final[dict[str, tuple[Channel, Converter]]] = {
    "q": (Channel.QUOTES, quote_from_alpaca),
    "t": (Channel.TRADES, trade_from_alpaca),
    "c": (Channel.TRADES, correction_from_alpaca),
    "x": (Channel.TRADES, cancel_from_alpaca),
    "b": (Channel.BARS, bar_from_alpaca),
    "u": (Channel.UPDATED_BARS, updated_bar_from_alpaca),
    "d": (Channel.DAILY_BARS, daily_bar_from_alpaca),
    "o": (Channel.ORDER_BOOKS, order_book_from_alpaca),
    "s": (Channel.TRADING_STATUS, status_from_alpaca),
    "l": (Channel.LULD, luld_from_alpaca),
    "n": (Channel.NEWS, news_from_alpaca),
}
"""The letter of a message, the channel that it comes by, and who reads it."""


def _long_text(raw: JsonObject, name: str, length_max: int) -> str:
    """A text; empty when it is absent, null or something else."""
    value = raw.get(name)
    if type(value) is not str:
        return ""
    return whole_text(value if len(value) <= length_max else value[: length_max - 1] + "…")


def _trade_id(raw: JsonObject, name: str) -> int:
    """Which trade; without it nobody can tell what was corrected or annulled."""
    trade_id = whole_or_none(raw, name)
    if trade_id is None:
        raise Unreadable(f"{name} is no id")
    return trade_id


def _levels(book: JsonObject, name: str) -> list[BookLevel]:
    levels = [as_object(item, name) for item in as_list(book.get(name), name)]
    return [BookLevel(measure_of(level.get("p"), "p"), measure_of(level.get("s"), "s")) for level in levels]


def _price(level: BookLevel) -> float:
    return level.price
