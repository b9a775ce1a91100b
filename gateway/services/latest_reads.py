"""Newest values for those who ask once: from the live feed where it can vouch, else by request.

A value of the live feed that the gateway can vouch for is always preferred: it is current and costs nothing.
What else is needed is asked for in one request, shared by all who ask for the same, and is never older than the
caller allows. No answer goes behind a value that the feed has brought.

What is `stale` here: a value that was read by request is vouched for by the venue's own answer, for as long as
any value may wait inside the gateway (2 s). Beyond that only a live feed could vouch for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from gateway.domain.models.market_data import Bar, Latest, OrderBook, Quote, Selection, Snapshot, Trade
from gateway.domain.types import CallContext, Channel, DataFeed
from gateway.services.cache import CacheService
from gateway.services.recovery import ErrorService
from gateway.services.streaming import FeedChoice, StreamingService, choose_feed
from gateway.services.streaming.feed_health import WAIT_MAX_S
from gateway.services.streaming.last_values import time_of
from gateway.services.streaming.selection import check_channel
from gateway.services.streaming.symbol_desk import Assets

T = TypeVar("T", Quote, Trade, Bar, OrderBook, Snapshot)
V = TypeVar("V", Quote, Trade, Bar, OrderBook)

Question = Callable[[CallContext, DataFeed, Sequence[str]], Awaitable[Sequence[T]]]
"""A method of MarketDataRepository."""


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """What one request to the venue brought.

    Attributes:
        read_at: Seconds of the monotonic clock, when it was asked: the values are at least as new.
        read_time_ns: The same by the wall clock.
    """

    values: Mapping[str, T]
    read_at: float
    read_time_ns: int


class LatestReads:
    """What QuoteService and PriceService share.

    Args:
        stock_feed, option_feed: What "the best that the account has" means for stocks and for options.
        default_staleness_ms: How old a value read by request may be when the caller does not say.
        wall: Nanoseconds since the Unix epoch.
        monotonic: Seconds, as `CallContext.deadline`.
    """

    def __init__(
        self,
        streaming: StreamingService,
        assets: Assets,
        cache: CacheService,
        errors: ErrorService,
        *,
        stock_feed: DataFeed,
        option_feed: DataFeed = DataFeed.INDICATIVE,
        default_staleness_ms: int,
        wall: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        self._streaming = streaming
        self._assets = assets
        self._cache = cache
        self._errors = errors
        self._stock_feed = stock_feed
        self._option_feed = option_feed
        self._default_staleness_ms = default_staleness_ms
        self._wall = wall
        self._monotonic = monotonic

    async def choose(self, selection: Selection, call: CallContext) -> FeedChoice:
        """The feed of a selection whose symbols all exist.

        Raises:
            FieldInvalid: A symbol is malformed or misspelled, or classes and feed do not go together.
            SymbolUnknown: No asset has one of the symbols.
        """
        for position, symbol in enumerate(selection.symbols):
            if self._assets.find(symbol) is None:
                await self._assets.get(symbol, call, f"symbols[{position}]")
        return choose_feed(selection, self._stock_feed, self._option_feed)

    async def latest(
        self,
        channel: Channel,
        question: Question[V],
        selection: Selection,
        max_staleness_ms: int | None,
        call: CallContext,
    ) -> Latest[V]:
        """The newest value of each symbol; raises as `choose` and as the repository."""
        choice = await self.choose(selection, call)
        check_channel(choice, channel)
        feed = choice.feed
        found: dict[str, V] = {}
        if max_staleness_ms != 0:
            for symbol in selection.symbols:
                live = self._streaming.newest(channel, feed, symbol)
                if live is not None and _is_whole(live):
                    found[symbol] = cast(V, live)
        stale: set[str] = set()
        read_times = [value.receive_time_ns for value in found.values()]
        wanted = tuple(symbol for symbol in selection.symbols if symbol not in found)
        if wanted:
            reading = await self.read(channel.value, question, feed, wanted, max_staleness_ms, call)
            read_times.append(reading.read_time_ns)
            for symbol in wanted:
                value, is_stale = self._newer(channel, feed, symbol, reading)
                if value is not None:
                    found[symbol] = value
                    read_times.append(value.receive_time_ns)
                    if is_stale:
                        stale.add(symbol)
        return Latest(
            values=tuple(found[symbol] for symbol in selection.symbols if symbol in found),
            stale=frozenset(stale),
            missing=tuple(symbol for symbol in selection.symbols if symbol not in found),
            read_time_ns=min(read_times),
            from_stream=not wanted,
        )

    async def read(
        self,
        kind: str,
        question: Question[T],
        feed: DataFeed,
        symbols: Sequence[str],
        max_staleness_ms: int | None,
        call: CallContext,
    ) -> Reading[T]:
        """Ask the venue, or share an answer that is young enough."""
        if max_staleness_ms is None:
            max_staleness_ms = self._default_staleness_ms
        asked = tuple(sorted(symbols))
        return await self._cache.get(
            (kind, feed, asked), max_staleness_ms, lambda: self._ask(question, feed, asked, call)
        )

    def is_old(self, reading: Reading[T]) -> bool:
        """Whether its values waited longer than any value may."""
        return self._monotonic() - reading.read_at > WAIT_MAX_S

    def _newer(self, channel: Channel, feed: DataFeed, symbol: str, reading: Reading[V]) -> tuple[V | None, bool]:
        """The newer of what was read and what the feed has brought, and whether nobody can vouch for it."""
        read = reading.values.get(symbol)
        held = cast("V | None", self._streaming.held(channel, feed, symbol))
        if held is not None and _is_whole(held) and (read is None or time_of(held) > time_of(read)):
            return held, self._streaming.newest(channel, feed, symbol) is None
        return read, self.is_old(reading)

    async def _ask(
        self, question: Question[T], feed: DataFeed, symbols: Sequence[str], call: CallContext
    ) -> Reading[T]:
        read_at, read_time_ns = self._monotonic(), self._wall()
        values = await self._errors.read(call, lambda: question(call, feed, symbols))
        return Reading({value.symbol: value for value in values}, read_at, read_time_ns)


def _is_whole(value: object) -> bool:
    """Whether it says by itself how things are: what changed in a book does not."""
    return not isinstance(value, OrderBook) or value.reset
