"""RiskService: the switch that stops everything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from trading_gateway.call import Call, path, read, whole
from trading_gateway.v1 import risk_pb2 as pb
from trading_gateway.values import number

if TYPE_CHECKING:
    Mode: TypeAlias = Literal["active", "reducing", "halted", "killed"] | pb.TradingMode.ValueType

_KILL_WAIT_S: Final = 5.0
"""So long the gateway waits until everything is canceled."""


def get_trading_state() -> Call[pb.TradingState]:
    """Whether the account may trade."""
    return read(
        "RiskService/GetTradingState",
        pb.GetTradingStateRequest(),
        pb.GetTradingStateResponse,
        lambda response: response.trading_state,
    )


def set_trading_state(
    mode: Mode, *, reason: str = "", expected_version: int | None = None
) -> Call[pb.SetTradingStateResponse]:
    """Stop trading, or allow it again; "killed" also cancels everything and waits for it, 5 s at most.

    To stop is repeated after ambiguous errors, for it may be said twice. With `expected_version` nothing is repeated:
    after an ambiguous error `get_trading_state` tells.

    Args:
        mode: "active", "reducing", "halted" or "killed".
        reason: Required to loosen.
        expected_version: Required to loosen: the TradingState.version seen.
    """
    request = pb.SetTradingStateRequest(
        mode=number(pb.TradingMode, mode), reason=reason, expected_version=expected_version
    )
    return Call(
        path("RiskService/SetTradingState"),
        request,
        pb.SetTradingStateResponse,
        whole,
        repeatable=expected_version is None,
        wait_s=_KILL_WAIT_S if request.mode == pb.TRADING_MODE_KILLED else 0.0,
        prompt=True,
    )
