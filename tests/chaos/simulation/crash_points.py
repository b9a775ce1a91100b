"""The crash points: where the process ends, by name, each in a small run of its own.

C0 to C20 are the points between a call's arrival and the last client that hears of it. Each is a seam of the
simulation: the process ends exactly there, a new one starts on what is on the disk and at the venue, the strategies go
on with their keys, and the three records are checked. C13, a second request for an order whose first was ambiguous,
does not exist: the gateway never sends one. Its nearest relative is here: a second request after a 429.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

from gateway.domain.models.risk import TradingMode
from tests.chaos.simulation.journal import TORN
from tests.chaos.simulation.weather import Fault
from tests.chaos.simulation.world import Outcome, Plan, simulate

ORDERS: Final = 60
"""Intents of the run around one crash."""
PASSES_MAX: Final = 6
"""The point is passed at most so often before the process ends at it."""
TRIES_MAX: Final = 8
"""Seeds that are tried until a run comes to its point: not each has a replace, or a part of a fill."""
SEED_STEP: Final = 1_000_003

_KILL: Final = (TradingMode.KILLED,)


@dataclass(frozen=True, slots=True)
class CrashPoint:
    """One row of the table.

    Attributes:
        points: The names at which the process ends, one after the other: later lives end as well.
        faults: By verb, what its first changes meet, so that the point is reached.
    """

    name: str
    text: str
    points: tuple[str, ...]
    faults: tuple[tuple[str, tuple[Fault | None, ...]], ...] = ()
    stops: tuple[TradingMode, ...] = ()


def _every(fault: Fault) -> tuple[Fault | None, ...]:
    return (fault,) * (ORDERS // 2)


CRASH_POINTS: Final = (
    CrashPoint("C0", "before the handler", ("call:SubmitOrder",)),
    CrashPoint("C1", "after the checks, before the commit", ("append:submitted",)),
    CrashPoint("C2", "inside the commit", ("commit:submitted",)),
    CrashPoint("C2b", "committed, and the process does not know", ("committed:submitted",)),
    CrashPoint("C3", "RECORDED alone", (TORN,)),
    CrashPoint("C4", "SUBMITTED, before the first byte", ("send:POST",)),
    CrashPoint("C5", "a request that never arrives whole", ("sent:POST",), (("POST", _every(Fault.LOST_BEFORE)),)),
    CrashPoint("C6", "the whole request out", ("sent:POST",)),
    CrashPoint("C6 late", "out, and 40 s under way", ("sent:POST",), (("POST", _every(Fault.LATE)),)),
    CrashPoint("C7", "accepted, the answer under way", ("accepted:POST",)),
    CrashPoint("C8", "the answer read, not committed", ("answered:POST",)),
    CrashPoint("C9", "the answer committed, the reply not sent", ("reply:SubmitOrder",)),
    CrashPoint("C10", "the reply sent", ("replied:SubmitOrder",)),
    CrashPoint("C11", "a refusal read, not committed", ("refused:POST",), (("POST", _every(Fault.REJECTED)),)),
    CrashPoint("C12", "between two attempts", ("limited:POST",), (("POST", _every(Fault.RATE_LIMITED)),)),
    CrashPoint("C13", "a second attempt out", ("resent:POST",), (("POST", (*_every(Fault.RATE_LIMITED),)),)),
    CrashPoint("C14", "news received, not applied", ("update",)),
    CrashPoint("C15", "a fill committed, not told", ("committed:fill",)),
    CrashPoint("C15b", "a part of it committed, not told", ("committed:partial_fill",)),
    CrashPoint("C16", "told to some", ("message",)),
    CrashPoint("C17", "a cancel committed", ("committed:cancel_requested",)),
    CrashPoint("C17b", "a cancel out", ("sent:DELETE",)),
    CrashPoint("C17c", "a cancel done, its answer under way", ("accepted:DELETE",)),
    CrashPoint("C18", "a replace committed", ("committed:replace_requested",)),
    CrashPoint("C18b", "a replace out", ("sent:PATCH",)),
    CrashPoint("C18c", "a replace taken, its answer under way", ("accepted:PATCH",)),
    CrashPoint("C19", "while it reconciles, again and again", ("sent:POST", "ask", "told", "ask")),
    CrashPoint("C19b", "while it takes up what was open", ("sent:POST", "append:outcome_unknown", "started")),
    CrashPoint("C20", "KILLED committed, nothing canceled yet", ("stated:KILLED",), stops=_KILL),
    CrashPoint("C20b", "KILLED, the cancels half done", ("stated:KILLED", "sent:DELETE"), stops=_KILL),
)


def crash(point: CrashPoint, seed: int) -> Outcome:
    """A run that ends at a point; where it is passed how often before is drawn.

    Raises:
        AssertionError: No run came to it.
    """
    for attempt in range(TRIES_MAX):
        tried = seed + attempt * SEED_STEP
        outcome = simulate(_plan(point, tried, 0 if attempt else PASSES_MAX))
        if not outcome.is_fine or not missed(point, outcome):
            return outcome
    raise AssertionError(f"{point.name}: no run from seed {seed} came to {point.points}")


def _plan(point: CrashPoint, seed: int, passes_max: int) -> Plan:
    passes = Random(seed).randint(0, 0 if point.stops else passes_max)
    first, *others = point.points
    crash_at = ((first, passes), *((name, 0) for name in others))
    is_fair = seed % 2 == 0
    return Plan(seed, ORDERS, crash_at, 0, point.stops, point.faults, is_fair)


def missed(point: CrashPoint, outcome: Outcome) -> list[str]:
    """The points at which no process ended."""
    return [name for name in point.points if name not in outcome.crashed_at]
