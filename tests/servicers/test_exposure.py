"""Where a server may listen, and for whom: every row of the rules, and what is bound is what was looked at."""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from gateway.domain.types import Authentication, Venue
from gateway.servicers.addresses import AddressRefused, ServerRefused, bind, check_free, is_loopback, numeric_addresses
from gateway.servicers.exposure import ExposureRefused, check_exposure, is_token_required
from gateway.servicers.identity import Doorkeeper
from gateway.servicers.server import GatewayServer
from tests.servicers.conftest import Served, servicers_over, shipped
from tests.servicers.fakes import Rooms

Start = Callable[..., Awaitable[Served]]
AUTO, REQUIRED, OFF = Authentication.AUTO, Authentication.REQUIRED, Authentication.OFF
OPEN = ["0.0.0.0:0", "[::]:0", "192.0.2.1:50051", "[::ffff:10.0.0.1]:1", "[fe80::1]:1", "10.0.0.5:1"]
_TABLES = [path for path in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")) if path.exists()]
LOOPBACK = ["127.0.0.1:0", "127.8.9.1:1", "[::1]:0", "[::ffff:127.0.0.1]:1", "unix:/tmp/gateway.sock"]


@pytest.mark.parametrize(
    "listen",
    [
        "*:50051",
        "localhost",
        ":50051",
        "127.0.0.1:",
        "127.0.0.1:x",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "dns:///127.0.0.1:50051",
        "no-such-host.invalid:1",
        "unix:",
        "unix:%00gateway",  # gRPC's way to write a socket without a file, which every user of the machine may open
        "unix:/tmp/gate%77ay.sock",
        "50051",
    ],
)
def test_what_is_no_address_is_refused(listen: str) -> None:
    with pytest.raises(ServerRefused):
        numeric_addresses(listen)


@pytest.mark.parametrize("listen", [*OPEN, *LOOPBACK])
def test_loopback_is_told_from_what_others_reach(listen: str) -> None:
    assert list(map(is_loopback, numeric_addresses(listen))) == [listen in LOOPBACK]


@pytest.mark.parametrize("listen", ["127.1:0", "0:0", "0x7f000001:0", "2130706433:0", "localhost:0"])
def test_odd_spellings_become_the_numbers_that_are_bound(listen: str) -> None:
    """What a resolver makes of them is what is looked at: none gets past as a name."""
    for address in numeric_addresses(listen):
        assert is_loopback(address) == (not address.startswith("0.0.0.0"))


@pytest.mark.parametrize(
    ("authentication", "venue", "listen", "expected"),
    [
        (AUTO, Venue.EMULATOR, "127.0.0.1:1", False),
        (AUTO, Venue.EMULATOR, "unix:/tmp/x", False),
        (AUTO, Venue.EMULATOR, "0.0.0.0:1", True),
        (AUTO, Venue.PAPER, "127.0.0.1:1", True),
        (AUTO, Venue.LIVE, "127.0.0.1:1", True),
        (REQUIRED, Venue.EMULATOR, "127.0.0.1:1", True),
        (OFF, Venue.PAPER, "127.0.0.1:1", False),
        (OFF, Venue.EMULATOR, "0.0.0.0:1", False),
        (OFF, Venue.LIVE, "127.0.0.1:1", True),
    ],
)
def test_when_a_token_is_required(authentication: Authentication, venue: Venue, listen: str, expected: bool) -> None:
    assert is_token_required(authentication, venue, [listen]) is expected


@pytest.mark.parametrize("listen", [*OPEN, *LOOPBACK])
@pytest.mark.parametrize("has_tls", [False, True])
@pytest.mark.parametrize("requires_token", [False, True])
def test_beyond_loopback_it_takes_both(listen: str, has_tls: bool, requires_token: bool) -> None:
    def check() -> None:
        check_exposure([listen], listen=listen, has_tls=has_tls, is_token_required=requires_token)

    if listen in LOOPBACK or (has_tls and requires_token):
        check()
        return
    with pytest.raises(ExposureRefused) as refusal:
        check()
    assert ("--tls-cert FILE --tls-key FILE" in str(refusal.value)) is not has_tls
    assert ("--authentication off" in str(refusal.value)) is not requires_token


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0"])
async def test_the_server_itself_refuses_whatever_was_checked_before(serve: Start, listen: str) -> None:
    with pytest.raises(ExposureRefused):
        await serve(listen=listen)


async def test_a_name_that_also_leads_elsewhere_is_refused(serve: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(0, 0, 0, "", (address, port)) for address in ("127.0.0.1", "192.0.2.7")]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(ExposureRefused, match=r"192\.0\.2\.7"):
        await serve(listen="somewhere:50051")


async def test_a_name_that_changes_between_two_looks_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens were found not to be required on loopback; then the name leads elsewhere."""
    server = GatewayServer(
        shipped(listen="somewhere:0"), servicers_over(Rooms()), doorkeeper=Doorkeeper(is_required=False)
    )
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(0, 0, 0, "", ("0.0.0.0", 0))])
    with pytest.raises(ExposureRefused):
        await server.start()


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "localhost:0"])
async def test_what_is_bound_is_loopback(serve: Start, listen: str) -> None:
    """As the kernel tells it, not as the library does; 127.0.0.1 may be a socket of IPv6."""
    if not _TABLES:
        pytest.skip("this system does not tell its sockets in /proc/net/tcp")
    served = await serve(listen=listen)
    wanted = f"{int(served.address.rpartition(':')[2]):04X}"
    rows = [line.split() for path in _TABLES for line in path.read_text().splitlines()[1:]]
    listening = {row[1].rpartition(":")[0] for row in rows if row[1].endswith(f":{wanted}") and row[3] == "0A"}
    assert listening
    assert listening <= {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


def resolving_to(*numbers: str) -> Callable[..., list[tuple[object, ...]]]:
    return lambda _host, port, **_: [(0, 0, 0, "", (number, port)) for number in numbers]


class MachineWithoutIpv6(socket.socket):
    """Where /etc/hosts still names ::1."""

    def bind(self, address: Any, /) -> None:
        if self.family is socket.AF_INET6:
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
        super().bind(address)


async def test_a_name_may_lose_the_loopback_of_an_ipv6_that_is_off_and_says_so(
    serve: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", resolving_to("::1", "127.0.0.1"))
    monkeypatch.setattr(socket, "socket", MachineWithoutIpv6)
    check_free(["[::1]:0", "127.0.0.1:0"], "somewhere:0")
    with structlog.testing.capture_logs() as lines:
        served = await serve(listen="somewhere:0")
    assert served.address.startswith("127.0.0.1:")
    assert [(line["event"], line["address"]) for line in lines if line["log_level"] == "warning"] == [
        ("address_left_out", "[::1]:0")
    ]


@pytest.mark.parametrize(
    ("numbers", "missing"),
    [(("::1",), "::1"), (("127.0.0.1", "192.0.2.7"), "192.0.2.7"), (("127.0.0.1", "2001:db8::7"), "2001:db8::7")],
)
def test_nothing_else_that_was_asked_for_is_left_out(
    monkeypatch: pytest.MonkeyPatch, numbers: tuple[str, ...], missing: str
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", resolving_to(*numbers))
    monkeypatch.setattr(socket, "socket", MachineWithoutIpv6)
    addresses = numeric_addresses("somewhere:0")
    with pytest.raises(AddressRefused, match=f"^{re.escape(missing)} is not an address of this machine$"):
        check_free(addresses, "somewhere:0")
    with pytest.raises(AddressRefused, match=f"^{re.escape(missing)} is not an address of this machine$"):
        bind(Unable(), addresses, "somewhere:0")  # type: ignore[arg-type]


class Unable:
    """A server of gRPC that binds what can be bound, and says of nothing else why not."""

    def add_insecure_port(self, address: str) -> int:
        if address.startswith("127.0.0.1"):
            return 1_024
        raise RuntimeError("Failed to bind")


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.EACCES, AddressRefused, "this user may not listen on 127.0.0.1:80"),
        (errno.EADDRINUSE, ServerRefused, "another process, perhaps another gateway, listens on 127.0.0.1:80"),
        (errno.EMFILE, ServerRefused, "127.0.0.1: Too many open files"),
    ],
)
def test_why_an_address_cannot_be_had_is_told_apart(
    monkeypatch: pytest.MonkeyPatch, number: int, kind: type[ServerRefused], words: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket.socket, "bind", fail, raising=False)
    with pytest.raises(ServerRefused, match=f"^{re.escape(words)}") as refusal:
        check_free(["127.0.0.1:80"], "127.0.0.1:80")
    assert type(refusal.value) is kind


async def test_a_socket_whose_folder_is_not_there_is_no_other_gateway(serve: Start, tmp_path: Path) -> None:
    with pytest.raises(AddressRefused, match="no socket can be made at unix:"):
        await serve(listen=f"unix:{tmp_path}/nowhere/gateway.sock")
