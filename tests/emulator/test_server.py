"""Starting, stopping, and what is still there afterwards; the emulator as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
import requests

from gateway.emulator.server import EmulatorOptions
from tests.emulator.host import EmulatorHost, RunningEmulator
from tests.emulator.rest_client import KEYS, RestClient

CHILD = """
import sys
from pathlib import Path
from gateway.emulator.server import EmulatorOptions, run
options = EmulatorOptions(data_dir=Path(sys.argv[1]) if sys.argv[1] else None)
sys.exit(run(options, ready=lambda url: print(url, flush=True), parent_fd=int(sys.argv[2]) or None))
"""


def bought(emulator: RunningEmulator) -> dict:
    """Buy, wait for the fill, leave an order open, and read the account."""
    rest = RestClient(emulator)
    order = rest.order(type="market", limit_price=None, time_in_force="day", qty="7").json()
    while rest.get(f"/v2/orders/{order['id']}")["status"] != "filled":
        pass
    rest.order(client_order_id="left-open")
    found = state(rest)
    rest.close()
    return found


def state(rest: RestClient) -> dict:
    orders = rest.get("/v2/orders", status="all")
    positions = {position["symbol"]: position["qty"] for position in rest.get("/v2/positions")}
    return {"cash": rest.get("/v2/account")["cash"], "positions": positions, "orders": orders}


def test_a_restart_meets_the_same_account(start_emulator: EmulatorHost, tmp_path: Path) -> None:
    first = start_emulator(data_dir=tmp_path, seed=3)
    before = bought(first)
    first.stop()
    assert before["positions"] == {"AAPL": "7"}
    again = RestClient(start_emulator(data_dir=tmp_path, seed=3, cash=Decimal(5)))
    assert state(again) == before
    assert {order["status"] for order in before["orders"]} == {"filled", "new"}
    again.close()


def test_without_a_directory_everything_is_new(start_emulator: EmulatorHost) -> None:
    """Ids too: whoever remembers those of an earlier life must not meet another order under one of them."""
    before = bought(start_emulator())
    later = start_emulator(cash=Decimal("12345.67"))
    rest = RestClient(later)
    assert state(rest) == {"cash": "12345.67", "positions": {}, "orders": []}
    after = bought(later)
    assert not {order["id"] for order in before["orders"]} & {order["id"] for order in after["orders"]}
    rest.close()


def test_a_directory_is_held_by_one_emulator_alone(start_emulator: EmulatorHost, tmp_path: Path) -> None:
    first = start_emulator(data_dir=tmp_path)
    with pytest.raises(OSError, match="another emulator holds"):
        start_emulator(data_dir=tmp_path)
    first.stop()
    assert start_emulator(data_dir=tmp_path).url


def test_a_taken_port_is_refused(start_emulator: EmulatorHost) -> None:
    taken = start_emulator().url.removeprefix("http://")
    with pytest.raises(OSError, match="in use"):
        start_emulator(listen=taken)


@pytest.mark.parametrize("listen", ["nowhere", "127.0.0.1:http", "127.0.0.1:70000"])
def test_an_address_that_is_none_is_refused(listen: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        _ = EmulatorOptions(listen=listen).host_and_port


@pytest.fixture
def child(tmp_path: Path):
    """Starts emulators as processes: (data directory, fd that the parent's death closes) → (process, url)."""
    started: list[subprocess.Popen[str]] = []

    def start(folder: Path | str, parent_fd: int = 0) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(folder), str(parent_fd)],
            stdout=subprocess.PIPE, text=True, pass_fds=(parent_fd,) if parent_fd else (),
        )  # fmt: skip
        started.append(process)
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_sigterm_ends_it_cleanly_and_sigkill_loses_nothing(child, tmp_path: Path) -> None:
    killed, url = child(tmp_path)
    order = {"symbol": "AAPL", "qty": "1", "side": "buy", "type": "limit", "limit_price": "9", "time_in_force": "gtc"}
    placed = requests.post(f"{url}/v2/orders", json=order, headers=KEYS, timeout=5).json()
    killed.kill()
    killed.wait(5)
    process, url = child(tmp_path)
    found = requests.get(f"{url}/v2/orders/{placed['id']}", headers=KEYS, timeout=5).json()
    assert (found["status"], found["client_order_id"]) == ("new", placed["client_order_id"])
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == 0


def test_it_ends_when_its_parent_does(child) -> None:
    reading, writing = os.pipe()
    process, url = child("", reading)
    os.close(reading)
    assert requests.get(f"{url}/v2/clock", headers=KEYS, timeout=5).status_code == 200
    os.close(writing)
    assert process.wait(5) == 0
