"""The one table from Alpaca's answers to the domain's errors.

Promises the order protocol's rule: a refusal is definite only if the status says so and the body has Alpaca's
own error shape; anything else after a change was sent is `OutcomeUnknown`. Reads are never ambiguous.

Source: Alpaca's error bodies `{"code": 40310000, "message": "..."}`: the code is the HTTP status times
100,000 plus a detail; bodies of the edge (401, 403, 429) have a message alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from gateway.domain.errors import (
    OrderNotFound,
    OrderRejected,
    OutcomeUnknown,
    SymbolUnknown,
    VenueAuthentication,
    VenueRateLimited,
    VenueUnreachable,
)
from gateway.domain.types import RETRY_AFTER_MAX_MS
from gateway.infrastructure.alpaca.converters.fields import Unreadable, exact_json

RETRY_AFTER_DEFAULT_MS: Final = 1_000
_MESSAGE_LENGTH_MAX: Final = 256
_ERROR_BODY_MAX_BYTES: Final = 65_536
_CODE_PER_STATUS: Final = 100_000
_NOT_FOUND: Final = 404


@dataclass(frozen=True, slots=True)
class VenueError:
    """An error in Alpaca's own shape; `code` is 0 where the body has none."""

    status: int
    code: int
    message: str


class Verdict(Enum):
    """What the status of a refused change proves; everything not in the table proves nothing."""

    BAD_VALUE = "bad value"
    CREDENTIALS = "credentials"
    REFUSED = "refused"
    RATE_LIMITED = "rate limited"


CHANGE_VERDICTS: Final[Mapping[int, Verdict]] = {
    400: Verdict.BAD_VALUE,
    401: Verdict.CREDENTIALS,
    403: Verdict.REFUSED,
    404: Verdict.REFUSED,
    422: Verdict.BAD_VALUE,
    429: Verdict.RATE_LIMITED,
}

DUPLICATE_ID_MESSAGES: Final = ("client_order_id must be unique", "client order id must be unique")
"""What 422 says when the venue knows the id; the second is older. It means: look it up."""

CREDENTIAL_MESSAGES: Final = frozenset(
    {"forbidden", "unauthorized", "request is not authorized", "access key verification failed"}
)
"""What 403 says about the key; every other 403 is about the order."""


def venue_error(status: int, body: bytes) -> VenueError | None:
    """The error, if the body has Alpaca's shape: an object with a text `message` and, if any, a whole `code`."""
    if len(body) > _ERROR_BODY_MAX_BYTES:
        return None
    try:
        raw: Any = exact_json(body)
    except Unreadable:
        return None
    if type(raw) is not dict or type(raw.get("message")) is not str:
        return None
    code = raw.get("code", 0)
    return VenueError(status, code, printable(raw["message"])) if type(code) is int else None


def change_error(status: int, body: bytes, headers: Mapping[str, str], now_s: float) -> Exception:
    """What a change that did not answer 2xx raises."""
    request_id = headers.get("x-request-id", "")
    if 300 <= status < 400:  # nothing behind a redirect was asked: the address is wrong
        return _rejected(VenueError(status, 0, "the venue redirects elsewhere"), request_id)
    error = venue_error(status, body)
    verdict = CHANGE_VERDICTS.get(status)
    if error is None or verdict is None:
        return OutcomeUnknown(_describe(status, error, request_id))
    if verdict is Verdict.RATE_LIMITED:
        return _rate_limited(headers, now_s)
    if verdict is Verdict.CREDENTIALS or (status == 403 and is_about_credentials(error)):
        return _credentials(error)
    if is_duplicate_id(error):
        return OutcomeUnknown(_describe(status, error, request_id), duplicate_id=True)
    return _rejected(error, request_id)


