"""market_data.proto: the values that a feed brings, noun to message.

Flags are what the noun does not say of itself: they are given where a value is written, and only values that
have them take them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from google.protobuf.message import Message

from gateway.domain.models.market_data import (
    Bar,
    BookLevel,
    LiveValue,
    Luld,
    News,
    OrderBook,
    Quote,
    Trade,
    TradeCancel,
    TradeCorrection,
    TradingStatus,
)
from gateway.domain.types import Channel, TwoWay
from gateway.servicers.wire.common import DATA_FEED, timestamp_to_proto
from trading_gateway.v1 import market_data_pb2 as pb

CHANNEL: Final = TwoWay(
    {
        Channel.QUOTES: pb.CHANNEL_QUOTES,
        Channel.TRADES: pb.CHANNEL_TRADES,
        Channel.BARS: pb.CHANNEL_BARS,
        Channel.UPDATED_BARS: pb.CHANNEL_UPDATED_BARS,
        Channel.DAILY_BARS: pb.CHANNEL_DAILY_BARS,
        Channel.ORDER_BOOKS: pb.CHANNEL_ORDER_BOOKS,
        Channel.TRADING_STATUS: pb.CHANNEL_TRADING_STATUS,
        Channel.LULD: pb.CHANNEL_LULD,
        Channel.NEWS: pb.CHANNEL_NEWS,
    }
)


def quote_to_proto(quote: Quote, *, snapshot: bool = False, stale: bool = False) -> pb.Quote:
    """A quote; `frames` writes the same bytes faster."""
    return pb.Quote(
        symbol=quote.symbol,
        time=timestamp_to_proto(quote.time_ns),
        bid_price=quote.bid_price,
        bid_size=quote.bid_size,
        bid_exchange=quote.bid_exchange,
        ask_price=quote.ask_price,
        ask_size=quote.ask_size,
        ask_exchange=quote.ask_exchange,
        conditions=quote.conditions,
        tape=quote.tape,
        feed=DATA_FEED[quote.feed],
        receive_time=timestamp_to_proto(quote.receive_time_ns),
        snapshot=snapshot,
        stale=stale,
    )


def trade_to_proto(trade: Trade, *, snapshot: bool = False, stale: bool = False) -> pb.Trade:
    """A print."""
    return pb.Trade(
        symbol=trade.symbol,
        time=timestamp_to_proto(trade.time_ns),
        price=trade.price,
        size=trade.size,
        exchange=trade.exchange,
        trade_id=trade.trade_id,
        conditions=trade.conditions,
        tape=trade.tape,
        taker_side=trade.taker_side,
        update=trade.update,
        feed=DATA_FEED[trade.feed],
        receive_time=timestamp_to_proto(trade.receive_time_ns),
        snapshot=snapshot,
        stale=stale,
    )


def bar_to_proto(bar: Bar, *, snapshot: bool = False, stale: bool = False) -> pb.Bar:
    """A bar."""
    return pb.Bar(
        symbol=bar.symbol,
        start_time=timestamp_to_proto(bar.start_time_ns),
        open=bar.open,
        high=bar.high,
        low=bar.low,
        close=bar.close,
        volume=bar.volume,
        trade_count=bar.trade_count,
        vwap=bar.vwap,
        final=bar.final,
        feed=DATA_FEED[bar.feed],
        receive_time=timestamp_to_proto(bar.receive_time_ns),
        snapshot=snapshot,
        stale=stale,
    )


def live_bar_to_proto(bar: Bar, *, snapshot: bool = False, stale: bool = False) -> pb.Bar:
    """A bar of a stream, which names its channel."""
    message = bar_to_proto(bar, snapshot=snapshot, stale=stale)
    message.channel = CHANNEL[bar.channel]
    return message


def trade_correction_to_proto(correction: TradeCorrection) -> pb.TradeCorrection:
    """A corrected trade."""
    return pb.TradeCorrection(
        symbol=correction.symbol,
        time=timestamp_to_proto(correction.time_ns),
        original=trade_to_proto(correction.original),
        corrected=trade_to_proto(correction.corrected),
        feed=DATA_FEED[correction.feed],
        receive_time=timestamp_to_proto(correction.receive_time_ns),
    )


def trade_cancel_to_proto(cancel: TradeCancel) -> pb.TradeCancel:
    """An annulled trade."""
    return pb.TradeCancel(
        symbol=cancel.symbol,
        time=timestamp_to_proto(cancel.time_ns),
        trade_id=cancel.trade_id,
        exchange=cancel.exchange,
        price=cancel.price,
        size=cancel.size,
        action=cancel.action,
        feed=DATA_FEED[cancel.feed],
        receive_time=timestamp_to_proto(cancel.receive_time_ns),
    )


def order_book_to_proto(book: OrderBook, *, snapshot: bool = False, stale: bool = False) -> pb.OrderBook:
    """A whole book, or a change of one."""
    return pb.OrderBook(
        symbol=book.symbol,
        time=timestamp_to_proto(book.time_ns),
        bids=map(_level, book.bids),
        asks=map(_level, book.asks),
        reset=book.reset,
        feed=DATA_FEED[book.feed],
        receive_time=timestamp_to_proto(book.receive_time_ns),
        snapshot=snapshot,
        stale=stale,
    )


def trading_status_to_proto(status: TradingStatus, *, snapshot: bool = False) -> pb.TradingStatus:
    """A halt, a resumption or the like."""
    return pb.TradingStatus(
        symbol=status.symbol,
        time=timestamp_to_proto(status.time_ns),
        status_code=status.status_code,
        status_message=status.status_message,
        reason_code=status.reason_code,
        reason_message=status.reason_message,
        tape=status.tape,
        feed=DATA_FEED[status.feed],
        receive_time=timestamp_to_proto(status.receive_time_ns),
        snapshot=snapshot,
    )


def luld_to_proto(luld: Luld, *, snapshot: bool = False) -> pb.Luld:
    """A price band."""
    return pb.Luld(
        symbol=luld.symbol,
        time=timestamp_to_proto(luld.time_ns),
        limit_up=luld.limit_up,
        limit_down=luld.limit_down,
        indicator=luld.indicator,
        tape=luld.tape,
        feed=DATA_FEED[luld.feed],
        receive_time=timestamp_to_proto(luld.receive_time_ns),
        snapshot=snapshot,
    )


def news_to_proto(news: News) -> pb.News:
    """An article."""
    return pb.News(
        news_id=news.news_id,
        headline=news.headline,
        summary=news.summary,
        author=news.author,
        source=news.source,
        url=news.url,
        symbols=news.symbols,
        create_time=None if news.create_time_ns is None else timestamp_to_proto(news.create_time_ns),
        update_time=None if news.update_time_ns is None else timestamp_to_proto(news.update_time_ns),
        receive_time=timestamp_to_proto(news.receive_time_ns),
    )


VALUE_TO_PROTO: Final[dict[type[LiveValue], Callable[[Any], Message]]] = {
    Quote: quote_to_proto,
    Trade: trade_to_proto,
    TradeCorrection: trade_correction_to_proto,
    TradeCancel: trade_cancel_to_proto,
    Bar: live_bar_to_proto,
    OrderBook: order_book_to_proto,
    TradingStatus: trading_status_to_proto,
    Luld: luld_to_proto,
    News: news_to_proto,
}
"""Every noun of a feed and how it is written, without flags."""


def _level(level: BookLevel) -> pb.OrderBook.Level:
    return pb.OrderBook.Level(price=level.price, size=level.size)
