"""One channel of one feed for one reader: what it is owed, and what waits for it until its writer takes it.

A plain stream has one of these and a writer of its own; a session has one for each channel and feed, and one writer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Protocol

from gateway.domain.errors import GatewayError, SlowConsumer, VenueUnreachable
from gateway.domain.models.market_data import FeedStatus, Gap, SubscriptionAck
from gateway.domain.types import AssetClass, Channel, ConflationPolicy, DataFeed
from gateway.services.streaming.encoder import Encoder
from gateway.services.streaming.feed_health import FeedHealth
from gateway.services.streaming.mailbox import (
    STALLED_BYTES_MAX,
    Batch,
    DropOldest,
    EveryValue,
    LatestPerSymbol,
    Mailbox,
    Waiting,
)
from gateway.services.streaming.outlet import Outlet


class Hub(Protocol):
    """The owner of a feed, as its streams see it."""

    def flush(self, stream: MarketDataStream) -> None:
        """Hand out what waits for its group's time."""
        ...

    def leave(self, stream: MarketDataStream) -> None:
        """Let it go."""
        ...


@dataclass(frozen=True, slots=True)
class StreamTerms:
    """What a stream was opened with, defaults decided.

    Attributes:
        min_interval_s: The least time between two values of one symbol; 0: as they come.
        as_events: Its values travel with those of other channels.
    """

    channel: Channel
    asset_class: AssetClass | None
    feed: DataFeed
    conflation: ConflationPolicy
    skip_snapshot: bool
    max_batch_delay_s: float
    unread_values_max: int
    min_interval_s: float = 0.0
    as_events: bool = False


