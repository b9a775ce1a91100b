"""Account routes: `/v2/account` and what stands under it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.domain.types import NANOS_PER_SECOND
from gateway.emulator.bars import DAY_NS, NEW_YORK, date_of, midnight_ns
from gateway.emulator.exchange.refusals import field_invalid
from gateway.emulator.floor import TradingFloor
from gateway.emulator.rest.answers import answer, date_param, int_of, json_body, list_of, text_of, time_of, word_of
from gateway.emulator.wire_account import account_json, activity_json, configuration_json, portfolio_history_json

ACTIVITIES_PAGE: Final = 100
HISTORY_POINTS_MAX: Final = 20_000

_TIMEFRAMES_S: Final = {"1Min": 60, "5Min": 300, "15Min": 900, "1H": 3600, "1D": 86_400}
_PERIOD = re.compile(r"([1-9][0-9]{0,3})([DWMA])", re.ASCII)
_PERIOD_DAYS: Final = {"D": 1, "W": 7, "M": 30, "A": 365}
_SHORT_PERIOD_DAYS: Final = 1
_MEDIUM_PERIOD_DAYS: Final = 30


class AccountRoutes:
    """The account over HTTP.

    Args:
        legacy: Whether configurations still show the switches of the old day-trading rule.
    """

    def __init__(self, floor: TradingFloor, *, legacy: bool) -> None:
        self._floor = floor
        self._legacy = legacy

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            Route("/v2/account", self.get, methods=["GET"]),
            Route("/v2/account/configurations", self.configuration, methods=["GET"]),
            Route("/v2/account/configurations", self.configure, methods=["PATCH"]),
            Route("/v2/account/activities", self.activities, methods=["GET"]),
            Route("/v2/account/activities/{activity_type}", self.activities, methods=["GET"]),
            Route("/v2/account/portfolio/history", self.portfolio_history, methods=["GET"]),
        ]

    async def get(self, request: Request) -> Response:
        """GET /v2/account."""
        return answer(account_json(self._floor.exchange.account(self._floor.now())))

    async def configuration(self, request: Request) -> Response:
        """GET /v2/account/configurations."""
        return answer(configuration_json(self._floor.exchange.configuration(), legacy=self._legacy))

    async def configure(self, request: Request) -> Response:
        """PATCH /v2/account/configurations; what is null stays (alpaca-py sends the whole model)."""
        body, _ = await json_body(request)
        changes = {name: value for name, value in body.items() if value is not None}
        with self._floor.command() as now_ns:
            configuration = self._floor.exchange.configure(now_ns, **changes)
        return answer(configuration_json(configuration, legacy=self._legacy))

    async def activities(self, request: Request) -> Response:
        """GET /v2/account/activities and /v2/account/activities/{type}."""
        one = request.path_params.get("activity_type")
        self._floor.now()
        found = self._floor.exchange.activities(
            types=[one] if one else list_of(request, "activity_types") or None,
            category=text_of(request, "category") or None,
            on_date=date_param(request, "date"),
            after_ns=time_of(request, "after"),
            until_ns=time_of(request, "until"),
            direction=word_of(request, "direction", ("desc", "asc")),
            page_size=int_of(request, "page_size", ACTIVITIES_PAGE, least=1, most=ACTIVITIES_PAGE),
            page_token=text_of(request, "page_token") or None,
        )
        return answer([activity_json(activity) for activity in found])

    async def portfolio_history(self, request: Request) -> Response:
        """GET /v2/account/portfolio/history: by default a month of days."""
        now_ns = self._floor.now()
        end_ns = _end_ns(request, now_ns)
        days = _period_days(text_of(request, "period"))
        start_ns = time_of(request, "start")
        if start_ns is None:
            first = date_of(end_ns, NEW_YORK) - timedelta(days=days - 1)
            start_ns = midnight_ns(first, NEW_YORK)
        timeframe = text_of(request, "timeframe") or _usual_timeframe(days)
        window_s = _TIMEFRAMES_S.get(timeframe, 0)
        if not window_s or (end_ns - start_ns) // NANOS_PER_SECOND > window_s * HISTORY_POINTS_MAX:
            raise field_invalid("timeframe")
        history = self._floor.exchange.portfolio_history(
            now_ns, start_ns=start_ns, end_ns=max(start_ns, end_ns), timeframe_s=window_s
        )
        return answer(portfolio_history_json(history, timeframe))


def _end_ns(request: Request, now_ns: int) -> int:
    end_ns = time_of(request, "end")
    if end_ns is None:
        date_end_ns = time_of(request, "date_end")
        end_ns = None if date_end_ns is None else date_end_ns + DAY_NS
    return now_ns if end_ns is None else min(end_ns, now_ns)


def _period_days(text: str) -> int:
    match = _PERIOD.fullmatch(text or "1M")
    if match is None:
        raise field_invalid("period")
    return int(match[1]) * _PERIOD_DAYS[match[2]]


def _usual_timeframe(days: int) -> str:
    """Alpaca's default: one minute for a day, fifteen for less than a month, a day for more."""
    if days <= _SHORT_PERIOD_DAYS:
        return "1Min"
    return "15Min" if days < _MEDIUM_PERIOD_DAYS else "1D"
