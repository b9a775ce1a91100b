"""Who is calling, and what the call they made may cost: headers and certificates → `Caller`, call → `CallContext`.

A call shows a token (`authorization: Bearer gw_...`), a client certificate that stands for one, or both, and then
both must be the same strategy's. Who shows nothing is `local` where no token is required, and nobody elsewhere; a
certificate that names nobody (no URI) shows nothing, an expired one shows nobody any more, and its streams end. The
interceptor sets the context of a call before its servicer runs; servicers ask for it here and never look at headers
themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, ip_address
from typing import Any, Final
from urllib.parse import unquote

from gateway.domain.errors import TokenInvalid, Unauthenticated
from gateway.domain.models.identity import IPAddress
from gateway.domain.types import CallContext, Caller
from gateway.servicers.certificates import CertificateRefused, read_certificates, validity
from gateway.servicers.strangers import Strangers
from gateway.services.identity import IdentityService

LOCAL: Final = Caller()
"""Everybody who shows nothing, where no token is required."""

PUBLIC: Final = Caller("public", "", "public", frozenset())
"""Whoever asks what is open to all: it is not looked at who that is."""

AUTHORIZATION_HEADER: Final = "authorization"

CARDS_MAX: Final = 1_000
"""Client certificates whose end is remembered."""

Metadata = Iterable[tuple[str, str | bytes]]
"""The headers of a call, as gRPC gives them."""

_LOOPBACK: Final = ip_address("127.0.0.1")
_URI_KEY: Final = "peer_uri"
_PEM_KEY: Final = "x509_pem_cert"

_CALL: ContextVar[CallContext] = ContextVar("gateway_call")


class Doorkeeper:
    """Knows who sends a call.

    Args:
        identity: Knows tokens; None: nobody has one.
        is_required: Who shows neither token nor certificate is refused.
        reads_certificates: The server asks clients for certificates.
        strangers: Counts those who are refused.
    """

    def __init__(
        self,
        identity: IdentityService | None = None,
        *,
        is_required: bool = False,
        reads_certificates: bool = False,
        strangers: Strangers | None = None,
    ) -> None:
        self._identity = identity
        self._strangers = strangers or Strangers()
        self.is_required = is_required
        self._cards = _CardReader() if reads_certificates else None

    def identify(self, metadata: Metadata, context: Any) -> Caller:
        """Who sends these headers over this connection.

        Raises:
            Unauthenticated: Nobody whom we know.
            TooManyFailures: That, and it was so too often from this address.
            NetworkNotAllowed: The token may not be used from there.
        """
        try:
            return self._identified(metadata, context)
        except Unauthenticated as refusal:
            raise self._strangers.answer(peer_address(context.peer()), refusal) from None

    def _identified(self, metadata: Metadata, context: Any) -> Caller:
        shown = [value for name, value in metadata if name == AUTHORIZATION_HEADER]
        card = self._cards.read(context) if self._cards is not None else _NO_CARD
        if not shown and not card.uris:
            if self.is_required:
                raise TokenInvalid
            return LOCAL
        if self._identity is None or len(shown) > 1:
            raise TokenInvalid
        certified = self._certified(card, context) if card.uris else None
        if not shown:
            assert certified is not None
            return certified
        header = shown[0]
        if not isinstance(header, str):
            raise TokenInvalid
        caller = self._identity.verify(header, lambda: peer_address(context.peer()))
        if certified is None:
            return caller
        if not self._identity.is_same_holder(certified, caller):
            raise TokenInvalid
        return replace(caller, certified_until_ns=card.end_ns)

    def ended_by(self, caller: Caller) -> Unauthenticated | None:
        """Why one who was let in may not be served any more; None: it may."""
        return None if self._identity is None or caller is PUBLIC else self._identity.ended_by(caller)

    def _certified(self, card: _Card, context: Any) -> Caller:
        assert self._identity is not None
        known = self._identity.verify_certificate(card.uris, lambda: peer_address(context.peer()))
        caller = replace(known, certified_until_ns=card.end_ns)
        if (end := self._identity.ended_by(caller)) is not None:
            raise end
        return caller


@dataclass(frozen=True, slots=True)
class _Card:
    """What a verified client certificate says: the URIs that it names, and when it ends. Its common name is nothing."""

    uris: tuple[str, ...] = ()
    end_ns: int | None = None


_NO_CARD: Final = _Card()


class _CardReader:
    """Reads the client certificate of a call; each is parsed once, the newest `CARDS_MAX` are remembered."""

    def __init__(self) -> None:
        self._read: dict[bytes, int] = {}

    def read(self, context: Any) -> _Card:
        """What it says.

        Raises:
            TokenInvalid: It cannot be read.
        """
        facts = context.auth_context()
        uris = tuple(bytes(name).decode(errors="replace") for name in facts.get(_URI_KEY, ()))
        return _Card(uris, self._end_of(bytes(facts[_PEM_KEY][0]))) if uris else _NO_CARD

    def _end_of(self, pem: bytes) -> int:
        end_ns = self._read.get(pem)
        if end_ns is None:
            try:
                end_ns = validity(read_certificates(pem, "client certificate")[0]).end_ns
            except CertificateRefused:
                raise TokenInvalid from None
            if len(self._read) >= CARDS_MAX:
                del self._read[next(iter(self._read))]
            self._read[pem] = end_ns
        return end_ns


def peer_address(peer: str) -> IPAddress:
    """The address in gRPC's word for the other end, as ipv4:127.0.0.1:5050 or ipv6:%5B::1%5D:5050.

    Whoever comes over a Unix socket is on this machine, so it counts as loopback.

    Raises:
        ValueError: gRPC has another word for it.
    """
    family, _, rest = peer.partition(":")
    if family == "unix":
        return _LOOPBACK
    host = unquote(rest).rpartition(":")[0].strip("[]").partition("%")[0]
    address = ip_address(host)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def enter_call(call: CallContext) -> None:
    """Make this the context of the running call. Each call runs in a task of its own, so nothing is undone."""
    _CALL.set(call)


def call_context() -> CallContext:
    """The context of the running call: caller, deadline, budget lane and request id.

    A stream has no deadline: its context's is infinite.

    Raises:
        LookupError: Outside a call.
    """
    return _CALL.get()


def caller_name() -> str:
    """Who makes the running call; empty while nobody knows."""
    call = _CALL.get(None)
    return "" if call is None else call.caller.name
