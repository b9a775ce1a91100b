"""A journal that fails while it takes the end of an order: only the next life can tell whether it is on the disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from gateway.domain.errors import JournalUnavailable, OrderRejected
from gateway.domain.models.orders import JournalEvent, OrderEventKind
from gateway.infrastructure.persistence.memory_journal import MemoryJournal
from tests.application.rig import Rig
from tests.emulator.exchange.desk import make_spec

BUY = make_spec("AAPL", "buy", 10, limit_price="90")


class EndsFail(MemoryJournal):
    """Takes everything but the end of an order that was rejected."""

    async def append(
        self, events: Sequence[JournalEvent], then: Callable[[JournalEvent], object] | None = None
    ) -> tuple[JournalEvent, ...]:
        """As the journal's."""
        if any(event.kind is OrderEventKind.REJECTED for event in events):
            raise JournalUnavailable("the disk failed")
        return await super().append(events, then)


@pytest.fixture
async def failing() -> Any:
    rig = await Rig(journal=EndsFail()).start()
    yield rig
    await rig.stop()


async def test_neither_ok_nor_spent_is_said_before_it_is_known(failing: Rig) -> None:
    failing.trouble.before.append(OrderRejected("no"))
    for _ in range(2):  # the first caller, and one that comes later
        with pytest.raises(JournalUnavailable) as caught:
            await failing.submit("k1", BUY)
        assert caught.value.key is None
    assert failing.trouble.posts == []
