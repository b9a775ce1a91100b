"""Bugs that show on the machine: what is never given back, and what should never have been written."""

from __future__ import annotations

from typing import Any

from tests.chaos.damage.registry import before
from tests.chaos.world import World


def _act(world: World, name: str) -> dict[str, Any]:
    return [act for act in world.acts if act["act"] == name][-1]


@before("I30")
def threads_left_behind(world: World) -> None:
    """Each stream that is broken off leaves its thread."""
    _act(world, "resources")["threads"] += 30


@before("I30")
def memory_kept_for_the_gone(world: World) -> None:
    """What was held for a reader is never let go."""
    _act(world, "resources")["rss_kib"] += 40_000


@before("I30")
def sockets_left_open(world: World) -> None:
    """Connections to the venue that ended are not closed."""
    _act(world, "resources")["fds"] += 20


@before("I30")
def tasks_nobody_awaits(world: World) -> None:
    """A lookup's task goes on when its order is known."""
    _act(world, "resources")["tasks"] += 25


@before("I32")
def key_in_the_log(world: World) -> None:
    """An exception is logged with the request's headers."""
    _act(world, "secrets")["found"] = ["gateway.log"]


@before("I32")
def nothing_searched(world: World) -> None:
    """The run wrote its files where nobody looked."""
    _act(world, "secrets")["files"] = 0
