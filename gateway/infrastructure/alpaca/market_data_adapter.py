"""MarketDataRepository on alpaca-py: market data by request, and reference data.

Page by page: alpaca-py's own pagination, which keeps everything and loses all of it on one error, is never
used. Symbols are checked before any address is built; requests of more symbols than one address should carry
are split. Symbols without a value are left out of answers, as the venue leaves them out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import Final, TypeVar

import structlog

from gateway.domain.errors import SymbolUnknown, VenueUnreachable
from gateway.domain.models.market_data import (
    Adjustment,
    Bar,
    OrderBook,
    Page,
    Quote,
    Snapshot,
    Timeframe,
    Trade,
)
from gateway.domain.models.reference import Asset, MarketClock, MarketDay
from gateway.domain.types import AssetClass, CallContext, DataFeed, asset_class_of, is_quoted_symbol
from gateway.infrastructure.alpaca.clients import ClientFactory
from gateway.infrastructure.alpaca.converters.fields import JsonObject, as_list, as_object, exact_json, format_time
from gateway.infrastructure.alpaca.converters.market_data import (
    ADJUSTMENT,
    bar_from_alpaca,
    bars_from_alpaca,
    market_json,
    quote_from_alpaca,
    snapshot_from_alpaca,
    timeframe_to_alpaca,
    trade_from_alpaca,
)
from gateway.infrastructure.alpaca.converters.market_pages import page_from_alpaca, whole_book_from_alpaca
from gateway.infrastructure.alpaca.converters.orders import ASSET_CLASS
from gateway.infrastructure.alpaca.converters.reference import (
    assets_from_alpaca,
    clock_from_alpaca,
    market_day_from_alpaca,
    option_contracts_from_alpaca,
)
from gateway.infrastructure.alpaca.history_parts import HistoryPart, part_of
from gateway.infrastructure.alpaca.market_routes import ROUTES
from gateway.infrastructure.alpaca.transport import Answer

ITEMS_PER_PAGE_MAX: Final = 10_000
ASSETS_BYTES_MAX: Final = 32 * 1024 * 1024
"""Assets come in one answer, some 400 bytes each, of every status since the beginning."""

CONTRACTS_PER_PAGE: Final = 10_000
CONTRACT_PAGES_MAX: Final = 3
"""Of one root and day; the largest have some thousand contracts."""

N = TypeVar("N", Quote, Trade, Bar, OrderBook)
H = TypeVar("H", Quote, Trade)
T = TypeVar("T")

_log = structlog.get_logger(__name__)


class MarketDataAdapter:
    """Market data and reference data at Alpaca.

    Args:
        factory: Gives the clients, and the road to them.
        clock_ns: Nanoseconds since the epoch; the receive time of every value.
    """

    def __init__(self, factory: ClientFactory, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._factory = factory
        self._road = factory.road
        self._clock_ns = clock_ns

    async def get_latest_quotes(self, context: CallContext, feed: DataFeed, symbols: Sequence[str]) -> list[Quote]:
        """GET .../quotes/latest."""
        return await self._latest(context, feed, symbols, "quotes", quote_from_alpaca)

    async def get_latest_trades(self, context: CallContext, feed: DataFeed, symbols: Sequence[str]) -> list[Trade]:
        """GET .../trades/latest."""
        return await self._latest(context, feed, symbols, "trades", trade_from_alpaca)

    async def get_latest_bars(self, context: CallContext, feed: DataFeed, symbols: Sequence[str]) -> list[Bar]:
        """GET .../bars/latest: complete minutes; Alpaca has none of options."""
        _refuse_options(feed, "bars")
        return await self._latest(context, feed, symbols, "bars", bar_from_alpaca)

    async def get_latest_order_books(
        self, context: CallContext, feed: DataFeed, symbols: Sequence[str]
    ) -> list[OrderBook]:
        """GET .../latest/orderbooks; Alpaca has them of crypto alone."""
        if feed is not DataFeed.CRYPTO_US:
            raise SymbolUnknown("order books are of crypto alone")
        return await self._latest(context, feed, symbols, "orderbooks", whole_book_from_alpaca)

    async def get_snapshots(self, context: CallContext, feed: DataFeed, symbols: Sequence[str]) -> list[Snapshot]:
        """GET .../snapshots; Alpaca wraps the answers of crypto and options and leaves that of stocks bare."""
        routes = ROUTES[feed]

        def snapshots_of(answer: Answer) -> list[Snapshot]:
            body = as_object(market_json(answer.body), "snapshots")
            by_symbol = as_object(body.get("snapshots") or {}, "snapshots") if routes.snapshots_wrapped else body
            now_ns = self._clock_ns()
            return [
                snapshot_from_alpaca(symbol, raw, feed, now_ns)
                for symbol in symbols
                if type(raw := by_symbol.get(symbol)) is dict
            ]

        found: list[Snapshot] = []
        for part in _parts(feed, symbols):
            params = {"symbols": ",".join(part), **routes.latest_params, **routes.snapshots_params}
            found += await self._read_market(context, feed, routes.snapshots, params, snapshots_of)
        return found

    async def list_bars(
        self,
        context: CallContext,
        feed: DataFeed,
        symbols: Sequence[str],
        timeframe: Timeframe,
        *,
        start_ns: int,
        end_ns: int,
        adjustments: Sequence[Adjustment] = (),
        as_of_date: date | None = None,
        newest_first: bool = False,
        page_size: int = 1000,
        page_token: str = "",
    ) -> Page[Bar]:
        """GET .../bars: one page, as large as asked; those of options are not read."""
        _refuse_options(feed, "bars")
        part = part_of(_checked(feed, symbols), page_token, ROUTES[feed].symbols_max)
        params = _history_params(feed, part, start_ns, end_ns, as_of_date, page_size, newest_first=newest_first)
        params["timeframe"] = timeframe_to_alpaca(timeframe)
        if adjustments and ROUTES[feed].is_adjusted:
            params["adjustment"] = ",".join(ADJUSTMENT[adjustment] for adjustment in adjustments)

        def page_of(answer: Answer) -> Page[Bar]:
            raw = market_json(answer.body)
            bars, token = bars_from_alpaca(raw, feed, self._clock_ns(), timeframe, newest_first=newest_first)
            return Page(bars, part.following(token))

        return await self._read_market(context, feed, ROUTES[feed].history.format("bars"), params, page_of)

    async def list_quotes(
        self,
        context: CallContext,
        feed: DataFeed,
        symbols: Sequence[str],
        *,
        start_ns: int,
        end_ns: int,
        as_of_date: date | None = None,
        newest_first: bool = False,
        page_size: int = 1000,
        page_token: str = "",
    ) -> Page[Quote]:
        """GET .../quotes: one page, as large as asked; Alpaca has none of options."""
        _refuse_options(feed, "past quotes")
        part = part_of(_checked(feed, symbols), page_token, ROUTES[feed].symbols_max)
        params = _history_params(feed, part, start_ns, end_ns, as_of_date, page_size, newest_first=newest_first)
        return await self._page(context, feed, part, "quotes", params, quote_from_alpaca)

    async def list_trades(
        self,
        context: CallContext,
        feed: DataFeed,
        symbols: Sequence[str],
        *,
        start_ns: int,
        end_ns: int,
        as_of_date: date | None = None,
        newest_first: bool = False,
        page_size: int = 1000,
        page_token: str = "",
    ) -> Page[Trade]:
        """GET .../trades: one page, as large as asked."""
        part = part_of(_checked(feed, symbols), page_token, ROUTES[feed].symbols_max)
        params = _history_params(feed, part, start_ns, end_ns, as_of_date, page_size, newest_first=newest_first)
        return await self._page(context, feed, part, "trades", params, trade_from_alpaca)

    async def list_assets(self, context: CallContext, asset_class: AssetClass) -> list[Asset]:
        """GET /v2/assets, of every status; spellings that no request can name are left out and counted."""
        if asset_class not in ASSET_CLASS:
            return []
        params = {"asset_class": ASSET_CLASS[asset_class]}

        def assets_of(answer: Answer) -> tuple[list[Asset], int]:
            return assets_from_alpaca(exact_json(answer.body))

        assets, left_out = await self._road.read(
            context,
            self._factory.trading(),
            "/assets",
            params,
            self._road.reading(assets_of),
            answer_bytes_max=ASSETS_BYTES_MAX,
        )
        if left_out:
            _log.warning("assets_left_out", asset_class=asset_class.value, count=left_out)
        return assets

    async def list_option_contracts(self, context: CallContext, root: str, expiration: date) -> list[Asset]:
        """GET /v2/options/contracts of one root and day: at most CONTRACT_PAGES_MAX pages of Alpaca's largest."""
        day = expiration.isoformat()
        # Both ends of the range: without the later one Alpaca lists nothing beyond the upcoming weekend.
        params: JsonObject = {
            "root_symbol": root,
            "expiration_date_gte": day,
            "expiration_date_lte": day,
            "limit": str(CONTRACTS_PER_PAGE),
        }

        def contracts_of(answer: Answer) -> tuple[list[Asset], str]:
            return option_contracts_from_alpaca(exact_json(answer.body))

        found: list[Asset] = []
        for _ in range(CONTRACT_PAGES_MAX):
            page, token = await self._road.read(
                context, self._factory.trading(), "/options/contracts", params, self._road.reading(contracts_of)
            )
            found += page
            if not token:
                return sorted(found, key=lambda contract: contract.symbol)
            params = params | {"page_token": token}
        raise VenueUnreachable("the venue lists more contracts than one day has")

    async def get_market_clock(self, context: CallContext) -> MarketClock:
        """GET /v2/clock."""

        def clock_of(answer: Answer) -> MarketClock:
            return clock_from_alpaca(exact_json(answer.body))

        return await self._road.read(context, self._factory.trading(), "/clock", {}, self._road.reading(clock_of))

    async def list_market_days(self, context: CallContext, start: date, end: date) -> list[MarketDay]:
        """GET /v2/calendar."""

        def days_of(answer: Answer) -> list[MarketDay]:
            days = [market_day_from_alpaca(day) for day in as_list(exact_json(answer.body), "calendar")]
            return sorted((day for day in days if start <= day.date <= end), key=lambda day: day.date)

        params = {"start": start.isoformat(), "end": end.isoformat()}
        return await self._road.read(context, self._factory.trading(), "/calendar", params, self._road.reading(days_of))

    async def _page(
        self,
        context: CallContext,
        feed: DataFeed,
        part: HistoryPart,
        noun: str,
        params: JsonObject,
        convert: Callable[[object, object, DataFeed, int], H],
    ) -> Page[H]:
        def page_of(answer: Answer) -> Page[H]:
            newest_first = params["sort"] == "desc"
            page = page_from_alpaca(
                market_json(answer.body), noun, convert, feed, self._clock_ns(), newest_first=newest_first
            )
            return Page(page.items, part.following(page.next_page_token))

        return await self._read_market(context, feed, ROUTES[feed].history.format(noun), params, page_of)

    async def _latest(
        self,
        context: CallContext,
        feed: DataFeed,
        symbols: Sequence[str],
        noun: str,
        convert: Callable[[object, object, DataFeed, int], N],
    ) -> list[N]:
        def values_of(answer: Answer) -> list[N]:
            body = as_object(market_json(answer.body), noun)
            by_symbol = as_object(body.get(noun) or {}, noun)
            now_ns = self._clock_ns()
            return [
                convert(symbol, raw, feed, now_ns) for symbol in symbols if (raw := by_symbol.get(symbol)) is not None
            ]

        routes = ROUTES[feed]
        found: list[N] = []
        for part in _parts(feed, symbols):
            params = {"symbols": ",".join(part), **routes.latest_params}
            found += await self._read_market(context, feed, routes.latest.format(noun), params, values_of)
        return found

    async def _read_market(
        self, context: CallContext, feed: DataFeed, path: str, params: JsonObject, convert: Callable[[Answer], T]
    ) -> T:
        client = self._factory.market_data(feed)
        return await self._road.read(context, client, path, params, self._road.reading(convert))


