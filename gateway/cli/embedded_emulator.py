"""The emulator as a child process: started with the gateway, ended with it, and it ends when the gateway dies."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

READY: Final = "emulator ready at "
"""What `trading-gateway emulator` prints before its address, and this module reads."""

_START_TIMEOUT_S: Final = 20.0
_STOP_TIMEOUT_S: Final = 5.0


class EmbeddedEmulator:
    """One child. Its standard input is a pipe that this process holds: when we die, it reads the end and leaves.

    Args:
        data_dir: Where its ledger lives.
        options: Options of `trading-gateway emulator`, by their names with underscores.
    """

    def __init__(self, data_dir: Path, options: Mapping[str, Any]) -> None:
        self._data_dir = data_dir
        self._options = dict(options)
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
        )
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
