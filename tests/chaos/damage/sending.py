"""Bugs of sending: ids, attempts, keys, answers, and what was said before."""

from __future__ import annotations

import json
from decimal import Decimal
from random import Random

from tests.chaos.damage.registry import after, before
from tests.chaos.damage.targets import (
    calls_of,
    client_id_of,
    filled_order,
    first_row,
    is_answered,
    is_own,
    key_of,
    lost_and_found,
    requests_of,
    returns,
    rows_of,
    some_row,
)
from tests.chaos.world import MS, SECOND, START_NS, Json, Lines, World, text_of


@before("I4", "I5")
def new_id_per_attempt(world: World) -> None:
    """A second attempt goes out under another id."""
    row = some_row(world, "submitted", having=lambda row: row.body["attempt"] == 2)
    client_id = client_id_of(world, row)
    second = requests_of(world, client_id)[1]
    second["venue_client_order_id"] = f"{client_id}.2"
    second["body"] = second["body"].replace(client_id, f"{client_id}.2")
    for order in world.placed.values():
        order.client_id = f"{client_id}.2" if order.client_id == client_id else order.client_id
    for line in world.ledger:
        if line["kind"] in ("ORDER", "EXECUTION") and line["venue_client_order_id"] == client_id:
            line["venue_client_order_id"] = f"{client_id}.2"


@before("I1")
def posted_again_after_a_504(world: World) -> None:
    """What alpaca-py does: the POST is repeated below the gateway, and both arrive."""
    row = lost_and_found(world)
    request = requests_of(world, client_id_of(world, row))[0]
    again = world.asked(request["time_ns"] + 100 * MS, "POST /v2/orders", json.loads(request["body"]))
    spec = first_row(world, row).body["request"]["spec"]
    world.place(again["time_ns"] + MS, request["venue_client_order_id"], spec)


@before("I5")
def posted_before_the_row(world: World) -> None:
    """The request leaves, then the journal is written."""
    row = some_row(world, "submitted", having=lambda row: row.body["attempt"] == 1)
    requests_of(world, client_id_of(world, row))[0]["time_ns"] = row.time_ns - 20 * MS


@before("I5")
def second_attempt_not_journaled(world: World) -> None:
    """Only the first attempt has its row."""
    world.rows.remove(some_row(world, "submitted", having=lambda row: row.body["attempt"] == 2))


@before("I5")
def replace_sent_before_its_row(world: World) -> None:
    """The same with a PATCH."""
    row = some_row(world, "replace_requested")
    request = requests_of(world, f"{row.strategy_id}.{row.body['client_order_id']}")[0]
    request["time_ns"] = row.time_ns - 20 * MS


@before("I8")
def absent_at_the_first_404(world: World) -> None:
    """Two seconds after it was sent, it is called absent."""
    row = some_row(world, "absent")
    row.time_ns = max(one.time_ns for one in rows_of(world, row.order_id) if one.kind == "outcome_unknown") + MS


@before("I8")
def absent_though_it_is_there(world: World) -> None:
    """The lookup asks for the wrong id and finds nothing for a minute."""
    row = lost_and_found(world)
    last = rows_of(world, row.order_id)[-1].time_ns
    failure = {"reason": "ABSENT", "message": ""}
    world.row(max(last, row.time_ns) + 61 * SECOND, row.strategy_id, row.order_id, "absent", failure=failure)


@before("I8")
def resurrected_silently(world: World) -> None:
    """A late arrival is taken as if it had never been called absent."""
    some_row(world, "resurrected").kind = "accepted"


@before("I3")
def duplicate_id_taken_for_a_reject(world: World) -> None:
    """422: the id is taken, by our own order; the gateway calls it refused."""
    row = some_row(world, "rejected")
    request = requests_of(world, client_id_of(world, row))[0]
    world.place(
        request["time_ns"] + MS, request["venue_client_order_id"], first_row(world, row).body["request"]["spec"]
    )


@before("I3")
def refusal_of_a_retry_taken_for_final(world: World) -> None:
    """403 at the second attempt, because the first one holds the buying power."""
    row = some_row(world, "submitted", having=lambda row: row.body["attempt"] == 2)
    for call in calls_of(world, row):
        assert call.end is not None
        call.end |= {"code": "FAILED_PRECONDITION", "reason": "VENUE_REJECTED", "key": "spent"}


@before("I3")
def denied_and_sent_later(world: World) -> None:
    """A late duplicate of a denied request slips through."""
    row = some_row(world, "denied", "not_sent")
    world.place(START_NS + 50 * SECOND, client_id_of(world, row), first_row(world, row).body["request"]["spec"])


@before("I6")
def ok_then_spent(world: World) -> None:
    """An order that was answered OK is refused the next time."""
    line = world.random.choice([call for call in world.calls if is_answered(call)]).line
    what = {"request": line["request"], "code": "FAILED_PRECONDITION", "reason": "VENUE_REJECTED", "fate": "spent"}
    key = (line["strategy_id"], line["client_order_id"])
    world.call(START_NS + 30 * SECOND, START_NS + 30 * SECOND + MS, "SubmitOrder", key, **what)


@before("I6")
def spent_then_ok(world: World) -> None:
    """An order that was denied is answered OK the next time."""
    row = some_row(world, "denied")
    line = calls_of(world, row)[0].line
    what = {"request": line["request"], "shows": row.order_id, "replayed": True}
    key = (line["strategy_id"], line["client_order_id"])
    world.call(START_NS + 30 * SECOND, START_NS + 30 * SECOND + MS, "SubmitOrder", key, **what)


