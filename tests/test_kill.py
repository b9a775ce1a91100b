"""The kill switch, wired as in a real process: how soon, by which way, through what trouble; ten times the goals."""

from __future__ import annotations

import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest

from gateway.domain.models.simulation import FaultKind
from tests.bench.kill import (
    GONE_GOAL_S,
    LAST_OPENING_GOAL_S,
    SATURATING_RPCS,
    KillStage,
    Measured,
    saturated,
)
from tests.emulator.host import EmulatorHost, LoopThread

TEN_TIMES = 10


@pytest.fixture
def kill_stage(tmp_path: Path) -> Iterator[Any]:
    """Sets up one gateway at a distance from its venue."""
    thread = LoopThread()
    venues = EmulatorHost(thread)
    stages: list[KillStage] = []

    def set_up(**settings: Any) -> KillStage:
        stages.append(KillStage(thread, venues(cash=Decimal(1_000_000_000)), tmp_path, **settings))
        return stages[-1]

    yield set_up
    for stage in stages:
        stage.close()
    venues.stop_all()
    thread.close()


def check(found: Measured) -> None:
    print(found)
    assert found.last_opening_s <= TEN_TIMES * LAST_OPENING_GOAL_S
    assert found.gone_s <= TEN_TIMES * GONE_GOAL_S


@pytest.mark.slow
@pytest.mark.parametrize("way", ["rpc", "signal", "file"])
def test_everything_is_gone_in_time_while_orders_keep_coming(kill_stage: Any, way: str) -> None:
    stage = kill_stage()
    stage.rest()
    with stage.orders_coming():
        time.sleep(0.3)
        found = stage.measure(getattr(stage, f"kill_by_{way}"))
    check(found)
    assert found.sent > 100
    assert stage.kill_by_rpc().all_gone


@pytest.mark.slow
def test_it_goes_through_429s_and_lost_answers(kill_stage: Any) -> None:
    """Twenty orders of which nobody knows whether they are there, and a venue that refuses the first cancels."""
    stage = kill_stage(venue_read_timeout_ms=500)
    stage.venue.fault(FaultKind.ANSWER_LOST, "POST /v2/orders", count=20)
    stage.rest(40)
    stage.venue.fault(FaultKind.HTTP_429, "DELETE /v2/orders", count=3, delay_ms=30_000)
    found = stage.measure(stage.kill_by_signal)
    check(found)
    assert stage.venue.requests("DELETE /v2/orders") >= 4
    assert stage.venue.requests("DELETE /v2/orders/{order_id}") == 0, "never one request each"


@pytest.mark.slow
@pytest.mark.parametrize("way", ["signal", "file"])
def test_it_works_while_grpc_takes_no_more_calls(kill_stage: Any, way: str) -> None:
    stage = kill_stage(concurrent_rpcs_max=SATURATING_RPCS, streams_max=1)
    stage.rest(20)
    with saturated(stage.target):
        with pytest.raises(grpc.RpcError) as caught:
            stage.kill_by_rpc()
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        check(stage.measure(getattr(stage, f"kill_by_{way}")))
