"""Market data routes for stocks and crypto: history with paging, latest values and snapshots.

`/v2/stocks/...` and `/v1beta3/crypto/us/...`, and the older routes of one stock, `/v2/stocks/{symbol}/...`. Crypto
may be spelled with or without its slash; answers use the slash. Symbols that are not traded here are left out, as
Alpaca leaves out symbols without data; a latest value of one unknown symbol is 404. All feeds show the same data
(who may ask for which: `feeds`); `adjustment`, `asof` and `currency` change nothing: there are no splits here, and
prices are US dollars.

A history without `start` begins with the current day (New York's for stocks, UTC's for crypto), without `end` it
goes up to now; both ends count. Histories are read in a worker thread: a year of days must not hold up quotes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.domain.models.market_data import Bar, Quote, Timeframe, TimeframeUnit, Trade
from gateway.emulator.bars import date_of, midnight_ns, parse_timeframe, zone_of
from gateway.emulator.books import book_of
from gateway.emulator.exchange import Refusal
from gateway.emulator.floor import TradingFloor
from gateway.emulator.market import QUIET_NS_MAX
from gateway.emulator.rest.answers import HttpError, answer, list_of, text_of, time_of
from gateway.emulator.rest.feeds import check_history_feed, check_latest_feed
from gateway.emulator.rest.paging import HistoryPage, Window, parse_token, read_page
from gateway.emulator.wire import JsonObject, bar_fields, book_fields, format_time, quote_fields, trade_fields

LIMIT_DEFAULT: Final = 1000
LIMIT_MAX: Final = 10_000
SYMBOLS_MAX: Final = 1000

_DAY: Final = Timeframe(1, TimeframeUnit.DAY)

STOCKS: Final = "/v2/stocks"
CRYPTO: Final = "/v1beta3/crypto/us"


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind of market data: its words in routes and bodies, and how to read and write it."""

    plural: str
    singular: str
    time_of: Callable[[Any], int]
    fields: Callable[[Any, object], JsonObject]


_QUOTES: Final = _Kind("quotes", "quote", lambda quote: quote.time_ns, quote_fields)
_TRADES: Final = _Kind("trades", "trade", lambda trade: trade.time_ns, trade_fields)
_BARS: Final = _Kind("bars", "bar", lambda bar: bar.start_time_ns, bar_fields)
_KINDS: Final = (_QUOTES, _TRADES, _BARS)


