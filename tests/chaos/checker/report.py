"""The report: every invariant, how many facts it looked at, what breaks it, and whether the run counts."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from tests.chaos.checker import control, lifecycle, machine, money, once, streams, void
from tests.chaos.checker.findings import Finding, Invariant
from tests.chaos.checker.records import Records

INVARIANTS: Final[tuple[Invariant, ...]] = tuple(
    sorted(
        (
            *once.INVARIANTS,
            *control.INVARIANTS,
            *streams.INVARIANTS,
            *lifecycle.INVARIANTS,
            *money.INVARIANTS,
            *machine.INVARIANTS,
        ),
        key=lambda invariant: int(invariant.name.removeprefix("I")),
    )
)

LATER: Final = {
    "I11": "nobody acts beyond their permission: with identity",
    "I12": "exposure stays within the limits at every instant: with limits",
    "I25": "every quote is the newest, and flagged when it is stale: with histories of market data",
    "I26": "an upstream outage is told on every stream of market data: likewise",
}
"""Invariants that are not checked yet, and with which capability they come."""


class Verdict(enum.IntEnum):
    """The exit code."""

    FINE = 0
    VIOLATED = 1
    UNREADABLE = 2
    VOID = 3


@dataclass(frozen=True, slots=True)
class Report:
    """What was found.

    Attributes:
        figures: What the run consisted of, by name.
        void: Why the run proves nothing; empty when it counts.
    """

    findings: dict[str, Finding]
    figures: dict[str, int]
    void: list[str]

    @property
    def violated(self) -> set[str]:
        """The invariants that do not hold."""
        return {name for name, finding in self.findings.items() if finding.count}

    @property
    def not_exercised(self) -> set[str]:
        """The invariants that had nothing to look at."""
        return {name for name, finding in self.findings.items() if not finding.facts and not finding.count}

    @property
    def verdict(self) -> Verdict:
        """A violation counts however little happened."""
        if self.violated:
            return Verdict.VIOLATED
        return Verdict.VOID if self.void else Verdict.FINE

    def text(self) -> str:
        """The report as people read it."""
        lines = [f"{name:<28} {count:>10,}" for name, count in self.figures.items()]
        lines += ["", f"{'invariant':<10} {'facts':>13} {'violations':>11}  what must hold"]
        for invariant in INVARIANTS:
            finding = self.findings[invariant.name]
            facts = f"{finding.facts:,}" if finding.facts else "not exercised"
            lines.append(f"{invariant.name:<10} {facts:>13} {finding.count:>11,}  {invariant.text}")
        lines += [f"{name:<10} {'not checked':>13} {'':>11}  {text}" for name, text in LATER.items()]
        for name, finding in self.findings.items():
            lines += [f"{name}: {one.subject}: {one.text}" for one in finding.violations]
            if finding.count > len(finding.violations):
                lines.append(f"{name}: and {finding.count - len(finding.violations)} more")
        lines += [f"VOID: {reason}" for reason in self.void]
        return "\n".join([*lines, f"verdict: {self.verdict.name}"])


def check(records: Records) -> Report:
    """Every invariant over the three records."""
    findings = {invariant.name: invariant.check(records) for invariant in INVARIANTS}
    return Report(findings, _figures(records), void.reasons(records))


def _figures(records: Records) -> dict[str, int]:
    clients, venue = records.clients, records.venue
    figures = {
        "orders in the journal": len(records.journal.by_order),
        "orders at the venue": len(venue.orders),
        "requests POST and PATCH": len(venue.requests),
        "executions": len(venue.executions),
        "journal rows": len(records.journal.rows),
        "calls": len(clients.calls),
        "streams": len(clients.streams),
        "stream messages": sum(len(stream.messages) for stream in clients.streams.values()),
        "kills": len(clients.named("kill_gateway")),
    }
    return figures | {f"fault {kind}": count for kind, count in sorted(venue.fired_kinds.items())}
