"""Who is calling, and what the call they made may cost: headers and certificates → `Caller`, call → `CallContext`.

A call shows a token (`authorization: Bearer gw_...`), a client certificate that stands for one, or both, and then
both must be the same strategy's. Who shows nothing is `local` where no token is required, and nobody elsewhere. The
interceptor sets the context of a call before its servicer runs; servicers ask for it here and never look at headers
themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from ipaddress import IPv6Address, ip_address
from typing import Any, Final
from urllib.parse import unquote

from gateway.domain.errors import TokenInvalid
from gateway.domain.models.identity import IPAddress
from gateway.domain.types import CallContext, Caller
from gateway.services.identity import IdentityService

LOCAL: Final = Caller()
"""Everybody who shows nothing, where no token is required."""

PUBLIC: Final = Caller("public", "", "public", frozenset())
"""Whoever asks what is open to all: it is not looked at who that is."""

AUTHORIZATION_HEADER: Final = "authorization"

Metadata = Iterable[tuple[str, str | bytes]]
"""The headers of a call, as gRPC gives them."""

_LOOPBACK: Final = ip_address("127.0.0.1")
_SAN_KEY: Final = "x509_subject_alternative_name"
_URI_MARK: Final = "://"

_CALL: ContextVar[CallContext] = ContextVar("gateway_call")


class Doorkeeper:
    """Knows who sends a call.

    Args:
        identity: Knows tokens; None: nobody has one.
        is_required: Who shows neither token nor certificate is refused.
        reads_certificates: The server asks clients for certificates.
    """

    def __init__(
        self, identity: IdentityService | None = None, *, is_required: bool = False, reads_certificates: bool = False
    ) -> None:
        self._identity = identity
        self._is_required = is_required
        self._reads_certificates = reads_certificates

    def identify(self, metadata: Metadata, context: Any) -> Caller:
        """Who sends these headers over this connection.

        Raises:
            Unauthenticated: Nobody whom we know.
            NetworkNotAllowed: The token may not be used from there.
        """
        shown = [value for name, value in metadata if name == AUTHORIZATION_HEADER]
        uris = _certificate_uris(context) if self._reads_certificates else ()
        if not shown and not uris:
            if self._is_required:
                raise TokenInvalid
            return LOCAL
        if self._identity is None or len(shown) > 1:
            raise TokenInvalid
        certified = self._identity.verify_certificate(uris, lambda: peer_address(context.peer())) if uris else None
        if not shown:
            assert certified is not None
            return certified
        header = shown[0]
        if not isinstance(header, str):
            raise TokenInvalid
        caller = self._identity.verify(header, lambda: peer_address(context.peer()))
        if certified is not None and certified.strategy_id != caller.strategy_id:
            raise TokenInvalid
        return caller

    def may_stay(self, caller: Caller) -> bool:
        """Whether one who was let in still may be served."""
        return self._identity is None or caller is PUBLIC or self._identity.usable(caller)


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


def _certificate_uris(context: Any) -> Sequence[str]:
    """The URIs that a verified client certificate names; its common name is never looked at."""
    names = context.auth_context().get(_SAN_KEY, ())
    return [text for text in (bytes(name).decode(errors="replace") for name in names) if _URI_MARK in text]
