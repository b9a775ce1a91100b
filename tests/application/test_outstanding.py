"""What open orders may still trade: members of a family count once, and a replace counts as the larger of the two."""

from __future__ import annotations

from decimal import Decimal

from gateway.domain.errors import OutcomeUnknown
from gateway.domain.models.orders import OrderSpec
from gateway.domain.types import OrderSide
from tests.application.changes import cancel, changes, replace
from tests.application.rig import Rig, settle
from tests.emulator.exchange.desk import make_spec

ONE = make_spec("AAPL", "sell", 1, limit_price="150")


def selling(rig: Rig) -> Decimal:
    return rig.gateway.risk._outstanding.total("AAPL", OrderSide.SELL).quantity


async def passes(rig: Rig, spec: OrderSpec) -> bool:
    return (await rig.gateway.engine.preview("default", spec, rig.call())).would_be_accepted


async def test_the_two_halves_of_an_oco_count_once(rig: Rig) -> None:
    await rig.submit("held", make_spec("AAPL", "buy", 10))
    await settle()
    await rig.submit("oco", make_spec("AAPL", "sell", 9, order_class="oco", take_profit="110", stop_loss="90"))
    await settle()
    assert len(rig.gateway.orders.open_orders()) == 2
    assert selling(rig) == 9
    assert await passes(rig, ONE)
    assert not await passes(rig, make_spec("AAPL", "sell", 2, limit_price="150"))
    await cancel(rig, "oco")
    await settle()
    assert selling(rig) == 0


async def test_the_exits_of_a_bracket_hold_nothing_before_its_entry_is_filled(rig: Rig) -> None:
    bracket = make_spec(
        "AAPL", "buy", 10, limit_price="90", order_class="bracket", take_profit="110", stop_loss="80", tif="gtc"
    )
    await rig.submit("entry", bracket)
    await settle()
    assert selling(rig) == 0
    rig.quote("AAPL", 89.0, 90.0)
    await settle()
    assert selling(rig) == 10
    assert not await passes(rig, ONE)


async def test_an_unsettled_replace_of_a_sell_counts_as_the_larger(rig: Rig) -> None:
    await rig.submit("held", make_spec("AAPL", "buy", 10))
    await rig.submit("s", make_spec("AAPL", "sell", 4, limit_price="150"))
    await settle()
    rig.trouble.before = [OutcomeUnknown("504")]
    await replace(rig, "s", "more", changes(quantity=9))
    assert selling(rig) == 9
    assert await passes(rig, ONE)
    assert not await passes(rig, make_spec("AAPL", "sell", 2, limit_price="150"))
    await rig.clock.advance(80)  # it never arrived
    assert selling(rig) == 4
    rig.trouble.before = [OutcomeUnknown("504")]
    await replace(rig, "s", "less", changes(quantity=2))
    assert selling(rig) == 4


async def test_an_order_whose_fate_is_unknown_counts_whole(rig: Rig) -> None:
    await rig.submit("held", make_spec("AAPL", "buy", 10))
    await settle()
    rig.trouble.before = [OutcomeUnknown("504")]
    await rig.submit("s", make_spec("AAPL", "sell", 10, limit_price="150"))
    assert selling(rig) == 10
    assert not await passes(rig, ONE)
    await rig.clock.advance(80)
    assert selling(rig) == 0
