"""Starts that end before they serve: what is said of them, and what the next one does. Real processes."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest

from gateway.cli.serve import CRASHED_STARTS_MAX, EXIT_CONFIG
from gateway.domain.models.orders import OrderEventKind
from gateway.infrastructure.persistence.stores import open_stores
from gateway.infrastructure.start_record import FILE_NAME
from tests.infrastructure.persistence.samples import followed
from tests.test_serve import COMMAND, NOBODY, ask, environment, run, serving
from trading_gateway import Client
from trading_gateway.errors import GatewayError
from trading_gateway.v1 import trading_pb2 as pb

WAIT_S_MAX = 20.0


def begun(folder: Path) -> int:
    path = folder / FILE_NAME
    return len(path.read_text().splitlines()) if path.exists() else 0


def crash(folder: Path) -> None:
    """A start that is killed before it serves."""
    known = begun(folder)
    command = [*COMMAND, "serve", "--listen", "127.0.0.1:0", "--data-dir", str(folder)]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
    deadline = time.monotonic() + WAIT_S_MAX
    while begun(folder) == known:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    child.kill()
    child.wait()


def resting(client: Client, key: str) -> pb.Order:
    return client.submit_order(
        client_order_id=key, symbol="AAPL", side="buy", quantity="1", order_type="limit", limit_price="1",
        time_in_force="day",
    ).order  # fmt: skip


@pytest.mark.slow
def test_after_three_crashes_it_begins_halted_until_people_say_otherwise(tmp_path: Path) -> None:
    crash(tmp_path)
    with (tmp_path / FILE_NAME).open("a") as file:  # two more, as quick as a supervisor may be
        file.write(f"{time.time_ns()}\n" * (CRASHED_STARTS_MAX - 1))
    with serving("--data-dir", str(tmp_path)) as (_, target), Client(target) as client:
        state = json.loads(ask("state", "--target", target, "--json").stdout)
        assert (state["mode"], state["set_by"]) == ("TRADING_MODE_HALTED", "start")
        assert f"last {CRASHED_STARTS_MAX} starts" in state["reason"]
        with pytest.raises(GatewayError, match="TRADING_HALTED"):
            resting(client, "new")
        assert not list(client.list_orders()), "reads are answered"
        resumed = ask("resume", "--target", target, "--reason", "looked into", "--expected-version", state["version"])
        assert resumed.exit_code == 0, resumed.stderr
        assert resting(client, "new").order_id
    assert begun(tmp_path) == 0


async def test_an_event_that_makes_no_sense_is_named(tmp_path: Path) -> None:
    """Its row is what was written, and follows the chain; only nothing can be made of it."""
    stores = open_stores(tmp_path, 1, 10)
    await stores.journal.append([followed(7, OrderEventKind.SUBMITTED)])
    await stores.journal.close()
    done = run("serve", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path), "--venue-url", f"http://{NOBODY}")
    assert done.returncode == EXIT_CONFIG, done.stderr
    assert "event 1 of the journal (submitted of order order-7) cannot be replayed" in done.stderr
    assert "Traceback" not in done.stderr
    assert begun(tmp_path) == 0, "it said why"
