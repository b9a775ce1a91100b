"""Messages of streams, and their ends, as a scripted gateway sends them."""

from __future__ import annotations

import time
from typing import Any

import grpc

from tests.clients.scripted import Refusal
from trading_gateway.v1 import market_data_pb2 as md, trading_pb2 as pb

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


def batch(sequence: int, *symbols: str, send_time_ns: int | None = None, **status: Any) -> md.StreamQuotesResponse:
    """One batch of a quote stream, sent now unless it says when."""
    message = md.StreamQuotesResponse(batch_sequence=sequence, quotes=[md.Quote(symbol=symbol) for symbol in symbols])
    if status:
        message.status.MergeFrom(md.StreamStatus(**status))
    message.send_time.FromNanoseconds(time.time_ns() if send_time_ns is None else send_time_ns)
    return message
