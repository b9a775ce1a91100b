"""What an execution leaves in the account's books beside the position: its activity, and the fee.

Leaves the position and the money of the execution itself to `account`, and when there is one to `engine`.
"""

from __future__ import annotations

from decimal import Decimal

from gateway.domain.models.account import Activity
from gateway.domain.types import AssetClass, OrderSide
from gateway.emulator.exchange.account import fee_of, times
from gateway.emulator.exchange.activities import CRYPTO_FEE, FILL, activity_id
from gateway.emulator.exchange.orders import ZERO, ExchangeOrder
from gateway.emulator.exchange.state import State


def book_fill(
    state: State, order: ExchangeOrder, execution_id: str, quantity: Decimal, price: Decimal, leaves: Decimal
) -> None:
    """Put an execution among the account's activities; `leaves`: what is still to fill."""
    now_ns = state.now_ns
    state.activities.add(
        Activity(
            activity_id=activity_id(now_ns, execution_id),
            activity_type=FILL,
            time_ns=now_ns,
            symbol=order.symbol,
            side=order.side,
            quantity=quantity,
            price=price,
            cumulative_quantity=order.filled_quantity,
            leaves_quantity=leaves,
            venue_order_id=order.id,
        )
    )


def charge_fee(state: State, order: ExchangeOrder, quantity: Decimal, price: Decimal) -> None:
    """Crypto's fee: coins of a buy, dollars of a sell."""
    bps = state.config.crypto_fee_bps
    if order.asset_class is not AssetClass.CRYPTO or not bps:
        return
    holdings = state.holdings
    coins, dollars = ZERO, ZERO
    if order.side is OrderSide.BUY:
        coins = holdings.pay_fee_in_kind(order.symbol, fee_of(quantity, bps))
    else:
        dollars = fee_of(times(quantity, price), bps)
        holdings.pay_fee(dollars)
    if not coins and not dollars:
        return
    now_ns = state.now_ns
    state.activities.add(
        Activity(
            activity_id=activity_id(now_ns, state.new_id("fee")),
            activity_type=CRYPTO_FEE,
            time_ns=now_ns,
            symbol=order.symbol,
            quantity=-coins,
            price=price,
            net_amount=-dollars,
            venue_order_id=order.id,
        )
    )
