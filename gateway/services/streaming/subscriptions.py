"""What one feed is asked for: counted, changed by difference, and checked against what the venue acknowledged.

Any number of streams hold a symbol; the venue hears of it once. A symbol that nobody holds any more is kept
for a while, so that a client that comes back disturbs nothing, and the socket is not opened and closed in
turn (Alpaca answers that with 406). Changes are sent together, in at most five rounds a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextvars import Context
from dataclasses import dataclass
from typing import Final

import structlog

from gateway.domain.errors import GatewayError
from gateway.domain.interfaces import MarketDataConnection, MarketDataListener, StreamingRepository
from gateway.domain.models.market_data import SubscriptionSet
from gateway.domain.types import Channel, DataFeed

CHANGE_INTERVAL_S: Final = 0.2
"""Between two changes of the subscriptions; the first after a pause goes at once."""
CHANGE_RETRY_S: Final = 1.0
"""After a change could not even be noted."""
ACK_ATTEMPTS_MAX: Final = 2
"""Sent so often without an acknowledgement, a subscription counts as refused."""

Key = tuple[Channel, str]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SubscriptionEvents:
    """Whom to tell: the venue did not acknowledge some symbols; some are not subscribed any more."""

    on_refused: Callable[[Channel, frozenset[str]], None]
    on_forgotten: Callable[[Channel, frozenset[str]], None]


class UpstreamSubscriptions:
    """The subscriptions of one feed, over its one connection.

    Args:
        listener: Who hears the feed.
        linger_s: How long a symbol is kept after its last holder left.
        ack_timeout_s: How long the venue may take to acknowledge a symbol on a live feed.
        monotonic: Seconds, the clock of the event loop.
    """

    def __init__(
        self,
        feed: DataFeed,
        repository: StreamingRepository,
        listener: MarketDataListener,
        events: SubscriptionEvents,
        *,
        linger_s: float,
        ack_timeout_s: float,
        monotonic: Callable[[], float],
    ) -> None:
        self._feed = feed
        self._repository = repository
        self._listener = listener
        self._events = events
        self._linger_s = linger_s
        self._ack_timeout_s = ack_timeout_s
        self._monotonic = monotonic
        self._loop = asyncio.get_running_loop()
        self._connection: MarketDataConnection | None = None
        self._holders: dict[Channel, dict[str, int]] = {channel: {} for channel in Channel}
        self._acknowledged: dict[Channel, frozenset[str]] = {channel: frozenset() for channel in Channel}
        self._leaving: dict[Key, float] = {}
        self._gone: set[Key] = set()
        self._leave_timer: asyncio.TimerHandle | None = None
        self._unanswered: dict[Key, int] = {}
        self._ack_timer: asyncio.TimerHandle | None = None
        self._is_live = False
        self._changed = False
        self._must_reconnect = False
        self._must_ask_again = False
        self._sent = SubscriptionSet()
        self._change_at = self._ask_again_at = float("-inf")
        self._changing: asyncio.Task[None] | None = None
        self._is_closed = False

    def hold(self, channel: Channel, symbols: Iterable[str]) -> None:
        """One more holder of each symbol."""
        holders = self._holders[channel]
        is_new = False
        for symbol in symbols:
            # Asking again for what the venue did not acknowledge is another try.
            is_refused = self._unanswered.pop((channel, symbol), 0) >= ACK_ATTEMPTS_MAX
            self._must_ask_again |= is_refused
            is_new |= is_refused or symbol not in holders
            holders[symbol] = holders.get(symbol, 0) + 1
            self._leaving.pop((channel, symbol), None)
            self._gone.discard((channel, symbol))
        if is_new:
            self._change()

    def release(self, channel: Channel, symbols: Iterable[str]) -> None:
        """One holder less of each symbol; the last one's symbols stay for a while."""
        holders = self._holders[channel]
        forget_at = self._monotonic() + self._linger_s
        for symbol in symbols:
            holders[symbol] -= 1
            if not holders[symbol]:
                self._leaving[channel, symbol] = forget_at
        if self._leaving and self._leave_timer is None and not self._is_closed:
            self._leave_timer = self._loop.call_later(self._linger_s, self._forget)

    def acknowledged(self, channel: Channel) -> frozenset[str]:
        """What the venue has acknowledged on the present connection."""
        return self._acknowledged[channel]

    def note_acknowledged(self, acknowledged: SubscriptionSet) -> dict[Channel, frozenset[str]]:
        """The venue's whole set. Returns the symbols that are held, were in it, and are not any more."""
        lost = {}
        for channel in Channel:
            now_acknowledged = acknowledged.symbols.get(channel, frozenset())
            gone = (self._acknowledged[channel] - now_acknowledged) & self._holders[channel].keys()
            if gone:
                lost[channel] = frozenset(gone)
            self._acknowledged[channel] = now_acknowledged
        self._expect_acknowledgements()
        return lost

    def note_live(self, *, is_live: bool) -> None:
        """The feed's state changed; what was acknowledged does not outlive a connection."""
        if self._is_live and not is_live:
            self._acknowledged = {channel: frozenset() for channel in Channel}
            self._unanswered.clear()
        self._is_live = is_live
        if is_live:
            self._expect_acknowledgements()

    def reconnect(self) -> None:
        """Close the socket and ask for everything anew."""
        self._must_reconnect = True
        self._change()

    async def close(self) -> None:
        """End the connection and every timer; streams may leave afterwards."""
        self._is_closed = True
        for timer in (self._leave_timer, self._ack_timer):
            if timer is not None:
                timer.cancel()
        if self._changing is not None:
            self._changing.cancel()
            await asyncio.gather(self._changing, return_exceptions=True)
        if self._connection is not None:
            await self._connection.close()

    def _wanted(self) -> SubscriptionSet:
        return SubscriptionSet({channel: frozenset(holders) for channel, holders in self._holders.items() if holders})

    def _change(self) -> None:
        self._changed = True
        if self._changing is None and not self._is_closed:
            # The connection outlives the call that it is first wanted for, and is nobody's: not its log, not its span.
            self._changing = self._loop.create_task(self._send_changes(), context=Context())

    async def _send_changes(self) -> None:
        try:
            while self._changed:
                await asyncio.sleep(max(0.0, self._change_at - self._monotonic()))
                self._changed = False
                self._change_at = self._monotonic() + CHANGE_INTERVAL_S
                try:
                    await self._send()
                except Exception as error:
                    # Whatever it was: the other symbols' subscriptions must not end with it.
                    is_refusal = isinstance(error, GatewayError)
                    _log.warning(
                        "subscriptions_not_sent", feed=self._feed.value, exc_info=None if is_refusal else error
                    )
                    self._changed = True
                    self._change_at = self._monotonic() + CHANGE_RETRY_S
        finally:
            self._changing = None
        self._expect_acknowledgements()

    async def _send(self) -> None:
        if self._connection is None:
            self._connection = await self._repository.open_market_data(self._feed, self._listener)
        if self._must_reconnect:
            await self._connection.set_subscriptions(SubscriptionSet())  # which closes the socket
            self._must_reconnect = False
        self._tell_forgotten()
        wanted, before = self._wanted(), self._sent
        self._sent = wanted
        await self._connection.set_subscriptions(wanted)
        if self._must_ask_again and self._monotonic() >= self._ask_again_at:
            self._must_ask_again = False
            self._ask_again_at = self._monotonic() + self._ack_timeout_s
            if wanted != before:  # the same once more is another try of what was refused
                await self._connection.set_subscriptions(wanted)

    def _tell_forgotten(self) -> None:
        """Only with the change that says so to the venue: what is asked for again before that was never interrupted."""
        gone, self._gone = self._gone, set()
        for channel in {channel for channel, _ in gone}:
            self._events.on_forgotten(channel, frozenset(symbol for its, symbol in gone if its is channel))

    def _forget(self) -> None:
        """Let go of what nobody came back for."""
        self._leave_timer = None
        now = self._monotonic()
        for key, forget_at in tuple(self._leaving.items()):
            if forget_at > now:
                self._leave_timer = self._loop.call_later(forget_at - now, self._forget)
                break
            channel, symbol = key
            del self._leaving[key]
            del self._holders[channel][symbol]
            self._gone.add(key)
        if self._gone:
            self._change()

    def _missing(self) -> set[Key]:
        return {
            (channel, symbol)
            for channel, holders in self._holders.items()
            for symbol in holders.keys() - self._acknowledged[channel]
        }

    def _expect_acknowledgements(self) -> None:
        """Begin to wait for what is missing; on a feed that is down nothing can be expected."""
        missing = self._missing() if self._is_live else set()
        self._unanswered = {key: self._unanswered.get(key, 0) for key in missing}
        waits = any(attempts < ACK_ATTEMPTS_MAX for attempts in self._unanswered.values())
        if waits and self._ack_timer is None:
            self._ack_timer = self._loop.call_later(self._ack_timeout_s, self._check, frozenset(missing))

    def _check(self, expected: frozenset[Key]) -> None:
        """The time is up for what was expected when it began: ask once more, then say so."""
        self._ack_timer = None
        refused: dict[Channel, set[str]] = {channel: set() for channel in Channel}
        for key in expected & self._unanswered.keys():
            self._unanswered[key] += 1
            if self._unanswered[key] == 1:
                self._must_ask_again = True
                self._change()
            elif self._unanswered[key] == ACK_ATTEMPTS_MAX:
                refused[key[0]].add(key[1])
        for channel, symbols in refused.items():
            if symbols:
                self._events.on_refused(channel, frozenset(symbols))
        self._expect_acknowledgements()
