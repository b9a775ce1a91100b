"""What there is to spoil: rows, requests, calls and messages of a kind, chosen by the world's seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from tests.chaos.world import Call, Json, Lines, Row, World


def some_row(world: World, *kinds: str, having: Callable[[Row], bool] = lambda _: True) -> Row:
    """Some row of a kind."""
    return world.random.choice([row for row in world.rows if row.kind in kinds and having(row)])


def rows_of(world: World, order_id: str) -> list[Row]:
    return sorted((row for row in world.rows if row.order_id == order_id), key=lambda row: row.time_ns)


def first_row(world: World, row: Row) -> Row:
    return rows_of(world, row.order_id)[0]


def is_own(row: Row) -> bool:
    return bool(row.strategy_id) and "/" not in row.order_id


def key_of(world: World, row: Row) -> str:
    return str(first_row(world, row).body["request"]["client_order_id"])


def client_id_of(world: World, row: Row) -> str:
    return f"{row.strategy_id}.{key_of(world, row)}"


def requests_of(world: World, client_id: str) -> list[Json]:
    found = [one for one in world.ledger if one["kind"] == "REQUEST" and one["venue_client_order_id"] == client_id]
    return sorted(found, key=lambda line: int(line["time_ns"]))


def calls_of(world: World, row: Row) -> list[Call]:
    key = key_of(world, row)
    return [call for call in world.calls if call.line["client_order_id"] == key and call.end is not None]


def is_answered(call: Call) -> bool:
    return call.line["rpc"] == "SubmitOrder" and bool(call.shows) and call.end is not None and call.end["code"] == "OK"


def filled_order(world: World) -> Row:
    """An order that went the usual way: its fill."""
    return some_row(world, "fill", having=lambda row: is_own(row) and "synthesized" not in row.body["fill"])


def lost_and_found(world: World) -> Row:
    """An order whose answer was lost and that is at the venue: the row that says it is unknown."""
    found = {row.order_id for row in world.rows if row.kind == "accepted"}
    return some_row(world, "outcome_unknown", having=lambda row: row.order_id in found)


def messages(lines: Lines, payload: str, stream: str = "") -> list[Json]:
    return [
        line
        for line in lines.history
        if line["line"] == "message" and line["payload"] == payload and line["stream_id"].startswith(stream)
    ]


def resumed_events(lines: Lines, random: Random) -> list[Json]:
    """The events of a stream that was resumed."""
    book = random.choice(["alpha", "beta", "gamma", "account"])
    found = messages(lines, "event", f"reader-{book}/2")
    assert found, "nothing happened after the restart"
    return found


def quiescent(lines: Lines) -> Json:
    return next(line for line in lines.history if line.get("act") == "quiescent")


def returns(lines: Lines) -> Iterator[tuple[Json, Json]]:
    calls = {line["call_id"]: line for line in lines.history if line["line"] == "call"}
    return ((calls[line["call_id"]], line) for line in lines.history if line["line"] == "return")