def read_error(status: int, body: bytes, headers: Mapping[str, str], now_s: float) -> Exception:
    """What a read that did not answer 2xx raises; who asked for one thing checks `is_not_found` before."""
    error = venue_error(status, body)
    if status == 429:
        return _rate_limited(headers, now_s)
    if status == 401 or (status == 403 and error is not None and is_about_credentials(error)):
        return _credentials(error or VenueError(status, 0, ""))
    if error is not None and status in (400, 422) and error.message.lower().startswith("invalid symbol"):
        return SymbolUnknown("the venue does not know a symbol of the request")
    metadata = {"venue_http_status": str(status)}
    if error is not None:
        metadata |= {"venue_code": str(error.code), "venue_message": error.message}
    return VenueUnreachable(f"the venue answered a read with HTTP {status}", metadata=metadata)


def is_not_found(status: int, body: bytes) -> bool:
    """Whether the venue itself says that there is no such thing: a bare 404 of somebody on the way does not."""
    if status != _NOT_FOUND:
        return False
    error = venue_error(status, body)
    return error is not None and error.code // _CODE_PER_STATUS == _NOT_FOUND


def is_duplicate_id(error: VenueError) -> bool:
    """Whether the refusal says that the client order id is taken."""
    return error.status == 422 and any(text in error.message.lower() for text in DUPLICATE_ID_MESSAGES)


def is_about_credentials(error: VenueError) -> bool:
    """Whether a 403 speaks of the key and not of the order."""
    return error.code // _CODE_PER_STATUS == 401 or (
        error.code == 0 and error.message.lower().rstrip(".") in CREDENTIAL_MESSAGES
    )


def retry_after_ms(headers: Mapping[str, str], now_s: float) -> int:
    """When to try again, from `Retry-After` (seconds) or `X-RateLimit-Reset` (Unix seconds); bounded.

    A reset that has passed says that our clock is ahead of the venue's, and nothing about when.
    """
    wait_s: float = RETRY_AFTER_DEFAULT_MS / 1_000
    after, reset = headers.get("retry-after", ""), headers.get("x-ratelimit-reset", "")
    if _is_count(after):
        wait_s = int(after)
    elif _is_count(reset) and int(reset) > now_s:
        wait_s = int(reset) - now_s
    return max(0, min(RETRY_AFTER_MAX_MS, round(wait_s * 1_000)))


def rate_limit_of(headers: Mapping[str, str]) -> tuple[int, int, int] | None:
    """The venue's count: limit, remaining, reset in Unix seconds; None unless all three are there."""
    values = [headers.get(name, "") for name in ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")]
    if not all(map(_is_count, values)):
        return None
    limit, remaining, reset_s = map(int, values)
    return limit, remaining, reset_s


def printable(text: str) -> str:
    """A venue's text as it may be kept and shown: bounded, on one line."""
    return "".join(character if character.isprintable() else " " for character in text[:_MESSAGE_LENGTH_MAX])


def _is_count(text: str) -> bool:
    return len(text) <= 12 and text.isascii() and text.isdecimal()


def _describe(status: int, error: VenueError | None, request_id: str) -> str:
    what = f"HTTP {status}" + (f": {error.message}" if error else " without Alpaca's error body")
    return f"{what} (request {request_id})" if request_id else what


def _rate_limited(headers: Mapping[str, str], now_s: float) -> VenueRateLimited:
    return VenueRateLimited("the venue's request limit is reached", retry_after_ms=retry_after_ms(headers, now_s))


def _credentials(error: VenueError) -> VenueAuthentication:
    return VenueAuthentication(
        "the venue refuses the gateway's credentials",
        metadata={"venue_http_status": str(error.status), "venue_code": str(error.code)},
    )


def _rejected(error: VenueError, request_id: str) -> OrderRejected:
    metadata = {
        "venue_http_status": str(error.status),
        "venue_code": str(error.code),
        "venue_message": error.message,
    }
    if request_id:
        metadata["venue_request_id"] = request_id
    is_bad_value = CHANGE_VERDICTS.get(error.status) is Verdict.BAD_VALUE
    return OrderRejected(f"the venue refused: {error.message}", is_bad_value=is_bad_value, metadata=metadata)


def cancel_error(error: Exception) -> Exception:
    """The same for a cancel, for which a 404 says that the order does not exist."""
    if isinstance(error, OrderRejected) and error.metadata["venue_http_status"] == str(_NOT_FOUND):
        return OrderNotFound("the venue does not know this order")
    return error
