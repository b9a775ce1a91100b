"""TLS: the server's certificate, whose clients are asked for theirs, and newer ones without a dropped call.

Promises: what is served has passed `try_pair`; the files are looked at every second, and a new pair is tried before
it is taken: one that cannot be used is refused, told once in the log and in the audit log, and the old one goes on.
New connections get the newest pair; those that stand keep theirs and notice nothing. That a certificate will end is
told from 14 days before, louder from 3. At least TLS 1.2: gRPC speaks nothing older. Leaves to `identity.py` whom a
client's certificate stands for.

With a client CA every client must show a certificate that it signed: gRPC for Python can require one or not ask, and
nothing between. A token may be shown beside it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
import structlog

from gateway.domain.types import MS_PER_DAY, NANOS_PER_MS
from gateway.servicers.addresses import ServerRefused
from gateway.servicers.certificates import (
    CertificateRefused,
    ServedPair,
    instant_text,
    read_certificates,
    try_pair,
    validity,
)

POLL_MS: Final = 1_000
"""Between looks at the files. What has changed is loaded when two looks in a row saw the same: it was being written."""
WARN_MS: Final = 14 * MS_PER_DAY
ALARM_MS: Final = 3 * MS_PER_DAY
"""How long before its end a certificate is warned of, and how long before that is an error."""
TELL_AGAIN_MS: Final = MS_PER_DAY
FILE_BYTES_MAX: Final = 1 << 20

LoadListener = Callable[[str, Mapping[str, str], str], None]
"""Told of a pair that was loaded or refused: its fingerprint, facts, and the outcome."""

_LOADED: Final = "ok"
_REFUSED: Final = "refused"
_log = structlog.get_logger(__name__)
_Stamp = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where PEM files lie.

    Attributes:
        certificate: The server's, followed by what stands between it and the authority.
        key: Its private key, not encrypted.
        client_ca: Who signs clients' certificates; None: clients are not asked for any.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    @classmethod
    def of(cls, certificate: Path | None, key: Path | None, client_ca: Path | None) -> CertificateFiles | None:
        """What settings say; None: no TLS.

        Raises:
            ServerRefused: One is missing that belongs to another.
        """
        if certificate is None and key is None and client_ca is None:
            return None
        if certificate is None or key is None:
            raise ServerRefused("TLS takes a certificate and its key: --tls-cert FILE and --tls-key FILE")
        return cls(certificate, key, client_ca)

    def stamp(self) -> _Stamp:
        """What changes when one of them does; None for one that is not there."""
        return tuple(_stamp(path) for path in (self.certificate, self.key, self.client_ca) if path is not None)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A pair that was tried, and what gRPC makes of it."""

    pair: ServedPair
    configuration: grpc.ServerCertificateConfiguration
    expire_time_ns: int


def load(files: CertificateFiles, now_ns: int) -> Loaded:
    """Read the files and try them.

    Raises:
        CertificateRefused: They cannot be served with.
    """
    before = files.stamp()
    certificate, key = _read(files.certificate), _read(files.key)
    pair = try_pair(files.certificate, files.key, read_certificates(certificate, files.certificate), now_ns)
    expire_time_ns, client_ca = pair.expire_time_ns, None
    if files.client_ca is not None:
        client_ca = _read(files.client_ca)
        # A bundle may hold an authority that is leaving: it counts as long as one of them does.
        expire_time_ns = max(validity(der).end_ns for der in read_certificates(client_ca, files.client_ca))
        if expire_time_ns <= now_ns:
            raise CertificateRefused(f"{files.client_ca}: expired on {instant_text(expire_time_ns)}")
        expire_time_ns = min(expire_time_ns, pair.expire_time_ns)
    if files.stamp() != before:
        raise CertificateRefused(f"{files.certificate}: changed while it was read")
    configuration = grpc.ssl_server_certificate_configuration([(key, certificate)], client_ca)
    return Loaded(pair, configuration, expire_time_ns)


