"""HistoryService: past quotes, trades and bars, in pages and as long streams.

Promises every value that the venue has, once, by symbol and then by time: a page that does not go on where the one
before it ended is an error, not a gap or a repetition. A stream holds one page at most and asks for the next when its
reader has taken this one. Leaves the venue's requests a minute to the repository, and slow readers to the doors.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, TypeVar

from gateway.domain.errors import GatewayError, TooManyStreams, VenueUnreachable
from gateway.domain.interfaces import MarketDataRepository
from gateway.domain.models.market_data import Bar, BarsRequest, HistoryRequest, Page, Quote, Trade
from gateway.domain.types import NANOS_PER_SECOND, CallContext, Channel, DataFeed, asset_class_of
from gateway.services.history_pages import AnyHistory, HistoryCursor, cursor_of, write_token
from gateway.services.latest_reads import LatestReads
from gateway.services.recovery import ErrorService
from gateway.services.streaming.selection import refuse_options

LONG_STREAMS_MAX: Final = 16
"""Streams of history at once: each may hold a page, and all of them share the venue's requests a minute."""
BARS_PER_PAGE: Final = 10_000
"""Of a stream: the venue's largest page, as requests are what is scarce."""
BARS_PER_BATCH: Final = 1_000
"""In one message: some 100 KiB."""
PAGE_WAIT_MAX_S: Final = 60.0
"""For one page of a stream, waiting for the venue's budget included: that comes back every minute."""
EMPTY_PAGES_MAX: Final = 100
"""In a row; a venue that names more of them has no end."""
LAST_SYMBOL: Final = "last_symbol"
LAST_START_TIME: Final = "last_start_time"
"""Metadata of an error that ends a stream: the last bar that was handed over."""
_BUSY_RETRY_MS: Final = 1_000

T = TypeVar("T", Quote, Trade, Bar)


async def _at_once() -> None:
    """Nobody is to be waited for."""


