"""Outstanding: what open and unsent orders may still trade, by symbol and side, as running totals.

A projection like any other: worked out anew for a family whenever one of its orders changes, so it cannot leak. Members
of one family (a bracket's exits, an OCO's two halves) can never all trade, and count once; exits of an entry that is
still open hold nothing yet.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from gateway.domain.models.orders import Order, OrderSpec
from gateway.domain.types import OrderSide

_ZERO: Final = Decimal(0)


@dataclass(frozen=True, slots=True)
class Amount:
    """Units, and US dollars of orders that are ordered in dollars."""

    quantity: Decimal = _ZERO
    notional: Decimal = _ZERO

    def at(self, price: Decimal | None) -> Decimal:
        """Units in all; without a price dollars count as nothing."""
        return self.quantity + self.notional / price if self.notional and price else self.quantity


_NOTHING: Final = Amount()
_Slot = tuple[str, OrderSide]


class Outstanding:
    """Running totals."""

    def __init__(self) -> None:
        self._totals: dict[_Slot, Amount] = defaultdict(Amount)
        self._families: dict[str, dict[_Slot, Amount]] = {}

    def total(self, symbol: str, side: OrderSide, without: str = "") -> Amount:
        """What is outstanding in a symbol on a side; `without` names a family to leave out."""
        slot = (symbol, side)
        total = self._totals.get(slot, _NOTHING)
        own = self._families.get(without, {}).get(slot) if without else None
        if own is None:
            return total
        return Amount(total.quantity - own.quantity, total.notional - own.notional)

    def set_spec(self, family_id: str, spec: OrderSpec) -> None:
        """An order that passed the checks and is not in the journal yet."""
        self._set(family_id, {(spec.symbol, spec.side): Amount(spec.quantity or _ZERO, spec.notional or _ZERO)})

    def set_family(self, family_id: str, members: Iterable[Order]) -> None:
        """A family as it is now."""
        amounts: dict[_Slot, Amount] = {}
        entry: Order | None = None
        for order in members:
            if order.state.is_terminal:
                continue
            if not order.parent_order_id:
                entry = order
            elif entry is not None and entry.spec.side is not order.spec.side:
                continue  # it begins when its entry is filled
            slot = (order.spec.symbol, order.spec.side)
            known = amounts.get(slot, _NOTHING)
            amount = _leaves(order)
            amounts[slot] = Amount(max(known.quantity, amount.quantity), max(known.notional, amount.notional))
        self._set(family_id, amounts)

    def forget(self, family_id: str) -> None:
        """The order will not be sent."""
        self._set(family_id, {})

    def _set(self, family_id: str, amounts: dict[_Slot, Amount]) -> None:
        if self._families.get(family_id) == amounts:
            return
        for slot, amount in self._families.pop(family_id, {}).items():
            total = self._totals[slot]
            self._totals[slot] = Amount(total.quantity - amount.quantity, total.notional - amount.notional)
        if not amounts:
            return
        self._families[family_id] = amounts
        for slot, amount in amounts.items():
            total = self._totals[slot]
            self._totals[slot] = Amount(total.quantity + amount.quantity, total.notional + amount.notional)


def _leaves(order: Order) -> Amount:
    """What an order may still trade; while a replace is unsettled, the more of the two."""
    leaves = order.leaves_quantity
    if leaves is None:
        return Amount(_ZERO, order.spec.notional or _ZERO)
    asked = order.pending_replace.quantity if order.pending_replace is not None else None
    return Amount(leaves if asked is None else max(leaves, asked - order.filled_quantity))
