"""Bars of any legal timeframe, made from minute or daily bars.

Promises: a bar starts where Alpaca's do: minutes and hours count from the day's first minute, a day is the
exchange's date in New York for equities and the UTC date for crypto, weeks start on Monday, months on the first.
Leaves the making of minute and daily bars to the markets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from gateway.domain.models.market_data import Bar, Timeframe, TimeframeUnit
from gateway.domain.types import NANOS_PER_SECOND

NEW_YORK: Final = ZoneInfo("America/New_York")
MINUTE_NS: Final = 60 * NANOS_PER_SECOND
DAY_NS: Final = 86_400 * NANOS_PER_SECOND
VWAP_DECIMALS: Final = 6
SIZE_DECIMALS: Final = 9
"""Sums of sizes are rounded to what Alpaca's quantities carry: sums of doubles leave dust behind."""

_TIMEFRAME = re.compile(r"([0-9]{0,2})(Min|T|Hour|H|Day|D|Week|W|Month|M)", re.ASCII)
_SHORT_UNITS: Final = {"T": "Min", "H": "Hour", "D": "Day", "W": "Week", "M": "Month"}


def parse_timeframe(text: str) -> Timeframe | None:
    """Read `1Min`, `5T`, `1Hour`, `1D`, ...; None when there are no such bars.

    Source: parameter `timeframe` of GET /v2/stocks/bars in Alpaca's OpenAPI document.
    """
    match = _TIMEFRAME.fullmatch(text)
    if match is None:
        return None
    unit = TimeframeUnit(_SHORT_UNITS.get(match[2], match[2]))
    timeframe = Timeframe(int(match[1] or 1), unit)
    return timeframe if timeframe.is_legal else None


def zone_of(symbol: str) -> tzinfo:
    """The clock that a symbol's days follow."""
    return UTC if "/" in symbol else NEW_YORK


def date_of(time_ns: int, zone: tzinfo) -> date:
    """The date of an instant on that clock."""
    return datetime.fromtimestamp(time_ns // NANOS_PER_SECOND, zone).date()


def midnight_ns(day: date, zone: tzinfo) -> int:
    """When a date begins on that clock, nanoseconds."""
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) * NANOS_PER_SECOND


def period_start_ns(time_ns: int, timeframe: Timeframe, zone: tzinfo) -> int:
    """The start of the bar that an instant belongs to."""
    day = date_of(time_ns, zone)
    match timeframe.unit:
        case TimeframeUnit.MINUTE | TimeframeUnit.HOUR:
            minutes = timeframe.amount * (60 if timeframe.unit is TimeframeUnit.HOUR else 1)
            origin = midnight_ns(day, zone)
            return origin + (time_ns - origin) // (minutes * MINUTE_NS) * (minutes * MINUTE_NS)
        case TimeframeUnit.DAY:
            return midnight_ns(day, zone)
        case TimeframeUnit.WEEK:
            return midnight_ns(day - timedelta(days=day.weekday()), zone)
        case TimeframeUnit.MONTH:
            first = (day.month - 1) // timeframe.amount * timeframe.amount + 1
            return midnight_ns(day.replace(month=first, day=1), zone)


def is_daily(timeframe: Timeframe) -> bool:
    """Whether the bars are made from daily bars."""
    return timeframe.unit in (TimeframeUnit.DAY, TimeframeUnit.WEEK, TimeframeUnit.MONTH)


def aggregate(bars: Iterable[Bar], timeframe: Timeframe) -> Iterator[Bar]:
    """Fold bars of one symbol, in order of time, into longer ones."""
    group: list[Bar] = []
    group_start_ns = 0
    for bar in bars:
        start_ns = period_start_ns(bar.start_time_ns, timeframe, zone_of(bar.symbol))
        if group and start_ns != group_start_ns:
            yield _merged(group, group_start_ns)
            group = []
        group_start_ns = start_ns
        group.append(bar)
    if group:
        yield _merged(group, group_start_ns)


def _merged(group: list[Bar], start_ns: int) -> Bar:
    volume = round(sum(bar.volume for bar in group), SIZE_DECIMALS)
    vwap: float | None = None
    if volume and all(bar.vwap is not None for bar in group):
        vwap = round(sum((bar.vwap or 0.0) * bar.volume for bar in group) / volume, VWAP_DECIMALS)
    return replace(
        group[0],
        start_time_ns=start_ns,
        high=max(bar.high for bar in group),
        low=min(bar.low for bar in group),
        close=group[-1].close,
        volume=volume,
        trade_count=sum(bar.trade_count for bar in group),
        vwap=vwap,
    )
