"""reference.proto: assets and market hours."""

from __future__ import annotations

import datetime
from typing import Final
from zoneinfo import ZoneInfo

from gateway.domain.models.market_data import Page
from gateway.domain.models.reference import Asset, MarketClock, MarketDay
from gateway.domain.types import NANOS_PER_SECOND, AssetClass
from gateway.servicers.wire.common import (
    ASSET_CLASS,
    RequestReader,
    date_to_proto,
    optional_decimal_to_proto,
    timestamp_to_proto,
)
from gateway.services.reference import ASSETS_PAGE_SIZE_DEFAULT, ASSETS_PAGE_SIZE_MAX, AssetFilter
from trading_gateway.v1 import reference_pb2 as pb

STATUSES: Final = frozenset({"", "active", "inactive"})
DAYS_DEFAULT: Final = 30
DAYS_MAX: Final = 366
ATTRIBUTES_MAX: Final = 16
WORD_CHARACTERS_MAX: Final = 64

_NEW_YORK: Final = ZoneInfo("America/New_York")


def asset_request_from_proto(request: pb.GetAssetRequest) -> str:
    """A symbol or an asset id, whose spelling is for the asset table to judge; FieldInvalid when there is none."""
    reader = RequestReader()
    if not request.symbol_or_id:
        reader.refuse("symbol_or_id", "is required")
    reader.finish()
    return request.symbol_or_id


def asset_filter_from_proto(request: pb.ListAssetsRequest) -> tuple[AssetFilter, int, str]:
    """Which assets to list, how many, and the page; FieldInvalid with every bad field."""
    reader = RequestReader()
    asset_class = reader.optional_choice("asset_class", ASSET_CLASS, request.asset_class)
    if asset_class is AssetClass.US_OPTION:
        reader.refuse("asset_class", "option contracts are no part of the list of assets")
    if request.status not in STATUSES:
        reader.refuse("status", "must be active, inactive or empty")
    exchange = reader.text("exchange", request.exchange, characters_max=WORD_CHARACTERS_MAX)
    if len(request.attributes) > ATTRIBUTES_MAX:
        reader.refuse("attributes", f"at most {ATTRIBUTES_MAX}")
    for position, attribute in enumerate(request.attributes[:ATTRIBUTES_MAX]):
        reader.text(f"attributes[{position}]", attribute, characters_max=WORD_CHARACTERS_MAX)
    symbols = reader.symbols("symbols", request.symbols)
    page_size = reader.page_size(
        "page_size", request.page_size, default=ASSETS_PAGE_SIZE_DEFAULT, most=ASSETS_PAGE_SIZE_MAX
    )
    page_token = reader.token("page_token", request.page_token)
    reader.finish()
    wanted = AssetFilter(
        asset_class, request.status or "active", exchange, frozenset(request.attributes), frozenset(symbols)
    )
    return wanted, page_size, page_token


def market_days_from_proto(request: pb.ListMarketDaysRequest, now_ns: int) -> tuple[datetime.date, datetime.date]:
    """The first and the last day; FieldInvalid with every bad field."""
    reader = RequestReader()
    start = _new_york_date(now_ns)
    if request.HasField("start_date"):
        start = reader.date("start_date", request.start_date)
    end = start + datetime.timedelta(days=DAYS_DEFAULT) if start <= _LAST_START else datetime.date.max
    if request.HasField("end_date"):
        end = reader.date("end_date", request.end_date)
        if start > end:
            reader.refuse("start_date", "must not be after end_date")
        elif (end - start).days >= DAYS_MAX:
            reader.refuse("end_date", f"at most {DAYS_MAX} days in all")
    reader.finish()
    return start, end


_LAST_START: Final = datetime.date.max - datetime.timedelta(days=DAYS_DEFAULT)


def _new_york_date(now_ns: int) -> datetime.date:
    return datetime.datetime.fromtimestamp(now_ns // NANOS_PER_SECOND, _NEW_YORK).date()


def asset_to_proto(asset: Asset) -> pb.Asset:
    """Something that can be traded."""
    return pb.Asset(
        asset_id=asset.asset_id,
        symbol=asset.symbol,
        name=asset.name,
        asset_class=ASSET_CLASS[asset.asset_class],
        exchange=asset.exchange,
        status=asset.status,
        tradable=asset.tradable,
        marginable=asset.marginable,
        shortable=asset.shortable,
        easy_to_borrow=asset.easy_to_borrow,
        fractionable=asset.fractionable,
        min_order_size=optional_decimal_to_proto(asset.min_order_size),
        min_trade_increment=optional_decimal_to_proto(asset.min_trade_increment),
        price_increment=optional_decimal_to_proto(asset.price_increment),
        margin_requirement_long=optional_decimal_to_proto(asset.margin_requirement_long),
        margin_requirement_short=optional_decimal_to_proto(asset.margin_requirement_short),
        cusip=asset.cusip,
        attributes=asset.attributes,
    )


def asset_page_to_proto(page: Page[Asset]) -> pb.ListAssetsResponse:
    """One page of assets."""
    return pb.ListAssetsResponse(assets=map(asset_to_proto, page.items), next_page_token=page.next_page_token)


def clock_to_proto(clock: MarketClock) -> pb.MarketClock:
    """Whether the market is open, and when that changes."""
    return pb.MarketClock(
        time=timestamp_to_proto(clock.time_ns),
        is_open=clock.is_open,
        next_open_time=timestamp_to_proto(clock.next_open_time_ns),
        next_close_time=timestamp_to_proto(clock.next_close_time_ns),
    )


def market_day_to_proto(day: MarketDay) -> pb.MarketDay:
    """One trading day and its hours."""
    return pb.MarketDay(
        date=date_to_proto(day.date),
        open_time=timestamp_to_proto(day.open_time_ns),
        close_time=timestamp_to_proto(day.close_time_ns),
        session_open_time=timestamp_to_proto(day.session_open_time_ns),
        session_close_time=timestamp_to_proto(day.session_close_time_ns),
        settlement_date=None if day.settlement_date is None else date_to_proto(day.settlement_date),
    )
