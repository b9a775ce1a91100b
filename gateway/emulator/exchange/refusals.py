"""What the venue answers instead of an order: Alpaca's codes and texts, one function per row of its table.

Codes are HTTP status x 100,000 + detail. 4001xxxx stands for syntax and 4221xxxx for meaning; both are HTTP 422,
though the first looks like 400.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Final

from gateway.domain.types import format_decimal

SYNTAX: Final = 40010001
NOT_ALLOWED: Final = 40310000
NOT_FOUND: Final = 40410000
UNPROCESSABLE: Final = 42210000

_SYNTAX_CLASS: Final = 400
_NO_EXTRA: Final[Mapping[str, str]] = MappingProxyType({})


class Refusal(Exception):
    """The venue says no, and nothing has changed.

    Attributes:
        code: Alpaca's, in the body.
        message: Alpaca's, in the body.
        extra: Further members of the body, beside `code` and `message`.
    """

    def __init__(self, code: int, message: str, extra: Mapping[str, str] = _NO_EXTRA) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.extra = dict(extra)

    @property
    def http_status(self) -> int:
        """The status of the answer: the code's first three digits, but 422 for 400."""
        status = self.code // 100_000
        return 422 if status == _SYNTAX_CLASS else status

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Refusal):
            return NotImplemented
        return (self.code, self.message, self.extra) == (other.code, other.message, other.extra)

    def __hash__(self) -> int:
        return hash((self.code, self.message))

    def __repr__(self) -> str:
        return f"Refusal({self.code}, {self.message!r}, {self.extra!r})"


def syntax(message: str) -> Refusal:
    """The request cannot be understood (422, code 40010001)."""
    return Refusal(SYNTAX, message)


def unprocessable(message: str, **extra: str) -> Refusal:
    """The request is understood and makes no sense (422, code 42210000)."""
    return Refusal(UNPROCESSABLE, message, extra)


def not_allowed(message: str, **extra: str) -> Refusal:
    """The account may not (403, code 40310000)."""
    return Refusal(NOT_ALLOWED, message, extra)


def quantity_missing() -> Refusal:
    """Neither quantity nor notional."""
    return syntax("qty or notional is required")


def quantity_ambiguous() -> Refusal:
    """Both quantity and notional."""
    return syntax("only one of qty or notional is accepted")


def field_invalid(name: str) -> Refusal:
    """A field's word or number cannot be read: `invalid time_in_force`."""
    return syntax(f"invalid {name}")


def client_order_id_taken() -> Refusal:
    """The id belongs to another order, whatever became of it."""
    return syntax("client_order_id must be unique")


def buying_power_short(buying_power: Decimal, cost_basis: Decimal) -> Refusal:
    """More than the account can buy."""
    return not_allowed(
        "insufficient buying power", buying_power=format_decimal(buying_power), cost_basis=format_decimal(cost_basis)
    )


def quantity_short(
    symbol: str, requested: Decimal, available: Decimal, existing: Decimal, held: Decimal, related: tuple[str, ...]
) -> Refusal:
    """More than the position has free; the rest is held for open orders."""
    message = (
        "insufficient qty available for order "
        f"(requested: {format_decimal(requested)}, available: {format_decimal(available)})"
    )
    extra = {
        "available": format_decimal(available),
        "existing_qty": format_decimal(existing),
        "held_for_orders": format_decimal(held),
        "symbol": symbol,
    }
    if related:
        extra["related_orders"] = ",".join(related)
    return Refusal(NOT_ALLOWED, message, extra)


def balance_short(coin: str, requested: Decimal, available: Decimal) -> Refusal:
    """More coins than there are."""
    return not_allowed(
        f"insufficient balance for {coin} "
        f"(requested: {format_decimal(requested)}, available: {format_decimal(available)})",
        available=format_decimal(available),
        symbol=coin,
    )


def cost_too_small(minimum: Decimal) -> Refusal:
    """A crypto order below the minimum."""
    return not_allowed(f"cost basis must be >= minimal amount of order {format_decimal(minimum)}")


def notional_too_small(minimum: Decimal) -> Refusal:
    """A notional order below the minimum."""
    return unprocessable(f"notional must be >= {minimum:.2f}")


def shorting_not_allowed() -> Refusal:
    """The account, or its owner's switch, forbids short sales."""
    return not_allowed("account is not allowed to short")


def asset_not_shortable(symbol: str) -> Refusal:
    """The asset cannot be borrowed."""
    return unprocessable(f'asset "{symbol}" cannot be sold short')


def fraction_not_short() -> Refusal:
    """Only whole shares are sold short."""
    return not_allowed("fractional orders cannot be sold short")


def wash_trade(existing_order_id: str, existing_type: str) -> Refusal:
    """An own order on the other side could trade against this one."""
    return not_allowed(
        "potential wash trade detected. use complex orders",
        existing_order_id=existing_order_id,
        reject_reason=f"opposite side {existing_type} order exists",
    )


def sub_penny(name: str, price: Decimal) -> Refusal:
    """A price finer than its tick: two decimals from $1, four below."""
    return unprocessable(
        f"invalid {name} {format_decimal(price)}. sub-penny increment does not fulfill minimum pricing criteria"
    )


def fraction_not_day() -> Refusal:
    """Fractions are for day orders."""
    return unprocessable("fractional orders must be DAY orders")


def not_fractionable(symbol: str) -> Refusal:
    """The asset trades in whole shares."""
    return not_allowed(f'asset "{symbol}" is not fractionable')


def extended_hours_not_limit() -> Refusal:
    """Extended hours take limit orders, day or gtc."""
    return unprocessable("extended hours order must be DAY limit orders")


def bracket_not_entry() -> Refusal:
    """A bracket opens a position."""
    return unprocessable("bracket orders must be entry orders")


def order_done(status: str) -> Refusal:
    """The order can neither be canceled nor replaced any more."""
    return unprocessable(f'order is already in "{status}" state')


def order_not_found(order_id: str = "") -> Refusal:
    """No such order."""
    return Refusal(NOT_FOUND, f"order not found: {order_id}" if order_id else "order not found")


def position_not_found() -> Refusal:
    """Nothing is held of it."""
    return Refusal(NOT_FOUND, "position does not exist")


def asset_not_found(symbol: str) -> Refusal:
    """No such asset, where one is ordered (422) and not looked up."""
    return unprocessable(f'asset "{symbol}" not found')


def asset_unknown(symbol: str) -> Refusal:
    """No such asset, where one is looked up (404)."""
    return Refusal(NOT_FOUND, f"asset not found for {symbol}")


def asset_not_active(symbol: str) -> Refusal:
    """The asset exists and cannot be traded."""
    return unprocessable(f'asset "{symbol}" is not active')
