"""Who is calling, and what the call they made may cost: headers → `Caller`, call → `CallContext`.

This build has no tokens: it serves loopback alone, and everybody there is `local`, who may act for every
strategy. The interceptor sets the context of a call before its servicer runs; servicers ask for it here and
never look at headers themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from typing import Final

from gateway.domain.types import CallContext, Caller

LOCAL: Final = Caller()
"""Everybody, while the gateway has no tokens."""

Metadata = Iterable[tuple[str, str | bytes]]
"""The headers of a call, as gRPC gives them."""

_CALL: ContextVar[CallContext] = ContextVar("gateway_call")


def identify(metadata: Metadata) -> Caller:  # noqa: ARG001 - the headers are read once there are tokens
    """Who sends these headers."""
    return LOCAL


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
