"""Nouns of the domain ↔ JSON: the bodies of the journal's rows.

Promises: what is written is read back equal, for every field of every noun, because the tables are made from the
nouns' own declarations and a type that they do not know is refused when this module is imported. Fields at their
default are left out; decimals are plain strings without exponent; enums are their values; tuples are lists. A field
that this build does not know is refused: it would be lost in silence. Leaves to others what is written and where.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Final, TypeVar, get_args, get_origin, get_type_hints

import orjson

from gateway.domain.makers import maker
from gateway.domain.models.orders import JournalEvent, KeyEntry, Order

_PLAIN: Final = frozenset({str, int, bool})
_BESIDE_THE_BODY: Final[Mapping[type, frozenset[str]]] = {
    JournalEvent: frozenset({"sequence", "book_sequence", "chain_hash"})
}
"""What has a column of its own, and is given by the journal after the body is made."""

N = TypeVar("N")
_Read = Callable[[Any], Any]
_Write = Callable[[Any], Any]


class BodyUnreadable(ValueError):
    """A body that this build cannot read: damaged, or written by a later version."""


_writers: Final[dict[type, _Write]] = {}
_readers: Final[dict[type, _Read]] = {}


def encode(noun: object) -> bytes:
    """A noun as JSON.

    Raises:
        TypeError: It holds what the tables do not know.
    """
    return orjson.dumps(noun, _plain, orjson.OPT_PASSTHROUGH_DATACLASS)


def decode(kind: type[N], body: bytes | str) -> N:
    """A noun from JSON.

    Raises:
        BodyUnreadable: Damaged, or with a field or a value that this build does not know.
    """
    try:
        return _readers[kind](orjson.loads(body))  # type: ignore[no-any-return]
    except BodyUnreadable:
        raise
    except (ValueError, TypeError, KeyError, ArithmeticError, AttributeError) as error:
        raise BodyUnreadable(f"a {kind.__name__} cannot be read: {type(error).__name__}") from error


def _plain(value: Any) -> Any:
    """What orjson asks about a value that it does not know itself."""
    return _writers[type(value)](value)


def _decimal_text(value: Decimal) -> str:
    text = str(value)
    return format(value, "f") if "E" in text else text


def _labels(value: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(value)


def _writer(stored: list[Field[Any]]) -> _Write:
    """Compiled, as `dataclass` does it: a loop over thirty fields costs three times as much, with every order."""
    lines = ["def write(noun):", " body = {"]
    lines += [f"  {field.name!r}: noun.{field.name}," for field in stored if _default(field) is MISSING]
    lines += [" }"]
    defaults: dict[str, Any] = {}
    for field in stored:
        if (default := _default(field)) is not MISSING:
            defaults[f"default_{field.name}"] = default
            lines += [f" part = noun.{field.name}", f" if part is not default_{field.name}:"]
            lines += [f"  body[{field.name!r}] = part"]
    lines += [" return body"]
    exec("\n".join(lines), defaults)  # noqa: S102 - made of the names of declared fields alone
    return defaults["write"]  # type: ignore[no-any-return]


def _default(field: Field[Any]) -> Any:
    if field.default is not MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not MISSING else MISSING


def _reader(noun: type, stored: list[Field[Any]]) -> _Read:
    hints = get_type_hints(noun)
    converters = {field.name: _converter(hints[field.name]) for field in stored}
    make = maker(noun) if noun.__dataclass_params__.frozen else noun  # type: ignore[attr-defined]

    def read(raw: Any) -> Any:
        try:
            for name, value in raw.items():
                convert = converters[name]
                if convert is not None:
                    raw[name] = convert(value)
        except KeyError as error:
            raise BodyUnreadable(f"a {noun.__name__} has what this build does not know: {error}") from None
        return make(**raw)

    return read


def _converter(hint: Any) -> _Read | None:
    """How a declared type is read; None: as it is."""
    if get_origin(hint) is UnionType or str(hint).startswith("typing.Optional"):
        (hint,) = (part for part in get_args(hint) if part is not NoneType)
    if hint in _PLAIN:
        return None
    if hint is Decimal:
        return Decimal
    if get_origin(hint) is tuple:
        inner, _ = get_args(hint)
        convert = _converter(inner)
        return tuple if convert is None else lambda values: tuple([convert(value) for value in values])
    if get_origin(hint) is not None and issubclass(get_origin(hint), Mapping):
        return _labels
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return {member.value: member for member in hint}.__getitem__
    if isinstance(hint, type) and is_dataclass(hint):
        _register(hint)
        return lambda raw: _readers[hint](raw)  # noqa: PLW0108 - legs are VenueOrders in a VenueOrder
    raise TypeError(f"no way to write a {hint}")


def _register(noun: type) -> None:
    """Make the tables of a noun and of all that it holds."""
    if noun in _writers:
        return
    beside = _BESIDE_THE_BODY.get(noun, frozenset())
    stored = [field for field in fields(noun) if field.name not in beside]
    _writers[noun] = _writer(stored)
    _readers[noun] = _reader(noun, stored)


_writers[Decimal] = _decimal_text
_writers[MappingProxyType] = dict
for _noun in (JournalEvent, Order, KeyEntry):
    _register(_noun)
