"""What became of orders: ListFills and GetOrderTimeline of trading.proto."""

from __future__ import annotations

from functools import partial
from typing import Final

from gateway.application.fill_log import FILLS_PAGE_SIZE_MAX
from gateway.application.order_timeline import EntryKind, OrderTimeline, TimelineEntry
from gateway.domain.models.market_data import Page
from gateway.domain.models.orders import Fill, FillFilter
from gateway.domain.types import NANOS_PER_SECOND, Caller, TwoWay, format_decimal
from gateway.servicers.slices import in_slices
from gateway.servicers.wire.common import (
    RequestReader,
    optional_decimal_to_proto,
    timestamp_to_proto,
)
from gateway.servicers.wire.orders import ORDER_SIDE, check_to_proto, order_to_proto
from trading_gateway.v1 import trading_pb2 as pb

FILLS_PAGE_SIZE_DEFAULT: Final = 100

ENTRY_KIND: Final = TwoWay(
    {kind: pb.OrderTimeline.Entry.Kind.Value(f"KIND_{kind.name}") for kind in EntryKind},
)
"""Kinds have one name on both sides; importing this module fails where one is missing."""


def fill_filter_from_proto(request: pb.ListFillsRequest, caller: Caller) -> tuple[FillFilter, int, str]:
    """Which fills to list, how many, and the page; FieldInvalid with every bad field."""
    reader = RequestReader()
    strategy_id = reader.strategy_or_all(
        "strategy_id", request.strategy_id, caller.strategy_id, all_strategies=request.all_strategies
    )
    symbols = reader.symbols("symbols", request.symbols)
    start_ns = reader.timestamp("start_time", request.start_time) if request.HasField("start_time") else None
    end_ns = reader.timestamp("end_time", request.end_time) if request.HasField("end_time") else None
    if start_ns is not None and end_ns is not None and start_ns > end_ns:
        reader.refuse("start_time", "must not be after end_time")
    page_size = reader.page_size(
        "page_size", request.page_size, default=FILLS_PAGE_SIZE_DEFAULT, most=FILLS_PAGE_SIZE_MAX
    )
    page_token = reader.token("page_token", request.page_token)
    reader.finish()
    return FillFilter(strategy_id, frozenset(symbols), start_ns, end_ns, request.oldest_first), page_size, page_token


async def fill_page_to_proto(page: Page[Fill], *, shows_account: bool) -> pb.ListFillsResponse:
    """One page of fills."""
    fills = await in_slices(page.items, partial(fill_to_proto, shows_account=shows_account))
    return pb.ListFillsResponse(fills=fills, next_page_token=page.next_page_token)


def fill_to_proto(fill: Fill, *, shows_account: bool) -> pb.Fill:
    """One execution; the position that it left is the account's, others' orders included."""
    position = fill.account_position_quantity if shows_account else None
    return pb.Fill(
        fill_id=fill.fill_id,
        order_id=fill.order_id,
        client_order_id=fill.client_order_id,
        strategy_id=fill.strategy_id,
        venue_order_id=fill.venue_order_id,
        symbol=fill.symbol,
        side=ORDER_SIDE[fill.side] if fill.side else pb.ORDER_SIDE_UNSPECIFIED,
        quantity=format_decimal(fill.quantity),
        price=format_decimal(fill.price),
        cumulative_quantity=format_decimal(fill.cumulative_quantity),
        leaves_quantity=optional_decimal_to_proto(fill.leaves_quantity),
        trade_time=timestamp_to_proto(fill.trade_time_ns),
        account_position_quantity=optional_decimal_to_proto(position),
        synthesized=fill.synthesized,
    )


async def timeline_to_proto(timeline: OrderTimeline) -> pb.GetOrderTimelineResponse:
    """The story of one order."""
    entries = await in_slices(timeline.entries, _entry_to_proto)
    return pb.GetOrderTimelineResponse(timeline=pb.OrderTimeline(order=order_to_proto(timeline.order), entries=entries))


def _entry_to_proto(entry: TimelineEntry) -> pb.OrderTimeline.Entry:
    message = pb.OrderTimeline.Entry(
        sequence=entry.sequence,
        time=timestamp_to_proto(entry.time_ns),
        kind=ENTRY_KIND[entry.kind],
        detail=entry.detail,
        venue_request_id=entry.venue_request_id,
        checks=map(check_to_proto, entry.checks),
    )
    if entry.since_previous_ns is not None:
        seconds, nanos = divmod(entry.since_previous_ns, NANOS_PER_SECOND)
        message.since_previous.seconds, message.since_previous.nanos = seconds, nanos
        message.since_previous.SetInParent()
    return message
