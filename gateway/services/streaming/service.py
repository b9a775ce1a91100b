"""StreamingService: opens streams, and answers what the live feeds know.

Promises: a stream begins within a second whatever the venue does; a bad symbol is told in an ack and ends
nothing; what one stream may ask for and leave unread is bounded. How many streams there are is the doors' to bound.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.domain.errors import Draining, InvalidRequest, NotFound
from gateway.domain.interfaces import MarketDataRepository, StreamingRepository
from gateway.domain.models.market_data import StreamRequest
from gateway.domain.models.market_session import SessionOptions
from gateway.domain.types import (
    MS_PER_SECOND,
    CallContext,
    Channel,
    ConflationPolicy,
    DataFeed,
    asset_class_of,
    is_quoted_symbol,
)
from gateway.services.recovery import ErrorService
from gateway.services.streaming.arrivals import Arrivals
from gateway.services.streaming.encoder import Encoder
from gateway.services.streaming.fan_out import Pacing
from gateway.services.streaming.hub import FeedHub, HubTimes
from gateway.services.streaming.kept_prices import KeptPrices
from gateway.services.streaming.last_values import Value
from gateway.services.streaming.market_hours import Calendar, MarketHours
from gateway.services.streaming.market_session import MarketDataSession, SessionPlace, SymbolRoom
from gateway.services.streaming.outlet import Outlet
from gateway.services.streaming.selection import FeedChoice
from gateway.services.streaming.session import MarketDataStream, StreamTerms
from gateway.services.streaming.standstill import Standstill
from gateway.services.streaming.symbol_desk import Assets, SymbolDesk

JOIN_WAIT_S: Final = 0.5
"""How long the first message may wait for the asset table."""


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """Bounds of market-data streams.

    Attributes:
        symbols_per_stream_max: In one subscription.
        unread_values_max: Values that wait for one reader who wants every one; a burst of a replayed day fits.
        price_symbols_max: Symbols of one feed that stay subscribed for orders that need their price.
        times: Waits.
    """

    symbols_per_stream_max: int
    unread_values_max: int
    price_symbols_max: int = 0
    times: HubTimes = field(default_factory=HubTimes)


class StreamingService:
    """Streams, and the hubs behind them: one for each feed in use.

    Args:
        encoder: Writes the bytes; services know no protobuf.
        stock_feed, option_feed: What "the best that the account has" means for stocks and for options.
        wall: Nanoseconds since the Unix epoch.
        monotonic: Seconds, the clock of the event loop.
        calendar: Tells when silence is to be expected; None: never.
    """

    def __init__(
        self,
        streaming: StreamingRepository,
        market_data: MarketDataRepository,
        assets: Assets,
        errors: ErrorService,
        encoder: Encoder,
        *,
        stock_feed: DataFeed,
        option_feed: DataFeed = DataFeed.INDICATIVE,
        wall: Callable[[], int],
        monotonic: Callable[[], float],
        limits: StreamLimits,
        calendar: Calendar | None = None,
    ) -> None:
        self._streaming = streaming
        self._market_data = market_data
        self._errors = errors
        self._encoder = encoder
        self._desk = SymbolDesk(assets, stock_feed, option_feed, limits.symbols_per_stream_max, monotonic)
        self._wall = wall
        self._monotonic = monotonic
        self._limits = limits
        self._pacing = Pacing()
        self._hours = None if calendar is None else MarketHours(calendar, monotonic)
        self._standstill: Standstill | None = None
        self._prices: dict[DataFeed, KeptPrices] = {}
        self._hubs: dict[DataFeed, FeedHub] = {}
        self._outlets: set[Outlet] = set()
        self._joining: set[asyncio.Task[None]] = set()
        self._is_draining = False

    async def open(self, request: StreamRequest, call: CallContext) -> MarketDataStream:
        """Open a stream; the caller iterates `messages()`, and calls `close()` when it is done.

        Raises:
            FieldInvalid: No symbols, two asset classes, or another class's feed.
            TooManyStreams: Too many symbols.
            Draining: The gateway is shutting down.
        """
        symbols = tuple(dict.fromkeys(request.selection.symbols))
        self._admit()
        choice = self._desk.choose(request.selection, request.channel)
        terms = StreamTerms(
            channel=request.channel,
            asset_class=choice.asset_class,
            feed=choice.feed,
            conflation=request.conflation or request.channel.default_policy,
            skip_snapshot=request.skip_snapshot,
            max_batch_delay_s=request.max_batch_delay_ms / MS_PER_SECOND,
            unread_values_max=self._limits.unread_values_max,
            min_interval_s=request.min_interval_ms / MS_PER_SECOND,
        )
        hub = self._hub(choice.feed)
        outlet = self._outlet(request.heartbeat_interval_ms)
        stream = MarketDataStream(terms, hub.health, self._encoder, outlet, hub)
        if self._desk.knows(symbols, choice):
            hub.join(stream, symbols)
            return stream
        joining = asyncio.get_running_loop().create_task(self._join(hub, stream, symbols, choice, call))
        self._joining.add(joining)
        joining.add_done_callback(self._joining.discard)
        try:
            await asyncio.wait({joining}, timeout=JOIN_WAIT_S)
        except asyncio.CancelledError:
            stream.close()
            raise
        return stream

    def open_session(self, options: SessionOptions, room: SymbolRoom, call: CallContext) -> MarketDataSession:
        """Open a session; the caller iterates `messages()`, and calls `close()` when it is done.

        Args:
            options: How it behaves.
            room: How many symbols its client may still follow.
            call: Whose it is.

        Raises:
            Draining: The gateway is shutting down.
        """
        self._admit()
        unread_values_max = self._limits.unread_values_max
        wants_order = options.conflation is ConflationPolicy.NONE
        outlet = self._outlet(
            options.heartbeat_interval_ms,
            credits_max=options.max_unacknowledged_batches,
            arrivals=Arrivals(self._encoder, unread_values_max) if wants_order else None,
        )
        outlet.greet()
        place = SessionPlace(self._encoder, self._desk, self._hub, unread_values_max)
        return MarketDataSession(options, outlet, place, room, call)

    def newest(self, channel: Channel, feed: DataFeed, symbol: str) -> Value | None:
        """The live feed's newest value, if the gateway can vouch for it."""
        hub = self._hubs.get(feed)
        return None if hub is None else hub.newest(channel, symbol)

    def held(self, channel: Channel, feed: DataFeed, symbol: str) -> Value | None:
        """The newest value that the live feed ever brought, while its symbol is subscribed."""
        hub = self._hubs.get(feed)
        return None if hub is None else hub.held(channel, symbol)

    def keep_price(self, feed: DataFeed, symbol: str) -> None:
        """An order needs this symbol's price: keep its quotes coming for a while, so that the next has a live one.

        Does nothing for what no feed can be asked for, as the rest of a company that is gone: `014ESC016`.
        """
        if self._is_draining or not self._limits.price_symbols_max:
            return
        if not is_quoted_symbol(symbol) or asset_class_of(symbol) is not feed.asset_class:
            return
        prices = self._prices.get(feed)
        if prices is None:
            prices = KeptPrices(self._hub(feed), self._limits.price_symbols_max, self._monotonic)
            self._prices[feed] = prices
        prices.asked(symbol)

    def drain(self) -> None:
        """Take no new streams, and end those that are open."""
        self._is_draining = True
        for outlet in tuple(self._outlets):
            outlet.fail(Draining("The gateway is shutting down: open the stream again elsewhere, or later."))

    async def close(self) -> None:
        """End everything: streams, connections, timers."""
        self.drain()
        for task in tuple(self._joining):
            task.cancel()
        await asyncio.gather(*self._joining, return_exceptions=True)
        for prices in self._prices.values():
            prices.close()
        for hub in self._hubs.values():
            await hub.close()
        if self._hours is not None:
            await self._hours.close()
        if self._standstill is not None:
            self._standstill.close()

    def _admit(self) -> None:
        if self._is_draining:
            raise Draining("The gateway is shutting down.")

    def _outlet(self, heartbeat_interval_ms: int, *, credits_max: int = 0, arrivals: Arrivals | None = None) -> Outlet:
        self._standstill = self._standstill or Standstill()
        outlet = Outlet(
            self._encoder,
            self._on_closed,
            heartbeat_interval_s=heartbeat_interval_ms / MS_PER_SECOND,
            credits_max=credits_max,
            stood_s=self._standstill.seconds,
            arrivals=arrivals,
            wall=self._wall,
            monotonic=self._monotonic,
        )
        self._outlets.add(outlet)
        self._pacing.streams += 1
        return outlet

    async def _join(
        self, hub: FeedHub, stream: MarketDataStream, symbols: Sequence[str], choice: FeedChoice, call: CallContext
    ) -> None:
        """Look every symbol up, tell the stream which are refused, and subscribe it to the rest."""
        try:
            await self._look_up(hub, stream, symbols, choice, call)
        except Exception as error:  # whatever it is: a stream that says nothing is worse than one that ends
            stream.outlet.fail(error)

    async def _look_up(
        self, hub: FeedHub, stream: MarketDataStream, symbols: Sequence[str], choice: FeedChoice, call: CallContext
    ) -> None:
        known: list[str] = []
        for position, symbol in enumerate(symbols):
            refusal = await self._desk.refusal(symbol, choice, call, f"symbols[{position}]")
            if refusal is None:
                known.append(symbol)
            elif isinstance(refusal, InvalidRequest | NotFound):
                stream.tell_acks((symbol,), refusal)
            else:
                stream.fail(refusal)
                return
        if not stream.outlet.is_closed:
            hub.join(stream, known)

    def _hub(self, feed: DataFeed) -> FeedHub:
        hub = self._hubs.get(feed)
        if hub is None:
            hub = self._hubs[feed] = FeedHub(
                feed,
                self._streaming,
                self._market_data,
                self._errors,
                self._encoder,
                self._pacing,
                self._limits.times,
                wall=self._wall,
                monotonic=self._monotonic,
                is_open=lambda: self._hours is None or self._hours.is_open(feed.asset_class),
            )
        return hub

    def _on_closed(self, outlet: Outlet) -> None:
        self._outlets.discard(outlet)
        self._pacing.streams -= 1
