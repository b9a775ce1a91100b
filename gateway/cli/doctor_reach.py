"""The doctor's look at the way to a gateway: token, certificates, and why no connection comes about.

gRPC says little of a handshake that failed, so that it is made once more here, where the reason can be read.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.cli.remedies import remedy_for
from gateway.domain.types import Venue
from gateway.servicers.certificates import CertificateRefused, instant_text, read_certificates, validity
from trading_gateway.access import SYSTEM_CA, TOKEN_VARIABLE, Access, AccessRefused, Bearer
from trading_gateway.errors import GatewayError

_TIMEOUT_S: Final = 5.0
_ALPN: Final = ["h2"]
_TOKEN: Final = re.compile(r"Bearer gw_(?P<venue>emu|paper|live)_(?P<id>[0-9a-f]{8})_[A-Za-z0-9_-]{43}", re.ASCII)
_VENUES: Final = {"emu": Venue.EMULATOR.value, "paper": Venue.PAPER.value, "live": Venue.LIVE.value}
"""As tokens spell them, and as everything else does."""
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_EXPIRED, _NOT_YET, _OTHER_HOST, _OTHER_ADDRESS = 10, 9, 62, 64
"""OpenSSL's X509_V_ERR_*, as `ssl.SSLCertVerificationError.verify_code` gives them."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look found; `remedy` is empty when all is well."""

    subject: str
    state: str
    remedy: str = ""


def access_findings(given: Access) -> Iterator[Finding]:
    """The token and the certificate that a call would show."""
    yield _token_finding(given)
    if given.tls_client_cert:
        yield _own_certificate_finding(Path(given.tls_client_cert))


def denial_finding(subject: str, failure: GatewayError, given: Access) -> Finding:
    """Why the gateway did not let a call through."""
    remedy = remedy_for(failure, shows_token=given.shows_token).replace("\n", " ")
    state = f"{failure.code.name} {failure.reason}: {failure.message}"
    return Finding(subject, state, remedy or "Look at the gateway's log; check the keys and the venue's address.")


def connection_finding(target: str, given: Access, code: str) -> Finding:
    """Why no gateway was reached.

    Args:
        target: HOST:PORT.
        given: What the connection was tried with.
        code: What gRPC said.
    """
    host, _, port_text = target.rpartition(":")
    host = host.strip("[]")
    try:
        address = host, int(port_text)
        socket.create_connection(address, timeout=_TIMEOUT_S).close()
    except (OSError, ValueError, OverflowError):
        return Finding("gateway", f"nobody answers at {target} ({code})", "Start it: trading-gateway serve")
    found = _look_with_tls(address, given) if given.is_encrypted else _look_without(address)
    if found is None:
        remedy = "Stop that program, or serve elsewhere: --listen 127.0.0.1:PORT."
        return Finding("gateway", f"another program has {target}, and it is no gateway ({code})", remedy)
    state, remedy = found
    return Finding("gateway", f"{target} {state}", remedy)


def _token_finding(given: Access) -> Finding:
    if not given.shows_token:
        return Finding("token", "none is shown")
    where = str(given.token_file or TOKEN_VARIABLE)
    try:
        ((_, header),) = Bearer(given).headers()
    except AccessRefused as refusal:
        return Finding("token", str(refusal), "Write nothing but the secret into it, as 'token mint --to-file' does.")
    shape = _TOKEN.fullmatch(header)
    if shape is None:
        return Finding(
            "token", f"{where} has no token in it", "A token is gw_, venue, id and 43 characters: copy it whole."
        )
    if given.token_file and stat.S_IMODE(Path(given.token_file).stat().st_mode) & _OTHERS:
        return Finding("token", f"{where} can be read by others of this machine", f"chmod 600 {where}, then rotate it.")
    return Finding("token", f"{shape['id']}, for the venue {_VENUES[shape['venue']]}, from {where}")