class MarketDataRoutes:
    """Market data over HTTP.

    Args:
        floor: Knows the market and the time.
        has_sip: Whether the key's plan has recent SIP data.
    """

    def __init__(self, floor: TradingFloor, *, has_sip: bool = True) -> None:
        self._floor = floor
        self._has_sip = has_sip
        self._market = floor.market

    def routes(self) -> list[Route]:
        """The routes; fixed words before symbols."""
        found: list[Route] = []
        for kind in _KINDS:
            found += [
                Route(f"{STOCKS}/{kind.plural}", self._history(kind), methods=["GET"]),
                Route(f"{STOCKS}/{kind.plural}/latest", self._latest(kind), methods=["GET"]),
                Route(f"{CRYPTO}/{kind.plural}", self._history(kind), methods=["GET"]),
                Route(f"{CRYPTO}/latest/{kind.plural}", self._latest(kind), methods=["GET"]),
            ]
        found += [
            Route(f"{STOCKS}/snapshots", self.stock_snapshots, methods=["GET"]),
            Route(f"{CRYPTO}/snapshots", self.crypto_snapshots, methods=["GET"]),
            Route(f"{CRYPTO}/latest/orderbooks", self.order_books, methods=["GET"]),
            Route(f"{STOCKS}/{{symbol}}/snapshot", self.stock_snapshot, methods=["GET"]),
        ]
        for kind in _KINDS:
            found += [
                Route(f"{STOCKS}/{{symbol}}/{kind.plural}", self._history_of_one(kind), methods=["GET"]),
                Route(f"{STOCKS}/{{symbol}}/{kind.plural}/latest", self._latest_of_one(kind), methods=["GET"]),
            ]
        return found

    async def stock_snapshots(self, request: Request) -> Response:
        """GET /v2/stocks/snapshots: without a wrapper."""
        check_latest_feed(request, has_sip=self._has_sip)
        return answer(await asyncio.to_thread(self._snapshots, self._symbols(request), self._floor.now()))

    async def stock_snapshot(self, request: Request) -> Response:
        """GET /v2/stocks/{symbol}/snapshot."""
        check_latest_feed(request, has_sip=self._has_sip)
        symbol = self._one_symbol(request)
        snapshots = await asyncio.to_thread(self._snapshots, [symbol], self._floor.now())
        return answer({"symbol": symbol, **snapshots[symbol]})

    async def crypto_snapshots(self, request: Request) -> Response:
        """GET /v1beta3/crypto/us/snapshots: wrapped."""
        snapshots = await asyncio.to_thread(self._snapshots, self._symbols(request), self._floor.now())
        return answer({"snapshots": snapshots})

    async def order_books(self, request: Request) -> Response:
        """GET /v1beta3/crypto/us/latest/orderbooks."""
        now_ns = self._floor.now()
        quotes = (self._market.latest_quote(symbol, now_ns) for symbol in self._symbols(request))
        books = [book_of(quote) for quote in quotes if quote is not None]
        return answer({"orderbooks": {book.symbol: book_fields(book, format_time(book.time_ns)) for book in books}})

    def _history(self, kind: _Kind) -> Callable[[Request], Any]:
        async def history(request: Request) -> Response:
            symbols = self._symbols(request)
            page = await self._read(kind, symbols, request)
            rows = {symbol: _rows(kind, items) for symbol, items in page.items.items()}
            return answer({kind.plural: rows, "next_page_token": page.token_text or None})

        return history

    def _history_of_one(self, kind: _Kind) -> Callable[[Request], Any]:
        async def history(request: Request) -> Response:
            symbol = self._one_symbol(request)
            page = await self._read(kind, [symbol], request)
            rows = _rows(kind, page.items.get(symbol, []))
            return answer({"symbol": symbol, kind.plural: rows, "next_page_token": page.token_text or None})

        return history

    def _latest(self, kind: _Kind) -> Callable[[Request], Any]:
        async def latest(request: Request) -> Response:
            check_latest_feed(request, has_sip=self._has_sip)
            now_ns = self._floor.now()
            found = {symbol: self._latest_item(kind, symbol, now_ns) for symbol in self._symbols(request)}
            rows = {symbol: _row(kind, item) for symbol, item in found.items() if item is not None}
            return answer({kind.plural: rows})

        return latest

    def _latest_of_one(self, kind: _Kind) -> Callable[[Request], Any]:
        async def latest(request: Request) -> Response:
            check_latest_feed(request, has_sip=self._has_sip)
            symbol = self._one_symbol(request)
            item = self._latest_item(kind, symbol, self._floor.now())
            if item is None:
                raise HttpError(404, {"message": f"no {kind.singular} found for {symbol}"})
            return answer({"symbol": symbol, kind.singular: _row(kind, item)})

        return latest

    def _latest_item(self, kind: _Kind, symbol: str, now_ns: int) -> Quote | Trade | Bar | None:
        if kind is _QUOTES:
            return self._market.latest_quote(symbol, now_ns)
        if kind is _TRADES:
            return self._market.latest_trade(symbol, now_ns)
        return self._market.latest_bar(symbol, now_ns)

    async def _read(self, kind: _Kind, symbols: list[str], request: Request) -> HistoryPage[Any]:
        now_ns = self._floor.now()
        window = window_of(request, symbols, now_ns)
        check_history_feed(request, window.end_ns, now_ns, has_sip=self._has_sip)
        timeframe = _timeframe(request) if kind is _BARS else _DAY

        def series(symbol: str, start_ns: int, end_ns: int) -> Any:
            if kind is _QUOTES:
                return self._market.quotes(symbol, start_ns, end_ns, descending=window.descending)
            if kind is _TRADES:
                return self._market.trades(symbol, start_ns, end_ns, descending=window.descending)
            return self._market.bars(symbol, timeframe, start_ns, end_ns, now_ns, descending=window.descending)

        return await asyncio.to_thread(read_page, symbols, window, series, kind.time_of)

    def _snapshots(self, symbols: list[str], now_ns: int) -> JsonObject:
        return {symbol: self._snapshot(symbol, now_ns) for symbol in symbols}

    def _snapshot(self, symbol: str, now_ns: int) -> JsonObject:
        """What is known of a symbol; parts that are not known are absent."""
        days = self._market.bars(symbol, _DAY, now_ns - QUIET_NS_MAX, now_ns, now_ns, descending=True)
        parts: dict[str, tuple[_Kind, Any]] = {
            "latestTrade": (_TRADES, self._market.latest_trade(symbol, now_ns)),
            "latestQuote": (_QUOTES, self._market.latest_quote(symbol, now_ns)),
            "minuteBar": (_BARS, self._market.latest_bar(symbol, now_ns)),
            "dailyBar": (_BARS, next(days, None)),
            "prevDailyBar": (_BARS, next(days, None)),
        }
        return {name: _row(kind, item) for name, (kind, item) in parts.items() if item is not None}

    def _symbols(self, request: Request) -> list[str]:
        """The symbols asked for that are traded here, in the spelling with the slash, each once."""
        asked = list_of(request, "symbols")
        if not asked:
            raise HttpError(400, {"message": "symbols is required"})
        if len(asked) > SYMBOLS_MAX:
            raise HttpError(400, {"message": f"at most {SYMBOLS_MAX} symbols"})
        wants_crypto = request.url.path.startswith(CRYPTO)
        known = (self._known(symbol) for symbol in asked)
        return list(dict.fromkeys(symbol for symbol in known if symbol and ("/" in symbol) == wants_crypto))

    def _one_symbol(self, request: Request) -> str:
        symbol = self._known(request.path_params["symbol"])
        if not symbol or "/" in symbol:
            raise HttpError(404, {"message": f"symbol not found: {request.path_params['symbol'][:32]}"})
        return symbol

    def _known(self, spelling: str) -> str:
        try:
            symbol = self._floor.exchange.asset(spelling).symbol
        except Refusal:
            return ""
        return symbol if symbol in self._market.symbols else ""


