"""Control and liveness: I13, I14, I27, I28, and I31 as far as the journal goes."""

from __future__ import annotations

from typing import Final

from tests.chaos.checker.findings import Finding, Invariant
from tests.chaos.checker.records import DEADLINE_GRACE_MS, NANOS_PER_MS, Records

STOPPED: Final = frozenset({"HALTED", "KILLED"})
_SEVERITY: Final = {"ACTIVE": 0, "REDUCING": 1, "HALTED": 2, "KILLED": 3}
_CANCELS: Final = frozenset({"CancelOrder", "CancelOrders"})
_MAY_FAIL: Final = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "INTERNAL", "UNKNOWN"})
"""Without a reason: the gateway was not there to answer."""
_NO_REFUSAL: Final = frozenset(
    {"ORDER_NOT_FOUND", "VENUE_REJECTED", "FIELD_INVALID", "DRAINING", "JOURNAL_UNAVAILABLE"}
)
"""The last: a cancel was tried and could not be promised, or the order is not known to be at the venue yet."""
_FOREVER: Final = 2**63
Span = tuple[int, int]


def nothing_opens_after_a_kill(records: Records) -> Finding:
    """I13: by the journal's states, and by what the callers of SetTradingState were told."""
    found = Finding()
    durable, told = _stopped_in_journal(records), _stopped_by_callers(records)
    foreign = records.clients.foreign_ids
    for first_ns, _ in told:
        is_written = any(one[0] <= first_ns and one[1] >= first_ns for one in durable)
        found.expect(is_written, "trading state", "a stop that was answered OK is not in the journal")
    for first_ns, last_ns in [*durable, *told]:
        found.look()
        for request in records.venue.requests:
            if first_ns + records.settings.late_ns < request.time_ns < last_ns and request.client_id not in foreign:
                late_ms = (request.time_ns - first_ns) // NANOS_PER_MS
                found.violate(request.client_id, f"sent {late_ms} ms after the stop")
    return found


def _stopped_in_journal(records: Records) -> list[Span]:
    spans: list[Span] = []
    since: int | None = None
    for state in records.journal.states:
        if state.mode in STOPPED:
            since = state.set_time_ns if since is None else since
        elif since is not None:
            spans.append((since, state.set_time_ns))
            since = None
    return [*spans, (since, _FOREVER)] if since is not None else spans


def _stopped_by_callers(records: Records) -> list[Span]:
    """From the moment a stop was answered OK until somebody asks for a looser mode."""
    calls = sorted(
        (call for call in records.clients.calls.values() if call.rpc == "SetTradingState"),
        key=lambda call: call.start_ns,
    )
    spans: list[Span] = []
    for call in calls:
        if call.is_ok and call.mode in STOPPED and call.end_ns is not None:
            looser = (
                other.start_ns
                for other in calls
                if other.start_ns > call.start_ns and _SEVERITY.get(other.mode, 0) < _SEVERITY["HALTED"]
            )
            spans.append((call.end_ns, min(looser, default=_FOREVER)))
    return [span for span in spans if span[1] > span[0]]


def cancels_always_pass(records: Records) -> Finding:
    """I14: no trading state, feed or budget refuses a cancel; and the gateway says SERVING while it runs."""
    found = Finding()
    for call in records.clients.calls.values():
        if call.rpc not in _CANCELS or not call.code:
            continue
        is_away = call.code in _MAY_FAIL and not call.reason
        is_fine = call.is_ok or is_away or call.reason in _NO_REFUSAL
        found.expect(is_fine, call.call_id, f"{call.rpc} was refused: {call.code} {call.reason}")
    for act in records.clients.named("health"):
        found.expect(act.facts.get("status") == "SERVING", "health", f"said {act.facts.get('status')}")
    return found


def every_call_ends(records: Records) -> Finding:
    """I27: calls of clients that were killed need not return."""
    found = Finding()
    killed = {str(act.facts.get("client")): act.time_ns for act in records.clients.named("kill_client")}
    if records.clients.quiescent is None:
        return found
    for call in records.clients.calls.values():
        if call.end_ns is None:
            is_excused = call.start_ns <= killed.get(call.client, -1)
            found.expect(is_excused, call.call_id, f"{call.rpc} never returned")
        elif call.deadline_ns is not None:
            late_ms = (call.end_ns - call.deadline_ns) // NANOS_PER_MS
            found.expect(
                late_ms <= DEADLINE_GRACE_MS, call.call_id, f"{call.rpc} returned {late_ms} ms after its deadline"
            )
    return found


def opens_again(records: Records) -> Finding:
    """I28: after everything is healed a new order is taken within the time that recovery may need."""
    found = Finding()
    taken = sorted(
        call.end_ns
        for call in records.clients.calls.values()
        if call.rpc == "SubmitOrder" and call.is_ok and not call.replayed and call.end_ns is not None
    )
    for act in records.clients.named("healed"):
        within_ns = act.time_ns + records.settings.rto_ms * NANOS_PER_MS
        is_taken = any(act.time_ns < end_ns <= within_ns for end_ns in taken)
        found.expect(is_taken, "recovery", f"no new order was taken within {records.settings.rto_ms} ms")
    return found


def journal_is_whole(records: Records) -> Finding:
    """I31, of the journal: rows and books count up by one, and the chain of hashes is unbroken."""
    found = Finding()
    found.look(len(records.journal.rows) + records.journal.links_checked)
    for text in records.journal.breaks:
        found.violate("journal", text)
    return found


INVARIANTS: Final = (
    Invariant("I13", "between a kill or halt and its release nothing that opens is sent", nothing_opens_after_a_kill),
    Invariant("I14", "cancels are accepted in every state, and health says SERVING", cancels_always_pass),
    Invariant("I27", "every call returns, by its deadline", every_call_ends),
    Invariant("I28", "once healed, orders are taken within the recovery time", opens_again),
    Invariant("I31", "the journal counts up by one, and its chain is unbroken", journal_is_whole),
)
