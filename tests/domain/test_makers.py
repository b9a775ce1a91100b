"""Nouns made in other ways than by their constructors are the same nouns."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, field, replace
from decimal import Decimal

import pytest

from gateway.domain.makers import evolver, maker


@dataclass(frozen=True, slots=True)
class Noun:
    """Has every kind of field that nouns have."""

    name: str
    size: Decimal | None = None
    parts: tuple[str, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)


@pytest.mark.parametrize(
    "named", [{"name": "a"}, {"name": "a", "size": Decimal(1)}, {"name": "a", "labels": {"b": "c"}, "parts": ("d",)}]
)
def test_what_a_maker_makes_is_what_the_constructor_makes(named: dict[str, object]) -> None:
    made = maker(Noun)(**named)
    assert type(made) is Noun
    assert made == Noun(**named)
    with pytest.raises(FrozenInstanceError):
        made.name = "b"


def test_two_nouns_do_not_share_a_default() -> None:
    make = maker(Noun)
    assert make("a").labels is not make("b").labels


@pytest.mark.parametrize("named", [{}, {"size": Decimal(1)}, {"name": "a", "parts": ("d",)}])
def test_a_maker_and_the_constructor_want_the_same_values(named: dict[str, object]) -> None:
    for make in (maker(Noun), Noun):
        if "name" in named:
            make(**named)
        else:
            with pytest.raises(TypeError):
                make(**named)


def test_evolving_is_replacing() -> None:
    known = Noun("a", Decimal(1), ("b",), {"c": "d"})
    changes = {"size": None, "parts": ("e", "f")}
    evolved = evolver(Noun)(known, changes)
    assert type(evolved) is Noun
    assert evolved == replace(known, **changes)
    assert known == Noun("a", Decimal(1), ("b",), {"c": "d"})
    with pytest.raises(AttributeError):
        evolver(Noun)(known, {"unknown": 1})


def test_other_classes_are_refused() -> None:
    @dataclass
    class Open:
        name: str = ""

    for of in (maker, evolver):
        with pytest.raises(TypeError):
            of(Open)
