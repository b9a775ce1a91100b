"""Many unknown outcomes at 200 requests a minute: every fate is found in time, and others get their turn."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from unittest.mock import AsyncMock

import pytest

from gateway.application.outcome_resolver import SETTLE_WINDOW_MS
from gateway.domain.models.orders import OrderRef
from gateway.domain.types import NANOS_PER_SECOND, BudgetLane, OrderState
from gateway.emulator.exchange import ExchangeConfig
from gateway.infrastructure.persistence.memory_journal import MemoryJournal
from gateway.services.lookup_pace import LOOKUPS_PART_MAX
from tests.application.metered import PER_MINUTE, MeteredRig
from tests.application.rig import settle
from tests.emulator.exchange.desk import make_spec

LOST = 100
PROBE_S = 5
IN_TIME_S = SETTLE_WINDOW_MS / 1_000 + 30
LOOKUPS = LOOKUPS_PART_MAX * PER_MINUTE
UPKEEP = 20
"""What the reconciler asks in a minute on the same lane: open orders, positions, account."""


async def running(per_minute: int) -> MeteredRig:
    rig = MeteredRig(ExchangeConfig(cash=Decimal(10_000_000)), journal=MemoryJournal())
    rig.per_minute = per_minute
    rig.gateway = rig.new_gateway()
    rig.clock.now_ns += 40 * NANOS_PER_SECOND  # the venue's minute is nearly over
    await rig.start()
    return rig


@pytest.fixture
async def metered() -> AsyncIterator[MeteredRig]:
    rig = await running(PER_MINUTE)
    yield rig
    await rig.stop()


async def lose(rig: MeteredRig, count: int, first: int = 0) -> list[str]:
    """Orders that never arrive, and whose answers never come."""
    keys = [f"lost-{number}" for number in range(first, first + count)]
    rig.meter.is_cut_off = True
    for number, key in enumerate(keys):
        await rig.submit(key, make_spec("AAPL", "buy", number + 1, limit_price="90"))
    rig.meter.is_cut_off = False
    await settle()
    assert {rig.order(key).state for key in keys} == {OrderState.OUTCOME_UNKNOWN}
    return keys


def unknown(rig: MeteredRig, keys: list[str]) -> list[str]:
    return [key for key in keys if rig.order(key).state is OrderState.OUTCOME_UNKNOWN]


async def test_a_hundred_at_once_leave_room_for_prices_and_orders(metered: MeteredRig) -> None:
    keys = await lose(metered, LOST)
    began = metered.clock.monotonic()
    await metered.clock.advance(20)  # the venue's next minute, in which the hundred do not count any more
    probes = 0
    while metered.clock.monotonic() - began < IN_TIME_S:
        spec = make_spec("MSFT", "buy", probes + 1, limit_price="150")
        assert (await metered.submit(f"probe-{probes}", spec)).order.state is not OrderState.OUTCOME_UNKNOWN
        assert len(unknown(metered, keys)) == LOST or metered.clock.monotonic() - began >= SETTLE_WINDOW_MS / 1_000
        probes += 1
        await metered.clock.advance(PROBE_S)
    assert {metered.order(key).state for key in keys} == {OrderState.ABSENT}
    assert metered.meter.refused == 0
    assert metered.meter.most_in_a_minute(BudgetLane.LOOKUP) <= LOOKUPS + UPKEEP
    assert metered.meter.most_in_a_minute(*BudgetLane) <= PER_MINUTE
    assert probes == IN_TIME_S // PROBE_S - 20 // PROBE_S


async def test_two_hundred_that_a_crash_left_open() -> None:
    """They are all in doubt from the same instant on, and half of them are at the venue."""
    rig = await running(100 * PER_MINUTE)
    keys = await lose(rig, 2 * LOST)
    await rig.stop()
    for number, key in enumerate(keys[:LOST]):
        spec = make_spec("AAPL", "buy", number + 1, limit_price="90")
        await rig.venue.trading.submit_order(rig.call(), f"default.{key}", spec)
    rig.trouble.blind_lookups = 1_000  # only the list shows them
    rig.settings["journal"] = rig.gateway.journal
    rig.per_minute = PER_MINUTE
    rig.gateway = rig.new_gateway()
    rig.gateway.reconciler._take_all = AsyncMock()  # type: ignore[method-assign]  # and the back-fill does not
    await rig.gateway.engine.start()
    began = rig.clock.monotonic()
    await rig.clock.advance(5)
    assert len(unknown(rig, keys)) == LOST
    await rig.clock.advance(IN_TIME_S - 5)
    ends = [rig.order(key).state for key in keys]
    assert set(ends[:LOST]) == {OrderState.WORKING}
    assert set(ends[LOST:]) == {OrderState.ABSENT}
    assert rig.meter.refused == 0
    assert rig.meter.most_in_a_minute(BudgetLane.LOOKUP) <= LOOKUPS + UPKEEP
    lookups = [at for at, lane in rig.meter.sent if lane is BudgetLane.LOOKUP]
    assert len(lookups) <= (LOOKUPS + UPKEEP) * (rig.clock.monotonic() - began) / 60
    await rig.stop()


async def test_cancels_that_are_owed_hurry_and_stay_within_the_same_share(metered: MeteredRig) -> None:
    keys = await lose(metered, LOST)
    await metered.clock.advance(25)
    began = metered.clock.monotonic()
    for key in keys:
        order_id = metered.order(key).order_id
        await metered.gateway.engine.cancel(OrderRef(order_id=order_id), 0, metered.call())
    await metered.venue.trading.submit_order(
        metered.call(), f"default.{keys[7]}", make_spec("AAPL", "buy", 8, limit_price="90")
    )
    await metered.clock.advance(10)
    assert metered.order(keys[7]).state is OrderState.CANCELED
    await metered.clock.advance(IN_TIME_S - 35)
    assert {metered.order(key).state for key in keys} == {OrderState.ABSENT, OrderState.CANCELED}
    hurried = [at for at, lane in metered.meter.sent if lane is BudgetLane.CANCEL and at < began + 60]
    assert 0 < len(hurried) <= LOOKUPS + UPKEEP
    assert metered.meter.refused == 0
