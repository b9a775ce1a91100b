"""May the gateway vouch for a value? Live, or not; since when; and whether without a break.

Every unbroken stretch of LIVE or QUIET is an epoch with a number of its own. A value remembers the epoch in which it
was received: it is vouched for while that is the present one. Nothing here runs on a timer, so nothing can
be stuck: the question is answered when a value is read or written.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Final

from gateway.domain.models.market_data import FeedStatus
from gateway.domain.types import DataFeed, FeedState

WAIT_MAX_S: Final = 2.0
"""A value that waited longer inside the gateway is stale: a newer one may have overtaken it."""
NO_EPOCH: Final = 0
"""Received while nobody could vouch for it."""

_arrivals: Final = count(1)


class Receipt:
    """When something was received, and in which epoch; shared by all values of one frame.

    Attributes:
        received_at: Seconds of the monotonic clock.
        epoch: NO_EPOCH when its feed was not LIVE, or when it reached the hub too late.
        order: Its number among all that came to this process, whatever the feed and channel.
    """

    __slots__ = ("epoch", "order", "received_at")

    def __init__(self, received_at: float, epoch: int) -> None:
        self.received_at = received_at
        self.epoch = epoch
        self.order = next(_arrivals)

    def is_stale(self, epoch: int, now: float) -> bool:
        """Whether a value that has waited since its receipt to be written is stale now."""
        return self.epoch != epoch or epoch == NO_EPOCH or now - self.received_at > WAIT_MAX_S


class FeedHealth:
    """The state of one feed.

    Args:
        wall: Nanoseconds since the Unix epoch.
    """

    def __init__(self, feed: DataFeed, wall: Callable[[], int]) -> None:
        self._wall = wall
        self._epochs = 0
        self.epoch = NO_EPOCH
        self.status = FeedStatus(feed=feed.value, state=FeedState.CONNECTING, since_ns=wall())

    @property
    def is_live(self) -> bool:
        """Connected and delivering."""
        return self.epoch != NO_EPOCH

    def vouches(self, receipt: Receipt) -> bool:
        """Whether a value received so is still the venue's latest; its age does not matter."""
        return receipt.epoch == self.epoch != NO_EPOCH

    def change(self, state: FeedState, detail: str, venue_error_code: int) -> int:
        """Note what the connection says, and return the epoch that ended with it, or NO_EPOCH."""
        held = self.status
        since_ns = held.since_ns if state is held.state else self._wall()
        self.status = FeedStatus(held.feed, state, since_ns, detail, venue_error_code)
        ended = NO_EPOCH
        if state.vouches and self.epoch == NO_EPOCH:
            self._epochs += 1
            self.epoch = self._epochs
        elif not state.vouches:
            ended, self.epoch = self.epoch, NO_EPOCH
        return ended