def _history_params(
    feed: DataFeed,
    part: HistoryPart,
    start_ns: int,
    end_ns: int,
    as_of_date: date | None,
    page_size: int,
    *,
    newest_first: bool,
) -> JsonObject:
    routes = ROUTES[feed]
    params: JsonObject = {
        **routes.history_params,
        "symbols": ",".join(part.symbols),
        "start": format_time(start_ns),
        "end": format_time(end_ns),
        "limit": str(max(1, min(page_size, ITEMS_PER_PAGE_MAX))),
        "sort": "desc" if newest_first else "asc",
    }
    if part.venue_token:
        params["page_token"] = part.venue_token
    if as_of_date is not None and routes.is_adjusted:
        params["asof"] = as_of_date.isoformat()
    return params


def _checked(feed: DataFeed, symbols: Sequence[str]) -> Sequence[str]:
    if not all(is_quoted_symbol(symbol) and asset_class_of(symbol) is feed.asset_class for symbol in symbols):
        raise SymbolUnknown(f"a symbol is not spelled as those of {feed.value} are")
    return symbols


def _parts(feed: DataFeed, symbols: Sequence[str]) -> Iterator[Sequence[str]]:
    checked = _checked(feed, symbols)
    size = ROUTES[feed].symbols_max
    for start in range(0, len(checked), size):
        yield checked[start : start + size]


def _refuse_options(feed: DataFeed, what: str) -> None:
    if feed.asset_class is AssetClass.US_OPTION:
        raise SymbolUnknown(f"options have no {what}")
