"""Starting programs, killing them without warning, and starting them again at the same address."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

ROOT: Final = Path(__file__).parents[3]
START_S_MAX: Final = 60.0
END_S_MAX: Final = 30.0
POLL_S: Final = 0.05
HTTP_TIMEOUT_S: Final = 10.0
FEES_PAGE: Final = 100
COMPILED: Final = ROOT / "build" / "pycache"
"""Where programs keep their compiled modules: without, three quarters of a start were spent on compiling."""
CASH_USD: Final = 10_000_000
RATE_LIMIT_PER_MINUTE: Final = 100_000
"""Never reached. Without a limit, a 429 made by a fault would tell of Alpaca's 200 a minute, and the gateway would keep
to them: lookups of what a broken network left unknown then leave nothing for the prices that new orders need."""
CANARIES: Final = {
    "GATEWAY_API_KEY": "PKCANARY0ACCOUNT0KEY",
    "GATEWAY_API_SECRET": "canary-account-secret-6f1d0c",
    "GATEWAY_EMULATOR_KEY": "EKCANARY0EMULATOR0KEY",
    "GATEWAY_EMULATOR_SECRET": "canary-emulator-secret-93ab7e",
}
"""Keys that exist nowhere else: who finds one in a file has found a leak."""
NO_CLIENT_LIMITS: Final = {
    f"GATEWAY_CLIENT_{name}": "0"
    for name in ("CALLS_IN_FLIGHT_MAX", "READS_PER_SECOND", "ORDERS_PER_SECOND", "FAULTS_PER_SECOND")
}
"""Many strategies' worth of orders come over few connections here."""
EMULATOR_READY: Final = "emulator ready at "


class NotStarted(RuntimeError):
    """A program did not come up; the message is the end of what it said."""


def free_port() -> int:
    """A port of this machine that nobody holds now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


class Program:
    """One program, which may have many lives.

    Args:
        command: Its words.
        log: Where what it says goes, every life after the other.
        environment: Beside this process' own.
    """

    def __init__(self, command: Sequence[str], log: Path, environment: dict[str, str] | None = None) -> None:
        self.command = list(command)
        self._log = log
        own = {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(COMPILED)}
        self._environment = {**os.environ, **own, **(environment or {})}
        self._environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of its present life."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Of its last life; None while it lives."""
        return None if self._process is None else self._process.poll()

    def start(self, prefix: Sequence[str] = ()) -> None:
        """Begin a life; returns at once.

        Args:
            prefix: A program that runs it, such as strace with its options.
        """
        assert not self.is_running
        _begun.add(self)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*prefix, *self.command],
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        """`kill -9`, of it and what it started."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def signal(self, number: int) -> None:
        """Send one; it alone gets it, not what it started."""
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> None:
        """Ask it to end."""
        if self._process is None or not self.is_running:
            return
        self._process.terminate()
        try:
            self._process.wait(END_S_MAX)
        except subprocess.TimeoutExpired:
            self.kill()

    def wait_said(self, text: str) -> str:
        """What followed a text in its log, to the end of that line.

        Raises:
            NotStarted: It ended, or did not say it in time.
        """
        until = time.monotonic() + START_S_MAX
        while time.monotonic() < until:
            said = self._log.read_text(errors="replace") if self._log.exists() else ""
            _, found, rest = said.rpartition(text)
            if found and "\n" in rest:
                return rest.partition("\n")[0].strip()
            if not self.is_running:
                break
            time.sleep(POLL_S)
        raise NotStarted(f"{self.command[:4]}: {self.tail()}")

    def tail(self) -> str:
        """The end of what it said."""
        return self._log.read_text(errors="replace")[-2_000:] if self._log.exists() else ""


_begun: set[Program] = set()


def kill_all() -> None:
    """Leave nothing behind when the whole run is given up."""
    for program in _begun:
        program.kill()


def emulator(folder: Path) -> Program:
    """A stand-alone emulator that keeps its account and its record in a folder."""
    data, port = folder / "venue", free_port()
    command = [sys.executable, "-m", "gateway", "emulator", "--listen", f"127.0.0.1:{port}", "--data-dir", str(data)]
    return Program(
        [*command, "--rate-limit", str(RATE_LIMIT_PER_MINUTE), "--cash", str(CASH_USD)], folder / "emulator.log"
    )


def gateway(folder: Path, venue_url: str, port: int) -> Program:
    """A gateway whose journal is in a folder; it counts requests with the emulator's own limit."""
    command = [sys.executable, "-m", "gateway", "serve", "--listen", f"127.0.0.1:{port}", "--venue", "emulator"]
    return Program(
        [*command, "--venue-url", venue_url, "--data-dir", str(folder / "gateway")],
        folder / "gateway.log",
        {
            **CANARIES,
            **NO_CLIENT_LIMITS,
            "GATEWAY_LOG_LEVEL": "warning",
            "GATEWAY_TRACEABLE": "true",  # strace looks into it, and so does whoever counts its descriptors
            "GATEWAY_VENUE_REQUESTS_PER_MINUTE": str(RATE_LIMIT_PER_MINUTE),
        },
    )


def is_listening(port: int) -> bool:
    """Whether somebody answers at a port now."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_listening(program: Program, port: int) -> None:
    """Until somebody answers at a port.

    Raises:
        NotStarted: Nobody does.
    """
    until = time.monotonic() + START_S_MAX
    while time.monotonic() < until:
        if is_listening(port):
            return
        if not program.is_running:
            break
        time.sleep(POLL_S)
    raise NotStarted(program.tail())


async def wait_until(is_so: Callable[[], bool], seconds: float, look_s: float = POLL_S) -> bool:
    """Look now and then whether something is so, for so long; whether it is."""
    ends_at = time.monotonic() + seconds
    while True:
        if is_so():
            return True
        if time.monotonic() > ends_at:
            return False
        await asyncio.sleep(look_s)


def ask(url: str, method: str = "GET", body: dict[str, Any] | None = None) -> Any:
    """One request to the emulator; blocks.

    Raises:
        OSError: It was not answered, or with an error.
    """
    headers = {"APCA-API-KEY-ID": "checker", "APCA-API-SECRET-KEY": "checker", "Content-Type": "application/json"}
    data = None if body is None else orjson.dumps(body)
    request = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=HTTP_TIMEOUT_S) as answer:
        text = answer.read()
    return orjson.loads(text) if text else None


def venue_truth(url: str) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """The venue's account, positions and crypto fees as its own wire tells them."""
    fees: list[dict[str, Any]] = []
    page: list[dict[str, Any]] = []
    while not fees or len(page) == FEES_PAGE:
        token = f"&page_token={fees[-1]['id']}" if fees else ""
        page = ask(f"{url}/v2/account/activities?activity_types=CFEE&direction=asc&page_size={FEES_PAGE}{token}")
        fees += page
        if not page:
            break
    return ask(f"{url}/v2/account"), ask(f"{url}/v2/positions"), fees
