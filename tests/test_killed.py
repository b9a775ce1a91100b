"""`kill -9`, and a signal that cannot wait: what the next life of the process makes of it, on a real disk."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest

from gateway.infrastructure.persistence.database import FILE_NAME
from tests.test_serve import ask, children_of, serving, wait_until_gone
from tests.test_stopping import resting, state, until
from trading_gateway import Client, GatewayError
from trading_gateway.v1 import simulation_pb2 as sim, simulation_pb2_grpc, trading_pb2 as pb

TEST_S_MAX = 180
"""Three lives of a process, on a machine that has other work, too."""
HASTY_S_MAX = 5.0
"""How long a process may take to go that was told twice; a drain waits for 20 s."""


def kill_9(process: subprocess.Popen[str]) -> None:
    """And wait until the emulator, which ends with its parent, has let go of its directory."""
    children = children_of(process.pid)
    process.kill()
    process.wait()
    for child in children:
        wait_until_gone(child)


@contextmanager
def venue_of(target: str) -> Iterator[simulation_pb2_grpc.SimulationServiceStub]:
    with grpc.insecure_channel(target) as channel:
        yield simulation_pb2_grpc.SimulationServiceStub(channel)


def too_much(client: Client) -> GatewayError:
    """An order that the checks deny: its key is spent."""
    with pytest.raises(GatewayError) as caught:
        client.submit_order(
            client_order_id="denied", symbol="AAPL", side="buy", quantity="1000000", order_type="limit",
            limit_price="1000", time_in_force="day",
        )  # fmt: skip
    return caught.value


@pytest.mark.slow
@pytest.mark.timeout(TEST_S_MAX)
def test_what_was_promised_is_kept_by_the_next_life(tmp_path: Path) -> None:
    here = ("--data-dir", str(tmp_path))
    with serving(*here) as (process, target), Client(target) as client, venue_of(target) as venue:
        rests = resting(client, "rests")
        denied = too_much(client)
        assert denied.key == "spent"
        # The venue takes the order, and nobody hears of it: a cancel is owed for what may be there.
        lookups = sim.InjectFaultRequest(fault=sim.FAULT_LOOKUP_ABSENT, symbol="AAPL")
        lookups.delay.FromSeconds(30)
        venue.InjectFault(lookups)
        venue.InjectFault(sim.InjectFaultRequest(fault=sim.FAULT_EVENT_DROPPED, count=-1))
        venue.InjectFault(sim.InjectFaultRequest(fault=sim.FAULT_ANSWER_LOST))
        assert resting(client, "owed").state == pb.ORDER_STATE_OUTCOME_UNKNOWN
        owed = client.cancel_order(pb.OrderRef(client_order_id="owed")).order
        assert (owed.state, owed.HasField("cancel_request_time")) == (pb.ORDER_STATE_OUTCOME_UNKNOWN, True)
        kill_9(process)

    with serving(*here) as (process, target), Client(target) as client:
        until(lambda: client.get_order(owed).state == pb.ORDER_STATE_CANCELED)
        again = too_much(client)
        assert (again.key, again.message, again.metadata) == (denied.key, denied.message, denied.metadata)
        assert resting(client, "rests").order_id == rests.order_id
        assert client.get_order(rests).state == pb.ORDER_STATE_WORKING
        assert ask("kill", "--target", target, "--reason", "a drill").exit_code == 0
        kill_9(process)

    with serving(*here) as (process, target), Client(target) as client:
        assert state(target)["mode"] == "TRADING_MODE_KILLED"
        until(lambda: client.get_order(rests).state == pb.ORDER_STATE_CANCELED)
        with pytest.raises(GatewayError) as refused:
            resting(client, "new")
        assert (refused.value.reason, refused.value.key) == ("TRADING_HALTED", "free")
        assert resting(client, "rests").order_id == rests.order_id
        kill_9(process)

    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as journal:
        pinned = dict(journal.execute("SELECT key, value FROM meta WHERE key IN ('account_id', 'venue')"))
    assert (pinned["venue"], bool(pinned["account_id"])) == ("emulator", True)


@pytest.mark.slow
@pytest.mark.timeout(TEST_S_MAX)
def test_a_second_signal_ends_it_at_once_and_nothing_is_guessed(tmp_path: Path) -> None:
    here = ("--data-dir", str(tmp_path))
    with serving(*here) as (process, target), venue_of(target) as venue, Client(target) as client:
        resting(client, "rests")
        venue.InjectFault(sim.InjectFaultRequest(fault=sim.FAULT_HTTP_429, count=-1))
        waits = client.submit_order(
            client_order_id="waits", symbol="AAPL", side="buy", quantity="1", order_type="limit", limit_price="1",
            time_in_force="day", valid_until=datetime.now(UTC) + timedelta(seconds=50),
        )  # fmt: skip
        assert waits.order.state == pb.ORDER_STATE_SUBMITTING
        children = children_of(process.pid)
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.0)  # it waits for what may still be sent
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(HASTY_S_MAX) == -signal.SIGTERM
        assert time.monotonic() - began < HASTY_S_MAX
        for child in children:
            wait_until_gone(child)

    with serving(*here) as (_, target), Client(target) as client:
        assert client.get_order(waits.order).state == pb.ORDER_STATE_OUTCOME_UNKNOWN
