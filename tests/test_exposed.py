"""What `serve` does with settings that would let others in, and the way on that it tells: as its user meets it."""

from __future__ import annotations

import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.cli.serve import EXIT_CONFIG
from gateway.servicers.tls import CertificateFiles, load
from tests.certificates import DAY_S, HOSTS, Authority
from tests.test_serve import COMMAND, ask, environment, finding, run
from tests.test_tls import SecureWire
from trading_gateway.v1 import trading_pb2 as pb

WAIT_S = 20.0
README = Path(__file__).parent.parent / "README.md"
BEYOND = ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "0:0"]
TLS = ["--tls-cert", "{folder}/server.pem", "--tls-key", "{folder}/server.key"]
NEEDS_TLS, NEEDS_TOKENS = "add --tls-cert FILE --tls-key FILE", "take away --authentication off"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def folder(authority: Authority, tmp_path: Path) -> Path:
    authority.sign(*HOSTS).write(tmp_path)
    return tmp_path


def refused(folder: Path, *arguments: str, **extra: str) -> str:
    """What `serve` says when it does not start, and that starting again does not help."""
    done = ask("serve", *(argument.format(folder=folder) for argument in arguments), **extra)
    assert done.exit_code == EXIT_CONFIG, done.output
    return str(done.output)


@pytest.mark.parametrize("listen", BEYOND)
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], [NEEDS_TLS]),
        (["--authentication", "required"], [NEEDS_TLS]),
        (["--authentication", "off"], [NEEDS_TLS, NEEDS_TOKENS]),
        ([*TLS, "--authentication", "off"], [NEEDS_TOKENS]),
        (TLS, ["token mint --role operator"]),
    ],
)
def test_beyond_loopback_it_does_not_start(folder: Path, listen: str, arguments: list[str], said: list[str]) -> None:
    output = refused(folder, "--listen", listen, *arguments)
    for words in (NEEDS_TLS, NEEDS_TOKENS):
        assert (words in output) is (words in said), output
    assert all(words in output for words in said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--venue", "live", "--authentication", "off"], "--venue live is refused"),
        (["--authentication", "required"], "start with --data-dir data"),
        (["--authentication", "perhaps"], "authentication"),
        (["--tls-cert", "{folder}/server.pem"], "TLS takes a certificate and its key"),
        (["--tls-client-ca", "{folder}/server.pem"], "TLS takes a certificate and its key"),
        (["--tls-cert", "{folder}/server.pem", "--tls-key", "{folder}/none.key"], "none.key: no such file"),
        (["--tls-cert", "{folder}/server.key", "--tls-key", "{folder}/server.key"], "no certificate in it"),
        ([*TLS, "--tls-client-ca", "{folder}/server.key"], "server.key: no certificate in it"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(folder: Path, arguments: list[str], said: str) -> None:
    assert said in refused(folder, *arguments)


def test_an_address_of_another_machine_is_refused_before_anything_is_started(folder: Path) -> None:
    """192.0.2.0/24 is nobody's (RFC 5737)."""
    output = refused(folder, "--listen", "192.0.2.1:0", *TLS, "--data-dir", "{folder}/data")
    assert "cannot serve on 192.0.2.1:0: 192.0.2.1 is not an address of this machine" in output
    assert not (folder / "data").exists()


def test_an_expired_certificate_does_not_start(folder: Path, authority: Authority) -> None:
    authority.sign(*HOSTS, ends_in_s=-1).write(folder)
    assert "expired on" in refused(folder, *TLS)


def test_paper_wants_tokens_on_loopback_too(folder: Path) -> None:
    keys = {"GATEWAY_API_KEY": "PK" + "A" * 18, "GATEWAY_API_SECRET": "x" * 40}
    output = refused(folder, "--venue", "paper", "--listen", "127.0.0.1:0", **keys)
    assert "token mint --role operator --venue paper" in output


@pytest.mark.parametrize("listen", BEYOND)
def test_an_emulator_serves_loopback_alone(listen: str) -> None:
    done = ask("emulator", "--listen", listen)
    assert done.exit_code == 2
    assert "is not loopback" in done.output


@pytest.mark.parametrize(
    ("days", "remedy"),
    [(90, ""), (10, "a running gateway takes it within seconds"), (-1, "serve refuses to start with it")],
)
def test_the_doctor_looks_at_the_certificate(folder: Path, authority: Authority, days: int, remedy: str) -> None:
    authority.sign(*HOSTS, begins_in_s=-2 * DAY_S, ends_in_s=days * DAY_S).write(folder)
    paths = {"GATEWAY_TLS_CERT": f"{folder}/server.pem", "GATEWAY_TLS_KEY": f"{folder}/server.key"}
    found = finding(ask("doctor", "--target", "127.0.0.1:1", "--json", **paths), "certificate")
    assert remedy in found["remedy"]
    assert bool(remedy) is bool(found["remedy"])


def test_the_certificates_that_the_readme_makes_are_served(tmp_path: Path) -> None:
    """README.md, "Tokens and TLS", as it stands there."""
    tool = shutil.which("openssl")
    if tool is None or not subprocess.run([tool, "version"], capture_output=True, check=True).stdout.startswith(
        b"OpenSSL 3"
    ):
        pytest.skip("openssl 3 makes them, and is not here")
    section = README.read_text().partition("\n## Tokens and TLS\n")[2].partition("\n## ")[0]
    commands = [line[2:] for line in section.splitlines() if line.startswith("$ openssl ")]
    assert len(commands) == 3
    for command in commands:
        subprocess.run(shlex.split(command), cwd=tmp_path, capture_output=True, check=True, timeout=WAIT_S)
    wanted = CertificateFiles(tmp_path / "server.pem", tmp_path / "server.key", tmp_path / "ca.pem")
    assert load(wanted, time.time_ns()).pair.names == ("DNS:localhost", "IP:127.0.0.1")
    client = CertificateFiles(tmp_path / "momentum.pem", tmp_path / "momentum.key")
    assert load(client, time.time_ns()).pair.names == ("URI:spiffe://gw/momentum",)
    signed = ["verify", "-x509_strict", "-CAfile", "ca.pem", "server.pem", "momentum.pem"]
    subprocess.run([tool, *signed], cwd=tmp_path, capture_output=True, check=True, timeout=WAIT_S)


@pytest.mark.slow
def test_the_way_on_that_is_told_works(folder: Path, authority: Authority) -> None:
    """Beyond loopback: refused for want of a token, minted as told, served; and SIGHUP shows the new certificate."""
    options = [option.format(folder=folder) for option in TLS] + ["--data-dir", str(folder / "data")]
    options += ["--listen", "0.0.0.0:0"]
    done = run("serve", *options)
    assert done.returncode == EXIT_CONFIG
    told = next(line.strip() for line in done.stderr.splitlines() if "token mint" in line)
    command = [*COMMAND, *shlex.split(told)[1:]]
    minted = subprocess.run(command, capture_output=True, text=True, check=True, timeout=WAIT_S, env=environment())
    secret = minted.stdout.strip()
    with subprocess.Popen(
        [*COMMAND, "serve", *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment()
    ) as child:
        try:
            assert child.stdout is not None
            port = child.stdout.readline().rpartition(":")[2].strip()
            hints = [child.stdout.readline() for _ in range(4)]
            shown = "-cacert ca.pem -expand-headers -H 'authorization: Bearer ${GATEWAY_TOKEN}'"
            assert f"grpcurl {shown} localhost:{port} list" in hints[1]
            assert f"--target localhost:{port} --tls-ca ca.pem" in hints[3]
            headers = (("authorization", f"Bearer {secret}"),)
            request = pb.ListOrdersRequest(all_strategies=True)
            wire = SecureWire(f"127.0.0.1:{port}", authority.certificate, headers=headers)
            assert not wire.call("ListOrders", request).orders
            wire.close()
            stranger = SecureWire(f"127.0.0.1:{port}", authority.certificate)
            assert stranger.refusal("ListOrders", request).code is grpc.StatusCode.UNAUTHENTICATED
            assert health_pb2_grpc.HealthStub(stranger.channel).Check(health_pb2.HealthCheckRequest()).status == 1
            other = Authority()
            other.sign(*HOSTS).write(folder)
            child.send_signal(signal.SIGHUP)
            deadline = time.monotonic() + WAIT_S
            while not shows(port, other):
                assert time.monotonic() < deadline
            assert stranger.refusal("ListOrders", request).code is grpc.StatusCode.UNAUTHENTICATED  # it still stands
            stranger.close()
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(WAIT_S)


def shows(port: str, authority: Authority) -> bool:
    """Whether a new connection trusts what it is shown."""
    with grpc.secure_channel(
        f"127.0.0.1:{port}",
        grpc.ssl_channel_credentials(authority.certificate),
        options=[("grpc.use_local_subchannel_pool", 1)],
    ) as channel:
        try:
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=WAIT_S)
        except grpc.RpcError:
            return False
    return True
