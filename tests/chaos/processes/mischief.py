"""Faults ordered from the emulator by its control routes: kind after kind, each written down with its number."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from tests.chaos.history import HistoryWriter
from tests.chaos.processes.programs import ask
from tests.chaos.processes.strategies import wall_ns

FAULTS: Final = "/emulator/v1/faults"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A fault, and where."""

    fault: str
    route: str = ""
    count: int = 2
    delay_ms: int = 0

    def to_json(self) -> dict[str, Any]:
        """As the control route reads it."""
        body: dict[str, Any] = {"fault": self.fault, "count": self.count}
        if self.route:
            body["route"] = self.route
        if self.delay_ms:
            body["delay_ms"] = self.delay_ms
        return body


POST: Final = "POST /v2/orders"
REPERTOIRE: Final = (
    Wanted("answer_lost", POST),
    Wanted("answer_reset", POST),
    Wanted("request_lost", POST, delay_ms=200),
    Wanted("arrives_late", POST, delay_ms=3_000),
    Wanted("arrives_late", POST, count=1, delay_ms=40_000),
    Wanted("http_429", POST, delay_ms=1_000),
    Wanted("http_500", POST),
    Wanted("http_500_accepted", POST),
    Wanted("http_502_html", POST),
    Wanted("http_504_accepted", POST, count=4),
    Wanted("http_504_not_accepted", POST),
    Wanted("body_truncated", POST),
    Wanted("body_empty", POST),
    Wanted("status_unknown", POST, count=1),
    Wanted("lookup_absent", count=2),
    Wanted("answer_lost", "DELETE /v2/orders/*", count=1),
    Wanted("event_dropped"),
    Wanted("event_duplicated"),
    Wanted("events_reordered"),
    Wanted("event_late", delay_ms=2_000),
    Wanted("event_empty", count=1),
    Wanted("event_unknown", count=1),
    Wanted("frame_truncated", count=1),
    Wanted("feed_disconnected", "orders", count=1),
    Wanted("feed_mute", "orders", count=1, delay_ms=2_000),
    Wanted("connection_limit", "orders", count=1),
)


class Mischief:
    """Orders faults, one after the other.

    Args:
        url: Of the emulator.
        notes: Where each is written down, so that the checker can tell whether it fired.
    """

    def __init__(self, url: str, notes: HistoryWriter) -> None:
        self._url = url + FAULTS
        self._notes = notes
        self._next = 0

    async def order_next(self) -> None:
        """The next of the repertoire."""
        wanted = REPERTOIRE[self._next % len(REPERTOIRE)]
        self._next += 1
        answer = await asyncio.to_thread(ask, self._url, "POST", wanted.to_json())
        facts = {"fault_id": answer["fault_id"], "fault": wanted.fault, "route": wanted.route, "count": wanted.count}
        self._notes.act("fault", time_ns=wall_ns(), **facts)

    async def fired(self) -> dict[str, int]:
        """How often each kind that was ordered has fired."""
        found: dict[str, int] = {}
        for fault in await asyncio.to_thread(ask, self._url):
            found[fault["fault"]] = found.get(fault["fault"], 0) + int(fault["fired"])
        return found

    async def are_all_fired(self) -> bool:
        """Whether each that was ordered has fired once at least."""
        return all(fault["fired"] for fault in await asyncio.to_thread(ask, self._url))

    async def heal(self) -> None:
        """Forget every fault."""
        await asyncio.to_thread(ask, self._url, "DELETE")
