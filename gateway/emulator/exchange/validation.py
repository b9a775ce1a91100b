"""The rules of one order by itself: which fields belong together, for which asset.

Promises: everything that needs neither clock, prices nor account is refused here, with Alpaca's codes and, where they
are known, its texts. A combination that no rule allows is refused. Leaves hours and money to `admission`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from gateway.domain.models.orders import OrderSpec
from gateway.domain.models.reference import Asset
from gateway.domain.types import AssetClass, OrderClass, OrderSide, OrderType, TimeInForce, format_decimal
from gateway.emulator.exchange import refusals
from gateway.emulator.exchange.config import ExchangeConfig
from gateway.emulator.exchange.orders import ZERO

DECIMALS_MAX: Final = 9
NUMBER_MAX: Final = Decimal("1e15")
TRAIL_PERCENT_MAX: Final = Decimal(100)

PRICE_FIELDS: Final = ("limit_price", "stop_price", "trail_price", "trail_percent")
_REQUIRED: Final[dict[OrderType, tuple[str, ...]]] = {
    OrderType.MARKET: (),
    OrderType.LIMIT: ("limit_price",),
    OrderType.STOP: ("stop_price",),
    OrderType.STOP_LIMIT: ("stop_price", "limit_price"),
    OrderType.TRAILING_STOP: (),
}
_TRAILS: Final = ("trail_price", "trail_percent")
_RESTING_TIMES: Final = frozenset({TimeInForce.DAY, TimeInForce.GTC})
_EQUITY_TIMES: Final[dict[OrderType, frozenset[TimeInForce]]] = {
    OrderType.MARKET: frozenset(TimeInForce),
    OrderType.LIMIT: frozenset(TimeInForce),
    OrderType.STOP: _RESTING_TIMES,
    OrderType.STOP_LIMIT: _RESTING_TIMES,
    OrderType.TRAILING_STOP: _RESTING_TIMES,
}
_CRYPTO_TIMES: Final[dict[OrderType, frozenset[TimeInForce]]] = {
    OrderType.MARKET: frozenset({TimeInForce.GTC, TimeInForce.IOC}),
    OrderType.LIMIT: frozenset({TimeInForce.GTC, TimeInForce.IOC}),
    OrderType.STOP_LIMIT: frozenset({TimeInForce.GTC}),
}
_FRACTION_TYPES: Final = frozenset({OrderType.MARKET, OrderType.LIMIT, OrderType.STOP, OrderType.STOP_LIMIT})


def check_order(spec: OrderSpec, asset: Asset, config: ExchangeConfig) -> None:
    """Refuse an order that no account could place.

    Raises:
        Refusal: The first rule that is broken.
    """
    check_amount(spec)
    check_prices(spec)
    if asset.asset_class is AssetClass.CRYPTO:
        check_crypto(spec, asset)
    else:
        check_equity(spec, asset, config)
    check_class(spec)
    check_ticks(spec, asset)


def check_amount(spec: OrderSpec) -> None:
    """Exactly one of quantity and notional, positive, with at most nine decimals."""
    if spec.quantity is None and spec.notional is None:
        raise refusals.quantity_missing()
    if spec.quantity is not None and spec.notional is not None:
        raise refusals.quantity_ambiguous()
    name, amount = ("qty", spec.quantity) if spec.quantity is not None else ("notional", spec.notional)
    assert amount is not None
    check_number(name, amount)


def check_number(name: str, value: Decimal) -> None:
    """A positive number of a sane size and at most nine decimals."""
    if not value.is_finite() or value >= NUMBER_MAX:
        raise refusals.field_invalid(name)
    if value <= ZERO:
        raise refusals.syntax(f"{name} must be > 0")
    if -_exponent(value) > DECIMALS_MAX:
        raise refusals.syntax(f"{name} must be limited to {DECIMALS_MAX} decimal places")


def check_prices(spec: OrderSpec) -> None:
    """The price fields that the type needs, and no others."""
    required = _REQUIRED[spec.order_type]
    if spec.order_class is OrderClass.OCO and spec.order_type is OrderType.LIMIT:
        required = ()  # its limit price stands in take_profit
    for name in required:
        if getattr(spec, name) is None:
            raise refusals.syntax(f"{name} is required for {spec.order_type} orders")
    if spec.order_type is OrderType.TRAILING_STOP:
        if (spec.trail_price is None) == (spec.trail_percent is None):
            raise refusals.syntax("one of trail_price or trail_percent is required for trailing_stop orders")
        required = _TRAILS
    for name in PRICE_FIELDS:
        value = getattr(spec, name)
        if value is None:
            continue
        if name not in required and not (spec.order_class is OrderClass.OCO and name == "limit_price"):
            raise refusals.syntax(f"{spec.order_type} orders require no {name}")
        check_number(name, value)
    if spec.trail_percent is not None and spec.trail_percent >= TRAIL_PERCENT_MAX:
        raise refusals.syntax("trail_percent must be < 100")


def check_crypto(spec: OrderSpec, asset: Asset) -> None:
    """Crypto: market, limit, stop_limit; gtc or ioc; by itself, in whole increments.

    Source: OpenAPI, OrderType and TimeInForce.
    """
    if spec.order_class is not OrderClass.SIMPLE:
        raise refusals.unprocessable(f"crypto orders not allowed for advanced order_class: {spec.order_class}")
    if spec.order_type not in _CRYPTO_TIMES:
        raise refusals.unprocessable("invalid order type for crypto order")
    if spec.time_in_force not in _CRYPTO_TIMES[spec.order_type]:
        raise refusals.unprocessable("invalid crypto time_in_force")
    if spec.notional is not None and spec.order_type is OrderType.STOP_LIMIT:
        raise refusals.unprocessable("notional is not allowed for stop_limit orders")
    if spec.quantity is not None:
        check_increment(spec.quantity, asset)


def check_increment(quantity: Decimal, asset: Asset) -> None:
    """A quantity of coins is not below the least size and a whole number of increments."""
    if asset.min_order_size is not None and quantity < asset.min_order_size:
        raise refusals.unprocessable(f"qty must be >= minimal qty of order {format_decimal(asset.min_order_size)}")
    if asset.min_trade_increment is not None and quantity % asset.min_trade_increment:
        raise refusals.unprocessable(f"qty increment must be a multiple of {format_decimal(asset.min_trade_increment)}")


def check_equity(spec: OrderSpec, asset: Asset, config: ExchangeConfig) -> None:
    """Equities: times in force by type, notional, fractions and extended hours."""
    if spec.time_in_force not in _EQUITY_TIMES[spec.order_type]:
        raise refusals.unprocessable(f"invalid time_in_force {spec.time_in_force} for {spec.order_type} orders")
    if spec.notional is not None:
        check_notional(spec, asset, config)
    elif spec.quantity is not None and not is_whole(spec.quantity):
        check_fraction(spec, asset)
    if spec.extended_hours:
        check_extended_hours(spec, config)


def check_notional(spec: OrderSpec, asset: Asset, config: ExchangeConfig) -> None:
    """Notional: market orders for the day.

    Source: OpenAPI, POST /v2/orders, notional; limit orders by a setting.
    """
    types = {OrderType.MARKET, OrderType.LIMIT} if config.notional_limit_orders else {OrderType.MARKET}
    if spec.order_type not in types:
        raise refusals.unprocessable("notional orders must be market orders")
    if spec.time_in_force is not TimeInForce.DAY:
        raise refusals.fraction_not_day()
    if spec.order_class is not OrderClass.SIMPLE:
        raise refusals.unprocessable("fractional orders must be simple orders")
    if not asset.fractionable:
        raise refusals.not_fractionable(asset.symbol)
    assert spec.notional is not None
    if spec.notional < config.notional_min_usd:
        raise refusals.notional_too_small(config.notional_min_usd)


def check_fraction(spec: OrderSpec, asset: Asset) -> None:
    """Fractions of shares: simple orders for the day."""
    if not asset.fractionable:
        raise refusals.not_fractionable(asset.symbol)
    if spec.time_in_force is not TimeInForce.DAY:
        raise refusals.fraction_not_day()
    if spec.order_class is not OrderClass.SIMPLE or spec.order_type not in _FRACTION_TYPES:
        raise refusals.unprocessable("fractional orders must be simple orders")


def check_extended_hours(spec: OrderSpec, config: ExchangeConfig) -> None:
    """Extended hours: limit orders, day or (by a setting) gtc, by themselves."""
    times = _RESTING_TIMES if config.extended_hours_gtc else {TimeInForce.DAY}
    is_simple = spec.order_class is OrderClass.SIMPLE
    if spec.order_type is not OrderType.LIMIT or spec.time_in_force not in times or not is_simple:
        raise refusals.extended_hours_not_limit()


def check_class(spec: OrderSpec) -> None:
    """Brackets, OCO and OTO have the legs that they need, day or gtc."""
    if spec.order_class is OrderClass.SIMPLE:
        if spec.take_profit is not None or spec.stop_loss is not None:
            raise refusals.unprocessable("simple orders take no take_profit and no stop_loss")
        return
    if spec.time_in_force not in _RESTING_TIMES:
        raise refusals.unprocessable(f"{spec.order_class} orders must be DAY or GTC orders")
    if spec.order_type is OrderType.TRAILING_STOP:
        raise refusals.unprocessable("trailing_stop orders must be simple orders")
    if spec.order_class is OrderClass.OCO and spec.order_type is not OrderType.LIMIT:
        raise refusals.unprocessable("oco orders must be limit orders")
    has_profit, has_loss = spec.take_profit is not None, spec.stop_loss is not None
    if spec.order_class is OrderClass.OTO:
        if has_profit == has_loss:
            raise refusals.unprocessable("oto orders require either take_profit or stop_loss")
    elif not has_profit:
        raise refusals.unprocessable(f"{spec.order_class} orders require take_profit.limit_price")
    elif not has_loss:
        raise refusals.unprocessable(f"{spec.order_class} orders require stop_loss.stop_price")
    check_legs(spec)


def check_legs(spec: OrderSpec) -> None:
    """The legs' own prices, and the profit on the right side of the loss."""
    for name, value in leg_prices(spec):
        check_number(name, value)
    if spec.take_profit is None or spec.stop_loss is None:
        return
    profit, loss = spec.take_profit.limit_price, spec.stop_loss.stop_price
    entry_is_buy = (spec.side is OrderSide.BUY) != (spec.order_class is OrderClass.OCO)
    if profit <= loss if entry_is_buy else profit >= loss:
        comparison = ">" if entry_is_buy else "<"
        raise refusals.unprocessable(f"take_profit.limit_price must be {comparison} stop_loss.stop_price")


