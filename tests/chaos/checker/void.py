"""Whether a run proves anything: etcd's rule that a quiet run, or one whose fault missed, is void."""

from __future__ import annotations

from tests.chaos.checker.records import IN_FLIGHT_MIN, NANOS_PER_MS, ORDERS_PER_SECOND_MIN, Records


def reasons(records: Records) -> list[str]:
    """Why a run is void, in words; empty when it counts."""
    if not records.settings.is_void_judged:
        return []
    return [*_too_quiet(records), *_missed(records)]


def first_fault_ns(records: Records) -> int | None:
    """When the first fault fired or the gateway was first killed."""
    instants = [act.time_ns for act in records.clients.acts if act.act in ("kill_gateway", "fault_fired")]
    if records.venue.first_fault_ns is not None:
        instants.append(records.venue.first_fault_ns)
    return min(instants, default=None)


def _too_quiet(records: Records) -> list[str]:
    fault_ns = first_fault_ns(records)
    if fault_ns is None:
        return ["no fault fired and nothing was killed"]
    before = [one.time_ns for one in records.venue.requests if one.is_submit and one.time_ns < fault_ns]
    elapsed_ns = fault_ns - before[0] if before else 0
    per_second = len(before) * 1_000 * NANOS_PER_MS / elapsed_ns if elapsed_ns else 0.0
    in_flight = sum(
        1
        for call in records.clients.calls.values()
        if call.rpc == "SubmitOrder" and call.start_ns <= fault_ns and (call.end_ns is None or call.end_ns >= fault_ns)
    )
    found = []
    if per_second < ORDERS_PER_SECOND_MIN:
        found.append(f"{per_second:.1f} orders/s before the fault, {ORDERS_PER_SECOND_MIN} are the least")
    if in_flight < IN_FLIGHT_MIN:
        found.append(f"{in_flight} orders in flight at the fault, {IN_FLIGHT_MIN} are the least")
    return found


def _missed(records: Records) -> list[str]:
    fired = records.venue.fired.copy()
    for act in records.clients.named("fault_fired"):
        fired[str(act.facts.get("fault_id"))] += int(act.facts.get("count") or 1)
    return [
        f"fault {act.facts.get('fault_id')} ({act.facts.get('fault')}) was ordered and did not fire"
        for act in records.clients.named("fault")
        if not fired[str(act.facts.get("fault_id"))]
    ]
