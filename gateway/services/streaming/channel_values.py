"""The newest values of the channels that are not one symbol's value after another.

These are trades that are corrected, books that change, articles that are about several symbols.

Promises: a correction or a cancel reaches every reader and is nobody's newest trade, but changes which trade that is;
a book is kept whole, and whoever does not take every change is given the whole book instead of changes; an article
reaches every reader of one of its symbols once, and none takes the place of another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import structlog

from gateway.domain.models.market_data import News, OrderBook, Trade, TradeCancel, TradeCorrection
from gateway.domain.types import Channel, article_symbol
from gateway.services.streaming.encoder import Encoder
from gateway.services.streaming.feed_health import NO_EPOCH, FeedHealth, Receipt
from gateway.services.streaming.last_values import NO_SYMBOLS, Entry, LastValues, Stamped, V, Value

_log = structlog.get_logger(__name__)


def last_values_of(channel: Channel, health: FeedHealth, encoder: Encoder) -> LastValues:
    """The keeper of a channel's newest values."""
    match channel:
        case Channel.TRADES:
            return TradeValues(health, encoder)
        case Channel.ORDER_BOOKS:
            return BookValues(health, encoder)
        case Channel.NEWS:
            return NewsValues(health, channel)
        case _:
            return LastValues(health, channel)


class TradeValues(LastValues):
    """Trades, their corrections and their cancels."""

    def __init__(self, health: FeedHealth, encoder: Encoder) -> None:
        super().__init__(health, Channel.TRADES)
        self._encoder = encoder

    def publish(self, values: Sequence[V], encoded: Iterable[bytes], receipt: Receipt) -> frozenset[str]:
        """Take in what came, in order, and pass it on."""
        if not any(map(is_notice, values)):
            return super().publish(values, encoded, receipt)
        for value, element in zip(values, encoded, strict=True):
            if isinstance(value, TradeCorrection | TradeCancel):
                entry = self.entries.get(value.symbol)
                if entry is not None:
                    self._amend(entry, value)
                    for sink in entry.sinks:
                        sink.add_notice((value, element, receipt))
            else:
                super().publish((value,), (element,), receipt)
        return NO_SYMBOLS

    def _amend(self, entry: Entry, notice: TradeCorrection | TradeCancel) -> None:
        """The trade that is held may be the one that is meant; when it is annulled, the one before it is not known."""
        held = entry.newest
        if held is None or not isinstance(held[0], Trade):
            return
        if isinstance(notice, TradeCancel):
            if (notice.trade_id, notice.exchange) == (held[0].trade_id, held[0].exchange):
                entry.newest = None
        elif (notice.original.trade_id, notice.original.exchange) == (held[0].trade_id, held[0].exchange):
            corrected = replace(notice.corrected, time_ns=held[0].time_ns)
            entry.newest = (corrected, self._encoder.values([corrected])[0], held[2])


class BookValues(LastValues):
    """Order books, whole: each change is worked into the book that the feed began with."""

    def __init__(self, health: FeedHealth, encoder: Encoder) -> None:
        super().__init__(health, Channel.ORDER_BOOKS)
        self._encoder = encoder
        self._begun: set[str] = set()
        self._without_book: set[str] = set()

    def newest(self, symbol: str) -> Stamped | None:
        """The whole book; written when it is first asked for."""
        entry = self.entries.get(symbol)
        if entry is None or entry.newest is None:
            return None
        value, element, receipt = entry.newest
        if not element:
            entry.newest = (value, self._encoder.values([value])[0], receipt)
        return entry.newest

    def forget(self, symbols: Iterable[str]) -> None:
        """Nobody keeps these up to date any more."""
        gone = frozenset(symbols)
        self._begun -= gone
        self._without_book -= gone
        super().forget(gone)

    def disown(self, symbols: Iterable[str]) -> frozenset[str]:
        """As ever; what the feed brings of these next begins with a whole book again."""
        lost = frozenset(symbols)
        self._begun -= lost
        return super().disown(lost)

    def break_off(self) -> None:
        """What the feed brings next begins with a whole book again."""
        self._begun.clear()
        self._without_book.clear()

    def publish(self, values: Sequence[V], encoded: Iterable[bytes], receipt: Receipt) -> frozenset[str]:
        """Take in books and changes, in the order received: the venue's time does not order them.

        A change without a book cannot be worked in: until the feed begins the book anew, nobody knows the newest.
        """
        lost = set()
        for value, element in zip(values, encoded, strict=True):
            entry = self.entries.get(value.symbol)
            if entry is None or not isinstance(value, OrderBook):
                continue
            if value.reset:
                self._begun.add(value.symbol)
                self._without_book.discard(value.symbol)
                entry.newest = (value, element, receipt)
            elif value.symbol in self._begun and entry.newest is not None and isinstance(entry.newest[0], OrderBook):
                entry.newest = (entry.newest[0].changed_by(value), b"", receipt)
            else:
                self._note_without_book(value.symbol)
                lost.add(value.symbol)
                continue
            for sink in entry.sinks:
                whole = self.newest(value.symbol) if sink.wants_whole else None
                sink.add(whole or (value, element, receipt))
        return self.disown(lost) if lost else NO_SYMBOLS

    def merge(self, values: Iterable[V], encoded: Iterable[bytes], receipt: Receipt) -> frozenset[str]:
        """As ever, but for books that the feed has begun, as changes fit those alone, and what nobody can vouch for."""
        taken: frozenset[str] = NO_SYMBOLS
        for value, element in zip(values, encoded, strict=True):
            if value.symbol not in self._begun:
                epoch = NO_EPOCH if value.symbol in self._without_book else receipt.epoch
                taken |= super().merge((value,), (element,), Receipt(receipt.received_at, epoch))
        return taken

    def _note_without_book(self, symbol: str) -> None:
        if symbol not in self._without_book:
            self._without_book.add(symbol)
            _log.warning("book_change_without_book", symbol=symbol)


class NewsValues(LastValues):
    """Articles. None is anybody's newest value: what was published before a stream began is not told."""

    def __init__(self, health: FeedHealth, channel: Channel) -> None:
        super().__init__(health, channel)
        self._named: dict[str, dict[str, Entry]] = {}  # by the articles' spelling, then by ours

    def add(self, symbols: Iterable[str]) -> None:
        """Make room for symbols."""
        asked = tuple(symbols)
        super().add(asked)
        for symbol in asked:
            self._named.setdefault(article_symbol(symbol), {})[symbol] = self.entries[symbol]

    def forget(self, symbols: Iterable[str]) -> None:
        """Nobody keeps these up to date any more."""
        gone = tuple(symbols)
        super().forget(gone)
        for symbol in gone:
            named = self._named.get(article_symbol(symbol), {})
            named.pop(symbol, None)
            if not named:
                self._named.pop(article_symbol(symbol), None)

    def publish(self, values: Sequence[V], encoded: Iterable[bytes], receipt: Receipt) -> frozenset[str]:
        """Pass articles on, in order."""
        for value, element in zip(values, encoded, strict=True):
            if not isinstance(value, News):
                continue
            entries = [entry for symbol in value.symbols for entry in self._named.get(symbol, {}).values()]
            for sink in dict.fromkeys(sink for entry in entries for sink in entry.sinks):
                sink.add_notice((value, element, receipt))
        return NO_SYMBOLS


def is_notice(value: Value) -> bool:
    """Whether a value stands for itself alone: no newer one takes its place."""
    return isinstance(value, TradeCorrection | TradeCancel | News)
