"""No secret anywhere: planted ones are looked for in all that two real gateways say, send, keep and leave behind.

The first life does what a gateway does, and meets what it must not meet: guessed tokens, garbage, a venue that fails,
a bug whose exception holds every secret there is. It ends by a signal, so that spans and metrics are sent. The second
is killed so that it would leave a core file.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import io
import json
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from gateway.domain.models.identity import OPERATOR_SCOPES
from tests.bad_requests import submit
from tests.refusals import Wire
from tests.test_serve import STOP_S_MAX, ask, children_of, environment, run
from trading_gateway.v1 import (
    market_data_pb2,
    operations_pb2 as operations,
    reference_pb2,
    simulation_pb2 as simulation,
    simulation_pb2_grpc,
    trading_pb2 as pb,
)

KEYS: Final = {
    "GATEWAY_API_KEY": "PKCANARYOFTHEACCOUNT0001",
    "GATEWAY_API_SECRET": "canary/of the+account=6f1d0c",
    "GATEWAY_EMULATOR_KEY": "canary-key-of-the-emulator-58c1",
    "GATEWAY_EMULATOR_SECRET": 'canary"secret of\\the/emulator-93ab7e',
}
"""With characters that are written differently in JSON and in addresses; they exist nowhere else."""

TRACE: Final = {"GRPC_VERBOSITY": "debug", "GRPC_TRACE": "http"}
"""Has grpc's core tell of every call, were it left to."""

BUGGY: Final = """
import os, resource, sys
import gateway.cli

async def fail(self, request, context):
    secrets = [value for name, value in os.environ.items() if name.startswith("GATEWAY_")]
    try:
        raise ValueError(f"inner {secrets}")
    except ValueError as error:
        raise RuntimeError(f"headers {context.invocation_metadata()!r} and {secrets!r}", *secrets) from error

keep_private = gateway.cli.keep_private

def keep_private_and_break():
    keep_private()
    from gateway.servicers.reference import ReferenceDataServicer

    ReferenceDataServicer.GetMarketClock = fail

gateway.cli.keep_private = keep_private_and_break
resource.setrlimit(resource.RLIMIT_CORE, resource.getrlimit(resource.RLIMIT_CORE)[1:] * 2)
gateway.cli.main()
"""
"""A gateway with a bug of the worst kind, where core files are wanted."""


class Evidence:
    """All that was said, sent, kept and left behind, by its name."""

    def __init__(self) -> None:
        self.found: dict[str, bytes] = {}

    def add(self, name: str, told: bytes | str) -> None:
        self.found[name] = self.found.get(name, b"") + (told.encode() if isinstance(told, str) else told)

    def add_folder(self, name: str, folder: Path) -> None:
        """Every file as it lies on the disk, the names of files too."""
        for path in sorted(folder.rglob("*")):
            self.add(f"{name}: names", f"{path}\n")
            if path.is_file():
                self.add(f"{name}: {path.relative_to(folder)}", path.read_bytes())

    def leaks(self, secrets: dict[str, str]) -> list[tuple[str, str]]:
        """Artefact and secret, for every form of a secret that stands in one."""
        return [
            (artefact, name)
            for name, secret in secrets.items()
            for artefact, told in self.found.items()
            if any(form in told for form in forms(secret)) or bare(secret.encode()) in bare(told)
        ]


def bare(told: bytes) -> bytes:
    """Without what quoting puts before a character, however often it was quoted."""
    return told.replace(b"\\", b"")


def forms(secret: str) -> set[bytes]:
    """How a secret may be written: plain, escaped, in an address, in hexadecimal, in base64 at each of its offsets."""
    raw = secret.encode()
    written = {raw, json.dumps(secret)[1:-1].encode(), repr(secret)[1:-1].encode(), quote(secret, safe="").encode()}
    written |= {quote(secret).encode(), raw.hex().encode(), raw.hex().upper().encode()}
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        written |= {encode(b"\0" * offset + raw)[(0, 2, 3)[offset] : -4].rstrip(b"=") for offset in range(3)}
    return written


