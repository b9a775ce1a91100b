"""The stream of trading.proto: what to follow, and each step of it."""

from __future__ import annotations

from typing import Any, Final

from gateway.application.order_updates import (
    Heartbeat,
    SnapshotBegin,
    SnapshotEnd,
    SnapshotOrder,
    StartAfter,
    StartLive,
    StartSince,
    StartSnapshot,
    Step,
    StreamStart,
)
from gateway.application.resume_tokens import Book
from gateway.domain.models.market_data import FeedStatus, Gap
from gateway.domain.models.orders import OrderEvent, OrderEventKind
from gateway.domain.types import Caller, TwoWay
from gateway.servicers.wire.common import (
    RequestReader,
    duration_to_proto,
    feed_status_to_proto,
    gap_to_proto,
    timestamp_fields,
    timestamp_to_proto,
)
from gateway.servicers.wire.order_history import fill_to_proto
from gateway.servicers.wire.orders import order_to_proto
from trading_gateway.v1 import common_pb2, trading_pb2 as pb

HEARTBEAT_DEFAULT_MS: Final = 15_000
HEARTBEAT_MIN_MS: Final = 1_000
HEARTBEAT_MAX_MS: Final = 120_000
ENCODED_BYTES_MAX: Final = 16 * 1024 * 1024
"""Events kept as they are written, some 500 bytes each: those that readers are at, all of whom get the same."""

EVENT_KIND: Final = TwoWay(
    {kind: pb.OrderEvent.Kind.Value(f"KIND_{kind.name}") for kind in OrderEventKind},
)
"""Kinds have one name on both sides; importing this module fails where one is missing."""


def follow_from_proto(request: pb.StreamOrderUpdatesRequest, caller: Caller) -> tuple[Book, StreamStart, int]:
    """Which book to follow, from where, and the heartbeat in milliseconds; FieldInvalid with every bad field."""
    reader = RequestReader()
    strategy_id = reader.strategy_or_all(
        "strategy_id", request.strategy_id, caller.strategy_id, all_strategies=request.all_strategies
    )
    start: StreamStart = StartSnapshot()
    match request.WhichOneof("start"):
        case "resume_token":
            start = StartAfter(reader.token("resume_token", request.resume_token))
            if not request.resume_token:
                reader.refuse("resume_token", "must not be empty; leave it out to begin with a snapshot")
        case "start_time":
            start = StartSince(reader.timestamp("start_time", request.start_time))
        case "live_only":
            start = StartLive()
            if not request.live_only:
                reader.refuse("live_only", "must be true; leave it out to begin with a snapshot")
    if request.HasField("include_closed_since"):
        if not isinstance(start, StartSnapshot):
            reader.refuse(
                "include_closed_since", "goes with a snapshot: leave out resume_token, start_time and live_only"
            )
        start = StartSnapshot(reader.timestamp("include_closed_since", request.include_closed_since))
    heartbeat_ms = HEARTBEAT_DEFAULT_MS
    if request.HasField("heartbeat_interval"):
        heartbeat_ms = reader.duration_ms(
            "heartbeat_interval", request.heartbeat_interval, least_ms=HEARTBEAT_MIN_MS, most_ms=HEARTBEAT_MAX_MS
        )
    reader.finish()
    return Book(strategy_id), start, heartbeat_ms


def step_to_proto(step: Step, now_ns: int) -> pb.StreamOrderUpdatesResponse:
    """One step of the book that is no event, sent now."""
    message = pb.StreamOrderUpdatesResponse(
        sequence=step.sequence, resume_token=step.resume_token, server_time=timestamp_to_proto(now_ns)
    )
    match step.payload:
        case SnapshotBegin(count):
            message.snapshot_begin.count = count
            message.snapshot_begin.SetInParent()
        case SnapshotOrder(order):
            message.snapshot_order.CopyFrom(order_to_proto(order))
        case SnapshotEnd(count):
            message.snapshot_end.count = count
            message.snapshot_end.SetInParent()
        case Heartbeat() as heartbeat:
            message.heartbeat.CopyFrom(_heartbeat_to_proto(heartbeat))
        case FeedStatus() as status:
            message.feed_status.CopyFrom(feed_status_to_proto(status))
        case Gap() as gap:
            message.gap.CopyFrom(gap_to_proto(gap))
    return message


class StepWriter:
    """Writes steps; an event is encoded once however many readers it has, as long as they are not far apart.

    Args:
        bytes_max: Of encoded events; the first encoded go.
    """

    def __init__(self, bytes_max: int = ENCODED_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._encoded: dict[tuple[int, bool], bytes] = {}

    def write(self, step: Step, now_ns: int, *, shows_account: bool) -> pb.StreamOrderUpdatesResponse:
        """One step of a book, sent now; to a reader who may see what the account holds, or may not."""
        if not isinstance(step.payload, OrderEvent):
            return step_to_proto(step, now_ns)
        message = pb.StreamOrderUpdatesResponse(
            sequence=step.sequence, resume_token=step.resume_token, server_time=timestamp_fields(now_ns)
        )
        message.MergeFromString(self._body(step.payload, shows_account=shows_account))
        return message

    def _body(self, event: OrderEvent, *, shows_account: bool) -> bytes:
        """An event as the field of a response, under its sequence in the journal: in every book the same."""
        place = event.event.sequence, shows_account or event.event.fill is None
        body = self._encoded.get(place)
        if body is None:
            fields = _event_fields(event, shows_account=shows_account)
            body = pb.StreamOrderUpdatesResponse(event=fields).SerializeToString()
            self._encoded[place] = body
            self._bytes += len(body)
            while self._bytes > self._bytes_max:
                self._bytes -= len(self._encoded.pop(next(iter(self._encoded))))
        return body


def _event_fields(event: OrderEvent, *, shows_account: bool) -> Any:
    """Something that happened to an order, and the order after it."""
    row = event.event
    return {
        "kind": EVENT_KIND[row.kind],
        "order": order_to_proto(event.order),
        "fill": None if row.fill is None else fill_to_proto(row.fill, shows_account=shows_account),
        "event_time": timestamp_fields(row.event_time_ns),
        "record_time": timestamp_fields(row.record_time_ns),
        "venue_event": row.venue_event,
        "venue_event_id": row.venue_event_id,
        "backfill": row.backfill,
    }


def _heartbeat_to_proto(heartbeat: Heartbeat) -> common_pb2.Heartbeat:
    age_ms = heartbeat.upstream_age_ms
    return common_pb2.Heartbeat(
        upstream_connected=heartbeat.upstream_connected,
        upstream_age=None if age_ms is None else duration_to_proto(age_ms),
    )
