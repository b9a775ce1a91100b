"""The emulator's own dictionary of the account: positions, account, activities, assets, hours ↔ Alpaca's JSON.

Spellings that Alpaca mixes are made here: crypto is `BTC/USD` in orders and assets and `BTCUSD` in positions and
activities. Times of the clock are New York's, with their offset; everything else is UTC.

Source: schemas Account, Position, TradingActivities, Assets, Clock, Calendar of Alpaca's trading OpenAPI document.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from typing import Final

from gateway.domain.models.account import Account, Activity, Position
from gateway.domain.models.reference import Asset, MarketClock, MarketDay
from gateway.domain.types import NANOS_PER_SECOND, AssetClass, format_decimal
from gateway.emulator.bars import NEW_YORK
from gateway.emulator.exchange import AccountConfiguration, PortfolioHistory, position_symbol
from gateway.emulator.wire import JsonObject, format_time
from gateway.emulator.wire_trading import decimal_text

_LEGACY_CONFIGURATION: Final = ("dtbp_check", "pdt_check")
_FILL: Final = "FILL"
_ZERO: Final = Decimal(0)


def account_json(account: Account) -> JsonObject:
    """The account. Fields that Alpaca removed on 2026-07-06 appear when the exchange still has them."""
    amounts: Mapping[str, Decimal | None] = {
        "cash": account.cash,
        "equity": account.equity,
        "portfolio_value": account.equity,
        "last_equity": account.last_equity,
        "buying_power": account.buying_power,
        "regt_buying_power": account.regt_buying_power,
        "non_marginable_buying_power": account.non_marginable_buying_power,
        "options_buying_power": account.options_buying_power,
        "long_market_value": account.long_market_value,
        "short_market_value": account.short_market_value,
        "initial_margin": account.initial_margin,
        "maintenance_margin": account.maintenance_margin,
        "last_maintenance_margin": account.last_maintenance_margin,
        "sma": account.sma,
        "accrued_fees": account.accrued_fees,
        "pending_reg_taf_fees": account.pending_regulatory_fees,
        "intraday_adjustments": _ZERO,
    }
    body: JsonObject = {
        "id": account.account_id,
        "account_number": account.account_number,
        "status": account.status,
        "crypto_status": account.crypto_status or account.status,
        "currency": account.currency_code,
        **{name: format_decimal(amount or _ZERO) for name, amount in amounts.items()},
        "multiplier": account.multiplier,
        "shorting_enabled": account.shorting_enabled,
        "trading_blocked": account.trading_blocked,
        "transfers_blocked": account.transfers_blocked,
        "account_blocked": account.account_blocked,
        "trade_suspended_by_user": account.trade_suspended_by_user,
        "options_approved_level": account.options_approved_level or 0,
        "options_trading_level": account.options_trading_level or 0,
        "balance_asof": format_time(account.read_time_ns)[:10],
        "created_at": format_time(account.create_time_ns or account.read_time_ns),
    }
    if account.pattern_day_trader is not None:
        body["pattern_day_trader"] = account.pattern_day_trader
        body["daytrade_count"] = account.daytrade_count or 0
        body["daytrading_buying_power"] = format_decimal(account.daytrading_buying_power or _ZERO)
    return body


def configuration_json(configuration: AccountConfiguration, *, legacy: bool) -> JsonObject:
    """The customer's switches; the two of the old day-trading rule only on request."""
    body = asdict(configuration)
    if not legacy:
        for name in _LEGACY_CONFIGURATION:
            del body[name]
    return body


def position_json(position: Position) -> JsonObject:
    """A position; a short one has a negative quantity, as Alpaca's account of it."""
    amounts: Mapping[str, Decimal | None] = {
        "avg_entry_price": position.average_entry_price,
        "qty": position.quantity,
        "qty_available": position.available_quantity,
        "market_value": position.market_value,
        "cost_basis": position.cost_basis,
        "unrealized_pl": position.unrealized_pl,
        "unrealized_plpc": position.unrealized_pl_ratio,
        "unrealized_intraday_pl": position.unrealized_intraday_pl,
        "unrealized_intraday_plpc": position.unrealized_intraday_pl_ratio,
        "current_price": position.current_price,
        "lastday_price": position.lastday_price,
        "change_today": position.change_today,
    }
    return {
        "asset_id": position.asset_id,
        "symbol": position_symbol(position.symbol),
        "exchange": position.exchange,
        "asset_class": position.asset_class.value,
        "asset_marginable": position.marginable,
        "side": "short" if position.quantity < 0 else "long",
        **{name: format_decimal(amount or _ZERO) for name, amount in amounts.items()},
    }


