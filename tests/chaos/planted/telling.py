"""Planted bugs of telling: order streams, tokens, heartbeats."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gateway.application.order_log import OrderLog
from gateway.application.order_updates import Heartbeat, OrderUpdates, SnapshotEnd
from gateway.domain.models.orders import OrderEvent
from tests.chaos.planted.registry import Patch, bug

_EVERY = 61
"""One event in so many is spoiled: often enough to show, and not in every page."""


@bug("I15")
def a_slow_readers_event_is_dropped(patch: Patch) -> None:
    """Now and then an event is left out of a page."""

    async def read(self: Any, strategy_id: str | None, after: int, limit: int) -> list[OrderEvent]:
        found: list[OrderEvent] = await was(self, strategy_id, after, limit)
        kept = [event for event in found if event.sequence % _EVERY]
        return kept or found  # an empty page would be asked for again for ever

    was = patch.set(OrderLog, "read", read)


@bug("I16", needs="readers of one strategy's book")
def events_out_of_order(patch: Patch) -> None:
    """Two events that were journaled one after the other are told the other way round."""

    async def read(self: Any, strategy_id: str | None, after: int, limit: int) -> list[OrderEvent]:
        found: list[OrderEvent] = await was(self, strategy_id, after, limit)
        for index in range(len(found) - 1):
            if found[index].sequence % _EVERY == 0:
                first, second = found[index], found[index + 1]
                found[index] = replace(second, sequence=first.sequence)
                found[index + 1] = replace(first, sequence=second.sequence)
        return found

    was = patch.set(OrderLog, "read", read)


@bug("I15", "I16", "I17", needs="readers of one strategy's book, and two strategies")
def filter_of_books_is_off(patch: Patch) -> None:
    """A strategy is told everybody's events, numbered as if they were its own."""

    async def read(self: Any, strategy_id: str | None, after: int, limit: int) -> list[OrderEvent]:
        found: list[OrderEvent] = await was(self, None, after, limit)
        head = self.head(strategy_id)
        return [event for event in found if event.sequence <= head]

    was = patch.set(OrderLog, "read", read)


@bug("I15", "I19", needs="streams that are resumed")
def resumed_one_too_early(patch: Patch) -> None:
    """A token gives its own event once more."""

    def position(self: Any, book: Any, token: str) -> int:
        found: int = was(self, book, token)
        return max(0, found - 1)

    was = patch.set(OrderUpdates, "_position", position)


@bug("I15", "I19", needs="streams that are resumed")
def resumed_one_too_late(patch: Patch) -> None:
    """A token leaves out the event after it."""

    def position(self: Any, book: Any, token: str) -> int:
        found: int = was(self, book, token)
        head: int = self._log.head(book.strategy_id)
        return min(found + 1, head)

    was = patch.set(OrderUpdates, "_position", position)


@bug("I18", needs="streams that are silent for a heartbeat")
def heartbeat_tells_the_accounts_head(patch: Patch) -> None:
    """A heartbeat carries the account's newest sequence, whatever book it is of."""

    def step(self: Any, reader: Any, payload: Any) -> Any:
        found = was(self, reader, payload)
        return replace(found, sequence=self._log.head(None)) if isinstance(payload, Heartbeat) else found

    was = patch.set(OrderUpdates, "_step", step)


@bug("I15", "I18", needs="snapshots while orders change")
def snapshot_numbered_before_it_was_taken(patch: Patch) -> None:
    """A snapshot ends with the sequence of the moment before, so that what follows it has a gap."""

    def step(self: Any, reader: Any, payload: Any) -> Any:
        found = was(self, reader, payload)
        is_end = isinstance(payload, SnapshotEnd) and found.sequence > 0
        return replace(found, sequence=found.sequence - 1) if is_end else found

    was = patch.set(OrderUpdates, "_step", step)


@bug("I16")
def record_time_of_the_telling(patch: Patch) -> None:
    """An event is told with the time at which it was read, so that twice told it differs."""

    async def read(self: Any, strategy_id: str | None, after: int, limit: int) -> list[OrderEvent]:
        found: list[OrderEvent] = await was(self, strategy_id, after, limit)
        return [
            replace(one, event=replace(one.event, record_time_ns=one.event.record_time_ns + after + 1)) for one in found
        ]

    was = patch.set(OrderLog, "read", read)
