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
import structlog

_HOST_AND_PORT: Final = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})", re.ASCII)
_PORT_MAX: Final = 65_535
_SOCKET_UMASK: Final = 0o177
_NO_SUCH_ADDRESS: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL})
"""What a socket says of an address that no interface here has; EINVAL: one that needs its interface named."""
_NOT_ALLOWED: Final = frozenset({errno.EACCES, errno.EPERM})
_IPV6_LOOPBACK: Final = "[::1]"

_log = structlog.get_logger(__name__)

Secure = Callable[[], grpc.ServerCredentials]


class ServerRefused(OSError):
    """The server does not start; the message says why."""


class AddressRefused(ServerRefused):
    """Nor would it the next time: what it is told to serve must be changed first."""


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
    """Refuse what cannot be bound, before anything is started for it; `bind` has the last word.

    Args:
        addresses: From `numeric_addresses`.
        listen: As people wrote it.

    Raises:
        AddressRefused: This machine does not have one of them, or keeps it from this user.
        ServerRefused: Another process has the port.
    """
    for address in _of_this_machine(addresses):
        if address.startswith("unix:"):
            _refuse_live_socket(Path(address.removeprefix("unix:")))
            continue
        error = _try(address, int(address.rpartition(":")[2]))
        if error is not None:
            raise _refusal(address, listen, error)


def bind(server: grpc.aio.Server, addresses: Sequence[str], listen: str, secure: Secure | None = None) -> str:
    """Bind all of them, the first for its port; returns it as it was bound.

    One alone may be left out, and a line of the log says so: ::1 beside 127.0.0.1, where IPv6 is off.

    Args:
        server: Not yet started.
        addresses: From `numeric_addresses`.
        listen: As people wrote it.
        secure: Makes the credentials of a port; None: plain text.

    Raises:
        AddressRefused: This machine does not have one of them, or keeps it from this user.
        ServerRefused: Another process has the port.
    """
    present = _of_this_machine(addresses)
    for absent in set(addresses) - set(present):
        _log.warning("address_left_out", listen=listen, address=absent, reason="this machine has no IPv6 loopback")
    first, *others = sorted(present, key=lambda address: address.startswith("["))
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
        _bind_one(server, f"{other.rpartition(':')[0]}:{port}", listen, secure)
    return f"{host}:{port}"


def _bind_one(server: grpc.aio.Server, address: str, listen: str, secure: Secure | None) -> int:
    try:
        port = server.add_insecure_port(address) if secure is None else server.add_secure_port(address, secure())
    except RuntimeError as error:  # it does not say why: a socket of our own does
        if address.startswith("unix:"):
            raise AddressRefused(f"no socket can be made at {address}: look at its folder, and its length") from error
        why = _try(address, int(address.rpartition(":")[2]))
        raise _refusal(address, listen, why or OSError(errno.EADDRINUSE, "")) from error
    return port


def _of_this_machine(addresses: Sequence[str]) -> list[str]:
    """All of them but ::1 beside another one, where it is not there: /etc/hosts may name it although IPv6 is off."""
    return [
        address
        for address in addresses
        if len(addresses) == 1 or address.rpartition(":")[0] != _IPV6_LOOPBACK or not _is_missing(_try(address, 0))
    ]


def _try(address: str, port: int) -> OSError | None:
    """Why a numeric address cannot be bound; None: it can. Port 0 asks for the address alone."""
    family = socket.AF_INET6 if address.startswith("[") else socket.AF_INET
    try:
        with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port is free while old connections linger
            probe.bind((address.rpartition(":")[0].strip("[]"), port))
    except OSError as error:
        return error
    return None


def _is_missing(error: OSError | None) -> bool:
    return error is not None and error.errno in _NO_SUCH_ADDRESS


def _refusal(address: str, listen: str, error: OSError) -> ServerRefused:
    number = address.rpartition(":")[0].strip("[]")
    if error.errno == errno.EADDRINUSE:
        return _taken(listen)
    if _is_missing(error):
        return AddressRefused(f"{number} is not an address of this machine")
    if error.errno in _NOT_ALLOWED:
        return AddressRefused(f"this user may not listen on {listen}: ports below 1024 are often kept for root")
    return ServerRefused(f"{number}: {error.strerror}")


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
