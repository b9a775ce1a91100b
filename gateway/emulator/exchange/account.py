"""Money and positions: what fills do to them, and the account's numbers at given prices.

Promises: cash is exact, the sum of price x quantity over all fills and fees, never rounded. A position's cost is
exact while it grows; a reduction takes its proportion, rounded half to even at COST_STEP, so the average entry price
stays. Reported numbers that are quotients are rounded to nine decimals; money is reported to nine as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Context, Decimal
from typing import Final

from gateway.domain.models.reference import Asset
from gateway.domain.types import AssetClass, OrderSide
from gateway.emulator.exchange.orders import ZERO, ExchangeOrder

EXACT: Final = Context(prec=60)
"""Wide enough that money is never rounded: 15 + 9 digits of price times 15 + 9 of quantity."""

COST_STEP: Final = Decimal("1e-12")
REPORT_STEP: Final = Decimal("1e-9")
FEE_STEP: Final = Decimal("1e-9")
"""Fees are rounded half up to it, in coins and in dollars."""

_BPS: Final = Decimal(10_000)
_HALF: Final = Decimal("0.5")
_MAINTENANCE: Final = Decimal("0.3")
_ONE: Final = Decimal(1)

Prices = Callable[[str], Decimal | None]
"""The present price of a symbol; None when none is known."""


def times(left: Decimal, right: Decimal) -> Decimal:
    """The exact product."""
    return EXACT.multiply(left, right)


def reported(value: Decimal) -> Decimal:
    """A number as it is told: nine decimals, half to even."""
    return value.quantize(REPORT_STEP, ROUND_HALF_EVEN, EXACT)


def ratio(part: Decimal, whole: Decimal) -> Decimal:
    """A ratio as it is told; 0 of nothing."""
    return reported(EXACT.divide(part, whole)) if whole else ZERO


def fee_of(amount: Decimal, bps: Decimal) -> Decimal:
    """Basis points of an amount."""
    return EXACT.divide(times(amount, bps), _BPS).quantize(FEE_STEP, ROUND_HALF_UP, EXACT)


@dataclass(slots=True)
class Holding:
    """What is held of one symbol; everything is negative for a short position.

    Attributes:
        cost: Sum of price x quantity of what is still held.
        day_cost: The same, but what was held at the last close counts at that day's closing price.
    """

    symbol: str
    quantity: Decimal = ZERO
    cost: Decimal = ZERO
    day_cost: Decimal = ZERO

    def trade(self, signed_quantity: Decimal, price: Decimal) -> None:
        """Buy (positive) or sell (negative); the position may cross zero."""
        closing = ZERO
        if self.quantity and (self.quantity > 0) != (signed_quantity > 0):
            closing = min(abs(signed_quantity), abs(self.quantity))
            self.reduce(closing)
            signed_quantity += closing if signed_quantity < 0 else -closing
        value = times(signed_quantity, price)
        self.quantity = EXACT.add(self.quantity, signed_quantity)
        self.cost = EXACT.add(self.cost, value)
        self.day_cost = EXACT.add(self.day_cost, value)

    def reduce(self, quantity: Decimal) -> None:
        """Bring the position nearer to zero; the average entry price stays."""
        size = abs(self.quantity)
        left = EXACT.subtract(size, quantity)
        assert left >= 0, "a position cannot be reduced beyond zero"
        self.cost = _proportion(self.cost, left, size)
        self.day_cost = _proportion(self.day_cost, left, size)
        self.quantity = left if self.quantity > 0 else -left

    @property
    def average_price(self) -> Decimal:
        """Cost of one share."""
        return reported(EXACT.divide(self.cost, self.quantity)) if self.quantity else ZERO


@dataclass(frozen=True, slots=True)
class Valuation:
    """The account's numbers at one moment, US dollars.

    Attributes:
        reserved: Margin that open orders hold.
        multiplier: Of buying power, as it applies now.
    """

    cash: Decimal
    long_market_value: Decimal
    short_market_value: Decimal
    initial_margin: Decimal
    maintenance_margin: Decimal
    reserved: Decimal
    multiplier: int

    @property
    def equity(self) -> Decimal:
        """Cash and what the positions are worth."""
        return EXACT.add(EXACT.add(self.cash, self.long_market_value), self.short_market_value)

    @property
    def excess(self) -> Decimal:
        """What may still be bound: the non-marginable buying power."""
        bound = EXACT.add(self.initial_margin, self.reserved)
        return max(EXACT.subtract(self.equity, bound), ZERO)

    @property
    def buying_power(self) -> Decimal:
        """What may still be bought of marginable equities.

        Source: OpenAPI, Account.buying_power: max(equity - initial_margin, 0) x multiplier; open orders reduce it.
        """
        return times(self.excess, Decimal(self.multiplier))

    @property
    def regt_buying_power(self) -> Decimal:
        """The same under Regulation T."""
        return self.buying_power


class Holdings:
    """Cash, positions and the margin reserved for open orders."""

    def __init__(self, cash: Decimal) -> None:
        self.cash = cash
        self.reserved = ZERO
        self.accrued_fees = ZERO
        self._by_symbol: dict[str, Holding] = {}

    def quantity(self, symbol: str) -> Decimal:
        """Signed; 0 when nothing is held."""
        holding = self._by_symbol.get(symbol)
        return holding.quantity if holding else ZERO

    def find(self, symbol: str) -> Holding | None:
        """The holding, unless nothing is held."""
        return self._by_symbol.get(symbol)

    def __iter__(self) -> Iterator[Holding]:
        return iter(sorted(self._by_symbol.values(), key=lambda holding: holding.symbol))

    def apply_fill(self, symbol: str, side: OrderSide, quantity: Decimal, price: Decimal) -> None:
        """Exchange money for shares, or shares for money."""
        signed = quantity if side is OrderSide.BUY else -quantity
        self._by_symbol.setdefault(symbol, Holding(symbol)).trade(signed, price)
        self.cash = EXACT.subtract(self.cash, times(signed, price))
        self._forget_if_flat(symbol)

    def pay_fee_in_kind(self, symbol: str, quantity: Decimal) -> Decimal:
        """Take a fee from what is held long, as far as there is any; returns what was taken."""
        holding = self._by_symbol.get(symbol)
        taken = min(quantity, holding.quantity) if holding and holding.quantity > 0 else ZERO
        if holding and taken:
            holding.reduce(taken)
            self._forget_if_flat(symbol)
        return taken

    def pay_fee(self, amount: Decimal) -> None:
        """Take a fee in dollars."""
        self.cash = EXACT.subtract(self.cash, amount)

    def start_day(self, prices: Prices) -> None:
        """From now on the day's profit counts from these prices."""
        for holding in self._by_symbol.values():
            price = prices(holding.symbol)
            if price is not None:
                holding.day_cost = times(holding.quantity, price)

    def set_reserve(self, order: ExchangeOrder, amount: Decimal) -> None:
        """Bind this much margin for an order instead of what was bound for it."""
        self.reserved = EXACT.add(self.reserved, EXACT.subtract(amount, order.reserved))
        order.reserved = amount

    def market_value(self, holding: Holding, prices: Prices) -> Decimal:
        """At the present price; at cost while none is known."""
        price = prices(holding.symbol)
        return holding.cost if price is None else times(holding.quantity, price)

    def value(self, prices: Prices, asset_of: Callable[[str], Asset], multiplier: int) -> Valuation:
        """The account's numbers at these prices.

        Initial margin is half of marginable positions (all of it without margin), maintenance margin 30 %; crypto is
        no collateral and binds all of its value.
        """
        long_value = short_value = initial = maintenance = ZERO
        for holding in self._by_symbol.values():
            value = self.market_value(holding, prices)
            asset = asset_of(holding.symbol)
            collateral = asset.marginable and asset.asset_class is not AssetClass.CRYPTO
            initial += times(abs(value), _HALF if collateral and multiplier > 1 else _ONE)
            maintenance += times(abs(value), _MAINTENANCE if collateral else _ONE)
            if value >= 0:
                long_value += value
            else:
                short_value += value
        return Valuation(self.cash, long_value, short_value, initial, maintenance, self.reserved, multiplier)

    def _forget_if_flat(self, symbol: str) -> None:
        if not self._by_symbol[symbol].quantity:
            del self._by_symbol[symbol]


def _proportion(amount: Decimal, left: Decimal, size: Decimal) -> Decimal:
    if not left:
        return ZERO
    return EXACT.divide(times(amount, left), size).quantize(COST_STEP, ROUND_HALF_EVEN, EXACT)
