"""The command line as its user meets it: real processes, real sockets, real signals."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from gateway.cli import doctor
from gateway.cli.app import app
from gateway.cli.embedded_emulator import READY
from gateway.cli.serve import EXIT_CONFIG, check_venue, read_settings
from trading_gateway import Client, new_key
from trading_gateway.v1 import trading_pb2 as pb

COMMAND = [sys.executable, "-m", "gateway"]
STOP_S_MAX = 30
FOLLOW_S_MAX = 30.0
LOOK_S = 0.1
FILE_BYTES_MAX = 1 << 22
NOBODY = "127.0.0.1:1"


def environment(**extra: str) -> dict[str, str]:
    """This process's, less what would be settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "APCA_", "ALPACA_"))}
    return kept | extra


def run(*arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself."""
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=30, env=environment(**extra)
    )


def ask(*arguments: str, **extra: str) -> Result:
    """The same in this process, which is quicker: its exit code and what it printed."""
    ours = {name: None for name in os.environ if name.startswith(("GATEWAY_", "APCA_", "ALPACA_"))}
    return CliRunner().invoke(app, arguments, env={**ours, **extra})


@contextmanager
def serving(*arguments: str, **extra: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`serve` on a free port, and its address."""
    child = subprocess.Popen(
        [*COMMAND, "serve", "--listen", "127.0.0.1:0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(**extra),
    )
    try:
        assert child.stdout is not None
        line = child.stdout.readline()
        address = line.rsplit(" ", 1)[1].strip()
        hints = [child.stdout.readline() for _ in range(4)]
        assert [address in hint for hint in hints] == [False, True, True, True], hints
        yield child, address
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
        assert "add_port" not in third.stderr  # what grpc's core says of it
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
        assert run("health", "--target", target).stdout == "SERVING\n"
        service = ("--service", "trading_gateway.v1.TradingService")
        assert json.loads(ask("health", "--target", target, *service, "--json").stdout) == {"status": "SERVING"}
        assert re.search(r"AAPL\s+[0-9.]+", ask("quotes", "AAPL", "--target", target).stdout)
        assert json.loads(ask("quotes", "AAPL", "--target", target, "--json").stdout)["quotes"][0]["symbol"] == "AAPL"
        healthy = ask("doctor", "--target", target)
        assert healthy.exit_code == 0, healthy.stdout
        assert "!!" not in healthy.stdout
        wrong = ask("quotes", "ZZZZZZ", "--target", target)
        assert wrong.exit_code == 1
        assert "NOT_FOUND: No asset has this symbol." in wrong.stderr
        assert "symbols[1]: is not spelled" in ask("quotes", "AAPL", "msft", "--target", target).stderr
        with Client(target) as client:
            order: Any = {"symbol": "AAPL", "side": "buy", "order_type": "market", "time_in_force": "day"}
            answer = client.submit_order(client_order_id="bought", quantity="2", **order)
            client.wait_for(answer.order, timeout_s=10)
        (placed,) = json.loads(ask("orders", "--target", target, "--json").stdout)["orders"]
        assert (placed["client_order_id"], placed["state"]) == ("bought", "ORDER_STATE_FILLED")
        (held,) = json.loads(ask("positions", "--target", target, "--json").stdout)["positions"]
        assert (held["symbol"], held["quantity"]) == ("AAPL", "2")
        table = ask("orders", "--target", target).stdout
        assert re.search(rf"AAPL\s+buy\s+2\s+market\s+FILLED.*default\.bought\s+{placed['order_id']}", table)
        assert re.search(r"AAPL\s+2\s", ask("positions", "--target", target).stdout)
        (fill,) = json.loads(ask("fills", "--target", target, "--json").stdout)["fills"]
        assert (fill["order_id"], fill["quantity"]) == (placed["order_id"], "2")
        assert re.search(
            rf"AAPL\s+buy\s+2\s.*default\.bought\s+{placed['order_id']}", ask("fills", "--target", target).stdout
        )
        story = json.loads(ask("timeline", placed["order_id"], "--target", target, "--json").stdout)
        assert [step["kind"] for step in story["entries"] if step["kind"] != "KIND_RISK"][:2] == [
            "KIND_INTENT",
            "KIND_REQUEST",
        ]
        told = ask("timeline", "--client-order-id", "bought", "--target", target).stdout
        assert re.search(rf"^{placed['order_id']} FILLED$", told, re.MULTILINE)
        assert re.search(r"\+[0-9.]+ ms\s+request\s+to be sent to the venue, attempt 1", told)
        assert re.search(r"\+[0-9.]+ ms\s+response\s+POST /v2/orders answered HTTP 200 after [0-9.]+ ms\s+\S", told)
        assert ask("timeline", "--target", target).exit_code == 2
        followed(target)


def read_all(file: IO[str]) -> str:
    """What another process has written so far; its own place in the file is not ours."""
    return os.pread(file.fileno(), FILE_BYTES_MAX, 0).decode()


def followed(target: str) -> None:
    """`quotes --follow`: a message a line for programs, a quote a line with age and feed state, until Ctrl-C."""
    for option, wanted in (
        ("--json", r'(?m)^\{"quotes".*"symbol": "AAPL".*\}$'),
        ("", r"AAPL\s+[0-9.]+\s.*[0-9]\.[0-9] s\s+iex"),
    ):
        command = [*COMMAND, "quotes", "--follow", "AAPL", "NOPE", "--target", target, *filter(None, [option])]
        with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as complained:
            child = subprocess.Popen(command, stdout=said, stderr=complained, env=environment(COLUMNS="120"))
            end = time.monotonic() + FOLLOW_S_MAX
            while not re.search(wanted, read_all(said)) and time.monotonic() < end:
                time.sleep(LOOK_S)
            child.send_signal(signal.SIGINT)
            child.wait(STOP_S_MAX)
            output, errors = read_all(said), read_all(complained)
        assert child.returncode in {0, 130}, errors
        assert re.search(wanted, output), output
        assert "LIVE" in output
        assert "NOPE: No asset has this symbol." in output.splitlines()[-1] or option
        assert "Traceback" not in errors


@pytest.mark.slow
def test_an_emulator_by_itself_and_a_signal_that_drains() -> None:
    """--venue-url points at it; it outlives the gateway, which SIGTERM ends."""
    command = [*COMMAND, "emulator", "--listen", "127.0.0.1:0"]
    keys = {"GATEWAY_EMULATOR_KEY": "K", "GATEWAY_EMULATOR_SECRET": "S"}
    wanted = environment(EMULATOR_KEY="K", EMULATOR_SECRET="S")
    emulator = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=wanted)
    try:
        assert emulator.stdout is not None
        url = emulator.stdout.readline().removeprefix(READY).strip()
        refused = finding(ask("doctor", "--target", NOBODY, "--json", GATEWAY_VENUE_URL=url), "venue")
        assert (refused["state"], bool(refused["remedy"])) == (f"{url} refuses the keys", True)
        known = ask("doctor", "--target", NOBODY, "--json", GATEWAY_VENUE_URL=url, **keys)
        assert finding(known, "venue")["state"] == f"{url} answers"
        assert finding(known, "clock")["remedy"] == ""
        with serving("--venue-url", url, **keys) as (gateway, target):
            assert json.loads(ask("account", "--target", target, "--json").stdout)["cash"] == "100000"
            gateway.send_signal(signal.SIGTERM)
            assert gateway.wait(STOP_S_MAX) == 0
        assert is_alive(emulator.pid)
    finally:
        emulator.terminate()
        emulator.communicate(timeout=STOP_S_MAX)


def finding(done: Result, subject: str) -> dict[str, str]:
    """What the doctor said of one thing."""
    found: list[dict[str, str]] = json.loads(done.stdout)
    return next(one for one in found if one["subject"] == subject)


@pytest.mark.parametrize(
    ("extra", "subject", "said"),
    [
        ({"GATEWAY_LISTEN": "0.0.0.0:50051"}, "address", "it needs TLS"),
        ({"GATEWAY_LISTNE": "x"}, "settings", "GATEWAY_LISTNE"),
        ({"GATEWAY_SUBMIT_WAIT_MS": "soon"}, "settings", "submit_wait_ms"),
        ({"GATEWAY_VENUE": "paper"}, "keys", "missing"),
        ({"GATEWAY_VENUE": "live"}, "keys", "refuses live"),
        ({"GATEWAY_DATA_DIR": "/proc/self/status/deep"}, "data directory", "cannot be written"),
        ({"GATEWAY_DATA_DIR": "/proc/self/status"}, "data directory", "is not a folder"),
        ({"GATEWAY_VENUE": "paper", "GATEWAY_VENUE_URL": "http://127.0.0.1:1"}, "settings", "--venue-url"),
        ({"GATEWAY_VENUE": "paper", "GATEWAY_TRACEABLE": "true"}, "settings", "GATEWAY_TRACEABLE"),
        ({"GATEWAY_VENUE_URL": "http://127.0.0.1:1"}, "venue", "does not answer"),
        ({"GATEWAY_VENUE_URL": "nonsense"}, "venue", "must look like"),
    ],
)
def test_the_doctor_says_what_to_do(extra: dict[str, str], subject: str, said: str) -> None:
    done = ask("doctor", "--target", NOBODY, "--json", **extra)
    found = finding(done, subject)
    assert (done.exit_code, said in found["state"], bool(found["remedy"])) == (1, True, True), done.stdout


def test_the_doctor_knows_a_stranger_on_the_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        done = ask("doctor", "--target", f"127.0.0.1:{stranger.getsockname()[1]}", "--json")
    assert "another program" in finding(done, "gateway")["state"]


def test_paper_warns_and_takes_keys_under_alpacas_names(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for names in (("GATEWAY_API_KEY", "GATEWAY_API_SECRET"), ("ALPACA_API_KEY", "ALPACA_SECRET_KEY"),
                  ("APCA_API_KEY_ID", "APCA_API_SECRET_KEY")):  # fmt: skip
        with monkeypatch.context() as patched:
            for name, value in zip(names, ("PKSEEN", "SECRETSEEN"), strict=True):
                patched.setenv(name, value)
            settings = read_settings({"venue": "paper"})
            check_venue(settings, {})
        assert settings.api_secret.get_secret_value() == "SECRETSEEN"
        warned = capsys.readouterr().err
        assert "a restart of this gateway forgets" in warned
        assert "SEEN" not in warned + repr(settings)


@pytest.mark.parametrize(
    ("arguments", "extra", "code", "said"),
    [
        (["--venue", "live"], {}, EXIT_CONFIG, "no risk limits"),
        (["--venue", "paper"], {}, EXIT_CONFIG, "paper needs keys"),
        (["--venue", "moon"], {}, EXIT_CONFIG, "venue: Input should be"),
        (["--venue", "paper", "--seed", "1"], {}, 2, "--seed"),
        (["--listen", "0.0.0.0:0"], {}, EXIT_CONFIG, "it needs TLS"),
        (["--listen", "50051"], {}, EXIT_CONFIG, "give HOST:PORT"),
        (["--venue-url", "not an address", "--listen", "127.0.0.1:0"], {}, 2, "address"),
        (["--venue-url", "https://api.alpaca.markets", "--listen", "127.0.0.1:0"], {}, 2, "must be of this machine"),
        ([], {"GATEWAY_LISTNE": "x"}, EXIT_CONFIG, "GATEWAY_LISTNE"),
    ],
)
def test_serve_refuses_in_plain_words(arguments: list[str], extra: dict[str, str], code: int, said: str) -> None:
    done = run("serve", *arguments, **extra)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr
    assert "order_feed" not in done.stderr  # refused before anything was started


def test_questions_without_a_gateway_fail_with_a_remedy() -> None:
    done = run("account", "--target", NOBODY)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[0] == f"No gateway answers at {NOBODY}."
    assert "Is the gateway running?" in lines[1]
    assert "trading-gateway serve" in lines[1]
    assert len(lines) == 3  # no words of the transport
    alone = ask("doctor", "--target", NOBODY, "--json")
    assert alone.exit_code == 1
    assert finding(alone, "gateway")["remedy"]


def test_help_is_quick_and_version_is_told() -> None:
    """--help must not import alpaca, pandas or grpc's world."""
    probe = "import sys; from gateway.cli.app import app; sys.exit('alpaca' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], check=False, timeout=30).returncode == 0
    assert re.fullmatch(r"trading-gateway [0-9.]+\n", run("version").stdout)
