"""The list of planted bugs: every patch fits today's engine and leaves no trace."""

from __future__ import annotations

import pytest

from tests.chaos.checker.report import INVARIANTS
from tests.chaos.planted import BUGS, planted
from tests.chaos.planted.registry import Bug, Patch

BUGS_MIN = 25
NAMES = {invariant.name for invariant in INVARIANTS}


def test_there_are_enough() -> None:
    assert len(BUGS) >= BUGS_MIN
    assert len({bug.plant.__doc__ for bug in BUGS.values()}) == len(BUGS)


class Watched(Patch):
    """A patch that knows what it changed."""

    def changed(self) -> list[tuple[object, str, object]]:
        return list(self._before)


@pytest.mark.parametrize("bug", BUGS.values(), ids=BUGS.keys())
def test_a_bug_changes_the_gateway_and_is_undone(bug: Bug) -> None:
    assert bug.caught_by
    assert bug.caught_by <= NAMES
    patch = Watched()
    bug.plant(patch)
    changed = patch.changed()
    assert changed
    assert all(vars(owner)[name] is not was for owner, name, was in changed)
    patch.undo()
    assert all(vars(owner)[name] is was for owner, name, was in changed)


def run_and_fail(bug: Bug, seen: list[object], owner: object, name: str) -> None:
    with planted(bug):
        seen.append(vars(owner)[name])
        raise RuntimeError("the run failed")


def test_a_bug_is_undone_when_its_run_fails() -> None:
    bug = next(iter(BUGS.values()))
    patch = Watched()
    bug.plant(patch)
    owner, name, was = patch.changed()[0]
    patch.undo()
    seen: list[object] = []
    with pytest.raises(RuntimeError, match="the run failed"):
        run_and_fail(bug, seen, owner, name)
    assert seen[0] is not was
    assert vars(owner)[name] is was


def test_a_name_that_is_gone_fails_loudly() -> None:
    with pytest.raises(AttributeError):
        Patch().set(Patch, "no_such_name", None)
