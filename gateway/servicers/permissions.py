"""One table: method → what a caller must hold, and how the doors treat it.

The server refuses to start on a method without a row, so that no rpc is ever open by oversight. A row names a
scope, or several of which one is enough; health alone is public, and reflection needs any token where tokens are
needed. What a caller may do with one order, strategy or symbol is decided where that is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from gateway.application.commands import CANCEL_WAIT_MAX_MS
from gateway.domain.models.identity import Scope
from gateway.domain.types import BudgetLane, Caller
from gateway.services.client_limits import Draws


class Access(StrEnum):
    """What stands in the place of a scope where none is needed."""

    PUBLIC = "public"
    ANY_TOKEN = "any token"  # noqa: S105 - a word, not a secret


@dataclass(frozen=True, slots=True)
class MethodRule:
    """How one method is treated.

    Attributes:
        access: What the caller must hold: one of these scopes.
        lane: The part of the venue's request budget that the call draws on.
        carries_key: The request has a client_order_id, or the prefix of some, so every definite error says what
            becomes of it, and nothing is refused before the key was looked up: draining is then the application
            room's to tell.
        wait_ms_max: How long the request may ask to wait, beside the time of any call.
        draws: Which of its client's budgets a call draws on.
        subscribes: The request names symbols that are followed as long as the stream lasts.
        light_command: Of a stream of commands, the one that costs next to nothing, by its field's name.
    """

    access: Access | frozenset[Scope]
    lane: BudgetLane = BudgetLane.READ
    carries_key: bool = False
    wait_ms_max: int = 0
    draws: Draws = Draws.READS
    subscribes: bool = False
    light_command: str = ""

    def allows(self, caller: Caller) -> bool:
        """Whether a caller may use the method at all."""
        return isinstance(self.access, Access) or not self.access.isdisjoint(caller.scopes)

    @property
    def scope_named(self) -> str:
        """The scope, or the scopes, as a refusal names them."""
        return self.access.value if isinstance(self.access, Access) else " or ".join(sorted(self.access))


def _needs(
    *scopes: Scope,
    lane: BudgetLane = BudgetLane.READ,
    key: bool = False,
    wait_ms_max: int = 0,
    draws: Draws = Draws.READS,
    subscribes: bool = False,
) -> MethodRule:
    return MethodRule(frozenset(scopes), lane, key, wait_ms_max, draws, subscribes)


_QUESTION: Final = _needs(Scope.ORDERS_READ, Scope.ORDERS_READ_ANY)
_LOOKUP: Final = _needs(Scope.ORDERS_READ, Scope.ORDERS_READ_ANY, lane=BudgetLane.LOOKUP)
_TRADE: Final = _needs(Scope.ORDERS_TRADE, lane=BudgetLane.ORDER, key=True, draws=Draws.ORDERS)
_CANCEL: Final = _needs(Scope.ORDERS_TRADE, Scope.ORDERS_CANCEL_ANY, lane=BudgetLane.CANCEL, draws=Draws.CANCELS)
_CANCEL_AND_WAIT: Final = replace(_CANCEL, wait_ms_max=CANCEL_WAIT_MAX_MS)
# A position is the account's, whoever's orders made it.
_CLOSE: Final = _needs(Scope.ACCOUNT_TRADE, lane=BudgetLane.ORDER, key=True, draws=Draws.ORDERS)
_MARKET: Final = _needs(Scope.MARKET_DATA_READ)
_SUBSCRIBE: Final = _needs(Scope.MARKET_DATA_READ, subscribes=True)
_SESSION: Final = replace(_MARKET, light_command="credit")
_ACCOUNT_READ: Final = _needs(Scope.ACCOUNT_READ)
_SIMULATE: Final = _needs(Scope.SIMULATION_ADMIN)
_PUBLIC: Final = MethodRule(Access.PUBLIC)
_ANY_TOKEN: Final = MethodRule(Access.ANY_TOKEN)

_TRADING = "/trading_gateway.v1.TradingService/"
_MARKET_DATA = "/trading_gateway.v1.MarketDataService/"
_ACCOUNT = "/trading_gateway.v1.AccountService/"
_REFERENCE = "/trading_gateway.v1.ReferenceDataService/"
_RISK = "/trading_gateway.v1.RiskService/"
_SIMULATION = "/trading_gateway.v1.SimulationService/"
_OPERATIONS = "/trading_gateway.v1.OperationsService/"
_HEALTH = "/grpc.health.v1.Health/"

METHODS: Final[Mapping[str, MethodRule]] = MappingProxyType(
    {
        _TRADING + "SubmitOrder": _TRADE,
        _TRADING + "PreviewOrder": _needs(Scope.ORDERS_TRADE),
        _TRADING + "ReplaceOrder": _TRADE,
        _TRADING + "CancelOrder": _CANCEL_AND_WAIT,
        _TRADING + "CancelOrders": _CANCEL,
        _TRADING + "GetOrder": _LOOKUP,
        _TRADING + "ListOrders": _QUESTION,
        _TRADING + "ListFills": _QUESTION,
        _TRADING + "GetOrderTimeline": _QUESTION,
        _TRADING + "ClosePosition": _CLOSE,
        _TRADING + "ClosePositions": _CLOSE,
        _TRADING + "StreamOrderUpdates": _QUESTION,
        _MARKET_DATA + "GetLatestQuotes": _MARKET,
        _MARKET_DATA + "GetLatestTrades": _MARKET,
        _MARKET_DATA + "GetLatestBars": _MARKET,
        _MARKET_DATA + "GetLatestOrderBooks": _MARKET,
        _MARKET_DATA + "GetSnapshots": _MARKET,
        _MARKET_DATA + "ListBars": _MARKET,
        _MARKET_DATA + "ListQuotes": _MARKET,
        _MARKET_DATA + "ListTrades": _MARKET,
        _MARKET_DATA + "StreamHistoricalBars": _MARKET,
        _MARKET_DATA + "StreamQuotes": _SUBSCRIBE,
        _MARKET_DATA + "StreamTrades": _SUBSCRIBE,
        _MARKET_DATA + "StreamBars": _SUBSCRIBE,
        _MARKET_DATA + "MarketDataSession": _SESSION,
        _ACCOUNT + "GetAccount": _ACCOUNT_READ,
        _ACCOUNT + "ListPositions": _ACCOUNT_READ,
        _ACCOUNT + "GetPosition": _ACCOUNT_READ,
        _ACCOUNT + "GetQuota": _ANY_TOKEN,
        _REFERENCE + "GetAsset": _MARKET,
        _REFERENCE + "ListAssets": _MARKET,
        _REFERENCE + "GetMarketClock": _MARKET,
        _REFERENCE + "ListMarketDays": _MARKET,
        # In the room that is kept for cancels: to see and to stop must work in any crowd.
        _RISK + "GetTradingState": _needs(
            Scope.RISK_READ, Scope.RISK_ADMIN, lane=BudgetLane.CANCEL, draws=Draws.CANCELS
        ),
        _RISK + "SetTradingState": _needs(Scope.RISK_ADMIN, lane=BudgetLane.CANCEL, draws=Draws.NOTHING),
        _SIMULATION + "GetSimulation": _SIMULATE,
        _SIMULATION + "InjectFault": _SIMULATE,
        _SIMULATION + "ListFaults": _SIMULATE,
        _SIMULATION + "ClearFaults": _SIMULATE,
        _SIMULATION + "ListLedger": _SIMULATE,
        _OPERATIONS + "MintToken": _needs(Scope.OPERATIONS_ADMIN),
        _OPERATIONS + "RotateToken": _needs(Scope.OPERATIONS_ADMIN),
        # To take rights away must work in any crowd.
        _OPERATIONS + "RevokeToken": _needs(Scope.OPERATIONS_ADMIN, lane=BudgetLane.CANCEL, draws=Draws.CANCELS),
        _OPERATIONS + "ListTokens": _needs(Scope.OPERATIONS_READ, Scope.OPERATIONS_ADMIN),
        _OPERATIONS + "ListScopes": _ANY_TOKEN,
        _HEALTH + "Check": _PUBLIC,
        _HEALTH + "Watch": _PUBLIC,
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": _ANY_TOKEN,
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": _ANY_TOKEN,
    }
)


class MethodWithoutPermission(Exception):
    """A registered method has no row in the table: a mistake of the build, so the server does not start."""


def require_rules(methods: Iterable[str], table: Mapping[str, MethodRule] = METHODS) -> None:
    """Refuse to go on unless every method has a row.

    Raises:
        MethodWithoutPermission: Naming the methods.
    """
    missing = sorted(set(methods) - set(table))
    if missing:
        raise MethodWithoutPermission(f"no row in the permission table for {', '.join(missing)}")
