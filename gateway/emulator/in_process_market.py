"""Market data straight from the trading floor: the repository. Live data: `in_process_feed`. See `in_process`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from functools import partial
from typing import Final, TypeVar

from gateway.domain.errors import SymbolUnknown, VenueUnreachable
from gateway.domain.models.market_data import (
    Adjustment,
    Bar,
    OrderBook,
    Page,
    Quote,
    Snapshot,
    Timeframe,
    TimeframeUnit,
    Trade,
)
from gateway.domain.models.reference import Asset, MarketClock, MarketDay
from gateway.domain.types import (
    NANOS_PER_SECOND,
    AssetClass,
    CallContext,
    DataFeed,
    asset_class_of,
    is_quoted_symbol,
)
from gateway.emulator.books import book_of
from gateway.emulator.floor import TradingFloor
from gateway.emulator.market import QUIET_NS_MAX, Market
from gateway.emulator.option_market import OptionMarket
from gateway.emulator.rest.answers import HttpError
from gateway.emulator.rest.paging import Window, parse_token, read_page

ITEMS_PER_PAGE_MAX: Final = 10_000

Value = TypeVar("Value", Quote, Trade, Bar, OrderBook)

_DAY: Final = Timeframe(1, TimeframeUnit.DAY)
_SPANS_S: Final = {
    TimeframeUnit.MINUTE: 60,
    TimeframeUnit.HOUR: 3600,
    TimeframeUnit.DAY: 86_400,
    TimeframeUnit.WEEK: 7 * 86_400,
    TimeframeUnit.MONTH: 31 * 86_400,
}


class InProcessMarketData:
    """MarketDataRepository."""

    def __init__(self, floor: TradingFloor, clock: Callable[[], int]) -> None:
        self._floor = floor
        self._market = floor.market
        self._clock = clock

    async def get_latest_quotes(self, context: CallContext, feed: DataFeed, symbols: Sequence[str]) -> list[Quote]:
        """The newest quote of each symbol."""
        now_ns, source = self._floor.now(), self._source(feed)
        return self._stamped(feed, (source.latest_quote(symbol, now_ns) for symbol in self._known(feed, symbols)))

    async def get_latest_trades(self, context: CallContext, feed: DataFeed, symbols: Sequence[str]) -> list[Trade]:
        """The newest trade of each symbol."""
        now_ns, source = self._floor.now(), self._source(feed)
        return self._stamped(feed, (source.latest_trade(symbol, now_ns) for symbol in self._known(feed, symbols)))

    async def get_latest_bars(self, context: CallContext, feed: DataFeed, symbols: Sequence[str]) -> list[Bar]:
        """The newest complete minute of each symbol."""
        _refuse_options(feed, "bars")
        now_ns = self._floor.now()
        return self._stamped(feed, (self._market.latest_bar(symbol, now_ns) for symbol in self._known(feed, symbols)))

    async def get_latest_order_books(
        self, context: CallContext, feed: DataFeed, symbols: Sequence[str]
    ) -> list[OrderBook]:
        """The whole book of each pair."""
        if feed is not DataFeed.CRYPTO_US:
            raise SymbolUnknown("order books are of crypto alone")
        now_ns = self._floor.now()
        quotes = (self._market.latest_quote(symbol, now_ns) for symbol in self._known(feed, symbols))
        return self._stamped(feed, (None if quote is None else book_of(quote) for quote in quotes))

    async def get_snapshots(self, context: CallContext, feed: DataFeed, symbols: Sequence[str]) -> list[Snapshot]:
        """What is known of each symbol."""
        now_ns = self._floor.now()
        known = self._known(feed, symbols)
        if feed.asset_class is AssetClass.US_OPTION:
            known = [symbol for symbol in known if self._floor.options.chain.find(symbol, now_ns) is not None]
        return [self._snapshot(symbol, feed, now_ns) for symbol in known]

    async def list_bars(
        self,
        context: CallContext,
        feed: DataFeed,
        symbols: Sequence[str],
        timeframe: Timeframe,
        *,
        start_ns: int,
        end_ns: int,
        adjustments: Sequence[Adjustment] = (),  # nothing splits here
        as_of_date: date | None = None,  # nothing is renamed here
        newest_first: bool = False,
        page_size: int = 1000,
        page_token: str = "",
    ) -> Page[Bar]:
        """One page of past bars, by symbol, then by time."""
        _refuse_options(feed, "bars")
        now_ns = self._floor.now()
        window = _window(start_ns, min(end_ns, now_ns), page_size, page_token, newest_first=newest_first)

        def series(symbol: str, from_ns: int, to_ns: int) -> Iterator[Bar]:
            return self._market.bars(symbol, timeframe, from_ns, to_ns, now_ns, descending=newest_first)

        page = read_page(self._known(feed, symbols), window, series, lambda bar: bar.start_time_ns)
        span_ns, read_ns = timeframe.amount * _SPANS_S[timeframe.unit] * NANOS_PER_SECOND, self._clock()
        return Page(
            tuple(
                replace(bar, feed=feed, receive_time_ns=read_ns, final=bar.start_time_ns + span_ns <= read_ns)
                for bar in page.all_items()
            ),
            page.token_text,
        )

    async def list_quotes(
        self,
        context: CallContext,
        feed: DataFeed,
        symbols: Sequence[str],
        *,
        start_ns: int,
        end_ns: int,
        as_of_date: date | None = None,  # nothing is renamed here
        newest_first: bool = False,
        page_size: int = 1000,
        page_token: str = "",
    ) -> Page[Quote]:
        """One page of past quotes, by symbol, then by time."""
        _refuse_options(feed, "past quotes")
        end_ns = min(end_ns, self._floor.now())
        window = _window(start_ns, end_ns, page_size, page_token, newest_first=newest_first)
        series = partial(self._market.quotes, descending=newest_first)
        page = read_page(self._known(feed, symbols), window, series, lambda quote: quote.time_ns)
        return Page(tuple(self._stamped(feed, page.all_items())), page.token_text)

    async def list_trades(
        self,
        context: CallContext,
        feed: DataFeed,
        symbols: Sequence[str],
        *,
        start_ns: int,
        end_ns: int,
        as_of_date: date | None = None,  # nothing is renamed here
        newest_first: bool = False,
        page_size: int = 1000,
        page_token: str = "",
    ) -> Page[Trade]:
        """One page of past trades, by symbol, then by time."""
        now_ns = self._floor.now()
        window = _window(start_ns, min(end_ns, now_ns), page_size, page_token, newest_first=newest_first)
        series = partial(self._market.trades, descending=newest_first)
        if feed.asset_class is AssetClass.US_OPTION:
            series = partial(self._floor.options.trades, now_ns=now_ns, descending=newest_first)
        page = read_page(self._known(feed, symbols), window, series, lambda trade: trade.time_ns)
        return Page(tuple(self._stamped(feed, page.all_items())), page.token_text)

    async def list_assets(self, context: CallContext, asset_class: AssetClass) -> list[Asset]:
        """Every asset of a class, by symbol."""
        return self._floor.exchange.assets(asset_class=asset_class)

    async def list_option_contracts(self, context: CallContext, root: str, expiration: date) -> list[Asset]:
        """The contracts of one root and one day of expiration, by symbol."""
        listed = self._floor.options.chain.contracts(self._floor.now()).values()
        return [
            Asset(one.contract_id, one.symbol, AssetClass.US_OPTION, name=one.name, tradable=False)
            for one in listed
            if (one.underlying, one.expiration) == (root, expiration)
        ]

    async def get_market_clock(self, context: CallContext) -> MarketClock:
        """The hours of equities."""
        return self._floor.exchange.clock(self._floor.now())

    async def list_market_days(self, context: CallContext, start: date, end: date) -> list[MarketDay]:
        """Trading days within [start, end]."""
        return self._floor.exchange.calendar(start, end)

    def _known(self, feed: DataFeed, symbols: Iterable[str]) -> list[str]:
        """The symbols that are quoted here.

        Raises:
            SymbolUnknown: One is not spelled as those of the feed are.
        """
        asked = list(dict.fromkeys(symbols))
        if not all(is_quoted_symbol(symbol) and asset_class_of(symbol) is feed.asset_class for symbol in asked):
            raise SymbolUnknown(f"a symbol is not spelled as those of {feed.value} are")
        if feed.asset_class is AssetClass.US_OPTION:
            return asked
        return [symbol for symbol in asked if symbol in self._market.symbols]

    def _snapshot(self, symbol: str, feed: DataFeed, now_ns: int) -> Snapshot:
        market = self._market
        if feed.asset_class is AssetClass.US_OPTION:
            return self._option_snapshot(symbol, feed, now_ns)
        days = market.bars(symbol, _DAY, now_ns - QUIET_NS_MAX, now_ns, now_ns, descending=True)
        daily, previous = next(days, None), next(days, None)
        return Snapshot(
            symbol=symbol,
            latest_trade=self._stamp(feed, market.latest_trade(symbol, now_ns)),
            latest_quote=self._stamp(feed, market.latest_quote(symbol, now_ns)),
            minute_bar=self._stamp(feed, market.latest_bar(symbol, now_ns)),
            daily_bar=None if daily is None else replace(daily, feed=feed, receive_time_ns=self._clock(), final=False),
            previous_daily_bar=self._stamp(feed, previous),
        )

    def _option_snapshot(self, symbol: str, feed: DataFeed, now_ns: int) -> Snapshot:
        options = self._floor.options
        volatility, greeks = options.sensitivities(symbol, now_ns) or (None, None)
        return Snapshot(
            symbol=symbol,
            latest_trade=self._stamp(feed, options.latest_trade(symbol, now_ns)),
            latest_quote=self._stamp(feed, options.latest_quote(symbol, now_ns)),
            implied_volatility=volatility,
            greeks=greeks,
        )

    def _source(self, feed: DataFeed) -> Market | OptionMarket:
        return self._floor.options if feed.asset_class is AssetClass.US_OPTION else self._market

    def _stamped(self, feed: DataFeed, found: Iterable[Value | None]) -> list[Value]:
        return [stamped for value in found if (stamped := self._stamp(feed, value)) is not None]

    def _stamp(self, feed: DataFeed, value: Value | None) -> Value | None:
        return None if value is None else replace(value, feed=feed, receive_time_ns=self._clock())


def _refuse_options(feed: DataFeed, what: str) -> None:
    if feed.asset_class is AssetClass.US_OPTION:
        raise SymbolUnknown(f"options have no {what}")


def _window(start_ns: int, end_ns: int, page_size: int, page_token: str, *, newest_first: bool) -> Window:
    try:
        token = parse_token(page_token)
    except HttpError as error:
        raise VenueUnreachable("the venue does not know this page token") from error
    return Window(start_ns, end_ns, max(1, min(page_size, ITEMS_PER_PAGE_MAX)), newest_first, token)
