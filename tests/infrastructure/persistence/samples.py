"""Events of every kind, with every field set somewhere: what the codec and the journal are tried on."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType, NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from gateway.domain.models.orders import JournalEvent, OrderEventKind, OrderRequest
from tests.emulator.exchange.desk import make_spec

DEPTH_MAX = 3
GIVEN_BY_THE_JOURNAL = ("sequence", "book_sequence", "chain_hash")


class Filler:
    """Makes nouns with random values, from their declarations.

    Args:
        chance: Of a field with a default to be set to something else.
    """

    def __init__(self, seed: int, chance: float = 1.0) -> None:
        self._random = random.Random(seed)
        self._chance = chance

    def noun(self, cls: type, depth: int = 0, **given: Any) -> Any:
        hints = get_type_hints(cls)
        values = dict(given)
        for field in fields(cls):
            is_optional = field.default is not MISSING or field.default_factory is not MISSING
            if field.name in values or (cls is JournalEvent and field.name in GIVEN_BY_THE_JOURNAL):
                continue
            if not is_optional or self._random.random() < self._chance:
                values[field.name] = self._value(hints[field.name], depth)
        return cls(**values)

    def _value(self, hint: Any, depth: int) -> Any:
        if get_origin(hint) is UnionType:
            (hint,) = (part for part in get_args(hint) if part is not NoneType)
        if get_origin(hint) is tuple:
            inner = get_args(hint)[0]
            count = 2 if depth < DEPTH_MAX else 0
            return tuple(self._value(inner, depth + 1) for _ in range(count))
        if get_origin(hint) is Mapping:
            return MappingProxyType({f"k{n}": self._text() for n in range(self._random.randint(0, 3))})
        if is_dataclass(hint):
            return self.noun(hint, depth + 1)  # type: ignore[arg-type]
        if hint is Decimal:
            return Decimal(self._random.choice(["0", "1", "0.000000001", "123456789012345.123456789", "1E+3", "-2.50"]))
        if issubclass(hint, StrEnum):
            return self._random.choice(list(hint))
        makers = {
            str: self._text,
            bool: lambda: True,
            int: lambda: self._random.randint(1, 2**62),
        }
        return makers[hint]()

    def _text(self) -> str:
        return "".join(self._random.choices('aZ09 "\\/\né😀\u2028', k=self._random.randint(1, 12)))


def all_kinds(seed: int = 1) -> Iterator[JournalEvent]:
    """One event of every kind with everything set, one with nothing, one in between."""
    for kind in OrderEventKind:
        yield Filler(seed).noun(JournalEvent, kind=kind)
        yield Filler(seed, 0.0).noun(JournalEvent, kind=kind)
        yield Filler(seed, 0.5).noun(JournalEvent, kind=kind)


def recorded(number: int, strategy_id: str = "default", time_ns: int = 1) -> JournalEvent:
    """The first event of an order."""
    request = OrderRequest(strategy_id, f"key-{number}", make_spec("AAPL", "buy", 1, limit_price="100.25"), 9)
    return JournalEvent(
        OrderEventKind.RECORDED, f"order-{number}", strategy_id, time_ns, time_ns, request=request, fingerprint="f" * 64
    )


def followed(number: int, kind: OrderEventKind, strategy_id: str = "default", time_ns: int = 1) -> JournalEvent:
    """A later event of it."""
    return JournalEvent(kind, f"order-{number}", strategy_id, time_ns, time_ns)
