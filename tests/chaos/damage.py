"""Bugs planted into correct records: what each would leave behind, and which invariants must say so.

A bug that a gateway would have consistently (a fill never journaled is never streamed either) is planted before the
world is finished; one of a single record after it. `caught_by` are the invariants that must be violated; others may be
too, for one mistake breaks several promises.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Final

from tests.chaos import fates
from tests.chaos.world import HEALED_NS, MS, START_NS, STOP_NS, Call, Json, Lines, Row, World, text_of

SECOND: Final = 1_000 * MS
Before = Callable[[World], None]
After = Callable[[Lines, Random], None]


@dataclass(frozen=True, slots=True)
class RecordBug:
    """One bug, as it shows in the records."""

    name: str
    text: str
    caught_by: frozenset[str]
    before: Before | None = None
    after: After | None = None


BEFORE: list[RecordBug] = []
AFTER: list[RecordBug] = []


def before(*caught_by: str) -> Callable[[Before], Before]:
    """A bug of the programs: planted while the world is being written."""

    def register(plant: Before) -> Before:
        BEFORE.append(RecordBug(plant.__name__, plant.__doc__ or "", frozenset(caught_by), before=plant))
        return plant

    return register


def after(*caught_by: str) -> Callable[[After], After]:
    """A bug of one record: planted into its lines."""

    def register(plant: After) -> After:
        AFTER.append(RecordBug(plant.__name__, plant.__doc__ or "", frozenset(caught_by), after=plant))
        return plant

    return register


# Finding something to spoil.


def _row(world: World, *kinds: str, having: Callable[[Row], bool] = lambda _: True) -> Row:
    """Some row of a kind."""
    return world.random.choice([row for row in world.rows if row.kind in kinds and having(row)])


def _rows(world: World, order_id: str) -> list[Row]:
    return sorted((row for row in world.rows if row.order_id == order_id), key=lambda row: row.time_ns)


def _first(world: World, row: Row) -> Row:
    return _rows(world, row.order_id)[0]


def _is_own(row: Row) -> bool:
    return bool(row.strategy_id) and "/" not in row.order_id


def _key(world: World, row: Row) -> str:
    return str(_first(world, row).body["request"]["client_order_id"])


def _client_id(world: World, row: Row) -> str:
    return f"{row.strategy_id}.{_key(world, row)}"


def _requests(world: World, client_id: str) -> list[Json]:
    found = [one for one in world.ledger if one["kind"] == "REQUEST" and one["venue_client_order_id"] == client_id]
    return sorted(found, key=lambda line: int(line["time_ns"]))


def _calls(world: World, row: Row) -> list[Call]:
    key = _key(world, row)
    return [call for call in world.calls if call.line["client_order_id"] == key and call.end is not None]


def _is_answered(call: Call) -> bool:
    return call.line["rpc"] == "SubmitOrder" and bool(call.shows) and call.end is not None and call.end["code"] == "OK"


def _filled_order(world: World) -> Row:
    """An order that went the usual way: its fill."""
    return _row(world, "fill", having=lambda row: _is_own(row) and "synthesized" not in row.body["fill"])


def _lost_and_found(world: World) -> Row:
    """An order whose answer was lost and that is at the venue: the row that says it is unknown."""
    found = {row.order_id for row in world.rows if row.kind == "accepted"}
    return _row(world, "outcome_unknown", having=lambda row: row.order_id in found)


def _messages(lines: Lines, payload: str, stream: str = "") -> list[Json]:
    return [
        line
        for line in lines.history
        if line["line"] == "message" and line["payload"] == payload and line["stream_id"].startswith(stream)
    ]


def _resumed(lines: Lines, random: Random) -> list[Json]:
    """The events of a stream that was resumed."""
    book = random.choice(["alpha", "beta", "gamma", "account"])
    found = _messages(lines, "event", f"reader-{book}/2")
    assert found, "nothing happened after the restart"
    return found


def _quiescent(lines: Lines) -> Json:
    return next(line for line in lines.history if line.get("act") == "quiescent")


def _returns(lines: Lines) -> Iterator[tuple[Json, Json]]:
    calls = {line["call_id"]: line for line in lines.history if line["line"] == "call"}
    return ((calls[line["call_id"]], line) for line in lines.history if line["line"] == "return")


# Exactly once.


@before("I4", "I5")
def new_id_per_attempt(world: World) -> None:
    """A second attempt goes out under another id."""
    row = _row(world, "submitted", having=lambda row: row.body["attempt"] == 2)
    client_id = _client_id(world, row)
    second = _requests(world, client_id)[1]
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
    row = _lost_and_found(world)
    request = _requests(world, _client_id(world, row))[0]
    again = world.asked(request["time_ns"] + 100 * MS, "POST /v2/orders", json.loads(request["body"]))
    spec = _first(world, row).body["request"]["spec"]
    world.place(again["time_ns"] + MS, request["venue_client_order_id"], spec)


@before("I5")
def posted_before_the_row(world: World) -> None:
    """The request leaves, then the journal is written."""
    row = _row(world, "submitted", having=lambda row: row.body["attempt"] == 1)
    _requests(world, _client_id(world, row))[0]["time_ns"] = row.time_ns - 20 * MS


@before("I5")
def second_attempt_not_journaled(world: World) -> None:
    """Only the first attempt has its row."""
    world.rows.remove(_row(world, "submitted", having=lambda row: row.body["attempt"] == 2))


@before("I5")
def replace_sent_before_its_row(world: World) -> None:
    """The same with a PATCH."""
    row = _row(world, "replace_requested")
    request = _requests(world, f"{row.strategy_id}.{row.body['client_order_id']}")[0]
    request["time_ns"] = row.time_ns - 20 * MS


@before("I8")
def absent_at_the_first_404(world: World) -> None:
    """Two seconds after it was sent, it is called absent."""
    row = _row(world, "absent")
    row.time_ns = max(one.time_ns for one in _rows(world, row.order_id) if one.kind == "outcome_unknown") + MS


@before("I8")
def absent_though_it_is_there(world: World) -> None:
    """The lookup asks for the wrong id and finds nothing for a minute."""
    row = _lost_and_found(world)
    last = _rows(world, row.order_id)[-1].time_ns
    failure = {"reason": "ABSENT", "message": ""}
    world.row(max(last, row.time_ns) + 61 * SECOND, row.strategy_id, row.order_id, "absent", failure=failure)


@before("I8")
def resurrected_silently(world: World) -> None:
    """A late arrival is taken as if it had never been called absent."""
    _row(world, "resurrected").kind = "accepted"


@before("I3")
def duplicate_id_taken_for_a_reject(world: World) -> None:
    """422: the id is taken, by our own order; the gateway calls it refused."""
    row = _row(world, "rejected")
    request = _requests(world, _client_id(world, row))[0]
    world.place(request["time_ns"] + MS, request["venue_client_order_id"], _first(world, row).body["request"]["spec"])


@before("I3")
def refusal_of_a_retry_taken_for_final(world: World) -> None:
    """403 at the second attempt, because the first one holds the buying power."""
    row = _row(world, "submitted", having=lambda row: row.body["attempt"] == 2)
    for call in _calls(world, row):
        assert call.end is not None
        call.end |= {"code": "FAILED_PRECONDITION", "reason": "VENUE_REJECTED", "key": "spent"}


@before("I3")
def denied_and_sent_later(world: World) -> None:
    """A late duplicate of a denied request slips through."""
    row = _row(world, "denied", "not_sent")
    world.place(START_NS + 50 * SECOND, _client_id(world, row), _first(world, row).body["request"]["spec"])


@before("I6")
def ok_then_spent(world: World) -> None:
    """An order that was answered OK is refused the next time."""
    line = world.random.choice([call for call in world.calls if _is_answered(call)]).line
    what = {"request": line["request"], "code": "FAILED_PRECONDITION", "reason": "VENUE_REJECTED", "fate": "spent"}
    key = (line["strategy_id"], line["client_order_id"])
    world.call(START_NS + 30 * SECOND, START_NS + 30 * SECOND + MS, "SubmitOrder", key, **what)


@before("I6")
def spent_then_ok(world: World) -> None:
    """An order that was denied is answered OK the next time."""
    row = _row(world, "denied")
    line = _calls(world, row)[0].line
    what = {"request": line["request"], "shows": row.order_id, "replayed": True}
    key = (line["strategy_id"], line["client_order_id"])
    world.call(START_NS + 30 * SECOND, START_NS + 30 * SECOND + MS, "SubmitOrder", key, **what)


@after("I6")
def answers_name_two_orders(lines: Lines, random: Random) -> None:
    """A replay shows another order."""
    answers = [(call["client_order_id"], end) for call, end in _returns(lines) if "order" in end]
    keys = [key for key, _ in answers if key]
    answer = random.choice([end for key, end in answers if keys.count(key) > 1])
    answer["order"] = answer["order"] | {"order_id": "another"}


@before("I4")
def adopted_as_an_orphan(world: World) -> None:
    """The intent never reached the disk; the order is found at the venue."""
    row = _filled_order(world)
    rows = _rows(world, row.order_id)
    key = _key(world, row)
    for one in [one for one in rows if one.kind in ("recorded", "submitted", "outcome_unknown")]:
        world.rows.remove(one)
    left = _rows(world, row.order_id)[0]
    left.kind = "recorded"
    left.body = {"venue_order": left.body["venue_order"], "client_order_id": key}


@before("I4")
def never_journaled(world: World) -> None:
    """An order at the venue that the journal knows nothing of."""
    row = _filled_order(world)
    world.rows[:] = [one for one in world.rows if one.order_id != row.order_id]
    for call in world.calls:
        call.shows = "" if call.shows == row.order_id else call.shows


@before("I4")
def adopted_twice(world: World) -> None:
    """Feed and answer race, and each makes an order of it."""
    row = _row(world, "accepted", having=_is_own)
    world.row(row.time_ns, "", f"{row.order_id}-again", "recorded", venue_order=row.body["venue_order"])


@before("I2")
def answered_ok_and_never_sent(world: World) -> None:
    """The journal and the client have an order that the venue never saw."""
    shown = {call.shows for call in world.calls if _is_answered(call)}
    shown -= {row.order_id for row in world.rows if row.kind == "outcome_unknown"}
    row = _row(world, "fill", having=lambda row: row.order_id in shown)
    client_id = _client_id(world, row)
    world.ledger[:] = [line for line in world.ledger if line.get("venue_client_order_id") != client_id]


@before("I5")
def ten_times_as_much(world: World) -> None:
    """A digit slips on the way to the venue."""
    row = _row(world, "accepted", having=_is_own)
    request = _requests(world, _client_id(world, row))[0]
    body = json.loads(request["body"])
    request["body"] = json.dumps(body | {"qty": text_of(Decimal(body["qty"]) * 10)})


@after("I2")
def told_the_other_side(lines: Lines, random: Random) -> None:
    """The answer shows a sale for a purchase."""
    shown = [end for call, end in _returns(lines) if call["rpc"] == "SubmitOrder" and _is_at_venue(end)]
    answer = random.choice(shown)
    spec = answer["order"]["spec"]
    answer["order"] = answer["order"] | {"spec": spec | {"side": "sell" if spec["side"] == "buy" else "buy"}}


def _is_at_venue(end: Json) -> bool:
    return bool((end.get("order") or {}).get("venue_orders"))


@before("I7")
def left_unknown(world: World) -> None:
    """Nobody looks for an order whose answer was lost."""
    row = _row(world, "outcome_unknown")
    for one in _rows(world, row.order_id):
        if one.time_ns > row.time_ns:
            world.rows.remove(one)


@before("I7")
def replace_left_unsettled(world: World) -> None:
    """A refused replace is never said to be."""
    row = _row(world, "replace_rejected")
    for one in _rows(world, row.order_id):
        if one.time_ns >= row.time_ns:
            world.rows.remove(one)


@before("I9")
def sent_after_valid_until(world: World) -> None:
    """The check is made once, long before the socket is written."""
    row = _row(world, "submitted")
    limit = row.time_ns - 200 * MS
    _first(world, row).body["request"]["valid_until_ns"] = limit
    for call in world.calls:
        if call.line["client_order_id"] == _key(world, row):
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
    refused = [end for call, end in _returns(lines) if end["key"] and call["client_order_id"]]
    random.choice(refused)["key"] = None


# Control.


@before("I13")
def kill_not_durable(world: World) -> None:
    """The kill is answered before it is on disk, and gone after the crash."""
    world.states.clear()


@before("I13")
def opened_after_the_kill(world: World) -> None:
    """What was queued leaves after the kill."""
    fates.filled(world, STOP_NS + 300 * MS)


@before("I13")
def killed_state_forgotten_at_start(world: World) -> None:
    """The states are there, and a restart does not read them."""
    fates.bracket(world, STOP_NS + 1_500 * MS)


@before("I14")
def cancel_refused_while_halted(world: World) -> None:
    """The door asks the same of cancels as of orders."""
    call = next(call for call in world.calls if call.line["rpc"] == "CancelOrders")
    assert call.end is not None
    call.end |= {"code": "FAILED_PRECONDITION", "reason": "TRADING_HALTED", "key": "free"}


@before("I14")
def cancel_throttled(world: World) -> None:
    """Cancels wait behind new orders for the venue's budget."""
    call = world.random.choice([call for call in world.calls if call.line["rpc"] == "CancelOrder"])
    assert call.end is not None
    call.end |= {"code": "RESOURCE_EXHAUSTED", "reason": "VENUE_RATE_LIMIT"}


