"""What to do when the gateway does not let a caller in or through: one text for each reason."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from trading_gateway.errors import GatewayError

MINT_FIRST: Final = "trading-gateway token mint --role operator --data-dir DIR"
"""Makes the first token of a data directory, while no gateway runs on it."""

_NOT_SHOWN: Final = (
    "Show a token: GATEWAY_TOKEN, GATEWAY_TOKEN_FILE or --token-file. An operator makes one: trading-gateway token\n"
    f"mint. The very first is made while the gateway is down: {MINT_FIRST}"
)
_REMEDIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "TOKEN_INVALID": (
            "The token that was shown is misspelt, was revoked, or is another gateway's or venue's: have an operator\n"
            "look (trading-gateway token list --all) and make another one (trading-gateway token mint)."
        ),
        "TOKEN_EXPIRED": (
            "Have an operator make another one: trading-gateway token mint. Next time before it ends:\n"
            "trading-gateway token rotate."
        ),
        "SCOPE_MISSING": (
            "Use a token that has the scope {scope}: trading-gateway token list shows what each has, and an operator\n"
            "makes another one (trading-gateway token mint --scopes ...)."
        ),
        "SYMBOL_NOT_ALLOWED": "The token's symbols leave this one out: an operator makes another one, with --symbols.",
        "TOO_MANY_CALLS": (
            "Wait a moment. A client has limits of its own (GATEWAY_CLIENT_*), which GetQuota tells; an address whose\n"
            "calls show no valid token has a limit of failures: look for who shows a wrong one."
        ),
        "TOO_MANY_STREAMS": "End streams that nobody reads: a client has limits of its own, GetQuota tells them.",
        "VENUE_AUTHENTICATION": (
            "The venue refuses the gateway's keys: look at GATEWAY_API_KEY and GATEWAY_API_SECRET where it runs, and\n"
            "start it anew."
        ),
        "JOURNAL_UNAVAILABLE": "Look at the gateway's disk and its log, then start it anew.",
        "NETWORK_NOT_ALLOWED": "Call from one of the token's networks, or have an operator make one with --networks.",
    }
)


def remedy_for(failure: GatewayError, *, shows_token: bool) -> str:
    """What to do; empty where the refusal was about something else.

    Args:
        failure: The gateway's refusal.
        shows_token: The call showed one.
    """
    if failure.reason == "TOKEN_INVALID" and not shows_token:
        return _NOT_SHOWN
    return _REMEDIES.get(failure.reason, "").format(scope=failure.metadata.get("scope", ""))
