"""A bracket whose answer was lost: its legs are known, even if it ends before anything else tells of them."""

from __future__ import annotations

from gateway.domain.errors import OutcomeUnknown
from gateway.domain.types import OrderState
from tests.application.rig import Rig, settle
from tests.emulator.exchange.desk import make_spec

BRACKET = make_spec(
    "AAPL", "buy", 10, limit_price=90, order_class="bracket", take_profit=110, stop_loss=80, tif="gtc"
)  # fmt: skip


async def test_a_lookup_brings_the_legs(rig: Rig) -> None:
    feed = rig.venue.streaming.orders
    assert feed is not None
    feed.publish = lambda updates: None  # type: ignore[method-assign]
    rig.trouble.after.append(OutcomeUnknown("answer lost"))
    await rig.submit("k1", BRACKET)
    assert rig.order("k1").state is OrderState.OUTCOME_UNKNOWN
    await rig.clock.advance(0.3)
    await settle()
    order = rig.order("k1")
    assert order.state is OrderState.WORKING
    assert len(rig.gateway.orders.legs(order)) == 2
