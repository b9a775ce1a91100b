"""Whether the account may place an order now: hours, shares, coins, money, and no trade with itself.

Promises: a refusal changes nothing and carries Alpaca's numbers. Leaves the order's own shape to `validation`.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import Final

from gateway.domain.models.orders import OrderSpec
from gateway.domain.models.reference import Asset
from gateway.domain.types import AssetClass, OrderClass, OrderSide, OrderType, TimeInForce
from gateway.emulator.exchange import refusals
from gateway.emulator.exchange.account import EXACT, times
from gateway.emulator.exchange.families import is_armed, stands_behind
from gateway.emulator.exchange.matching import QUANTITY_STEP, collared, crosses
from gateway.emulator.exchange.orders import ZERO, ExchangeOrder, OrderStatus
from gateway.emulator.exchange.sessions import Phase
from gateway.emulator.exchange.state import State
from gateway.emulator.exchange.validation import is_whole

LEG_DISTANCE_USD: Final = Decimal("0.01")
"""How far a bracket's legs must be from its base price. Source: Alpaca's order documentation."""

_BPS: Final = Decimal(10_000)
_ONE: Final = Decimal(1)
_CENT: Final = Decimal("0.01")
_PRICED: Final = (OrderType.LIMIT, OrderType.STOP_LIMIT)


@dataclass(frozen=True, slots=True)
class Admitted:
    """What the account checks found out.

    Attributes:
        position_intent: buy_to_open, buy_to_close, sell_to_open or sell_to_close.
        reserve_rate: Margin to bind per share, or per dollar of a notional order.
    """

    position_intent: str
    reserve_rate: Decimal


@dataclass(frozen=True, slots=True)
class Held:
    """Shares that open orders would trade, and those orders."""

    quantity: Decimal
    order_ids: tuple[str, ...]


def check_suspended(state: State) -> None:
    """Refuse every order while the customer has suspended trading."""
    if state.configuration.suspend_trade:
        raise refusals.not_allowed("new orders are rejected by user request")


def check_switches(state: State, spec: OrderSpec, asset: Asset) -> None:
    """Refuse fractions of shares where the customer has switched them off."""
    if asset.asset_class is AssetClass.CRYPTO or state.configuration.fractional_trading:
        return
    if spec.quantity is None or not is_whole(spec.quantity):
        raise refusals.not_allowed("account is not allowed to trade fractional shares")


def check_hours(state: State, spec: OrderSpec, asset: Asset) -> None:
    """Refuse what the hours of equities do not allow now."""
    if asset.asset_class is AssetClass.CRYPTO:
        return
    time_in_force = spec.time_in_force
    if time_in_force in (TimeInForce.OPG, TimeInForce.CLS):
        opening = time_in_force is TimeInForce.OPG
        if not state.hours.auction_order_accepted(state.now_ns, opening=opening):
            until = "9:28am" if opening else "3:50pm"
            raise refusals.unprocessable(
                f"{time_in_force} orders are only accepted from 7:00pm until {until} (New York)"
            )
    elif time_in_force in (TimeInForce.IOC, TimeInForce.FOK) and state.phase is not Phase.REGULAR:
        raise refusals.unprocessable(f"{time_in_force} orders are only accepted while the market is open")


def check_account(
    state: State, spec: OrderSpec, asset: Asset, position_intent: str = "", replaced: ExchangeOrder | None = None
) -> Admitted:
    """Refuse what the account cannot do.

    Args:
        state: The exchange.
        spec: What to trade.
        asset: The asset of its symbol.
        position_intent: What the customer says it is, or empty.
        replaced: The open order that this one takes the place of: its shares and money count as free.

    Raises:
        Refusal: 40310000 with Alpaca's members, or 42210000.
    """
    position = state.holdings.quantity(asset.symbol)
    closes = position > 0 if spec.side is OrderSide.SELL else position < 0
    intent = f"{spec.side}_to_{'close' if closes else 'open'}"
    if position_intent and position_intent != intent:
        raise refusals.unprocessable(f"position intent mismatch, inferred: {intent}, specified: {position_intent}")
    check_entry_or_exit(state, spec, closes)
    check_wash(state, spec, asset, replaced)
    if asset.asset_class is AssetClass.CRYPTO:
        check_coin_cost(state, spec, asset)
    if closes:
        check_available(state, spec, asset, replaced)
        return Admitted(intent, ZERO)
    if spec.side is OrderSide.SELL:
        check_short(state, spec, asset)
    return Admitted(intent, check_buying_power(state, spec, asset, replaced))


def check_entry_or_exit(state: State, spec: OrderSpec, closes: bool) -> None:
    """Brackets and OTO open a position, OCO closes one; a bracket's legs keep their distance."""
    if spec.order_class is OrderClass.OCO:
        if not closes:
            raise refusals.unprocessable("oco orders must be exit orders")
        return
    if spec.order_class is OrderClass.SIMPLE:
        return
    if closes:
        raise refusals.bracket_not_entry()
    base = spec.limit_price or spec.stop_price or state.book(spec.symbol).reference(spec.side)
    if base is None:
        return
    direction = _ONE if spec.side is OrderSide.BUY else -_ONE
    above, below = (">= base_price + 0.01", "<= base_price - 0.01")
    if spec.side is OrderSide.SELL:
        above, below = below, above
    if spec.take_profit is not None and direction * (spec.take_profit.limit_price - base) < LEG_DISTANCE_USD:
        raise refusals.unprocessable(f"take_profit.limit_price must be {above}", base_price=str(base))
    if spec.stop_loss is not None and direction * (base - spec.stop_loss.stop_price) < LEG_DISTANCE_USD:
        raise refusals.unprocessable(f"stop_loss.stop_price must be {below}", base_price=str(base))


