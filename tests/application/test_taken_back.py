"""An execution that the venue takes back (a bust, a correction): nothing told is unsaid, and trading tightens."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from gateway.domain.models.orders import VenueOrderUpdate
from gateway.domain.models.risk import TradingMode
from gateway.domain.types import OrderState
from tests.application.rig import Rig, settle
from tests.emulator.exchange.desk import make_spec

AT_ONCE_S = 10
"""Two readings of what is held, six seconds apart; the next one that would come by itself is due in thirty."""


@pytest.mark.parametrize("word", ["trade_bust", "trade_correct"])
async def test_the_figures_are_compared_at_once(word: str) -> None:
    rig = await Rig().start()
    await rig.submit("k1", make_spec("AAPL", "buy", 10))
    await rig.clock.advance(60)  # the count of what is held has begun
    known = rig.order("k1")
    (told,) = known.venue_orders
    inner = rig.venue.account.list_positions

    async def less(*arguments: object) -> object:
        return [replace(found, quantity=Decimal(4)) for found in await inner(*arguments)]  # type: ignore[arg-type]

    rig.venue.account.list_positions = less  # type: ignore[assignment, method-assign]
    rig.gateway.feed.on_update(
        VenueOrderUpdate(word, replace(told, filled_quantity=Decimal(4)), rig.clock.now_ns, execution_id="taken-back")
    )
    await rig.clock.advance(AT_ONCE_S)
    assert rig.gateway.states.mode is TradingMode.REDUCING
    assert rig.gateway.alarms.counts["position_drift"] == 1
    after = rig.order("k1")
    assert (after.state, after.filled_quantity) == (OrderState.FILLED, 10), "filled quantities never fall"
    assert rig.gateway.feed.is_live
    await settle()
    await rig.stop()
