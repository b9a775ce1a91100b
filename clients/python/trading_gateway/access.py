"""What a client shows of itself, and whom it believes: token, trusted authority, certificate of its own.

Promises: arguments win over the environment; a token never travels in plain text beyond this machine, and stands in no
error, log or repr; a token file is read again when it has changed, so that a token is rotated without a restart.

GATEWAY_TOKEN is the token, GATEWAY_TOKEN_FILE a file with nothing but the token. GATEWAY_TLS_CA is a file with the
authority's certificates (PEM), or the word `system`; GATEWAY_TLS_CLIENT_CERT and GATEWAY_TLS_CLIENT_KEY are files with
this client's own, for a gateway that asks for one.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import re
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Final

import grpc

TOKEN_VARIABLE: Final = "GATEWAY_TOKEN"  # noqa: S105 - a name, not a secret
TOKEN_FILE_VARIABLE: Final = "GATEWAY_TOKEN_FILE"  # noqa: S105
TLS_CA_VARIABLE: Final = "GATEWAY_TLS_CA"
TLS_CLIENT_CERT_VARIABLE: Final = "GATEWAY_TLS_CLIENT_CERT"
TLS_CLIENT_KEY_VARIABLE: Final = "GATEWAY_TLS_CLIENT_KEY"
VARIABLES: Final = frozenset(
    {
        TOKEN_VARIABLE,
        TOKEN_FILE_VARIABLE,
        TLS_CA_VARIABLE,
        TLS_CLIENT_CERT_VARIABLE,
        TLS_CLIENT_KEY_VARIABLE,
    }
)

SYSTEM_CA: Final = "system"
"""As tls_ca: the public authorities that gRPC brings along."""

LOOK_INTERVAL_S: Final = 1.0
"""Seconds between two looks at whether a token file has changed."""

FilePath = str | PathLike[str]
Headers = tuple[tuple[str, str], ...]

_TOKEN: Final = re.compile(r"[!-~]{1,512}", re.ASCII)
_TOKEN_FILE_BYTES_MAX: Final = 4_096
_SCHEMES: Final = ("dns:///", "dns:", "ipv4:", "ipv6:")
_LOCAL_SCHEMES: Final = ("unix:", "unix-abstract:")
_LOCAL_NAME: Final = "localhost"

_PLAIN_TEXT: Final = (
    "a token is not sent in plain text beyond this machine, and {target} is beyond it: say whose certificates to trust "
    f"(tls_ca or {TLS_CA_VARIABLE}: a file, or the word {SYSTEM_CA})"
)
_log = logging.getLogger(__name__)


class AccessRefused(ValueError):
    """What a client was given cannot be used, or must not; the text says what to change."""


@dataclass(frozen=True, slots=True)
class Access:
    """How a client is let in. Empty: nothing is shown, and the connection is plain.

    Attributes:
        token: The secret that was minted.
        token_file: A file with nothing but the secret.
        tls_ca: A file with the certificates of who may vouch for the gateway (PEM), or `system`.
        tls_client_cert: A file with this client's own certificate (PEM).
        tls_client_key: A file with its private key (PEM).
    """

    token: str = field(default="", repr=False)
    token_file: FilePath = ""
    tls_ca: FilePath = ""
    tls_client_cert: FilePath = ""
    tls_client_key: FilePath = ""

    @classmethod
    def of(
        cls,
        *,
        token: str | None = None,
        token_file: FilePath | None = None,
        tls_ca: FilePath | None = None,
        tls_client_cert: FilePath | None = None,
        tls_client_key: FilePath | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> Access:
        """The arguments, else the environment; an empty argument says: none.

        Raises:
            AccessRefused: A token and a file, or half of a certificate and its key.
        """
        if token is None and token_file is None:
            token, token_file = environment.get(TOKEN_VARIABLE), environment.get(TOKEN_FILE_VARIABLE)
        if token and token_file:
            raise AccessRefused(f"a token or a file with one ({TOKEN_VARIABLE}, {TOKEN_FILE_VARIABLE}), not both")
        if tls_client_cert is None and tls_client_key is None:
            tls_client_cert = environment.get(TLS_CLIENT_CERT_VARIABLE)
            tls_client_key = environment.get(TLS_CLIENT_KEY_VARIABLE)
        if bool(tls_client_cert) != bool(tls_client_key):
            raise AccessRefused(
                f"a client's certificate and its key go together ({TLS_CLIENT_CERT_VARIABLE}, "
                f"{TLS_CLIENT_KEY_VARIABLE}): one of them is missing"
            )
        tls_ca = environment.get(TLS_CA_VARIABLE, "") if tls_ca is None else tls_ca
        return cls(token or "", token_file or "", tls_ca, tls_client_cert or "", tls_client_key or "")

    @property
    def is_encrypted(self) -> bool:
        """The connection is TLS."""
        return bool(self.tls_ca or self.tls_client_cert)

    @property
    def shows_token(self) -> bool:
        """Every call carries a token."""
        return bool(self.token or self.token_file)

    def check(self, target: str) -> None:
        """Refuse a token that would go over the network for all to read.

        Args:
            target: As gRPC takes it.

        Raises:
            AccessRefused: It would.
        """
        if self.shows_token and not self.is_encrypted and not is_local(target):
            raise AccessRefused(_PLAIN_TEXT.format(target=target))

    def credentials(self) -> grpc.ChannelCredentials | None:
        """What the channel is opened with; None: plain. Files are read here, once.

        Raises:
            AccessRefused: A file cannot be read, or holds something else.
        """
        if not self.is_encrypted:
            return None
        roots = certificate = key = None
        if self.tls_ca and self.tls_ca != SYSTEM_CA:
            roots = _read(self.tls_ca, "authority")
            _check_authority(self.tls_ca)
        if self.tls_client_cert:
            certificate = _read(self.tls_client_cert, "client certificate")
            key = _read(self.tls_client_key, "client key")
            _check_pair(self.tls_client_cert, self.tls_client_key)
        return grpc.ssl_channel_credentials(roots, key, certificate)


class Bearer:
    """Knows the token that a call is to show now. May be used by several threads.

    Args:
        access: Where the token is.
        now_s: A monotonic clock, in seconds.

    Raises:
        AccessRefused: There is a file and no token in it, or what is given is no token.
    """

    def __init__(self, access: Access, now_s: Callable[[], float] = time.monotonic) -> None:
        self._file = Path(access.token_file) if access.token_file else None
        self._now_s = now_s
        self._look_s = now_s() + LOOK_INTERVAL_S
        self._seen: tuple[int, int, int] | None = None
        self._headers: Headers = ()
        if self._file is not None:
            self._read_file(self._file)
        elif access.token:
            self._headers = _headers_of(access.token, "the token")

    def headers(self) -> Headers:
        """What a call shows: one header, or none without a token."""
        if self._file is not None and self._now_s() >= self._look_s:
            self._look_s = self._now_s() + LOOK_INTERVAL_S
            self._refresh(self._file)
        return self._headers

    def has_other_than(self, shown: Headers) -> bool:
        """After UNAUTHENTICATED: look at the file again; True when it has another token than the one shown."""
        if self._file is not None:
            self._refresh(self._file)
        return self._headers != shown

    def _refresh(self, file: Path) -> None:
        try:
            if self._seen != _identity_of(file):
                self._read_file(file)
        except (OSError, AccessRefused) as error:  # it is being replaced: the old one until then
            _log.warning("the token stays as it was: %s", error)

    def _read_file(self, file: Path) -> None:
        try:
            seen = _identity_of(file)
            with file.open("rb") as opened:
                text = opened.read(_TOKEN_FILE_BYTES_MAX).decode(errors="replace").strip()
        except OSError as error:
            raise AccessRefused(f"the token file {file} cannot be read: {error.strerror}") from None
        if not text:
            raise AccessRefused(f"the token file {file} is empty")
        self._headers, self._seen = _headers_of(text, f"what stands in {file}"), seen


def is_local(target: str) -> bool:
    """Whether what is sent there stays on this machine: a Unix socket, a loopback address in figures, `localhost`.

    Args:
        target: As gRPC takes it: HOST:PORT, dns:///HOST:PORT, ipv4:A:PORT,B:PORT, unix:PATH.
    """
    if target.startswith(_LOCAL_SCHEMES):
        return True
    scheme = next((known for known in _SCHEMES if target.startswith(known)), "")
    addresses = target.removeprefix(scheme)
    return all(_is_loopback(address) for address in addresses.split(","))


def _is_loopback(address: str) -> bool:
    host = address[1:].partition("]")[0] if address.startswith("[") else address.rpartition(":")[0] or address
    if host == _LOCAL_NAME:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name: whoever answers for it says where it is
        return False


def _headers_of(token: str, what: str) -> Headers:
    if not _TOKEN.fullmatch(token):
        raise AccessRefused(f"{what} is no token: it has characters that none has, or too many")
    return (("authorization", f"Bearer {token}"),)


def _identity_of(file: Path) -> tuple[int, int, int]:
    """What differs once a file was written to, or replaced."""
    facts = file.stat()
    return facts.st_mtime_ns, facts.st_ino, facts.st_size


def _read(file: FilePath, what: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise AccessRefused(f"the {what} {file} cannot be read: {error.strerror}") from None


def _check_authority(file: FilePath) -> None:
    """GRPC takes anything, and fails later without a word."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except (ssl.SSLError, OSError):
        raise AccessRefused(f"{file} holds no certificate of an authority: it has to be PEM") from None


def _check_pair(certificate: FilePath, key: FilePath) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, password=_no_password)
    except (ssl.SSLError, OSError, ValueError):
        raise AccessRefused(
            f"{certificate} and {key} are no certificate and the key that goes with it, without a password, in PEM"
        ) from None


def _no_password() -> str:
    raise ValueError("keys with a password are not read")
