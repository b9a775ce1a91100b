"""One to many, paced: streams that want the same are served the same bytes at the same time.

A message costs the server some 30 µs whatever is in it, and twice that beside its clients on two cores, so the
messages are what is rationed: with N streams open, a group is flushed about every N × 30 µs / 0.6, or every
`max_batch_delay` if that is longer; and less often where timers come late, for then messages cost more. Groups have
their turns one after another, so that none waits for all the others. The first value after a pause goes at once, and
nothing runs while nothing arrives.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Final, Protocol

from gateway.domain.types import ConflationPolicy
from gateway.services.streaming.last_values import Stamped
from gateway.services.streaming.mailbox import BATCH_VALUES_MAX, Batch
from gateway.services.streaming.thinning import Thinning

MESSAGE_COST_S: Final = 30e-6
"""Measured: 22-60 µs for grpc.aio from ten readers on."""
LOOP_SHARE_MAX: Final = 0.6
"""Beyond it late subscribers starve."""
LATE_SHARE_MAX: Final = 0.3
"""Of the interval: a timer that comes later finds a loop that has more to do than there is time for."""
STRETCH_MAX: Final = 4.0
"""How much longer intervals become, where messages cost more than was measured."""
STRETCH_STEP: Final = 1.1
RELAX_SHARE: Final = 0.2
"""How fast they become shorter again, of how fast they became longer."""
PENDING_VALUES_MAX: Final = 8_192
"""A group that has so many does not wait for its time."""


class Pacing:
    """How many streams share the loop, and whether it keeps up with them."""

    def __init__(self) -> None:
        self.streams = 0
        self._stretch = 1.0
        self._latest_s = 0.0
        self._stretch_at = 0.0

    @property
    def interval_s(self) -> float:
        """The least time between two messages to one stream."""
        return self.streams * MESSAGE_COST_S / LOOP_SHARE_MAX * self._stretch

    def note_late(self, late_s: float, now: float) -> None:
        """A timer came so much later than it should: looked at once in each interval, by the latest."""
        self._latest_s = max(self._latest_s, late_s)
        if now < self._stretch_at:
            return
        if self._latest_s > self.interval_s * LATE_SHARE_MAX:
            self._stretch = min(self._stretch * STRETCH_STEP, STRETCH_MAX)
        else:
            self._stretch = max(self._stretch / STRETCH_STEP**RELAX_SHARE, 1.0)
        self._latest_s = 0.0
        self._stretch_at = now + self.interval_s


class Reader(Protocol):
    """A stream, as its group sees it."""

    def deliver(self, batch: Batch) -> None:
        """Take a batch; must neither block nor raise."""
        ...

    def leave_out(self, count: int) -> None:
        """So many values came that are older than what was sent."""
        ...


class Group:
    """Streams of one channel that want the same symbols by the same policy and delay.

    Args:
        max_batch_delay_s: How long values may wait to travel together.
        monotonic: Seconds, the clock of the event loop.
        min_interval_s: The least time between two values of one symbol; needs LATEST_PER_SYMBOL.
        phase: Of the interval, 0 to 1: when in it this group has its turn, so that not all have the same.
    """

    def __init__(
        self,
        policy: ConflationPolicy,
        max_batch_delay_s: float,
        pacing: Pacing,
        monotonic: Callable[[], float],
        min_interval_s: float = 0.0,
        phase: float = 0.0,
    ) -> None:
        self._policy = policy
        self._thinning = Thinning(min_interval_s) if min_interval_s else None
        self._max_batch_delay_s = max_batch_delay_s
        self._pacing = pacing
        self._monotonic = monotonic
        self._phase = phase
        self._loop = asyncio.get_running_loop()
        self._pending: list[Stamped] = []
        self._late = 0
        self._has_notices = False
        self._thinned_timer: asyncio.TimerHandle | None = None
        self._flush_at: asyncio.Handle | None = None
        self._flushed_at = float("-inf")
        self.readers: set[Reader] = set()

    @property
    def wants_whole(self) -> bool:
        """Whether some changes may be left out, so that a change alone would be of no use."""
        return self._policy is not ConflationPolicy.NONE

    def add(self, stamped: Stamped) -> None:
        """A live value."""
        self._pending.append(stamped)
        if self._flush_at is None:
            self._schedule()
        elif len(self._pending) >= PENDING_VALUES_MAX:
            self.flush()

    def add_late(self, stamped: Stamped) -> None:
        """A live value that is older than what is held: left out, and counted, unless every value is wanted."""
        if self._policy is not ConflationPolicy.LATEST_PER_SYMBOL:
            self.add(stamped)
        elif self._thinning is None:
            self._late += 1
            if self._flush_at is None:
                self._schedule()

    def add_notice(self, stamped: Stamped) -> None:
        """A live value that no other replaces, whatever the policy."""
        self._has_notices = True
        self.add(stamped)

    def supersede(self, stamped: Stamped) -> None:
        """A newer value was read and goes its own way: what is pending goes before it, what is held back never."""
        self.flush()
        if self._thinning is not None:
            self._thinning.supersede(stamped)

    def flush(self) -> None:
        """Hand out what is pending, now."""
        if self._flush_at is not None:
            self._flush_at.cancel()
            self._flush_at = None
        if self._late:
            late, self._late = self._late, 0
            for reader in self.readers:
                reader.leave_out(late)
        pending = self._pending
        if not pending and (self._thinning is None or not self._thinning.is_due(self._monotonic())):
            return
        self._pending = []
        self._flushed_at = self._monotonic()
        has_notices, self._has_notices = self._has_notices, False
        if self._thinning is not None:
            pending = self._thinning.admit(pending, self._flushed_at)
            if self._thinned_timer is None:
                self._await_thinned()
            if not pending:
                return
        size = len(pending) if self._policy is ConflationPolicy.LATEST_PER_SYMBOL else BATCH_VALUES_MAX
        for start in range(0, len(pending), size):
            part, is_mixed = pending[start : start + size], self._thinning is not None
            batch = Batch(part, self._policy, has_notices=has_notices, is_mixed=is_mixed)
            for reader in tuple(self.readers):
                reader.deliver(batch)

    def close(self) -> None:
        """Nobody is left."""
        for timer in (self._flush_at, self._thinned_timer):
            if timer is not None:
                timer.cancel()
        self._flush_at = self._thinned_timer = None
        self._pending = []

    def _await_thinned(self) -> None:
        """What was held back goes when its time has come, if nothing newer has come by then."""
        if self._thinned_timer is not None:
            self._thinned_timer.cancel()
            self._thinned_timer = None
        if self._thinning is not None and self._thinning.due_at is not None:
            due_at = max(self._thinning.due_at, self._flushed_at + self._pacing.interval_s)
            self._thinned_timer = self._loop.call_later(due_at - self._monotonic(), self._on_thinned_timer)

    def _on_thinned_timer(self) -> None:
        self.flush()
        self._await_thinned()

    def _schedule(self) -> None:
        """At once after a pause; else at the group's next turn, half an interval away at least, and one at most."""
        now = self._monotonic()
        interval_s = max(self._max_batch_delay_s, self._pacing.interval_s)
        if now - self._flushed_at >= interval_s:
            self._flush_at = self._loop.call_soon(self.flush)
        else:
            turn = (math.floor(now / interval_s - self._phase) + 1 + self._phase) * interval_s
            if turn - self._flushed_at < interval_s / 2:  # the one before was late, or after a pause
                turn = self._flushed_at + interval_s
            self._flush_at = self._loop.call_later(turn - now, self._on_turn, turn)

    def _on_turn(self, due_at: float) -> None:
        now = self._monotonic()
        self._pacing.note_late(now - due_at, now)
        self.flush()
