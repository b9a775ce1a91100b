"""Every pre-trade check as a pure function. What runs them, in which order, is `application.risk_manager`'s."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from gateway.domain.models.account import Account
from gateway.domain.models.orders import OrderSpec
from gateway.domain.models.reference import Asset
from gateway.domain.models.risk import RiskCheckResult
from gateway.domain.types import AssetClass, OrderClass, OrderSide, OrderType

ACTIVE: Final = "ACTIVE"
"""The status of an account that may trade."""


MARKET_COLLAR: Final = Decimal("1.04")
"""What a market or stop buy may cost beyond the price it is judged by. Source: Alpaca reserves 2.5 % to 4 %."""
SHORT_COLLAR: Final = Decimal("1.03")
"""The same for opening a short position. Source: Alpaca, 3 % above the ask."""
FRACTION_MIN_USD: Final = Decimal(1)
_STOPS: Final = frozenset({OrderType.STOP, OrderType.STOP_LIMIT})
_OTHER_SIDE: Final = {OrderSide.BUY: OrderSide.SELL, OrderSide.SELL: OrderSide.BUY}
_SHOWS_THE_ACCOUNT: Final = frozenset({"RISK_BUYING_POWER", "RISK_SHORT_NOT_ALLOWED", "RISK_REDUCE_ONLY"})
"""Checks whose figures are the account's money, its position, and what everybody's open orders do to it."""
_ZERO: Final = Decimal(0)


@dataclass(frozen=True, slots=True)
class RiskView:
    """What the checks look at, as one moment.

    Attributes:
        account: As last read.
        reserved: US dollars that orders cost which that reading does not contain.
        held: The position, signed.
        buying, selling: What open and unsent orders may still buy and sell of it, at their worst.
        bid, ask: US dollars; None when there is no price.
        order_cap: US dollars that the caller's token allows one order; None: no cap.
        filled: How much of the order is filled whose rest is replaced: a cap is on all of it.
    """

    account: Account
    reserved: Decimal
    asset: Asset
    held: Decimal
    buying: Decimal
    selling: Decimal
    bid: Decimal | None
    ask: Decimal | None
    order_cap: Decimal | None = None
    filled: Decimal = _ZERO


def needs_price(spec: OrderSpec, held: Decimal) -> bool:
    """Whether an order cannot be judged without the market's price."""
    if spec.order_class is OrderClass.OCO:
        return False
    if spec.side is OrderSide.SELL:
        return spec.notional is not None or (held <= 0 and not spec.reduce_only and spec.limit_price is None)
    return spec.notional is None and spec.order_type in (OrderType.MARKET, OrderType.TRAILING_STOP)


def cap_needs_price(spec: OrderSpec) -> bool:
    """Whether it cannot be told what an order is worth at most without the market's price.

    A sell whose limit is below the market trades at the market's price, whatever its limit is.
    """
    if spec.notional is not None:
        return False
    may_trade_at_once = spec.side is OrderSide.SELL and spec.order_type not in _STOPS
    return may_trade_at_once or _own_price(spec) is None


def live_stop(spec: OrderSpec) -> tuple[OrderSide, Decimal] | None:
    """The side and price of a stop that begins to watch the market with the order; None when none does."""
    if spec.order_class is OrderClass.OCO and spec.stop_loss is not None:
        return spec.side, spec.stop_loss.stop_price
    if spec.order_type in _STOPS and spec.stop_price is not None:
        return spec.side, spec.stop_price
    if spec.order_type is OrderType.MARKET and spec.stop_loss is not None:  # its entry is filled at once
        return _OTHER_SIDE[spec.side], spec.stop_loss.stop_price
    return None


def check_all(spec: OrderSpec, view: RiskView, stands: OrderSpec | None = None) -> tuple[RiskCheckResult, ...]:
    """Every check, in the order in which denials are told.

    The order must be legal by itself, and `view` must have a price if `needs_price` says so. `stands` is what it
    replaces: a stop that is not moved may have been triggered, and is judged no more.
    """
    quantity = worst_quantity(spec, view)
    checks = [check_account(spec, view)]
    if view.order_cap is not None:
        checks.append(check_order_cap(spec, view, view.order_cap))
    stop = live_stop(spec)
    if stop is not None and (stands is None or stop != live_stop(stands)):
        checks.append(check_stop(*stop, view))
    if spec.reduce_only:
        checks.append(check_reduce_only(spec, view, quantity))
    if spec.side is OrderSide.SELL:
        checks.append(check_short(spec, view, quantity))
    checks.append(check_buying_power(view, cost_of(spec, view, quantity)))
    return tuple(checks)


