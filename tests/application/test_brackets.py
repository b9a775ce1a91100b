"""Brackets and pairs: legs are orders of their own, and one cancel ends the family."""

from __future__ import annotations

from gateway.application.commands import CancelScope, ReplaceRequest
from gateway.domain.models.orders import OrderRef
from gateway.domain.types import LegRole, OrderState
from tests.application.changes import changes
from tests.application.rig import Rig, settle
from tests.emulator.exchange.desk import make_spec

BRACKET = make_spec(
    "AAPL", "buy", 10, limit_price="90", order_class="bracket", take_profit="110", stop_loss="80", tif="gtc"
)


class TestBracket:
    async def test_legs_are_orders_of_their_own(self, rig: Rig) -> None:
        await rig.submit("k1", BRACKET)
        await settle()
        parent = rig.order("k1")
        profit, loss = rig.gateway.orders.legs(parent)
        assert (profit.leg_role, loss.leg_role) == (LegRole.TAKE_PROFIT, LegRole.STOP_LOSS)
        assert profit.order_id == f"{parent.order_id}/take-profit"
        assert profit.parent_order_id == parent.order_id
        assert profit.client_order_id == ""
        assert profit.state is OrderState.ACCEPTED
        rig.quote("AAPL", 89.0, 90.0)
        await settle()
        assert rig.order("k1").state is OrderState.FILLED
        assert rig.gateway.orders.legs(parent)[0].state is OrderState.WORKING
        rig.quote("AAPL", 110.0, 110.5)
        await settle()
        profit, loss = rig.gateway.orders.legs(parent)
        assert profit.state is OrderState.FILLED
        assert loss.state is OrderState.CANCELED
        assert not any(order.external for order in rig.gateway.orders.open_orders())
        assert rig.gateway.orders.open_count == 0

    async def test_canceling_a_family(self, rig: Rig) -> None:
        await rig.submit("k1", BRACKET)
        await settle()
        done = await rig.gateway.engine.cancel_orders(CancelScope("default"), rig.call())
        assert len(done.results) == 3
        await settle()
        assert rig.gateway.orders.open_count == 0
        assert len(rig.trouble.deletes) == 1

    async def test_a_leg_can_be_replaced(self, rig: Rig) -> None:
        await rig.submit("k1", BRACKET)
        rig.quote("AAPL", 89.0, 90.0)
        await settle()
        ref = OrderRef(order_id=f"{rig.order('k1').order_id}/take-profit")
        request = ReplaceRequest(ref, "default", "k2", changes(limit_price=105), rig.clock.now_ns + 5 * 10**9)
        await rig.gateway.engine.replace(request, rig.call())
        await settle()
        leg = rig.gateway.orders.get(ref)
        assert leg.spec.limit_price == 105
        assert leg.state is OrderState.WORKING

    async def test_an_oco(self, rig: Rig) -> None:
        await rig.submit("b", make_spec("AAPL", "buy", 10))
        await settle()
        oco = make_spec("AAPL", "sell", 10, order_class="oco", take_profit="110", stop_loss="90")
        await rig.submit("k1", oco)
        await settle()
        parent = rig.order("k1")
        [loss] = rig.gateway.orders.legs(parent)
        assert loss.leg_role is LegRole.STOP_LOSS
        rig.quote("AAPL", 111.0, 111.5)
        await settle()
        assert rig.order("k1").state is OrderState.FILLED
        assert rig.gateway.orders.open_count == 0
