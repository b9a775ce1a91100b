"""Reference routes: assets, clock and calendar."""

from __future__ import annotations

from datetime import date
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.domain.types import AssetClass
from gateway.emulator.exchange.refusals import field_invalid
from gateway.emulator.floor import TradingFloor
from gateway.emulator.rest.answers import answer, date_param, list_of, text_of
from gateway.emulator.wire_account import asset_json, clock_json, market_day_json

CALENDAR_FIRST: Final = date(1970, 1, 1)
CALENDAR_LAST: Final = date(2029, 12, 31)
"""What Alpaca's calendar covers when no dates are given."""


class ReferenceRoutes:
    """What can be traded, and when."""

    def __init__(self, floor: TradingFloor) -> None:
        self._floor = floor

    def routes(self) -> list[Route]:
        """The routes. A symbol in a path may have its slash."""
        return [
            Route("/v2/clock", self.clock, methods=["GET"]),
            Route("/v2/calendar", self.calendar, methods=["GET"]),
            Route("/v2/assets", self.assets, methods=["GET"]),
            Route("/v2/assets/{symbol:path}", self.asset, methods=["GET"]),
        ]

    async def clock(self, request: Request) -> Response:
        """GET /v2/clock."""
        return answer(clock_json(self._floor.exchange.clock(self._floor.now())))

    async def calendar(self, request: Request) -> Response:
        """GET /v2/calendar, from 1970 to 2029 unless dates are given."""
        start, end = date_param(request, "start") or CALENDAR_FIRST, date_param(request, "end") or CALENDAR_LAST
        return answer([market_day_json(day) for day in self._floor.exchange.calendar(start, end)])

    async def assets(self, request: Request) -> Response:
        """GET /v2/assets."""
        word = text_of(request, "asset_class")
        if word and word not in set(AssetClass):
            raise field_invalid("asset_class")
        assets = self._floor.exchange.assets(
            status=text_of(request, "status") or None,
            asset_class=AssetClass(word) if word else None,
            exchange=text_of(request, "exchange") or None,
            attributes=list_of(request, "attributes"),
        )
        return answer([asset_json(asset) for asset in assets])

    async def asset(self, request: Request) -> Response:
        """GET /v2/assets/{symbol or asset id}."""
        return answer(asset_json(self._floor.exchange.asset(request.path_params["symbol"])))
