"""One table: method → what a caller must hold, and how the doors treat it.

The server refuses to start on a method without a row, so that no rpc is ever open by oversight. This build
has one scope, `local`: it serves loopback alone, and whoever reaches it may do everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from gateway.domain.types import BudgetLane


class Scope(StrEnum):
    """What a caller must hold."""

    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class MethodRule:
    """How one method is treated.

    Attributes:
        scope: What the caller must hold.
        lane: The part of the venue's request budget that the call draws on.
        carries_key: The request has a client_order_id, or the prefix of some, so every definite error says what
            becomes of it, and nothing is refused before the key was looked up: draining is then the application
            room's to tell.
        wait_ms_max: How long the request may ask to wait, beside the time of any call.
    """

    scope: Scope = Scope.LOCAL
    lane: BudgetLane = BudgetLane.READ
    carries_key: bool = False
    wait_ms_max: int = 0


READ: Final = MethodRule()
ORDER: Final = MethodRule(lane=BudgetLane.ORDER, carries_key=True)
CANCEL: Final = MethodRule(lane=BudgetLane.CANCEL)
CANCEL_AND_WAIT: Final = MethodRule(lane=BudgetLane.CANCEL, wait_ms_max=30_000)
LOOKUP: Final = MethodRule(lane=BudgetLane.LOOKUP)

_TRADING = "/trading_gateway.v1.TradingService/"
_MARKET_DATA = "/trading_gateway.v1.MarketDataService/"
_ACCOUNT = "/trading_gateway.v1.AccountService/"
_REFERENCE = "/trading_gateway.v1.ReferenceDataService/"
_RISK = "/trading_gateway.v1.RiskService/"
_SIMULATION = "/trading_gateway.v1.SimulationService/"
_HEALTH = "/grpc.health.v1.Health/"

METHODS: Final[Mapping[str, MethodRule]] = MappingProxyType(
    {
        _TRADING + "SubmitOrder": ORDER,
        _TRADING + "PreviewOrder": READ,
        _TRADING + "ReplaceOrder": ORDER,
        _TRADING + "CancelOrder": CANCEL_AND_WAIT,
        _TRADING + "CancelOrders": CANCEL,
        _TRADING + "GetOrder": LOOKUP,
        _TRADING + "ListOrders": READ,
        _TRADING + "ListFills": READ,
        _TRADING + "GetOrderTimeline": READ,
        _TRADING + "ClosePosition": ORDER,
        _TRADING + "ClosePositions": ORDER,
        _TRADING + "StreamOrderUpdates": READ,
        _MARKET_DATA + "GetLatestQuotes": READ,
        _MARKET_DATA + "GetLatestTrades": READ,
        _MARKET_DATA + "GetLatestBars": READ,
        _MARKET_DATA + "GetSnapshots": READ,
        _MARKET_DATA + "ListBars": READ,
        _MARKET_DATA + "StreamQuotes": READ,
        _MARKET_DATA + "StreamTrades": READ,
        _MARKET_DATA + "StreamBars": READ,
        _ACCOUNT + "GetAccount": READ,
        _ACCOUNT + "ListPositions": READ,
        _ACCOUNT + "GetPosition": READ,
        _REFERENCE + "GetAsset": READ,
        _REFERENCE + "ListAssets": READ,
        _REFERENCE + "GetMarketClock": READ,
        _REFERENCE + "ListMarketDays": READ,
        # In the room that is kept for cancels: to see and to stop must work in any crowd.
        _RISK + "GetTradingState": CANCEL,
        _RISK + "SetTradingState": CANCEL,
        _SIMULATION + "GetSimulation": READ,
        _SIMULATION + "InjectFault": READ,
        _SIMULATION + "ListFaults": READ,
        _SIMULATION + "ClearFaults": READ,
        _SIMULATION + "ListLedger": READ,
        _HEALTH + "Check": READ,
        _HEALTH + "Watch": READ,
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": READ,
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": READ,
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
