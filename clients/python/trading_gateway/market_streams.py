"""Market data streams that outlive their connection: what to ask for, what to make of each batch. No I/O.

Promises: nothing that is old reaches the caller as new, and no gap is passed over. A value that is taken more than 2 s
after the gateway sent it, or after its connection broke, is flagged stale. Market data cannot be resumed: after a break
the subscription is made again, with the newest values first, and the gap is told in the first batch after it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeAlias, TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from trading_gateway.call import path
from trading_gateway.errors import GatewayError, SequenceGap
from trading_gateway.lag import Lag
from trading_gateway.streams import is_survivable
from trading_gateway.v1 import market_data_pb2 as pb
from trading_gateway.v1.common_pb2 import GapNotice
from trading_gateway.values import NANOS_PER_SECOND

GATEWAY_FEED: Final = "gateway"
"""GapNotice.feed of a gap in the connection between this client and the gateway."""

STALE_LAG_NS: Final = 2 * NANOS_PER_SECOND
"""A value that is taken later than this after it was sent is not vouched for, as inside the gateway."""

HEARTBEAT_S: Final = 5.0
"""The gateway's own interval, where none is asked for."""

HEARTBEATS_MISSED_MAX: Final = 3
SILENCE_MIN_S: Final = 5.0
"""A gateway that is held up for a moment is not left for it: everybody would come back at once."""

_log = logging.getLogger(__name__)

Batch = TypeVar("Batch", bound=Message)
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection broke: what was received before is the newest no more. It is opened again; told once for a break.

    Attributes:
        error: How it broke; `error.reason` is "DRAINING" when the gateway went, "SLOW_CONSUMER" when this reader did
            not keep up.
        last_send_ns: When the gateway sent the last batch, by its clock, in nanoseconds since the Unix epoch; None:
            there was none yet.
    """

    error: GatewayError
    last_send_ns: int | None


QuoteItem: TypeAlias = pb.Quote | pb.StreamStatus | Disconnected
TradeItem: TypeAlias = pb.Trade | pb.TradeCorrection | pb.TradeCancel | pb.StreamStatus | Disconnected
BarItem: TypeAlias = pb.Bar | pb.StreamStatus | Disconnected


class MarketDataFollower(Generic[Item]):
    """Follows live market data; what the caller gets of a batch is for the kinds below.

    Args:
        rpc: "Service/Rpc".
        request: The subscription.
        response: The class of a batch.
        values: The quotes, trades or bars of a batch.
        on_notice: Told of a break at once.
        lag: Measures how late values are.
    """

    is_finite = False

    def __init__(
        self,
        rpc: str,
        request: Any,
        response: type[Message],
        values: Callable[[Any], Sequence[Any]],
        on_notice: Callable[[Disconnected], object] | None = None,
        lag: Lag | None = None,
    ) -> None:
        self.path = path(rpc)
        self.response = response
        self.silence_max_s = _silence_max_s(request)
        self.lag_ns = 0
        self._request = request
        self._values = values
        self._on_notice = on_notice
        self._lag = lag or Lag()
        self._is_alive: Callable[[], bool] = _alive
        self._sequence = 0
        self._last_send_ns: int | None = None
        self._is_broken = False

    @property
    def gateway_ns(self) -> int:
        """The time by the gateway's clock, as far as it is known; nanoseconds since the Unix epoch."""
        return self._lag.gateway_ns

    def request(self) -> Any:
        """The subscription, always whole."""
        self._sequence = 0
        self._is_alive = _alive
        self._lag.opened()
        return self._request

    def opened(self, is_alive: Callable[[], bool]) -> None:
        """Values of a connection that broke are stale, whatever their age."""
        self._is_alive = is_alive

    def closed(self) -> None:
        """Nothing is left of a connection."""

    def handled(self, message: Any) -> None:
        """Nothing: quotes are not resumed."""

    def _broke(self, error: GatewayError) -> Disconnected | None:
        """Subscribe again after a lost connection, after this reader was too slow, or when the gateway says when.

        A refusal that says when to come back ends no stream that ran: it comes of the break, as when the places of the
        broken connections are not free yet. What there is to tell, once for a break.
        """
        returns_later = self._last_send_ns is not None and error.retry_after_s is not None
        if not (is_survivable(error) or returns_later):
            raise error
        if self._is_broken:
            return None
        self._is_broken = True
        notice = Disconnected(error, self._last_send_ns)
        _log.info("%s: %s", self.path, error)
        if self._on_notice is not None:
            self._on_notice(notice)
        return notice

    def _take(self, batch: Any) -> int:
        """Check the sequence, tell the gap before this batch, measure; when it was sent.

        Raises:
            SequenceGap: A batch is missing, which the contract excludes.
        """
        if batch.batch_sequence != self._sequence + 1:
            raise SequenceGap(self._sequence + 1, batch.batch_sequence)
        send_ns: int = batch.send_time.ToNanoseconds()
        if self._is_broken and self._last_send_ns is not None:
            batch.status.gaps.append(self._gap(self._last_send_ns, batch.send_time))
        self._is_broken = False
        self._sequence += 1
        self._last_send_ns = send_ns
        self._lag.arrived(send_ns)
        self.lag_ns = self._lag.since_ns(send_ns)
        return send_ns

    def _is_stale(self, send_ns: int) -> bool:
        """What is handed out now cannot be vouched for: it is late, or nothing says that there is nothing newer."""
        self.lag_ns = self._lag.since_ns(send_ns)
        return self.lag_ns > STALE_LAG_NS or not self._is_alive()

    def _gap(self, last_send_ns: int, until: Timestamp) -> GapNotice:
        gap = GapNotice(feed=GATEWAY_FEED, to_time=until, symbols=self._symbols())
        gap.from_time.FromNanoseconds(last_send_ns)
        return gap

    def _symbols(self) -> Iterable[str]:
        """What is subscribed."""
        symbols: Iterable[str] = self._request.symbols
        return symbols


