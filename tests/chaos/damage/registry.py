"""The list of bugs on paper, and the world with one of them in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from tests.chaos import fates
from tests.chaos.world import Lines, World

Before = Callable[[World], None]
After = Callable[[Lines, Random], None]


@dataclass(frozen=True, slots=True)
class RecordBug:
    """One bug, as it shows in the records."""

    name: str
    text: str
    caught_by: frozenset[str]
    before: Before | None = None
    after: After | None = None


BEFORE: Final[list[RecordBug]] = []
AFTER: Final[list[RecordBug]] = []


def before(*caught_by: str) -> Callable[[Before], Before]:
    """A bug of the programs: planted while the world is being written."""

    def register(plant: Before) -> Before:
        BEFORE.append(RecordBug(plant.__name__, plant.__doc__ or "", frozenset(caught_by), before=plant))
        return plant

    return register


def after(*caught_by: str) -> Callable[[After], After]:
    """A bug of one record: planted into its lines."""

    def register(plant: After) -> After:
        AFTER.append(RecordBug(plant.__name__, plant.__doc__ or "", frozenset(caught_by), after=plant))
        return plant

    return register


def bugs() -> tuple[RecordBug, ...]:
    """All of them."""
    return (*BEFORE, *AFTER)


def spoiled(bug: RecordBug, seed: int) -> Lines:
    """The records of a world with one bug in it."""
    world = fates.make(seed)
    if bug.before is not None:
        bug.before(world)
    lines = world.finish()
    if bug.after is not None:
        bug.after(lines, world.random)
    return lines
