"""RiskService over a real server: what is refused, what is answered, how long an answer waits."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from gateway.application.commands import CancelResult
from gateway.application.kill_switch import Killed
from gateway.domain.errors import JournalUnavailable
from gateway.domain.models.risk import TradingMode
from gateway.domain.types import OrderState
from tests.bad_requests import TOKEN
from tests.servicers.conftest import Served
from tests.servicers.fakes import NOW_NS, Refused, Rooms, read_error
from trading_gateway.v1 import risk_pb2 as pb, risk_pb2_grpc, trading_pb2


@pytest.fixture
def risk(served: Served) -> Any:
    return risk_pb2_grpc.RiskServiceStub(served.channel())


async def refusal(call: Any) -> Refused:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return read_error(caught.value)


def wanted(mode: pb.TradingMode.ValueType, **fields: Any) -> pb.SetTradingStateRequest:
    return pb.SetTradingStateRequest(mode=mode, **fields)


async def test_a_state_that_was_never_set_is_active(risk: Any) -> None:
    answer = await risk.GetTradingState(pb.GetTradingStateRequest())
    assert answer == pb.GetTradingStateResponse(trading_state=pb.TradingState(mode=pb.TRADING_MODE_ACTIVE))


async def test_every_mode_there_and_back(risk: Any) -> None:
    for version, mode in enumerate((pb.TRADING_MODE_REDUCING, pb.TRADING_MODE_HALTED, pb.TRADING_MODE_KILLED), 1):
        state = (await risk.SetTradingState(wanted(mode))).trading_state
        assert (state.mode, state.version, state.set_by, state.automatic) == (mode, version, "local", False)
        assert state.set_time.ToNanoseconds() == NOW_NS
        assert (await risk.GetTradingState(pb.GetTradingStateRequest())).trading_state == state
    back = await risk.SetTradingState(wanted(pb.TRADING_MODE_ACTIVE, reason="looked into", expected_version=3))
    assert (back.trading_state.version, back.trading_state.reason, back.all_gone) == (4, "looked into", False)


async def test_a_stop_whose_reason_has_a_token_in_it_is_a_stop_and_keeps_no_token(risk: Any) -> None:
    for text in (f"leaked {TOKEN}, twice: {TOKEN}", f"leaked {TOKEN[:40]}, twice: {TOKEN}x"):
        state = (await risk.SetTradingState(wanted(pb.TRADING_MODE_KILLED, reason=text))).trading_state
        assert (state.mode, state.reason) == (pb.TRADING_MODE_KILLED, "leaked ***, twice: ***")


async def test_what_is_no_request(risk: Any) -> None:
    for request, fields in (
        (wanted(pb.TRADING_MODE_UNSPECIFIED), ("mode",)),
        (wanted(9), ("mode",)),  # type: ignore[arg-type]  # no such mode
        (wanted(pb.TRADING_MODE_KILLED, reason="x" * 257), ("reason",)),
        (wanted(pb.TRADING_MODE_KILLED, reason="a\x00b"), ("reason",)),
    ):
        refused = await refusal(risk.SetTradingState(request))
        assert (refused.code, refused.reason, refused.fields) == (
            grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID", fields,
        )  # fmt: skip


async def test_loosening_blindly_is_refused(risk: Any) -> None:
    await risk.SetTradingState(wanted(pb.TRADING_MODE_HALTED))
    blind = await refusal(risk.SetTradingState(wanted(pb.TRADING_MODE_ACTIVE)))
    assert (blind.code, blind.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ("reason", "expected_version"))
    late = await refusal(risk.SetTradingState(wanted(pb.TRADING_MODE_ACTIVE, reason="why", expected_version=7)))
    assert (late.code, late.reason) == (grpc.StatusCode.ABORTED, "VERSION_MISMATCH")
    assert late.metadata["version"] == "1"


async def test_a_kill_answers_with_every_order_and_waits_no_longer_than_its_caller(risk: Any, rooms: Rooms) -> None:
    rooms.kill.killed = Killed(
        (
            CancelResult("gone", OrderState.CANCELED),
            CancelResult("unrecorded", OrderState.PENDING_CANCEL, JournalUnavailable("The disk is gone.")),
        ),
        all_gone=False,
    )
    answer = await risk.SetTradingState(wanted(pb.TRADING_MODE_KILLED), timeout=1.0)
    assert [(result.order_id, result.state, result.status.code) for result in answer.canceled] == [
        ("gone", trading_pb2.ORDER_STATE_CANCELED, 0),
        ("unrecorded", trading_pb2.ORDER_STATE_PENDING_CANCEL, grpc.StatusCode.UNAVAILABLE.value[0]),
    ]
    assert not answer.all_gone
    await risk.SetTradingState(wanted(pb.TRADING_MODE_KILLED))
    assert 0.5 < rooms.kill.waited_s[0] < 1.0
    assert rooms.kill.waited_s[1] == 5.0
    await risk.SetTradingState(wanted(pb.TRADING_MODE_HALTED, reason="why", expected_version=1))
    assert len(rooms.kill.waited_s) == 2
    assert rooms.states.mode is TradingMode.HALTED
