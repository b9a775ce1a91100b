"""Python values → the contract's: decimals, instants, durations, dates, symbols and enum words.

Promises that no float ever becomes an order's price or quantity, and that a value the contract cannot
carry is refused here, with the name of its argument. What a value means is the gateway's to judge.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, TypeAlias

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date

DecimalLike: TypeAlias = Decimal | str | int
"""What may become a decimal string. A float is not among them: it has already lost the exact value."""

Instant: TypeAlias = datetime | Timestamp
"""A time-zone-aware datetime (microseconds), or a Timestamp (nanoseconds)."""

AnyEnum: TypeAlias = Any
"""An enum of the contract, as OrderSide. Its type says class and its value is a wrapper, so neither is named."""

NANOS_PER_SECOND: Final = 1_000_000_000
NANOS_PER_MS: Final = 1_000_000
_UNIX_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_DECIMAL: Final = re.compile(r"(0|[1-9][0-9]{0,14})(\.[0-9]{1,9})?", re.ASCII)


def new_key(prefix: str = "k") -> str:
    """Make a client_order_id that nobody has used: the prefix and 32 random hexadecimal digits.

    Make one for each intent, keep it where a crash cannot reach it, then submit; after an ambiguous error
    submit again with the same one.

    Args:
        prefix: At most 31 characters of [A-Za-z0-9._-], the first a letter or digit.
    """
    return f"{prefix}-{uuid.uuid4().hex}"


def decimal_text(name: str, value: DecimalLike) -> str:
    """The contract's decimal string of a value.

    Args:
        name: What the value is called in a refusal.
        value: 0 or more, at most 15 digits before and 9 after the point.

    Raises:
        TypeError: For a float, a bool or anything else that is not a decimal.
        ValueError: When the contract's grammar (common.proto) has no such number.
    """
    if isinstance(value, bool) or not isinstance(value, Decimal | str | int):
        raise TypeError(f"{name} must be a Decimal, str or int, not {type(value).__name__}: floats are not exact")
    text = format(value, "f") if isinstance(value, Decimal) else str(value)
    if _DECIMAL.fullmatch(text) is None:
        raise ValueError(f"{name} must be a plain decimal of 0 or more with at most 15.9 digits")
    return text


def optional_decimal(name: str, value: DecimalLike | None) -> str | None:
    """`decimal_text` of a value that may be absent."""
    return None if value is None else decimal_text(name, value)


def timestamp(name: str, value: Instant | None) -> Timestamp | None:
    """The Timestamp of an instant.

    Raises:
        ValueError: For a datetime without a time zone: it names no instant.
    """
    if value is None or isinstance(value, Timestamp):
        return value
    if value.tzinfo is None:
        raise ValueError(f"{name} must have a time zone, as datetime.now(UTC) has")
    result = Timestamp()
    result.FromDatetime(value)
    return result


def not_before(time_ns: int) -> datetime:
    """The first UTC datetime, in its microseconds, that is not before so many nanoseconds since the Unix epoch."""
    return _UNIX_EPOCH + timedelta(microseconds=-(-time_ns // 1_000))


def duration(seconds: float | None) -> Duration | None:
    """The Duration of seconds, to the nanosecond; None stays absent, which is not the same as 0."""
    if seconds is None:
        return None
    result = Duration()
    result.FromNanoseconds(round(seconds * NANOS_PER_SECOND))
    return result


def calendar_date(value: date | None) -> Date | None:
    """The google.type.Date of a day."""
    return None if value is None else Date(year=value.year, month=value.month, day=value.day)


def symbol_list(symbols: str | Iterable[str]) -> list[str]:
    """One symbol or several, as a list; a lone string is one symbol, not its letters."""
    return [symbols] if isinstance(symbols, str) else list(symbols)


def number(enum: AnyEnum, value: int | str) -> Any:
    """The enum's number of a word ("buy") or of itself (OrderSide.ORDER_SIDE_BUY).

    Raises:
        ValueError: For a word that the enum does not have; the message lists those it has.
    """
    if isinstance(value, int):
        return value
    name = _prefix(enum) + value.upper()
    if name not in enum.keys():  # noqa: SIM118 - the wrapper is no mapping
        words = ", ".join(word(enum, known) for known in enum.values() if known)
        raise ValueError(f"{enum.DESCRIPTOR.name} has no {value!r}; it has {words}")
    return enum.Value(name)


def word(enum: AnyEnum, value: int) -> str:
    """The word of an enum's number: "filled" for ORDER_STATE_FILLED.

    A number that this build does not know is its digits.
    """
    if value not in enum.values():
        return str(value)
    return str(enum.Name(value)).removeprefix(_prefix(enum)).lower()


def require_names(given: Mapping[str, object], known: type, required: Iterable[str] = ()) -> None:
    """Refuse keyword arguments as Python itself does where they are written out.

    Args:
        given: The arguments.
        known: The TypedDict that lists them.
        required: Those without a default.

    Raises:
        TypeError: For a name that is not listed: a mistyped reduce_only must not be passed over. For one that
            is missing.
    """
    if unexpected := given.keys() - known.__annotations__.keys():
        raise TypeError(f"unexpected keyword argument {', '.join(sorted(unexpected))}")
    if absent := set(required) - given.keys():
        raise TypeError(f"missing keyword argument {', '.join(sorted(absent))}")


def _prefix(enum: AnyEnum) -> str:
    """ORDER_SIDE_ of OrderSide: every enum of the contract starts with {PREFIX}_UNSPECIFIED."""
    return str(enum.Name(0)).removesuffix("UNSPECIFIED")
