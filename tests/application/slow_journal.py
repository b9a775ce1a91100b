"""A journal in memory on a disk that a test stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from gateway.domain.errors import JournalUnavailable
from gateway.domain.models.orders import JournalEvent
from gateway.infrastructure.persistence.memory_journal import MemoryJournal


class SlowJournal(MemoryJournal):
    """Writes when it is let, in the order in which it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.may_write = asyncio.Event()
        self.may_write.set()
        self.is_broken = False

    async def append(
        self, events: Sequence[JournalEvent], then: Callable[[JournalEvent], object] | None = None
    ) -> tuple[JournalEvent, ...]:
        await self.may_write.wait()
        if self.is_broken:
            raise JournalUnavailable("The disk is gone.")
        return await super().append(events, then)
