"""Live market data straight from the trading floor: one connection per feed. See `in_process`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

from gateway.domain.interfaces import MarketDataListener
from gateway.domain.models.market_data import (
    Bar,
    LiveValue,
    Luld,
    News,
    OrderBook,
    Quote,
    SubscriptionSet,
    Trade,
    TradeCancel,
    TradeCorrection,
    TradingStatus,
)
from gateway.domain.types import AssetClass, Channel, DataFeed, FeedState, article_symbol, asset_class_of
from gateway.emulator.books import Books
from gateway.emulator.floor import TradingFloor
from gateway.emulator.market import Event, day_so_far

_CHANNEL_OF: Final = {
    Trade: Channel.TRADES,
    TradeCorrection: Channel.TRADES,
    TradeCancel: Channel.TRADES,
    OrderBook: Channel.ORDER_BOOKS,
    TradingStatus: Channel.TRADING_STATUS,
    Luld: Channel.LULD,
}
ARTICLE_CLASSES: Final = frozenset({AssetClass.US_EQUITY, AssetClass.CRYPTO})
"""What articles are about."""
_OFFERED: Final[dict[AssetClass | None, frozenset[Channel]]] = {
    AssetClass.US_EQUITY: frozenset(Channel) - {Channel.ORDER_BOOKS, Channel.NEWS},
    AssetClass.CRYPTO: frozenset(Channel) - {Channel.TRADING_STATUS, Channel.LULD, Channel.NEWS},
    AssetClass.US_OPTION: frozenset({Channel.QUOTES, Channel.TRADES}),
    None: frozenset({Channel.NEWS}),
}
"""The channels of a feed, by what it brings; a socket refuses the others with 410."""


class InProcessFeed:
    """MarketDataConnection."""

    def __init__(
        self,
        floor: TradingFloor,
        feed: DataFeed,
        listener: MarketDataListener,
        clock: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        self._floor = floor
        self._clock = clock
        self._monotonic = monotonic
        self._feed = feed
        self._listener = listener
        self._symbols: dict[Channel, frozenset[str]] = {}
        self._books = Books()
        self._is_live = False
        self.is_closed = False

    async def set_subscriptions(self, wanted: SubscriptionSet) -> None:
        """Hear these symbols from now on; those that are not quoted here are acknowledged and silent.

        A channel that this feed does not have is not acknowledged, as on a socket.
        """
        symbols = {channel: frozenset(found) for channel, found in wanted.symbols.items() if found}
        classes = {asset_class_of(symbol) for found in symbols.values() for symbol in found}
        if not classes <= ({self._feed.asset_class} if self._feed.asset_class else ARTICLE_CLASSES):
            raise ValueError(f"a symbol is not spelled as those of {self._feed.value} are")
        if self.is_closed:
            return
        if not symbols:
            self._symbols = {}
            self._end("nothing is subscribed")
            return
        if not self._is_live:
            self._listener.on_state(FeedState.CONNECTING, "", 0)
        now_ns = self._floor.begin()
        offered = _OFFERED[self._feed.asset_class]
        symbols = {channel: found for channel, found in symbols.items() if channel in offered}
        books = symbols.get(Channel.ORDER_BOOKS, frozenset())
        before = self._symbols.get(Channel.ORDER_BOOKS, frozenset()) if self._is_live else frozenset()
        self._symbols = symbols
        self._listener.on_subscriptions(SubscriptionSet(symbols))
        if not self._is_live:
            self._is_live = True
            self._listener.on_state(FeedState.LIVE, "", 0)
        self._show_books(books - before, before - books, now_ns)

    async def close(self) -> None:
        """Hear nothing any more. Idempotent."""
        self.is_closed = True
        self._symbols = {}
        self._is_live = False

    def publish(self, events: Sequence[Event]) -> None:
        """Tell the listener what it subscribed to: one call per channel, in order within a channel."""
        if not self._is_live:
            return
        if self._feed.asset_class is AssetClass.US_OPTION:
            events = self._floor.options.events(events, {one for found in self._symbols.values() for one in found})
        quotes: list[Quote] = []
        values: dict[Channel, list[LiveValue]] = {}
        for event in events:
            if isinstance(event, News):
                self._add_article(values, event)
            elif isinstance(event, Quote):
                if event.symbol in self._symbols.get(Channel.QUOTES, ()):
                    quotes.append(replace(event, feed=self._feed, receive_time_ns=self._clock()))
                self._add(values, self._change_of_book(event))
            else:
                self._add(values, (event,))
            if isinstance(event, Bar) and event.channel is Channel.BARS:
                self._add(values, self._day_after(event))
        if quotes:
            self._listener.on_quotes(quotes, self._monotonic())
        for channel, told in values.items():
            self._listener.on_values(channel, told, self._monotonic())

    def break_off(self, detail: str, venue_error_code: int = 0) -> None:
        """Lose the connection, as a test wishes; it comes back with the next `set_subscriptions`."""
        self._end(detail, venue_error_code)

    def _add(self, values: dict[Channel, list[LiveValue]], events: Iterable[Event]) -> None:
        for event in events:
            channel = event.channel if isinstance(event, Bar) else _CHANNEL_OF[type(event)]
            if event.symbol in self._symbols.get(channel, ()):
                values.setdefault(channel, []).append(self._received(event))

    def _add_article(self, values: dict[Channel, list[LiveValue]], article: News) -> None:
        about = set(article.symbols)
        if any(article_symbol(symbol) in about for symbol in self._symbols.get(Channel.NEWS, ())):
            values.setdefault(Channel.NEWS, []).append(self._received(article))

    def _received(self, event: Event) -> LiveValue:
        """As this feed brings it, now."""
        now_ns = self._clock()
        if isinstance(event, TradeCorrection):
            original = replace(event.original, feed=self._feed, receive_time_ns=now_ns)
            corrected = replace(event.corrected, feed=self._feed, receive_time_ns=now_ns)
            event = replace(event, original=original, corrected=corrected)
        return replace(event, feed=self._feed, receive_time_ns=now_ns)

    def _change_of_book(self, quote: Quote) -> tuple[OrderBook, ...]:
        if quote.symbol not in self._symbols.get(Channel.ORDER_BOOKS, ()):
            return ()
        book = self._books.follow(quote)
        return () if book is None else (book,)

    def _day_after(self, bar: Bar) -> tuple[Bar, ...]:
        if bar.symbol not in self._symbols.get(Channel.DAILY_BARS, ()):
            return ()
        day = day_so_far(self._floor.market, bar)
        return () if day is None else (day,)

    def _show_books(self, joined: Iterable[str], left: Iterable[str], now_ns: int) -> None:
        """An order book begins with the whole of it."""
        for symbol in left:
            self._books.forget(symbol)
        market = self._floor.market
        quotes = [market.latest_quote(symbol, now_ns) for symbol in sorted(joined) if symbol in market.symbols]
        books = [book for quote in quotes if quote is not None and (book := self._books.stand(quote.symbol, quote))]
        if books:
            self._listener.on_values(Channel.ORDER_BOOKS, [self._received(book) for book in books], self._monotonic())

    def _end(self, detail: str, venue_error_code: int = 0) -> None:
        self._books = Books()
        if self._is_live:
            self._is_live = False
            self._listener.on_state(FeedState.DISCONNECTED, detail, venue_error_code)
