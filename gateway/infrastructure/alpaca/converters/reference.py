"""Reference data: assets, the market's clock and its days, Alpaca → domain.

Source: schemas Assets, legacy_clock and legacy_calendar_day of Alpaca's trading OpenAPI document.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from gateway.domain.models.reference import Asset, MarketClock, MarketDay
from gateway.domain.option_symbols import parse_option_symbol
from gateway.domain.types import NANOS_PER_SECOND, AssetClass, is_symbol
from gateway.infrastructure.alpaca.converters.fields import (
    JsonObject,
    Unreadable,
    as_list,
    as_object,
    decimal_or_none,
    flag,
    next_page_token_of,
    parse_date,
    text,
    text_or_empty,
    texts,
    time_ns,
)
from gateway.infrastructure.alpaca.converters.orders import asset_class_from_alpaca

NEW_YORK: Final = ZoneInfo("America/New_York")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=ZoneInfo("UTC"))
_SESSION_OPEN: Final = time(4, 0)
_SESSION_CLOSE: Final = time(20, 0)
_HHMM_LENGTH: Final = 4


def asset_from_alpaca(raw: object) -> Asset:
    """One asset.

    Raises:
        Unreadable: It has no id or symbol, or a number is none.
    """
    asset = as_object(raw, "asset")
    return Asset(
        asset_id=text(asset, "id"),
        symbol=text(asset, "symbol"),
        asset_class=asset_class_from_alpaca(asset.get("class")),
        name=text_or_empty(asset, "name"),
        exchange=text_or_empty(asset, "exchange"),
        status=text(asset, "status"),
        tradable=flag(asset, "tradable"),
        marginable=flag(asset, "marginable"),
        shortable=flag(asset, "shortable"),
        easy_to_borrow=flag(asset, "easy_to_borrow"),
        fractionable=flag(asset, "fractionable"),
        min_order_size=decimal_or_none(asset, "min_order_size"),
        min_trade_increment=decimal_or_none(asset, "min_trade_increment"),
        price_increment=decimal_or_none(asset, "price_increment"),
        margin_requirement_long=decimal_or_none(asset, "margin_requirement_long"),
        margin_requirement_short=decimal_or_none(asset, "margin_requirement_short"),
        cusip=text_or_empty(asset, "cusip"),
        attributes=texts(asset.get("attributes")),
    )


def assets_from_alpaca(raw: object) -> tuple[list[Asset], int]:
    """The assets by symbol, and how many were left out: unreadable ones, and spellings that no request can name.

    One broken row among twelve thousand must not take the whole table away; an order for it is refused anyway.
    """
    assets = []
    left_out = 0
    for item in as_list(raw, "assets"):
        try:
            asset = asset_from_alpaca(item)
        except Unreadable:
            left_out += 1
            continue
        if is_symbol(asset.symbol):
            assets.append(asset)
        else:
            left_out += 1
    assets.sort(key=lambda asset: asset.symbol)
    return assets, left_out


def option_contracts_from_alpaca(raw: object) -> tuple[list[Asset], str]:
    """The contracts of a page whose symbols are spelled as the OCC's, and the token of the next page."""
    page = as_object(raw, "page")
    contracts = []
    for item in as_list(page.get("option_contracts") or [], "option_contracts"):
        contract = as_object(item, "contract")
        symbol = text(contract, "symbol")
        if parse_option_symbol(symbol) is not None:
            contracts.append(
                Asset(
                    asset_id=text(contract, "id"),
                    symbol=symbol,
                    asset_class=AssetClass.US_OPTION,
                    name=text_or_empty(contract, "name"),
                    status=text(contract, "status"),
                    tradable=flag(contract, "tradable"),
                )
            )
    return contracts, next_page_token_of(page)


def clock_from_alpaca(raw: object) -> MarketClock:
    """The market's clock."""
    clock = as_object(raw, "clock")
    if type(clock.get("is_open")) is not bool:
        raise Unreadable("is_open is no truth value")
    return MarketClock(
        time_ns=time_ns(clock, "timestamp"),
        is_open=clock["is_open"],
        next_open_time_ns=time_ns(clock, "next_open"),
        next_close_time_ns=time_ns(clock, "next_close"),
    )


def market_day_from_alpaca(raw: object) -> MarketDay:
    """One trading day; its hours are New York's. Without session hours they are 04:00 to 20:00."""
    day = as_object(raw, "day")
    when = parse_date(day.get("date"))
    if when is None:
        raise Unreadable("date is no date")
    return MarketDay(
        date=when,
        open_time_ns=_instant(when, _hour(day, "open")),
        close_time_ns=_instant(when, _hour(day, "close")),
        session_open_time_ns=_instant(when, _hour(day, "session_open", _SESSION_OPEN)),
        session_close_time_ns=_instant(when, _hour(day, "session_close", _SESSION_CLOSE)),
        settlement_date=parse_date(day.get("settlement_date")),
    )


def _hour(day: JsonObject, name: str, default: time | None = None) -> time:
    """`09:30`, or `0930`, as Alpaca spells one and the other in the same object."""
    value = day.get(name)
    if value is None and default is not None:
        return default
    digits = value.replace(":", "") if type(value) is str else ""
    if len(digits) == _HHMM_LENGTH and digits.isascii() and digits.isdecimal():
        hour, minute = int(digits[:2]), int(digits[2:])
        if hour < 24 and minute < 60:
            return time(hour, minute)
    raise Unreadable(f"{name} is no time of day")


def _instant(day: date, hour: time) -> int:
    local = datetime.combine(day, hour, tzinfo=NEW_YORK)
    return (local - _EPOCH) // timedelta(seconds=1) * NANOS_PER_SECOND
