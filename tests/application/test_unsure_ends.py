"""A journal that fails while it takes the end of an order: only the next life can tell whether it is on the disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from gateway.domain.errors import JournalUnavailable, OrderRejected, OutcomeUnknown
from gateway.domain.models.orders import JournalEvent, OrderEventKind
from gateway.domain.types import OrderState
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


class FatesFail(MemoryJournal):
    """Cannot record that an order is absent, for a while."""

    is_failing = True

    async def append(
        self, events: Sequence[JournalEvent], then: Callable[[JournalEvent], object] | None = None
    ) -> tuple[JournalEvent, ...]:
        """As the journal's."""
        if self.is_failing and any(event.kind is OrderEventKind.ABSENT for event in events):
            raise JournalUnavailable("the disk is slow")
        return await super().append(events, then)


async def test_fates_that_cannot_be_recorded_are_one_alarm_a_fault() -> None:
    """And they are recorded when that is possible again; an alarm for each order every ten seconds helps nobody."""
    journal = FatesFail()
    rig = await Rig(journal=journal).start()
    rig.trouble.before += [OutcomeUnknown("lost")] * 3
    for key in ("k1", "k2", "k3"):
        await rig.submit(key, BUY)
    await rig.clock.advance(150)
    assert {rig.order(key).state for key in ("k1", "k2", "k3")} == {OrderState.OUTCOME_UNKNOWN}
    assert rig.gateway.alarms.counts["fates_not_recorded"] == 1
    journal.is_failing = False
    await rig.clock.advance(30)
    assert {rig.order(key).state for key in ("k1", "k2", "k3")} == {OrderState.ABSENT}
    rig.trouble.before.append(OutcomeUnknown("lost"))
    await rig.submit("k4", BUY)
    journal.is_failing = True
    await rig.clock.advance(150)
    assert rig.gateway.alarms.counts["fates_not_recorded"] == 2
    await rig.stop()


async def test_nobody_is_looked_for_while_nothing_can_be_recorded_any_more(rig: Rig) -> None:
    """The next life does: the journal knows whom it left in doubt."""
    rig.trouble.before.append(OutcomeUnknown("lost"))
    await rig.submit("k1", BUY)
    await rig.clock.advance(1)
    rig.gateway.feed.latch("the disk failed")
    asked = rig.trouble.lookups
    assert asked
    await rig.clock.advance(200)
    assert rig.trouble.lookups == asked
    assert rig.order("k1").state is OrderState.OUTCOME_UNKNOWN
