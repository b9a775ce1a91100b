"""What a certificate says, and whether a pair of certificate and key can be served: read and tried, before it is used.

Promises: a pair that passes here shakes hands, its chain holds together, and it is valid at the instant that was
given; whatever else fails with a text that says which file is wrong and why, and nothing of the key. Python's `ssl`
tells the validity of a certificate only of a peer that it trusts, so that one field is read from the DER (RFC 5280,
section 4.1). Leaves to `tls.py` when files are looked at and what becomes of a pair.
"""

from __future__ import annotations

import re
import ssl
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from gateway.domain.types import NANOS_PER_SECOND

_BLOCK: Final = re.compile(rb"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")
_CERTIFICATES_MAX: Final = 100
_INTEGER, _SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME, _OID = 0x02, 0x30, 0xA0, 0x17, 0x18, 0x06
_LONG: Final = 0x80
_SERVED_KEYS: Final = {bytes.fromhex("2a864886f70d010101"), bytes.fromhex("2a8648ce3d0201")}
"""rsaEncryption and id-ecPublicKey: clients of gRPC offer no signature for others."""
_NO_CHECK_TIME: Final = 0x20_0000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME: the instant is judged by the clock that is given, and told in plain words."""
_HANDSHAKE_STEPS_MAX: Final = 20
_WORDS: Final = {
    "KEY_VALUES_MISMATCH": "the key is not the certificate's",
    "EE_KEY_TOO_SMALL": "the key is too short",
    "CA_MD_TOO_WEAK": "signed with a digest that is too weak",
    "unable to get local issuer certificate": "a certificate in it does not sign the one before it",
}
"""OpenSSL's reasons that say little to people."""


class CertificateRefused(ValueError):
    """A certificate or key cannot be used; the text says why, and quotes nothing of the key."""


@dataclass(frozen=True, slots=True)
class Validity:
    """From when to when a certificate is valid, in nanoseconds since the Unix epoch."""

    begin_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class ServedPair:
    """What is known of a pair that was tried.

    Attributes:
        names: Whom it speaks for, as DNS:localhost.
        expire_time_ns: When the first certificate of its chain ends.
        fingerprint: SHA-256 of the certificate, in hexadecimal.
    """

    names: tuple[str, ...]
    expire_time_ns: int
    fingerprint: str


def read_certificates(pem: bytes, path: Path | str) -> list[bytes]:
    """The certificates of a PEM file, as DER, in its order.

    Raises:
        CertificateRefused: There is none, or one is damaged.
    """
    try:
        found = [b64decode(block, validate=False) for block in _BLOCK.findall(pem)]
    except NotBase64:
        raise CertificateRefused(f"{path}: a certificate in it is damaged") from None
    if not 0 < len(found) <= _CERTIFICATES_MAX:
        raise CertificateRefused(f"{path}: no certificate in it (PEM, -----BEGIN CERTIFICATE-----)")
    return found


def validity(der: bytes) -> Validity:
    """From when to when a certificate is valid.

    Raises:
        CertificateRefused: It is no certificate.
    """
    return _fields(der)[0]


def instant_text(instant_ns: int) -> str:
    """An instant for people."""
    return f"{datetime.fromtimestamp(instant_ns // NANOS_PER_SECOND, UTC):%Y-%m-%d %H:%M:%S} UTC"


def try_pair(certificate_path: Path, key_path: Path, chain: Sequence[bytes], now_ns: int) -> ServedPair:
    """Load a pair and shake hands with itself, in memory.

    Args:
        certificate_path: A PEM file, for OpenSSL reads files alone.
        key_path: Another one.
        chain: The certificates in `certificate_path`, as they were read.
        now_ns: Now, since the Unix epoch.

    Raises:
        CertificateRefused: Clients could not be served with it.
    """
    for place, der in enumerate(chain):
        valid, key_kind = _fields(der)
        if now_ns < valid.begin_ns:
            begin = instant_text(valid.begin_ns)
            raise CertificateRefused(f"{certificate_path}: certificate {place + 1} is not valid before {begin}")
        if now_ns >= valid.end_ns:
            end = instant_text(valid.end_ns)
            raise CertificateRefused(f"{certificate_path}: certificate {place + 1} expired on {end}")
        if not place and key_kind not in _SERVED_KEYS:
            raise CertificateRefused(f"{certificate_path}: neither an RSA nor an EC key, and gRPC serves no other")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        server.load_cert_chain(certificate_path, key_path, password=_no_password)
    except CertificateRefused as error:
        raise CertificateRefused(f"{key_path}: {error}") from None
    except OSError as error:  # SSLError is one
        raise CertificateRefused(f"{certificate_path} and {key_path}: {_words(error)}") from None
    shown, names = _shake_hands(server, chain[-1], certificate_path)
    if shown != chain[0]:
        raise CertificateRefused(f"{certificate_path}: changed while it was read")
    return ServedPair(names, min(validity(der).end_ns for der in chain), sha256(shown).hexdigest())


