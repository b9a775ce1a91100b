"""What the journal says of each order, worked out here anew: where it stands, and what it knows of each venue order.

A second opinion on purpose: the gateway has its own transition function, and the checker must not share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from tests.chaos.checker.journal import Row

TERMINAL_STATUSES: Final = frozenset({"filled", "canceled", "expired", "rejected"})
TERMINAL_STATES: Final = frozenset({*TERMINAL_STATUSES, "denied", "not_sent", "absent"})
REPLACED: Final = "replaced"
_NEVER_THERE: Final = frozenset({"denied", "not_sent", "absent", "rejected"})
_UNSETTLED: Final = {"recorded": "recorded", "submitted": "submitting", "outcome_unknown": "outcome_unknown"}


@dataclass(slots=True)
class Known:
    """One venue order as far as the journal tells."""

    status: str
    filled: Decimal
    average: Decimal | None


@dataclass(slots=True)
class Standing:
    """Where an order stands after its last row.

    Attributes:
        unsettled: recorded, submitting or outcome_unknown while the venue is not known to have it; else empty.
        ended: denied, not_sent, absent or rejected, when that is how it ended without the venue.
        is_replacing: A replace was asked for and is not settled.
        is_canceling: A cancel is owed.
    """

    unsettled: str = ""
    ended: str = ""
    is_replacing: bool = False
    is_canceling: bool = False
    venue: dict[str, Known] = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        """Whether it may still change."""
        if not self.venue:
            return not self.ended
        present = [known for known in self.venue.values() if known.status != "rejected"] or list(self.venue.values())
        return present[-1].status not in TERMINAL_STATUSES


def standing_of(rows: Sequence[Row]) -> Standing:
    """Fold the rows of one order, in the order of the journal."""
    found = Standing()
    for row in rows:
        advance(found, row)
    return found


def advance(found: Standing, row: Row) -> None:
    """One row more."""
    if row.report is not None:
        _merge(found, row)
        found.unsettled = found.ended = ""
    elif row.kind in _NEVER_THERE:
        found.ended, found.unsettled = row.kind, ""
    elif row.kind in _UNSETTLED and not found.venue:
        found.unsettled = _UNSETTLED[row.kind]
    if row.kind == "replace_requested" and row.key:
        found.is_replacing = True
    elif row.kind in ("replaced", "replace_rejected") or not found.is_open:
        found.is_replacing = False
    if row.kind == "cancel_requested":
        found.is_canceling = True
    if row.kind == "cancel_rejected" or not found.is_open:
        found.is_canceling = False


def _merge(found: Standing, row: Row) -> None:
    report = row.report
    assert report is not None
    known = found.venue.get(report.venue_order_id)
    if row.kind == "replaced" and report.replaces in found.venue:
        found.venue[report.replaces].status = REPLACED
    if known is None:
        found.venue[report.venue_order_id] = Known(report.status, report.filled, report.average)
        return
    if report.filled > known.filled:
        known.filled, known.average = report.filled, report.average
    is_over = known.status in TERMINAL_STATUSES or known.status == REPLACED
    if not is_over:
        known.status = report.status
