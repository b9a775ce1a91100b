"""Every rpc, whatever comes: refused for a reason or answered, at a bounded cost, and nothing of it at the venue."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Final

import pytest

from gateway.servicers.permissions import METHODS as RULES
from tests.emulator.host import EmulatorHost, LoopThread
from tests.fuzz.campaign import ORDERING, OWN_STATE, fuzz, rpcs
from tests.fuzz.target import CALL_S_MAX, Target, memory_mib, start_target
from tests.gateway_host import GatewayHost

EXAMPLES: Final = int(os.environ.get("FUZZ_EXAMPLES") or 20)
"""For each rpc, the same every time; `make fuzz` takes others, for as long as there is time."""
LOOP_CPU_MS_MAX: Final = 250.0
"""The longest time without a look at other calls."""
GROWTH_MIB_MAX: Final = 64.0
TRADING: Final = "TradingService"


@pytest.fixture(scope="module")
def hosts(gateway_loop: LoopThread, emulator_loop: LoopThread) -> Iterator[GatewayHost]:
    emulators = EmulatorHost(emulator_loop)
    gateways = GatewayHost(gateway_loop, emulators)
    yield gateways
    gateways.stop_all()
    emulators.stop_all()


@pytest.fixture(scope="module")
def halted(hosts: GatewayHost) -> Iterator[Target]:
    target = start_target(hosts)
    yield target
    target.close()


def test_every_rpc_is_tried() -> None:
    assert {rpc.path for rpc in rpcs()} == set(RULES)


@pytest.mark.parametrize("service", sorted({rpc.service for rpc in rpcs()} - OWN_STATE))
def test_whatever_comes_is_answered_or_refused(halted: Target, service: str) -> None:
    before = memory_mib()
    with halted.watched() as watch:
        for rpc in rpcs((service,)):
            tally = fuzz(halted, rpc, EXAMPLES)
            assert tally.cases
            assert halted.stage.is_healthy()
    assert watch.worst_ms < LOOP_CPU_MS_MAX
    assert memory_mib() - before < GROWTH_MIB_MAX
    assert halted.venue()["POST"] + halted.venue()["PATCH"] == halted.orders_before
    assert_idle(halted)


@pytest.mark.parametrize("service", sorted(OWN_STATE))
def test_switches_and_faults_take_whatever_comes(hosts: GatewayHost, service: str) -> None:
    target = start_target(hosts)
    for rpc in rpcs((service,)):
        assert fuzz(target, rpc, EXAMPLES).cases
    assert target.stage.is_healthy()
    target.close()


def test_what_is_refused_while_orders_leave_has_not_left(hosts: GatewayHost) -> None:
    """Orders that are good go out; a refusal is one that the venue gave, or it never heard of the order."""
    target = start_target(hosts, is_halted=False)
    for rpc in rpcs((TRADING,)):
        if rpc.name in ORDERING:
            assert fuzz(target, rpc, EXAMPLES).cases
    assert target.stage.is_healthy()
    target.close()


def assert_idle(target: Target) -> None:
    """No call is under way for ever, and no stream."""
    ends_at = time.monotonic() + CALL_S_MAX
    while target.calls():
        assert time.monotonic() < ends_at, "calls go on for ever"
        time.sleep(0.05)
