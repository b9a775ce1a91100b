"""Canceling: one order, all of a scope, and what is owed until the order is seen."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.application.cancellations import BURST_MAX
from gateway.application.commands import CancelScope
from gateway.domain.errors import (
    OrderNotFound,
    OutcomeUnknown,
    VenueUnreachable,
)
from gateway.domain.types import OrderSide, OrderState
from tests.application.changes import cancel
from tests.application.rig import Rig, settle, until
from tests.emulator.exchange.desk import make_spec

BUY = make_spec("AAPL", "buy", 10, limit_price="90")


class TestCancel:
    async def test_working(self, rig: Rig) -> None:
        await rig.submit("k1", BUY)
        canceled = await cancel(rig, "k1", 100)
        assert not canceled.already_terminal
        assert canceled.order.state is OrderState.CANCELED
        assert "cancel_requested" in rig.kinds("k1")
        assert (await cancel(rig, "k1")).already_terminal

    async def test_filled_is_already_terminal(self, rig: Rig) -> None:
        await rig.submit("k1", make_spec("AAPL", "buy", 1))
        await settle()
        canceled = await cancel(rig, "k1")
        assert canceled.already_terminal
        assert canceled.order.state is OrderState.FILLED

    async def test_nobody(self, rig: Rig) -> None:
        with pytest.raises(OrderNotFound):
            await cancel(rig, "nobody")

    async def test_unknown_is_owed_and_fires_on_sight(self, rig: Rig) -> None:
        rig.venue.streaming.orders.is_connected = False
        rig.trouble.after = [OutcomeUnknown("504")]
        rig.trouble.blind_lookups = 1
        await rig.submit("k1", BUY)
        owed = (await cancel(rig, "k1")).order
        assert owed.state is OrderState.OUTCOME_UNKNOWN
        assert owed.cancel_request_time_ns is not None
        rig.venue.streaming.orders.is_connected = True
        await rig.clock.advance(2)
        assert rig.order("k1").state is OrderState.CANCELED

    async def test_before_it_was_sent(self, rig: Rig) -> None:
        rig.trouble.before = [VenueUnreachable("refused")] * 3
        rig.gateway.desk._submit_wait_s = 0.01
        submission = asyncio.create_task(rig.submit("k1", BUY))
        await settle()
        rig.clock.now_ns += 20_000_000
        await submission
        assert (await cancel(rig, "k1")).order.state is OrderState.SUBMITTING
        await rig.clock.advance(1)
        order = rig.order("k1")
        assert order.state is OrderState.NOT_SENT
        assert rig.trouble.posts == []

    async def test_a_lost_request_is_repeated(self, rig: Rig) -> None:
        await rig.submit("k1", BUY)
        rig.trouble.before = [OutcomeUnknown("504")]
        await cancel(rig, "k1")
        await rig.clock.advance(0.6)
        assert rig.order("k1").state is OrderState.CANCELED
        assert len(rig.trouble.deletes) == 2

    async def test_all_of_a_scope(self, rig: Rig) -> None:
        await rig.submit("a", BUY)
        await rig.submit("b", make_spec("MSFT", "buy", 1, limit_price="100"))
        await rig.submit("c", BUY, strategy_id="other")
        engine = rig.gateway.engine
        head = rig.gateway.orders.log.head("default")
        done = await engine.cancel_orders(CancelScope("default", symbols=frozenset({"AAPL"})), rig.call())
        assert [result.order_id for result in done.results] == [rig.order("a").order_id]
        assert done.sequence == head + 1
        await settle()
        assert rig.order("a").state is OrderState.CANCELED
        assert rig.order("b").state is OrderState.WORKING
        await engine.cancel_orders(CancelScope(None, side=OrderSide.BUY), rig.call())
        await settle()
        assert rig.gateway.orders.open_count == 0

    async def test_a_caller_that_goes_away_leaves_none_of_them_out(self, rig: Rig) -> None:
        for number in range(2 * BURST_MAX):
            await rig.submit(f"k{number}", make_spec("AAPL", "buy", 1, limit_price="90"))
        asking = asyncio.create_task(rig.gateway.engine.cancel_orders(CancelScope("default"), rig.call()))
        await asyncio.sleep(0)
        asking.cancel()
        await until(lambda: not rig.gateway.orders.open_count)

    async def test_one_that_meets_a_surprise_keeps_no_other_from_being_canceled(
        self, rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        count = BURST_MAX + 2
        for number in range(count):
            await rig.submit(f"k{number}", make_spec("AAPL", "buy", 1, limit_price="90"))
        request, surprising = rig.gateway.cancellations.request, rig.order("k1").order_id

        async def surprised(order_id: str) -> Any:
            if order_id == surprising:
                raise ZeroDivisionError
            return await request(order_id)

        monkeypatch.setattr(rig.gateway.cancellations, "request", surprised)
        with pytest.raises(ZeroDivisionError):
            await rig.gateway.engine.cancel_orders(CancelScope("default"), rig.call())
        await settle()
        assert [order.order_id for order in rig.gateway.orders.open_orders()] == [surprising]
