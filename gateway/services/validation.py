"""ValidationService: which orders are legal. Order type × time in force × asset class × class, a closed table.

Promises: what the table does not list is refused, naming the fields, before anything is recorded or sent. Needs
neither clock nor account; hours, holdings and money are `application.risk_manager`'s.

Sources: Alpaca's OpenAPI document (POST /v2/orders) and its order documentation, as `OrderCombination`s: equities'
types by time in force, crypto's types and times, fractions and notional for the day, extended hours for limit
orders, advanced classes for whole shares, day or gtc.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Final, NamedTuple

from gateway.domain.errors import FieldInvalid, FieldViolation, OrderCombination, PriceIncrement, SymbolNotTradable
from gateway.domain.models.orders import OrderChanges, OrderSpec
from gateway.domain.models.reference import Asset
from gateway.domain.types import (
    AssetClass,
    OrderClass,
    OrderSide,
    OrderType,
    TimeInForce,
    format_decimal,
)

PRICE_MAX_USD: Final = Decimal(1_000_000)
TRAIL_PERCENT_MAX: Final = Decimal(100)
NOTIONAL_MIN_USD: Final = Decimal(1)
LEG_DISTANCE_MIN_USD: Final = Decimal("0.01")
"""Between the entry's limit and a leg's stop. Source: Alpaca, bracket orders."""

_RESTING: Final = frozenset({TimeInForce.DAY, TimeInForce.GTC})
_EVERY_TIME: Final = frozenset(TimeInForce)
_CRYPTO_TIMES: Final = frozenset({TimeInForce.GTC, TimeInForce.IOC})
_DAY: Final = frozenset({TimeInForce.DAY})
_STOPS: Final = (OrderType.STOP, OrderType.STOP_LIMIT)
_ENTRIES: Final = (OrderType.MARKET, OrderType.LIMIT, *_STOPS)

LEGAL: Final[dict[tuple[AssetClass, OrderClass, OrderType], frozenset[TimeInForce]]] = (
    {(AssetClass.US_EQUITY, OrderClass.SIMPLE, kind): _EVERY_TIME for kind in (OrderType.MARKET, OrderType.LIMIT)}
    | {(AssetClass.US_EQUITY, OrderClass.SIMPLE, kind): _RESTING for kind in (*_STOPS, OrderType.TRAILING_STOP)}
    | {
        (AssetClass.US_EQUITY, order_class, kind): _RESTING
        for order_class in (OrderClass.BRACKET, OrderClass.OTO)
        for kind in _ENTRIES
    }
    | {(AssetClass.US_EQUITY, OrderClass.OCO, OrderType.LIMIT): _RESTING}
    | {
        (AssetClass.CRYPTO, OrderClass.SIMPLE, kind): _CRYPTO_TIMES
        for kind in (OrderType.MARKET, OrderType.LIMIT, OrderType.STOP_LIMIT)
    }
)
"""The table: what is not in it is no order."""

FRACTIONAL_EQUITY_TYPES: Final = frozenset(_ENTRIES)

_PRICES: Final = ("limit_price", "stop_price", "trail_price", "trail_percent")
_PRICES_OF: Final[dict[OrderType, frozenset[str]]] = {
    OrderType.MARKET: frozenset(),
    OrderType.LIMIT: frozenset({"limit_price"}),
    OrderType.STOP: frozenset({"stop_price"}),
    OrderType.STOP_LIMIT: frozenset({"stop_price", "limit_price"}),
    OrderType.TRAILING_STOP: frozenset({"trail_price", "trail_percent"}),
}


class _Price(NamedTuple):
    field: str
    value: Decimal


class ValidationService:
    """Says whether an order is legal, and how it reads when nothing superfluous is in it."""

    def normalize(self, spec: OrderSpec, asset: Asset) -> OrderSpec:
        """The order as it would be sent.

        Raises:
            FieldInvalid: A number is out of bounds by itself.
            OrderCombination: The fields do not go together, each named.
            PriceIncrement: A price between two ticks.
            SymbolNotTradable: The asset cannot be traded, or not in this size.
        """
        if spec.order_class is OrderClass.OCO and spec.take_profit and spec.limit_price == spec.take_profit.limit_price:
            spec = replace(spec, limit_price=None)  # its limit price stands in take_profit
        _check_numbers(spec)
        _check_table(spec, asset)
        _check_prices_present(spec)
        _check_size(spec, asset)
        if spec.extended_hours:
            _check_extended_hours(spec, asset)
        if spec.order_class is not OrderClass.SIMPLE or spec.take_profit or spec.stop_loss:
            _check_legs(spec)
        _check_order_of_prices(spec)
        _check_ticks(_prices(spec), asset)
        _check_tradable(spec, asset)
        return spec

    def check_changes(self, spec: OrderSpec, changes: OrderChanges, asset: Asset) -> None:
        """Whether new values suit an order; the quantity's relation to what is filled is the engine's.

        Raises:
            FieldInvalid: Nothing changes, or a number is out of bounds.
            OrderCombination: The order has no such field, or does not take such a value.
            PriceIncrement: A price between two ticks.
        """
        if changes.is_empty:
            raise FieldInvalid("Nothing would change.", violations=[FieldViolation("order", "has no new value")])
        prices = [*_optional("limit_price", changes.limit_price), *_optional("stop_price", changes.stop_price)]
        _check_positive([*prices, *_optional("quantity", changes.quantity), *_optional("trail", changes.trail)])
        for price in prices:
            if price.value > PRICE_MAX_USD:
                raise _bad_number(price.field, f"is above {PRICE_MAX_USD}")
            if price.field not in _PRICES_OF[spec.order_type]:
                raise _combination(f"A {spec.order_type} order has no {price.field}.", price.field)
        if changes.trail is not None and spec.order_type is not OrderType.TRAILING_STOP:
            raise _combination(f"A {spec.order_type} order has no trail.", "trail")
        if changes.quantity is not None and not _is_whole(changes.quantity):
            raise _bad_number("quantity", "must be a whole number in a replace")
        if changes.time_in_force is not None:
            times = LEGAL.get((asset.asset_class, spec.order_class, spec.order_type), frozenset())
            if changes.time_in_force not in times:
                raise _combination(f"A {spec.order_type} order cannot be {changes.time_in_force}.", "time_in_force")
        _check_ticks(prices, asset)


def _check_numbers(spec: OrderSpec) -> None:
    prices = _prices(spec)
    sizes = [*_optional("spec.quantity", spec.quantity), *_optional("spec.notional", spec.notional)]
    trails = [*_optional("spec.trail_percent", spec.trail_percent)]
    _check_positive([*sizes, *prices, *trails])
    for price in prices:
        if price.value > PRICE_MAX_USD:
            raise _bad_number(price.field, f"is above {PRICE_MAX_USD}")
    if spec.trail_percent is not None and spec.trail_percent >= TRAIL_PERCENT_MAX:
        raise _bad_number("spec.trail_percent", f"must be below {TRAIL_PERCENT_MAX}")


def _check_positive(numbers: list[_Price]) -> None:
    for number in numbers:
        if not (number.value.is_finite() and number.value > 0):
            raise _bad_number(number.field, "must be more than 0")


def _check_table(spec: OrderSpec, asset: Asset) -> None:
    times = LEGAL.get((asset.asset_class, spec.order_class, spec.order_type))
    if times is None:
        raise _combination(
            f"{spec.order_class} {spec.order_type} orders of {asset.asset_class} do not exist.",
            "spec.order_class",
            "spec.order_type",
        )
    if spec.time_in_force not in times:
        allowed = ", ".join(sorted(times))
        raise _combination(
            f"{spec.order_class} {spec.order_type} orders of {asset.asset_class} may be: {allowed}.",
            "spec.order_type",
            "spec.time_in_force",
        )


def _check_prices_present(spec: OrderSpec) -> None:
    wanted = _PRICES_OF[spec.order_type]
    if spec.order_class is OrderClass.OCO:
        wanted = frozenset()
    for field in _PRICES:
        given = getattr(spec, field) is not None
        if given and field not in wanted:
            raise _combination(f"A {spec.order_type} order takes no {field}.", "spec.order_type", f"spec.{field}")
        if not given and field in wanted and spec.order_type is not OrderType.TRAILING_STOP:
            raise _combination(f"A {spec.order_type} order needs a {field}.", "spec.order_type", f"spec.{field}")
    if spec.order_type is OrderType.TRAILING_STOP and (spec.trail_price is None) == (spec.trail_percent is None):
        raise _combination(
            "A trailing_stop order needs one of trail_price and trail_percent.",
            "spec.trail_price",
            "spec.trail_percent",
        )


def _check_size(spec: OrderSpec, asset: Asset) -> None:
    if (spec.quantity is None) == (spec.notional is None):
        raise _combination("Exactly one of quantity and notional is needed.", "spec.quantity", "spec.notional")
    if spec.notional is not None:
        _check_notional(spec, asset)
    elif spec.quantity is not None and asset.asset_class is AssetClass.CRYPTO:
        _check_lot(spec.quantity, asset)
    elif spec.quantity is not None and not _is_whole(spec.quantity):
        _check_fraction(spec)


def _check_notional(spec: OrderSpec, asset: Asset) -> None:
    if spec.order_type is not OrderType.MARKET:
        raise _combination("Notional orders are market orders.", "spec.notional", "spec.order_type")
    if spec.order_class is not OrderClass.SIMPLE:
        raise _combination("Notional orders are simple orders.", "spec.notional", "spec.order_class")
    if spec.reduce_only:
        raise _combination("A reduce-only order needs a quantity.", "spec.notional", "spec.reduce_only")
    if asset.asset_class is not AssetClass.CRYPTO and spec.time_in_force not in _DAY:
        raise _combination("Notional orders of shares are for the day.", "spec.notional", "spec.time_in_force")
    assert spec.notional is not None
    if spec.notional < NOTIONAL_MIN_USD:
        raise _bad_number("spec.notional", f"must be {NOTIONAL_MIN_USD} or more")
    if -_exponent(spec.notional) > 2:
        raise _bad_number("spec.notional", "has more than 2 decimals")


def _check_fraction(spec: OrderSpec) -> None:
    if spec.order_type not in FRACTIONAL_EQUITY_TYPES or spec.order_class is not OrderClass.SIMPLE:
        raise _combination(
            "Fractions of shares need a simple order, and no trailing stop.",
            "spec.quantity",
            "spec.order_type",
            "spec.order_class",
        )
    if spec.time_in_force not in _DAY:
        raise _combination("Fractions of shares are for the day.", "spec.quantity", "spec.time_in_force")


def _check_lot(quantity: Decimal, asset: Asset) -> None:
    if asset.min_order_size is not None and quantity < asset.min_order_size:
        raise _bad_number("spec.quantity", f"must be {format_decimal(asset.min_order_size)} or more")
    if asset.min_trade_increment and quantity % asset.min_trade_increment:
        raise _bad_number("spec.quantity", f"must be a multiple of {format_decimal(asset.min_trade_increment)}")


def _check_extended_hours(spec: OrderSpec, asset: Asset) -> None:
    if asset.asset_class is not AssetClass.US_EQUITY:
        raise _combination("Only equities have extended hours.", "spec.extended_hours", "spec.symbol")
    if spec.order_type is not OrderType.LIMIT or spec.order_class is not OrderClass.SIMPLE:
        raise _combination(
            "Orders for extended hours are simple limit orders.",
            "spec.extended_hours",
            "spec.order_type",
            "spec.order_class",
        )
    if spec.time_in_force not in _RESTING:
        raise _combination("Orders for extended hours are day or gtc.", "spec.extended_hours", "spec.time_in_force")


def _check_legs(spec: OrderSpec) -> None:
    has_profit, has_loss = spec.take_profit is not None, spec.stop_loss is not None
    match spec.order_class:
        case OrderClass.SIMPLE:
            complete = not has_profit and not has_loss
        case OrderClass.OTO:
            complete = has_profit != has_loss
        case _:
            complete = has_profit and has_loss
    if not complete:
        raise _combination(
            f"The legs do not make a {spec.order_class} order.",
            "spec.order_class",
            "spec.take_profit",
            "spec.stop_loss",
        )


def _check_order_of_prices(spec: OrderSpec) -> None:
    """Stop-limits that could never fill, and legs on the wrong side of the entry or of each other."""
    up = spec.side is OrderSide.BUY
    if spec.order_type is OrderType.STOP_LIMIT:
        _ascending(up, ("spec.stop_price", spec.stop_price), ("spec.limit_price", spec.limit_price))
    if spec.order_class is OrderClass.SIMPLE:
        return
    exit_up = not up if spec.order_class is not OrderClass.OCO else up
    profit = ("spec.take_profit.limit_price", spec.take_profit.limit_price if spec.take_profit else None)
    loss = ("spec.stop_loss.stop_price", spec.stop_loss.stop_price if spec.stop_loss else None)
    _ascending(not exit_up, loss, profit, apart=LEG_DISTANCE_MIN_USD)
    if spec.stop_loss is not None:
        _ascending(exit_up, loss, ("spec.stop_loss.limit_price", spec.stop_loss.limit_price))
    if spec.order_class is not OrderClass.OCO and spec.limit_price is not None:
        entry = ("spec.limit_price", spec.limit_price)
        _ascending(not exit_up, loss, entry, apart=LEG_DISTANCE_MIN_USD)
        _ascending(not exit_up, entry, profit, apart=LEG_DISTANCE_MIN_USD)


def _ascending(
    up: bool, lower: tuple[str, Decimal | None], upper: tuple[str, Decimal | None], apart: Decimal = Decimal(0)
) -> None:
    """Both prices in this order (reversed when not `up`), at least so far apart; absent ones pass."""
    (first_field, first), (second_field, second) = (lower, upper) if up else (upper, lower)
    if first is None or second is None:
        return
    if not second - first >= apart:
        raise _combination(f"{second_field} must be above {first_field}.", first_field, second_field)


def _check_ticks(prices: list[_Price], asset: Asset) -> None:
    for price in prices:
        tick = asset.tick_at(price.value)
        if price.value % tick:
            text = format_decimal(tick)
            raise PriceIncrement(
                f"{price.field} must be a multiple of {text}.",
                violations=[FieldViolation(price.field, f"must be a multiple of {text}")],
                metadata={"price_increment": text},
            )


def _check_tradable(spec: OrderSpec, asset: Asset) -> None:
    if asset.status != "active" or not asset.tradable:
        raise SymbolNotTradable("The asset cannot be traded now.", metadata={"status": asset.status})
    is_fraction = spec.notional is not None or (spec.quantity is not None and not _is_whole(spec.quantity))
    if is_fraction and asset.asset_class is AssetClass.US_EQUITY and not asset.fractionable:
        raise SymbolNotTradable("The asset is traded in whole shares only.", metadata={"fractionable": "false"})


def _prices(spec: OrderSpec) -> list[_Price]:
    """Everything that is money per unit, by its path in the request."""
    found = [
        *_optional("spec.limit_price", spec.limit_price),
        *_optional("spec.stop_price", spec.stop_price),
        *_optional("spec.trail_price", spec.trail_price),
    ]
    if spec.take_profit is not None:
        found.append(_Price("spec.take_profit.limit_price", spec.take_profit.limit_price))
    if spec.stop_loss is not None:
        found.append(_Price("spec.stop_loss.stop_price", spec.stop_loss.stop_price))
        found += _optional("spec.stop_loss.limit_price", spec.stop_loss.limit_price)
    return found


def _optional(field: str, value: Decimal | None) -> list[_Price]:
    return [] if value is None else [_Price(field, value)]


def _is_whole(quantity: Decimal) -> bool:
    return quantity == quantity.to_integral_value()


def _exponent(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    assert isinstance(exponent, int)  # finite: checked before
    return exponent


def _bad_number(field: str, description: str) -> FieldInvalid:
    return FieldInvalid(f"{field} {description}.", violations=[FieldViolation(field, description)])


def _combination(message: str, *fields: str) -> OrderCombination:
    return OrderCombination(message, violations=[FieldViolation(field, message) for field in fields])
