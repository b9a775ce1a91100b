"""A and B interleaved, the median of the paired ratios, and whether the run counts."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

GENERATOR_CORES_MAX = 0.7
"""A generator that used more was itself the limit: the run is void."""

Measure = Callable[[], dict[str, Any]]


@dataclass
class Ratio:
    """One budget, measured.

    Attributes:
        name, goal: As the budgets have them; `at_most` turns the goal round.
        key: Which figure of both sides is divided.
        beside: Runs that are no part of the ratio and must be as clean.
        bounds: What else the budget asks for: a name, the figure, and the most that it may be.
        floors: The same with the least that it may be.
        notes: Lines about the runs, for the reader.
    """

    name: str
    numerator: str
    denominator: str
    goal: float
    key: str
    at_most: bool = False
    pairs: list[tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=list)
    beside: list[dict[str, Any]] = field(default_factory=list)
    bounds: list[tuple[str, float, float]] = field(default_factory=list)
    floors: list[tuple[str, float, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def run(self, ours: Measure, bare: Measure, times: int) -> Ratio:
        """Measure both in turn, the order swapped each time."""
        for turn in range(times):
            if turn % 2:
                denominator = bare()
                self.pairs.append((ours(), denominator))
            else:
                numerator = ours()
                self.pairs.append((numerator, bare()))
        return self

    @property
    def ratios(self) -> list[float]:
        return sorted(a[self.key] / b[self.key] for a, b in self.pairs)

    @property
    def void(self) -> str:
        """Why the run does not count; empty when it does."""
        for side in (*(side for pair in self.pairs for side in pair), *self.beside):
            if side.get("failed") or side.get("replayed") or side.get("gaps") or side.get("astray"):
                return f"not every answer was OK: {side}"
            if side.get("delivered", 1.0) != 1.0:
                return f"{side['delivered']:.4f} of what was published arrived"
            if side.get("generator_cores", 0.0) > GENERATOR_CORES_MAX:
                return f"the generator used {side['generator_cores']:.2f} cores"
        return ""

    def report(self) -> str:
        """Two lines: the ratio against its goal, and the absolute figures behind it."""
        median = statistics.median(self.ratios)
        met = median <= self.goal if self.at_most else median >= self.goal
        met = met and all(figure <= most for _, figure, most in self.bounds)
        met = met and all(figure >= least for _, figure, least in self.floors)
        verdict = f"VOID ({self.void})" if self.void else "met" if met else "MISSED"
        ours = statistics.median(a[self.key] for a, _ in self.pairs)
        bare = statistics.median(b[self.key] for _, b in self.pairs)
        extras = self._extras()
        return (
            f"{self.name}  {median:.2f}  (goal {'at most' if self.at_most else 'at least'} {self.goal:g}: {verdict}; "
            f"{len(self.pairs)} pairs, {self.ratios[0]:.2f} to {self.ratios[-1]:.2f})\n"
            f"    {self.numerator}: {ours:,.6g}   {self.denominator}: {bare:,.6g}{extras}"
            + "".join(f"\n    {note}" for note in self.notes)
        )

    def _extras(self) -> str:
        shown = [f"{name} {figure:.3g} (at most {most:g})" for name, figure, most in self.bounds]
        shown += [f"{name} {figure:.4g} (at least {least:g})" for name, figure, least in self.floors]
        for key in ("p50_us", "p99_us", "generator_cores", "lag_p99_ms"):
            values = [a[key] for a, _ in self.pairs if key in a]
            if values:
                shown.append(f"{key} {statistics.median(values):.3g}")
        return f"   ({', '.join(shown)})" if shown else ""
