"""The emulator as a child process: started with the gateway, ended with it, and it ends when the gateway dies."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from pydantic import SecretStr

READY: Final = "emulator ready at "
"""What `trading-gateway emulator` prints before its address, and this module reads."""

_START_TIMEOUT_S: Final = 20.0
_STOP_TIMEOUT_S: Final = 5.0
_CREDENTIALS_BYTES_MAX: Final = 65_536
_SECRET_PREFIXES: Final = ("GATEWAY_", "ALPACA_", "APCA_", "EMULATOR_")
"""Of variables that are not handed down: the account's keys are no business of an emulator."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The only ones that an emulator takes; empty: it takes any.

    They go down a pipe: every process of this machine can read a command line, and an environment is handed on.
    """

    key: SecretStr
    secret: SecretStr

    def to_line(self) -> bytes:
        """The first line of the child's standard input."""
        told = {"key": self.key.get_secret_value(), "secret": self.secret.get_secret_value()}
        return json.dumps(told).encode() + b"\n"

    @classmethod
    def from_line(cls, source: IO[bytes]) -> Credentials:
        """What a parent wrote there; a parent that is gone wrote nothing.

        Raises:
            ValueError: It is something else.
        """
        line = source.readline(_CREDENTIALS_BYTES_MAX)
        try:
            told = json.loads(line or b"{}")
            return cls(SecretStr(str(told.get("key", ""))), SecretStr(str(told.get("secret", ""))))
        except (ValueError, AttributeError):
            raise ValueError("its parent's first line has no credentials") from None


class EmbeddedEmulator:
    """One child. Its standard input is a pipe that this process holds: when we die, it reads the end and leaves.

    Args:
        data_dir: Where its ledger lives.
        options: Options of `trading-gateway emulator`, by their names with underscores.
        credentials: The only good ones.
    """

    def __init__(self, data_dir: Path, options: Mapping[str, Any], credentials: Credentials) -> None:
        self._data_dir = data_dir
        self._options = dict(options)
        self._credentials = credentials
        self._child: asyncio.subprocess.Process | None = None
        self.url = ""

    async def start(self) -> str:
        """Start the child and return its base address.

        Raises:
            RuntimeError: It ended, or did not get ready in time; the message says what it printed last.
        """
        self._child = await asyncio.create_subprocess_exec(
            *_command(self._data_dir, self._options),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in the terminal is for the gateway, which then ends the child itself
            env={name: value for name, value in os.environ.items() if not name.startswith(_SECRET_PREFIXES)},
        )
        assert self._child.stdin is not None
        self._child.stdin.write(self._credentials.to_line())
        try:
            self.url = await asyncio.wait_for(self._read_address(self._child), _START_TIMEOUT_S)
        except TimeoutError:
            await self.stop()
            raise RuntimeError(f"the emulator was not ready within {_START_TIMEOUT_S:g} s") from None
        return self.url

    async def stop(self) -> None:
        """End the child: politely, then by force. Idempotent."""
        child, self._child = self._child, None
        if child is None or child.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
        try:
            await asyncio.wait_for(child.wait(), _STOP_TIMEOUT_S)
        except TimeoutError:
            child.kill()
            await child.wait()

    async def wait(self) -> int:
        """Until the child ends, which it should not do before we say so; its exit code."""
        assert self._child is not None
        return await self._child.wait()

    @staticmethod
    async def _read_address(child: asyncio.subprocess.Process) -> str:
        assert child.stdout is not None
        while line := await child.stdout.readline():
            text = line.decode(errors="replace").strip()
            if text.startswith(READY):
                return text.removeprefix(READY)
        raise RuntimeError(f"the emulator ended with code {await child.wait()} before it was ready")


def _command(data_dir: Path, options: Mapping[str, Any]) -> list[str]:
    command = [sys.executable, "-m", "gateway", "emulator", "--until-stdin-closes"]
    command += ["--listen", "127.0.0.1:0", "--data-dir", str(data_dir)]
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        command += [flag] if value is True else [flag, str(value)]
    return command
