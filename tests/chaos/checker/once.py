"""Exactly once: I1 to I10 and I33. One key is at most one order, its answers agree, and nothing is guessed."""

from __future__ import annotations

from collections import Counter
from typing import Final

from tests.chaos.checker.findings import Finding, Invariant
from tests.chaos.checker.histories import KEYED, Call, Key
from tests.chaos.checker.journal import Row
from tests.chaos.checker.ledger import VenueOrder
from tests.chaos.checker.plain import differences
from tests.chaos.checker.records import CLOCK_TOLERANCE_MS, NANOS_PER_MS, Records

LAST_LOOK_MS_MAX: Final = 5_000
"""From the venue's side of the last look for an order to the row that calls it absent: what one answer may take."""

_NOT_YET_AT_VENUE: Final = frozenset(
    {"recorded", "submitting", "outcome_unknown", "denied", "not_sent", "absent", "rejected"}
)
_FATES: Final = frozenset({"free", "spent", "taken"})
_BEFORE_THE_OWNER: Final = frozenset(
    {
        "UNAVAILABLE",
        "DEADLINE_EXCEEDED",
        "CANCELLED",
        "UNKNOWN",
        "INTERNAL",
        "RESOURCE_EXHAUSTED",
        "UNAUTHENTICATED",
        "PERMISSION_DENIED",
        "UNIMPLEMENTED",
    }
)
"""Codes that a proxy, the transport or authentication may answer with, saying nothing about the key."""
_UNSURE: Final = "JOURNAL_UNAVAILABLE"
"""A journal that failed while it took the key's answer leaves the owner itself not knowing, until it is read anew."""
_NO_KEY: Final = frozenset({"INTERNAL", "UNAUTHENTICATED", "PERMISSION_DENIED"})


def one_order_per_key(records: Records) -> Finding:
    """I1, over what stands at the venue."""
    found = Finding()
    for client_id, ids in records.venue.by_client_id.items():
        if records.key_of(client_id) is not None:
            found.expect(len(ids) == 1, client_id, f"{len(ids)} orders at the venue: {', '.join(ids)}")
    return found


def ok_means_an_order(records: Records) -> Finding:
    """I2, for every OK whose order is said to be at the venue; a replace's OK promises none."""
    found = Finding()
    for key, calls in records.clients.by_key.items():
        for call in calls:
            order = call.order
            is_there = order is not None and (order.venue_ids or order.state not in _NOT_YET_AT_VENUE)
            if not call.is_ok or order is None or not is_there or call.rpc == "ReplaceOrder":
                continue
            found.look()
            standing = records.at_venue(key)
            if len(standing) != 1:
                found.violate(key, f"answered OK ({order.state}), and {len(standing)} orders are at the venue")
                continue
            sent = standing[0].spec
            if sent is None:
                continue
            if call.spec is not None and (text := differences(call.spec, sent)):
                found.violate(key, f"asked for / at the venue: {text}")
            elif text := differences(order.spec, sent, whole_order=len(order.venue_ids) == 1):
                found.violate(key, f"told / at the venue: {text}")
    return found


def spent_means_none(records: Records) -> Finding:
    """I3: whatever arrived late too, for the ledger is read after the end."""
    found = Finding()
    for key, calls in records.clients.by_key.items():
        if any(call.fate == "spent" for call in calls):
            standing = records.at_venue(key)
            found.expect(
                not standing, key, f"was spent, and is at the venue as {[one.venue_order_id for one in standing]}"
            )
    return found


def every_order_is_known(records: Records) -> Finding:
    """I4, in both directions of surprise: orders that nobody knows, and orders that two rows claim."""
    found = Finding()
    is_over = records.clients.quiescent is not None
    foreign = records.clients.foreign_ids
    for venue_order_id, order in records.venue.orders.items():
        found.look()
        claims = records.journal.at_venue.get(venue_order_id, set())
        key = records.key_of(order.client_id)
        first = [records.journal.by_order[order_id][0] for order_id in claims]
        is_leg = any(row.parent_order_id for row in first)
        is_foreign = order.client_id in foreign
        if key is not None and not is_foreign:
            _check_content(records, key, order, found)
        if len(claims) > 1:
            found.violate(venue_order_id, f"{len(claims)} orders of the journal claim it: {sorted(claims)}")
        if key is None and not is_leg and not is_foreign:
            found.violate(venue_order_id, f"nobody placed it: {order.client_id}")
        if key is not None and not is_foreign and key not in records.journal.keys:
            found.violate(venue_order_id, f"the journal does not know its key: {order.client_id}")
        elif not claims and is_over:
            found.violate(venue_order_id, f"the journal does not know it: {order.client_id}")
        if not is_foreign and not records.was_wiped:
            for row in first:
                if row.strategy_id and row.spec is None and not row.parent_order_id:
                    found.violate(venue_order_id, f"ours, and adopted as an orphan: {order.client_id}")
    return found


