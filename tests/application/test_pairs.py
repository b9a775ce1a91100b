"""What leaves is what the journal has, what comes back speaks of it, and what has not left is looked at again first."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from gateway.application.submissions import Submissions
from gateway.domain.errors import (
    GatewayError,
    KeyFate,
    NotSent,
    OrderNotReplaceable,
    OrderTerminal,
    VenueRateLimited,
    VenueUnreachable,
)
from gateway.domain.models.orders import OrderChanges, OrderRef, VenueOrder
from gateway.domain.models.risk import TradingMode
from gateway.domain.types import OrderSide, OrderState, OrderType
from gateway.infrastructure.persistence.memory_journal import MemoryJournal
from tests.application.changes import cancel, changes, replace
from tests.application.rig import Rig, settle, until
from tests.emulator.exchange.desk import make_spec

BUY = make_spec("AAPL", "buy", 10, limit_price="90")
WAIT = VenueRateLimited("not now", retry_after_ms=500)


@pytest.fixture
def answers(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Fields that every answer to a change has instead of the true ones."""
    wrong: dict[str, Any] = {}

    def lying(ask: Any) -> Any:
        async def answer(*asked: Any) -> VenueOrder:
            return dataclasses.replace(await ask(*asked), **wrong)

        return answer

    for name in ("submit_order", "replace_order"):
        monkeypatch.setattr(rig.trouble, name, lying(getattr(rig.trouble, name)))
    yield wrong
    wrong.clear()


def is_halted(rig: Rig) -> bool:
    state = rig.gateway.states.current
    return (state.mode, state.automatic) == (TradingMode.HALTED, True)


class TestTheAnswer:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"venue_client_order_id": "default.other"},
            {"symbol": "MSFT"},
            {"side": OrderSide.SELL},
            {"quantity": Decimal(11)},
            {"order_type": OrderType.MARKET},
        ],
        ids=lambda wrong: next(iter(wrong)),
    )
    async def test_to_an_order_that_speaks_of_another_stops_trading(
        self, rig: Rig, answers: dict[str, Any], wrong: dict[str, Any]
    ) -> None:
        rig.venue.streaming.orders.is_connected = False
        answers.update(wrong)
        submitted = await rig.submit("k1", BUY)
        assert submitted.order.state is OrderState.OUTCOME_UNKNOWN
        await settle()
        assert is_halted(rig)
        assert rig.gateway.alarms.counts["answer_names_another_order"] == 1
        await rig.clock.advance(1)
        assert rig.order("k1").state is OrderState.WORKING
        assert rig.trouble.posts == ["default.k1"]

    @pytest.mark.parametrize(
        "wrong",
        [{"venue_client_order_id": "default.other"}, {"limit_price": Decimal(92)}, {"replaces": "other"}],
        ids=lambda wrong: next(iter(wrong)),
    )
    async def test_to_a_replace_that_speaks_of_another_stops_trading(
        self, rig: Rig, answers: dict[str, Any], wrong: dict[str, Any]
    ) -> None:
        await rig.submit("k1", BUY)
        await settle()
        rig.venue.streaming.orders.is_connected = False
        answers.update(wrong)
        asked = await replace(rig, "k1", "k2", changes(limit_price=91))
        assert asked.order.state is OrderState.PENDING_REPLACE
        await settle()
        assert is_halted(rig)
        await rig.clock.advance(1)
        assert (rig.order("k1").state, rig.order("k1").spec.limit_price) == (OrderState.WORKING, 91)
        assert len(rig.trouble.patches) == 1