@before("I14")
def unhealthy_while_halted(world: World) -> None:
    """Health says NOT_SERVING, so the load balancer takes the cancels away too."""
    world.act(STOP_NS + SECOND, "health", status="NOT_SERVING")


@before("I27")
def call_never_ends(world: World) -> None:
    """A waiter is forgotten when its command ends."""
    world.random.choice([call for call in world.calls if call.end is not None]).end = None


@before("I27")
def call_overruns_its_deadline(world: World) -> None:
    """The answer comes, and nobody waits for it any more."""
    call = world.random.choice([call for call in world.calls if call.end is not None])
    assert call.end is not None
    call.end["end_ns"] = call.line["deadline_ns"] + 5 * SECOND


@before("I28")
def never_opens_again(world: World) -> None:
    """After everything is healed, the feed is taken for blind."""
    for call in world.calls:
        if call.line["start_ns"] > HEALED_NS and call.line["rpc"] == "SubmitOrder" and call.end is not None:
            call.end |= {"code": "FAILED_PRECONDITION", "reason": "ORDER_FEED_BLIND", "key": "free"}


@after("I31")
def journal_written_over(lines: Lines, random: Random) -> None:
    """A row is changed after it was written."""
    row = random.choice([line for line in lines.journal if line["table"] == "events"][5:])
    row["body"] = row["body"].replace('"kind"', '"kind" ', 1)


