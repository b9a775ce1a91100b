"""When the New York Stock Exchange is closed, or closes at one o'clock.

Promises: full and half holidays by rule for 2012 and later, with the one-off closings that are known. Source: the
exchange's published holiday rules (Rule 7.2); a test compares them with the `exchange_calendars` package.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import lru_cache
from typing import Final

MONDAY: Final = 0
THURSDAY: Final = 3
SATURDAY: Final = 5
SUNDAY: Final = 6

_JUNETEENTH_SINCE: Final = 2022
_ONE_OFF: Final = frozenset(
    {
        date(2012, 10, 29),  # hurricane Sandy
        date(2012, 10, 30),
        date(2018, 12, 5),  # mourning for George H. W. Bush
        date(2025, 1, 9),  # mourning for Jimmy Carter
    }
)
_CACHED_YEARS: Final = 128


def is_trading_day(day: date) -> bool:
    """Whether the exchange opens at all."""
    return day.weekday() < SATURDAY and day not in closed_days(day.year)


@lru_cache(maxsize=_CACHED_YEARS)
def closed_days(year: int) -> frozenset[date]:
    """The weekdays of a year on which the exchange stays closed."""
    days = {
        _nth(year, 1, MONDAY, 3),  # Martin Luther King Jr. Day
        _nth(year, 2, MONDAY, 3),  # Washington's Birthday
        easter(year) - timedelta(days=2),  # Good Friday
        _last_monday_of_may(year),  # Memorial Day
        _observed(date(year, 7, 4)),
        _nth(year, 9, MONDAY, 1),  # Labor Day
        _nth(year, 11, THURSDAY, 4),  # Thanksgiving
        _observed(date(year, 12, 25)),
    }
    new_year = date(year, 1, 1)
    if new_year.weekday() != SATURDAY:  # it is not moved back into the old year
        days.add(_observed(new_year))
    if year >= _JUNETEENTH_SINCE:
        days.add(_observed(date(year, 6, 19)))
    return frozenset(days | {day for day in _ONE_OFF if day.year == year})


@lru_cache(maxsize=_CACHED_YEARS)
def half_days(year: int) -> frozenset[date]:
    """The days of a year on which the exchange closes at 13:00."""
    days = {
        date(year, 7, 3),  # before Independence Day
        _nth(year, 11, THURSDAY, 4) + timedelta(days=1),  # after Thanksgiving
        date(year, 12, 24),  # Christmas Eve
    }
    if date(year, 7, 4).weekday() == MONDAY:
        days.discard(date(year, 7, 3))
    return frozenset(day for day in days if is_trading_day(day))


def easter(year: int) -> date:
    """Easter Sunday of the Gregorian calendar (Meeus, Jones and Butcher)."""
    century, rest = divmod(year, 100)
    leap = (century - (century + 8) // 25 + 1) // 3
    epact = (19 * (year % 19) + century - century // 4 - leap + 15) % 30
    weekday = (32 + 2 * (century % 4) + 2 * (rest // 4) - epact - rest % 4) % 7
    correction = (year % 19 + 11 * epact + 22 * weekday) // 451
    month, day = divmod(epact + weekday - 7 * correction + 114, 31)
    return date(year, month, day + 1)


def _nth(year: int, month: int, weekday: int, count: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (count - 1))


def _last_monday_of_may(year: int) -> date:
    last = date(year, 5, 31)
    return last - timedelta(days=(last.weekday() - MONDAY) % 7)


def _observed(day: date) -> date:
    if day.weekday() == SATURDAY:
        return day - timedelta(days=1)
    return day + timedelta(days=1) if day.weekday() == SUNDAY else day
