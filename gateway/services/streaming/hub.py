"""One feed: its connection, its newest values, its streams.

Promises: the venue is asked once for what any number of streams want; nobody notices another's joining or
leaving; every change of the feed, every gap and every value that turned stale is said on the streams; after
a break newest values are read again before anything is called current, and missed ones made up for. The
listener's methods neither block nor raise.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from gateway.domain.interfaces import MarketDataRepository, StreamingRepository
from gateway.domain.models.market_data import Gap, LiveValue, Quote, SubscriptionSet
from gateway.domain.types import Channel, DataFeed, FeedState
from gateway.services.recovery import ErrorService
from gateway.services.streaming.backfill import BACKFILL_CHANNELS, BackFill, Filled
from gateway.services.streaming.breaks import OpenGap
from gateway.services.streaming.channel_values import last_values_of
from gateway.services.streaming.encoder import Encoder, writable
from gateway.services.streaming.fan_out import Pacing
from gateway.services.streaming.feed_health import NO_EPOCH, WAIT_MAX_S, FeedHealth, Receipt
from gateway.services.streaming.feed_watch import FeedWatch, WatchTimes
from gateway.services.streaming.groups import Groups
from gateway.services.streaming.hand_out import hand_out, wants_every_value
from gateway.services.streaming.last_values import V, Value, time_of
from gateway.services.streaming.owed_values import OwedValues
from gateway.services.streaming.question import Question
from gateway.services.streaming.refusals import refusal_of
from gateway.services.streaming.session import MarketDataStream
from gateway.services.streaming.silence import SilenceWatch
from gateway.services.streaming.subscriptions import SubscriptionEvents, UpstreamSubscriptions

MUTE: Final = "connected and mute: the venue has newer values"
STRAY: Final = "silent, while the venue has newer values: "
STRAY_NAMED_MAX: Final = 10
"""Symbols that such a text names."""
PROMPT_CHANNELS: Final = frozenset({Channel.QUOTES, Channel.TRADES})
"""Their values come as they happen: much is to be expected of them, and their times tell whether a feed is late."""
SELDOM_CHANNELS: Final = frozenset({Channel.TRADING_STATUS, Channel.LULD, Channel.NEWS})
"""Their next value may be hours away: a break is over for them when the venue has acknowledged them again."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class HubTimes:
    """Waits of a hub, seconds.

    Attributes:
        linger_s: How long a symbol stays subscribed after its last stream left.
        ack_timeout_s: How long the venue may take to acknowledge a symbol.
        snapshot_wait_s: How long a stream's newest values wait for a live feed, which could vouch for them.
        silence_s: How long a live feed may say nothing before the venue is asked whether there was nothing to say.
        watch: When it counts as quiet, or as delayed.
    """

    linger_s: float = 10.0
    ack_timeout_s: float = 3.0
    snapshot_wait_s: float = 0.3
    silence_s: float = 3.0
    watch: WatchTimes = field(default_factory=WatchTimes)


