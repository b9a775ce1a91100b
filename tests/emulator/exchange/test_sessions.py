"""The hours of New York: what begins, waits, expires and is refused when. The clock is the test's."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest

from gateway.emulator.exchange import SessionRule, UnfilledAuction
from gateway.emulator.exchange.holidays import half_days, is_trading_day
from gateway.emulator.exchange.sessions import NyseHours, Phase, make_hours
from gateway.emulator.exchange.store import PAGE_MAX
from tests.emulator.exchange.desk import Desk, instant, refused


def nyse(now: str, **config: object) -> Desk:
    desk = Desk(now, session=SessionRule.NYSE, **config)
    desk.trade("AAPL", 100.0)
    desk.quote("AAPL", 100.00, 100.02)
    return desk


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of pandas, about itself
def test_holidays_agree_with_a_published_calendar() -> None:
    calendars = pytest.importorskip("exchange_calendars")
    calendar = calendars.get_calendar("XNYS", start="2012-01-01")
    open_days = {day.date() for day in calendar.sessions}
    early = {day.date() for day in calendar.early_closes}
    day, last = date(2012, 1, 1), max(open_days)
    while day <= last:
        assert is_trading_day(day) == (day in open_days), day
        assert (day in half_days(day.year)) == (day in early), day
        day += timedelta(days=1)


@pytest.mark.parametrize(
    ("day", "opens"),
    [
        ("2024-01-01", False),
        ("2024-03-29", False),  # Good Friday
        ("2024-06-19", False),
        ("2024-07-04", False),
        ("2021-12-31", True),  # New Year fell on a Saturday and was not moved
        ("2023-01-02", False),  # and on a Sunday, and was
        ("2025-01-09", False),  # mourning
        ("2024-11-29", True),
        ("2024-11-30", False),
    ],
)
def test_days_that_are_known(day: str, opens: bool) -> None:
    assert is_trading_day(date.fromisoformat(day)) == opens


@pytest.mark.parametrize(
    ("moment", "phase"),
    [
        ("2024-01-03 03:59", Phase.CLOSED),
        ("2024-01-03 04:00", Phase.PRE_MARKET),
        ("2024-01-03 09:29", Phase.PRE_MARKET),
        ("2024-01-03 09:30", Phase.REGULAR),
        ("2024-01-03 15:59", Phase.REGULAR),
        ("2024-01-03 16:00", Phase.AFTER_HOURS),
        ("2024-01-03 20:00", Phase.CLOSED),
        ("2024-01-06 12:00", Phase.CLOSED),  # Saturday
        ("2024-07-03 13:00", Phase.AFTER_HOURS),  # a half day
        ("2024-07-03 17:00", Phase.CLOSED),
        ("2024-07-04 12:00", Phase.CLOSED),
    ],
)
def test_phases(moment: str, phase: Phase) -> None:
    assert NyseHours().phase(instant(moment)) is phase


@pytest.mark.parametrize(
    ("moment", "is_open", "next_open", "next_close"),
    [
        ("2024-01-03 10:00", True, "2024-01-04 09:30", "2024-01-03 16:00"),
        ("2024-01-03 08:00", False, "2024-01-03 09:30", "2024-01-03 16:00"),
        ("2024-01-03 16:00", False, "2024-01-04 09:30", "2024-01-04 16:00"),
        ("2024-01-05 18:00", False, "2024-01-08 09:30", "2024-01-08 16:00"),
        ("2024-07-03 12:59", True, "2024-07-05 09:30", "2024-07-03 13:00"),
        ("2024-03-08 18:00", False, "2024-03-11 09:30", "2024-03-11 16:00"),  # the clocks change in between
    ],
)
def test_the_clock(moment: str, is_open: bool, next_open: str, next_close: str) -> None:
    clock = nyse("2024-01-02 10:00").exchange.clock(instant(moment))
    assert clock.is_open == is_open
    assert (clock.next_open_time_ns, clock.next_close_time_ns) == (instant(next_open), instant(next_close))


def test_the_clock_that_never_closes() -> None:
    clock = Desk().exchange.clock(instant("2024-01-06 12:00"))
    assert clock.is_open
    assert clock.next_close_time_ns == instant("2024-01-07 00:00")


def test_the_calendar() -> None:
    days = nyse("2024-07-01 10:00").exchange.calendar(date(2024, 7, 2), date(2024, 7, 5))
    assert [day.date.day for day in days] == [2, 3, 5]
    half = days[1]
    assert half.close_time_ns == instant("2024-07-03 13:00")
    assert (half.session_open_time_ns, half.session_close_time_ns) == (
        instant("2024-07-03 04:00"),
        instant("2024-07-03 17:00"),
    )
    assert half.settlement_date == date(2024, 7, 5)
    assert len(make_hours(SessionRule.ALWAYS).calendar(date(2024, 7, 1), date(2024, 7, 7))) == 7


@pytest.mark.parametrize("moment", ["2024-01-03 16:00", "2024-01-03 21:00", "2024-01-04 08:00"])
def test_a_day_order_given_out_of_hours_waits_accepted_for_the_next_session(moment: str) -> None:
    desk = nyse("2024-01-03 12:00")
    desk.at(moment)
    order = desk.buy("AAPL", 10)
    assert (order.status, desk.events()) == ("accepted", [])
    assert desk.order(order).expires_ns == instant("2024-01-04 16:00")
    desk.quote("AAPL", 100.00, 100.02)
    desk.at("2024-01-04 09:30")
    assert desk.events() == ["new"], "it waits for the first quote of the session"
    desk.quote("AAPL", 101.00, 101.02)
    assert desk.fills() == [("10", "101.02")]


def test_on_friday_evening_it_waits_until_monday_and_a_holiday_is_skipped() -> None:
    desk = nyse("2024-01-12 12:00")
    desk.at("2024-01-12 18:00")
    order = desk.buy("AAPL", 10)
    assert order.expires_ns == instant("2024-01-16 16:00"), "Monday is Martin Luther King's day"
    desk.at("2024-01-16 09:29")
    assert desk.status(order) == "accepted"
    desk.at("2024-01-16 09:30")
    assert desk.status(order) == "new"


def test_a_waiting_order_can_be_canceled_and_not_replaced() -> None:
    desk = nyse("2024-01-03 18:00")
    order = desk.buy("AAPL", 10, limit_price=90)
    with refused(42210000, "unable to replace order, order isn't sent to exchange yet"):
        desk.change(order, limit_price=91)
    desk.cancel(order)
    assert desk.events() == ["canceled"]


@pytest.mark.parametrize(("day", "close"), [("2024-01-03", "16:00"), ("2024-07-03", "13:00")])
def test_day_orders_expire_at_the_close_and_gtc_orders_stay(day: str, close: str) -> None:
    desk = nyse(f"{day} 10:00")
    today, always = desk.buy("AAPL", 10, limit_price=90), desk.buy("AAPL", 10, limit_price=90, tif="gtc")
    hour = int(close[:2])
    desk.at(f"{day} {hour - 1}:59")
    assert desk.status(today) == "new"
    desk.at(f"{day} {close}")
    assert (desk.status(today), desk.status(always)) == ("expired", "new")
    assert desk.order(today).expired_ns == instant(f"{day} {close}")
    desk.quote("AAPL", 80.0, 80.0)
    assert desk.status(always) == "new", "it rests out of hours"
    assert desk.events() == ["new", "new", "expired"]


def test_gtc_orders_expire_after_ninety_days() -> None:
    desk = nyse("2024-01-03 10:00")
    order = desk.buy("AAPL", 10, limit_price=90, tif="gtc")
    assert order.expires_ns == instant("2024-04-02 16:00")
    desk.at("2024-04-02 15:59")
    assert desk.status(order) == "new"
    desk.at("2024-04-02 16:00")
    assert desk.status(order) == "expired"


@pytest.mark.parametrize(
    ("moment", "works"), [("2024-01-03 08:00", True), ("2024-01-03 18:00", True), ("2024-01-03 21:00", False)]
)
@pytest.mark.parametrize("tif", ["day", "gtc"])
def test_extended_hours_are_for_limit_orders_that_say_so(moment: str, works: bool, tif: str) -> None:
    desk = nyse("2024-01-03 01:00")
    desk.at(moment)
    plain = desk.buy("AAPL", 10, limit_price=99, tif=tif)
    extended = desk.buy("AAPL", 10, limit_price=99, tif=tif, extended_hours=True)
    desk.quote("AAPL", 99.0, 99.0)
    assert desk.status(plain) == "accepted"
    assert desk.status(extended) == ("filled" if works else "accepted")


def test_an_extended_day_order_expires_when_the_extended_session_does() -> None:
    desk = nyse("2024-01-03 10:00")
    order = desk.buy("AAPL", 10, limit_price=90, extended_hours=True)
    desk.at("2024-01-03 16:00")
    assert desk.status(order) == "new"
    desk.at("2024-01-03 20:00")
    assert desk.status(order) == "expired"
    late = desk.buy("AAPL", 10, limit_price=90, extended_hours=True)
    assert late.expires_ns == instant("2024-01-04 20:00")
    desk.at("2024-01-04 04:00")
    assert desk.status(late) == "new"


@pytest.mark.parametrize(
    ("tif", "moment", "accepted"),
    [
        ("opg", "2024-01-03 09:27", True),
        ("opg", "2024-01-03 09:28", False),
        ("opg", "2024-01-03 12:00", False),
        ("opg", "2024-01-03 18:59", False),
        ("opg", "2024-01-03 19:00", True),
        ("opg", "2024-01-06 12:00", True),  # Saturday
        ("cls", "2024-01-03 15:49", True),
        ("cls", "2024-01-03 15:50", False),
        ("cls", "2024-01-03 18:59", False),
        ("cls", "2024-01-03 19:00", True),
        ("cls", "2024-07-03 12:49", True),
        ("cls", "2024-07-03 12:50", False),
    ],
)
def test_cut_offs_of_auction_orders(tif: str, moment: str, accepted: bool) -> None:
    desk = nyse(moment)
    if accepted:
        desk.buy("AAPL", 10, tif=tif)
        return
    until = "9:28am" if tif == "opg" else "3:50pm"
    with refused(42210000, f"{tif} orders are only accepted from 7:00pm until {until} (New York)"):
        desk.buy("AAPL", 10, tif=tif)


def test_the_opening_auction_trades_everything_at_the_first_price() -> None:
    desk = nyse("2024-01-03 08:00")
    market, cheap = desk.buy("AAPL", 1500, tif="opg"), desk.buy("AAPL", 10, tif="opg", limit_price=99)
    desk.quote("AAPL", 100.0, 100.2, size=1)
    desk.at("2024-01-03 09:30")
    assert (desk.status(market), desk.status(cheap)) == ("new", "new")
    desk.trade("AAPL", 100.1)
    assert desk.status(cheap) == "canceled"
    done = desk.order(market)
    assert (done.status, done.filled_average_price) == ("filled", Decimal("100.1"))


def test_an_opening_order_without_an_opening_price_ends_with_the_day() -> None:
    desk = nyse("2024-01-03 08:00", unfilled_auction=UnfilledAuction.EXPIRED)
    order = desk.buy("AAPL", 10, tif="opg")
    desk.at("2024-01-03 15:59")
    assert desk.status(order) == "new"
    desk.at("2024-01-03 16:00")
    assert desk.status(order) == "expired"


def test_an_opening_order_of_the_evening_waits_for_the_next_morning() -> None:
    desk = nyse("2024-01-03 19:30")
    order = desk.buy("AAPL", 10, tif="opg")
    desk.at("2024-01-04 09:30")
    desk.quote("AAPL", 102.0, 102.0)
    assert desk.status(order) == "filled"


def test_the_closing_auction_trades_at_the_last_price() -> None:
    desk = nyse("2024-01-03 15:00")
    market = desk.buy("AAPL", 1500, tif="cls")
    cheap = desk.buy("AAPL", 10, tif="cls", limit_price=99)
    desk.quote("AAPL", 101.0, 101.0, size=1)
    assert desk.events() == ["new", "new"], "the closing auction alone fills them"
    desk.trade("AAPL", 101.5)
    desk.at("2024-01-03 16:00")
    assert (desk.status(market), desk.status(cheap)) == ("filled", "canceled")
    assert desk.fills() == [("1500", "101.5")]


@pytest.mark.parametrize("tif", ["ioc", "fok"])
def test_immediate_orders_need_an_open_market(tif: str) -> None:
    desk = nyse("2024-01-03 18:00")
    with refused(42210000, f"{tif} orders are only accepted while the market is open"):
        desk.buy("AAPL", 10, tif=tif)


def test_stops_sleep_out_of_hours() -> None:
    desk = nyse("2024-01-03 10:00")
    desk.hold("AAPL", 10, 100.0)
    stop, trailing = desk.sell("AAPL", 4, stop_price=95, tif="gtc"), desk.sell("AAPL", 6, trail_price=3, tif="gtc")
    desk.trade("AAPL", 100.0)
    desk.at("2024-01-03 18:00")
    desk.trade("AAPL", 120.0)
    desk.trade("AAPL", 90.0)
    assert (desk.status(stop), desk.order(trailing).hwm) == ("new", 100)


def test_crypto_never_sleeps() -> None:
    desk = nyse("2024-01-06 03:00")
    desk.quote("BTC/USD", 60_000.0, 60_000.0)
    order = desk.buy("BTC/USD", "0.1")
    assert desk.status(order) == "filled"
    with refused(42210000, "invalid crypto time_in_force"):
        desk.buy("BTC/USD", "0.1", tif="day")


def test_always_days_end_at_midnight_in_new_york() -> None:
    desk = Desk("2024-01-06 12:00")
    desk.quote("AAPL", 100.0, 100.0)
    order, closing = desk.buy("AAPL", 10, limit_price=90), desk.buy("AAPL", 10, tif="cls")
    opening = desk.buy("AAPL", 10, tif="opg")
    desk.at("2024-01-06 23:59")
    assert (desk.status(order), desk.status(opening)) == ("new", "accepted")
    desk.at("2024-01-07 00:00")
    assert (desk.status(order), desk.status(closing), desk.status(opening)) == ("expired", "filled", "new")
    desk.quote("AAPL", 101.0, 101.0)
    assert desk.status(opening) == "filled"


def test_boundaries_that_were_slept_through_are_passed_in_order_each_at_its_instant() -> None:
    desk = nyse("2024-01-03 10:00")
    order, waiting = desk.buy("AAPL", 10, limit_price=90), desk.buy("AAPL", 10, limit_price=90, tif="cls")
    desk.now_ns = instant("2024-01-09 12:00")
    desk.quote("AAPL", 80.0, 80.0)
    assert [(update.event, update.time_ns) for update in desk.updates()][2:] == [
        ("canceled", instant("2024-01-03 16:00")),
        ("expired", instant("2024-01-03 16:00")),
    ]
    assert {desk.status(order), desk.status(waiting)} == {"expired", "canceled"}


def test_events_of_waiting_are_a_setting() -> None:
    desk = nyse("2024-01-03 18:00", announce_accepted=True, announce_pending_new=True, announce_pending_cancel=True)
    order = desk.buy("AAPL", 10, limit_price=90)
    desk.at("2024-01-04 09:30")
    desk.cancel(order)
    assert desk.events() == ["accepted", "pending_new", "new", "pending_cancel", "canceled"]


def test_hours_may_change_under_waiting_orders() -> None:
    desk = nyse("2024-01-03 18:00")
    order = desk.buy("AAPL", 10)
    desk.exchange.reconfigure(desk.now_ns, type(desk.exchange.config)())
    desk.quote("AAPL", 100.0, 100.0)
    assert desk.status(order) == "filled"
    assert len(desk.exchange.orders(status="all", limit=PAGE_MAX)) == 1
