"""The one writer of a reader's stream: what waits is asked for when there is room to send it.

Promises: batch_sequence 1, 2, 3, …, a heartbeat after each silence of the agreed length, the counters whenever they
have changed, and beyond the credits of a reader who gives them nothing but answers to its commands: the credits may be
behind those. A reader who took nothing for a while is told what that cost as soon as it reads again. The stream sleeps
on an event; its one timer is armed again only when it fires, so a busy stream pays nothing for it. A reader who takes
nothing at all is for the doors to end: only they see a write that does not return.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from gateway.domain.errors import FieldInvalid, FieldViolation, SlowConsumer
from gateway.domain.models.market_data import FeedStatus, Gap, StreamStatus, Subscription, SubscriptionAck
from gateway.services.streaming.arrivals import Arrivals
from gateway.services.streaming.encoder import Encoder
from gateway.services.streaming.mailbox import MESSAGE_BYTES_MAX, Waiting

STALL_S: Final = 1.0
"""A reader who took nothing for so long is not busy: it has stalled, and little is kept for it."""
LAG_TOLD_S: Final = 2.0
"""A reader who took nothing for so long is told its counters with the next message."""

ACKS_WAITING_MAX: Final = 16
"""With so many untold a session's commands wait, between two symbols if need be."""
ACKS_MAX: Final = 8_192
"""With more the stream ends: a venue that refuses thousands of symbols tells it again after every break."""
GAPS_MAX: Final = 256
"""The same for breaks."""


class Source(Protocol):
    """One channel of one feed, as the writer sees it."""

    awaiting: set[str]

    @property
    def status(self) -> FeedStatus:
        """Where its feed stands."""
        ...

    @property
    def conflated(self) -> int:
        """Values that a newer one replaced."""
        ...

    @property
    def dropped(self) -> int:
        """Values that were lost."""
        ...

    @property
    def holds_private(self) -> bool:
        """Whether some of its snapshot waits."""
        ...

    def take(self, now: float) -> bytes:
        """What is to be written now, as elements of the response."""
        ...

    def shed(self) -> None:
        """Keep little for a reader who has stalled."""
        ...

    def leave(self) -> None:
        """Nothing more is to come."""
        ...

    def take_every(self) -> list[Waiting]:
        """All that waits, value by value, with what its group has not handed out yet."""
        ...


@dataclass(slots=True)
class _News:
    """What the next StreamStatus has to say."""

    feeds: dict[str, FeedStatus] = field(default_factory=dict)
    acks: list[SubscriptionAck] = field(default_factory=list)
    subscriptions: tuple[Subscription, ...] | None = None
    list_command_id: str = ""
    stale_symbols: dict[str, None] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)
    counters: bool = False
    heartbeat: bool = False

    def __bool__(self) -> bool:
        return bool(
            self.feeds
            or self.acks
            or self.subscriptions is not None
            or self.stale_symbols
            or self.gaps
            or self.counters
            or self.heartbeat
        )


