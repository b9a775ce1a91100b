"""Processes of a benchmark: started, awaited, measured by their CPU time, ended by their id."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 30
COMPILED = ROOT / "build" / "pycache"


@contextlib.contextmanager
def process(*command: str, ready: str = "") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A child and the first line of its output that contains `ready`; ended on leaving."""
    child = subprocess.Popen(
        command, cwd=ROOT, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert child.stdout is not None
        line = next((line for line in child.stdout if ready in line), "")
        if not line:
            raise SystemExit(f"{' '.join(command)}: ended with {child.wait()} before it was ready")
        yield child, line.strip()
    finally:
        child.terminate()
        try:
            child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if child.stdout is not None:
            child.stdout.close()


def _environment() -> dict[str, str]:
    """Ours, but with compiled modules kept, as installed programs have them: a start without takes twice the CPU."""
    environment = os.environ | {"PYTHONPYCACHEPREFIX": str(COMPILED)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def python(*arguments: str, ready: str = "") -> contextlib.AbstractContextManager[tuple[subprocess.Popen[str], str]]:
    """A Python child of this environment."""
    return process(sys.executable, *arguments, ready=ready)


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has used so far, user and system, its threads included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load(binary: Path, *arguments: str) -> dict[str, float]:
    """Run the generator and read what it measured; anything but OK answers voids the run."""
    done = subprocess.run([binary, *arguments], capture_output=True, text=True, check=False, timeout=120)
    if done.returncode != 0:
        raise SystemExit(f"load {' '.join(arguments[:4])}: {done.stderr.strip()}")
    result: dict[str, float] = json.loads(done.stdout)
    return result


def build_generator(folder: Path) -> Path:
    """Compile the load generator; it is Go, because a Python one would be the bottleneck."""
    binary = folder / "load"
    try:
        subprocess.run(
            ["go", "build", "-o", str(binary), "."], cwd=ROOT / "tests" / "bench" / "load", check=True, timeout=300
        )
    except FileNotFoundError:
        raise SystemExit("make bench needs Go (1.24 or newer) for its load generator") from None
    return binary
