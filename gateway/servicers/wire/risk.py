"""risk.proto: the account's trading state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.application.kill_switch import Killed
from gateway.domain.models.risk import REASON_CHARACTERS_MAX, TradingMode, TradingState
from gateway.domain.types import TwoWay, without_tokens
from gateway.servicers.wire.common import RequestReader, timestamp_to_proto
from gateway.servicers.wire.trading import cancel_result_to_proto
from trading_gateway.v1 import risk_pb2 as pb

TRADING_MODE: Final = TwoWay(
    {
        TradingMode.ACTIVE: pb.TRADING_MODE_ACTIVE,
        TradingMode.REDUCING: pb.TRADING_MODE_REDUCING,
        TradingMode.HALTED: pb.TRADING_MODE_HALTED,
        TradingMode.KILLED: pb.TRADING_MODE_KILLED,
    }
)


@dataclass(frozen=True, slots=True)
class WantedState:
    """What a request asks for; `expected_version` None when it does not say."""

    mode: TradingMode
    reason: str
    expected_version: int | None


def wanted_state_from_proto(request: pb.SetTradingStateRequest) -> WantedState:
    """The mode wanted, and why; FieldInvalid with every bad field."""
    reader = RequestReader()
    mode = reader.choice("mode", TRADING_MODE, request.mode)
    if len(request.reason) > REASON_CHARACTERS_MAX or not request.reason.isprintable():
        reader.refuse("reason", f"must be at most {REASON_CHARACTERS_MAX} printable characters")
    reader.finish()
    reason = without_tokens(request.reason)  # not refused: a stop waits for nothing that can be mended without it
    return WantedState(mode, reason, request.expected_version if request.HasField("expected_version") else None)


def trading_state_to_proto(state: TradingState) -> pb.TradingState:
    """What is in effect."""
    return pb.TradingState(
        mode=TRADING_MODE[state.mode],
        reason=state.reason,
        set_by=state.set_by,
        automatic=state.automatic,
        set_time=timestamp_to_proto(state.set_time_ns) if state.version else None,
        version=state.version,
    )


def set_to_proto(state: TradingState, killed: Killed | None) -> pb.SetTradingStateResponse:
    """What is in effect now; with KILLED how far the cancels are."""
    return pb.SetTradingStateResponse(
        trading_state=trading_state_to_proto(state),
        canceled=() if killed is None else map(cancel_result_to_proto, killed.results),
        all_gone=killed is not None and killed.all_gone,
    )
