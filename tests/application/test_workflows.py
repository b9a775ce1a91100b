"""Closing positions: one, a part, and all of them."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from gateway.application.commands import CloseManyRequest, CloseRequest, Submitted
from gateway.domain.errors import (
    CancelUnconfirmed,
    ClientOrderIdReused,
    KeyFate,
    OutcomeUnknown,
    PositionNotFound,
    VenueUnreachable,
)
from gateway.domain.models.risk import TradingMode
from gateway.domain.types import CallContext, OrderState
from tests.application.rig import Rig, settle
from tests.emulator.exchange.desk import make_spec

BUY = make_spec("AAPL", "buy", 10, limit_price="90")


class TestClose:
    async def close(self, rig: Rig, key: str = "c1", symbol: str = "AAPL", **fields: Any) -> Submitted:
        return await rig.gateway.workflow.close_position(CloseRequest("default", symbol, key, **fields), rig.call())

    async def test_everything(self, rig: Rig) -> None:
        await rig.submit("b", make_spec("AAPL", "buy", 10))
        await settle()
        closed = await self.close(rig)
        await settle()
        order = rig.order("c1")
        assert closed.order.order_id == order.order_id
        assert (order.state, order.filled_quantity, order.spec.reduce_only) == (OrderState.FILLED, 10, True)
        assert rig.gateway.positions.held("AAPL") == 0
        assert (await self.close(rig)).replayed
        with pytest.raises(PositionNotFound) as caught:
            await self.close(rig, "c2")
        assert caught.value.key is KeyFate.FREE
        with pytest.raises(ClientOrderIdReused):
            await self.close(rig, "c1", quantity=Decimal(1))

    async def test_a_part(self, rig: Rig) -> None:
        await rig.submit("b", make_spec("AAPL", "buy", 10))
        await settle()
        await self.close(rig, "c1", percentage=Decimal("33.3"))
        await self.close(rig, "c2", quantity=Decimal(2))
        await settle()
        assert rig.order("c1").spec.quantity == Decimal("3.33")
        assert rig.order("c2").spec.quantity == 2

    async def test_what_holds_the_position_goes_first(self, rig: Rig) -> None:
        await rig.submit("b", make_spec("AAPL", "buy", 10))
        await settle()
        await rig.submit("s", make_spec("AAPL", "sell", 10, limit_price="150"))
        await settle()
        await self.close(rig, "c1", cancel_orders=True)
        await settle()
        assert rig.order("s").state is OrderState.CANCELED
        assert rig.order("c1").state is OrderState.FILLED

    async def test_nothing_is_sent_while_a_cancel_is_unconfirmed(self, rig: Rig) -> None:
        await rig.submit("b", make_spec("AAPL", "buy", 10))
        await settle()
        rig.trouble.before = [OutcomeUnknown("504")]
        await rig.submit("s", make_spec("AAPL", "sell", 10, limit_price="150"))
        posts = len(rig.trouble.posts)
        request = CloseRequest("default", "AAPL", "c1", cancel_orders=True)
        with pytest.raises(CancelUnconfirmed) as caught:
            await rig.gateway.workflow.close_position(request, rig.call(0.3))
        assert caught.value.key is KeyFate.FREE
        assert len(rig.trouble.posts) == posts

    async def test_all_of_them(self, rig: Rig) -> None:
        await rig.submit("b", make_spec("AAPL", "buy", 10))
        await rig.submit("d", make_spec("BTC/USD", "buy", "0.1"))
        await settle()
        results = await rig.gateway.workflow.close_positions(CloseManyRequest("default", "flat"), rig.call())
        await settle()
        assert [result.symbol for result in results] == ["AAPL", "BTC/USD"]
        assert rig.order("flat-AAPL").state is OrderState.FILLED
        assert rig.order("flat-BTCUSD").state is OrderState.FILLED
        assert rig.order("flat-BTCUSD").spec.time_in_force == "gtc"
        assert await rig.venue.account.list_positions(rig.call()) == []

    async def close_all(self, rig: Rig, **fields: Any) -> list[tuple[str, Any]]:
        """Symbol and replayed, or the refusal."""
        request = CloseManyRequest("default", "flat", **fields)
        found = await rig.gateway.workflow.close_positions(request, rig.call())
        return [
            (one.symbol, one.outcome.replayed if isinstance(one.outcome, Submitted) else one.outcome) for one in found
        ]

    async def test_all_of_them_again_tells_what_was_closed(self, rig: Rig) -> None:
        """The answer was lost, say: the positions are gone, and their closing orders are what is asked about."""
        await rig.submit("b", make_spec("AAPL", "buy", 10))
        await rig.submit("d", make_spec("BTC/USD", "buy", "0.1"))
        await rig.submit("flat-MSFT", make_spec("MSFT", "buy", 1, limit_price="1"))  # not a close, under such a key
        await settle()
        assert await self.close_all(rig) == [("AAPL", False), ("BTC/USD", False)]
        await settle()
        posts = len(rig.trouble.posts)
        assert await self.close_all(rig) == [("AAPL", True), ("BTC/USD", True)]
        await rig.gateway.states.set(TradingMode.HALTED, "a drill", "a test")
        assert await self.close_all(rig) == [("AAPL", True), ("BTC/USD", True)]
        [(_, reused), _] = await self.close_all(rig, cancel_orders=True)
        assert (type(reused), reused.key) == (ClientOrderIdReused, KeyFate.TAKEN)
        assert len(rig.trouble.posts) == posts

    async def test_all_of_them_when_the_positions_cannot_be_read(
        self, rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The keys are free, unless some of them are known: then nothing is said, and the same call is the answer."""
        await rig.submit("b", make_spec("AAPL", "buy", 10))
        await settle()
        list_positions = rig.venue.account.list_positions

        async def failing(context: CallContext) -> Any:
            raise VenueUnreachable("no connection")

        async def refusal() -> VenueUnreachable:
            monkeypatch.setattr(rig.venue.account, "list_positions", failing)
            closing = asyncio.create_task(self.close_all(rig))
            await rig.clock.advance(2)
            with pytest.raises(VenueUnreachable) as caught:
                await closing
            monkeypatch.setattr(rig.venue.account, "list_positions", list_positions)
            return caught.value

        assert (await refusal()).key is KeyFate.FREE
        await self.close_all(rig)
        assert (await refusal()).key is None
