"""`doctor` on the way to a gateway: every refusal of a token or a certificate is named, with what to do."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2

from gateway.cli import doctor, doctor_reach
from gateway.cli.hardening import LOCK_FILE
from gateway.domain.models.identity import Scope
from gateway.infrastructure.persistence.database import FILE_NAME
from gateway.services.identity import Grant, IdentityService
from tests.certificates import Authority, Pair
from tests.clients.scripted import ScriptedGateway
from tests.gateway_host import GatewayHost, RunningGateway
from tests.test_access import Door
from tests.test_serve import ask, finding
from trading_gateway.access import Access
from trading_gateway.errors import DOMAIN, GatewayError

READER = frozenset({Scope.ACCOUNT_READ, Scope.MARKET_DATA_READ})


@pytest.fixture
def door(start_gateway: GatewayHost) -> Iterator[Door]:
    door = Door(start_gateway)
    yield door
    door.close()


def test_tokens_that_do_not_pass(door: Door, tmp_path: Path) -> None:
    narrow = frozenset({Scope.MARKET_DATA_READ})
    expired = door.mint(scopes=READER, ttl_ms=1).secret
    time.sleep(0.01)
    cases = (
        ("", "TOKEN_INVALID", "Show a token"),
        ("gw_emu_00000000_" + "x" * 43, "TOKEN_INVALID", "was revoked"),
        (expired, "TOKEN_EXPIRED", "token rotate"),
        (door.mint(scopes=narrow).secret, "SCOPE_MISSING", "the scope account:read:"),
        (door.mint(scopes=READER, networks=(ip_network("10.0.0.0/8"),)).secret, "NETWORK_NOT_ALLOWED", "networks"),
    )
    for secret, reason, remedy in cases:
        done = ask("doctor", "--target", door.gateway.target, "--json", GATEWAY_TOKEN=secret)
        found = finding(done, "venue")
        assert (done.exit_code, reason in found["state"], remedy in found["remedy"]) == (1, True, True), done.stdout
        assert not secret or secret not in done.output

    file = tmp_path / "token"
    file.write_text(door.mint(scopes=READER).secret)
    file.chmod(0o600)
    shown = ("doctor", "--target", door.gateway.target, "--json", "--token-file", str(file))
    well = ask(*shown)
    assert (well.exit_code, "for the venue emulator, from" in finding(well, "token")["state"]) == (0, True), well.stdout
    assert "EMULATOR1" not in well.stdout
    file.chmod(0o644)
    assert "chmod 600" in finding(ask(*shown), "token")["remedy"]
    file.write_text("not-a-token")
    assert "has no token" in finding(ask(*shown), "token")["state"]


class Guarded:
    """A gateway behind TLS, and what its clients need."""

    def __init__(self, start: GatewayHost, folder: Path, *names: str, **options: Any) -> None:
        self.folder = folder
        self.authority = Authority()
        self.ca = self._write("ca.pem", self.authority.certificate)
        certificate, key = self.authority.sign(*names).write(folder)
        if options.pop("asks", False):
            options["tls_client_ca"] = self.ca
        self.gateway: RunningGateway = start(tls_cert=certificate, tls_key=key, **options)

    def _write(self, name: str, text: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(text)
        return path

    def own(self, pair: Pair) -> dict[str, str]:
        """The environment of a client with this certificate."""
        certificate, key = pair.write(self.folder, "client")
        return {
            "GATEWAY_TLS_CA": str(self.ca),
            "GATEWAY_TLS_CLIENT_CERT": str(certificate),
            "GATEWAY_TLS_CLIENT_KEY": str(key),
        }

    def doctor(self, target: str = "", **extra: str) -> dict[str, str]:
        """What it says of the gateway."""
        return finding(ask("doctor", "--target", target or self.gateway.target, "--json", **extra), "gateway")


def test_tls_that_does_not_match(start_gateway: GatewayHost, tmp_path: Path) -> None:
    guarded = Guarded(start_gateway, tmp_path, "IP:127.0.0.1")
    assert "SERVING" in guarded.doctor(GATEWAY_TLS_CA=str(guarded.ca))["state"]
    plain = guarded.doctor()
    assert ("serves TLS" in plain["state"], "GATEWAY_TLS_CA" in plain["remedy"]) == (True, True)
    stranger = tmp_path / "other.pem"
    stranger.write_bytes(Authority("Other CA").certificate)
    assert "nobody whom this client trusts" in guarded.doctor(GATEWAY_TLS_CA=str(stranger))["state"]
    other_name = guarded.doctor(
        f"localhost:{guarded.gateway.target.rpartition(':')[2]}", GATEWAY_TLS_CA=str(guarded.ca)
    )
    assert "it names 127.0.0.1" in other_name["state"]
    assert (
        "holds no certificate"
        in finding(ask("doctor", "--target", guarded.gateway.target, "--json", GATEWAY_TLS_CA=os.devnull), "access")[
            "state"
        ]
    )


def test_a_certificate_that_has_expired(tmp_path: Path) -> None:
    """A gateway would not start with it: this is one that has not looked for months, or something between."""
    authority = Authority()
    pair = authority.sign("IP:127.0.0.1", begins_in_s=-7_200, ends_in_s=-60)
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    server = ScriptedGateway(grpc.ssl_server_credentials([(pair.key, pair.certificate)]))
    done = ask("doctor", "--target", server.target, "--json", GATEWAY_TLS_CA=str(tmp_path / "ca.pem"))
    server.stop()
    found = finding(done, "gateway")
    assert ("has expired" in found["state"], "--tls-cert" in found["remedy"]) == (True, True)


def test_a_token_is_not_sent_in_plain_text_to_find_out(tmp_path: Path) -> None:
    done = ask("doctor", "--target", "192.0.2.1:50051", "--json", GATEWAY_TOKEN="gw_emu_00000000_" + "x" * 43)
    assert "not sent in plain text" in finding(done, "access")["state"]


def test_tls_to_a_gateway_that_speaks_plain_text(start_gateway: GatewayHost, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(Authority().certificate)
    done = ask("doctor", "--target", start_gateway().target, "--json", "--tls-ca", str(ca))
    assert "does not speak TLS" in finding(done, "gateway")["state"]


def test_a_clients_own_certificate(start_gateway: GatewayHost, tmp_path: Path) -> None:
    guarded = Guarded(start_gateway, tmp_path, "IP:127.0.0.1", asks=True, authentication="required")
    none = guarded.doctor(GATEWAY_TLS_CA=str(guarded.ca))
    momentum = "URI:spiffe://gateway/momentum"
    assert "asks for a client's certificate" in none["state"]
    assert "does not take this client" in guarded.doctor(**guarded.own(Authority("Other CA").sign(momentum)))["state"]
    ended = guarded.own(guarded.authority.sign(momentum, begins_in_s=-7_200, ends_in_s=-3_600))
    done = ask("doctor", "--target", guarded.gateway.target, "--json", **ended)
    assert "expired on" in finding(done, "client cert")["state"]

    identity: IdentityService = guarded.gateway.gateway.injector.get(IdentityService)
    grant = Grant("momentum", READER, certificate="spiffe://gateway/momentum")
    guarded.gateway.call(identity.mint(grant))
    well = ask("doctor", "--target", guarded.gateway.target, "--json", **guarded.own(guarded.authority.sign(momentum)))
    assert well.exit_code == 0, well.stdout
    nobody = ask(
        "doctor",
        "--target",
        guarded.gateway.target,
        "--json",
        **guarded.own(guarded.authority.sign("URI:spiffe://x/y")),
    )
    assert "TOKEN_INVALID" in finding(nobody, "venue")["state"]


def test_a_set_up_that_nobody_could_come_into(tmp_path: Path) -> None:
    wanted = {"GATEWAY_AUTHENTICATION": "required", "GATEWAY_DATA_DIR": str(tmp_path / "data")}
    mint = ("token", "mint", "--role", "operator", "--data-dir", str(tmp_path / "data"))
    for elsewhere in ((), ("--venue", "paper")):
        if elsewhere:
            assert ask(*mint, *elsewhere).exit_code == 0
        before = finding(ask("doctor", "--target", "127.0.0.1:1", "--json", **wanted), "tokens")
        assert before["state"].startswith("0 usable for emulator")
        assert "token mint --role operator" in before["remedy"]
    assert ask(*mint, "--venue", "emulator").exit_code == 0
    after = finding(ask("doctor", "--target", "127.0.0.1:1", "--json", **wanted), "tokens")
    assert (after["state"].startswith("1 usable"), after["remedy"]) == (True, "")


def test_of_another_machine_it_says_nothing_that_is_this_ones() -> None:
    """The first finding alone: the next one would go there and ask."""
    first = next(doctor._findings("gateway.example:50051", None))
    assert "another machine" in first.state
    assert not first.remedy


def at(folder: Path, subject: str, **extra: str) -> dict[str, str]:
    """What it says of one thing, of a directory on which no gateway can be asked."""
    return finding(ask("doctor", "--target", "127.0.0.1:1", "--json", "--data-dir", str(folder), **extra), subject)


def test_a_directory_that_serve_would_refuse(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "data"
    assert at(folder, "data directory") == {
        "subject": "data directory", "state": f"{folder} will be made", "remedy": "",
    }  # fmt: skip
    assert ask("token", "mint", "--role", "operator", "--data-dir", str(folder)).exit_code == 0
    assert at(folder, "data directory")["state"].endswith("exists, of no venue yet")
    folder.chmod(0o702)
    assert "chmod 700" in at(folder, "data directory")["remedy"]
    folder.chmod(0o700)
    file = folder / FILE_NAME
    for change, state, remedy in (
        ("INSERT INTO meta VALUES ('venue', 'emulator')", "exists, of the venue emulator", ""),
        (
            "UPDATE meta SET value = 'paper' WHERE key = 'venue'",
            "was begun with the venue paper",
            "GATEWAY_VENUE=paper",
        ),
        ("UPDATE meta SET value = '99' WHERE key = 'schema_version'", "run the version that wrote it", "serve refuses"),
    ):
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute(change)
        found = at(folder, "data directory")
        assert (state in found["state"], remedy in found["remedy"], bool(found["remedy"])) == (True, True, bool(remedy))
    file.write_bytes(b"no journal" * 1_000)
    assert "Restore a back-up" in at(folder, "data directory")["state"]


def test_a_journal_whose_pages_are_damaged(tmp_path: Path) -> None:
    """Beside a gateway, which has looked at all of them, it does not look at them again."""
    assert ask("token", "mint", "--role", "operator", "--data-dir", str(tmp_path)).exit_code == 0
    file = tmp_path / FILE_NAME
    whole = file.read_bytes()
    file.write_bytes(whole[:-4_096] + b"\xff" * 4_096)
    assert "Restore a back-up" in at(tmp_path, "data directory")["state"]
    with (tmp_path / LOCK_FILE).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert at(tmp_path, "data directory")["remedy"] == ""


def test_what_another_program_has(start_gateway: GatewayHost, tmp_path: Path) -> None:
    """A gateway that is asked at a wrong place: it is not gone, it has the directory and the port."""
    gateway = start_gateway()
    with (tmp_path / LOCK_FILE).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        held = [
            one
            for one in json.loads(
                ask(
                    "doctor", "--target", "127.0.0.1:1", "--json", "--data-dir", str(tmp_path),
                    GATEWAY_LISTEN=gateway.target,
                ).stdout
            )
            if "--target" in one["remedy"]
        ]  # fmt: skip
    assert [one["subject"] for one in held] == ["data directory", "address"]
    assert "serve refuses a second one" in held[0]["state"]
    assert "another process, perhaps another gateway" in held[1]["state"]


def test_orders_that_nobody_takes(door: Door) -> None:
    """The trading state is told to who may see it; others are not blamed for not seeing it."""
    reader = door.mint(scopes=READER | {Scope.RISK_READ}).secret
    shown = ("doctor", "--target", door.gateway.target, "--json")
    assert finding(ask(*shown, GATEWAY_TOKEN=reader), "trading")["state"] == "ACTIVE"
    door.gateway.call(door.gateway.gateway.halt("a drill", "test"))
    found = finding(ask(*shown, GATEWAY_TOKEN=reader), "trading")
    assert (found["state"], "trading-gateway resume" in found["remedy"]) == ("HALTED, set by test: a drill", True)
    blind = finding(ask(*shown, GATEWAY_TOKEN=door.mint(scopes=READER).secret), "trading")
    assert ("risk:read" in blind["state"], blind["remedy"]) == (True, "")


def test_a_gateway_that_refuses_for_reasons_of_its_own(start_gateway: GatewayHost) -> None:
    """Each reason that a look can meet has what to do; what is met is told, whatever it is."""
    for reason in ("TOO_MANY_CALLS", "VENUE_AUTHENTICATION", "JOURNAL_UNAVAILABLE", "TOO_MANY_STREAMS"):
        detail = any_pb2.Any()
        detail.Pack(error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN))
        failure = GatewayError(grpc.StatusCode.RESOURCE_EXHAUSTED, "words", [detail])
        found = doctor_reach.denial_finding("venue", failure, Access())
        assert (reason in found.state, found.remedy.startswith("Look at the gateway's log;")) == (True, False)
    target = start_gateway(authentication="required", authentication_failures_per_minute=2).target
    for _ in range(2):
        last = ask("doctor", "--target", target, "--json", GATEWAY_TOKEN="gw_emu_00000000_" + "x" * 43)
    found = finding(last, "venue")
    assert ("RESOURCE_EXHAUSTED" in found["state"], "limit of failures" in found["remedy"]) == (True, True), found
