"""CacheService: time-bounded reads, one fetch shared by all who wait for it.

Promises: nobody is served anything older than they allowed, and at most one fetch per key and age runs at a time.
Leaves to its users what the keys are and how a value is fetched. An error is never cached.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from cachetools import LRUCache

from gateway.domain.types import MS_PER_SECOND

ENTRIES_MAX: Final = 4_096

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Entry:
    asked_at: float
    value: Any


@dataclass(frozen=True, slots=True)
class _Fetch:
    asked_at: float
    task: asyncio.Task[Any]


class CacheService:
    """Values by key, each with the moment at which it was asked for: it is at least as new as that.

    Args:
        monotonic: Seconds, as `time.monotonic`.
        entries_max: Values kept; the least recently used go first.
    """

    def __init__(self, monotonic: Callable[[], float], entries_max: int = ENTRIES_MAX) -> None:
        self._monotonic = monotonic
        self._entries: LRUCache[Hashable, _Entry] = LRUCache(maxsize=entries_max)
        self._fetches: dict[Hashable, _Fetch] = {}

    async def get(self, key: Hashable, max_age_ms: int, fetch: Callable[[], Awaitable[T]]) -> T:
        """The value, at most so old; 0 always asks. A waiter that goes away does not end the fetch for the others.

        Raises:
            Whatever `fetch` raises.
        """
        now = self._monotonic()
        max_age = max_age_ms / MS_PER_SECOND
        entry = self._entries.get(key)
        if entry is not None and max_age_ms > 0 and now - entry.asked_at <= max_age:
            value: T = entry.value
            return value
        running = self._fetches.get(key)
        if running is None or (now - running.asked_at > max_age):
            running = _Fetch(now, asyncio.ensure_future(self._run(key, now, fetch)))
            running.task.add_done_callback(_retrieve)
            self._fetches[key] = running
        fetched: T = await asyncio.shield(running.task)
        return fetched

    def drop(self, key: Hashable) -> None:
        """Forget a value, and one that is being fetched: something happened that changed it."""
        self._entries.pop(key, None)
        self._fetches.pop(key, None)

    async def _run(self, key: Hashable, asked_at: float, fetch: Callable[[], Awaitable[T]]) -> T:
        this = asyncio.current_task()
        try:
            value = await fetch()
            if self._is_wanted(key, this):
                self._entries[key] = _Entry(asked_at, value)
            return value
        finally:
            if self._is_wanted(key, this):
                del self._fetches[key]

    def _is_wanted(self, key: Hashable, task: asyncio.Task[Any] | None) -> bool:
        """Whether a fetch is still the key's: nothing dropped it, and no newer one took its place."""
        running = self._fetches.get(key)
        return running is not None and running.task is task


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Every waiter may be gone: an error that nobody hears is not worth a warning."""
    if not task.cancelled():
        task.exception()