@after("I6")
def answers_name_two_orders(lines: Lines, random: Random) -> None:
    """A replay shows another order."""
    answers = [(call["client_order_id"], end) for call, end in returns(lines) if "order" in end]
    keys = [key for key, _ in answers if key]
    answer = random.choice([end for key, end in answers if keys.count(key) > 1])
    answer["order"] = answer["order"] | {"order_id": "another"}


@before("I4")
def adopted_as_an_orphan(world: World) -> None:
    """The intent never reached the disk; the order is found at the venue."""
    row = filled_order(world)
    rows = rows_of(world, row.order_id)
    key = key_of(world, row)
    for one in [one for one in rows if one.kind in ("recorded", "submitted", "outcome_unknown")]:
        world.rows.remove(one)
    left = rows_of(world, row.order_id)[0]
    left.kind = "recorded"
    left.body = {"venue_order": left.body["venue_order"], "client_order_id": key}


@before("I4")
def never_journaled(world: World) -> None:
    """An order at the venue that the journal knows nothing of."""
    row = filled_order(world)
    world.rows[:] = [one for one in world.rows if one.order_id != row.order_id]
    for call in world.calls:
        call.shows = "" if call.shows == row.order_id else call.shows


@before("I4")
def adopted_twice(world: World) -> None:
    """Feed and answer race, and each makes an order of it."""
    row = some_row(world, "accepted", having=is_own)
    world.row(row.time_ns, "", f"{row.order_id}-again", "recorded", venue_order=row.body["venue_order"])


@before("I2")
def answered_ok_and_never_sent(world: World) -> None:
    """The journal and the client have an order that the venue never saw."""
    shown = {call.shows for call in world.calls if is_answered(call)}
    shown -= {row.order_id for row in world.rows if row.kind == "outcome_unknown"}
    row = some_row(world, "fill", having=lambda row: row.order_id in shown)
    client_id = client_id_of(world, row)
    world.ledger[:] = [line for line in world.ledger if line.get("venue_client_order_id") != client_id]


@before("I5")
def ten_times_as_much(world: World) -> None:
    """A digit slips on the way to the venue."""
    row = some_row(world, "accepted", having=is_own)
    request = requests_of(world, client_id_of(world, row))[0]
    body = json.loads(request["body"])
    request["body"] = json.dumps(body | {"qty": text_of(Decimal(body["qty"]) * 10)})


@after("I2")
def told_the_other_side(lines: Lines, random: Random) -> None:
    """The answer shows a sale for a purchase."""
    shown = [end for call, end in returns(lines) if call["rpc"] == "SubmitOrder" and _is_at_venue(end)]
    answer = random.choice(shown)
    spec = answer["order"]["spec"]
    answer["order"] = answer["order"] | {"spec": spec | {"side": "sell" if spec["side"] == "buy" else "buy"}}


def _is_at_venue(end: Json) -> bool:
    return bool((end.get("order") or {}).get("venue_orders"))


@before("I7")
def left_unknown(world: World) -> None:
    """Nobody looks for an order whose answer was lost."""
    row = some_row(world, "outcome_unknown")
    for one in rows_of(world, row.order_id):
        if one.time_ns > row.time_ns:
            world.rows.remove(one)


@before("I7")
def replace_left_unsettled(world: World) -> None:
    """A refused replace is never said to be."""
    row = some_row(world, "replace_rejected")
    for one in rows_of(world, row.order_id):
        if one.time_ns >= row.time_ns:
            world.rows.remove(one)


@before("I7")
def cancel_owed_and_never_sent(world: World) -> None:
    """A cancel is journaled, and nobody sends it."""
    row = some_row(world, "canceled", having=is_own)
    venue_order_id = row.body["venue_order"]["venue_order_id"]
    world.rows.remove(row)
    world.ledger[:] = [
        line
        for line in world.ledger
        if line.get("venue_order_id") != venue_order_id or line.get("venue_status") != "canceled"
    ]


@before("I9")
def sent_after_valid_until(world: World) -> None:
    """The check is made once, long before the socket is written."""
    row = some_row(world, "submitted")
    limit = row.time_ns - 200 * MS
    first_row(world, row).body["request"]["valid_until_ns"] = limit
    for call in world.calls:
        if call.line["client_order_id"] == key_of(world, row):
            call.line["valid_until_ns"] = limit


@before("I10")
def another_content_answered_ok(world: World) -> None:
    """The fingerprint is not compared."""
    call = world.random.choice([call for call in world.calls if call.end and call.end["key"] == "taken"])
    assert call.end is not None
    call.end |= {"code": "OK", "reason": "", "key": None}
    call.shows = f"order-{call.line['client_order_id']}"


@before("I10")
def another_content_sent(world: World) -> None:
    """It is refused, and sent all the same."""
    call = world.random.choice([call for call in world.calls if call.end and call.end["key"] == "taken"])
    spec = call.line["request"]["spec"]
    client_id = f"{call.line['strategy_id']}.{call.line['client_order_id']}"
    body = {name: spec[name] for name in ("symbol", "side", "time_in_force", "limit_price")}
    body |= {"qty": spec["quantity"], "type": spec["order_type"], "client_order_id": client_id}
    world.asked(call.line["start_ns"] + MS, "POST /v2/orders", body)


@before("I10")
def another_content_called_free(world: World) -> None:
    """A client is told to try again under a key whose order lives."""
    call = world.random.choice([call for call in world.calls if call.end and call.end["key"] == "taken"])
    assert call.end is not None
    call.end |= {"code": "INVALID_ARGUMENT", "reason": "FIELD_INVALID", "key": "free"}


@after("I33")
def error_without_the_key(lines: Lines, random: Random) -> None:
    """An error says nothing about the key."""
    refused = [end for call, end in returns(lines) if end["key"] and call["client_order_id"]]
    random.choice(refused)["key"] = None