def _own_certificate_finding(path: Path) -> Finding:
    subject, remedy = "client cert", "Have a new one signed by the authority in the gateway's --tls-client-ca."
    try:
        end_ns = validity(read_certificates(path.read_bytes(), path)[0]).end_ns
    except (OSError, CertificateRefused) as refusal:
        return Finding(subject, str(refusal), remedy)
    if end_ns <= time.time_ns():
        return Finding(subject, f"{path} expired on {instant_text(end_ns)}", remedy)
    return Finding(subject, f"{path}, until {instant_text(end_ns)}")


def _look_without(address: tuple[str, int]) -> tuple[str, str] | None:
    """A plain connection failed: whether TLS is spoken there."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # it is asked what is spoken, and told nothing
    try:
        _shake_hands(address, context)
    except OSError:
        return None
    return "serves TLS, and this client was not told to", (
        "Set GATEWAY_TLS_CA (or --tls-ca) to the certificate of the authority that signed its own, or to 'system'."
    )


def _look_with_tls(address: tuple[str, int], given: Access) -> tuple[str, str] | None:
    """A TLS connection failed: why."""
    try:
        told = _shake_hands(address, _context(given))
    except ssl.SSLCertVerificationError as error:
        return _distrust(address, error.verify_code)
    except ssl.SSLError:
        return "does not speak TLS, and this client was told to", (
            "Leave out GATEWAY_TLS_CA and --tls-ca, or start the gateway with --tls-cert and --tls-key."
        )
    except OSError:
        return None
    if told:  # it answers by now
        return "did not answer in time", "Ask again; look at the gateway's log."
    if not given.tls_client_cert:
        return "asks for a client's certificate, and none is shown", (
            "Set GATEWAY_TLS_CLIENT_CERT and GATEWAY_TLS_CLIENT_KEY, or --tls-client-cert and --tls-client-key."
        )
    return "does not take this client's certificate", (
        "It has to be in its time, and signed by an authority in the gateway's --tls-client-ca."
    )


def _distrust(address: tuple[str, int], verify_code: int) -> tuple[str, str]:
    if verify_code == _EXPIRED:
        return "has a certificate that has expired", (
            "Put a newer one where --tls-cert says: a running gateway takes it within seconds."
        )
    if verify_code == _NOT_YET:
        return "has a certificate that is not valid yet", "Is a clock wrong, here or there?"
    if verify_code in (_OTHER_HOST, _OTHER_ADDRESS):
        names = ", ".join(_names_at(address)) or "no host at all"
        return f"has another host's certificate: it names {names}", (
            "Connect to a name that stands in it, or have one signed for this one."
        )
    return "has a certificate that is signed by nobody whom this client trusts", (
        "Set GATEWAY_TLS_CA (or --tls-ca) to the certificate of the authority that signed it."
    )


def _names_at(address: tuple[str, int]) -> list[str]:
    """The names in the certificate that is shown there, whoever signed it."""
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cadata=ssl.get_server_certificate(address, timeout=_TIMEOUT_S))
        with (
            socket.create_connection(address, timeout=_TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=address[0]) as guarded,
        ):
            facts = guarded.getpeercert() or {}
    except OSError:
        return []
    return [str(entry[1]) for entry in facts.get("subjectAltName", ())]


def _context(given: Access) -> ssl.SSLContext:
    if given.tls_ca and given.tls_ca != SYSTEM_CA:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(os.fspath(given.tls_ca))
    else:
        context = ssl.create_default_context()
    if given.tls_client_cert:
        context.load_cert_chain(given.tls_client_cert, given.tls_client_key)
    return context


def _shake_hands(address: tuple[str, int], context: ssl.SSLContext) -> bytes:
    """The first bytes that are said; none: the other side left, as it does without a certificate that it wants."""
    context.set_alpn_protocols(_ALPN)
    with (
        socket.create_connection(address, timeout=_TIMEOUT_S) as plain,
        context.wrap_socket(plain, server_hostname=address[0]) as guarded,
    ):
        return guarded.recv(1)
