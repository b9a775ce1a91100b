"""The list of planted bugs, and how one is planted and taken out again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

SEEDS_MAX: Final = 200
"""A bug that is not caught in so many seeds is not caught."""


class Patch:
    """Sets attributes of classes and modules, and remembers what they were."""

    def __init__(self) -> None:
        self._before: list[tuple[Any, str, Any]] = []

    def set(self, owner: Any, name: str, value: Any) -> Any:
        """Replace an attribute that must exist; returns what it was, as it can be called."""
        was = getattr(owner, name)
        self._before.append((owner, name, vars(owner).get(name, was)))
        setattr(owner, name, value)
        return was

    def undo(self) -> None:
        """Put everything back, the last first."""
        while self._before:
            owner, name, was = self._before.pop()
            setattr(owner, name, was)


Plant = Callable[[Patch], None]


@dataclass(frozen=True, slots=True)
class Bug:
    """One planted bug.

    Attributes:
        text: What the gateway does wrong.
        caught_by: At least one of these invariants must be violated within SEEDS_MAX seeds.
        needs: What must happen in a run for it to show, in words.
    """

    name: str
    text: str
    caught_by: frozenset[str]
    needs: str
    plant: Plant


BUGS: Final[dict[str, Bug]] = {}


def bug(*caught_by: str, needs: str = "traffic") -> Callable[[Plant], Plant]:
    """Registers a patch under its function's name; the docstring says what the gateway then does."""

    def register(plant: Plant) -> Plant:
        assert plant.__name__ not in BUGS, plant.__name__
        assert plant.__doc__, "a bug says what it is"
        BUGS[plant.__name__] = Bug(plant.__name__, plant.__doc__, frozenset(caught_by), needs, plant)
        return plant

    return register


@contextmanager
def planted(chosen: Bug) -> Iterator[None]:
    """The gateway with one bug, as long as this lasts."""
    patch = Patch()
    try:
        chosen.plant(patch)
        yield
    finally:
        patch.undo()