def _check_content(records: Records, key: Key, order: VenueOrder, found: Finding) -> None:
    """The order at the venue is the one that the journal recorded under its key."""
    row = records.journal.keys.get(key)
    if row is not None and row.spec is not None and order.spec is not None:
        text = differences(row.spec, order.spec)
        found.expect(not text, key, f"in the journal / at the venue: {text}")


def sent_after_it_was_journaled(records: Records) -> Finding:
    """I5: the n-th POST of a key needs n SUBMITTED rows before it, and says what they say; a PATCH needs its row."""
    found = Finding()
    tries: Counter[str] = Counter()
    foreign = records.clients.foreign_ids
    for request in records.venue.requests:
        key = records.key_of(request.client_id)
        if key is None or request.client_id in foreign or request.time_ns < records.journal_began_ns:
            continue
        tries[request.client_id] += 1
        needed = tries[request.client_id] if request.is_submit else 1
        rows = records.journal.sent.get(key, [])
        ready = sum(1 for row in rows if _was_before(row, request.time_ns, request.journal_head))
        found.expect(ready >= needed, request.client_id, f"request {needed} left with {ready} rows before it")
        row = records.journal.keys.get(key)
        if row is not None and row.spec is not None and request.spec is not None:
            text = differences(row.spec, request.spec)
            found.expect(not text, request.client_id, f"in the journal / sent: {text}")
    return found


def _was_before(row: Row, time_ns: int, journal_head: int | None) -> bool:
    if journal_head is not None:
        return row.sequence <= journal_head
    return row.record_time_ns <= time_ns + CLOCK_TOLERANCE_MS * NANOS_PER_MS


def answers_agree(records: Records) -> Finding:
    """I6: per key one order id, and never both OK and spent."""
    found = Finding()
    for key, calls in records.clients.by_key.items():
        answered = [call for call in calls if call.is_ok or call.fate == "spent"]
        if not answered:
            continue
        found.look()
        ids = {call.order.order_id for call in answered if call.is_ok and call.order is not None}
        if len(ids) > 1:
            found.violate(key, f"answered with several orders: {sorted(ids)}")
        if len({call.is_ok for call in answered}) > 1:
            found.violate(key, "was answered both OK and spent")
    return found


def nothing_stays_unknown(records: Records) -> Finding:
    """I7, after quiescence; a replace must be settled as well, and what was to be canceled must have ended."""
    found = Finding()
    if records.clients.quiescent is None:
        return found
    for order_id, standing in records.standings.items():
        found.look()
        if standing.unsettled:
            found.violate(order_id, f"is still {standing.unsettled}")
        elif standing.is_replacing:
            found.violate(order_id, "has a replace that is not settled")
        elif standing.is_canceling:
            found.violate(order_id, "was to be canceled, and is still open")
    return found


def absent_means_absent(records: Records) -> Finding:
    """I8: said after the settle window, of orders that are not there; and never taken back silently."""
    found = Finding()
    for rows in records.journal.by_order.values():
        for position, row in enumerate(rows):
            if row.kind == "absent" or (row.kind == "replace_rejected" and row.failure_reason == "ABSENT"):
                found.look()
                _check_absent(records, rows, position, found)
    return found


def _check_absent(records: Records, rows: list[Row], position: int, found: Finding) -> None:
    row = rows[position]
    key = (row.strategy_id, row.key or rows[0].key)
    sent = [one.record_time_ns for one in records.journal.sent.get(key, ()) if one.sequence < row.sequence]
    waited_ms = (row.record_time_ns - max(sent, default=0)) // NANOS_PER_MS
    if waited_ms < records.settings.settle_ms:
        found.violate(key, f"called absent {waited_ms} ms after it was sent")
    last_look_ns = row.record_time_ns - LAST_LOOK_MS_MAX * NANOS_PER_MS
    settled_ns = max(sent, default=0) + records.settings.settle_ms * NANOS_PER_MS
    for order in records.at_venue(key):
        # What arrives that late, while the answer to the last look is on its way, has not been seen by anybody.
        has_crossed = order.time_ns > max(last_look_ns, settled_ns)
        if order.time_ns <= row.record_time_ns and not has_crossed:
            found.violate(key, f"called absent while it is at the venue as {order.venue_order_id}")
        elif row.kind == "absent" and not any(one.kind == "resurrected" for one in rows[position:]):
            found.violate(key, "arrived after it was called absent, and nobody was told of its resurrection")


