"""One subscriber: what it is owed, and the one iterator that writes it.

Promises: the first message at once, batch_sequence 1, 2, 3, …, a heartbeat after each silence of the agreed
length, and a bound on everything that waits. The stream sleeps on an event; its one timer is armed again
only when it fires, so a busy stream pays nothing for it. A reader who takes nothing at all is for the doors to
end: only they see a write that does not return.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field

from gateway.domain.errors import GatewayError, SlowConsumer
from gateway.domain.models.market_data import FeedStatus, Gap, StreamStatus, SubscriptionAck
from gateway.domain.types import AssetClass, Channel, ConflationPolicy, DataFeed
from gateway.services.streaming.encoder import Encoder
from gateway.services.streaming.feed_health import FeedHealth
from gateway.services.streaming.mailbox import Batch, EveryValue, LatestPerSymbol, Mailbox


@dataclass(frozen=True, slots=True)
class StreamTerms:
    """What a stream was opened with, defaults decided."""

    channel: Channel
    asset_class: AssetClass
    feed: DataFeed
    conflation: ConflationPolicy
    skip_snapshot: bool
    heartbeat_interval_s: float
    max_batch_delay_s: float
    unread_values_max: int


@dataclass(slots=True)
class _News:
    """What the next StreamStatus has to say."""

    feeds: dict[str, FeedStatus] = field(default_factory=dict)
    acks: list[SubscriptionAck] = field(default_factory=list)
    stale_symbols: dict[str, None] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)
    heartbeat: bool = False

    def __bool__(self) -> bool:
        return bool(self.feeds or self.acks or self.stale_symbols or self.gaps or self.heartbeat)


class MarketDataStream:
    """A subscription to one channel of one feed.

    Args:
        on_closed: Told once, when nobody reads any more.
        wall: Nanoseconds since the Unix epoch.
        monotonic: Seconds, the clock of the event loop.

    Attributes:
        symbols, listed: Those that are subscribed for this stream; `listed` has the order of the request.
        awaiting: Symbols whose newest value is being fetched for this stream.
        told_stale: Symbols whose value this stream was told to be stale: a vouched one is owed.
    """

    def __init__(
        self,
        terms: StreamTerms,
        health: FeedHealth,
        encoder: Encoder,
        on_closed: Callable[[MarketDataStream], None],
        *,
        wall: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        self.terms = terms
        self.symbols: frozenset[str] = frozenset()
        self.listed: tuple[str, ...] = ()
        self.awaiting: set[str] = set()
        self.told_stale: set[str] = set()
        self.unacknowledged: set[str] = set()
        self._health = health
        self._encoder = encoder
        self._on_closed = on_closed
        self._wall = wall
        self._monotonic = monotonic
        self._loop = asyncio.get_running_loop()
        self._mailbox: Mailbox = (
            EveryValue(terms.channel, encoder, terms.unread_values_max)
            if terms.conflation is ConflationPolicy.NONE
            else LatestPerSymbol(terms.channel, encoder, terms.unread_values_max)
        )
        self._news = _News(feeds={health.status.feed: health.status})
        self._snapshot_end_is_due = False
        self._error: GatewayError | None = None
        self._is_closed = False
        self._wake = asyncio.Event()
        self._batch_sequence = 0
        self._written_at = monotonic()
        self._is_writing = False
        self._timer: asyncio.TimerHandle = self._loop.call_later(terms.heartbeat_interval_s, self._on_timer)

    async def messages(self) -> AsyncIterator[bytes]:
        """The stream's messages, as bytes, until it is closed.

        Raises:
            SlowConsumer: More values wait than may.
            Draining: The gateway is shutting down.
        """
        try:
            while not self._is_closed:
                if self._error is not None:
                    raise self._error
                message = self._next_message()
                if message is None:
                    self._wake.clear()
                    await self._wake.wait()
                    continue
                self._is_writing = True
                yield message
                self._is_writing = False
                self._written_at = self._monotonic()
        finally:
            self.close()

    def deliver(self, batch: Batch, *, is_private: bool = False) -> None:
        """Take a batch; when there is no room for it the stream ends."""
        if self._error is not None:
            return
        if not self._mailbox.put(batch, is_private=is_private):
            self.fail(
                SlowConsumer(
                    "More values wait for this reader than the gateway keeps.",
                    metadata={"unread_values_max": str(self.terms.unread_values_max)},
                )
            )
        self._wake.set()

    def tell_feed(self, status: FeedStatus) -> None:
        """The feed behind this stream changed."""
        self._news.feeds[status.feed] = status
        self._wake.set()

    def tell_acks(self, symbols: Iterable[str], refusal: GatewayError | None = None) -> None:
        """What became of symbols that were asked for."""
        terms = self.terms
        acks = [SubscriptionAck(terms.channel, symbol, terms.asset_class, terms.feed, refusal) for symbol in symbols]
        if acks:
            self._news.acks += acks
            self._wake.set()

    def tell_stale(self, symbols: frozenset[str]) -> None:
        """Values that this stream was given cannot be vouched for any more."""
        turned = symbols & self.symbols
        if turned:
            self.told_stale |= turned
            self._news.stale_symbols.update(dict.fromkeys(sorted(turned)))
            self._wake.set()

    def tell_gap(self, gap: Gap) -> None:
        """The feed brought nothing for a while."""
        self._news.gaps.append(gap)
        self._wake.set()

    def end_snapshot(self) -> None:
        """Every newest value that is to be had has been put in."""
        self._snapshot_end_is_due = True
        self._wake.set()

    def fail(self, error: GatewayError) -> None:
        """End the stream with an error; the first one counts, and what waits is let go."""
        if self._error is None:
            self._error = error
            self._mailbox = LatestPerSymbol(self.terms.channel, self._encoder, self.terms.unread_values_max)
            self._wake.set()

    def close(self) -> None:
        """Nobody reads any more. Idempotent."""
        if not self._is_closed:
            self._is_closed = True
            self._timer.cancel()
            self._wake.set()
            self._on_closed(self)

    def _next_message(self) -> bytes | None:
        values = self._mailbox.take(self._health.epoch, self._monotonic())
        ends_snapshot = self._snapshot_end_is_due and not self._mailbox.holds_private
        news = self._news
        status = None
        if news or ends_snapshot:
            self._news = _News()
            self._snapshot_end_is_due &= not ends_snapshot
            status = StreamStatus(
                feeds=tuple(news.feeds.values()),
                acks=tuple(news.acks),
                stale_symbols=tuple(news.stale_symbols),
                gaps=tuple(news.gaps),
                conflated_total=self._mailbox.conflated,
                snapshot_end=ends_snapshot,
                heartbeat=news.heartbeat,
            )
        elif not values:
            return None
        self._batch_sequence += 1
        return values + self._encoder.envelope(self._batch_sequence, self._wall(), status)

    def _on_timer(self) -> None:
        """Has nothing been sent for the agreed time? A write that is stuck is the transport's to end."""
        interval_s, now = self.terms.heartbeat_interval_s, self._monotonic()
        due_at = self._written_at + interval_s
        if self._is_writing:
            due_at = now + interval_s
        elif now >= due_at:
            self._news.heartbeat = True
            self._news.feeds[self._health.status.feed] = self._health.status
            self._wake.set()
            due_at = now + interval_s
        self._timer = self._loop.call_later(due_at - now, self._on_timer)