def check_wash(state: State, spec: OrderSpec, asset: Asset, replaced: ExchangeOrder | None) -> None:
    """Refuse an order that an own open order on the other side could meet.

    Two limits that do not cross are fine; a market order or a stop on either side is not. Orders of one family never
    count, nor do legs that are held: complex orders are the way out. Source: Alpaca's user-protection table.
    """
    if not state.config.wash_trade_check:
        return
    family = family_of(replaced) if replaced is not None else None
    limit = spec_limit(spec)
    for other in state.store.open_of(asset.symbol, spec.side.opposite):
        if other.status is OrderStatus.HELD or (family is not None and family_of(other) == family):
            continue
        other_limit = other.limit_price if other.order_type is OrderType.LIMIT else None
        if limit is None or other_limit is None or crosses(spec.side, limit, other_limit):
            raise refusals.wash_trade(other.id, other.order_type.value)


def spec_limit(spec: OrderSpec) -> Decimal | None:
    """The price of a limit order; None for what may trade at any price once it is set off."""
    return spec.limit_price if spec.order_type is OrderType.LIMIT else None


def family_of(order: ExchangeOrder) -> str:
    """What the orders of one family have in common."""
    return order.parent_id or order.id


def held_for_orders(state: State, symbol: str, side: OrderSide, without: ExchangeOrder | None = None) -> Held:
    """What open orders of a side would trade; of a pair of exits, one stands in for both."""
    total, order_ids = ZERO, list[str]()
    excluded = family_of(without) if without is not None else None
    for order in state.store.open_of(symbol, side):
        if family_of(order) == excluded or not is_armed(state, order) or stands_behind(state, order):
            continue
        leaves = order.leaves_quantity
        if leaves is None:
            assert order.notional is not None
            leaves = estimated_quantity(state, symbol, side, order.notional - order.filled_value)
        total += leaves
        order_ids.append(order.id)
    return Held(total, tuple(order_ids))


def estimated_quantity(state: State, symbol: str, side: OrderSide, notional: Decimal) -> Decimal:
    """What an amount of money is in shares at the present price; 0 while none is known."""
    price = state.book(symbol).reference(side)
    return (notional / price).quantize(QUANTITY_STEP, ROUND_DOWN) if price else ZERO