class Outlet:
    """A stream to one reader.

    Args:
        on_closed: Told once, when nobody reads any more.
        heartbeat_interval_s: The longest silence.
        credits_max: Batches that may be on their way without a credit; 0: any number.
        stood_s: How long the event loop stood still in all, seconds.
        arrivals: Puts values of several sources in the order of their arrival; None: they come source by source.
        wall: Nanoseconds since the Unix epoch.
        monotonic: Seconds, the clock of the event loop.
    """

    def __init__(
        self,
        encoder: Encoder,
        on_closed: Callable[[Outlet], None],
        *,
        heartbeat_interval_s: float,
        credits_max: int = 0,
        stood_s: Callable[[], float] = lambda: 0.0,
        arrivals: Arrivals | None = None,
        wall: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        self.sources: list[Source] = []
        self.is_closed = False
        self._encoder = encoder
        self._on_closed = on_closed
        self._heartbeat_interval_s = heartbeat_interval_s
        self._credits_max = credits_max
        self._stood_s = stood_s
        self._arrivals = arrivals
        self._wall = wall
        self._monotonic = monotonic
        self._loop = asyncio.get_running_loop()
        self._news = _News()
        self._snapshot_end_is_due = False
        self._error: BaseException | None = None
        self._wake = asyncio.Event()
        self._taken = asyncio.Event()
        self._batch_sequence = 0
        self._credited = 0
        self._credits_end = False
        self._gone = (0, 0)
        self._told = (0, 0)
        self._written_at = monotonic()
        self._blocked_at: float | None = None
        self._stood_before_s = 0.0
        self._is_writing = False
        self._timer: asyncio.TimerHandle = self._loop.call_later(heartbeat_interval_s, self._on_timer)

    async def messages(self) -> AsyncIterator[bytes]:
        """The stream's messages, as bytes, until it is closed.

        Raises:
            SlowConsumer: More waits than may.
            Draining: The gateway is shutting down.
            GatewayError: Why it was ended: the asset table cannot be read, a command broke the protocol.
        """
        try:
            while not self.is_closed:
                if self._error is not None:
                    raise self._error
                self._wake.clear()
                is_blocked = self._is_out_of_credits
                message = self._answers() if is_blocked else self._next_message()
                if message is None:
                    await self._wake.wait()
                    continue
                self._is_writing = True
                if not is_blocked:
                    self._block()
                yield message
                self._is_writing = False
                self._written_at = now = self._monotonic()
                if not self._is_out_of_credits or not is_blocked:
                    self._unblock(now)
                if len(message) < MESSAGE_BYTES_MAX // 2:  # that was all: nothing to look for before there is news
                    await self._wake.wait()
        finally:
            self.close()

    @property
    def has_failed(self) -> bool:
        """Whether it is to end with an error."""
        return self._error is not None

    def wake(self) -> None:
        """There is something to send."""
        self._wake.set()

    def is_stalled(self) -> bool:
        """Whether the reader has taken nothing for so long, while the loop ran, that it is not only busy."""
        if self._blocked_at is None or self._monotonic() - self._blocked_at <= STALL_S:
            return False
        return self._monotonic() - self._blocked_at - (self._stood_s() - self._stood_before_s) > STALL_S

    @property
    def unread_bytes(self) -> int:
        """What waits for the reader beside what its sources keep."""
        return 0 if self._arrivals is None else self._arrivals.unread_bytes

    def credit(self, batch_sequence: int) -> None:
        """The reader has taken everything up to here.

        Raises:
            FieldInvalid: Nothing of this number was sent.
        """
        if not 0 < batch_sequence <= self._batch_sequence:
            violation = FieldViolation("credit.batch_sequence", "is no batch that this stream has sent")
            raise FieldInvalid.of([violation])
        if batch_sequence > self._credited:
            self._credited = batch_sequence
            if not self._is_writing:
                self._unblock(self._monotonic())
            self._wake.set()

    def end_credits(self) -> None:
        """The reader gives none any more: with those that it gave the stream ends."""
        self._credits_end = True
        self._wake.set()

    def greet(self) -> None:
        """Send a first message, though there is nothing to tell."""
        self._news.counters = True
        self._wake.set()

    def tell_feed(self, status: FeedStatus) -> None:
        """A feed behind this stream changed, or came to it."""
        self._news.feeds[status.feed] = status
        self._wake.set()

    def tell_acks(self, acks: Sequence[SubscriptionAck]) -> None:
        """What became of symbols that were asked for."""
        if acks:
            self._news.acks += acks
            self._bound(len(self._news.acks), ACKS_MAX)
            self._wake.set()

    async def acks_taken(self) -> None:
        """Wait until what was acknowledged before is on its way: who does not read is obeyed no further."""
        while len(self._news.acks) >= ACKS_WAITING_MAX and not self.is_closed:
            self._taken.clear()
            await self._taken.wait()

    def tell_subscriptions(self, held: tuple[Subscription, ...], command_id: str) -> None:
        """All that the stream holds, since this command asked for it."""
        self._news.subscriptions = held
        self._news.list_command_id = command_id
        self._wake.set()

    def tell_stale(self, symbols: Sequence[str]) -> None:
        """Values that this stream was given cannot be vouched for any more."""
        self._news.stale_symbols.update(dict.fromkeys(symbols))
        self._wake.set()

    def tell_gap(self, gap: Gap) -> None:
        """A feed brought nothing for a while."""
        self._news.gaps.append(gap)
        self._bound(len(self._news.gaps), GAPS_MAX)
        self._wake.set()

    def end_snapshot(self) -> None:
        """One source's newest values have been put in; it ends when those of all have."""
        if not any(source.awaiting for source in self.sources):
            self._snapshot_end_is_due = True
            self._wake.set()

    def remove(self, source: Source) -> None:
        """A source goes; what it counted stays counted."""
        if self.is_closed:
            return
        self.sources.remove(source)
        self._gone = (self._gone[0] + source.conflated, self._gone[1] + source.dropped)

    def fail(self, error: BaseException) -> None:
        """End the stream with an error; the first one counts, and what waits is not sent any more."""
        if self._error is None:
            self._error = error
            self._wake.set()

    def close(self) -> None:
        """Nobody reads any more. Idempotent."""
        if not self.is_closed:
            self.is_closed = True
            self._timer.cancel()
            self._wake.set()
            sources, self.sources = self.sources, []  # each knows its outlet: a circle would wait for the collector
            for source in sources:
                source.leave()
            self._on_closed(self)

    def _bound(self, waiting: int, waiting_max: int) -> None:
        if waiting > waiting_max:
            self.fail(SlowConsumer("More news waits for this reader than the gateway keeps."))

    @property
    def _is_out_of_credits(self) -> bool:
        return bool(self._credits_max) and self._batch_sequence - self._credited >= self._credits_max

    def _answers(self) -> bytes | None:
        """What a reader without credits gets: what became of its commands."""
        if self._blocked_at is None:
            self._block()
        news = self._news
        if not news.acks and news.subscriptions is None:
            if self._credits_end:
                self.fail(SlowConsumer("The credits are used up, and a client that ended its commands gives none."))
            return None
        self._told = conflated, dropped = self._counters()
        status = StreamStatus(
            acks=tuple(news.acks),
            subscriptions=news.subscriptions or (),
            list_command_id=news.list_command_id,
            conflated_total=conflated,
            dropped_total=dropped,
        )
        news.acks, news.subscriptions, news.list_command_id = [], None, ""
        self._taken.set()
        return self._numbered(b"", status)

    def _next_message(self) -> bytes | None:
        values = self._take(self._monotonic())
        ends_snapshot = self._snapshot_end_is_due and not self._holds_private()
        news = self._news
        status = None
        if news or ends_snapshot:
            self._news = _News()
            self._taken.set()
            self._snapshot_end_is_due &= not ends_snapshot
            self._told = conflated, dropped = self._counters()
            status = StreamStatus(
                feeds=tuple(news.feeds.values()),
                acks=tuple(news.acks),
                subscriptions=news.subscriptions or (),
                list_command_id=news.list_command_id,
                stale_symbols=tuple(news.stale_symbols),
                gaps=tuple(news.gaps),
                conflated_total=conflated,
                dropped_total=dropped,
                snapshot_end=ends_snapshot,
                heartbeat=news.heartbeat,
            )
        elif not values:
            return None
        return self._numbered(values, status)

    def _numbered(self, values: bytes, status: StreamStatus | None) -> bytes:
        self._batch_sequence += 1
        return values + self._encoder.envelope(self._batch_sequence, self._wall(), status)

    def _take(self, now: float) -> bytes:
        sources, arrivals = self.sources, self._arrivals
        if arrivals is not None and (len(sources) > 1 or not arrivals.is_empty):
            return arrivals.take(sources, now)
        if len(sources) == 1:
            return sources[0].take(now)
        taken: list[bytes] = []
        size = 0
        for _ in range(len(sources)):
            source = sources.pop(0)  # each has its turn to be the first
            sources.append(source)
            values = source.take(now)
            taken.append(values)
            size += len(values)
            if size >= MESSAGE_BYTES_MAX:
                break
        return b"".join(taken)

    def _holds_private(self) -> bool:
        if self._arrivals is not None and not self._arrivals.is_empty:
            return True
        return any(source.holds_private for source in self.sources)

    def _counters(self) -> tuple[int, int]:
        conflated, dropped = self._gone
        for source in self.sources:
            conflated += source.conflated
            dropped += source.dropped
        return conflated, dropped

    def _block(self) -> None:
        self._blocked_at = self._monotonic()
        self._stood_before_s = self._stood_s()

    def _unblock(self, now: float) -> None:
        """The reader has taken something: if that took long, the next message says what it cost."""
        if self._blocked_at is not None and now - self._blocked_at >= LAG_TOLD_S:
            self._tell_all()
            self._wake.set()
        self._blocked_at = None

    def _tell_all(self) -> None:
        self._news.counters = True
        for source in self.sources:
            self._news.feeds[source.status.feed] = source.status

    def _on_timer(self) -> None:
        """Has nothing been sent for the agreed time, or has a counter changed meanwhile?

        A write that is stuck is the doors' to end. What came before the reader had stalled is too much once it has.
        """
        for source in tuple(self.sources):
            source.shed()
        interval_s, now = self._heartbeat_interval_s, self._monotonic()
        due_at = self._written_at + interval_s
        if self._is_writing:
            due_at = now + interval_s
        elif now >= due_at:
            self._news.heartbeat = True
            self._tell_all()
            self._wake.set()
            due_at = now + interval_s
        elif self._counters() != self._told:
            self._news.counters = True
            self._wake.set()
        self._timer = self._loop.call_later(due_at - now, self._on_timer)