class HistoryService:
    """Past values.

    Args:
        wall: Nanoseconds since the Unix epoch.
        monotonic: Seconds, as `CallContext.deadline`.
    """

    def __init__(
        self,
        repository: MarketDataRepository,
        reads: LatestReads,
        errors: ErrorService,
        *,
        wall: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        self._repository = repository
        self._reads = reads
        self._errors = errors
        self._wall = wall
        self._monotonic = monotonic
        self._long_streams = 0

    async def list_bars(self, request: BarsRequest, call: CallContext) -> Page[Bar]:
        """One page of past bars, by symbol, then by time.

        Raises:
            FieldInvalid: Times, timeframe or adjustments make no sense, or the symbols do not.
            PageTokenMismatch: The token is garbled, or belongs to another request.
            SymbolUnknown: No asset has one of the symbols.
        """
        feed, cursor = await self._begin(request, call)
        page = await self._errors.read(call, lambda: self._bars(request, feed, cursor, call))
        return _with_token(request, cursor, page)

    async def list_quotes(self, request: HistoryRequest, call: CallContext) -> Page[Quote]:
        """One page of past quotes; as `list_bars`."""
        return await self._list(self._repository.list_quotes, request, call)

    async def list_trades(self, request: HistoryRequest, call: CallContext) -> Page[Trade]:
        """One page of past trades; as `list_bars`."""
        return await self._list(self._repository.list_trades, request, call)

    async def stream_bars(
        self, request: BarsRequest, call: CallContext, before_page: Callable[[], Awaitable[None]] = _at_once
    ) -> AsyncGenerator[tuple[Bar, ...]]:
        """All past bars of a request, in batches of one to BARS_PER_BATCH; its page size and token do not matter.

        Args:
            request: Whose bars.
            call: On whose behalf.
            before_page: Awaited before each page but the first, which the opening of the stream has paid for.

        Raises:
            TooManyStreams: As many as there may be are under way.
            GatewayError: As `list_bars`; once it has begun with the last bar in its metadata.
        """
        request = replace(request, page_size=BARS_PER_PAGE, page_token="")
        with self._counted():
            feed, cursor = await self._begin(request, call)
            progress = _Progress(newest_first=request.newest_first)
            while True:
                with progress.told():
                    page = await self._page_in_time(request, feed, cursor, call)
                    progress.check(page)
                for start in range(0, len(page.items), BARS_PER_BATCH):
                    batch = page.items[start : start + BARS_PER_BATCH]
                    yield batch
                    progress.last = batch[-1]
                if not page.next_page_token:
                    return
                cursor = replace(cursor, venue_token=page.next_page_token)
                await before_page()

    async def _list(
        self, question: Callable[..., Awaitable[Page[T]]], request: HistoryRequest, call: CallContext
    ) -> Page[T]:
        feed, cursor = await self._begin(request, call)
        page = await self._errors.read(
            call,
            lambda: question(
                call,
                feed,
                request.selection.symbols,
                start_ns=cursor.start_ns,
                end_ns=cursor.end_ns,
                as_of_date=request.as_of_date,
                newest_first=request.newest_first,
                page_size=request.page_size,
                page_token=cursor.venue_token,
            ),
        )
        return _with_token(request, cursor, page)

    async def _begin(self, request: AnyHistory, call: CallContext) -> tuple[DataFeed, HistoryCursor]:
        cursor = cursor_of(request, asset_class_of(request.selection.symbols[0]), self._wall())
        choice = await self._reads.choose(request.selection, call)
        channel = Channel.BARS if isinstance(request, BarsRequest) else request.channel
        if channel is not Channel.TRADES:
            refuse_options(choice, f"have no past {channel.value} here")
        return choice.feed, cursor

    def _bars(
        self, request: BarsRequest, feed: DataFeed, cursor: HistoryCursor, call: CallContext
    ) -> Awaitable[Page[Bar]]:
        return self._repository.list_bars(
            call,
            feed,
            request.selection.symbols,
            request.timeframe,
            start_ns=cursor.start_ns,
            end_ns=cursor.end_ns,
            adjustments=request.adjustments,
            as_of_date=request.as_of_date,
            newest_first=request.newest_first,
            page_size=request.page_size,
            page_token=cursor.venue_token,
        )

    async def _page_in_time(
        self, request: BarsRequest, feed: DataFeed, cursor: HistoryCursor, call: CallContext
    ) -> Page[Bar]:
        bounded = replace(call, deadline=min(call.deadline, self._monotonic() + PAGE_WAIT_MAX_S))
        return await self._errors.read_patiently(bounded, lambda: self._bars(request, feed, cursor, bounded))

    @contextmanager
    def _counted(self) -> Iterator[None]:
        if self._long_streams >= LONG_STREAMS_MAX:
            raise TooManyStreams("too many streams of history are open", retry_after_ms=_BUSY_RETRY_MS)
        self._long_streams += 1
        try:
            yield
        finally:
            self._long_streams -= 1


@dataclass(slots=True)
class _Progress:
    """How far a stream has come.

    Attributes:
        last: The last bar that its reader took.
        done: Symbols that are over.
        empty: Empty pages in a row.
    """

    newest_first: bool
    last: Bar | None = None
    done: set[str] = field(default_factory=set)
    empty: int = 0

    def check(self, page: Page[Bar]) -> None:
        """Hold that a page goes on where the one before ended, and that pages have an end.

        Raises:
            VenueUnreachable: They do not.
        """
        self.empty = 0 if page.items else self.empty + 1
        if self.empty > EMPTY_PAGES_MAX:
            raise VenueUnreachable("the venue's pages have no end")
        last = self.last
        for bar in page.items:
            if last is not None and not self._follows(last, bar):
                raise VenueUnreachable("the venue's pages do not follow each other")
            last = bar

    def _follows(self, last: Bar, bar: Bar) -> bool:
        if bar.symbol != last.symbol:
            self.done.add(last.symbol)
            return bar.symbol not in self.done
        later_ns = bar.start_time_ns - last.start_time_ns
        return later_ns < 0 if self.newest_first else later_ns > 0

    @contextmanager
    def told(self) -> Iterator[None]:
        """Whatever goes wrong inside says which bar was the last."""
        try:
            yield
        except GatewayError as error:
            if self.last is not None:
                error.metadata[LAST_SYMBOL] = self.last.symbol
                error.metadata[LAST_START_TIME] = _time_text(self.last.start_time_ns)
            raise


def _with_token(request: AnyHistory, cursor: HistoryCursor, page: Page[T]) -> Page[T]:
    """The page with a token of ours in the place of the venue's."""
    if not page.next_page_token:
        return page
    return Page(page.items, write_token(request, replace(cursor, venue_token=page.next_page_token)))


def _time_text(time_ns: int) -> str:
    """RFC 3339; bars begin on whole seconds."""
    return datetime.fromtimestamp(time_ns // NANOS_PER_SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