def without_account(check: RiskCheckResult) -> RiskCheckResult:
    """The check as it is told to somebody who may not see the account: its outcome, and no figure of the account's."""
    return RiskCheckResult(check.reason, check.passed) if check.reason in _SHOWS_THE_ACCOUNT else check


def check_account(spec: OrderSpec, view: RiskView) -> RiskCheckResult:
    """The venue lets this account trade."""
    account = view.account
    is_blocked = account.account_blocked or account.trading_blocked or account.trade_suspended_by_user
    if spec.symbol.count("/") and account.crypto_status and account.crypto_status != ACTIVE:
        is_blocked = True
    return RiskCheckResult("RISK_ACCOUNT_BLOCKED", not is_blocked and account.status in ("", ACTIVE))


def check_order_cap(spec: OrderSpec, view: RiskView, cap: Decimal) -> RiskCheckResult:
    """The order is worth no more than the caller's token allows one to be; what has no value known is denied."""
    value = spec.notional
    if spec.quantity is not None:
        is_buy = spec.side is OrderSide.BUY
        price = _worst_buy_price(spec, view.ask or _ZERO) if is_buy else _best_sell_price(spec, view)
        value = price and price * (spec.quantity + view.filled)
    if not value:
        return RiskCheckResult("RISK_TOKEN_CAP", passed=False, limit=cap, unit="USD")
    return _compared("RISK_TOKEN_CAP", value, cap, "USD")


def check_reduce_only(spec: OrderSpec, view: RiskView, quantity: Decimal) -> RiskCheckResult:
    """The order and all others on its side together never do more than end the position."""
    is_sell = spec.side is OrderSide.SELL
    limit = max(_ZERO, view.held if is_sell else -view.held)
    observed = quantity + (view.selling if is_sell else view.buying)
    return _compared("RISK_REDUCE_ONLY", observed, limit, "shares")


def check_short(spec: OrderSpec, view: RiskView, quantity: Decimal) -> RiskCheckResult:
    """A sell beyond what is held is a short sale: allowed by account and asset, whole shares, never through zero."""
    observed = quantity + view.selling
    limit = max(_ZERO, view.held)
    reason = "RISK_SHORT_NOT_ALLOWED"
    is_allowed = view.held <= 0 and view.account.shorting_enabled and view.asset.shortable
    is_whole = spec.quantity is not None and spec.quantity == spec.quantity.to_integral_value()
    if observed > limit and is_allowed and is_whole and not spec.reduce_only:
        return RiskCheckResult(reason, passed=True, observed=observed, unit="shares")
    return _compared(reason, observed, limit, "shares")


def check_stop(side: OrderSide, stop_price: Decimal, view: RiskView) -> RiskCheckResult:
    """A stop is beyond the market, not behind it; between bid and ask, and without a price, the venue decides.

    Source: Alpaca refuses a buy stop below the market's price and a sell stop above it.
    """
    market = view.bid if side is OrderSide.BUY else view.ask
    reason = "RISK_PRICE_COLLAR"
    if market is None:
        return RiskCheckResult(reason, passed=True, observed=stop_price, unit="USD")
    distance = stop_price - market if side is OrderSide.BUY else market - stop_price
    return RiskCheckResult(reason, distance > 0, stop_price, market, distance, "USD")


def is_too_small(spec: OrderSpec, bid: Decimal | None, ask: Decimal | None) -> bool:
    """Whether a fraction of a share is bought for less than the venue takes; what is held may always be sold.

    Source: Alpaca, fractional trading: one dollar is the smallest order. Coins have sizes in the asset table.
    """
    quantity = spec.quantity
    if quantity is None or spec.side is OrderSide.SELL or quantity == quantity.to_integral_value():
        return False
    price = spec.limit_price or spec.stop_price or ask or bid
    return price is not None and quantity * price < FRACTION_MIN_USD


