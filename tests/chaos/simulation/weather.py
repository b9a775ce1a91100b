"""What goes wrong in one run: drawn once per seed (some faults often, some never), counted when it has happened."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from random import Random
from typing import Final


class Fault(StrEnum):
    """Everything that can go wrong on the roads of the simulation; the process' own end is beside it."""

    # A change on its way to the venue.
    HELD_BACK = "held_back"
    REFUSED = "refused"
    LOST_BEFORE = "lost_before"
    LOST_AFTER = "lost_after"
    LATE = "late"
    AFTER_SETTLE = "after_settle"
    SERVER_ERROR = "server_error"
    SERVER_ERROR_AFTER = "server_error_after"
    UNREADABLE_ANSWER = "unreadable_answer"
    RATE_LIMITED = "rate_limited"
    REJECTED = "rejected"
    SLOW = "slow"
    # A question.
    READ_FAILED = "read_failed"
    READ_LIMITED = "read_limited"
    READ_OUTAGE = "read_outage"
    BLIND_LOOKUP = "blind_lookup"
    # The order feed.
    EVENT_DROPPED = "event_dropped"
    EVENT_DOUBLED = "event_doubled"
    EVENT_LATE = "event_late"
    EVENT_SWAPPED = "event_swapped"
    EVENT_UNREADABLE = "event_unreadable"
    FEED_MUTE = "feed_mute"
    FEED_CUT = "feed_cut"
    # A strategy.
    STRATEGY_KILLED = "strategy_killed"
    # The disk.
    DISK_FAILED = "disk_failed"


CHANGE_FAULTS: Final = (
    Fault.HELD_BACK,
    Fault.REFUSED,
    Fault.LOST_BEFORE,
    Fault.LOST_AFTER,
    Fault.LATE,
    Fault.AFTER_SETTLE,
    Fault.SERVER_ERROR,
    Fault.SERVER_ERROR_AFTER,
    Fault.UNREADABLE_ANSWER,
    Fault.RATE_LIMITED,
    Fault.REJECTED,
    Fault.SLOW,
)
EVENT_FAULTS: Final = (
    Fault.EVENT_DROPPED,
    Fault.EVENT_DOUBLED,
    Fault.EVENT_LATE,
    Fault.EVENT_SWAPPED,
    Fault.EVENT_UNREADABLE,
)
READ_FAULTS: Final = (Fault.READ_FAILED, Fault.READ_LIMITED)

_RATES: Final = (0.0, 0.005, 0.02, 0.06)
"""How often a fault strikes in one run, by lot: most runs have few kinds, each of them often enough to meet others."""


class Weather:
    """Decides by its seed.

    Attributes:
        is_fair: Nothing goes wrong any more.
        fired: How often each fault has struck.
        ordered: By verb (POST, PATCH, DELETE), what the next changes meet, whatever the weather.
    """

    def __init__(self, random: Random) -> None:
        self.random = random
        self.is_fair = False
        self.fired: Counter[Fault] = Counter()
        self.ordered: dict[str, list[Fault | None]] = {}
        rates = {fault: random.choice(_RATES) for fault in Fault}
        self._changes = _table(CHANGE_FAULTS, rates)
        self._events = _table(EVENT_FAULTS, rates)
        self._reads = _table(READ_FAULTS, rates)
        self.blind_rate = rates[Fault.BLIND_LOOKUP]
        self.outage_rate = rates[Fault.READ_OUTAGE]
        self.mute_rate = rates[Fault.FEED_MUTE]
        self.cut_rate = rates[Fault.FEED_CUT]
        self.disk_rate = rates[Fault.DISK_FAILED]

    def of_change(self, verb: str) -> Fault | None:
        """What the next change meets: what was ordered for the next of its kind, else what is drawn."""
        ordered = self.ordered.get(verb)
        return ordered.pop(0) if ordered else self._draw(self._changes)

    def of_event(self) -> Fault | None:
        """What the next message of the order feed meets."""
        return self._draw(self._events)

    def of_read(self) -> Fault | None:
        """What the next question meets."""
        return self._draw(self._reads)

    def strikes(self, rate: float) -> bool:
        """Whether something of this rate happens now."""
        return not self.is_fair and rate > 0 and self.random.random() < rate

    def _draw(self, table: tuple[tuple[float, Fault], ...]) -> Fault | None:
        if self.is_fair or not table:
            return None
        drawn = self.random.random()
        for bound, fault in table:
            if drawn < bound:
                return fault
        return None


def _table(faults: tuple[Fault, ...], rates: dict[Fault, float]) -> tuple[tuple[float, Fault], ...]:
    bound, found = 0.0, []
    for fault in faults:
        if rates[fault]:
            bound += rates[fault]
            found.append((bound, fault))
    return tuple(found)
