"""The order stream that outlives its connection, the gateway, and with a `TokenStore` the program that reads it.

Promises: in order, none lost, none twice, and nothing of this silent. After a break the stream resumes with the
newest token. Where the gateway has no events after that token any more, it begins anew with a snapshot of what is
open and of what ended since, and says so (`StartedOver`). A number that is missing is never passed over
(`SequenceGap`). No I/O but the store's.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp

from trading_gateway.bookmarks import Bookmark, TokenStore
from trading_gateway.call import path
from trading_gateway.errors import GatewayError, SequenceGap
from trading_gateway.streams import is_survivable
from trading_gateway.v1 import trading_pb2 as pb
from trading_gateway.values import NANOS_PER_SECOND, Instant, duration, timestamp

SNAPSHOT_OVERLAP_S: Final = 60
"""A snapshot that stands in for lost events also has the orders that ended up to so long before the last event seen:
another life of the gateway may have another clock."""

SNAPSHOT_REACH_S: Final = 24 * 3600
"""How far back it reaches when nothing says where this reader stood: a token alone, of an earlier run."""

_LOST_TOKEN: Final = frozenset({"EPOCH_CHANGED", "RESUME_TOKEN_COMPACTED"})
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The connection broke; the stream goes on with the event after the last one, nothing is lost.

    Attributes:
        error: How it broke; `error.reason` is "DRAINING" when the gateway went, "SLOW_CONSUMER" when this reader did
            not keep up.
        last_sequence: Of the last event before the break; None: there was no message yet.
    """

    error: GatewayError
    last_sequence: int | None


@dataclass(frozen=True, slots=True)
class StartedOver:
    """The events after the last one cannot be had: a snapshot follows, and sequences begin anew with it.

    It has the orders that are open, and those that ended since `closed_since`. What an order went through in between
    is not told; `list_fills` and `get_order_timeline` know it where the journal still does.

    Attributes:
        reason: "EPOCH_CHANGED": another life of the journal. "RESUME_TOKEN_COMPACTED": the events are no longer kept.
        last_sequence: Of the last event before, in the old count; None: there was none.
        closed_since: Orders that ended from then on are in the snapshot.
        error: What the gateway said.
    """

    reason: str
    last_sequence: int | None
    closed_since: datetime
    error: GatewayError


StreamNotice: TypeAlias = Interrupted | StartedOver
"""What befell a stream; told between two of its messages, in their order."""


def stream_order_updates(
    *,
    strategy_id: str = "",
    all_strategies: bool = False,
    resume_token: str = "",
    tokens: TokenStore | None = None,
    start_time: Instant | None = None,
    live_only: bool = False,
    include_closed_since: Instant | None = None,
    heartbeat_interval_s: float | None = None,
    on_notice: Callable[[StreamNotice], object] | None = None,
) -> OrderUpdates:
    """Follow a book of orders for as long as the updates are taken: in order, none lost, none twice.

    A lost connection is resumed with the newest token. A snapshot_begin that comes later than first replaces what is
    known: the snapshot before it was cut off, or `on_notice` has been told `StartedOver`.

    Args:
        strategy_id: One strategy; empty: the caller's own.
        all_strategies: Every strategy, and orders from outside the gateway.
        resume_token: Continue after this token of an earlier run; empty: a snapshot of the open orders first. To
            keep one, wait for snapshot_end: before it, orders of the snapshot are still to come.
        tokens: Remembers the token across runs: what it has is continued, and a message counts as handled when the next
            one is asked for. One store for one stream.
        start_time: Everything recorded at or after this instant; with `tokens`, when these have nothing yet.
        live_only: Only what happens from now on; with `tokens`, when these have nothing yet.
        include_closed_since: The first snapshot also has the orders that ended since. One that stands in for lost
            events has those that ended since the last message, or, after a `resume_token` alone, since this instant.
        heartbeat_interval_s: 1 to 120; None: 15.
        on_notice: Told what befell the stream, before the message that follows; it is logged as well.

    Raises:
        ValueError: For two beginnings, or a store that holds something else.
        SequenceGap: An event is missing, which the contract excludes.
        GatewayError: Refused for good, or reopened in vain.
    """
    if (
        sum((bool(resume_token), tokens is not None)) > 1
        or sum((bool(resume_token), start_time is not None, live_only)) > 1
    ):
        raise ValueError("resume_token, tokens, start_time and live_only: only one says where to begin")
    request = pb.StreamOrderUpdatesRequest(
        strategy_id=strategy_id,
        all_strategies=all_strategies,
        heartbeat_interval=duration(heartbeat_interval_s),
    )
    if (begin := timestamp("start_time", start_time)) is not None:
        request.start_time.CopyFrom(begin)
    elif live_only:
        request.live_only = True
    bookmark = tokens.load() if tokens else Bookmark(resume_token, -1) if resume_token else None
    closed_since = timestamp("include_closed_since", include_closed_since)
    return OrderUpdates(request, bookmark, closed_since=closed_since, tokens=tokens, on_notice=on_notice)


