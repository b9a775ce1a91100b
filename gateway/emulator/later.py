"""What happens after a delay, whoever has gone meanwhile: late requests, late events, feeds that speak again.

Promises: time is the injected sleep's; what is pending can be counted by kind; what has not happened when the emulator
ends is reported, not forgotten. Bounded: past PENDING_MAX things happen without their delay.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from gateway.emulator.wire import JsonObject

PENDING_MAX: Final = 100_000
"""Late requests and events that may wait at once."""

Sleep = Callable[[float], Awaitable[None]]
"""Seconds."""

_log = structlog.get_logger(__name__)


class Later:
    """Delayed work of one emulator.

    Args:
        sleep: Waits for seconds.
    """

    def __init__(self, sleep: Sleep) -> None:
        self.sleep = sleep
        self._pending: dict[asyncio.Task[None], tuple[str, JsonObject]] = {}

    def after(
        self, delay_ms: int, act: Callable[[], Awaitable[None]], *, kind: str, told: JsonObject | None = None
    ) -> None:
        """Do something after a delay.

        Args:
            delay_ms: How long to wait.
            act: What to do.
            kind: What it is counted as.
            told: What `stop` reports if it never happens.
        """
        wait_ms = delay_ms if len(self._pending) < PENDING_MAX else 0
        task = asyncio.create_task(self._wait_and_act(wait_ms, act))
        self._pending[task] = (kind, told or {})
        task.add_done_callback(self._ended)

    def count(self, kind: str) -> int:
        """How many of a kind are pending."""
        return Counter(one for one, _ in self._pending.values())[kind]

    async def stop(self, kind: str) -> list[JsonObject]:
        """End everything; what of a kind never happened, as it was told."""
        reports = [told for one, told in self._pending.values() if one == kind]
        tasks = list(self._pending)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        return reports

    async def _wait_and_act(self, delay_ms: int, act: Callable[[], Awaitable[None]]) -> None:
        await self.sleep(delay_ms / 1000)
        await act()

    def _ended(self, task: asyncio.Task[None]) -> None:
        kind, _ = self._pending.pop(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("late_work_failed", kind=kind, exc_info=task.exception())
