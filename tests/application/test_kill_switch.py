"""KillSwitch: everything goes, it is proved, and it stays gone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.application.kill_switch import Killed
from gateway.domain.errors import JournalUnavailable, OutcomeUnknown, VenueRateLimited, VenueUnreachable
from gateway.domain.models.orders import JournalEvent
from gateway.domain.models.risk import TradingMode
from gateway.domain.types import BudgetLane, FeedState, OrderState
from gateway.infrastructure.persistence.memory_journal import MemoryJournal
from gateway.infrastructure.persistence.memory_trading_states import MemoryTradingStates
from tests.application.rig import Rig, settle, until
from tests.emulator.exchange.desk import make_spec

BUY = make_spec("AAPL", "buy", 1, limit_price="90")
BTC = make_spec("BTC/USD", "buy", "0.01", limit_price="1000", tif="gtc")


async def kill(rig: Rig, seconds: float = 2.0) -> Killed:
    await rig.gateway.states.set(TradingMode.KILLED, "", "local")
    await rig.clock.advance(seconds)
    return await rig.gateway.kill.progress(0)


def open_at_venue(rig: Rig) -> int:
    return len(rig.exchange.orders(status="open", limit=500))


async def test_everything_open_is_canceled_in_one_request_and_that_is_proved(rig: Rig) -> None:
    keys = [f"k{number}" for number in range(30)]
    for number, key in enumerate(keys):
        await rig.submit(key, BUY, strategy_id="a" if number % 2 else "b")
    killed = await kill(rig)
    assert killed.all_gone
    assert open_at_venue(rig) == 0
    assert {result.state for result in killed.results} == {OrderState.CANCELED}
    assert len(killed.results) == 30
    assert all(result.error is None for result in killed.results)
    assert rig.trouble.deletes == [], "never one request each"
    assert 1 <= rig.trouble.cancel_alls <= 3
    order = rig.order("k0", "b")
    assert order.cancel_request_time_ns is not None
    assert "cancel_requested" in rig.events()


async def test_again_it_says_the_same_and_asks_nothing(rig: Rig) -> None:
    await rig.submit("k1", BUY)
    first = await kill(rig)
    asked = rig.trouble.cancel_alls
    again = await kill(rig, 0.0)
    assert (again, rig.trouble.cancel_alls) == (first, asked)


async def test_an_answer_waits_for_the_end_and_no_longer(rig: Rig) -> None:
    await rig.submit("k1", BUY)
    rig.trouble.cancel_all_errors = [VenueRateLimited("429", retry_after_ms=30_000)] * 4
    await rig.gateway.states.set(TradingMode.KILLED, "", "local")
    early = await rig.gateway.kill.progress(0.01)
    assert (early.all_gone, [result.state for result in early.results]) == (False, [OrderState.PENDING_CANCEL])
    waiting = asyncio.create_task(rig.gateway.kill.progress(5.0))
    await rig.clock.advance(3.0)  # 429s do not hold it up for as long as they say
    late = await asyncio.wait_for(waiting, 1)
    assert (late.all_gone, [result.state for result in late.results]) == (True, [OrderState.CANCELED])


async def test_an_unknown_order_is_canceled_when_it_is_seen(rig: Rig) -> None:
    assert rig.venue.streaming.orders is not None
    rig.venue.streaming.orders.is_connected = False  # or the feed would tell before anybody looks
    rig.trouble.after = [OutcomeUnknown("read timeout")]
    rig.trouble.blind_lookups = 4
    assert (await rig.submit("k1", BUY)).order.state is OrderState.OUTCOME_UNKNOWN
    await rig.gateway.states.set(TradingMode.KILLED, "", "local")
    await rig.clock.advance(10.0)
    killed = await rig.gateway.kill.progress(0)
    assert killed.all_gone
    assert rig.order("k1").state is OrderState.CANCELED


async def test_while_an_order_is_in_doubt_nothing_is_said_to_be_gone(rig: Rig) -> None:
    rig.trouble.before = [OutcomeUnknown("read timeout")]
    await rig.submit("k1", BUY)
    assert not (await kill(rig, 5.0)).all_gone
    await rig.clock.advance(90.0)
    assert rig.order("k1").state is OrderState.ABSENT
    assert (await rig.gateway.kill.progress(0)).all_gone


async def test_what_arrives_late_is_canceled_too_as_long_as_it_is_killed(rig: Rig) -> None:
    assert (await kill(rig)).all_gone
    for moment in range(3):
        await rig.venue.trading.submit_order(rig.call(), f"elsewhere-{moment}", BUY)
        await settle()
        assert not (await rig.gateway.kill.progress(0)).all_gone
        await rig.clock.advance(7.0)
        assert open_at_venue(rig) == 0
        assert (await rig.gateway.kill.progress(0)).all_gone


async def test_a_late_arrival_is_found_although_the_feed_is_mute(rig: Rig) -> None:
    assert (await kill(rig)).all_gone
    assert rig.venue.streaming.orders is not None
    rig.venue.streaming.orders.is_connected = False
    await rig.venue.trading.submit_order(rig.call(), "elsewhere", BUY)
    await rig.clock.advance(7.0)
    assert open_at_venue(rig) == 0


class BrokenJournal(MemoryJournal):
    """It stops recording when it is told to."""

    broken = False

    async def append(self, events: Any, then: Any = None) -> tuple[JournalEvent, ...]:
        if self.broken:
            raise JournalUnavailable("The disk is gone.")
        return await super().append(events, then)


async def test_a_journal_that_cannot_record_does_not_hold_it_up() -> None:
    journal = BrokenJournal()
    rig = await Rig(journal=journal).start()
    try:
        await rig.submit("k1", BUY)
        journal.broken = True
        killed = await kill(rig)
        assert open_at_venue(rig) == 0
        assert killed.all_gone
        assert [type(result.error) for result in killed.results] == [JournalUnavailable]
    finally:
        journal.broken = False
        await rig.stop()


async def test_a_restart_goes_on_with_it() -> None:
    store, journal = MemoryTradingStates(), MemoryJournal()
    rig = await Rig(state_store=store, journal=journal).start()
    await rig.submit("k1", BUY)
    await rig.submit("k2", BTC)
    rig.trouble.cancel_all_errors = [OutcomeUnknown("504")] * 1_000
    await rig.gateway.states.set(TradingMode.KILLED, "", "local")
    await settle()
    await rig.stop()
    assert open_at_venue(rig) == 2
    rig.trouble.cancel_all_errors = []
    rig.gateway = rig.new_gateway()
    assert rig.gateway.states.mode is TradingMode.KILLED
    await rig.gateway.engine.start()
    await rig.clock.advance(2.0)
    assert open_at_venue(rig) == 0
    assert (await rig.gateway.kill.progress(0)).all_gone
    await rig.stop()


async def test_going_on_leaves_owed_cancels_to_those_who_pursue_them(rig: Rig) -> None:
    await rig.submit("k1", BUY)
    rig.trouble.cancel_all_errors = [OutcomeUnknown("504")] * 1_000
    await rig.gateway.states.set(TradingMode.KILLED, "", "local")
    await until(lambda: rig.order("k1").cancel_request_time_ns is not None)
    await rig.gateway.states.set(TradingMode.ACTIVE, "enough", "local", expected_version=1)
    await rig.clock.advance(1.0)
    assert rig.order("k1").state is OrderState.CANCELED
    asked = rig.trouble.cancel_alls
    await rig.submit("k2", BUY)
    await rig.clock.advance(20.0)
    assert (rig.trouble.cancel_alls, rig.order("k2").state) == (asked, OrderState.WORKING)


@pytest.mark.parametrize("count", [1, 8])
async def test_orders_on_their_way_are_canceled_when_they_arrive(rig: Rig, count: int) -> None:
    rig.trouble.hang = asyncio.Event()
    sending = [asyncio.create_task(rig.submit(f"k{number}", BUY)) for number in range(count)]
    await until(lambda: len(rig.trouble.posts) == count)
    await rig.gateway.states.set(TradingMode.KILLED, "", "local")
    rig.trouble.hang.set()
    await asyncio.gather(*sending)
    await rig.clock.advance(3.0)
    assert open_at_venue(rig) == 0
    assert (await rig.gateway.kill.progress(0)).all_gone


async def test_it_does_not_wait_until_the_books_are_compared(rig: Rig) -> None:
    """RECONCILING, and blind: what is open at the venue is canceled all the same, and told when somebody can hear."""
    await rig.submit("k1", BUY)
    inner = rig.trouble._inner.list_orders
    rig.venue.streaming.orders.break_off("cut")
    down = [True]

    async def failing(call: Any, *arguments: Any, **options: Any) -> Any:
        if down[0] and call.lane is not BudgetLane.KILL:
            raise VenueUnreachable("down")
        return await inner(call, *arguments, **options)

    rig.trouble._inner.list_orders = failing
    rig.venue.streaming.orders.come_back()
    await settle()
    assert rig.gateway.feed.status.state is FeedState.RECONCILING
    await rig.gateway.states.set(TradingMode.KILLED, "", "local")
    await rig.clock.advance(2)
    assert open_at_venue(rig) == 0
    down[0] = False
    await rig.clock.advance(30)
    assert rig.gateway.feed.is_live
    assert rig.order("k1").state is OrderState.CANCELED
    assert (await rig.gateway.kill.progress(0)).all_gone