class OrderUpdates:
    """Follows a book of orders.

    Args:
        request: The subscription, and how it begins without a bookmark.
        bookmark: Where an earlier run stood; a sequence below 0 is unknown.
        closed_since: The first snapshot has the orders that ended since.
        tokens: Remembers what was handled.
        on_notice: Told what befell the stream.
        now_ns: The time, in nanoseconds since the Unix epoch.
    """

    is_finite = False

    path = path("TradingService/StreamOrderUpdates")
    response = pb.StreamOrderUpdatesResponse
    silence_max_s = None

    def __init__(
        self,
        request: pb.StreamOrderUpdatesRequest,
        bookmark: Bookmark | None = None,
        *,
        closed_since: Timestamp | None = None,
        tokens: TokenStore | None = None,
        on_notice: Callable[[StreamNotice], object] | None = None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._request = request
        self._closed_since = closed_since
        self._tokens = tokens
        self._on_notice = on_notice
        self._now_ns = now_ns
        self._token = bookmark.resume_token if bookmark else ""
        self._sequence = bookmark.sequence if bookmark and bookmark.sequence >= 0 else None
        self._time_ns = bookmark.time_ns if bookmark else 0
        self._snapshot_open = False
        self._snapshot_time_ns = 0
        self._is_broken = False
        self._saved_token = self._token

    def request(self) -> pb.StreamOrderUpdatesRequest:
        """The subscription, from the newest token on."""
        request = pb.StreamOrderUpdatesRequest()
        request.CopyFrom(self._request)
        if self._token:
            request.resume_token = self._token
        elif self._closed_since is not None and request.WhichOneof("start") is None:
            request.include_closed_since.CopyFrom(self._closed_since)
        return request

    def opened(self, is_alive: Callable[[], bool]) -> None:
        """What came before a break stays true after it."""

    def closed(self) -> None:
        """Nothing is left of a connection."""

    def items(self, message: pb.StreamOrderUpdatesResponse) -> Iterator[pb.StreamOrderUpdatesResponse]:
        """The message, unless it came before the break already."""
        if self.accept(message):
            yield message

    def accept(self, message: pb.StreamOrderUpdatesResponse) -> bool:
        """False for an event that came before the break already.

        Raises:
            SequenceGap: An event is missing, which the contract excludes.
        """
        payload = message.WhichOneof("payload")
        self._is_broken = False
        if payload == "snapshot_begin":
            self._snapshot_open = True
            self._snapshot_time_ns = message.server_time.ToNanoseconds()
        elif payload == "snapshot_end":
            self._snapshot_open = False
            self._sequence = message.sequence
        if self._snapshot_open:  # its tokens would resume after orders that were not delivered yet
            return True
        if payload == "event" and self._sequence is not None and message.sequence <= self._sequence:
            return False
        self._follow(message.sequence, payload == "event")
        self._token = message.resume_token or self._token
        self._time_ns = max(self._time_ns, self._complete_until_ns(message, payload))
        return True

    def handled(self, message: pb.StreamOrderUpdatesResponse) -> Callable[[], None] | None:
        """What to do, it may block, when the reader has come back for the message after this one."""
        if self._tokens is None or self._snapshot_open or message.resume_token in ("", self._saved_token):
            return None
        tokens, bookmark = self._tokens, Bookmark(message.resume_token, message.sequence, self._time_ns)
        self._saved_token = message.resume_token
        return lambda: tokens.save(bookmark)

    def broken(self, error: GatewayError) -> tuple[()]:
        """Resume after a lost connection; begin with a snapshot when the token's events are gone."""
        self._snapshot_open = False
        if error.reason in _LOST_TOKEN and self._token:
            self._start_over(error)
        elif not is_survivable(error):
            raise error
        else:
            # Our own token is never ahead of what came; the gateway's is for a reader to whom nothing came yet.
            if not self._token and self._request.live_only:
                self._token = error.metadata.get("resume_token", "")
            if not self._is_broken:
                self._tell(Interrupted(error, self._sequence))
            self._is_broken = True
        return ()

    def _start_over(self, error: GatewayError) -> None:
        """Ask for a snapshot that reaches back to what this reader has seen."""
        if self._time_ns:
            since_ns = self._time_ns - SNAPSHOT_OVERLAP_S * NANOS_PER_SECOND
        elif self._closed_since is not None:
            since_ns = self._closed_since.ToNanoseconds()
        else:
            since_ns = self._now_ns() - SNAPSHOT_REACH_S * NANOS_PER_SECOND
        self._closed_since = Timestamp()
        self._closed_since.FromNanoseconds(since_ns)
        self._request.ClearField("start")
        last_sequence, self._sequence, self._token = self._sequence, None, ""
        self._tell(StartedOver(error.reason, last_sequence, self._closed_since.ToDatetime(UTC), error))

    def _tell(self, notice: StreamNotice) -> None:
        _log.log(logging.WARNING if isinstance(notice, StartedOver) else logging.INFO, "%s: %s", self.path, notice)
        if self._on_notice is not None:
            self._on_notice(notice)

    def _complete_until_ns(self, message: pb.StreamOrderUpdatesResponse, payload: str | None) -> int:
        """Everything recorded before was told by now; 0: this message does not say."""
        if payload == "event":
            return message.event.record_time.ToNanoseconds()
        if payload == "heartbeat":
            return message.server_time.ToNanoseconds()
        return self._snapshot_time_ns if payload == "snapshot_end" else 0

    def _follow(self, sequence: int, is_event: bool) -> None:
        """Events count one by one; other messages repeat the last number, which proves that none is missing."""
        if self._sequence is not None and sequence > self._sequence + is_event:
            raise SequenceGap(self._sequence + 1, sequence, self._token)
        self._sequence = max(sequence, self._sequence or 0)
