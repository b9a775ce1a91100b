"""What state a feed is in: what its connection says, and what only a look at the clock and the calendar tells.

Promises: connected and silent is QUIET where silence is to be expected (the market is closed, or nothing but sparse
channels is subscribed) and LIVE where it is not, until `silence` has proof that it is MUTE; DELAYED is told when for
ten seconds nothing came that was not late. All this is looked at four times a second, so that nothing is told
later than that. Whether a value is stale does not depend on this clock: that is decided when it is written. But a look
that comes seconds late proves that the loop stood still, and that newer values may wait in the socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from gateway.domain.types import MS_PER_SECOND, NANOS_PER_SECOND, DataFeed, FeedState
from gateway.services.streaming.feed_health import WAIT_MAX_S

LOOK_INTERVAL_S: Final = 0.25
"""Between two looks."""
DELAYED_BY_NATURE: Final = frozenset({DataFeed.INDICATIVE})
"""Feeds whose times say nothing: the venue sells them late."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WatchTimes:
    """When the watch draws its conclusions; seconds.

    Attributes:
        quiet_s: Silence after which a feed whose market is closed is QUIET.
        sparse_quiet_s: The same for one that brings bars, statuses and the like alone: a minute is their nature.
        delay_max_s: A value that comes later than this after its own time is late.
        delay_proof_s: So long nothing but late values, and the feed is DELAYED.
    """

    quiet_s: float = 5.0
    sparse_quiet_s: float = 65.0
    delay_max_s: float = 2.0
    delay_proof_s: float = 10.0


class FeedWatch:
    """Watches one feed.

    Args:
        change: Told the new state, with a text.
        heard: Changes whenever the feed brings something.
        is_sparse: Whether no channel is subscribed on which much is to be expected.
        is_open: Whether the feed's market is open, as far as is known.
        monotonic: Seconds, the clock of the event loop.
    """

    def __init__(
        self,
        feed: DataFeed,
        times: WatchTimes,
        *,
        change: Callable[[FeedState, str], None],
        heard: Callable[[], object],
        is_sparse: Callable[[], bool],
        is_open: Callable[[], bool],
        monotonic: Callable[[], float],
    ) -> None:
        self._feed = feed
        self._times = times
        self._delay_max_ns = int(times.delay_max_s * NANOS_PER_SECOND)
        self._change = change
        self._heard = heard
        self._is_sparse = is_sparse
        self._is_open = is_open
        self._monotonic = monotonic
        self._state = FeedState.CONNECTING
        self._last_heard: object = None
        self._heard_at = monotonic()
        self._prompt = 0
        self._late = 0
        self._late_since: float | None = None
        self._looked_at = monotonic()
        self._was_behind = False
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def close(self) -> None:
        """Watch no more."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def connection(self, state: FeedState, reconcile: Callable[[], bool]) -> FeedState:
        """The feed's state, now that its connection says this.

        Args:
            state: Its own word.
            reconcile: Asked once a connection is up: whether there is something to make up for first.
        """
        if not state.flows:
            self._state = state
        elif not self._state.flows and self._state not in (FeedState.MUTE, FeedState.STALE):
            self._begin()
            self._state = FeedState.RECONCILING if reconcile() else state
        return self._state

    @property
    def is_behind(self) -> bool:
        """Whether the loop stood still for so long that the feed's newest word may not have been read yet."""
        return self._was_behind or self._monotonic() - self._looked_at > WAIT_MAX_S

    def broken(self, state: FeedState) -> None:
        """It was proven to be MUTE or STALE: so it stays until it is connected anew."""
        self._state = state

    def reconciled(self) -> None:
        """What was missed is made up for, as far as it can be."""
        if self._state is FeedState.RECONCILING:
            self._tell(FeedState.LIVE)

    def note_times(self, time_ns: int, receive_time_ns: int) -> None:
        """A value of a channel whose values come as they happen: one of each frame is enough."""
        if receive_time_ns - time_ns <= self._delay_max_ns:
            self._prompt += 1
        else:
            self._late += 1

    def _begin(self) -> None:
        self._heard_at = self._monotonic()
        self._prompt = self._late = 0
        self._late_since = None

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_INTERVAL_S)
            try:
                self._look()
            except Exception:  # whatever it is: nobody else looks
                _log.exception("feed_not_watched", feed=self._feed.value)

    def _look(self) -> None:
        now, heard = self._monotonic(), self._heard()
        self._was_behind = now - self._looked_at > WAIT_MAX_S  # until the next look, what waits is read first
        if self._was_behind:
            _log.warning("event_loop_behind", feed=self._feed.value, seconds=round(now - self._looked_at, 1))
        self._looked_at = now
        if heard != self._last_heard:
            self._last_heard, self._heard_at = heard, now
        is_delayed = self._is_delayed(now)
        if not self._state.vouches and self._state is not FeedState.DELAYED:
            return
        if is_delayed:
            self._tell(FeedState.DELAYED)
        elif self._state is FeedState.DELAYED:
            if self._late_since is None:
                self._tell(FeedState.LIVE)
        else:
            self._tell(FeedState.QUIET if self._is_quiet(now - self._heard_at) else FeedState.LIVE)

    def _is_quiet(self, silent_s: float) -> bool:
        if silent_s < self._times.quiet_s:
            return False
        if self._is_sparse():
            return silent_s >= self._times.sparse_quiet_s
        return not self._is_open()

    def _is_delayed(self, now: float) -> bool:
        """Whether for long enough nothing came that was not late; silence proves nothing."""
        prompt, late = self._prompt, self._late
        self._prompt = self._late = 0
        if prompt or self._feed in DELAYED_BY_NATURE:
            self._late_since = None
        elif late and self._late_since is None:
            self._late_since = now
        return bool(late) and self._late_since is not None and now - self._late_since >= self._times.delay_proof_s

    def _tell(self, state: FeedState) -> None:
        if state is self._state:
            return
        self._state = state
        detail = ""
        if state is FeedState.DELAYED:
            detail = f"values come more than {self._times.delay_max_s * MS_PER_SECOND:.0f} ms after their own time"
        _log.info("feed_state", feed=self._feed.value, state=state.value)
        self._change(state, detail)
