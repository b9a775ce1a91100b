"""Newest values that streams are owed: at their beginning, after a break, and for what nobody could vouch for.

Promises: what the feed brings in time is not asked for; one request serves all who wait; a value that nobody can vouch
for is given flagged, and owed again; a value that cannot be read holds no stream up, and is tried again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence, Set as AbstractSet
from typing import Final

from gateway.domain.interfaces import MarketDataRepository
from gateway.domain.types import Channel, DataFeed
from gateway.services.recovery import ErrorService
from gateway.services.streaming.encoder import Encoder, writable
from gateway.services.streaming.feed_health import NO_EPOCH, FeedHealth, Receipt
from gateway.services.streaming.last_values import LastValues, Stamped, Value
from gateway.services.streaming.mailbox import Batch
from gateway.services.streaming.newest import NewestValues
from gateway.services.streaming.session import MarketDataStream

RETRY_S: Final = 5.0
"""After newest values could not be read, while somebody waits for them."""

Streams = Mapping[Channel, AbstractSet[MarketDataStream]]


class OwedValues:
    """Who waits for which newest values of one feed.

    Args:
        values, streams: What the feed brought, and to whom.
        kept: Symbols whose quotes are wanted though no stream has them.
        acknowledged: What the feed is to bring.
        on_current: Told that values were read which the feed can vouch for.
        wait_s: How long a stream waits for a live feed, before it gets what nobody can vouch for.
        monotonic: Seconds, the clock of the event loop.

    Attributes:
        newest: Reads them.
    """

    def __init__(
        self,
        feed: DataFeed,
        market_data: MarketDataRepository,
        errors: ErrorService,
        health: FeedHealth,
        encoder: Encoder,
        values: Mapping[Channel, LastValues],
        streams: Streams,
        kept: AbstractSet[str],
        *,
        acknowledged: Callable[[Channel], AbstractSet[str]],
        on_current: Callable[[], None],
        wait_s: float,
        monotonic: Callable[[], float],
    ) -> None:
        self.newest = NewestValues(feed, market_data, errors, self._on_fetched, monotonic)
        self._health = health
        self._encoder = encoder
        self._values = values
        self._streams = streams
        self._kept = kept
        self._acknowledged = acknowledged
        self._on_current = on_current
        self._wait_s = wait_s
        self._monotonic = monotonic
        self._loop = asyncio.get_running_loop()
        self._settle_handle: asyncio.Handle | None = None
        self._retry_timer: asyncio.TimerHandle | None = None
        self._without: dict[str, int] = {}  # kept symbols that the venue had no value of, and when: the epoch
        self._is_closed = False

    def begin(self, stream: MarketDataStream, symbols: Sequence[str]) -> None:
        """Give a stream the newest values of symbols that it has joined; those that are not held are owed."""
        values = self._values[stream.terms.channel]
        held = [newest for symbol in symbols if (newest := values.newest(symbol)) is not None]
        self._give(stream, held)
        stream.awaiting |= {symbol for symbol in symbols if values.newest(symbol) is None}
        if not stream.awaiting:
            stream.end_snapshot()
        if stream.awaiting or stream.told_stale:
            self.settle_soon()
            self._loop.call_later(self._wait_s, self._settle_unvouched, stream)

    def owe_unvouched(self) -> None:
        """What came while the feed was up and nobody could vouch for it was flagged so: it is owed again."""
        for channel, streams in self._streams.items():
            values = self._values[channel]
            unvouched = {symbol for symbol in values if values.newest(symbol) and not values.is_vouched(symbol)}
            for stream in streams:
                stream.told_stale |= (unvouched & stream.symbols) - stream.awaiting

    def settle_soon(self) -> None:
        """Read what is owed; once for all streams that ask in this turn of the loop."""
        if self._settle_handle is None and not self._is_closed:
            self._settle_handle = self._loop.call_soon(self._settle)

    async def close(self) -> None:
        """End the timers and the fetches."""
        self._is_closed = True
        for handle in (self._settle_handle, self._retry_timer):
            if handle is not None:
                handle.cancel()
        await self.newest.close()

    def _on_fetched(
        self, channel: Channel, symbols: frozenset[str], fetched: Sequence[Value] | None, epoch: int
    ) -> None:
        """Merge what was read, and give it to the streams that it is owed to."""
        if fetched is None:
            self._postpone(channel, symbols)
            return
        if fetched and epoch == self._health.epoch:
            self._on_current()
        if channel is Channel.QUOTES:
            self._without = {symbol: read_in for symbol, read_in in self._without.items() if symbol in self._kept}
            self._without.update(dict.fromkeys(symbols.intersection(self._kept), epoch))
        values = self._values[channel]
        pairs = writable(self._encoder, fetched)
        receipt = Receipt(self._monotonic(), epoch)
        taken = values.merge([value for value, _ in pairs], [body for _, body in pairs], receipt)
        for stream in self._streams[channel]:
            owed = (stream.awaiting | stream.told_stale) & taken
            if owed:
                held = (values.newest(symbol) for symbol in stream.listed if symbol in owed)
                self._give(stream, [newest for newest in held if newest is not None])
            stream.await_no_more(symbols)
        if epoch != self._health.epoch:
            self.settle_soon()

    def _give(self, stream: MarketDataStream, values: Iterable[Stamped]) -> None:
        """Newest values, flagged; those that nobody can vouch for are owed again."""
        channel, now = stream.terms.channel, self._monotonic()
        flagged: list[Stamped] = []
        for value, element, receipt in values:
            vouched = self._health.vouches(receipt)
            (stream.told_stale.discard if vouched else stream.told_stale.add)(value.symbol)
            epoch = receipt.epoch if vouched else NO_EPOCH
            flagged.append((value, self._encoder.flagged(channel, element, snapshot=True), Receipt(now, epoch)))
        if flagged:
            stream.deliver(Batch(flagged, stream.terms.conflation), is_private=True)

    def _settle(self) -> None:
        """Read what streams are owed and a live feed can vouch for."""
        self._settle_handle = None
        if not self._health.is_live:
            return
        for channel, streams in self._streams.items():
            owed = self._kept_and_owed() if channel is Channel.QUOTES else set()
            for stream in streams:
                owed |= stream.awaiting
                owed |= stream.told_stale
            owed &= self._acknowledged(channel)
            brought = frozenset(symbol for symbol in owed if self._values[channel].is_vouched(symbol))
            for stream in streams:
                stream.told_stale -= brought
                stream.await_no_more(brought)
            self.newest.fetch(channel, owed - brought, self._health.epoch)

    def _kept_and_owed(self) -> set[str]:
        """What is kept for nobody's stream, but not what the venue had no value of: the feed will bring its first."""
        values, epoch = self._values[Channel.QUOTES], self._health.epoch
        return {s for s in self._kept if values.newest(s) is not None or self._without.get(s) != epoch}

    def _settle_unvouched(self, stream: MarketDataStream) -> None:
        """The feed is not live in time: what can be had is better than nothing, and flagged stale."""
        if stream in self._streams[stream.terms.channel] and not self._is_closed:
            self.newest.fetch(stream.terms.channel, stream.awaiting, NO_EPOCH)

    def _postpone(self, channel: Channel, symbols: frozenset[str]) -> None:
        """Newest values cannot be had now: let streams go on without, and try again later."""
        for stream in self._streams[channel]:
            stream.told_stale |= stream.awaiting & symbols
            stream.await_no_more(symbols)
        if self._retry_timer is None:
            self._retry_timer = self._loop.call_later(RETRY_S, self._retry)

    def _retry(self) -> None:
        self._retry_timer = None
        self.settle_soon()