@contextlib.contextmanager
def collector(evidence: Evidence) -> Iterator[str]:
    """An OTLP collector that keeps every byte; its address."""

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            plain = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
            evidence.add(f"telemetry {self.path}", plain + str(self.headers).encode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            serving.join()


class Life:
    """One life of the gateway with the bug."""

    def __init__(self, folder: Path, evidence: Evidence, **settings: str) -> None:
        self.data_dir, self.said, self._evidence = folder / "data", folder / "said", evidence
        script = folder / "buggy.py"
        script.write_text(BUGGY)
        (folder / "cwd").mkdir(exist_ok=True)
        self._output = self.said.open("ab")
        self.process = subprocess.Popen(
            [sys.executable, str(script), "serve", "--listen", "127.0.0.1:0", "--data-dir", str(self.data_dir)],
            stdout=subprocess.PIPE,
            stderr=self._output,
            cwd=folder / "cwd",
            env=environment(**KEYS, **settings),
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        evidence.add("stdout", line)
        self.target = line.decode().rsplit(" ", 1)[1].strip()
        for pid in (self.process.pid, *children_of(self.process.pid)):
            evidence.add("process list", Path(f"/proc/{pid}/cmdline").read_bytes())
        (child,) = children_of(self.process.pid)
        with contextlib.suppress(PermissionError):  # of processes that are not dumpable; root may
            evidence.add("environment of the emulator", Path(f"/proc/{child}/environ").read_bytes())

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        assert self.process.stdout is not None
        told, _ = self.process.communicate(timeout=STOP_S_MAX)
        self._output.close()
        self._evidence.add("stdout", told)
        self._evidence.add("log", self.said.read_bytes())
        return self.process.returncode


@contextlib.contextmanager
def living(folder: Path, evidence: Evidence, **settings: str) -> Iterator[Life]:
    life = Life(folder, evidence, **settings)
    try:
        yield life
    finally:
        if life.process.poll() is None:
            life.process.kill()
            life.process.communicate()


class Caller:
    """Calls a gateway, and keeps what it is told when it is refused: message, details, trailers."""

    def __init__(self, target: str, evidence: Evidence, *headers: tuple[str, str]) -> None:
        self._wire = Wire(target, headers=headers)
        self._evidence = evidence

    def __call__(self, method: str, request: Any = b"") -> Any:
        try:
            return next(self._wire.stream(method, request)) if "Stream" in method else self._wire.call(method, request)
        except grpc.RpcError as error:
            trailers: Any = error.trailing_metadata() or ()
            told = [f"{error.details()} {error!r}".encode()]
            told += [part if type(part) is bytes else part.encode() for pair in trailers for part in pair]
            self._evidence.add("refusals", b"\n".join(told))
            return error.code()


def bearer(secret: str) -> tuple[str, str]:
    return ("authorization", f"Bearer {secret}")


def mint(caller: Caller, scopes: Sequence[str], strategy: str = "") -> tuple[str, str]:
    """A new token's id and secret."""
    request = operations.MintTokenRequest(strategy_id=strategy, scopes=scopes, ttl=Duration(seconds=3_600))
    minted = caller("MintToken", request)
    return minted.token.token_id, minted.secret


def do_everything(life: Life, evidence: Evidence) -> dict[str, str]:
    """What a gateway does and meets; the tokens that were made meanwhile."""
    anybody = Caller(life.target, evidence)
    _, operator = mint(anybody, sorted(OPERATOR_SCOPES))
    trader_id, trader = mint(anybody, ["orders:read", "orders:trade", "market_data:read", "account:read"], "momentum")
    act, trade = Caller(life.target, evidence, bearer(operator)), Caller(life.target, evidence, bearer(trader))
    order = trade("SubmitOrder", submit()).order
    trade("GetOrderTimeline", pb.GetOrderTimelineRequest(order=pb.OrderRef(order_id=order.order_id)))
    trade("StreamQuotes", market_data_pb2.StreamQuotesRequest(symbols=["AAPL"]))
    trade("SubmitOrder", b"\xff\xff")
    trade("MintToken")
    for fault in (simulation.FAULT_HTTP_500, simulation.FAULT_HTTP_502_HTML, simulation.FAULT_BODY_TRUNCATED):
        with grpc.insecure_channel(life.target) as channel:
            venue = simulation_pb2_grpc.SimulationServiceStub(channel)
            venue.InjectFault(simulation.InjectFaultRequest(fault=fault), metadata=(bearer(operator),))
        trade("SubmitOrder", submit())
    trade("GetAccount")
    for wrong in (f"{trader[:-1]}!", trader[:-1], f"{trader} ", operator.replace("gw_emu", "gw_live")):
        Caller(life.target, evidence, bearer(wrong))("ListOrders")
    Caller(life.target, evidence, bearer(trader), bearer(operator))("ListOrders")
    Caller(life.target, evidence, ("authorization", f"Basic {trader}"), ("x-request-id", "r-1"))("ListOrders")
    Caller(life.target, evidence, bearer(trader), ("x-request-id", trader))("ListFills")
    Caller(life.target, evidence, ("x-token", trader), ("user-agent", trader))("ListOrders")
    for _ in range(12):
        Caller(life.target, evidence, bearer(f"{trader[:-4]}AAAA"))("ListOrders")
    bug = Caller(life.target, evidence, bearer(trader))("GetMarketClock", reference_pb2.GetMarketClockRequest())
    assert bug is grpc.StatusCode.INTERNAL
    rotated = act("RotateToken", operations.RotateTokenRequest(token_id=trader_id))
    act("RevokeToken", operations.RevokeTokenRequest(token_id=trader_id))
    act("ListTokens", operations.ListTokensRequest())
    named = pb.GetOrderRequest(order=pb.OrderRef(order_id=order.order_id))
    evidence.add("answers", f"{anybody('ListTokens')} {act('GetOrder', named)}")
    return {"operator": operator, "trader": trader, "rotated": rotated.secret}


def look_from_outside(life: Life, evidence: Evidence, folder: Path, secrets: dict[str, str]) -> None:
    """What the command line says beside a running gateway, with a token in its environment, and with wrong keys."""
    data_dir, shown = ("--data-dir", str(life.data_dir)), {**KEYS, "GATEWAY_TOKEN": secrets["operator"]}
    for command in (
        ("doctor", "--target", life.target),
        ("doctor", "--target", "127.0.0.1:1", *data_dir),
        ("token", "list", "--target", life.target),
        ("account", "--target", life.target),
        ("audit", "list", *data_dir),
        ("audit", "verify", *data_dir),
        ("backup", str(folder / "saved.sqlite3"), *data_dir),
    ):
        told = ask(*command, **shown)
        evidence.add(f"command line: {' '.join(command[:2])}", told.output + repr(told.exception))
    wrong = run("serve", "--venue", "paper", "--venue-url", "http://127.0.0.1:1", GATEWAY_SUBMIT_WAIT_MS="x", **KEYS)
    refused = run("serve", "--listen", "127.0.0.1:0", **KEYS, GATEWAY_API_SECRETS=KEYS["GATEWAY_API_SECRET"])
    assert wrong.returncode == refused.returncode == 78
    for ended in (wrong, refused):
        evidence.add("refused starts", ended.stdout + ended.stderr)


def test_the_search_finds_a_secret_in_every_form() -> None:
    secret = KEYS["GATEWAY_EMULATOR_SECRET"]
    evidence = Evidence()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        info = tarfile.TarInfo("x")
        info.size = len(secret.encode())
        tar.addfile(info, io.BytesIO(secret.encode()))
    evidence.add("plain", archive.getvalue())
    evidence.add("json", json.dumps({"a": secret}))
    evidence.add("log", json.dumps(repr([repr([secret])])))
    evidence.add("address", f"/x?secret={quote(secret, safe='')}")
    evidence.add("hex", secret.encode().hex())
    for offset in range(3):
        evidence.add(f"base64 {offset}", base64.b64encode(b"x" * offset + secret.encode() + b"tail"))
    evidence.add("innocent", "canary secret of emulator")
    assert {artefact for artefact, _ in evidence.leaks({"s": secret})} == set(evidence.found) - {"innocent"}


@pytest.mark.slow
def test_no_secret_is_found_in_anything_that_a_gateway_says_sends_keeps_or_leaves(tmp_path: Path) -> None:
    evidence = Evidence()
    with collector(evidence) as endpoint:
        settings = {"GATEWAY_LOG_LEVEL": "debug", "GATEWAY_OTLP_ENDPOINT": endpoint, "GATEWAY_SUBMIT_WAIT_MS": "200"}
        with living(tmp_path, evidence, **settings, GATEWAY_LOG_FORMAT="json", **TRACE) as life:
            tokens = do_everything(life, evidence)
            look_from_outside(life, evidence, tmp_path, tokens)
            evidence.add_folder("data directory, running", life.data_dir)
            assert life.end(signal.SIGTERM) == 0
    with living(tmp_path, evidence, GATEWAY_LOG_LEVEL="debug", GATEWAY_LOG_FORMAT="console") as life:
        again = Caller(life.target, evidence, bearer(tokens["operator"]))
        assert again("GetMarketClock") is grpc.StatusCode.INTERNAL
        limits = Path(f"/proc/{life.process.pid}/limits").read_text()
        assert [line.split()[4:6] for line in limits.splitlines() if "core file" in line] == [["0", "0"]]
        assert life.end(signal.SIGABRT) == -signal.SIGABRT
    assert list((tmp_path / "cwd").iterdir()) == []
    evidence.add_folder("data directory, killed", life.data_dir)
    evidence.add("back-up", (tmp_path / "saved.sqlite3").read_bytes())

    secrets = KEYS | tokens | {f"{name}, its random part": secret[-43:] for name, secret in tokens.items()}
    assert evidence.leaks(secrets) == []

    # Nothing was found because there is nothing, and not because nothing was looked at.
    log = evidence.found["log"]
    assert log.count(b"RuntimeError") >= 2
    assert log.count(b"a call failed by a bug") >= 2
    assert b"***" in log
    looked_at = " ".join(evidence.found)
    for artefact in (
        "telemetry /v1/traces", "telemetry /v1/metrics", "refusals", "process list", "journal.sqlite3-wal",
        "emulator/", "audit list", "back-up", "stdout", "doctor", "answers", "refused starts",
    ):  # fmt: skip
        assert artefact in looked_at, artefact
    assert b"TOO_MANY_CALLS" in evidence.found["refusals"]
    assert b"error_id" in evidence.found["refusals"]
    assert b"SubmitOrder" in evidence.found["telemetry /v1/traces"]
    assert b"token_mint" in evidence.found["command line: audit list"]
    assert b"momentum." in b"".join(told for name, told in evidence.found.items() if name.startswith("data"))
    modes = {path: path.stat().st_mode & 0o077 for path in [life.data_dir, *life.data_dir.rglob("*")]}
    assert [str(path) for path, others in modes.items() if others] == []
