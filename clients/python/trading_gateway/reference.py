"""ReferenceDataService: one function per rpc."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import TYPE_CHECKING

from trading_gateway.call import Call, Pages, read
from trading_gateway.v1 import common_pb2, reference_pb2 as pb
from trading_gateway.values import calendar_date, number, symbol_list

if TYPE_CHECKING:
    from trading_gateway.market_data import AssetClass


def get_asset(symbol_or_id: str) -> Call[pb.Asset]:
    """One asset, by its symbol or the venue's id."""
    request = pb.GetAssetRequest(symbol_or_id=symbol_or_id)
    return read("ReferenceDataService/GetAsset", request, pb.GetAssetResponse, lambda response: response.asset)


def list_assets(
    *,
    asset_class: AssetClass = common_pb2.ASSET_CLASS_UNSPECIFIED,
    status: str = "",
    exchange: str = "",
    attributes: Iterable[str] = (),
    symbols: str | Iterable[str] = (),
    page_size: int = 0,
) -> Pages[pb.Asset]:
    """Assets by symbol, page after page as they are taken; filters combine.

    Args:
        asset_class: "us_equity" or "crypto"; UNSPECIFIED: all.
        status: "active" or "inactive"; empty: active.
        exchange: As "NASDAQ"; empty: all.
        attributes: Only assets with all of these.
        symbols: Only these.
        page_size: Assets fetched at once; 0: 1000, at most 10000.
    """
    request = pb.ListAssetsRequest(
        asset_class=number(common_pb2.AssetClass, asset_class),
        status=status,
        exchange=exchange,
        attributes=attributes,
        symbols=symbol_list(symbols),
        page_size=page_size,
    )
    return Pages("ReferenceDataService/ListAssets", request, pb.ListAssetsResponse, lambda page: page.assets)


def get_market_clock() -> Call[pb.MarketClock]:
    """Whether the US equity market is open, and when that changes."""
    return read(
        "ReferenceDataService/GetMarketClock",
        pb.GetMarketClockRequest(),
        pb.GetMarketClockResponse,
        lambda response: response.clock,
    )


def list_market_days(*, start_date: date | None = None, end_date: date | None = None) -> Call[list[pb.MarketDay]]:
    """The trading days of US equities with their hours, oldest first.

    Args:
        start_date: The first day, New York; None: today.
        end_date: The last day; None: 30 days on; at most 366 days in all.
    """
    request = pb.ListMarketDaysRequest(start_date=calendar_date(start_date), end_date=calendar_date(end_date))
    return read(
        "ReferenceDataService/ListMarketDays",
        request,
        pb.ListMarketDaysResponse,
        lambda response: list(response.days),
    )
