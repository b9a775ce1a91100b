"""What callers ask of this room, and what they get: plain nouns, no behaviour.

Refusals are not here: every method raises a `GatewayError`. An order whose fate is not known is no refusal.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from gateway.domain.errors import GatewayError
from gateway.domain.models.orders import Order, OrderChanges, OrderRef, OrderSpec, fingerprint_of
from gateway.domain.models.risk import RiskCheckResult
from gateway.domain.types import OrderSide, OrderState, format_decimal

VALID_FOR_MAX_MS: Final = 60_000
"""How far ahead `valid_until` may be."""
CANCEL_WAIT_MAX_MS: Final = 30_000
"""How long a cancel may wait for the end of its order."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """The order as it stands; `replayed` when the key was known and nothing new was sent."""

    order: Order
    replayed: bool


@dataclass(frozen=True, slots=True)
class Preview:
    """What would happen to an order now.

    Attributes:
        estimated_notional, estimated_buying_power_effect: US dollars; None when no price could be had.
    """

    would_be_accepted: bool
    normalized_spec: OrderSpec
    checks: tuple[RiskCheckResult, ...]
    estimated_notional: Decimal | None
    estimated_buying_power_effect: Decimal | None


@dataclass(frozen=True, slots=True)
class ReplaceRequest:
    """New values for an order.

    Attributes:
        strategy_id: Whose key space `client_order_id` is in.
        client_order_id: The key of this replace, not of the order.
        expected_version: Replace only if the order still has it; None does not ask.
    """

    ref: OrderRef
    strategy_id: str
    client_order_id: str
    changes: OrderChanges
    valid_until_ns: int
    expected_version: int | None = None

    def fingerprint(self) -> str:
        """SHA-256 of the content that a replay of the key must repeat."""
        ref = [self.ref.order_id, self.ref.client_order_id, self.ref.venue_order_id, self.ref.strategy_id]
        content: dict[str, object] = {"ref": ref, "expected_version": self.expected_version}
        return fingerprint_of("ReplaceOrder", content | self.changes.canonical())


@dataclass(frozen=True, slots=True)
class Canceled:
    """The order after the cancel was asked for; `already_terminal` when there was nothing left to cancel."""

    order: Order
    already_terminal: bool


@dataclass(frozen=True, slots=True)
class CancelScope:
    """Which orders to cancel.

    Attributes:
        strategy_id: None for every strategy and orders from outside.
        symbols: Empty for all.
    """

    strategy_id: str | None
    symbols: frozenset[str] = frozenset()
    side: OrderSide | None = None


@dataclass(frozen=True, slots=True)
class CancelResult:
    """One order of a mass cancel: its state when the cancel was recorded, or why it was not."""

    order_id: str
    state: OrderState
    error: GatewayError | None = None


@dataclass(frozen=True, slots=True)
class CanceledMany:
    """What was asked for, and the sequence of the book before which the orders were admitted."""

    results: tuple[CancelResult, ...]
    sequence: int


@dataclass(frozen=True, slots=True)
class CloseRequest:
    """Which position to close, and how much of it; neither size: all of it.

    Attributes:
        percentage: More than 0, at most 100.
        valid_until_ns: None: a while after the cancels are done, see `TradingWorkflow`.
    """

    strategy_id: str
    symbol: str
    client_order_id: str
    quantity: Decimal | None = None
    percentage: Decimal | None = None
    cancel_orders: bool = False
    valid_until_ns: int | None = None

    def fingerprint(self) -> str:
        """SHA-256 of the content that a replay of the key must repeat."""
        content: dict[str, object] = {
            "symbol": self.symbol,
            "quantity": None if self.quantity is None else format_decimal(self.quantity),
            "percentage": None if self.percentage is None else format_decimal(self.percentage),
            "cancel_orders": self.cancel_orders,
        }
        return fingerprint_of("ClosePosition", content)


@dataclass(frozen=True, slots=True)
class CloseManyRequest:
    """Close every position of the account; each order's key is `{prefix}-{symbol without slash}`."""

    strategy_id: str
    client_order_id_prefix: str
    cancel_orders: bool = False


@dataclass(frozen=True, slots=True)
class CloseResult:
    """One position of ClosePositions: the closing order, or why there is none."""

    symbol: str
    outcome: Submitted | GatewayError