def activity_json(activity: Activity) -> JsonObject:
    """A fill, or something else that moved money."""
    if activity.activity_type != _FILL:
        return {
            "id": activity.activity_id,
            "activity_type": activity.activity_type,
            "date": format_time(activity.time_ns)[:10],
            "created_at": format_time(activity.time_ns),
            "net_amount": format_decimal(activity.net_amount or _ZERO),
            "symbol": position_symbol(activity.symbol),
            "qty": format_decimal(activity.quantity or _ZERO),
            "price": format_decimal(activity.price or _ZERO),
            "status": "executed",
        }
    done = not activity.leaves_quantity
    return {
        "id": activity.activity_id,
        "activity_type": _FILL,
        "transaction_time": format_time(activity.time_ns),
        "type": "fill" if done else "partial_fill",
        "price": decimal_text(activity.price),
        "qty": decimal_text(activity.quantity),
        "side": "" if activity.side is None else activity.side.value,
        "symbol": position_symbol(activity.symbol),
        "leaves_qty": format_decimal(activity.leaves_quantity or _ZERO),
        "cum_qty": format_decimal(activity.cumulative_quantity or _ZERO),
        "order_id": activity.venue_order_id,
        "order_status": "filled" if done else "partially_filled",
    }


def asset_json(asset: Asset) -> JsonObject:
    """An asset; steps and sizes are given for crypto alone."""
    requirement = asset.margin_requirement_long or _ZERO
    body: JsonObject = {
        "id": asset.asset_id,
        "class": asset.asset_class.value,
        "exchange": asset.exchange,
        "symbol": asset.symbol,
        "name": asset.name or asset.symbol,
        "status": asset.status,
        "tradable": asset.tradable,
        "marginable": asset.marginable,
        "shortable": asset.shortable,
        "easy_to_borrow": asset.easy_to_borrow,
        "fractionable": asset.fractionable,
        "maintenance_margin_requirement": int(requirement),
        "margin_requirement_long": format_decimal(requirement),
        "margin_requirement_short": format_decimal(asset.margin_requirement_short or _ZERO),
        "attributes": list(asset.attributes),
    }
    if asset.asset_class is AssetClass.CRYPTO:
        body["min_order_size"] = decimal_text(asset.min_order_size)
        body["min_trade_increment"] = decimal_text(asset.min_trade_increment)
        body["price_increment"] = decimal_text(asset.price_increment)
    else:
        body["borrow_status"] = "easy_to_borrow" if asset.easy_to_borrow else "hard_to_borrow"
    return body


def portfolio_history_json(history: PortfolioHistory, timeframe: str) -> JsonObject:
    """The equity over time; JSON numbers here, as Alpaca has them."""
    return {
        "timestamp": list(history.timestamps_s),
        "equity": [float(value) for value in history.equity],
        "profit_loss": [float(value) for value in history.profit_loss],
        "profit_loss_pct": [float(value or _ZERO) for value in history.profit_loss_ratio],
        "base_value": float(history.base_value),
        "timeframe": timeframe,
        "cashflow": {},
    }


def clock_json(clock: MarketClock) -> JsonObject:
    """The hours by New York's clock."""
    return {
        "timestamp": _new_york(clock.time_ns),
        "is_open": clock.is_open,
        "next_open": _new_york(clock.next_open_time_ns),
        "next_close": _new_york(clock.next_close_time_ns),
    }


def market_day_json(day: MarketDay) -> JsonObject:
    """One trading day; midnight at its end is 24:00 of the day itself."""
    return {
        "date": day.date.isoformat(),
        "open": _clock_text(day, day.open_time_ns),
        "close": _clock_text(day, day.close_time_ns),
        "session_open": _clock_text(day, day.session_open_time_ns).replace(":", ""),
        "session_close": _clock_text(day, day.session_close_time_ns).replace(":", ""),
        "settlement_date": (day.settlement_date or day.date).isoformat(),
    }


def _new_york(time_ns: int) -> str:
    seconds, nanos = divmod(time_ns, NANOS_PER_SECOND)
    instant = datetime.fromtimestamp(seconds, NEW_YORK).isoformat()
    if not nanos:
        return instant
    return f"{instant[:19]}.{nanos:09d}".rstrip("0") + instant[19:]


def _clock_text(day: MarketDay, time_ns: int) -> str:
    instant = datetime.fromtimestamp(time_ns // NANOS_PER_SECOND, NEW_YORK)
    return instant.strftime("%H:%M") if instant.date() == day.date else "23:59"
