"""Reads one field of a venue's JSON, or says that it cannot be read.

Promises never to guess a number: what is not plainly a finite decimal raises `Unreadable`, whose text names
the field and never its value; and that text is text: half a character of UTF-16, which JSON can spell and neither the
journal nor a message can hold, goes no further. What an unreadable field means for the request is left to the adapters.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from gateway.domain.types import NANOS_PER_SECOND

JsonObject = dict[str, Any]

_DECIMAL: Final = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?([eE][-+]?[0-9]{1,2})?", re.ASCII)
_DECIMAL_LENGTH_MAX: Final = 64
_DECIMAL_EXPONENT_MAX: Final = 30  # 10 ** 30 is beyond any price, quantity or balance
_TIME: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9})[0-9]*)?"
    r"(?:[Zz]|([+-])([0-9]{2}):?([0-9]{2}))",
    re.ASCII,
)
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - as a reading in UTC has no zone either
NESTING_MAX: Final = 32
"""Arrays and objects in each other; Alpaca's deepest answer has five."""
CONTAINERS_MAX: Final = 200_000
"""Arrays and objects in one answer, before it is read: all of Alpaca's assets are a third of it."""
_TEXT_LENGTH_MAX: Final = 256
_TEXTS_MAX: Final = 64
_TOKEN_LENGTH_MAX: Final = 4_096
_SECONDS_PER_DAY: Final = 86_400
_CONTAINERS: Final = (dict, list)
TIME_NS_MIN: Final = 0
TIME_NS_MAX: Final = 4_102_444_800 * NANOS_PER_SECOND  # the year 2100


class Unreadable(ValueError):
    """An answer of the venue that cannot be read without guessing. Its text names the field, never the value."""


def _number_of(text: str) -> Decimal:
    if len(text) > _DECIMAL_LENGTH_MAX:
        raise Unreadable("a number of too many digits")
    try:
        return Decimal(text)
    except ArithmeticError:  # an exponent of twenty digits
        raise Unreadable("a number of too large an exponent") from None


def _not_a_number(_text: str) -> None:
    raise Unreadable("a number that is not finite")


_EXACT: Final = json.JSONDecoder(parse_float=_number_of, parse_constant=_not_a_number)


def exact_json(body: bytes) -> Any:
    """Read JSON with its fractions as decimals; NaN and Infinity are refused.

    Raises:
        Unreadable: It is no JSON, or has more in it, or nests deeper, than an answer can.
    """
    containers = body.count(b"{") + body.count(b"[")
    if containers > CONTAINERS_MAX:
        raise Unreadable("more values than an answer has")
    try:
        value = _EXACT.decode(body.decode())
    except Unreadable:
        raise
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"no JSON ({type(error).__name__})") from None
    if containers > NESTING_MAX:
        _check_nesting(value)
    return value


def _check_nesting(value: Any) -> None:
    level = [value]
    for _ in range(NESTING_MAX + 1):
        level = [
            inner
            for outer in level
            if type(outer) in _CONTAINERS
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) in _CONTAINERS
        ]
        if not level:
            return
    raise Unreadable("nested deeper than an answer is")


def as_object(raw: object, name: str) -> JsonObject:
    """A JSON object."""
    if type(raw) is not dict:
        raise Unreadable(f"{name} is no object")
    return raw


def as_list(raw: object, name: str) -> list[Any]:
    """A JSON array; null is an empty one, as Alpaca sends both."""
    if raw is None:
        return []
    if type(raw) is not list:
        raise Unreadable(f"{name} is no list")
    return raw


def text(raw: JsonObject, name: str) -> str:
    """A text that must be there."""
    value = raw.get(name)
    if type(value) is not str or not value or len(value) > _TEXT_LENGTH_MAX or whole_text(value) != value:
        raise Unreadable(f"{name} is no text")
    return value


def text_or_empty(raw: JsonObject, name: str) -> str:
    """A text; empty when it is absent, null or something else."""
    value = raw.get(name)
    return whole_text(value[:_TEXT_LENGTH_MAX]) if type(value) is str else ""


def whole_text(value: str) -> str:
    """The text with a question mark for each half of a character."""
    return value if value.isascii() else value.encode(errors="replace").decode()


def next_page_token_of(raw: JsonObject) -> str:
    """The token of the next page, whole; empty at the end."""
    value = raw.get("next_page_token")
    if value is None:
        return ""
    if type(value) is not str or len(value) > _TOKEN_LENGTH_MAX or whole_text(value) != value:
        raise Unreadable("next_page_token is no token")
    return value


