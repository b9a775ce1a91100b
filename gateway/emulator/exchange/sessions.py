"""The hours of US equities: trading days, phases of a day and the cut-offs of auction orders.

Promises: every question is answered from the instant that is passed in. `NyseHours` keeps the exchange's calendar;
`AlwaysHours` never closes: its days run from midnight to midnight in New York. Crypto keeps no hours and never asks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from gateway.domain.models.reference import MarketClock, MarketDay
from gateway.domain.types import NANOS_PER_SECOND
from gateway.emulator.exchange.config import SessionRule
from gateway.emulator.exchange.holidays import half_days, is_trading_day

NEW_YORK: Final = ZoneInfo("America/New_York")
MINUTE_NS: Final = 60 * NANOS_PER_SECOND
CALENDAR_DAYS_MAX: Final = 36_600
"""How many days one question about the calendar may span."""

_DAY: Final = timedelta(days=1)
_CLOSED_DAYS_MAX: Final = 14  # no exchange is closed for longer
_CACHED_DAYS: Final = 4096
_OPG_BEFORE_OPEN_NS: Final = 2 * MINUTE_NS
_CLS_BEFORE_CLOSE_NS: Final = 10 * MINUTE_NS
_AUCTIONS_AGAIN: Final = time(19)


class Phase(StrEnum):
    """What part of a trading day it is."""

    CLOSED = "closed"
    PRE_MARKET = "pre_market"
    REGULAR = "regular"
    AFTER_HOURS = "after_hours"


def at_new_york(day: date, clock: time) -> int:
    """An instant from New York's date and time, ns."""
    return round(datetime.combine(day, clock, NEW_YORK).timestamp()) * NANOS_PER_SECOND


def new_york_date(now_ns: int) -> date:
    """The date in New York at an instant."""
    return datetime.fromtimestamp(now_ns // NANOS_PER_SECOND, NEW_YORK).date()


class Hours(ABC):
    """When equities trade."""

    never_closes: bool

    @abstractmethod
    def day(self, day: date) -> MarketDay | None:
        """The hours of one date; None when it is not a trading day."""

    def day_on_or_after(self, day: date) -> MarketDay:
        """The first trading day from a date on."""
        for offset in range(_CLOSED_DAYS_MAX):
            found = self.day(day + offset * _DAY)
            if found is not None:
                return found
        raise AssertionError(f"no trading day within {_CLOSED_DAYS_MAX} days of {day}")

    def current(self, now_ns: int) -> MarketDay:
        """The trading day whose extended session is running, or the next one to come."""
        found = self.day_on_or_after(new_york_date(now_ns))
        return found if now_ns < found.session_close_time_ns else self.day_on_or_after(found.date + _DAY)

    def phase(self, now_ns: int) -> Phase:
        """What part of the day it is."""
        day = self.current(now_ns)
        if now_ns < day.session_open_time_ns:
            return Phase.CLOSED
        if now_ns < day.open_time_ns:
            return Phase.PRE_MARKET
        return Phase.REGULAR if now_ns < day.close_time_ns else Phase.AFTER_HOURS

    def day_for_order(self, now_ns: int, *, extended_hours: bool) -> MarketDay:
        """The trading day that a day order given now is for."""
        day = self.current(now_ns)
        ends_ns = day.session_close_time_ns if extended_hours else day.close_time_ns
        return day if now_ns < ends_ns else self.day_on_or_after(day.date + _DAY)

    def next_boundary_ns(self, after_ns: int) -> int:
        """The next instant at which a session opens or closes, extended sessions included."""
        day = self.current(after_ns)
        return min(boundary for boundary in _boundaries(day) if boundary > after_ns)

    def clock(self, now_ns: int) -> MarketClock:
        """Whether the market is open, and when that changes."""
        day = self.day_for_order(now_ns, extended_hours=False)
        is_open = now_ns >= day.open_time_ns
        following = self.day_on_or_after(day.date + _DAY) if is_open else day
        return MarketClock(now_ns, is_open, following.open_time_ns, day.close_time_ns)

    def calendar(self, start: date, end: date) -> list[MarketDay]:
        """Trading days within [start, end], at most CALENDAR_DAYS_MAX dates long."""
        length = min((end - start).days + 1, CALENDAR_DAYS_MAX)
        days = (self.day(start + offset * _DAY) for offset in range(length))
        return [day for day in days if day is not None]

    def auction_order_accepted(self, now_ns: int, *, opening: bool) -> bool:
        """Whether an order for the opening (opg) or closing (cls) auction may be given now.

        Source: Alpaca's TimeInForce: opg is refused from 9:28 to 19:00, cls from 15:50 to 19:00 (on half days from
        ten minutes before the close), New York time on trading days.
        """
        day = None if self.never_closes else self.day(new_york_date(now_ns))
        if day is None:
            return True
        first_ns = day.open_time_ns - _OPG_BEFORE_OPEN_NS if opening else day.close_time_ns - _CLS_BEFORE_CLOSE_NS
        return not first_ns <= now_ns < at_new_york(day.date, _AUCTIONS_AGAIN)

    def auction_day(self, now_ns: int, *, opening: bool) -> MarketDay:
        """The trading day whose auction an order given now is for."""
        day = self.current(now_ns)
        auction_ns = day.open_time_ns if opening else day.close_time_ns
        return day if now_ns < auction_ns else self.day_on_or_after(day.date + _DAY)


class NyseHours(Hours):
    """9:30 to 16:00, extended from 4:00 to 20:00; half days end at 13:00, extended at 17:00."""

    never_closes = False

    def day(self, day: date) -> MarketDay | None:
        """The hours of one date."""
        return _nyse_day(day)


class AlwaysHours(Hours):
    """Every date is a trading day, and all of it is regular hours."""

    never_closes = True

    def day(self, day: date) -> MarketDay | None:
        """Midnight to midnight, New York time."""
        return _whole_day(day)


def make_hours(rule: SessionRule) -> Hours:
    """The hours that a rule names."""
    return NyseHours() if rule is SessionRule.NYSE else AlwaysHours()


@lru_cache(maxsize=_CACHED_DAYS)
def _nyse_day(day: date) -> MarketDay | None:
    if not is_trading_day(day):
        return None
    half = day in half_days(day.year)
    return MarketDay(
        date=day,
        open_time_ns=at_new_york(day, time(9, 30)),
        close_time_ns=at_new_york(day, time(13 if half else 16)),
        session_open_time_ns=at_new_york(day, time(4)),
        session_close_time_ns=at_new_york(day, time(17 if half else 20)),
        settlement_date=_settlement_date(day),
    )


@lru_cache(maxsize=_CACHED_DAYS)
def _whole_day(day: date) -> MarketDay:
    starts_ns, ends_ns = at_new_york(day, time(0)), at_new_york(day + _DAY, time(0))
    return MarketDay(day, starts_ns, ends_ns, starts_ns, ends_ns, day + _DAY)


def _settlement_date(day: date) -> date:
    """One trading day later (T+1)."""
    following = day + _DAY
    while not is_trading_day(following):
        following += _DAY
    return following


def _boundaries(day: MarketDay) -> tuple[int, int, int, int]:
    return day.session_open_time_ns, day.open_time_ns, day.close_time_ns, day.session_close_time_ns