def check_buying_power(view: RiskView, cost: Decimal) -> RiskCheckResult:
    """Cost and all that is reserved stay within the buying power; what costs nothing always may."""
    account = view.account
    limit = account.buying_power
    if view.asset.asset_class is AssetClass.CRYPTO and account.non_marginable_buying_power is not None:
        limit = account.non_marginable_buying_power  # crypto is bought with cash
    if not cost > 0:
        return RiskCheckResult("RISK_BUYING_POWER", True, view.reserved, limit, limit - view.reserved, "USD")
    return _compared("RISK_BUYING_POWER", view.reserved + cost, limit, "USD")


def worst_quantity(spec: OrderSpec, view: RiskView) -> Decimal:
    """How much an order may trade at most; of a notional order, what its dollars are worth at a bad price."""
    if spec.quantity is not None:
        return spec.quantity
    assert spec.notional is not None
    price = view.bid if spec.side is OrderSide.SELL else view.ask
    return spec.notional * MARKET_COLLAR / price if price else _ZERO


def cost_of(spec: OrderSpec, view: RiskView, quantity: Decimal) -> Decimal:
    """US dollars of buying power that an order takes at its worst; 0 for what ends a position."""
    if spec.order_class is OrderClass.OCO or spec.reduce_only:
        return _ZERO
    if spec.side is OrderSide.SELL:
        is_opening = view.held <= 0 and quantity > 0
        price = max(spec.limit_price or _ZERO, (view.ask or view.bid or _ZERO) * SHORT_COLLAR)
        return quantity * price if is_opening and view.asset.asset_class is AssetClass.US_EQUITY else _ZERO
    covering = max(_ZERO, -view.held - view.buying)
    if spec.notional is not None:
        return _ZERO if _ZERO < quantity <= covering else spec.notional  # 0: without a price it is not known how much
    return max(_ZERO, quantity - covering) * _worst_buy_price(spec, view.ask or _ZERO)


def value_of(spec: OrderSpec, view: RiskView) -> Decimal | None:
    """US dollars that an order trades: at its own price or at the market's; None without one."""
    if spec.notional is not None:
        return spec.notional
    market = view.ask if spec.side is OrderSide.BUY else view.bid
    price = _own_price(spec) or market
    return None if price is None or spec.quantity is None else spec.quantity * price


def is_reduction(spec: OrderSpec, view: RiskView) -> bool:
    """Whether an order can only make a position smaller, whatever else is open."""
    if spec.quantity is None:
        return False
    if spec.side is OrderSide.SELL:
        return spec.quantity + view.selling <= max(_ZERO, view.held)
    return spec.quantity + view.buying <= max(_ZERO, -view.held)


def _own_price(spec: OrderSpec) -> Decimal | None:
    own = spec.limit_price or spec.stop_price
    if own is None and spec.order_class is OrderClass.OCO and spec.take_profit is not None:
        own = spec.take_profit.limit_price
    return own


def _best_sell_price(spec: OrderSpec, view: RiskView) -> Decimal | None:
    """The most that a unit may bring now; None where that takes the market's price, and there is none."""
    own = max(_own_price(spec) or _ZERO, spec.stop_price or _ZERO)
    if not cap_needs_price(spec):
        return own
    return None if view.bid is None else max(own, view.bid)


def _worst_buy_price(spec: OrderSpec, ask: Decimal) -> Decimal:
    if spec.order_class is OrderClass.OCO and spec.stop_loss is not None:
        stop = spec.stop_loss.limit_price or spec.stop_loss.stop_price * MARKET_COLLAR
        return max(_own_price(spec) or _ZERO, stop)
    match spec.order_type:
        case OrderType.LIMIT | OrderType.STOP_LIMIT:
            return spec.limit_price or _ZERO
        case OrderType.STOP:
            return (spec.stop_price or _ZERO) * MARKET_COLLAR
        case OrderType.TRAILING_STOP:
            trail = spec.trail_price or ask * (spec.trail_percent or _ZERO) / 100
            return (ask + trail) * MARKET_COLLAR
        case OrderType.MARKET:
            return ask * MARKET_COLLAR


def _compared(reason: str, observed: Decimal, limit: Decimal, unit: str) -> RiskCheckResult:
    """Written positively: a figure that compares with nothing denies."""
    return RiskCheckResult(reason, observed <= limit, observed, limit, limit - observed, unit)
