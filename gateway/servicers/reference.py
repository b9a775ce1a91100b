"""ReferenceDataService: questions about assets and market hours."""

# ruff: noqa: ARG002 - gRPC's signature; what a call carries beside its request is in call_context()
from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from gateway.servicers.identity import call_context
from gateway.servicers.wire import reference as wire
from gateway.services.reference import AssetService, MarketCalendarService
from trading_gateway.v1 import reference_pb2 as pb, reference_pb2_grpc


class ReferenceDataServicer(reference_pb2_grpc.ReferenceDataServiceServicer):
    """Reference data over gRPC.

    Args:
        assets: What can be traded.
        calendar: When.
        wall: Nanoseconds since the Unix epoch.
    """

    def __init__(
        self, assets: AssetService, calendar: MarketCalendarService, wall: Callable[[], int] = time.time_ns
    ) -> None:
        self._assets = assets
        self._calendar = calendar
        self._wall = wall

    async def GetAsset(self, request: pb.GetAssetRequest, context: Any) -> pb.GetAssetResponse:
        """One asset."""
        asset = await self._assets.get_by_symbol_or_id(wire.asset_request_from_proto(request), call_context())
        return pb.GetAssetResponse(asset=wire.asset_to_proto(asset))

    async def ListAssets(self, request: pb.ListAssetsRequest, context: Any) -> pb.ListAssetsResponse:
        """One page of assets."""
        wanted, page_size, page_token = wire.asset_filter_from_proto(request)
        return wire.asset_page_to_proto(await self._assets.list_assets(wanted, page_size, page_token, call_context()))

    async def GetMarketClock(self, request: pb.GetMarketClockRequest, context: Any) -> pb.GetMarketClockResponse:
        """Whether the market is open."""
        clock = await self._calendar.get_clock(call_context())
        return pb.GetMarketClockResponse(clock=wire.clock_to_proto(clock))

    async def ListMarketDays(self, request: pb.ListMarketDaysRequest, context: Any) -> pb.ListMarketDaysResponse:
        """Trading days."""
        start, end = wire.market_days_from_proto(request, self._wall())
        days = await self._calendar.list_days(start, end, call_context())
        return pb.ListMarketDaysResponse(days=map(wire.market_day_to_proto, days))
