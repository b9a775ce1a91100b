"""What a run leaves on the machine: I30, the gateway's own use of it, and I32, secrets in what was written."""

from __future__ import annotations

from typing import Final

from tests.chaos.checker.findings import Finding, Invariant
from tests.chaos.checker.plain import number
from tests.chaos.checker.records import Records

SHARE_MAX: Final = 0.05
"""So much more than at the baseline a process may use."""
SLACK: Final = {"rss_kib": 8_192, "fds": 4, "threads": 2, "tasks": 4}
"""And so much on top: the same crowd does not come in the same order twice."""


def back_to_baseline(records: Records) -> Finding:
    """I30: the same load once more, by the same process, leaves it using no more than it did before."""
    found = Finding()
    baseline: dict[str, int] = {}
    for act in records.clients.named("resources"):
        used = {name: int(number(act.facts[name])) for name in SLACK if name in act.facts}
        if act.facts.get("is_baseline"):
            baseline = used
            continue
        for name, value in used.items():
            most = int(baseline.get(name, 0) * (1 + SHARE_MAX)) + SLACK[name]
            found.expect(value <= most, name, f"is {value}, at the baseline it was {baseline.get(name)}")
    return found


def no_secret_was_written(records: Records) -> Finding:
    """I32: planted keys are in no log, journal, record or history."""
    found = Finding()
    for act in records.clients.named("secrets"):
        found.look(int(number(act.facts.get("files"))))
        found.expect(bool(act.facts.get("files")), "secrets", "no file was searched")
        for place in act.facts.get("found") or ():
            found.violate(str(place), "has a secret in it")
    return found


INVARIANTS: Final = (
    Invariant("I30", "memory, descriptors, threads and tasks return to where they were", back_to_baseline),
    Invariant("I32", "no secret is in anything that was written", no_secret_was_written),
)
