"""What the account says of itself: its numbers and its positions, at the present prices."""

from __future__ import annotations

from typing import Final

from gateway.domain.models.account import Account, Position
from gateway.domain.types import AssetClass, OrderSide, Venue
from gateway.emulator.exchange.account import EXACT, Holding, ratio, reported, times
from gateway.emulator.exchange.admission import held_for_orders
from gateway.emulator.exchange.orders import ZERO
from gateway.emulator.exchange.state import State

ACTIVE: Final = "ACTIVE"


def account_statement(state: State, now_ns: int) -> Account:
    """The account. Source of the formulas: OpenAPI, schema Account."""
    value = state.valuation()
    legacy = state.config.legacy_pdt_fields
    return Account(
        account_id=state.config.account_id,
        account_number=state.config.account_number,
        venue=Venue.EMULATOR,
        status=ACTIVE,
        crypto_status=ACTIVE,
        cash=reported(value.cash),
        equity=reported(value.equity),
        buying_power=reported(value.buying_power),
        read_time_ns=now_ns,
        multiplier=str(value.multiplier),
        last_equity=reported(state.last_equity),
        regt_buying_power=reported(value.buying_power),
        daytrading_buying_power=ZERO if legacy else None,
        options_buying_power=reported(value.excess),
        non_marginable_buying_power=reported(value.excess),
        long_market_value=reported(value.long_market_value),
        short_market_value=reported(value.short_market_value),
        initial_margin=reported(value.initial_margin),
        maintenance_margin=reported(value.maintenance_margin),
        last_maintenance_margin=reported(state.last_maintenance_margin),
        sma=ZERO,
        accrued_fees=ZERO,
        pending_regulatory_fees=ZERO,
        daytrade_count=0 if legacy else None,
        pattern_day_trader=False if legacy else None,
        shorting_enabled=state.config.shorting_enabled and not state.configuration.no_shorting,
        trade_suspended_by_user=state.configuration.suspend_trade,
        options_approved_level=0,
        options_trading_level=0,
        create_time_ns=state.created_ns,
    )


def position_statement(state: State, holding: Holding, now_ns: int) -> Position:
    """One position. Source of the fields: OpenAPI, schema Position; of a short one everything is negative."""
    asset = state.assets[holding.symbol]
    price = state.price(holding.symbol)
    if price is None:
        price = holding.average_price
    lastday = state.book(holding.symbol).lastday_price
    if lastday is None:
        lastday = price
    market_value = times(holding.quantity, price)
    profit = EXACT.subtract(market_value, holding.cost)
    day_profit = EXACT.subtract(market_value, holding.day_cost)
    closing_side = OrderSide.SELL if holding.quantity > 0 else OrderSide.BUY
    held = held_for_orders(state, holding.symbol, closing_side).quantity
    size = max(abs(holding.quantity) - held, ZERO)
    return Position(
        symbol=holding.symbol,
        asset_class=asset.asset_class,
        asset_id=asset.asset_id,
        quantity=holding.quantity,
        available_quantity=size if holding.quantity > 0 else -size,
        average_entry_price=holding.average_price,
        cost_basis=reported(holding.cost),
        read_time_ns=now_ns,
        exchange="" if asset.asset_class is AssetClass.CRYPTO else asset.exchange,
        marginable=asset.marginable,
        current_price=price,
        lastday_price=lastday,
        change_today=ratio(price - lastday, lastday),
        market_value=reported(market_value),
        unrealized_pl=reported(profit),
        unrealized_pl_ratio=ratio(profit, abs(holding.cost)),
        unrealized_intraday_pl=reported(day_profit),
        unrealized_intraday_pl_ratio=ratio(day_profit, abs(holding.day_cost)),
    )
