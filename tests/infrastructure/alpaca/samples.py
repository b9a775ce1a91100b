"""Answers of Alpaca's to start from, spelled as its documents spell them."""

from __future__ import annotations

from typing import Any

ORDER_ID = "61e69015-8549-4bfd-b9c3-01e75843f47d"
ASSET_ID = "b0b6dd9d-8b9b-48a9-ba46-b9d54906e415"
BTC_ID = "276e2673-764b-4ab6-a611-caf665ca6340"


def order(**changes: Any) -> dict[str, Any]:
    return {
        "id": ORDER_ID,
        "client_order_id": "default.k1",
        "created_at": "2026-03-02T14:30:00.123456789Z",
        "updated_at": "2026-03-02T14:30:00.2Z",
        "submitted_at": "2026-03-02T14:30:00.15Z",
        "filled_at": None,
        "expired_at": None,
        "expires_at": "2026-03-02T21:00:00Z",
        "canceled_at": None,
        "failed_at": None,
        "replaced_at": None,
        "replaced_by": None,
        "replaces": None,
        "asset_id": ASSET_ID,
        "symbol": "AAPL",
        "asset_class": "us_equity",
        "notional": None,
        "qty": "15",
        "filled_qty": "0",
        "filled_avg_price": None,
        "order_class": "",
        "order_type": "limit",
        "type": "limit",
        "side": "buy",
        "position_intent": "buy_to_open",
        "time_in_force": "day",
        "limit_price": "107.10",
        "stop_price": None,
        "status": "new",
        "extended_hours": False,
        "legs": None,
        "trail_percent": None,
        "trail_price": None,
        "hwm": None,
        "subtag": None,
        "source": None,
    } | changes


def position(**changes: Any) -> dict[str, Any]:
    return {
        "asset_id": ASSET_ID,
        "symbol": "AAPL",
        "exchange": "NASDAQ",
        "asset_class": "us_equity",
        "asset_marginable": True,
        "avg_entry_price": "100.0",
        "qty": "5",
        "qty_available": "4",
        "side": "long",
        "market_value": "600.0",
        "cost_basis": "500.0",
        "unrealized_pl": "100.0",
        "unrealized_plpc": "0.20",
        "unrealized_intraday_pl": "-10.0",
        "unrealized_intraday_plpc": "-0.0084",
        "current_price": "120.0",
        "lastday_price": "119.0",
        "change_today": "0.0084",
    } | changes


def account(**changes: Any) -> dict[str, Any]:
    return {
        "id": "e6fe16f3-64a4-4921-8928-cadf02f92f98",
        "account_number": "010203ABCD",
        "status": "ACTIVE",
        "crypto_status": "ACTIVE",
        "currency": "USD",
        "buying_power": "262113.632",
        "regt_buying_power": "262113.632",
        "non_marginable_buying_power": "131056.82",
        "options_buying_power": "131056.82",
        "cash": "-23140.2",
        "accrued_fees": "0",
        "equity": "103820.56",
        "last_equity": "103529.24",
        "long_market_value": "126960.76",
        "short_market_value": "0",
        "initial_margin": "63480.38",
        "maintenance_margin": "38088.228",
        "last_maintenance_margin": "37977.6",
        "sma": "0",
        "multiplier": "2",
        "shorting_enabled": True,
        "trading_blocked": False,
        "transfers_blocked": False,
        "account_blocked": False,
        "trade_suspended_by_user": False,
        "created_at": "2019-06-12T22:47:07.99658Z",
        "options_approved_level": 2,
        "options_trading_level": 1,
        "pending_reg_taf_fees": "0.04",
    } | changes


def asset(**changes: Any) -> dict[str, Any]:
    return {
        "id": ASSET_ID,
        "class": "us_equity",
        "exchange": "NASDAQ",
        "symbol": "AAPL",
        "name": "Apple Inc. Common Stock",
        "status": "active",
        "tradable": True,
        "marginable": True,
        "shortable": True,
        "easy_to_borrow": True,
        "fractionable": True,
        "margin_requirement_long": "30",
        "margin_requirement_short": "30",
        "attributes": ["fractional_eh_enabled"],
    } | changes


def crypto_asset(**changes: Any) -> dict[str, Any]:
    return (
        asset(
            id=BTC_ID,
            **{"class": "crypto"},
            exchange="CRYPTO",
            symbol="BTC/USD",
            name="Bitcoin",
            min_order_size="0.0000103",
            min_trade_increment="0.000000001",
            price_increment="0.01",
        )
        | changes
    )


def error(code: int, message: str, **extra: Any) -> dict[str, Any]:
    return {"code": code, "message": message, **extra}
