"""QuoteService: the newest quotes and order books, vouched for or not. PriceService: trades, bars and snapshots."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import structlog

from gateway.domain.errors import FieldInvalid, FieldViolation, GatewayError
from gateway.domain.interfaces import MarketDataRepository
from gateway.domain.models.market_data import Bar, Latest, OrderBook, Quote, Selection, Snapshot, Trade
from gateway.domain.types import MS_PER_SECOND, AssetClass, CallContext, Channel, DataFeed
from gateway.services.latest_reads import LatestReads
from gateway.services.streaming import StreamingService
from gateway.services.streaming.feed_watch import DELAYED_BY_NATURE
from gateway.services.streaming.selection import choose_feed

REFERENCE_PRICE_STALENESS_MAX_MS: Final = 250
"""A quote read for one order serves the next one in the same quarter of a second."""

_log = structlog.get_logger(__name__)


class QuoteService:
    """The newest quotes; also the PriceSource of risk checks.

    Args:
        stock_feed, option_feed: What "the best that the account has" means for stocks and for options.
        monotonic: Seconds, as `CallContext.deadline`.
        price_wait_ms: How long an order waits for its price.
    """

    def __init__(
        self,
        repository: MarketDataRepository,
        streaming: StreamingService,
        reads: LatestReads,
        *,
        stock_feed: DataFeed,
        option_feed: DataFeed = DataFeed.INDICATIVE,
        monotonic: Callable[[], float],
        price_wait_ms: int,
    ) -> None:
        self._repository = repository
        self._streaming = streaming
        self._reads = reads
        self._stock_feed = stock_feed
        self._option_feed = option_feed
        self._monotonic = monotonic
        self._price_wait_s = price_wait_ms / MS_PER_SECOND

    async def latest_quotes(
        self, selection: Selection, max_staleness_ms: int | None, call: CallContext
    ) -> Latest[Quote]:
        """The newest quote of each symbol.

        Args:
            selection: Well-formed, distinct symbols of one class.
            max_staleness_ms: How old a value read by request may be; 0 asks the venue; None is the default.
            call: On whose behalf.

        Raises:
            FieldInvalid, SymbolUnknown: About the symbols.
            VenueUnreachable, VenueRateLimited: They were needed from the venue, and could not be had.
        """
        question = self._repository.get_latest_quotes
        return await self._reads.latest(Channel.QUOTES, question, selection, max_staleness_ms, call)

    async def latest_order_books(
        self, selection: Selection, max_staleness_ms: int | None, call: CallContext
    ) -> Latest[OrderBook]:
        """The whole order book of each crypto pair; as `latest_quotes`."""
        if selection.asset_class not in (None, AssetClass.CRYPTO):
            raise FieldInvalid.of([FieldViolation("asset_class", "has no order books: crypto alone has")])
        selection = replace(selection, asset_class=AssetClass.CRYPTO)
        question = self._repository.get_latest_order_books
        return await self._reads.latest(Channel.ORDER_BOOKS, question, selection, max_staleness_ms, call)

    async def reference_price(self, symbol: str, call: CallContext) -> Quote | None:
        """The live feed's quote if it can be vouched for, else one read in time. Never raises.

        None of an option whose feed is sold late: a quarter of an hour ago is no price to check an order against.
        """
        feed = choose_feed(Selection((symbol,)), self._stock_feed, self._option_feed).feed
        if feed in DELAYED_BY_NATURE:
            return None
        self._streaming.keep_price(feed, symbol)
        live = self._streaming.newest(Channel.QUOTES, feed, symbol)
        if isinstance(live, Quote):
            return live
        bounded = replace(call, deadline=min(call.deadline, self._monotonic() + self._price_wait_s))
        try:
            async with asyncio.timeout(self._price_wait_s):
                reading = await self._reads.read(
                    "reference price",  # not shared with callers who would wait longer
                    self._repository.get_latest_quotes,
                    feed,
                    (symbol,),
                    REFERENCE_PRICE_STALENESS_MAX_MS,
                    bounded,
                )
        except (GatewayError, TimeoutError) as error:
            _log.info("reference_price_unread", symbol=symbol, error=str(error))
            return None
        except Exception:  # whatever it is: the order is denied for want of a price, not failed
            _log.exception("reference_price_unread", symbol=symbol)
            return None
        return reading.values.get(symbol)


class PriceService:
    """The newest trades, bars and snapshots; the past is `history`'s."""

    def __init__(self, repository: MarketDataRepository, streaming: StreamingService, reads: LatestReads) -> None:
        self._repository = repository
        self._streaming = streaming
        self._reads = reads

    async def latest_trades(
        self, selection: Selection, max_staleness_ms: int | None, call: CallContext
    ) -> Latest[Trade]:
        """The newest trade of each symbol; as `QuoteService.latest_quotes`."""
        question = self._repository.get_latest_trades
        return await self._reads.latest(Channel.TRADES, question, selection, max_staleness_ms, call)

    async def latest_bars(self, selection: Selection, max_staleness_ms: int | None, call: CallContext) -> Latest[Bar]:
        """The newest minute bar of each symbol; as `QuoteService.latest_quotes`."""
        question = self._repository.get_latest_bars
        return await self._reads.latest(Channel.BARS, question, selection, max_staleness_ms, call)

    async def snapshots(
        self, selection: Selection, max_staleness_ms: int | None, call: CallContext
    ) -> Latest[Snapshot]:
        """Newest trade and quote, minute and daily bars; always read by request, and never behind the live feed."""
        feed = (await self._reads.choose(selection, call)).feed
        question = self._repository.get_snapshots
        reading = await self._reads.read("snapshots", question, feed, selection.symbols, max_staleness_ms, call)
        found = {symbol: self._with_live(feed, snapshot) for symbol, snapshot in reading.values.items()}
        return Latest(
            values=tuple(found[symbol] for symbol in selection.symbols if symbol in found),
            stale=frozenset(found) if self._reads.is_old(reading) else frozenset(),
            missing=tuple(symbol for symbol in selection.symbols if symbol not in found),
            read_time_ns=reading.read_time_ns,
            from_stream=False,
        )

    def _with_live(self, feed: DataFeed, snapshot: Snapshot) -> Snapshot:
        """The same, with the live feed's quote and trade where they are newer."""
        quote = self._streaming.newest(Channel.QUOTES, feed, snapshot.symbol)
        trade = self._streaming.newest(Channel.TRADES, feed, snapshot.symbol)
        old_quote, old_trade = snapshot.latest_quote, snapshot.latest_trade
        if isinstance(quote, Quote) and (old_quote is None or quote.time_ns > old_quote.time_ns):
            snapshot = replace(snapshot, latest_quote=quote)
        if isinstance(trade, Trade) and (old_trade is None or trade.time_ns > old_trade.time_ns):
            snapshot = replace(snapshot, latest_trade=trade)
        return snapshot
