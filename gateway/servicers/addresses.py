"""Where a server without TLS and tokens may listen: loopback, and on a port that nobody else holds."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
from contextlib import closing
from pathlib import Path
from typing import Final

import grpc

_HOST_AND_PORT: Final = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})", re.ASCII)
_PORT_MAX: Final = 65_535
_SOCKET_MODE: Final = 0o600


class ServerRefused(OSError):
    """The server does not start; the message says why."""


def loopback_addresses(listen: str) -> list[str]:
    """The numeric loopback addresses behind HOST:PORT, or the path of a Unix socket, as gRPC spells them.

    A name is resolved here and the numbers are what is bound, so that what was checked is what is served.

    Raises:
        ServerRefused: It is no such address, or one of them is not on loopback.
    """
    if listen.startswith("unix:") and len(listen) > len("unix:"):
        _refuse_live_socket(Path(listen.removeprefix("unix:")))
        return [listen]
    parts = _HOST_AND_PORT.fullmatch(listen)
    if parts is None or int(parts["port"]) > _PORT_MAX:
        raise ServerRefused(f"{listen!r} is not an address: give HOST:PORT, [::1]:PORT or unix:PATH")
    host, port_text = parts["host"], parts["port"]
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port_text), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ServerRefused(f"{host!r} is not an address of this machine") from error
    hosts = list(dict.fromkeys(str(address[4][0]) for address in found))
    if not all(ipaddress.ip_address(number.partition("%")[0]).is_loopback for number in hosts):
        raise ServerRefused(
            f"{listen} is not on loopback: this build has no TLS and no tokens, so it serves 127.0.0.1 and ::1 alone"
        )
    return [f"[{number}]:{port_text}" if ":" in number else f"{number}:{port_text}" for number in hosts]


def check_free(addresses: list[str], listen: str) -> None:
    """Refuse a port that somebody listens on already, before anything is started for it; `bind` has the last word.

    Raises:
        ServerRefused: Another process has the port.
    """
    for address in addresses:
        if address.startswith("unix:"):
            continue
        host, _, port_text = address.rpartition(":")
        with closing(socket.socket(_family_of(address), socket.SOCK_STREAM)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port is free while old connections linger
            try:
                probe.bind((host.strip("[]"), int(port_text)))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise _taken(listen) from error


def bind(server: grpc.aio.Server, addresses: list[str], listen: str) -> str:
    """Bind all of them, the first for its port; returns it as it was bound.

    Raises:
        ServerRefused: Another process has the port.
    """
    first, *others = sorted(addresses, key=lambda address: address.startswith("["))
    port = _bind_one(server, first, listen)
    if first.startswith("unix:"):
        os.chmod(first.removeprefix("unix:"), _SOCKET_MODE)
        return first
    host = first.rpartition(":")[0]
    for other in others:
        if _has_address_family(other):
            _bind_one(server, f"{other.rpartition(':')[0]}:{port}", listen)
    return f"{host}:{port}"


def _bind_one(server: grpc.aio.Server, address: str, listen: str) -> int:
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise _taken(listen) from error
    return port


def _has_address_family(address: str) -> bool:
    """Whether the machine has this loopback address at all; /etc/hosts may name ::1 where IPv6 is off."""
    try:
        with closing(socket.socket(_family_of(address), socket.SOCK_STREAM)) as probe:
            probe.bind((address.rpartition(":")[0].strip("[]"), 0))
    except OSError:
        return False
    return True


def _family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if address.startswith("[") else socket.AF_INET


def _taken(listen: str) -> ServerRefused:
    return ServerRefused(f"another process, perhaps another gateway, listens on {listen}")


def _refuse_live_socket(path: Path) -> None:
    """GRPC removes a socket file that it finds: look first whether somebody answers there."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return
    raise ServerRefused(f"another process, perhaps another gateway, listens on unix:{path}")
