"""The command line as its user meets it: real processes, real sockets, real signals."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.serve import EXIT_CONFIG
from trading_gateway import Client, new_key
from trading_gateway.v1 import trading_pb2 as pb

COMMAND = [sys.executable, "-m", "gateway"]
START_S_MAX = 30
STOP_S_MAX = 30


def environment(**extra: str) -> dict[str, str]:
    """This process's, less what would be settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "APCA_", "ALPACA_"))}
    return kept | extra


def run(*arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself."""
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=30, env=environment(**extra)
    )


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`serve` on a free port, and its address."""
    child = subprocess.Popen(
        [*COMMAND, "serve", "--listen", "127.0.0.1:0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(),
    )
    try:
        assert child.stdout is not None
        line = child.stdout.readline()
        yield child, line.rsplit(" ", 1)[1].strip()
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()
        child.stdout.close()


def children_of(pid: int) -> list[int]:
    """Processes that a process started and that still run."""
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + STOP_S_MAX
    while is_alive(pid):
        assert time.monotonic() < deadline, f"process {pid} goes on"
        time.sleep(0.02)


@pytest.mark.slow
def test_a_first_run_and_a_second_meet_the_same_account(tmp_path: Path) -> None:
    """Quotes within a second, a market buy filled within three, figures that agree to the cent, and all of it kept."""
    with serving("--data-dir", str(tmp_path)) as (gateway, target), Client(target) as client:
        began = time.monotonic()
        next(message for message in client.stream_quotes(["AAPL", "MSFT"]) if message.quotes)
        assert time.monotonic() - began < 1
        cash_before = Decimal(client.get_account(max_staleness_s=0).cash)
        began = time.monotonic()
        answer = client.submit_order(
            client_order_id=new_key(), symbol="AAPL", side="buy", quantity="2", order_type="market", time_in_force="day"
        )
        order = client.wait_for(answer.order, timeout_s=3)
        assert time.monotonic() - began < 3
        assert order.state == pb.ORDER_STATE_FILLED
        position = client.get_position("AAPL", max_staleness_s=0)
        account = client.get_account(max_staleness_s=0)
        assert client.get_order(order).filled_quantity == position.quantity == "2"
        assert position.average_entry_price == order.filled_average_price
        assert cash_before - Decimal(account.cash) == Decimal(position.cost_basis)
        emulator = children_of(gateway.pid)
        gateway.send_signal(signal.SIGINT)
        assert gateway.wait(STOP_S_MAX) == 0
        for pid in emulator:
            wait_until_gone(pid)

    with serving("--data-dir", str(tmp_path)) as (gateway, target), Client(target) as client:
        assert client.get_position("AAPL").quantity == "2"
        assert client.get_account().cash == account.cash
        again = client.get_order(pb.OrderRef(client_order_id=order.client_order_id))
        assert (again.order_id, again.state) == (order.order_id, pb.ORDER_STATE_FILLED)
        second = run("serve", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path))
        assert second.returncode == 1
        assert "another gateway runs on the data directory" in second.stderr
        third = run("serve", "--listen", target)
        assert third.returncode == 1
        assert target in third.stderr
        emulator = children_of(gateway.pid)
        gateway.kill()
        gateway.wait()
        for pid in emulator:  # its parent died without a word
            wait_until_gone(pid)


@pytest.mark.slow
def test_the_command_line_answers_questions() -> None:
    with serving() as (_, target):
        account = run("account", "--target", target, "--json")
        assert json.loads(account.stdout)["equity"] == "100000"
        quotes = run("quotes", "AAPL", "--target", target)
        assert re.search(r"AAPL\s+[0-9.]+", quotes.stdout)
        assert run("positions", "--target", target).returncode == 0
        assert run("orders", "--target", target).returncode == 0
        assert run("health", "--target", target).stdout == "SERVING\n"
        doctor = run("doctor", "--target", target)
        assert doctor.returncode == 0, doctor.stdout
        assert "!!" not in doctor.stdout
        wrong = run("quotes", "ZZZZZZ", "--target", target)
        assert wrong.returncode == 1
        assert "NOT_FOUND" in wrong.stderr


@pytest.mark.parametrize(
    ("arguments", "extra", "code", "said"),
    [
        (["--venue", "live"], {}, EXIT_CONFIG, "no durable journal, no identities, no TLS and no risk limits"),
        (["--venue", "paper"], {}, EXIT_CONFIG, "paper needs keys"),
        (["--venue", "moon"], {}, EXIT_CONFIG, "venue: Input should be"),
        (["--venue", "paper", "--seed", "1"], {}, 2, "--seed"),
        (["--listen", "0.0.0.0:0", "--venue-url", "http://127.0.0.1:1"], {}, 1, "loopback"),
        (["--venue-url", "not an address"], {}, 2, "address"),
        ([], {"GATEWAY_LISTNE": "x"}, EXIT_CONFIG, "GATEWAY_LISTNE"),
    ],
)
def test_serve_refuses_in_plain_words(arguments: list[str], extra: dict[str, str], code: int, said: str) -> None:
    done = run("serve", *arguments, **extra)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_questions_without_a_gateway_fail_with_a_remedy() -> None:
    done = run("account", "--target", "127.0.0.1:1")
    assert done.returncode == 1
    assert "UNAVAILABLE" in done.stderr
    assert "trading-gateway serve" in done.stderr
    doctor = run("doctor", "--target", "127.0.0.1:1", "--json")
    assert doctor.returncode == 1
    found: list[dict[str, Any]] = json.loads(doctor.stdout)
    assert next(finding for finding in found if finding["subject"] == "gateway")["remedy"]


def test_help_is_quick_and_version_is_told() -> None:
    """--help must not import alpaca, pandas or grpc's world."""
    probe = "import sys; from gateway.cli.app import app; sys.exit('alpaca' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], check=False, timeout=30).returncode == 0
    assert re.fullmatch(r"trading-gateway [0-9.]+\n", run("version").stdout)