@after("I31")
def journal_row_gone(lines: Lines, random: Random) -> None:
    """A row is deleted from the middle."""
    rows = [line for line in lines.journal if line["table"] == "events"]
    lines.journal.remove(random.choice(rows[5:-5]))


# Streams.


@after("I15")
def gap_in_a_stream(lines: Lines, random: Random) -> None:
    """A slow reader's queue drops one."""
    events = _messages(lines, "event", "reader-")
    ends = {line["stream_id"]: line["sequence"] for line in events}
    lines.history.remove(random.choice([one for one in events if 1 < one["sequence"] < ends[one["stream_id"]]]))


@after("I15")
def event_told_twice(lines: Lines, random: Random) -> None:
    """One event comes twice in a stream."""
    event = random.choice(_messages(lines, "event", "reader-"))
    lines.history.insert(lines.history.index(event), event)


@after("I15", "I16")
def numbers_repeated_after_a_restart(lines: Lines, random: Random) -> None:
    """The book's counter was in memory: numbers that were told before stand for other events now."""
    stream_id = _resumed(lines, random)[0]["stream_id"]
    for line in lines.history:
        if line["line"] == "message" and line["stream_id"] == stream_id:
            line["sequence"] -= 3


@after("I17")
def event_of_another_book(lines: Lines, random: Random) -> None:
    """The event filter is off for one event."""
    event = random.choice(_messages(lines, "event", "reader-alpha"))
    other = random.choice(_messages(lines, "event", "reader-beta"))
    event |= {"event": other["event"], "order": other["order"]}


