"""Bugs of stopping, answering in time, recovering, and of the journal itself."""

from __future__ import annotations

from random import Random

from tests.chaos import fates
from tests.chaos.damage.registry import after, before
from tests.chaos.world import HEALED_NS, MS, SECOND, STOP_NS, Lines, World


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