def leg_prices(spec: OrderSpec) -> list[tuple[str, Decimal]]:
    """The prices of the legs, by their wire names."""
    found: list[tuple[str, Decimal]] = []
    if spec.take_profit is not None:
        found.append(("take_profit.limit_price", spec.take_profit.limit_price))
    if spec.stop_loss is not None:
        found.append(("stop_loss.stop_price", spec.stop_loss.stop_price))
        if spec.stop_loss.limit_price is not None:
            found.append(("stop_loss.limit_price", spec.stop_loss.limit_price))
    return found


def check_ticks(spec: OrderSpec, asset: Asset) -> None:
    """No price is finer than its tick."""
    own = [(name, getattr(spec, name)) for name in ("limit_price", "stop_price", "trail_price")]
    for name, price in own + leg_prices(spec):
        if price is not None:
            check_tick(name, price, asset)


def check_tick(name: str, price: Decimal, asset: Asset) -> None:
    """Two decimals from $1, four below; crypto has its own increment."""
    if price % asset.tick_at(price):
        raise refusals.sub_penny(name, price)


def is_whole(quantity: Decimal) -> bool:
    """Whether it is a whole number."""
    return quantity == quantity.to_integral_value()


def _exponent(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    assert isinstance(exponent, int)  # finite
    return exponent
