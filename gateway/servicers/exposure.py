"""Who may reach the server: nobody beyond this machine without TLS and a token, whatever the settings say.

The rules are asked twice of the same numbers: by `serve` before anything is started, and by the server right before
it binds. What must be added is said in the words of the command line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.domain.types import Authentication, Venue
from gateway.servicers.addresses import AddressRefused, is_loopback

_TLS: Final = "--tls-cert FILE --tls-key FILE"


class ExposureRefused(AddressRefused):
    """The settings would open the account to others."""


def is_token_required(authentication: Authentication, venue: Venue, addresses: Sequence[str]) -> bool:
    """Whether a call must show who makes it.

    Args:
        authentication: What is set; `auto`: yes, unless the venue is the emulator and everything is on loopback.
        venue: Where orders go; for real money no setting takes tokens away.
        addresses: From `numeric_addresses`.
    """
    if authentication is Authentication.AUTO:
        return venue is not Venue.EMULATOR or not all(map(is_loopback, addresses))
    return authentication is Authentication.REQUIRED or venue is Venue.LIVE


def check_exposure(addresses: Sequence[str], *, listen: str, has_tls: bool, is_token_required: bool) -> None:
    """Refuse what others could reach in plain text, or without a token.

    Args:
        addresses: From `numeric_addresses`: what will be bound.
        listen: As people wrote it.
        has_tls: There is a certificate.
        is_token_required: Each call must show who makes it.

    Raises:
        ExposureRefused: With what to add.
    """
    open_to_others = [address for address in addresses if not is_loopback(address)]
    if not open_to_others:
        return
    missing = [] if has_tls else [f"TLS (add {_TLS})"]
    if not is_token_required:
        missing.append("authentication (take away --authentication off, or GATEWAY_AUTHENTICATION=off)")
    if missing:
        raise ExposureRefused(
            f"{listen} is open to others than this machine ({', '.join(open_to_others)}): there it needs "
            f"{' and '.join(missing)}. Or serve 127.0.0.1 alone."
        )
