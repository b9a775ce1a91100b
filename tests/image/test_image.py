"""The image: what stands in it, and a gateway that runs from it.

It is built by buildah, as root; elsewhere that test skips, but not where CI is set. The built base is kept below
`build/`, so that a second run takes a fraction of the first.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

ROOT = Path(__file__).parents[2]
STORE = ROOT / "build" / "image"
USER = "10001:10001"
BUILD_S_MAX = 900
START_S_MAX = 60.0
STOP_S_MAX = 30.0
TOOLS = ("buildah", "debootstrap")

MISSING = [tool for tool in TOOLS if shutil.which(tool) is None]
CAN_BUILD = not MISSING and hasattr(os, "geteuid") and os.geteuid() == 0
needs_buildah = pytest.mark.skipif(
    not CAN_BUILD and not os.environ.get("CI"), reason="images are built by buildah and debootstrap, as root"
)


def buildah(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run buildah on the tests' own store."""
    return subprocess.run(command(arguments), capture_output=True, text=True, check=False, **options)


def command(arguments: Sequence[str]) -> list[str]:
    return [
        "buildah",
        "--root",
        str(STORE / "root"),
        "--runroot",
        str(STORE / "run"),
        "--storage-driver",
        "vfs",
        *arguments,
    ]


@pytest.fixture
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A container of the image, built from what is committed or about to be."""
    assert CAN_BUILD, f"install {' and '.join(MISSING)}, and run as root"
    context = tmp_path_factory.mktemp("context")
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in files.stdout.decode().rstrip("\0").split("\0"):
        if (ROOT / name).is_file():
            (context / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, context / name)
    built = subprocess.run(
        [str(ROOT / "tests/image/build.sh"), str(context), str(STORE)], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stdout[-4_000:] + built.stderr[-4_000:]
    name = buildah("from", "localhost/trading-gateway").stdout.strip()
    yield name
    buildah("rm", name)


def inside(container: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program in the container, with this machine's network."""
    return buildah("run", "--isolation", "chroot", container, "--", *arguments)


def test_hadolint_finds_nothing() -> None:
    linter = shutil.which("hadolint", path=str(ROOT / ".venv" / "bin")) or shutil.which("hadolint")
    assert linter, "'make setup' installs it"
    done = subprocess.run([linter, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@needs_buildah
@pytest.mark.timeout(BUILD_S_MAX)
def test_the_image_is_built_and_runs(container: str, tmp_path: Path) -> None:
    """One test, so that it is built once however many processes the tests run in."""
    says_what_it_is()
    has_no_root_and_no_code_that_can_be_written(container)
    serves_on_loopback_is_healthy_and_ends_when_asked(container, tmp_path)
    refuses_beyond_loopback_without_certificate_and_tokens(container)


def says_what_it_is() -> None:
    described = json.loads(buildah("inspect", "--type", "image", "localhost/trading-gateway").stdout)
    config = described["Docker"]["config"]
    assert config["User"] == USER
    assert config["Volumes"] == {"/var/lib/gateway": {}}
    assert config["StopSignal"] == "SIGTERM"
    assert config["Healthcheck"]["Test"] == ["CMD", "trading-gateway", "health"]
    assert (config["Entrypoint"], config["Cmd"]) == (["trading-gateway"], ["serve"])


def has_no_root_and_no_code_that_can_be_written(container: str) -> None:
    assert inside(container, "id", "-u").stdout.strip() == "10001"
    writable = inside(container, "sh", "-c", "find / -xdev -writable -not -type l -not -path '/proc/*' 2>/dev/null")
    places = {
        path for path in writable.stdout.split() if not path.startswith(("/dev", "/sys", "/tmp", "/var/tmp", "/run"))
    }
    assert places == {"/var/lib/gateway"}
    assert inside(container, "touch", "/opt/venv/x").returncode != 0
    assert inside(container, "sh", "-c", "command -v pip uv gcc git").stdout == ""
    assert inside(container, "trading-gateway", "version").stdout.startswith("trading-gateway ")


def serves_on_loopback_is_healthy_and_ends_when_asked(container: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    arguments = ["run", "--isolation", "chroot", container, "--", "trading-gateway", "serve", "--listen", "127.0.0.1:0"]
    with log.open("w") as output:
        running = subprocess.Popen(command(arguments), stdout=output, stderr=subprocess.STDOUT)
    try:
        target, process_id = served(log, running)
        with grpc.insecure_channel(target) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        assert Path(f"/proc/{process_id}/status").read_text().split("Uid:")[1].split()[0] == "10001"
        assert inside(container, "trading-gateway", "health", "--target", target).stdout.strip() == "SERVING"
        os.kill(process_id, signal.SIGTERM)
        assert running.wait(STOP_S_MAX) == 0, log.read_text()
    finally:
        running.kill()
        running.wait()
    kept = inside(container, "sh", "-c", "stat -c '%a %U %n' /var/lib/gateway /var/lib/gateway/journal.sqlite3").stdout
    assert kept.splitlines() == ["700 gateway /var/lib/gateway", "600 gateway /var/lib/gateway/journal.sqlite3"]


def refuses_beyond_loopback_without_certificate_and_tokens(container: str) -> None:
    refused = inside(container, "trading-gateway", "serve", "--listen", "0.0.0.0:50051")
    assert refused.returncode == 78, refused.stderr
    assert "0.0.0.0:50051" in refused.stderr


def served(log: Path, running: subprocess.Popen[bytes]) -> tuple[str, int]:
    """Where it serves, and the process to send signals to, from what it prints."""
    end = time.monotonic() + START_S_MAX
    while time.monotonic() < end and running.poll() is None:
        text = log.read_text()
        target, process_id = re.search(r"serving on (\S+)", text), re.search(r"kill -USR1 (\d+)", text)
        if target and process_id:
            return target[1], int(process_id[1])
        time.sleep(0.1)
    raise AssertionError(log.read_text())