class Batches(MarketDataFollower[Batch]):
    """Live market data in the batches that the gateway sent; values are judged when their batch is taken."""

    def items(self, batch: Batch) -> Iterator[Batch]:
        """The batch itself, with the gap before it."""
        if self._is_stale(self._take(batch)):
            _flag(self._values(batch))
        yield batch

    def broken(self, error: GatewayError) -> tuple[()]:
        """Prepare to go on; the next batch tells the gap."""
        self._broke(error)
        return ()


class Values(MarketDataFollower[Item]):
    """Live market data value by value, each judged when it is taken, with statuses and breaks among them."""

    def items(self, batch: Any) -> Iterator[Item]:
        """The status first, for it tells gaps before the values after them; the end of a snapshot last."""
        send_ns = self._take(batch)
        ends_snapshot = batch.status.snapshot_end
        if batch.HasField("status"):
            batch.status.snapshot_end = False
            if batch.status.ByteSize():
                yield batch.status
        for value in self._values(batch):
            if self._is_stale(send_ns):
                _flag((value,))
            yield value
        if ends_snapshot:
            yield _snapshot_end(batch.status)

    def broken(self, error: GatewayError) -> Iterator[Item]:
        """Prepare to go on, and tell the break at once."""
        if (notice := self._broke(error)) is not None:
            yield notice  # type: ignore[misc]


def _flag(values: Sequence[Any]) -> None:
    """Corrections and the like say what was; nothing about them becomes old."""
    for value in values:
        if hasattr(value, "stale"):
            value.stale = True


def _snapshot_end(told: pb.StreamStatus) -> Any:
    """What is left to say of a status when its snapshot has been handed out."""
    status = pb.StreamStatus()
    status.CopyFrom(told)
    for name in ("feeds", "acks", "subscriptions", "list_command_id", "stale_symbols", "gaps"):
        status.ClearField(name)
    status.snapshot_end = True
    return status


def _silence_max_s(request: Any) -> float:
    asked_s = request.heartbeat_interval.ToNanoseconds() / NANOS_PER_SECOND
    return max(SILENCE_MIN_S, HEARTBEATS_MISSED_MAX * (asked_s or HEARTBEAT_S))


def _alive() -> bool:
    return True