def _shake_hands(server: ssl.SSLContext, anchor: bytes, path: Path) -> tuple[bytes, tuple[str, ...]]:
    """The certificate and the names that a client sees who trusts the last certificate of the chain."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    try:
        client.load_verify_locations(cadata=anchor)
    except ssl.SSLError as error:
        raise CertificateRefused(f"{path}: {_words(error)}") from None
    client.verify_flags = ssl.VerifyFlags(client.verify_flags | ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True)]
    waiting = list(ends)
    for _ in range(_HANDSHAKE_STEPS_MAX):
        if not waiting:
            break
        end = waiting.pop(0)
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            waiting.append(end)
        except ssl.SSLError as error:
            raise CertificateRefused(f"{path}: {_words(error)}") from None
    shown = ends[0].getpeercert(binary_form=True)
    facts: dict[str, Any] = ends[0].getpeercert() or {}
    return shown or b"", tuple(f"{kind.partition(' ')[0]}:{name}" for kind, name in facts.get("subjectAltName", ()))


def _no_password() -> str:
    raise CertificateRefused("the key is encrypted: give one that is not, readable by the gateway alone")


def _words(error: Exception) -> str:
    """OpenSSL's reason in plain words; never its arguments, which may quote a file."""
    if isinstance(error, ssl.SSLError):
        reason = getattr(error, "verify_message", None) or error.reason
        return _WORDS.get(reason or "", (reason or "not readable as pem").lower().replace("_", " "))
    return str(getattr(error, "strerror", None) or "cannot be read").lower()


def _fields(der: bytes) -> tuple[Validity, bytes]:
    """Validity, and the OID of the kind of key."""
    try:
        _, at, _ = _element(der, 0, _SEQUENCE)
        _, at, _ = _element(der, at, _SEQUENCE)  # TBSCertificate
        if der[at] == _VERSION:
            at = _element(der, at)[2]
        for tag in (_INTEGER, _SEQUENCE, _SEQUENCE):  # serial number, algorithm, issuer
            at = _element(der, at, tag)[2]
        _, first, after = _element(der, at, _SEQUENCE)
        begin, second = _instant(der, first)
        end, _ = _instant(der, second)
        at = _element(der, after, _SEQUENCE)[2]  # subject
        _, at, _ = _element(der, at, _SEQUENCE)
        _, at, _ = _element(der, at, _SEQUENCE)
        _, at, after = _element(der, at, _OID)
    except (IndexError, ValueError):
        raise CertificateRefused("a certificate cannot be read") from None
    return Validity(begin, end), der[at:after]


def _element(der: bytes, at: int, wanted: int | None = None) -> tuple[int, int, int]:
    """Tag, where the content begins, and where it ends."""
    tag, length, begin = der[at], der[at + 1], at + 2
    if length & _LONG:
        begin += length & ~_LONG
        length = int.from_bytes(der[at + 2 : begin], "big")
    if (wanted is not None and tag != wanted) or begin + length > len(der):
        raise ValueError("another structure")
    return tag, begin, begin + length


def _instant(der: bytes, at: int) -> tuple[int, int]:
    """An instant and where it ends; RFC 5280, 4.1.2.5: always UTC, seconds always, two-digit years 1950 to 2049."""
    tag, begin, end = _element(der, at)
    text = der[begin:end].decode("ascii")
    if tag == _UTC_TIME:
        text = ("19" if text >= "50" else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("no instant")
    moment = datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    return int(moment.timestamp()) * NANOS_PER_SECOND, end
