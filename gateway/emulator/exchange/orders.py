"""The exchange's nouns around an order: what is asked, the order itself, and what is told about it.

`ExchangeOrder` has Alpaca's fields under the domain's names, and behind them what only the exchange knows. What
leaves the exchange is always a copy.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from decimal import Decimal
from enum import StrEnum
from operator import attrgetter
from typing import Final

from gateway.domain.models.orders import OrderSpec
from gateway.domain.types import AssetClass, LegRole, OrderClass, OrderSide, OrderType, TimeInForce
from gateway.emulator.exchange.refusals import Refusal

ZERO: Final = Decimal(0)


class OrderStatus(StrEnum):
    """Alpaca's words that this exchange uses."""

    ACCEPTED = "accepted"
    PENDING_NEW = "pending_new"
    NEW = "new"
    HELD = "held"
    PARTIALLY_FILLED = "partially_filled"
    PENDING_CANCEL = "pending_cancel"
    PENDING_REPLACE = "pending_replace"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REPLACED = "replaced"
    REJECTED = "rejected"

    @property
    def is_terminal(self) -> bool:
        """Can change no more; everything else is "open" in a query."""
        return self in _TERMINAL


_TERMINAL: Final = frozenset(
    {
        OrderStatus.FILLED,
        OrderStatus.CANCELED,
        OrderStatus.EXPIRED,
        OrderStatus.REPLACED,
        OrderStatus.REJECTED,
    }
)


@dataclass(frozen=True, slots=True)
class NewOrder:
    """A request for an order.

    Attributes:
        spec: What to trade. Its symbol may be spelled in any of the ways that Alpaca takes: `AAPL`, `BTC/USD`,
            `BTCUSD`, an asset id. `reduce_only` is no notion of the venue and is ignored.
        client_order_id: None: the venue makes one.
        position_intent: As sent, or empty; the order shows its own.
    """

    spec: OrderSpec
    client_order_id: str | None = None
    position_intent: str = ""


@dataclass(slots=True)
class ExchangeOrder:
    """One order of the venue. Instants are ns since the epoch; None: has not happened.

    Attributes:
        order_class: SIMPLE is spelled "" on the wire.
        filled_value: Sum of price x quantity over its fills, exact.
        legs: Filled in nested copies alone; None: not asked for, or it has none.
        expires_ns: When a day order's session ends, or a gtc order grows too old; None for ioc and fok.
        hwm: The best price since a trailing stop became active.
        sequence: 1, 2, 3, ... in order of submission.
        parent_id, leg_role: Of a leg.
        leg_ids: Of a parent; take-profit first.
        triggered: A stop that was set off, and works as a market or limit order since.
        carried_quantity: What the orders that it replaced had filled and it does not count itself.
        is_resting: Stands in the matching of its symbol now.
        reserve_rate: Margin bound per share, or per dollar of a notional order; zero where a position is closed.
        reserved: Margin bound now, US dollars.
    """

    id: str
    client_order_id: str
    symbol: str
    asset_id: str
    asset_class: AssetClass
    side: OrderSide
    order_type: OrderType
    time_in_force: TimeInForce
    status: OrderStatus
    sequence: int
    created_ns: int
    updated_ns: int
    submitted_ns: int
    quantity: Decimal | None = None
    notional: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None
    hwm: Decimal | None = None
    extended_hours: bool = False
    order_class: OrderClass = OrderClass.SIMPLE
    position_intent: str = ""
    filled_quantity: Decimal = ZERO
    filled_value: Decimal = ZERO
    filled_ns: int | None = None
    expired_ns: int | None = None
    expires_ns: int | None = None
    canceled_ns: int | None = None
    failed_ns: int | None = None
    replaced_ns: int | None = None
    cancel_requested_ns: int | None = None
    replaced_by: str | None = None
    replaces: str | None = None
    legs: tuple[ExchangeOrder, ...] | None = None
    parent_id: str | None = None
    leg_role: LegRole | None = None
    leg_ids: tuple[str, ...] = ()
    triggered: bool = False
    carried_quantity: Decimal = ZERO
    is_resting: bool = False
    reserve_rate: Decimal = ZERO
    reserved: Decimal = ZERO

    @property
    def is_open(self) -> bool:
        """Not terminal."""
        return not self.status.is_terminal

    @property
    def leaves_quantity(self) -> Decimal | None:
        """Ordered less filled; None for a notional order, whose rest is money."""
        return None if self.quantity is None else self.quantity - self.filled_quantity

    @property
    def filled_average_price(self) -> Decimal | None:
        """US dollars, to nine decimals; None before the first fill."""
        if not self.filled_quantity:
            return None
        return (self.filled_value / self.filled_quantity).quantize(_NINE_DECIMALS)

    def copy(self, legs: tuple[ExchangeOrder, ...] | None = None) -> ExchangeOrder:
        """The order as it stands now, with these legs."""
        found = ExchangeOrder(*_all_fields(self))
        found.legs = legs
        return found


_NINE_DECIMALS: Final = Decimal("1e-9")
_all_fields = attrgetter(*(field.name for field in fields(ExchangeOrder)))


@dataclass(frozen=True, slots=True)
class TradeUpdate:
    """One message of the trade_updates stream.

    Attributes:
        event: `new`, `fill`, `partial_fill`, `canceled`, `expired`, `replaced`, `accepted`, ...
        order: As it stood right after the event; nested with its legs, if the settings say so.
        execution_id: A UUID; every event has one.
        price, quantity: Of fills: this execution's.
        position_quantity: Of fills: signed, of the account, after it.
    """

    event: str
    order: ExchangeOrder
    execution_id: str
    time_ns: int
    price: Decimal | None = None
    quantity: Decimal | None = None
    position_quantity: Decimal | None = None


@dataclass(frozen=True, slots=True)
class OrderCanceled:
    """One entry of the answer to "cancel all": HTTP status 200, or the refusal's."""

    order_id: str
    status: int


@dataclass(frozen=True, slots=True)
class PositionClosed:
    """One entry of the answer to "close all": an order with status 200, or a refusal with its own.

    Attributes:
        symbol: In the positions' spelling: `BTCUSD`.
    """

    symbol: str
    status: int
    order: ExchangeOrder | None = None
    refusal: Refusal | None = None
