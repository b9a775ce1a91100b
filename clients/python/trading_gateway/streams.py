"""What a client needs of any stream that outlives its connection, and what may be survived. No I/O.

`order_updates` resumes without a gap; `market_streams` subscribes again, and tells the gap.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol, TypeVar

import grpc
from google.protobuf.message import Message

from trading_gateway.errors import FailedCall, GatewayError
from trading_gateway.values import NANOS_PER_SECOND

WATCH_INTERVAL_S: Final = 0.5
"""How often a client looks whether a stream has become silent."""

Item_co = TypeVar("Item_co", covariant=True)


class Stream(Protocol[Item_co]):
    """What a client needs to follow a stream across connections."""

    @property
    def path(self) -> str:
        """/package.Service/Rpc."""

    @property
    def response(self) -> type[Message]:
        """The class of its messages."""

    @property
    def silence_max_s(self) -> float | None:
        """Seconds without a message after which the connection counts as lost; None: for the transport to find out."""

    @property
    def is_finite(self) -> bool:
        """Whether it ends by itself, with OK; else an end is a break."""

    def request(self) -> Any:
        """What to ask for now, right before it is asked: a message, or of a session the messages that go there."""

    def closed(self) -> None:
        """The connection is over."""

    def opened(self, is_alive: Callable[[], bool]) -> None:
        """It was asked; `is_alive` knows whether the connection still stands."""

    def items(self, message: Any) -> Iterable[Item_co]:
        """What the caller gets of a message, each made when it is taken."""

    def handled(self, message: Any) -> Callable[[], None] | None:
        """What to do when the caller comes back for the message after this one; it may block. None: nothing."""

    def broken(self, error: GatewayError) -> Iterable[Item_co]:
        """Prepare to go on after an error, or raise it when there is no going on; what the caller is told of it."""


class Silence:
    """Notices that a stream says nothing any more, though it promised to.

    Only the time counts in which this reader waits: one who is busy with a value hears nothing.

    Args:
        limit_s: Seconds without a message; None: for ever.
        now_s: A monotonic clock, in seconds.
    """

    def __init__(self, limit_s: float | None, now_s: Callable[[], float] = time.monotonic) -> None:
        self.limit_s = limit_s
        self.was_noticed = False
        self._now_s = now_s
        self._since_s: float | None = now_s()

    def heard(self) -> None:
        """A message came, and the reader has it."""
        self._since_s = None

    def waiting(self) -> None:
        """The reader waits for the next one."""
        self._since_s = self._now_s()

    def notice(self) -> bool:
        """It has lasted too long; True once, the stream is to be given up then."""
        since_s = self._since_s
        if self.limit_s is None or since_s is None or self.was_noticed:
            return False
        self.was_noticed = self._now_s() - since_s > self.limit_s
        return self.was_noticed

    def failure(self) -> GatewayError:
        """How the stream broke, in words."""
        words = f"no message for {self.limit_s:g} s, though there are heartbeats"
        return _harmless(GatewayError(grpc.StatusCode.UNAVAILABLE, words))


def stream_broke(error: FailedCall | None = None) -> GatewayError:
    """How a stream broke. None: it ended without an error, though it has no end: something between closed it."""
    return _harmless(
        GatewayError.from_call(error) if error else GatewayError(grpc.StatusCode.UNAVAILABLE, "the stream ended")
    )


def lag_s(batch: Any, now_ns: Callable[[], int] = time.time_ns) -> float:
    """Seconds since the gateway handed a batch to the transport, by this machine's clock."""
    late_ns = now_ns() - batch.send_time.ToNanoseconds()
    return float(late_ns) / NANOS_PER_SECOND


def is_survivable(error: GatewayError) -> bool:
    """The stream can be opened again: connection lost, gateway drained, this reader too slow, or its token rotated."""
    return error.ambiguous or error.reason == "SLOW_CONSUMER" or error.token_replaced


def _harmless(failure: GatewayError) -> GatewayError:
    failure.outcome_unknown = False  # a stream changes nothing
    return failure
