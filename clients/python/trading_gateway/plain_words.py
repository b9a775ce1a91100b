"""What gRPC's core says when no connection comes about, in words that tell what to do.

The words are those of grpcio 1.85; those of a later one that differ are shown as they are.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

NOBODY_THERE: Final = "no gateway answers"
"""How the words begin where nothing listens."""

_NO_CONNECTION: Final = re.compile(
    r"failed to connect to all addresses; last error: .*?(?:ipv[46]|unix):(\S+): (.*)", re.DOTALL
)
_LAST_WORDS: Final = re.compile(r".*?([^:]+)", re.DOTALL)

_CAUSES: Final = (
    (
        "Hostname Verification Check failed",
        "the certificate of {target} is another host's: connect to a name or address that stands in it",
    ),
    ("certificate has expired", "the certificate of {target} has expired: the gateway needs a new one"),
    ("certificate is not yet valid", "the certificate of {target} is not valid yet: is a clock wrong?"),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "the certificate of {target} is signed by nobody whom this client trusts: give the authority's certificate "
        "(tls_ca, GATEWAY_TLS_CA)",
    ),
    (
        "WRONG_VERSION_NUMBER",
        "{target} does not speak TLS, and this client was told to: leave out tls_ca (GATEWAY_TLS_CA), or start the "
        "gateway with --tls-cert and --tls-key",
    ),
    (
        "Socket closed",
        "{target} closed the connection at once: does it serve TLS (tls_ca, GATEWAY_TLS_CA), or ask for a client's "
        "certificate (GATEWAY_TLS_CLIENT_CERT)?",
    ),
)
"""What is found in gRPC's words, and what it comes down to; the first that is found counts."""


def plain(message: str) -> str:
    """The transport's most common words, so that they say what to look at; any other message as it is."""
    if (found := _NO_CONNECTION.fullmatch(message)) is None:
        return message
    target, reason = unquote(found[1]), found[2]
    for words, cause in _CAUSES:
        if words in reason:
            return cause.format(target=target)
    last = _LAST_WORDS.fullmatch(reason)
    return f"{NOBODY_THERE} at {target} ({last[1].strip() if last else reason}): is it running?"
