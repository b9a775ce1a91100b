"""RiskService: whether the account may trade, and the switch that stops it."""

# ruff: noqa: ARG002 - gRPC's signature; what a call carries beside its request is in call_context()
from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from gateway.application.key_desk import ANSWER_MARGIN_MS
from gateway.application.kill_switch import KillSwitch
from gateway.application.trading_state import TradingStates
from gateway.domain.models.risk import TradingMode
from gateway.domain.types import MS_PER_SECOND
from gateway.servicers.identity import call_context
from gateway.servicers.wire import risk as wire
from trading_gateway.v1 import risk_pb2 as pb, risk_pb2_grpc

KILL_WAIT_MAX_S: Final = 5.0
"""How long an answer to KILLED waits for everything to be gone."""
_ANSWER_MARGIN_S: Final = ANSWER_MARGIN_MS / MS_PER_SECOND


class RiskServicer(risk_pb2_grpc.RiskServiceServicer):
    """The trading state over gRPC.

    Args:
        states: The account's mode.
        kill: Cancels everything.
        monotonic: Seconds, the clock of deadlines.
    """

    def __init__(
        self, states: TradingStates, kill: KillSwitch, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._states = states
        self._kill = kill
        self._monotonic = monotonic

    async def GetTradingState(self, request: pb.GetTradingStateRequest, context: Any) -> pb.GetTradingStateResponse:
        """What is in effect."""
        return pb.GetTradingStateResponse(trading_state=wire.trading_state_to_proto(self._states.current))

    async def SetTradingState(self, request: pb.SetTradingStateRequest, context: Any) -> pb.SetTradingStateResponse:
        """Enter a mode; with KILLED wait a while for the cancels."""
        call = call_context()
        wanted = wire.wanted_state_from_proto(request)
        state = await self._states.set(
            wanted.mode, wanted.reason, call.caller.name, expected_version=wanted.expected_version
        )
        if wanted.mode is not TradingMode.KILLED:
            return wire.set_to_proto(state, None)
        wait_s = min(KILL_WAIT_MAX_S, call.deadline - _ANSWER_MARGIN_S - self._monotonic())
        return wire.set_to_proto(state, await self._kill.progress(wait_s))
