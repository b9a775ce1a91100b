"""Why the venue does not bring a symbol, told from its last word about the connection."""

from __future__ import annotations

from typing import Final

from gateway.domain.errors import GatewayError, TooManyStreams, VenueAuthentication, VenueUnreachable

_SYMBOL_LIMIT_CODE: Final = 405
_PERMISSION_CODES: Final = frozenset({402, 409, 411})


def refusal_of(venue_error_code: int) -> GatewayError:
    """What a symbol's ack says when the venue did not acknowledge it.

    Args:
        venue_error_code: Of its stream's error frames; 0: it said nothing.
    """
    metadata = {"venue_code": str(venue_error_code)} if venue_error_code else {}
    if venue_error_code == _SYMBOL_LIMIT_CODE:
        return TooManyStreams("The venue's limit of subscribed symbols is reached.", metadata=metadata)
    if venue_error_code in _PERMISSION_CODES:
        return VenueAuthentication("The account's data subscription does not include this.", metadata=metadata)
    return VenueUnreachable("The venue did not acknowledge the subscription.", metadata=metadata)
