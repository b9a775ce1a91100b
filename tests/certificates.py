"""Certificates for tests, made here: authorities and what they sign, on P-256, with nothing but Python.

No test needs a tool or a package that a user's machine may lack, and no private key stands in the repository.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import reduce
from pathlib import Path
from typing import Final

DAY_S: Final = 86_400
HOSTS: Final = ("DNS:localhost", "IP:127.0.0.1", "IP:::1")

_P: Final = 2**256 - 2**224 + 2**192 + 2**96 - 1
_N: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_G: Final = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
_Point = tuple[int, int] | None

SEQUENCE, SET, INTEGER, BITS, OCTETS, OID, BOOLEAN, UTF8 = 0x30, 0x31, 0x02, 0x03, 0x04, 0x06, 0x01, 0x0C
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_SAN_TAGS: Final = {"DNS": 0x82, "URI": 0x86, "IP": 0x87}
_CERT_SIGN, _DIGITAL_SIGNATURE = b"\x01\x06", b"\x07\x80"
_TRUE: Final = b"\xff"


@dataclass(frozen=True)
class Pair:
    """A certificate (with what stands between it and the authority) and its key, as PEM."""

    certificate: bytes
    key: bytes

    def write(self, folder: Path, name: str = "server") -> tuple[Path, Path]:
        """Both as files."""
        paths = folder / f"{name}.pem", folder / f"{name}.key"
        for path, text in zip(paths, (self.certificate, self.key), strict=True):
            path.write_bytes(text)
        return paths


@dataclass(frozen=True)
class Authority:
    """Whoever signs; its own certificate is what clients trust."""

    name: str = "Test CA"
    issuer: Authority | None = None
    ends_in_s: float = 3_650 * DAY_S
    _secret: int = field(default_factory=lambda: 1 + secrets.randbelow(_N - 1), repr=False)

    @property
    def certificate(self) -> bytes:
        """Its own, as PEM."""
        usage = _extension("2.5.29.15", _der(BITS, _CERT_SIGN), is_critical=True)
        is_authority = _extension("2.5.29.19", _der(SEQUENCE, _der(BOOLEAN, _TRUE)), is_critical=True)
        signer = self.issuer or self
        return _pem("CERTIFICATE", signer._signed(self.name, self._secret, (is_authority, usage), self.ends_in_s))

    def sign(
        self,
        *names: str,
        common_name: str = "gateway",
        begins_in_s: float = -60,
        ends_in_s: float = 90 * DAY_S,
    ) -> Pair:
        """A certificate for these names, as DNS:localhost, IP:127.0.0.1, URI:spiffe://gw/momentum."""
        secret = 1 + secrets.randbelow(_N - 1)
        extensions = [_extension("2.5.29.15", _der(BITS, _DIGITAL_SIGNATURE))]
        if names:
            extensions.append(_extension("2.5.29.17", _der(SEQUENCE, *map(_name, names))))
        signed = _pem("CERTIFICATE", self._signed(common_name, secret, extensions, ends_in_s, begins_in_s))
        return Pair(signed + (self.certificate if self.issuer else b""), _key_pem(secret))

    def _signed(
        self, subject: str, secret: int, extensions: Sequence[bytes], ends_in_s: float, begins_in_s: float = -DAY_S
    ) -> bytes:
        now = time.time()
        body = _der(
            SEQUENCE,
            _der(0xA0, _integer(2)),
            _integer(secrets.randbits(62)),
            _ALGORITHM,
            _common_name(self.name),
            _der(SEQUENCE, _instant(now + begins_in_s), _instant(now + ends_in_s)),
            _common_name(subject),
            _der(SEQUENCE, _CURVE, _der(BITS, b"\x00" + _public(secret))),
            _der(0xA3, _der(SEQUENCE, *extensions)),
        )
        return _der(SEQUENCE, body, _ALGORITHM, _der(BITS, b"\x00" + _signature(self._secret, body)))


def _der(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    if len(body) < 0x80:
        return bytes((tag, len(body))) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + body


def _integer(number: int) -> bytes:
    return _der(INTEGER, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def _oid(text: str) -> bytes:
    first, second, *rest = map(int, text.split("."))
    digits = bytes((40 * first + second,))
    for number in rest:
        groups = [number & 0x7F]
        while number := number >> 7:
            groups.append(0x80 | number & 0x7F)
        digits += bytes(reversed(groups))
    return _der(OID, digits)


def _instant(seconds: float) -> bytes:
    """RFC 5280, 4.1.2.5: two digits of the year until 2049."""
    moment = datetime.fromtimestamp(seconds, UTC)
    tag, form = (_UTC_TIME, "%y%m%d%H%M%SZ") if 1950 <= moment.year < 2050 else (_GENERALIZED_TIME, "%Y%m%d%H%M%SZ")
    return _der(tag, moment.strftime(form).encode())


def _common_name(text: str) -> bytes:
    return _der(SEQUENCE, _der(SET, _der(SEQUENCE, _oid("2.5.4.3"), _der(UTF8, text.encode()))))


def _name(text: str) -> bytes:
    kind, _, name = text.partition(":")
    return _der(_SAN_TAGS[kind], ipaddress.ip_address(name).packed if kind == "IP" else name.encode())


def _extension(oid: str, value: bytes, *, is_critical: bool = False) -> bytes:
    mark = _der(BOOLEAN, _TRUE) if is_critical else b""
    return _der(SEQUENCE, _oid(oid), mark, _der(OCTETS, value))


def _pem(label: str, body: bytes) -> bytes:
    text = base64.b64encode(body).decode()
    lines = "\n".join(text[start : start + 64] for start in range(0, len(text), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n".encode()


def _key_pem(secret: int) -> bytes:
    key = _der(SEQUENCE, _integer(1), _der(OCTETS, secret.to_bytes(32, "big")))
    return _pem("PRIVATE KEY", _der(SEQUENCE, _integer(0), _CURVE, _der(OCTETS, key)))


def _add(one: _Point, other: _Point) -> _Point:
    if one is None or other is None:
        return one or other
    (x1, y1), (x2, y2) = one, other
    if x1 == x2 and (y1 + y2) % _P == 0:
        return None
    slope = (3 * (x1 * x1 - 1) * pow(2 * y1, -1, _P) if one == other else (y2 - y1) * pow(x2 - x1, -1, _P)) % _P
    x = (slope * slope - x1 - x2) % _P
    return x, (slope * (x1 - x) - y1) % _P


def _times(factor: int, point: _Point) -> tuple[int, int]:
    powers: list[_Point] = [point]
    for _ in range(factor.bit_length() - 1):
        powers.append(_add(powers[-1], powers[-1]))
    product = reduce(_add, (power for place, power in enumerate(powers) if factor >> place & 1), None)
    assert product is not None
    return product


def _public(secret: int) -> bytes:
    x, y = _times(secret, _G)
    return b"\x04" + x.to_bytes(32, "big") + y.to_bytes(32, "big")


def _signature(secret: int, message: bytes) -> bytes:
    nonce = 1 + secrets.randbelow(_N - 1)
    first = _times(nonce, _G)[0] % _N
    digest = int.from_bytes(hashlib.sha256(message).digest(), "big")
    second = pow(nonce, -1, _N) * (digest + first * secret) % _N
    return _der(SEQUENCE, _integer(first), _integer(second))


_ALGORITHM: Final = _der(SEQUENCE, _oid("1.2.840.10045.4.3.2"))
_CURVE: Final = _der(SEQUENCE, _oid("1.2.840.10045.2.1"), _oid("1.2.840.10045.3.1.7"))
