"""Bugs of the order streams."""

from __future__ import annotations

from random import Random

from tests.chaos.damage.registry import after
from tests.chaos.damage.targets import (
    messages,
    resumed_events,
)
from tests.chaos.world import Lines


@after("I15")
def gap_in_a_stream(lines: Lines, random: Random) -> None:
    """A slow reader's queue drops one."""
    events = messages(lines, "event", "reader-")
    ends = {line["stream_id"]: line["sequence"] for line in events}
    lines.history.remove(random.choice([one for one in events if 1 < one["sequence"] < ends[one["stream_id"]]]))


@after("I15")
def event_told_twice(lines: Lines, random: Random) -> None:
    """One event comes twice in a stream."""
    event = random.choice(messages(lines, "event", "reader-"))
    lines.history.insert(lines.history.index(event), event)


@after("I15", "I16")
def numbers_repeated_after_a_restart(lines: Lines, random: Random) -> None:
    """The book's counter was in memory: numbers that were told before stand for other events now."""
    stream_id = resumed_events(lines, random)[0]["stream_id"]
    for line in lines.history:
        if line["line"] == "message" and line["stream_id"] == stream_id:
            line["sequence"] -= 3


@after("I17")
def event_of_another_book(lines: Lines, random: Random) -> None:
    """The event filter is off for one event."""
    event = random.choice(messages(lines, "event", "reader-alpha"))
    other = random.choice(messages(lines, "event", "reader-beta"))
    event |= {"event": other["event"], "order": other["order"]}


@after("I16")
def told_in_another_order(lines: Lines, random: Random) -> None:
    """Two events are fanned out as their tasks were scheduled, and numbered then."""
    events = resumed_events(lines, random)
    index = random.randrange(len(events) - 1)
    first, second = events[index], events[index + 1]
    for name in ("event", "order"):
        first[name], second[name] = second[name], first[name]


@after("I16")
def event_not_in_the_journal(lines: Lines, random: Random) -> None:
    """Told before it was durable, and lost in the crash."""
    event = random.choice(messages(lines, "event", "reader-"))
    event["event"] = event["event"] | {"kind": "restated"}


@after("I16")
def snapshot_of_yesterday(lines: Lines, random: Random) -> None:
    """A snapshot's orders are older than its sequence."""
    message = random.choice([one for one in messages(lines, "snapshot_order") if one["order"]["version"] > 1])
    message["order"] = message["order"] | {"version": message["order"]["version"] - 1}


@after("I18")
def heartbeat_ahead(lines: Lines, random: Random) -> None:
    """A heartbeat tells the head of the book, not what was delivered."""
    random.choice(messages(lines, "heartbeat", "reader-"))["sequence"] += 1


@after("I18")
def heartbeat_behind(lines: Lines, random: Random) -> None:
    """A heartbeat tells an old position: whoever keeps it as a bookmark is told twice."""
    beats = [one for one in messages(lines, "heartbeat", "reader-") if one["sequence"] > 5]
    random.choice(beats)["sequence"] -= 2


@after("I19")
def resumed_one_too_early(lines: Lines, random: Random) -> None:
    """A token gives the event that it was given with once more."""
    events = resumed_events(lines, random)
    stream_id, book = events[0]["stream_id"], events[0]["stream_id"].split("/")[0]
    before_it = [one for one in messages(lines, "event", f"{book}/1") if one["sequence"] == events[0]["sequence"] - 1]
    lines.history.insert(lines.history.index(events[0]), before_it[0] | {"stream_id": stream_id})


@after("I19")
def resumed_one_too_late(lines: Lines, random: Random) -> None:
    """A token skips the event after it."""
    lines.history.remove(resumed_events(lines, random)[0])


@after("I19")
def resumed_with_a_snapshot(lines: Lines, random: Random) -> None:
    """A token is taken for none."""
    event = resumed_events(lines, random)[0]
    message = event | {"payload": "snapshot_begin", "sequence": event["sequence"] - 1, "event": None, "order": None}
    lines.history.insert(lines.history.index(event), message)
