"""What a process holds, once a round, and whether that stays.

Samples are taken while everybody but the canary rests, so that they are of one state. The warm-up is left out. What is
judged is the line through the rest (Theil and Sen's: the median of the slopes of all pairs, which one peak does not
bend), from the first sample to the last, and whether it rises by more than the bound of its kind.
"""

from __future__ import annotations

import itertools
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

MIB: Final = 1024 * 1024
SAMPLES_MIN: Final = 4
RISE_MAX: Final = {"memory_mib": 6.0, "memory_mib_per_hour": 10.0, "descriptors": 6.0, "threads": 4.0, "tasks": 2.0}
"""How far each line may rise over what is measured. Of memory: so much however short, and so much for each hour more;
an allocator keeps what a burst took. Threads are those of a pool, which grows to its bound when it was busy, and
each keeps its connection to the venue: so far descriptors may follow."""


@dataclass(frozen=True)
class Sample:
    """One process at rest.

    Attributes:
        at_s: Since the soak began.
    """

    at_s: float
    memory_mib: float
    descriptors: int
    threads: int
    tasks: int


KINDS: Final = tuple(field.name for field in fields(Sample) if field.name != "at_s")


def look(pid: int, at_s: float, tasks: int) -> Sample:
    """A process of this machine, now."""
    process = Path(f"/proc/{pid}")
    resident = int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    descriptors = len(os.listdir(process / "fd"))
    return Sample(at_s, resident / MIB, descriptors, int(status["Threads"]), tasks)


def rise(samples: Sequence[Sample], kind: str) -> float:
    """How much more of it there is at the end than at the beginning, by the line through all of them."""
    slopes = [
        (getattr(later, kind) - getattr(sooner, kind)) / (later.at_s - sooner.at_s)
        for sooner, later in itertools.combinations(samples, 2)
    ]
    return float(statistics.median(slopes)) * (samples[-1].at_s - samples[0].at_s)


def rise_max(samples: Sequence[Sample], kind: str) -> float:
    """What is still flat over so long."""
    hours = (samples[-1].at_s - samples[0].at_s) / 3_600
    return RISE_MAX[kind] + hours * RISE_MAX.get(f"{kind}_per_hour", 0.0)


def verdict(samples: Sequence[Sample], warm_up_s: float) -> tuple[list[str], list[str]]:
    """A line for each kind, and those that say that it is not flat."""
    measured = [sample for sample in samples if sample.at_s >= warm_up_s]
    if len(measured) < SAMPLES_MIN:
        return [], [f"{len(measured)} samples after the warm-up: too few to say anything"]
    lines, reasons = [], []
    for kind in KINDS:
        first, last = getattr(measured[0], kind), getattr(measured[-1], kind)
        risen, allowed = rise(measured, kind), rise_max(measured, kind)
        line = f"{kind:<12} {first:8.1f} -> {last:8.1f}   rises {risen:+6.2f}, at most {allowed:.2f}"
        lines.append(line)
        if risen > allowed:
            reasons.append(f"not flat: {line}")
    return lines, reasons