@after("I16")
def told_in_another_order(lines: Lines, random: Random) -> None:
    """Two events are fanned out as their tasks were scheduled, and numbered then."""
    events = _resumed(lines, random)
    index = random.randrange(len(events) - 1)
    first, second = events[index], events[index + 1]
    for name in ("event", "order"):
        first[name], second[name] = second[name], first[name]


@after("I16")
def event_not_in_the_journal(lines: Lines, random: Random) -> None:
    """Told before it was durable, and lost in the crash."""
    event = random.choice(_messages(lines, "event", "reader-"))
    event["event"] = event["event"] | {"kind": "restated"}


@after("I16")
def snapshot_of_yesterday(lines: Lines, random: Random) -> None:
    """A snapshot's orders are older than its sequence."""
    message = random.choice([one for one in _messages(lines, "snapshot_order") if one["order"]["version"] > 1])
    message["order"] = message["order"] | {"version": message["order"]["version"] - 1}


@after("I18")
def heartbeat_ahead(lines: Lines, random: Random) -> None:
    """A heartbeat tells the head of the book, not what was delivered."""
    random.choice(_messages(lines, "heartbeat", "reader-"))["sequence"] += 1


@after("I18")
def heartbeat_behind(lines: Lines, random: Random) -> None:
    """A heartbeat tells an old position: whoever keeps it as a bookmark is told twice."""
    beats = [one for one in _messages(lines, "heartbeat", "reader-") if one["sequence"] > 5]
    random.choice(beats)["sequence"] -= 2


