"""What an invariant finds: how many facts it looked at, and which of them break it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from tests.chaos.checker.records import Records

KEPT_MAX: Final = 20
"""Violations of one invariant that are kept in words; all are counted."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One fact that breaks an invariant.

    Attributes:
        subject: The key, order, execution or stream.
    """

    subject: str
    text: str


@dataclass(slots=True)
class Finding:
    """What one invariant found."""

    facts: int = 0
    count: int = 0
    violations: list[Violation] = field(default_factory=list)

    def look(self, facts: int = 1) -> None:
        """Facts were looked at."""
        self.facts += facts

    def violate(self, subject: object, text: str) -> None:
        """One of them breaks the invariant."""
        self.count += 1
        if len(self.violations) < KEPT_MAX:
            self.violations.append(Violation(str(subject), text))

    def expect(self, is_so: bool, subject: object, text: str) -> None:
        """One fact, and what it means when it is not so."""
        self.facts += 1
        if not is_so:
            self.violate(subject, text)


@dataclass(frozen=True, slots=True)
class Invariant:
    """What must hold, in words and as a function of the records."""

    name: str
    text: str
    check: Callable[[Records], Finding]
