"""Answers and questions as HTTP has them: JSON bodies, Alpaca's errors, and the reading of queries.

Queries are read as Alpaca reads them: booleans in any spelling (alpaca-py sends `True`), times as RFC 3339 or as a
date, lists joined by commas, empty values as absent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from gateway.domain.types import NANOS_PER_SECOND
from gateway.emulator.exchange import Refusal
from gateway.emulator.exchange.refusals import field_invalid
from gateway.emulator.wire import JsonObject

BODY_BYTES_MAX: Final = 1024 * 1024

_TIME = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2})?)(?:\.(\d{1,9}))?\d*(Z|[+-]\d{2}:?\d{2})?)?", re.ASCII
)


class HttpError(Exception):
    """An answer that is no success and no Refusal.

    Attributes:
        status: Of HTTP.
        body: The JSON.
    """

    def __init__(self, status: int, body: JsonObject) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


def answer(body: object, status: int = 200) -> Response:
    """A JSON body."""
    return Response(orjson.dumps(body), status, media_type="application/json")


def empty(status: int = 204) -> Response:
    """No body."""
    return Response(status_code=status)


async def json_body(request: Request) -> tuple[Mapping[str, Any], bytes]:
    """The body as an object, and as it was sent.

    Raises:
        HttpError: When it is no JSON object, or larger than BODY_BYTES_MAX.
    """
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > BODY_BYTES_MAX:
            raise HttpError(413, {"code": 41310000, "message": "request body is too large"})
    try:
        body = orjson.loads(raw or b"{}")
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise HttpError(400, {"code": 40010000, "message": "request body format is invalid"})
    return body, bytes(raw)


def text_of(request: Request, name: str) -> str:
    """A parameter; empty when it is absent."""
    return request.query_params.get(name, "")


def list_of(request: Request, name: str) -> list[str]:
    """A list joined by commas; several parameters of one name count together."""
    return [part.strip() for value in request.query_params.getlist(name) for part in value.split(",") if part.strip()]


def switch_of(request: Request, name: str) -> bool:
    """A boolean in any spelling; False when it is absent."""
    value = text_of(request, name).lower()
    if value in ("", "false", "0"):
        return False
    if value in ("true", "1"):
        return True
    raise field_invalid(name)


def int_of(request: Request, name: str, default: int, *, least: int, most: int) -> int:
    """A whole number within bounds.

    Raises:
        Refusal: When it is none, or outside.
    """
    value = text_of(request, name)
    if not value:
        return default
    if not (value.isascii() and value.isdigit()) or not least <= int(value[:12]) <= most:
        raise field_invalid(name)
    return int(value)


def word_of(request: Request, name: str, words: tuple[str, ...]) -> str:
    """One of some words; the first when it is absent.

    Raises:
        Refusal: When it is another.
    """
    value = text_of(request, name) or words[0]
    if value not in words:
        raise field_invalid(name)
    return value


def time_of(request: Request, name: str) -> int | None:
    """An instant, ns; None when it is absent.

    Raises:
        Refusal: When it cannot be read.
    """
    value = text_of(request, name)
    return None if not value else parse_time(value, name)


def parse_time(value: str, name: str) -> int:
    """RFC 3339 with up to nine digits of the second, or a date, which means midnight UTC.

    Raises:
        Refusal: Naming the parameter.
    """
    match = _TIME.fullmatch(value.replace(" ", "+") if "T" in value else value)  # an unescaped + arrives as a blank
    if match is None:
        raise field_invalid(name)
    day, clock, fraction, zone = match.groups()
    offset = "+00:00" if zone in (None, "Z") else zone
    try:
        instant = datetime.fromisoformat(f"{day}T{clock or '00:00'}{offset}")
    except ValueError:
        raise field_invalid(name) from None
    return int(instant.timestamp()) * NANOS_PER_SECOND + int((fraction or "0").ljust(9, "0"))


def date_param(request: Request, name: str) -> date | None:
    """A date; a time counts as its UTC date.

    Raises:
        Refusal: When it cannot be read.
    """
    time_ns = time_of(request, name)
    return None if time_ns is None else datetime.fromtimestamp(time_ns // NANOS_PER_SECOND, UTC).date()


def refused(refusal: Refusal) -> Response:
    """A refusal as an answer."""
    body = {"code": refusal.code, "message": refusal.message, **refusal.extra}
    return answer(body, refusal.http_status)
