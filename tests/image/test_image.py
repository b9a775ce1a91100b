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
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.certificates import HOSTS, Authority
from tests.refusals import Wire
from tests.test_tls import SecureWire
from trading_gateway.v1 import trading_pb2

ROOT = Path(__file__).parents[2]
STORE = ROOT / "build" / "image"
USER = "10001:10001"
BUILD_S_MAX = 900
START_S_MAX = 60.0
STOP_S_MAX = 30.0
TOOLS = ("buildah", "debootstrap")
DATA = "/var/lib/gateway"
CERTIFICATES = STORE / "certificates"
TLS = ("--tls-cert", "/certificates/server.pem", "--tls-key", "/certificates/server.key")

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
    CERTIFICATES.mkdir(exist_ok=True)
    authority = Authority()
    (CERTIFICATES / "ca.pem").write_bytes(authority.certificate)
    for path in authority.sign(*HOSTS).write(CERTIFICATES):
        path.chmod(0o644)  # its user is another one in there
    name = buildah("from", "localhost/trading-gateway").stdout.strip()
    yield name
    buildah("rm", name)


def inside(container: str, *arguments: str, mounted: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a program in the container, with this machine's network."""
    return subprocess.run(
        run_command(container, *arguments, mounted=mounted), capture_output=True, text=True, check=False
    )


def run_command(container: str, *arguments: str, mounted: bool) -> list[str]:
    """To run a program in the container; `mounted`: with the certificates where `TLS` says."""
    volume = ["--volume", f"{CERTIFICATES}:/certificates:ro"] if mounted else []
    return command(["run", "--isolation", "chroot", *volume, container, "--", *arguments])


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
    serves_beyond_loopback_with_certificate_and_tokens(container, tmp_path)


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
    with serving(container, tmp_path, "--listen", "127.0.0.1:0") as target:
        with grpc.insecure_channel(target) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        assert inside(container, "trading-gateway", "health", "--target", target).stdout.strip() == "SERVING"
    assert "  trading-gateway quotes --follow" in (tmp_path / "log").read_text()  # as it is typed in there
    kept = inside(container, "sh", "-c", "stat -c '%a %U %n' /var/lib/gateway /var/lib/gateway/journal.sqlite3").stdout
    assert kept.splitlines() == ["700 gateway /var/lib/gateway", "600 gateway /var/lib/gateway/journal.sqlite3"]


def refuses_beyond_loopback_without_certificate_and_tokens(container: str) -> None:
    beyond = ("trading-gateway", "serve", "--listen", "0.0.0.0:0")
    for lacking, said in (((), "--tls-cert"), (TLS, "token mint --role operator")):
        refused = inside(container, *beyond, *lacking, mounted=bool(lacking))
        assert (refused.returncode, said in refused.stderr) == (78, True), refused.stderr
        assert "0.0.0.0:0" in refused.stderr


def serves_beyond_loopback_with_certificate_and_tokens(container: str, tmp_path: Path) -> None:
    """The token is made in the volume, by the image itself; nobody without it gets further than the health check."""
    minted = inside(container, "trading-gateway", "token", "mint", "--role", "operator", "--data-dir", DATA)
    secret = minted.stdout.strip()
    assert secret.startswith("gw_emu_"), minted.stderr
    authority = (CERTIFICATES / "ca.pem").read_bytes()
    request = trading_pb2.ListOrdersRequest(all_strategies=True)
    with serving(container, tmp_path, "--listen", "0.0.0.0:0", *TLS, mounted=True) as target:
        port = target.rpartition(":")[2]
        wire = SecureWire(f"127.0.0.1:{port}", authority, headers=(("authorization", f"Bearer {secret}"),))
        assert not wire.call("ListOrders", request).orders
        wire.close()
        stranger = SecureWire(f"127.0.0.1:{port}", authority)
        assert stranger.refusal("ListOrders", request).reason == "TOKEN_INVALID"
        stranger.close()
        asked = ("trading-gateway", "health", "--target", f"127.0.0.1:{port}")
        assert inside(container, *asked).returncode == 1  # as README.md says: the health check wants the authority
        trusting = inside(container, "env", "GATEWAY_TLS_CA=/certificates/ca.pem", *asked, mounted=True)
        assert trusting.stdout.strip() == "SERVING", trusting.stderr
        plain = Wire(f"127.0.0.1:{port}")
        assert plain.refusal("ListOrders", request).code is grpc.StatusCode.UNAVAILABLE
        plain.close()
    assert secret not in (tmp_path / "log").read_text()


@contextmanager
def serving(container: str, tmp_path: Path, *options: str, mounted: bool = False) -> Iterator[str]:
    """Where a gateway of the container serves, without root; it ends when it is asked, and says that all went well."""
    log = tmp_path / "log"
    with log.open("w") as output:
        running = subprocess.Popen(
            run_command(container, "trading-gateway", "serve", *options, mounted=mounted),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        target, process_id = served(log, running)
        assert Path(f"/proc/{process_id}/status").read_text().split("Uid:")[1].split()[0] == "10001"
        yield target
        os.kill(process_id, signal.SIGTERM)
        assert running.wait(STOP_S_MAX) == 0, log.read_text()
    finally:
        running.kill()
        running.wait()


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
