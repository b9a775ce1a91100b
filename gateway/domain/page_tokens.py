"""Page tokens: where a list goes on, bound to what was asked. Opaque to clients.

Promises: a token goes on with the list that it came from, or is refused. What a position is, is each list's to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.domain.errors import FieldViolation, PageTokenMismatch
from gateway.domain.models.orders import fingerprint_of

_DIGEST_LENGTH: Final = 16
_DIGITS_MAX: Final = 20
"""Of a number in a token: 64 bits."""


def list_digest(rpc: str, content: Mapping[str, object]) -> str:
    """What a token is bound to: all of a request but the size of its pages."""
    return fingerprint_of(rpc, content)[:_DIGEST_LENGTH]


def write_page_token(digest: str, *position: object) -> str:
    """A token; only the last part of the position may have a dot in it."""
    return ".".join((digest, *map(str, position)))


def read_page_token(token: str, digest: str, parts: int) -> list[str]:
    """The position, of so many parts, none of them empty.

    Raises:
        PageTokenMismatch: The token belongs to another list, or is none.
    """
    found, *position = token.split(".", parts)
    if found != digest or len(position) != parts or not all(position):
        raise page_token_mismatch()
    return position


def number_of(text: str) -> int:
    """A part that is a number.

    Raises:
        PageTokenMismatch: It is none.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX):
        raise page_token_mismatch()
    return int(text)


def page_token_mismatch() -> PageTokenMismatch:
    """The refusal, which names the field."""
    violation = FieldViolation("page_token", "belongs to another request")
    return PageTokenMismatch("The page token belongs to another request.", violations=[violation])