def _row(kind: _Kind, item: Any) -> JsonObject:
    return kind.fields(item, format_time(kind.time_of(item)))


def _rows(kind: _Kind, items: list[Any]) -> list[JsonObject]:
    return [_row(kind, item) for item in items]


def _timeframe(request: Request) -> Timeframe:
    text = text_of(request, "timeframe")
    timeframe = parse_timeframe(text)
    if timeframe is None:
        raise HttpError(400, {"message": f"invalid timeframe: {text[:32]}"})
    return timeframe


def window_of(request: Request, symbols: list[str], now_ns: int) -> Window:
    """What is asked for; market data has errors without codes."""
    sort = text_of(request, "sort") or "asc"
    limit_text = text_of(request, "limit") or str(LIMIT_DEFAULT)
    if sort not in ("asc", "desc"):
        raise HttpError(400, {"message": "invalid sort"})
    if not limit_text.isdecimal() or not 1 <= int(limit_text[:6]) <= LIMIT_MAX:
        raise HttpError(400, {"message": f"limit must be between 1 and {LIMIT_MAX}"})
    try:
        start_ns, end_ns = time_of(request, "start"), time_of(request, "end")
    except Refusal as refusal:
        raise HttpError(400, {"message": refusal.message}) from None
    if start_ns is None:
        zone = zone_of(symbols[0] if symbols else "")
        start_ns = midnight_ns(date_of(now_ns, zone), zone)
    end_ns = now_ns if end_ns is None else end_ns
    if end_ns < start_ns and text_of(request, "end"):
        raise HttpError(400, {"message": "end should not be before start"})
    return Window(
        start_ns, min(end_ns, now_ns), int(limit_text), sort == "desc", parse_token(text_of(request, "page_token"))
    )
