"""market_data.proto: pages and long streams of past values, message to noun and back.

A page of ten thousand is written a slice at a time: nobody else's quotes wait for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.domain.models.market_data import (
    Adjustment,
    Bar,
    BarsRequest,
    HistoryRequest,
    Page,
    Quote,
    Timeframe,
    TimeframeUnit,
    Trade,
)
from gateway.domain.types import Channel, TwoWay
from gateway.servicers.slices import in_slices
from gateway.servicers.wire.common import RequestReader
from gateway.servicers.wire.market_data import ListMessage, read_selection
from gateway.servicers.wire.market_values import bar_to_proto, quote_to_proto, trade_to_proto
from trading_gateway.v1 import common_pb2, market_data_pb2 as pb

ADJUSTMENT: Final = TwoWay(
    {
        Adjustment.RAW: pb.ADJUSTMENT_RAW,
        Adjustment.SPLIT: pb.ADJUSTMENT_SPLIT,
        Adjustment.DIVIDEND: pb.ADJUSTMENT_DIVIDEND,
        Adjustment.SPIN_OFF: pb.ADJUSTMENT_SPIN_OFF,
        Adjustment.ALL: pb.ADJUSTMENT_ALL,
    }
)
TIMEFRAME_UNIT: Final = TwoWay(
    {
        TimeframeUnit.MINUTE: common_pb2.Timeframe.UNIT_MINUTE,
        TimeframeUnit.HOUR: common_pb2.Timeframe.UNIT_HOUR,
        TimeframeUnit.DAY: common_pb2.Timeframe.UNIT_DAY,
        TimeframeUnit.WEEK: common_pb2.Timeframe.UNIT_WEEK,
        TimeframeUnit.MONTH: common_pb2.Timeframe.UNIT_MONTH,
    }
)

PAGE_SIZE_DEFAULT: Final = 1_000
PAGE_SIZE_MAX: Final = 10_000


def bars_request_from_proto(request: pb.ListBarsRequest) -> BarsRequest:
    """Which past bars.

    Raises:
        FieldInvalid: With every violation of form; ranges are the service's to check.
    """
    reader = RequestReader()
    wanted = BarsRequest(
        read_selection(reader, request),
        _timeframe(reader, request.timeframe),
        *_range(reader, request),
        adjustments=_adjustments(reader, request.adjustments),
        as_of_date=reader.date("as_of_date", request.as_of_date) if request.HasField("as_of_date") else None,
        newest_first=request.newest_first,
        page_size=reader.page_size("page_size", request.page_size, default=PAGE_SIZE_DEFAULT, most=PAGE_SIZE_MAX),
        page_token=reader.token("page_token", request.page_token),
    )
    reader.finish()
    return wanted


def history_request_from_proto(
    request: pb.ListQuotesRequest | pb.ListTradesRequest, channel: Channel
) -> HistoryRequest:
    """Which past quotes or trades; raises as `bars_request_from_proto`."""
    reader = RequestReader()
    wanted = HistoryRequest(
        channel,
        read_selection(reader, request),
        *_range(reader, request),
        as_of_date=reader.date("as_of_date", request.as_of_date) if request.HasField("as_of_date") else None,
        newest_first=request.newest_first,
        page_size=reader.page_size("page_size", request.page_size, default=PAGE_SIZE_DEFAULT, most=PAGE_SIZE_MAX),
        page_token=reader.token("page_token", request.page_token),
    )
    reader.finish()
    return wanted


def long_request_from_proto(request: pb.StreamHistoricalBarsRequest) -> BarsRequest:
    """Which past bars of a long range, whose beginning is not left to a default; raises as the others."""
    reader = RequestReader()
    if not request.HasField("start_time"):
        reader.refuse("start_time", "is required")
    wanted = BarsRequest(
        read_selection(reader, request),
        _timeframe(reader, request.timeframe),
        *_range(reader, request),
        adjustments=_adjustments(reader, request.adjustments),
        as_of_date=reader.date("as_of_date", request.as_of_date) if request.HasField("as_of_date") else None,
        newest_first=request.newest_first,
    )
    reader.finish()
    return wanted


async def bars_page_to_proto(page: Page[Bar]) -> pb.ListBarsResponse:
    """One page of bars."""
    return pb.ListBarsResponse(bars=await in_slices(page.items, bar_to_proto), next_page_token=page.next_page_token)


async def quotes_page_to_proto(page: Page[Quote]) -> pb.ListQuotesResponse:
    """One page of quotes."""
    return pb.ListQuotesResponse(
        quotes=await in_slices(page.items, quote_to_proto), next_page_token=page.next_page_token
    )


async def trades_page_to_proto(page: Page[Trade]) -> pb.ListTradesResponse:
    """One page of trades."""
    return pb.ListTradesResponse(
        trades=await in_slices(page.items, trade_to_proto), next_page_token=page.next_page_token
    )


async def bars_batch_to_proto(bars: Sequence[Bar], number: int) -> pb.StreamHistoricalBarsResponse:
    """One batch of a long stream."""
    return pb.StreamHistoricalBarsResponse(bars=await in_slices(bars, bar_to_proto), batch_sequence=number)


def _range(reader: RequestReader, request: ListMessage) -> tuple[int | None, int | None]:
    return (
        reader.timestamp("start_time", request.start_time) if request.HasField("start_time") else None,
        reader.timestamp("end_time", request.end_time) if request.HasField("end_time") else None,
    )


def _timeframe(reader: RequestReader, message: common_pb2.Timeframe) -> Timeframe:
    return Timeframe(message.amount, reader.choice("timeframe.unit", TIMEFRAME_UNIT, message.unit))


def _adjustments(reader: RequestReader, numbers: Sequence[pb.Adjustment.ValueType]) -> tuple[Adjustment, ...]:
    """UNSPECIFIED is RAW. RAW and ALL stand alone."""
    read = [
        reader.optional_choice(f"adjustments[{position}]", ADJUSTMENT, number) or Adjustment.RAW
        for position, number in enumerate(numbers)
    ]
    if len(set(read)) != len(read):
        reader.refuse("adjustments", "names one twice")
    elif len(read) > 1 and not {Adjustment.RAW, Adjustment.ALL}.isdisjoint(read):
        reader.refuse("adjustments", "RAW and ALL do not combine")
    return tuple(read)