@after("I19")
def resumed_one_too_early(lines: Lines, random: Random) -> None:
    """A token gives the event that it was given with once more."""
    events = _resumed(lines, random)
    stream_id, book = events[0]["stream_id"], events[0]["stream_id"].split("/")[0]
    before_it = [one for one in _messages(lines, "event", f"{book}/1") if one["sequence"] == events[0]["sequence"] - 1]
    lines.history.insert(lines.history.index(events[0]), before_it[0] | {"stream_id": stream_id})


@after("I19")
def resumed_one_too_late(lines: Lines, random: Random) -> None:
    """A token skips the event after it."""
    lines.history.remove(_resumed(lines, random)[0])


@after("I19")
def resumed_with_a_snapshot(lines: Lines, random: Random) -> None:
    """A token is taken for none."""
    event = _resumed(lines, random)[0]
    message = event | {"payload": "snapshot_begin", "sequence": event["sequence"] - 1, "event": None, "order": None}
    lines.history.insert(lines.history.index(event), message)


# Orders and executions.


@before("I20", "I21")
def told_twice_by_two_channels(world: World) -> None:
    """De-duplication is off: feed and back-fill each tell the fill."""
    row = _filled_order(world)
    fill = row.body["fill"] | {"fill_id": f"rest:{row.body['fill']['venue_order_id']}"}
    body = {"venue_order": row.body["venue_order"], "fill": fill}
    world.row(row.time_ns + SECOND, row.strategy_id, row.order_id, "fill", **body)


@before("I21", "I22", "I23")
def fill_lost(world: World) -> None:
    """The feed dropped a fill, and nobody reads it up."""
    world.rows.remove(_row(world, "fill", "partial_fill", having=_is_own))


@before("I21")
def fill_at_another_price(world: World) -> None:
    """The limit price is told instead of the execution's."""
    fill = _filled_order(world).body["fill"]
    fill["price"] = text_of(Decimal(fill["price"]) + Decimal("0.01"))


@before("I21")
def made_up_over_a_part(world: World) -> None:
    """A fill is made up that ends in the middle of an execution."""
    row = _row(world, "fill", having=lambda row: "synthesized" in row.body["fill"])
    fill = row.body["fill"]
    left = text_of(Decimal(fill["cumulative_quantity"]) - Decimal("0.5"))
    row.body["fill"] = fill | {"quantity": left, "cumulative_quantity": left}


