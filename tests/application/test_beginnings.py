"""One id, met from two sides at once: a caller with its key, and an order that somebody else sent under it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from gateway.application.commands import Submitted
from gateway.domain.errors import ClientOrderIdReused, JournalUnavailable, KeyFate
from gateway.domain.models.orders import OrderEventKind
from gateway.domain.models.risk import TradingMode
from gateway.domain.types import OrderState
from tests.application.rig import Rig, settle
from tests.application.slow_journal import SlowJournal
from tests.emulator.exchange.desk import make_spec

BUY = make_spec("AAPL", "buy", 10, limit_price="90")
OTHER = make_spec("AAPL", "buy", 3, limit_price="80")


async def rig_with(journal: SlowJournal) -> Rig:
    return await Rig(journal=journal, is_journal_kept=True).start()


async def both(rig: Rig, journal: SlowJournal, spec: Any, *, found_first: bool) -> asyncio.Task[Submitted]:
    """A caller sends BUY under a key while somebody else's order under that id is met; neither is recorded yet."""
    journal.may_write.clear()
    if found_first:
        await rig.venue.trading.submit_order(rig.call(), "default.k", spec)
        await settle()
    caller = asyncio.create_task(rig.submit("k", BUY))
    await settle()
    if not found_first:
        await rig.venue.trading.submit_order(rig.call(), "default.k", spec)
        await settle()
    assert not caller.done()
    journal.may_write.set()
    await settle()
    return caller


def begun(rig: Rig) -> list[str]:
    events = rig.gateway.journal.read(0, 1_000)
    return [event.order_id for event in events if event.kind is OrderEventKind.RECORDED]


@pytest.mark.parametrize("found_first", [True, False])
async def test_the_same_order_is_one_order(found_first: bool) -> None:
    rig = await rig_with(journal := SlowJournal())
    caller = await both(rig, journal, BUY, found_first=found_first)
    answer = await caller
    assert answer.order.state is OrderState.WORKING
    assert rig.trouble.posts == ([] if found_first else ["default.k"]), "which the venue refuses"
    assert begun(rig) == [answer.order.order_id]
    assert (await rig.submit("k", BUY)).order.order_id == answer.order.order_id
    with pytest.raises(ClientOrderIdReused):
        await rig.submit("k", OTHER)
    await rig.stop()


async def test_another_order_that_was_met_first_has_the_key() -> None:
    rig = await rig_with(journal := SlowJournal())
    caller = await both(rig, journal, OTHER, found_first=True)
    with pytest.raises(ClientOrderIdReused) as caught:
        await caller
    assert caught.value.key is KeyFate.TAKEN
    assert rig.order("k").spec.quantity == 3
    assert rig.trouble.posts == []
    assert len(begun(rig)) == 1
    with pytest.raises(ClientOrderIdReused):
        await rig.submit("k", BUY)
    await rig.stop()


async def test_another_order_that_was_met_second_stops_trading_and_ours_is_refused() -> None:
    rig = await rig_with(journal := SlowJournal())
    caller = await both(rig, journal, OTHER, found_first=False)
    with pytest.raises(ClientOrderIdReused):
        await caller
    await settle()
    assert len(set(begun(rig))) == 2
    assert rig.order("k").spec.quantity == 3
    assert rig.gateway.states.mode is TradingMode.HALTED
    with pytest.raises(ClientOrderIdReused):
        await rig.submit("k", BUY)
    await rig.stop()


async def test_an_order_that_was_met_and_could_not_be_recorded_sends_nothing() -> None:
    rig = await rig_with(journal := SlowJournal())
    journal.may_write.clear()
    await rig.venue.trading.submit_order(rig.call(), "default.k", OTHER)
    await settle()
    caller = asyncio.create_task(rig.submit("k", BUY))
    await settle()
    journal.is_broken = True
    journal.may_write.set()
    with pytest.raises(JournalUnavailable):
        await caller
    assert rig.trouble.posts == []
    journal.is_broken = False
    await rig.stop()


async def test_an_answer_that_bears_the_id_of_another_order_is_no_answer(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A venue that has forgotten its orders gives their ids away again."""
    first = (await rig.submit("first", BUY)).order
    monkeypatch.setattr(rig.gateway.feed, "on_update", lambda _: None)  # it says nothing of the second
    really_submit = rig.trouble.submit_order

    async def submit_order(*arguments: Any) -> Any:
        return replace(await really_submit(*arguments), venue_order_id=first.venue_order_id)

    monkeypatch.setattr(rig.trouble, "submit_order", submit_order)
    answer = await rig.submit("second", OTHER)
    await settle()
    assert answer.order.state is OrderState.OUTCOME_UNKNOWN
    assert rig.gateway.states.mode is TradingMode.HALTED
    await rig.clock.advance(1)
    assert rig.order("second").state is OrderState.WORKING, "looked up"
    assert rig.order("first").client_order_id == "first"