class Certificates:
    """The pair in use. Made and asked on the event loop; gRPC asks from threads of its own.

    Args:
        files: Where it comes from.
        wall: Nanoseconds since the Unix epoch.
        on_load: Told of every pair that is loaded or refused.

    Raises:
        CertificateRefused: The first pair cannot be used.
    """

    def __init__(self, files: CertificateFiles, wall: Callable[[], int], on_load: LoadListener) -> None:
        self._files = files
        self._wall = wall
        self._on_load = on_load
        self._looking = asyncio.Lock()
        self._tried = self._seen = files.stamp()
        self._level = ""
        self._tell_again_ns = 0
        self._loaded = load(files, wall())
        self._tell_loaded()

    @property
    def expire_time_ns(self) -> int:
        """When the first of the certificates in use ends."""
        return self._loaded.expire_time_ns

    @property
    def configuration(self) -> grpc.ServerCertificateConfiguration:
        """For connections that begin now."""
        return self._loaded.configuration

    def credentials(self) -> grpc.ServerCredentials:
        """For one port: gRPC asks each for news by itself, and takes them once."""
        return grpc.dynamic_ssl_server_credentials(
            self.configuration,
            _News(self),  # type: ignore[arg-type]  # None is allowed, and says that nothing is new
            require_client_authentication=self._files.client_ca is not None,
        )

    async def run(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Look every second until canceled."""
        while True:
            await self.look()
            await sleep(POLL_MS / 1_000)

    async def look(self, *, at_once: bool = False) -> None:
        """Take a new pair, if there is one that can be used.

        Args:
            at_once: Somebody says that there is one: do not wait until the files have come to rest.
        """
        async with self._looking:
            stamp = await asyncio.to_thread(self._files.stamp)
            if at_once or (stamp != self._tried and stamp == self._seen):
                self._tried = stamp
                await self._take()
            self._seen = stamp
        self._tell_end()

    async def _take(self) -> None:
        try:
            self._loaded = await asyncio.to_thread(load, self._files, self._wall())
        except CertificateRefused as error:
            _log.error("certificate_refused", problem=str(error), in_use_until=instant_text(self.expire_time_ns))
            self._on_load("", {"problem": str(error)}, _REFUSED)
        else:
            self._tell_loaded()

    def _tell_loaded(self) -> None:
        pair = self._loaded.pair
        until = instant_text(self.expire_time_ns)
        _log.info("certificate_loaded", names=pair.names, until=until, fingerprint=pair.fingerprint)
        self._on_load(pair.fingerprint, {"names": " ".join(pair.names), "until": until}, _LOADED)
        self._level = ""

    def _tell_end(self) -> None:
        """Say that the end is near: when it comes nearer, and once a day."""
        now_ns = self._wall()
        level = nearness(self.expire_time_ns, now_ns)
        if level and (level != self._level or now_ns >= self._tell_again_ns):
            tell = _log.warning if level == "warning" else _log.error
            tell(
                "certificate_expires", until=instant_text(self.expire_time_ns), certificate=str(self._files.certificate)
            )
            self._tell_again_ns = now_ns + TELL_AGAIN_MS * NANOS_PER_MS
        self._level = level


@dataclass(frozen=True, slots=True)
class Transport:
    """How bytes come and go; without certificates in plain text."""

    certificates: Certificates | None = None


def nearness(expire_time_ns: int, now_ns: int) -> str:
    """How near the end of a certificate is: "" for far, "warning", "error"."""
    left_ns = expire_time_ns - now_ns
    if left_ns > WARN_MS * NANOS_PER_MS:
        return ""
    return "warning" if left_ns > ALARM_MS * NANOS_PER_MS else "error"


class _News:
    """What gRPC asks before each handshake on one port, in a thread of its own."""

    def __init__(self, certificates: Certificates) -> None:
        self._certificates = certificates
        self._told = certificates.configuration

    def __call__(self) -> grpc.ServerCertificateConfiguration | None:
        """The pair, if it is another one than the last time."""
        newest = self._certificates.configuration
        if newest is self._told:
            return None
        self._told = newest
        return newest


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_ino, facts.st_size


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            text = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise CertificateRefused(f"{path}: {(error.strerror or 'cannot be read').lower()}") from None
    if len(text) > FILE_BYTES_MAX:
        raise CertificateRefused(f"{path}: more than {FILE_BYTES_MAX} bytes")
    return text
