"""Where a server listens: on numbers that were looked at, and on a port that nobody else holds.

Which addresses may be served, and to whom, is `exposure.py`.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import grpc

_HOST_AND_PORT: Final = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})", re.ASCII)
_PORT_MAX: Final = 65_535
_SOCKET_UMASK: Final = 0o177

Secure = Callable[[], grpc.ServerCredentials]


class ServerRefused(OSError):
    """The server does not start; the message says why."""


def numeric_addresses(listen: str) -> list[str]:
    """The numeric addresses behind HOST:PORT, or the path of a Unix socket, as gRPC spells them.

    A name is resolved here and the numbers are what is bound, so that what was checked is what is served.

    Raises:
        ServerRefused: It is no such address.
    """
    if listen.startswith("unix:") and len(listen) > len("unix:"):
        if "%" in listen:
            raise ServerRefused(f"{listen!r}: gRPC reads % as an escape, so another socket would be made than is named")
        return [listen]
    parts = _HOST_AND_PORT.fullmatch(listen)
    if parts is None or int(parts["port"]) > _PORT_MAX:
        raise ServerRefused(f"{listen!r} is not an address: give HOST:PORT, [::1]:PORT or unix:PATH")
    host, port_text = parts["host"], parts["port"]
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port_text), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ServerRefused(f"{host!r} is not an address of this machine") from error
    hosts = dict.fromkeys(str(address[4][0]) for address in found)
    return [f"[{number}]:{port_text}" if ":" in number else f"{number}:{port_text}" for number in hosts]


def is_loopback(address: str) -> bool:
    """Whether nobody beyond this machine comes to one of `numeric_addresses`."""
    if address.startswith("unix:"):
        return True
    number = ipaddress.ip_address(address.rpartition(":")[0].strip("[]").partition("%")[0])
    mapped = number.ipv4_mapped if isinstance(number, ipaddress.IPv6Address) else None
    return (mapped or number).is_loopback


def check_free(addresses: Sequence[str], listen: str) -> None:
    """Refuse a port that somebody listens on already, before anything is started for it; `bind` has the last word.

    Raises:
        ServerRefused: Another process has the port.
    """
    for address in addresses:
        if address.startswith("unix:"):
            _refuse_live_socket(Path(address.removeprefix("unix:")))
            continue
        host, _, port_text = address.rpartition(":")
        with closing(socket.socket(_family_of(address), socket.SOCK_STREAM)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port is free while old connections linger
            try:
                probe.bind((host.strip("[]"), int(port_text)))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise _taken(listen) from error


def bind(server: grpc.aio.Server, addresses: Sequence[str], listen: str, secure: Secure | None = None) -> str:
    """Bind all of them, the first for its port; returns it as it was bound.

    Args:
        server: Not yet started.
        addresses: From `numeric_addresses`.
        listen: As people wrote it.
        secure: Makes the credentials of a port; None: plain text.

    Raises:
        ServerRefused: Another process has the port, or it is no address of this machine.
    """
    first, *others = sorted(addresses, key=lambda address: address.startswith("["))
    if first.startswith("unix:"):
        _refuse_live_socket(Path(first.removeprefix("unix:")))
        before = os.umask(_SOCKET_UMASK)  # from its first instant on it is its owner's alone
        try:
            _bind_one(server, first, listen, secure)
        finally:
            os.umask(before)
        return first
    port = _bind_one(server, first, listen, secure)
    host = first.rpartition(":")[0]
    for other in others:
        if _has_address_family(other):
            _bind_one(server, f"{other.rpartition(':')[0]}:{port}", listen, secure)
    return f"{host}:{port}"


def _bind_one(server: grpc.aio.Server, address: str, listen: str, secure: Secure | None) -> int:
    try:
        port = server.add_insecure_port(address) if secure is None else server.add_secure_port(address, secure())
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
