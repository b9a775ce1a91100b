"""The account, its positions and its activities: Alpaca → domain.

Source: schemas Account, Position and TradingActivities of Alpaca's trading OpenAPI document.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from gateway.domain.models.account import Account, Activity, Position
from gateway.domain.types import OrderSide, TwoWay, Venue
from gateway.infrastructure.alpaca.converters.fields import (
    JsonObject,
    Unreadable,
    as_object,
    decimal,
    decimal_or_none,
    flag,
    flag_or_none,
    text,
    text_or_empty,
    time_ns,
    time_ns_or_none,
    whole_or_none,
)
from gateway.infrastructure.alpaca.converters.orders import asset_class_from_alpaca

POSITION_SIDE: Final = TwoWay({OrderSide.BUY: "long", OrderSide.SELL: "short"})
"""The side that opened the position ↔ Alpaca's word for it."""

ACTIVITY_SIDE: Final = {"buy": OrderSide.BUY, "sell": OrderSide.SELL, "sell_short": OrderSide.SELL}
"""Alpaca's three words for two sides: one way only."""


def account_from_alpaca(raw: object, venue: Venue, read_time_ns: int) -> Account:
    """The account. What the venue does not give (the day-trade counters, since 2026-07-06) is None."""
    account = as_object(raw, "account")

    def money(name: str) -> Decimal | None:
        return decimal_or_none(account, name, signed=True)

    return Account(
        account_id=text(account, "id"),
        account_number=text_or_empty(account, "account_number"),
        venue=venue,
        status=text(account, "status"),
        cash=decimal(account, "cash", signed=True),
        equity=decimal(account, "equity", signed=True),
        buying_power=decimal(account, "buying_power", signed=True),
        read_time_ns=read_time_ns,
        crypto_status=text_or_empty(account, "crypto_status"),
        currency_code=text_or_empty(account, "currency") or "USD",
        multiplier=_multiplier(account),
        last_equity=money("last_equity"),
        regt_buying_power=money("regt_buying_power"),
        daytrading_buying_power=money("daytrading_buying_power"),
        options_buying_power=money("options_buying_power"),
        non_marginable_buying_power=money("non_marginable_buying_power"),
        long_market_value=money("long_market_value"),
        short_market_value=money("short_market_value"),
        initial_margin=money("initial_margin"),
        maintenance_margin=money("maintenance_margin"),
        last_maintenance_margin=money("last_maintenance_margin"),
        sma=money("sma"),
        accrued_fees=money("accrued_fees"),
        pending_regulatory_fees=money("pending_reg_taf_fees"),
        daytrade_count=whole_or_none(account, "daytrade_count"),
        pattern_day_trader=flag_or_none(account, "pattern_day_trader"),
        shorting_enabled=flag(account, "shorting_enabled"),
        trading_blocked=_blocked(account, "trading_blocked"),
        transfers_blocked=_blocked(account, "transfers_blocked"),
        account_blocked=_blocked(account, "account_blocked"),
        trade_suspended_by_user=_blocked(account, "trade_suspended_by_user"),
        options_approved_level=whole_or_none(account, "options_approved_level"),
        options_trading_level=whole_or_none(account, "options_trading_level"),
        create_time_ns=time_ns_or_none(account, "created_at"),
    )


def position_from_alpaca(raw: object, symbol: str, read_time_ns: int) -> Position:
    """One position under the gateway's spelling of its symbol, which its asset id tells.

    Raises:
        Unreadable: A number cannot be read, or quantity and side contradict each other.
    """
    position = as_object(raw, "position")

    def money(name: str) -> Decimal | None:
        return decimal_or_none(position, name, signed=True)

    is_short = POSITION_SIDE.find(text_or_empty(position, "side")) is OrderSide.SELL
    quantity = _signed(decimal(position, "qty", signed=True), is_short=is_short)
    available = money("qty_available")
    return Position(
        symbol=symbol,
        asset_class=asset_class_from_alpaca(position.get("asset_class")),
        asset_id=text(position, "asset_id"),
        quantity=quantity,
        available_quantity=quantity if available is None else _signed(available, is_short=is_short),
        average_entry_price=decimal(position, "avg_entry_price"),
        cost_basis=decimal(position, "cost_basis", signed=True),
        read_time_ns=read_time_ns,
        exchange=text_or_empty(position, "exchange"),
        marginable=flag(position, "asset_marginable"),
        current_price=decimal_or_none(position, "current_price"),
        lastday_price=decimal_or_none(position, "lastday_price"),
        change_today=money("change_today"),
        market_value=money("market_value"),
        unrealized_pl=money("unrealized_pl"),
        unrealized_pl_ratio=money("unrealized_plpc"),
        unrealized_intraday_pl=money("unrealized_intraday_pl"),
        unrealized_intraday_pl_ratio=money("unrealized_intraday_plpc"),
    )


def activity_from_alpaca(raw: object) -> Activity:
    """One activity: a fill has `transaction_time`, others have a `date` and are not asked for."""
    activity = as_object(raw, "activity")
    return Activity(
        activity_id=text(activity, "id"),
        activity_type=text(activity, "activity_type"),
        time_ns=time_ns(activity, "transaction_time"),
        symbol=text_or_empty(activity, "symbol"),
        side=ACTIVITY_SIDE.get(text_or_empty(activity, "side")),
        quantity=decimal_or_none(activity, "qty"),
        price=decimal_or_none(activity, "price"),
        net_amount=decimal_or_none(activity, "net_amount", signed=True),
        cumulative_quantity=decimal_or_none(activity, "cum_qty"),
        leaves_quantity=decimal_or_none(activity, "leaves_qty"),
        venue_order_id=text_or_empty(activity, "order_id"),
    )


def _blocked(account: JsonObject, name: str) -> bool:
    # A lock that cannot be read counts as locked: it must not open by a spelling mistake.
    value = account.get(name)
    return value is not None and value is not False


def _multiplier(account: JsonObject) -> str:
    value = decimal_or_none(account, "multiplier")
    return "" if value is None else format(value, "f")


def _signed(quantity: Decimal, *, is_short: bool) -> Decimal:
    if quantity < 0 and not is_short:
        raise Unreadable("a long position of a negative quantity")
    return -abs(quantity) if is_short else quantity