@after("I21")
def fill_not_delivered(lines: Lines, random: Random) -> None:
    """The owner's stream has the number, and no fill with it."""
    fills = [one for one in _messages(lines, "event", "") if one["event"]["fill_id"]]
    sequence, book = random.choice([(one["sequence"], one["resume_token"].split(":")[1]) for one in fills])
    for one in fills:
        if one["sequence"] == sequence and one["resume_token"].split(":")[1] == book:
            one["event"] = one["event"] | {"fill_id": ""}


@before("I20")
def filled_quantity_falls(world: World) -> None:
    """An older report overwrites a newer one."""
    row = _row(world, "canceled", having=lambda row: "filled_quantity" in row.body["venue_order"])
    row.body["venue_order"] = row.body["venue_order"] | {"filled_quantity": "0"}


@before("I20")
def ended_and_alive_again(world: World) -> None:
    """A late event takes a canceled order for working."""
    row = _row(world, "canceled", having=_is_own)
    report = row.body["venue_order"] | {"venue_status": "new"}
    world.row(row.time_ns + SECOND, row.strategy_id, row.order_id, "working", venue_order=report)


@before("I20")
def replace_forgets_what_was_filled(world: World) -> None:
    """After a replace the order shows the fills of its new venue order alone."""

    def forget(row: Row, order: Json) -> None:
        if len(order["venue_orders"]) > 1:
            order["filled_quantity"] = order["venue_orders"][-1]["filled_quantity"]

    world.damage_order = forget


@before("I20")
def version_stands_still(world: World) -> None:
    """Two states of an order have one version."""
    row = _filled_order(world)

    def stand(changed: Row, order: Json) -> None:
        if changed is row:
            order["version"] -= 1

    world.damage_order = stand


@before("I20", "I29")
def ghost_in_the_journal(world: World) -> None:
    """The end of an order is missed: it stays open here, and holds its reservation."""
    world.rows.remove(_row(world, "canceled", "expired", having=_is_own))


# Money.


@before("I24")
def average_of_prices(world: World) -> None:
    """The average forgets the quantities."""
    report = _filled_order(world).body["venue_order"]
    report["filled_average_price"] = text_of(Decimal(report["filled_average_price"]) + Decimal("0.0001"))


@before("I24")
def average_in_floats(world: World) -> None:
    """The average is right to eight places only."""
    report = _filled_order(world).body["venue_order"]
    report["filled_average_price"] = text_of(Decimal(report["filled_average_price"]) + Decimal("0.00000001"))


@after("I23")
def cash_off_by_a_cent(lines: Lines, random: Random) -> None:
    """Cash is rounded somewhere."""
    venue = _quiescent(lines)["venue"]
    venue["cash"] = text_of(Decimal(venue["cash"]) + random.choice([1, -1]) * Decimal("0.01"))


@after("I23")
def fee_in_dollars_forgotten(lines: Lines, random: Random) -> None:
    """The fee of a sale of coins is not taken off."""
    for fee in _quiescent(lines)["venue"]["fees"]:
        fee["usd"] = "0"


@after("I22")
def fee_in_kind_forgotten(lines: Lines, random: Random) -> None:
    """The fee of a purchase of coins is not taken off."""
    for fee in _quiescent(lines)["venue"]["fees"]:
        fee["quantity"] = "0"


@after("I22")
def position_off_by_one(lines: Lines, random: Random) -> None:
    """The venue holds one share more."""
    positions = _quiescent(lines)["venue"]["positions"]
    symbol = random.choice(sorted(positions))
    positions[symbol] = text_of(Decimal(positions[symbol]) + 1)


@after("I29")
def reservation_left_over(lines: Lines, random: Random) -> None:
    """A reservation of an unknown outcome is never released."""
    _quiescent(lines)["gateway"]["reserved_usd"] = "12.5"


def bugs() -> tuple[RecordBug, ...]:
    """All of them."""
    return (*BEFORE, *AFTER)


def spoiled(bug: RecordBug, seed: int) -> Lines:
    """The records of a world with one bug in it."""
    world = fates.make(seed)
    if bug.before is not None:
        bug.before(world)
    lines = world.finish()
    if bug.after is not None:
        bug.after(lines, world.random)
    return lines