async def test_what_the_journal_does_not_have_so_never_leaves(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    record = Submissions._record

    async def other(self: Any, command: Any, request: Any, *more: Any) -> Any:
        request, clearance = await record(self, command, request, *more)
        return dataclasses.replace(request, spec=make_spec("AAPL", "buy", 11, limit_price="90")), clearance

    monkeypatch.setattr(Submissions, "_record", other)
    assert (await rig.submit("k1", BUY)).order.state is OrderState.OUTCOME_UNKNOWN
    await settle()
    assert is_halted(rig)
    assert rig.trouble.posts == []


class TestAReplaceThatWaits:
    """The venue takes no more requests for the moment: what happens meanwhile is looked at before the next attempt."""

    async def waiting(self, rig: Rig, wanted: OrderChanges) -> asyncio.Task[Any]:
        await rig.submit("k1", BUY)
        await settle()
        rig.trouble.before = [WAIT]
        asking = asyncio.create_task(replace(rig, "k1", "r1", wanted))
        await until(lambda: not rig.trouble.before)
        await settle()
        return asking

    async def refusal(self, rig: Rig, asking: asyncio.Task[Any]) -> GatewayError:
        await rig.clock.advance(1)
        with pytest.raises(GatewayError) as caught:
            await asking
        assert caught.value.key is KeyFate.SPENT
        assert rig.trouble.patches == []
        return caught.value

    async def test_has_a_row_for_each_attempt(self, rig: Rig) -> None:
        asking = await self.waiting(rig, changes(limit_price=91))
        await rig.clock.advance(1)
        await asking
        await settle()
        rows = [event for event in rig.gateway.journal.read(0, 1_000) if event.client_order_id == "r1"]
        assert [row.attempt for row in rows if row.changes is not None] == [1, 2]
        assert (rig.order("k1").state, rig.order("k1").spec.limit_price) == (OrderState.WORKING, 91)
        assert (await replace(rig, "k1", "r1", changes(limit_price=91))).replayed
        assert len(rig.trouble.patches) == 1

    async def test_is_not_sent_to_an_order_that_has_ended(self, rig: Rig) -> None:
        asking = await self.waiting(rig, changes(limit_price=91))
        rig.quote("AAPL", 88.0, 89.0)
        assert isinstance(await self.refusal(rig, asking), OrderTerminal)
        assert rig.order("k1").state is OrderState.FILLED

    async def test_is_not_sent_for_less_than_is_filled(self, rig: Rig) -> None:
        asking = await self.waiting(rig, changes(quantity=4))
        rig.quote("AAPL", 88.0, 89.0, size=4)
        assert isinstance(await self.refusal(rig, asking), OrderNotReplaceable)
        await settle()
        assert (rig.order("k1").filled_quantity, rig.order("k1").spec.quantity) == (4, 10)

    async def test_is_not_sent_after_a_cancel(self, rig: Rig) -> None:
        asking = await self.waiting(rig, changes(limit_price=91))
        rig.venue.streaming.orders.is_connected = False  # the end is not known yet
        await cancel(rig, "k1")
        assert isinstance(await self.refusal(rig, asking), NotSent)

    async def test_is_never_sent_when_the_gateway_stops(self, rig: Rig) -> None:
        asking = await self.waiting(rig, changes(limit_price=91))
        await rig.gateway.engine.stop(0)
        assert isinstance(await self.refusal(rig, asking), NotSent)
        assert rig.order("k1").state is OrderState.WORKING


class TestABugAfterSending:
    """Nobody else looks for the order: its fate is unknown, and is found."""

    @pytest.fixture(autouse=True)
    def _bug(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        self.take = rig.gateway.resolver.take

        async def failing(*_: object) -> None:
            monkeypatch.setattr(rig.gateway.resolver, "take", self.take)
            raise ZeroDivisionError

        self.arm = lambda: monkeypatch.setattr(rig.gateway.resolver, "take", failing)

    async def test_an_order(self, rig: Rig) -> None:
        rig.venue.streaming.orders.is_connected = False
        self.arm()
        assert (await rig.submit("k1", BUY)).order.state is OrderState.OUTCOME_UNKNOWN
        await rig.clock.advance(1)
        assert rig.order("k1").state is OrderState.WORKING

    async def test_a_replace(self, rig: Rig) -> None:
        await rig.submit("k1", BUY)
        await settle()
        rig.venue.streaming.orders.is_connected = False
        self.arm()
        assert (await replace(rig, "k1", "r1", changes(limit_price=91))).order.state is OrderState.PENDING_REPLACE
        await rig.clock.advance(1)
        assert (rig.order("k1").state, rig.order("k1").spec.limit_price) == (OrderState.WORKING, 91)


async def test_an_order_that_waits_when_the_gateway_stops_is_never_sent() -> None:
    journal = MemoryJournal()
    rig = await Rig(journal=journal, submit_wait_ms=60_000).start()
    rig.trouble.before = [VenueUnreachable("no connection")]
    asking = asyncio.create_task(rig.submit("k1", BUY))
    await until(lambda: not rig.trouble.before)
    await settle()
    await rig.gateway.engine.stop(0)
    for again in (lambda: asking, lambda: rig.submit("k1", BUY)):
        with pytest.raises(NotSent) as caught:
            await again()
        assert caught.value.key is KeyFate.SPENT
    assert rig.order("k1").state is OrderState.NOT_SENT
    assert rig.trouble.posts == []
    await rig.restart()
    with pytest.raises(NotSent) as caught:
        await rig.submit("k1", BUY)
    assert caught.value.key is KeyFate.SPENT
    assert rig.gateway.orders.get(OrderRef(client_order_id="k1", strategy_id="default")).state is OrderState.NOT_SENT
    await rig.stop()
