"""Tools of other languages: where they are, and what a test does without them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final, NoReturn

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
GO_MODULE: Final = ROOT / "clients" / "go"
_PLACES: Final = (ROOT / "build" / "bin", Path("/usr/local/go/bin"), Path.home() / "go" / "bin")


def find(tool: str) -> Path | None:
    """A program on the PATH, in build/bin, or where Go keeps its own."""
    found = shutil.which(tool) or next((str(place / tool) for place in _PLACES if (place / tool).is_file()), None)
    return Path(found) if found else None


def missing(reason: str) -> NoReturn:
    """Skip and say why; where everything must run (CI=true), fail instead."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def go() -> Path:
    """The go command, with the client's modules at hand: without a network it is not even tried."""
    tool = find("go")
    if tool is None:
        missing("go is not installed: see https://go.dev/dl")
    offline = {**os.environ, "GOPROXY": "off", "GOFLAGS": "-mod=readonly"}
    listed = subprocess.run(
        [tool, "list", "-deps", "-test", "./..."], cwd=GO_MODULE, env=offline, capture_output=True, check=False
    )
    if listed.returncode != 0:
        missing("the Go client's modules are not downloaded: cd clients/go && go mod download")
    return tool


def run_go(*arguments: str, timeout_s: float = 280) -> str:
    """Run go in the client's module; its output, which is the failure's message as well."""
    done = subprocess.run(
        [go(), *arguments],
        cwd=GO_MODULE,
        env={**os.environ, "GOFLAGS": "-mod=readonly"},
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
