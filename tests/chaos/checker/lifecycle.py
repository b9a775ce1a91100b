"""I20: how orders change. Fills rise and add up, what has ended stays ended, and at the end journal and venue agree."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import Final

from tests.chaos.checker.findings import Finding, Invariant
from tests.chaos.checker.fold import REPLACED, TERMINAL_STATES, TERMINAL_STATUSES, Standing
from tests.chaos.checker.histories import OrderSeen
from tests.chaos.checker.plain import ZERO
from tests.chaos.checker.records import Records

_ENDED_AT_VENUE: Final = TERMINAL_STATUSES | {REPLACED}


def orders_only_move_forward(records: Records) -> Finding:
    """The journal's rows, then what the clients were told, then the end."""
    found = Finding()
    _check_rows(records, found)
    _check_told(records, found)
    if records.clients.quiescent is not None:
        _check_end(records, found)
    return found


def _check_rows(records: Records, found: Finding) -> None:
    filled: dict[str, Decimal] = {}
    ended: dict[str, str] = {}
    sums: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for row in records.journal.rows:
        report = row.report
        if row.fill is not None:
            sums[row.fill.venue_order_id] += row.fill.quantity
            if row.fill.cumulative != sums[row.fill.venue_order_id]:
                total = sums[row.fill.venue_order_id]
                found.violate(row.fill.venue_order_id, f"fills add up to {total}, not {row.fill.cumulative}")
        if report is None:
            continue
        found.look()
        subject = f"row {row.sequence} of {report.venue_order_id}"
        if report.filled < filled.get(report.venue_order_id, ZERO):
            found.violate(subject, f"filled {report.filled} after {filled[report.venue_order_id]}")
        filled[report.venue_order_id] = max(report.filled, filled.get(report.venue_order_id, ZERO))
        end = ended.get(report.venue_order_id)
        if end is not None and report.status != end and row.fill is None:
            found.violate(subject, f"{report.status} after {end}")
        if report.status in _ENDED_AT_VENUE:
            ended.setdefault(report.venue_order_id, report.status)
    for venue_order_id, total in filled.items():
        if venue_order_id in sums and sums[venue_order_id] != total:
            found.violate(venue_order_id, f"fills add up to {sums[venue_order_id]}, the report says {total}")


def _check_told(records: Records, found: Finding) -> None:
    """Per reader and order: versions count up by one, fills rise, the end is the end, the parts make the whole."""
    read: dict[str, dict[str, OrderSeen]] = {}
    for stream in sorted(records.clients.streams.values(), key=lambda stream: stream.start_ns):
        last = read.pop(stream.resume_token, {})  # a stream that goes on where another one ended
        if stream.messages and (token := stream.messages[-1].resume_token):
            read[token] = last
        for message in stream.messages:
            order = message.order
            if order is None:
                continue
            found.look()
            if order.filled != order.venue_filled:
                found.violate(order.order_id, f"filled {order.filled}, its venue orders {order.venue_filled}")
            before = last.get(order.order_id)
            if before is not None:
                kind = message.identity[0] if message.identity is not None else ""
                _check_step(before, order, kind, found)
            last[order.order_id] = order


def _check_step(before: OrderSeen, after: OrderSeen, kind: str, found: Finding) -> None:
    if after.version != before.version + 1:
        found.violate(after.order_id, f"version {after.version} follows {before.version}")
    if after.filled < before.filled:
        found.violate(after.order_id, f"filled {after.filled} after {before.filled}")
    is_over = before.state in TERMINAL_STATES and after.state not in TERMINAL_STATES
    if is_over and kind != "resurrected":
        found.violate(after.order_id, f"{after.state} after {before.state}")


def _check_end(records: Records, found: Finding) -> None:
    """A ghost is an order that one of the two takes for open, or for filled, and the other does not."""
    for order_id, standing in records.standings.items():
        for venue_order_id, known in standing.venue.items():
            order = records.venue.orders.get(venue_order_id)
            if order is None:
                found.violate(order_id, f"stands on {venue_order_id}, which the venue does not have")
                continue
            found.look()
            is_open = known.status not in _ENDED_AT_VENUE
            if order.status and is_open != order.is_open:
                found.violate(order_id, f"{known.status} in the journal, {order.status} at the venue: {venue_order_id}")
            if known.filled != order.filled:
                found.violate(order_id, f"filled {known.filled} in the journal, {order.filled} at the venue")
        _check_parts(records, order_id, standing, found)


def _check_parts(records: Records, order_id: str, standing: Standing, found: Finding) -> None:
    told = records.journal.by_order[order_id]
    fills = sum((row.fill.quantity for row in told if row.fill is not None), ZERO)
    total = sum((known.filled for known in standing.venue.values()), ZERO)
    found.expect(fills == total, order_id, f"fills add up to {fills}, its venue orders to {total}")


INVARIANTS: Final = (
    Invariant(
        "I20",
        "orders move forward only, fills add up, and in the end journal and venue agree",
        orders_only_move_forward,
    ),
)
