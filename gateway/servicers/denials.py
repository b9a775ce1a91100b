"""Denials: what somebody may not do, told to the audit log, whether it ends a call or stands within an answer.

Promises: who shows no valid token, who lacks a scope, and whose token leaves out a symbol or so many dollars is told;
every other refusal is not. Leaves the log itself to `services.audit`.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.domain.errors import GatewayError, PermissionDenied, TokenCapExceeded, Unauthenticated
from gateway.domain.models.audit import AuditAction
from gateway.servicers.identity import caller_name, peer_address

DenialListener = Callable[[str, AuditAction, str, str], None]
"""Told the actor, what was refused, the method, and the reason."""


class Denials:
    """Tells them from other refusals, and who was denied.

    Args:
        listener: Told of each, as `AuditService.count_refusal`; None: nobody is.
    """

    def __init__(self, listener: DenialListener | None = None) -> None:
        self._listener = listener

    def tell(self, path: str, error: object, peer: str) -> None:
        """Look at what a call, or a part of it, came to.

        Args:
            path: Of the method.
            error: Its refusal; anything else is none.
            peer: The other end, in gRPC's word; it stands for whom nobody knows.
        """
        if self._listener is None or not isinstance(error, GatewayError):
            return
        if isinstance(error, Unauthenticated):
            self._listener(str(peer_address(peer)), AuditAction.AUTHENTICATION_FAIL, path, error.reason)
        elif isinstance(error, PermissionDenied | TokenCapExceeded):
            actor = caller_name() or str(peer_address(peer))
            self._listener(actor, AuditAction.PERMISSION_DENY, path, error.reason)
