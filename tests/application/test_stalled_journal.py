"""A disk that neither takes nor refuses: what must not wait for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.application import cancellations
from gateway.application.commands import CancelScope
from gateway.domain.models.orders import OrderRef
from gateway.domain.models.risk import TradingMode
from gateway.domain.types import OrderState
from tests.application.rig import Rig, settle
from tests.application.slow_journal import SlowJournal
from tests.emulator.exchange.desk import make_spec

BUY = make_spec("AAPL", "buy", 10, limit_price="90")
WAIT_MS = 8_000
"""How long a caller is willing to wait for an end."""


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> SlowJournal:
    monkeypatch.setattr(cancellations, "RECORD_WAIT_MS", 20)
    return SlowJournal()


async def started(journal: SlowJournal) -> Rig:
    rig = await Rig(journal=journal).start()
    for key in ("k1", "k2", "k3"):
        await rig.submit(key, BUY)
    await settle()
    journal.may_write.clear()
    return rig


async def cancel(rig: Rig, key: str, wait_ms: int = 0) -> Any:
    return await rig.gateway.engine.cancel(OrderRef(client_order_id=key, strategy_id="default"), wait_ms, rig.call())


async def test_a_cancel_leaves_all_the_same_and_is_recorded_when_the_disk_goes_on(journal: SlowJournal) -> None:
    rig = await started(journal)
    answer = await cancel(rig, "k1")
    assert answer.order.state is OrderState.PENDING_CANCEL
    assert len(rig.trouble.deletes) == 1
    assert rig.order("k1").state is OrderState.WORKING, "the books have it when the journal has it"
    journal.may_write.set()
    await settle()
    assert rig.order("k1").state is OrderState.CANCELED
    assert rig.kinds("k1").count("cancel_requested") == 1
    await rig.stop()


async def test_so_does_each_of_many(journal: SlowJournal) -> None:
    rig = await started(journal)
    done = await rig.gateway.engine.cancel_orders(CancelScope("default"), rig.call())
    assert [(found.state, found.error) for found in done.results] == [(OrderState.PENDING_CANCEL, None)] * 3
    assert len(set(rig.trouble.deletes)) == 3
    journal.may_write.set()
    await settle()
    assert rig.gateway.orders.open_count == 0
    await rig.stop()


async def test_while_killed_only_the_kill_asks(journal: SlowJournal) -> None:
    rig = await started(journal)
    await rig.gateway.states.set(TradingMode.KILLED, "stop", "a test")
    waiting = asyncio.create_task(cancel(rig, "k1"))
    await asyncio.sleep(0.06)
    assert not waiting.done()
    assert rig.trouble.deletes == []
    assert rig.trouble.cancel_alls > 0
    journal.may_write.set()
    assert (await waiting).order.state in (OrderState.PENDING_CANCEL, OrderState.CANCELED)
    await rig.stop()


async def test_without_a_journal_a_cancel_waits_for_no_end_that_nobody_could_tell(journal: SlowJournal) -> None:
    rig = await started(journal)
    journal.is_broken = True
    journal.may_write.set()
    rig.gateway.feed.latch("the disk is gone")
    async with asyncio.timeout(WAIT_MS / 2_000):
        answer = await cancel(rig, "k1", wait_ms=WAIT_MS)
    assert answer.order.state is OrderState.PENDING_CANCEL
    assert len(rig.trouble.deletes) == 1
    await rig.stop()