def texts(raw: object) -> tuple[str, ...]:
    """A list of texts; a single text is a list of one, anything else is none."""
    if type(raw) is list:
        return tuple(whole_text(item[:_TEXT_LENGTH_MAX]) for item in raw[:_TEXTS_MAX] if type(item) is str)
    return (whole_text(raw[:_TEXT_LENGTH_MAX]),) if type(raw) is str and raw else ()


def flag(raw: JsonObject, name: str) -> bool:
    """Whether the field is true; anything but true is false."""
    return raw.get(name) is True


def flag_or_none(raw: JsonObject, name: str) -> bool | None:
    """A truth value; None when the venue gives none."""
    value = raw.get(name)
    return value if type(value) is bool else None


def whole_or_none(raw: JsonObject, name: str) -> int | None:
    """A whole number, also spelled as text; None when the venue gives none."""
    value = raw.get(name)
    if type(value) is int and abs(value) < 10**18:
        return value
    if type(value) is str and value.isascii() and value.isdecimal() and len(value) < 19:
        return int(value)
    return None


def decimal_or_none(raw: JsonObject, name: str, *, signed: bool = False) -> Decimal | None:
    """A finite decimal, from text or number; None when it is absent, null or empty.

    Args:
        raw: The object.
        name: The field.
        signed: Whether it may be negative.

    Raises:
        Unreadable: It is something else.
    """
    value = raw.get(name)
    if value is None or value == "":
        return None
    number = _decimal(value)
    if number is None or (number < 0 and not signed):
        raise Unreadable(f"{name} is no {'number' if signed else 'number of 0 or more'}")
    return number


def decimal(raw: JsonObject, name: str, *, signed: bool = False) -> Decimal:
    """A decimal that must be there."""
    value = decimal_or_none(raw, name, signed=signed)
    if value is None:
        raise Unreadable(f"{name} is missing")
    return value


def _decimal(value: object) -> Decimal | None:
    if type(value) is str:
        if len(value) > _DECIMAL_LENGTH_MAX or not _DECIMAL.fullmatch(value):
            return None
        number = Decimal(value)
    elif type(value) is Decimal:
        number = value
    elif type(value) is int:
        return Decimal(value) if abs(value) < 10**_DECIMAL_EXPONENT_MAX else None
    else:
        return None
    return number if number.is_finite() and abs(number.adjusted()) <= _DECIMAL_EXPONENT_MAX else None


def uuid_or_none(value: str) -> str | None:
    """The canonical spelling of a UUID; None for anything else, such as `../orders`."""
    try:
        return str(UUID(value)) if len(value) == 36 else None
    except ValueError:
        return None


def parse_time_ns(value: str) -> int | None:
    """An RFC 3339 instant, exact to the nanosecond; None when it is none, or lies outside 1970-2100.

    Go's zero time (the year 1) reads None too: it means that there is no instant.
    """
    match = _TIME.fullmatch(value)
    if match is None:
        return None
    whole, fraction, sign, off_hours, off_minutes = match.groups()
    try:
        since = datetime.fromisoformat(whole) - _EPOCH
    except ValueError:
        return None
    seconds = since.days * _SECONDS_PER_DAY + since.seconds
    if sign:
        offset = int(off_hours) * 3_600 + int(off_minutes) * 60
        seconds += -offset if sign == "+" else offset
    time_ns = seconds * NANOS_PER_SECOND + (int(fraction.ljust(9, "0")) if fraction else 0)
    return time_ns if TIME_NS_MIN <= time_ns < TIME_NS_MAX else None


def time_ns_or_none(raw: JsonObject, name: str) -> int | None:
    """An instant; None when the venue gives none that can be read: it is information, not identity."""
    value = raw.get(name)
    return parse_time_ns(value) if type(value) is str else None


def time_ns(raw: JsonObject, name: str) -> int:
    """An instant that must be there."""
    value = time_ns_or_none(raw, name)
    if value is None:
        raise Unreadable(f"{name} is no time")
    return value


def format_time(instant_ns: int) -> str:
    """RFC 3339 in UTC with nine digits of the second, as query parameters take it."""
    seconds, nanos = divmod(instant_ns, NANOS_PER_SECOND)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanos:09d}Z"


def parse_date(value: object) -> date | None:
    """A calendar day as `2024-01-31`; None when it is none."""
    if type(value) is not str or len(value) != 10:
        return None
    try:
        return date.fromisoformat(value)
    except ValueError:
        return None