def nothing_sent_late(records: Records) -> Finding:
    """I9: by valid_until as the journal has it and as the clients gave it."""
    found = Finding()
    for request in records.venue.requests:
        key = records.key_of(request.client_id)
        limits = _limits(records, key) if key is not None else []
        if limits:
            late_ms = (request.time_ns - min(limits) - records.settings.late_ns) // NANOS_PER_MS
            found.expect(late_ms <= 0, key, f"arrived {late_ms} ms too late")
    return found


def _limits(records: Records, key: Key) -> list[int]:
    """The instants after which a key must not be sent: of whichever call was the first to be taken, the latest."""
    given = [call.valid_until_ns for call in records.clients.by_key.get(key, ())]
    limits = [max(limit for limit in given if limit is not None)] if given and None not in given else []
    row = records.journal.keys.get(key)
    return [*limits, row.valid_until_ns] if row is not None and row.valid_until_ns else limits


def another_content_is_refused(records: Records) -> Finding:
    """I10: once a key is taken by one content, every other content gets ALREADY_EXISTS, taken, and is not sent."""
    found = Finding()
    for key, calls in records.clients.by_key.items():
        if len({call.fingerprint for call in calls}) < 2:
            continue
        owners = {call.fingerprint for call in calls if call.is_ok or call.fate == "spent"}
        found.look()
        if len(owners) > 1:
            found.violate(key, "two contents were answered under one key")
        elif owners:
            _check_others(records, key, calls, next(iter(owners)), found)
    return found


def _check_others(records: Records, key: Key, calls: list[Call], owner: str, found: Finding) -> None:
    owned = [call for call in calls if call.fingerprint == owner]
    taken_ns = min(call.end_ns for call in owned if call.end_ns is not None and (call.is_ok or call.fate == "spent"))
    for call in calls:
        if call.fingerprint == owner or not call.code or (not call.reason and call.code in _BEFORE_THE_OWNER):
            continue
        is_refused = call.code == "ALREADY_EXISTS" and call.fate == "taken"
        if not is_refused and not (call.fate == "free" and call.start_ns < taken_ns):
            found.violate(key, f"another content was answered {call.code} {call.fate}")
    spec = owned[0].spec
    for request in records.venue.asked_under.get(f"{key[0]}.{key[1]}", ()):
        if spec is not None and request.spec is not None and (text := differences(request.spec, spec)):
            found.violate(key, f"another content was sent: {text}")


def errors_say_what_the_key_is(records: Records) -> Finding:
    """I33, for the three rpcs with a key; who answers before the owner of the journal cannot know."""
    found = Finding()
    for call in records.clients.calls.values():
        if call.rpc not in KEYED or not call.code or call.is_ok or call.code in _NO_KEY:
            continue
        is_unsure = call.reason == _UNSURE and call.code == "UNAVAILABLE" and not call.fate
        if is_unsure or (not call.reason and call.code in _BEFORE_THE_OWNER):
            continue
        found.expect(call.fate in _FATES, call.key, f"{call.code} {call.reason} says nothing about the key")
    return found


INVARIANTS: Final = (
    Invariant("I1", "a key has at most one order at the venue", one_order_per_key),
    Invariant("I2", "OK for an order at the venue: exactly one is there, with equal fields", ok_means_an_order),
    Invariant("I3", "an error with key=spent: no order of that key, ever", spent_means_none),
    Invariant(
        "I4",
        "every order at the venue has exactly one in the journal, with equal fields; none of ours is an orphan",
        every_order_is_known,
    ),
    Invariant(
        "I5",
        "every POST and PATCH comes after its journal row, attempt by attempt, and says the same",
        sent_after_it_was_journaled,
    ),
    Invariant("I6", "the answers of a key agree on the order, and never go between OK and spent", answers_agree),
    Invariant(
        "I7", "after quiescence no outcome is unknown, no replace unsettled, no cancel owed", nothing_stays_unknown
    ),
    Invariant(
        "I8", "ABSENT is said after the settle window, is true, and late arrivals are RESURRECTED", absent_means_absent
    ),
    Invariant("I9", "nothing is sent after valid_until", nothing_sent_late),
    Invariant(
        "I10", "another content under a key gets ALREADY_EXISTS, taken, and is not sent", another_content_is_refused
    ),
    Invariant("I33", "every error of a call with a key says what the key is", errors_say_what_the_key_is),
)
