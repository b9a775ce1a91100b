"""Ready-made sets of scopes, for `token mint --role`. A role is nothing but its scopes: a token keeps these alone."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from gateway.domain.models.identity import OPERATOR_SCOPES, Scope

_SEES: Final = frozenset({Scope.MARKET_DATA_READ, Scope.ACCOUNT_READ, Scope.RISK_READ})
_TRADER: Final = _SEES | {Scope.ORDERS_READ, Scope.ORDERS_TRADE}


class Role(StrEnum):
    """What a set is called."""

    trader = "trader"
    reader = "reader"
    operator = "operator"


def scopes_of(role: str, *, has_strategy: bool) -> frozenset[Scope]:
    """What a role stands for.

    Args:
        role: Which set.
        has_strategy: The token is a strategy's: a reader then sees its orders alone.
    """
    if role == Role.operator:
        return OPERATOR_SCOPES
    if role == Role.trader:
        return _TRADER
    return _SEES | {Scope.ORDERS_READ if has_strategy else Scope.ORDERS_READ_ANY}


def _shown(scopes: frozenset[Scope]) -> str:
    return ", ".join(sorted(scopes))


ROLES_HELP: Final = (
    f"trader: {_shown(_TRADER)}. "
    f"reader: {_shown(_SEES)}, and orders:read with --strategy, else orders:read_any. "
    f"operator: all but {_shown(frozenset(Scope) - OPERATOR_SCOPES)}."
)
"""What each stands for, for people."""
