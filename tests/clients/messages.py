"""Messages of an order stream, and its ends, as a scripted gateway sends them."""

from __future__ import annotations

from typing import Any

import grpc

from tests.clients.scripted import Refusal
from trading_gateway.v1 import trading_pb2 as pb

LOST = Refusal(grpc.StatusCode.UNAVAILABLE)
EPOCH_CHANGED = Refusal(grpc.StatusCode.FAILED_PRECONDITION, "EPOCH_CHANGED")
BEGIN, END = "begin", "end"


def update(
    sequence: int, what: str = "event", recorded_ns: int = 0, sent_ns: int = 0, **order: Any
) -> pb.StreamOrderUpdatesResponse:
    """One message of an order stream; its token names its sequence."""
    message = pb.StreamOrderUpdatesResponse(sequence=sequence, resume_token=f"t-{sequence}")
    message.server_time.FromNanoseconds(sent_ns)
    if what == BEGIN:
        message.snapshot_begin.count = 1
    elif what == END:
        message.snapshot_end.count = 1
    elif what == "snapshot_order":
        message.snapshot_order.CopyFrom(pb.Order(**order))
    elif what == "heartbeat":
        message.heartbeat.upstream_connected = True
    elif what == "feed":
        message.feed_status.feed = "orders"
    else:
        message.event.kind = pb.OrderEvent.KIND_WORKING
        message.event.record_time.FromNanoseconds(recorded_ns)
        message.event.order.CopyFrom(pb.Order(**order))
    return message
