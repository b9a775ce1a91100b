"""What many runs amount to: orders, kills, faults by kind, facts looked at and violations by invariant."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from tests.chaos.checker.report import INVARIANTS, Report

DUPLICATES: Final = ("I1",)
GHOSTS: Final = ("I2", "I3", "I6", "I8")
ORPHANS: Final = ("I4",)
EVENTS: Final = ("I15", "I16", "I19", "I21")
"""The invariants behind the four figures of the last line."""
EXAMPLES_MAX: Final = 5
"""Violations of one run that are printed."""


@dataclass(slots=True)
class Summary:
    """One run, or several together.

    Attributes:
        orders: Keys that were submitted, replaced or closed under.
        fired: Faults by kind.
        facts, violations: By invariant.
        failures: In words, each with what reproduces it.
        void: Why a run proves nothing.
    """

    runs: int = 0
    orders: int = 0
    calls: int = 0
    messages: int = 0
    kills: int = 0
    fired: Counter[str] = field(default_factory=Counter)
    facts: Counter[str] = field(default_factory=Counter)
    violations: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    void: list[str] = field(default_factory=list)

    def add(self, other: Summary) -> None:
        """Take another one in."""
        self.runs += other.runs
        self.orders += other.orders
        self.calls += other.calls
        self.messages += other.messages
        self.kills += other.kills
        self.fired.update(other.fired)
        self.facts.update(other.facts)
        self.violations.update(other.violations)
        self.failures += other.failures
        self.void += other.void

    def take_report(self, report: Report, reproduce: str) -> None:
        """What the checker found in a run."""
        self.runs += 1
        self.calls += report.figures["calls"]
        self.messages += report.figures["stream messages"]
        self.kills += report.figures["kills"]
        for name, finding in report.findings.items():
            self.facts[name] += finding.facts
            self.violations[name] += finding.count
        told = [
            f"{name}: {violation.subject}: {violation.text}"
            for name, finding in report.findings.items()
            for violation in finding.violations
        ]
        self.failures += [f"{text}\n    {reproduce}" for text in told[:EXAMPLES_MAX]]

    def count(self, names: tuple[str, ...]) -> int:
        """Violations of several invariants."""
        return sum(self.violations[name] for name in names)

    @property
    def verdict(self) -> str:
        """The last line."""
        return (
            f"{self.count(DUPLICATES)} duplicates, {self.count(GHOSTS)} ghosts, {self.count(ORPHANS)} orphans, "
            f"{self.count(EVENTS)} lost or repeated order events"
        )

    def text(self, title: str) -> str:
        """As people read it."""
        lines = [
            f"{title}: {self.orders:,} orders in {self.runs:,} runs, {self.calls:,} calls, "
            f"{self.messages:,} stream messages, {self.kills:,} kills",
            "  faults fired: "
            + (", ".join(f"{name} {count:,}" for name, count in sorted(self.fired.items())) or "none"),
            "  invariants (facts checked, violations):",
        ]
        for invariant in INVARIANTS:
            facts, count = self.facts[invariant.name], self.violations[invariant.name]
            lines.append(f"    {invariant.name:<4} {facts:>12,} {count:>4}  {invariant.text}")
        lines += [f"  FAILED: {failure}" for failure in self.failures]
        lines += [f"  VOID: {reason}" for reason in self.void]
        return "\n".join([*lines, f"  {self.verdict}"])