def check_available(state: State, spec: OrderSpec, asset: Asset, replaced: ExchangeOrder | None) -> None:
    """Refuse to close more than is free of the position."""
    existing = abs(state.holdings.quantity(asset.symbol))
    held = held_for_orders(state, asset.symbol, spec.side, replaced)
    available = max(existing - held.quantity, ZERO)
    requested = spec.quantity
    if requested is None:
        assert spec.notional is not None
        requested = estimated_quantity(state, asset.symbol, spec.side, spec.notional)
    if requested <= available:
        return
    if asset.asset_class is AssetClass.CRYPTO:
        raise refusals.balance_short(asset.symbol.partition("/")[0], requested, available)
    raise refusals.quantity_short(asset.symbol, requested, available, existing, held.quantity, held.order_ids)


def check_short(state: State, spec: OrderSpec, asset: Asset) -> None:
    """Refuse a short sale of coins, of fractions, of what cannot be borrowed, or where shorting is off."""
    if asset.asset_class is AssetClass.CRYPTO:
        requested = spec.quantity
        if requested is None:
            assert spec.notional is not None
            requested = estimated_quantity(state, asset.symbol, spec.side, spec.notional)
        raise refusals.balance_short(asset.symbol.partition("/")[0], requested, ZERO)
    if spec.quantity is None or not is_whole(spec.quantity):
        raise refusals.fraction_not_short()
    if not state.config.shorting_enabled or state.configuration.no_shorting or state.multiplier == 1:
        raise refusals.shorting_not_allowed()
    if not asset.shortable:
        raise refusals.asset_not_shortable(asset.symbol)


def check_coin_cost(state: State, spec: OrderSpec, asset: Asset) -> None:
    """Refuse crypto orders below the least cost, but let a position be closed whole."""
    if spec.side is OrderSide.SELL and spec.quantity == state.holdings.quantity(asset.symbol):
        return
    cost = spec.notional
    if cost is None:
        assert spec.quantity is not None
        price = spec.limit_price or state.book(asset.symbol).reference(spec.side)
        cost = None if price is None else times(spec.quantity, price)
    if cost is not None and cost < state.config.crypto_cost_min_usd:
        raise refusals.cost_too_small(state.config.crypto_cost_min_usd)


def check_buying_power(state: State, spec: OrderSpec, asset: Asset, replaced: ExchangeOrder | None) -> Decimal:
    """Refuse what the account cannot pay; returns the margin to bind per share, or per dollar of a notional order.

    Marginable equities draw on buying power, crypto on the non-marginable one. Source: Alpaca's order documentation,
    with its allowances for market buys and short sales; while an order is replaced, its own reservation is free.
    """
    valuation = state.valuation()
    leverage = Decimal(valuation.multiplier) if asset.marginable else _ONE
    if spec.notional is not None:
        cost, rate = spec.notional, EXACT.divide(_ONE, leverage)
    else:
        assert spec.quantity is not None
        price = reckoned_price(state, spec, asset)
        cost, rate = times(spec.quantity, price), EXACT.divide(price, leverage)
    free = EXACT.subtract(valuation.equity, EXACT.add(valuation.initial_margin, valuation.reserved))
    if replaced is not None:
        free = EXACT.add(free, replaced.reserved)
    buying_power = times(max(free, ZERO), leverage)
    if cost > buying_power:
        told = buying_power.quantize(_CENT, ROUND_DOWN, EXACT)
        raise refusals.buying_power_short(told, cost.quantize(_CENT, context=EXACT))
    return rate


def reckoned_price(state: State, spec: OrderSpec, asset: Asset) -> Decimal:
    """What an opening order is reckoned to cost per share."""
    book = state.book(asset.symbol)
    if spec.side is OrderSide.SELL:
        allowance = _ONE + state.config.short_sale_collar_bps / _BPS
        reference = book.reference(spec.side)
        prices = [spec.limit_price, spec.stop_price, None if reference is None else reference * allowance]
        known = [price for price in prices if price is not None]
        price = max(known) if known else None
    elif spec.order_type in _PRICED:
        price = spec.limit_price
    else:
        price = spec.stop_price or book.reference(spec.side)
        if price is not None and state.config.market_buy_collar and asset.asset_class is not AssetClass.CRYPTO:
            price = collared(price)
    if price is None:
        raise refusals.unprocessable(f'no price is known for asset "{asset.symbol}" yet: the cost cannot be reckoned')
    return price
