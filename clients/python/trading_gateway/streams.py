"""Market data streams that outlive their connection: what to ask for, what to make of each batch. No I/O.

Market data cannot be resumed: after a break the subscription is made again, and the hole is told in the
first batch after it. Order streams resume without a hole: see `order_updates`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

import grpc
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from trading_gateway.call import path
from trading_gateway.errors import FailedCall, GatewayError, SequenceGap
from trading_gateway.v1.common_pb2 import GapNotice
from trading_gateway.values import NANOS_PER_MS, NANOS_PER_SECOND

GATEWAY_FEED: Final = "gateway"
"""GapNotice.feed of a hole in the connection between this client and the gateway."""

STALE_LAG_MS: Final = 2_000
"""A batch that reached this reader later than this is not vouched for, as inside the gateway."""

M_co = TypeVar("M_co", covariant=True)
Batch = TypeVar("Batch", bound=Message)


class Stream(Protocol[M_co]):
    """What a client needs to follow a stream across connections."""

    @property
    def path(self) -> str:
        """/package.Service/Rpc."""

    @property
    def response(self) -> type[M_co]:
        """The class of its messages."""

    def request(self) -> Message:
        """What to ask for now."""

    def accept(self, message: Any) -> bool:
        """Take note of a message; False: the caller has seen it already."""

    def handled(self, message: Any) -> Callable[[], None] | None:
        """What to do when the caller comes back for the message after this one; it may block. None: nothing."""

    def broken(self, error: GatewayError) -> None:
        """Prepare to go on after an error, or raise it when there is no going on."""


class MarketDataStream(Generic[Batch]):
    """Follows live market data.

    Args:
        rpc: "Service/Rpc".
        request: The subscription.
        response: The class of a batch.
        values: The quotes, trades or bars of a batch.
        now_ns: The time, in nanoseconds since the epoch.
    """

    def __init__(
        self,
        rpc: str,
        request: Any,
        response: type[Batch],
        values: Callable[[Any], Sequence[Any]],
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.path = path(rpc)
        self.response = response
        self._request = request
        self._values = values
        self._now_ns = now_ns
        self._sequence = 0
        self._last_send_time: Timestamp | None = None
        self._clock_offset_ns = 0

    def request(self) -> Message:
        """The subscription, always whole."""
        request: Message = self._request
        return request

    def accept(self, message: Any) -> bool:
        """Check the sequence, tell the hole before this batch, and flag what comes late.

        Raises:
            SequenceGap: A batch is missing, which the contract excludes.
        """
        if message.batch_sequence != self._sequence + 1:
            raise SequenceGap(self._sequence + 1, message.batch_sequence)
        if self._sequence == 0 and self._last_send_time is not None:
            message.status.gaps.append(self._hole(message.send_time))
        self._sequence = message.batch_sequence
        self._last_send_time = message.send_time
        if self._lag_ns(message.send_time) > STALE_LAG_MS * NANOS_PER_MS:
            for value in self._values(message):
                value.stale = True
        return True

    def handled(self, message: Any) -> None:
        """Nothing: quotes are not resumed."""

    def broken(self, error: GatewayError) -> None:
        """Subscribe again after a lost connection, or after this reader was too slow."""
        if not is_survivable(error):
            raise error
        self._sequence = 0

    def _hole(self, until: Timestamp) -> GapNotice:
        return GapNotice(
            feed=GATEWAY_FEED, from_time=self._last_send_time, to_time=until, symbols=self._request.symbols
        )

    def _lag_ns(self, send_time: Timestamp) -> int:
        """How late a batch is. A clock that goes behind the gateway's would hide lag, so it is allowed for."""
        late_ns = self._now_ns() - send_time.ToNanoseconds()
        self._clock_offset_ns = min(self._clock_offset_ns, late_ns)
        return late_ns - self._clock_offset_ns


def stream_broke(error: FailedCall | None = None) -> GatewayError:
    """How a stream broke. None: it ended without an error, though it has no end: something between closed it."""
    failure = GatewayError.from_call(error) if error else GatewayError(grpc.StatusCode.UNAVAILABLE, "the stream ended")
    failure.outcome_unknown = False  # it changes nothing
    return failure


def lag_s(batch: Any, now_ns: Callable[[], int] = time.time_ns) -> float:
    """Seconds since the gateway handed a batch to the transport, by this machine's clock."""
    late_ns = now_ns() - batch.send_time.ToNanoseconds()
    return float(late_ns) / NANOS_PER_SECOND


def is_survivable(error: GatewayError) -> bool:
    """The stream can be opened again: connection lost, gateway drained, this reader too slow, or its token rotated."""
    return error.ambiguous or error.reason == "SLOW_CONSUMER" or error.token_replaced