class MarketDataStream:
    """A subscription to one channel of one feed.

    Args:
        outlet: Its writer.
        hub: Its feed's.

    Attributes:
        symbols, listed: Those that are subscribed for this stream; `listed` has the order of the request.
        awaiting: Symbols whose newest value is being fetched for this stream.
        told_stale: Symbols whose value this stream was told to be stale: a vouched one is owed.
        unacknowledged: Symbols that the venue has not acknowledged, or not any more.
        unanswered: Symbols whose command has had no ack.
        commands: The command that each symbol came with, where there are such.
        since_ns: When it joined its feed, nanoseconds since the Unix epoch.
    """

    def __init__(
        self,
        terms: StreamTerms,
        health: FeedHealth,
        encoder: Encoder,
        outlet: Outlet,
        hub: Hub,
    ) -> None:
        self.terms = terms
        self.outlet = outlet
        self.symbols: frozenset[str] = frozenset()
        self.listed: tuple[str, ...] = ()
        self.awaiting: set[str] = set()
        self.told_stale: set[str] = set()
        self.unacknowledged: set[str] = set()
        self.unanswered: set[str] = set()
        self.commands: dict[str, str] = {}
        self.since_ns = 0
        self._health = health
        self._encoder = encoder
        self._hub = hub
        self._wake = outlet.wake
        self._mailbox = _mailbox(terms, encoder)
        outlet.sources.append(self)
        outlet.tell_feed(health.status)

    def messages(self) -> AsyncIterator[bytes]:
        """What its writer sends, until it is closed. Raises as that says."""
        return self.outlet.messages()

    def deliver(self, batch: Batch, *, is_private: bool = False) -> None:
        """Take a batch; when there is no room for it the stream ends."""
        if self.outlet.has_failed or self.outlet.is_closed:
            return
        if not self._mailbox.put(batch, is_private=is_private):
            self._overflow("unread_values_max", self.terms.unread_values_max)
        else:
            self.shed()
        self._wake()

    def shed(self) -> None:
        """Keep little for a reader who has stalled; when none may be let go, the stream ends."""
        mailbox, beside = self._mailbox, self.outlet.unread_bytes
        share = max(0, STALLED_BYTES_MAX - beside) // len(self.outlet.sources)
        if (mailbox.unread_bytes > share or beside > STALLED_BYTES_MAX) and (
            self.outlet.is_stalled() and (not mailbox.shed(share) or beside > STALLED_BYTES_MAX)
        ):
            self._overflow("unread_bytes_max", STALLED_BYTES_MAX)

    def leave_out(self, count: int) -> None:
        """So many values came that are older than what was sent: newer ones had taken their place."""
        self._mailbox.conflated += count

    def take(self, now: float) -> bytes:
        """What is to be written now, as elements of the response."""
        values = self._mailbox.take(self._health.epoch, now)
        return self._encoder.events(self.terms.channel, values) if values and self.terms.as_events else values

    def take_every(self) -> list[Waiting]:
        """All that waits, value by value, with what its group has not handed out yet."""
        self._hub.flush(self)
        channel, health = self.terms.channel, self._health
        if not isinstance(self._mailbox, EveryValue):
            return []
        return [(receipt.order, channel, element, receipt, health) for element, receipt in self._mailbox.drain()]

    @property
    def status(self) -> FeedStatus:
        """Where its feed stands."""
        return self._health.status

    @property
    def conflated(self) -> int:
        """Values that a newer one replaced."""
        return self._mailbox.conflated

    @property
    def dropped(self) -> int:
        """Values that were lost because newer ones came."""
        return self._mailbox.dropped

    @property
    def holds_private(self) -> bool:
        """Whether some of its snapshot waits."""
        return self._mailbox.holds_private

    def tell_feed(self, status: FeedStatus) -> None:
        """The feed behind this stream changed."""
        self.outlet.tell_feed(status)

    def tell_acks(self, symbols: Iterable[str], refusal: GatewayError | None = None) -> None:
        """What became of symbols that were asked for."""
        terms, command_of = self.terms, self.commands.get
        symbols = tuple(symbols)
        self.unanswered.difference_update(symbols)
        self.outlet.tell_acks(
            [
                SubscriptionAck(
                    terms.channel, symbol, terms.asset_class, terms.feed, refusal, command_id=command_of(symbol, "")
                )
                for symbol in symbols
            ]
        )

    def answer_early(self, symbols: Iterable[str], why: str) -> None:
        """Answer the commands of symbols that still wait for the venue: they will not be heard of again."""
        self.tell_acks(sorted(self.unanswered.intersection(symbols)), VenueUnreachable(why))

    def tell_stale(self, symbols: frozenset[str]) -> None:
        """Values that this stream was given cannot be vouched for any more."""
        turned = symbols & self.symbols
        if turned:
            self.told_stale |= turned
            self.outlet.tell_stale(sorted(turned))

    def tell_gap(self, gap: Gap) -> None:
        """The feed brought nothing for a while."""
        self.outlet.tell_gap(gap)

    def await_no_more(self, symbols: frozenset[str]) -> None:
        """Their newest values came, or will not: with the last of them the snapshot is over."""
        if self.awaiting & symbols:
            self.awaiting -= symbols
            if not self.awaiting:
                self.end_snapshot()

    def end_snapshot(self) -> None:
        """Every newest value that is to be had has been put in."""
        self.outlet.end_snapshot()

    def fail(self, error: GatewayError) -> None:
        """End the stream with an error; the first one counts, and what waits is let go."""
        if not self.outlet.has_failed:
            self.outlet.fail(error)
            self._mailbox = _mailbox(self.terms, self._encoder)

    def leave(self) -> None:
        """Nothing more is to come."""
        self._hub.leave(self)

    def close(self) -> None:
        """Nobody reads any more. Idempotent."""
        self.outlet.close()

    def _overflow(self, limit: str, value: int) -> None:
        self.fail(
            SlowConsumer("More values wait for this reader than the gateway keeps.", metadata={limit: str(value)})
        )


def _mailbox(terms: StreamTerms, encoder: Encoder) -> Mailbox:
    match terms.conflation:
        case ConflationPolicy.NONE:
            return EveryValue(terms.channel, encoder, terms.unread_values_max)
        case ConflationPolicy.DROP_OLDEST:
            return DropOldest(terms.channel, encoder)
        case ConflationPolicy.LATEST_PER_SYMBOL:
            return LatestPerSymbol(terms.channel, encoder, terms.unread_values_max)