class FeedHub:
    """The owner of one feed's connection, and its listener.

    Args:
        wall: Nanoseconds since the Unix epoch.
        monotonic: Seconds, the clock of the event loop.
        is_open: Whether the feed's market is open, as far as is known.
    """

    def __init__(
        self,
        feed: DataFeed,
        streaming: StreamingRepository,
        market_data: MarketDataRepository,
        errors: ErrorService,
        encoder: Encoder,
        pacing: Pacing,
        times: HubTimes,
        *,
        wall: Callable[[], int],
        monotonic: Callable[[], float],
        is_open: Callable[[], bool] = lambda: True,
    ) -> None:
        self.health = FeedHealth(feed, wall)
        self._feed = feed
        self._encoder = encoder
        self._times = times
        self._wall = wall
        self._monotonic = monotonic
        self._values = {channel: last_values_of(channel, self.health, encoder) for channel in Channel}
        self._streams: dict[Channel, set[MarketDataStream]] = {channel: set() for channel in Channel}
        self._groups = Groups(self._values, pacing, monotonic)
        self._gap = OpenGap(feed)
        self._broke_ns = 0
        self._dropped: dict[tuple[Channel, str], OpenGap] = {}
        self._kept: set[str] = set()
        self._received_ns: int | None = None
        self._flows_from_ns = 0
        self._subscriptions = UpstreamSubscriptions(
            feed,
            streaming,
            self,
            SubscriptionEvents(on_refused=self._on_refused, on_forgotten=self._on_forgotten),
            linger_s=times.linger_s,
            ack_timeout_s=times.ack_timeout_s,
            monotonic=monotonic,
        )
        self._owed = OwedValues(
            feed,
            market_data,
            errors,
            self.health,
            encoder,
            self._values,
            self._streams,
            self._kept,
            acknowledged=self._subscriptions.acknowledged,
            on_current=lambda: self._end_gap(wall()),
            wait_s=times.snapshot_wait_s,
            monotonic=monotonic,
        )
        self._why_reconnecting = ""
        self._refusal_code = 0
        self._backfill = BackFill(feed, market_data, errors, self._on_backfilled, wall=wall, monotonic=monotonic)
        self._watch = FeedWatch(
            feed,
            times.watch,
            change=lambda state, detail: self._change(state, detail, 0),
            heard=lambda: self._received_ns,
            is_sparse=lambda: not any(self._subscriptions.acknowledged(channel) for channel in PROMPT_CHANNELS),
            is_open=is_open,
            monotonic=monotonic,
        )
        self._silence = SilenceWatch(
            feed,
            heard=lambda: self._received_ns,
            held=self._vouched,
            ask=lambda channel, held: Question(channel, held, self._values[channel], lambda: self.health.epoch),
            gap=self._begin_gap,
            read=self._owed.newest.read,
            on_mute=lambda: self._reconnect(FeedState.MUTE, MUTE),
            on_stray=self._on_stray,
            is_open=is_open,
            patience_s=times.silence_s,
            wall=wall,
        )

    # --- streams and readers

    def join(self, stream: MarketDataStream, symbols: Sequence[str]) -> None:
        """Subscribe a stream to symbols that are known to exist, and give it their newest values.

        It may have joined before: these are then added, and none of them is one that it has.
        """
        channel = stream.terms.channel
        if stream in self._streams[channel]:
            self._groups.leave(stream)
        else:
            stream.since_ns = self._wall()
        stream.symbols, stream.listed = stream.symbols.union(symbols), (*stream.listed, *symbols)
        self._streams[channel].add(stream)
        self._values[channel].add(symbols)
        self._subscriptions.hold(channel, symbols)
        self._groups.enter(stream)
        acknowledged = self._subscriptions.acknowledged(channel)
        stream.unacknowledged |= set(symbols) - acknowledged
        stream.unanswered.update(symbols)
        stream.tell_acks(symbol for symbol in symbols if symbol in acknowledged)
        if not stream.terms.skip_snapshot:
            self._owed.begin(stream, symbols)

    def ask_again(self, channel: Channel, symbols: Sequence[str]) -> None:
        """Another try of what the venue did not acknowledge; they are held already."""
        self._subscriptions.hold(channel, symbols)
        self._subscriptions.release(channel, symbols)

    def acknowledged(self, channel: Channel) -> frozenset[str]:
        """What the venue has acknowledged on the present connection."""
        return self._subscriptions.acknowledged(channel)

    def part(self, stream: MarketDataStream, symbols: Sequence[str]) -> None:
        """Take symbols that it has from a stream, which keeps others."""
        gone = frozenset(symbols)
        for gap in (self._gap, *self._dropped.values()):
            gap.part(stream, gone)
        self._groups.leave(stream)
        stream.symbols, stream.listed = stream.symbols - gone, tuple(s for s in stream.listed if s not in gone)
        self._groups.enter(stream)
        stream.unacknowledged -= gone
        stream.told_stale -= gone
        stream.await_no_more(gone)
        self._subscriptions.release(stream.terms.channel, gone)

    def flush(self, stream: MarketDataStream) -> None:
        """Hand out what waits for its group's time."""
        self._groups.flush(stream)

    def leave(self, stream: MarketDataStream) -> None:
        """Let a stream go. Does nothing for one that never joined."""
        channel = stream.terms.channel
        if stream not in self._streams[channel]:
            return
        self._streams[channel].discard(stream)
        for gap in (self._gap, *self._dropped.values()):
            gap.discard(stream)
        self._groups.leave(stream)
        self._subscriptions.release(channel, stream.symbols)

    def keep(self, symbol: str) -> None:
        """Hold the quotes of a symbol that nobody may stream, for whoever asks for the newest."""
        self._kept.add(symbol)
        self._values[Channel.QUOTES].add((symbol,))
        self._subscriptions.hold(Channel.QUOTES, (symbol,))
        self._owed.settle_soon()

    def let_go(self, symbol: str) -> None:
        """Hold them no more."""
        self._kept.discard(symbol)
        self._subscriptions.release(Channel.QUOTES, (symbol,))

    def newest(self, channel: Channel, symbol: str) -> Value | None:
        """The newest value, if the gateway can vouch for it."""
        held = None if self._watch.is_behind else self._values[channel].newest(symbol)
        return held[0] if held is not None and self.health.vouches(held[2]) else None

    def held(self, channel: Channel, symbol: str) -> Value | None:
        """The newest value received, vouched for or not."""
        held = self._values[channel].newest(symbol)
        return None if held is None else held[0]

    async def close(self) -> None:
        """End the connection, the timers and the fetches."""
        self._groups.close()
        await self._watch.close()
        await self._silence.close()
        await self._backfill.close()
        await self._owed.close()
        await self._subscriptions.close()

    # --- the feed

    def on_quotes(self, quotes: Sequence[Quote], read_at: float) -> None:
        """Quotes in the order received."""
        self._publish(Channel.QUOTES, quotes, self._encoder.quotes, read_at)

    def on_values(self, channel: Channel, values: Sequence[LiveValue], read_at: float) -> None:
        """Values of any other channel, in the order received."""
        self._publish(channel, values, self._encoder.values, read_at)

    def on_subscriptions(self, acknowledged: SubscriptionSet) -> None:
        """The venue's whole set."""
        for channel, lost in self._subscriptions.note_acknowledged(acknowledged).items():
            self._owed.newest.doubt(channel, lost)
            for symbol in lost:
                self._drop(channel, symbol)
            turned = self._values[channel].disown(lost)
            for stream in self._streams[channel]:
                stream.tell_stale(turned)
        for channel, streams in self._streams.items():
            now_acknowledged = acknowledged.symbols.get(channel, frozenset())
            for stream in streams:
                answered = stream.unacknowledged & now_acknowledged
                stream.unacknowledged -= answered
                stream.tell_acks(sorted(answered))
        for channel, symbol in tuple(self._dropped):
            if symbol in acknowledged.symbols.get(channel, ()):
                self._dropped.pop((channel, symbol)).tell(self._wall())
        self._owed.settle_soon()

    def on_state(self, state: FeedState, detail: str, venue_error_code: int) -> None:
        """Where the connection stands."""
        if state is not FeedState.DISCONNECTED:
            self._why_reconnecting = ""
        if venue_error_code or not state.flows:
            self._refusal_code = venue_error_code
        detail = self._why_reconnecting or detail
        self._change(self._watch.connection(state, self._begin_backfill), detail, venue_error_code)

    def _change(self, state: FeedState, detail: str, venue_error_code: int) -> None:
        """The feed's state, from its connection or from what watches it."""
        before = self.health.status
        ended = self.health.change(state, detail, venue_error_code)
        self._subscriptions.note_live(is_live=state.flows)
        breaks = before.state.flows and not state.flows
        if breaks:
            self._note_break()
        elif state.flows and not before.state.flows:
            self._flows_from_ns = self._wall()
        for channel, streams in self._streams.items():
            turned = self._values[channel].received_in(ended) if ended != NO_EPOCH else frozenset()
            if state is FeedState.DISCONNECTED:
                self._values[channel].break_off()
            for stream in streams:
                if self.health.status != before:
                    stream.tell_feed(self.health.status)
                stream.tell_stale(turned)
                if breaks:
                    self._gap.add(stream, self._broke_ns)
        if self.health.is_live:
            if before.state.flows and not before.state.vouches:
                self._owed.owe_unvouched()
            self._gap.tell(self._wall(), SELDOM_CHANNELS)
            self._owed.settle_soon()

    def _publish(
        self, channel: Channel, values: Sequence[V], encode: Callable[[Sequence[V]], list[bytes]], read_at: float
    ) -> None:
        if not values:
            return
        receipt = self._receipt(read_at)
        self._end_gap(values[0].receive_time_ns)
        self._received_ns = values[-1].receive_time_ns
        if channel in PROMPT_CHANNELS:
            self._watch.note_times(time_of(values[-1]), self._received_ns)
        try:
            encoded = encode(values)
        except Exception:
            # One value that cannot be written must not take the rest of its frame with it.
            _log.exception("values_not_encoded", feed=self._feed.value, channel=channel.value)
            pairs = writable(self._encoder, values)
            values, encoded = [value for value, _ in pairs], [body for _, body in pairs]
        turned = self._values[channel].publish(values, encoded, receipt)
        if turned:
            for stream in self._streams[channel]:
                stream.tell_stale(turned)
        if receipt.epoch == NO_EPOCH and self.health.is_live:  # it came late, and is flagged so: read it again
            self._owed.owe_unvouched()
            self._owed.settle_soon()

    def _receipt(self, read_at: float) -> Receipt:
        """What was read may have waited for the event loop."""
        is_late = self._monotonic() - read_at > WAIT_MAX_S
        return Receipt(read_at, NO_EPOCH if is_late else self.health.epoch)

    # --- silence, breaks and what they swallowed

    def _vouched(self, channel: Channel) -> dict[str, int]:
        """The times of the values that are vouched for, of symbols that the feed is to bring."""
        if not self.health.is_live:
            return {}
        values = self._values[channel]
        found = ((symbol, values.newest(symbol)) for symbol in self._subscriptions.acknowledged(channel))
        return {symbol: time_of(held[0]) for symbol, held in found if held and self.health.vouches(held[2])}

    def _on_stray(self, silent: Mapping[Channel, Sequence[str]]) -> None:
        """Some symbols alone are not brought: what is missing of them began with their last values."""
        held = [self.held(channel, symbol) for channel, symbols in silent.items() for symbol in symbols]
        self._received_ns = min((value.receive_time_ns for value in held if value), default=self._received_ns)
        named = sorted({symbol for symbols in silent.values() for symbol in symbols})
        self._reconnect(FeedState.STALE, STRAY + ", ".join(named[:STRAY_NAMED_MAX]))

    def _reconnect(self, state: FeedState, why: str) -> None:
        """Nothing it brought is vouched for any more, and it is connected anew."""
        self._why_reconnecting = why
        self._watch.broken(state)
        self._change(state, why, 0)
        self._subscriptions.reconnect()

    def _note_break(self) -> None:
        """Nothing comes any more; the break before goes on in this one, if the feed brought nothing in between.

        If it did, what was to be made up for is lost: it lies on both sides of what came.
        """
        self._broke_ns = max(self._received_ns or 0, self._flows_from_ns)
        if self._broke_ns > self._flows_from_ns:
            self._gap.tell(self._flows_from_ns)
        self._backfill.note_break(self._values, goes_on=bool(self._gap))

    def _begin_backfill(self) -> bool:
        """The feed is up again: begin to make up for what was missed; False when there is nothing that could be."""
        wanted: dict[Channel, set[str]] = {}
        from_ns = self._broke_ns
        for stream, lack in self._gap.lacks().items():
            if stream.terms.channel in BACKFILL_CHANNELS and wants_every_value(stream):
                wanted.setdefault(stream.terms.channel, set()).update(lack.symbols)
                from_ns = min(from_ns, lack.from_ns or from_ns)
        return self._backfill.begin(from_ns, wanted, self._values)

    def _on_backfilled(self, filled: Sequence[Filled]) -> None:
        """Live again; who was there when the feed broke gets what it missed."""
        self._watch.reconciled()
        receipt = Receipt(self._monotonic(), self.health.epoch)
        for one in filled:
            lacks, streams = self._gap.lacks(), self._streams[one.channel]
            owed = {stream: lack for stream, lack in lacks.items() if stream in streams and wants_every_value(stream)}
            gap = Gap(self._feed.value, None, self._wall())
            hand_out(one, owed, self._values[one.channel], self._encoder, receipt, gap)
            for stream in owed:
                self._gap.discard(stream)

    def _end_gap(self, to_time_ns: int) -> None:
        """The first value after a break: say how long there was none."""
        if self._gap and self.health.is_live:
            self._gap.tell(to_time_ns)

    def _begin_gap(self, from_ns: int | None, channels: Container[Channel], symbol: str) -> OpenGap:
        """A gap that no break explains, for all who are there now."""
        streams = [stream for channel in Channel if channel in channels for stream in self._streams[channel]]
        return OpenGap(self._feed, from_ns, streams, frozenset((symbol,)) if symbol else None)

    # --- subscriptions

    def _drop(self, channel: Channel, symbol: str) -> None:
        """The venue brings a symbol no more, though the feed goes on: what is missing is told when it does again."""
        held = self.held(channel, symbol)
        gap = self._begin_gap(held.receive_time_ns if held else self._wall(), (channel,), symbol)
        if gap:
            self._dropped.setdefault((channel, symbol), gap)

    def _on_refused(self, channel: Channel, symbols: frozenset[str]) -> None:
        refusal = refusal_of(self._refusal_code)
        for stream in self._streams[channel]:
            stream.unacknowledged |= symbols & stream.symbols
            stream.tell_acks(sorted(symbols & stream.symbols), refusal)

    def _on_forgotten(self, channel: Channel, symbols: frozenset[str]) -> None:
        self._values[channel].forget(symbols)
        for symbol in symbols:
            self._dropped.pop((channel, symbol), None)
