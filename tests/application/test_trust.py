"""What the gateway believes: after a start, about orphans, holdings, zombies and orders that the venue denies."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from gateway.application.alarms import Alarms
from gateway.application.owned_tasks import OwnedTasks
from gateway.application.position_check import READ_PAGE, PositionCheck
from gateway.application.trading_state import TradingStates
from gateway.domain.errors import (
    GatewayError,
    KeyFate,
    OrderFeedBlind,
    OrderNotFound,
    OrderRejected,
    OutcomeUnknown,
    Reconciling,
    VenueRateLimited,
    VenueUnreachable,
)
from gateway.domain.models.account import PositionBaseline
from gateway.domain.models.orders import UNREADABLE, OrderChanges, OrderFilter, OrderRef, VenueOrderUpdate
from gateway.domain.models.risk import TradingMode
from gateway.domain.types import FeedState, OnZombie, OrderState
from gateway.emulator.exchange import ExchangeConfig
from gateway.infrastructure.persistence.memory_journal import MemoryJournal
from gateway.infrastructure.persistence.memory_trading_states import MemoryTradingStates
from gateway.infrastructure.persistence.position_baselines import MemoryPositionBaselines
from tests.application.books import Books, Story
from tests.application.rig import Rig, settle
from tests.emulator.exchange.desk import make_spec

BUY = make_spec("AAPL", "buy", 10, limit_price="90")


def keep_books(rig: Rig) -> None:
    """Let the next life have this one's journal and baseline."""
    rig.settings |= {"journal": rig.gateway.journal, "baselines": rig.gateway.baselines, "is_journal_kept": True}


def fills(rig: Rig) -> list[Any]:
    return [event.fill for event in rig.gateway.journal.read(0, 100_000) if event.fill is not None]


class TestStart:
    async def test_only_reductions_and_cancels_pass_until_the_books_are_compared(self) -> None:
        rig = Rig()
        rig.quote("AAPL", 99.99, 100.0)
        await rig.venue.trading.submit_order(rig.call(), "by hand", make_spec("AAPL", "buy", 10))
        inner, down = rig.venue.trading.list_orders, [True]

        async def list_orders(*arguments: Any, **options: Any) -> Any:
            if down[0]:
                raise VenueUnreachable("down")
            return await inner(*arguments, **options)

        rig.trouble.list_orders = list_orders  # type: ignore[attr-defined]
        await rig.gateway.engine.start()
        await settle()
        assert rig.gateway.feed.status.state is FeedState.RECONCILING
        with pytest.raises(Reconciling) as caught:
            await rig.submit("k1", BUY)
        assert (caught.value.key, bool(caught.value.retry_after_ms)) == (KeyFate.FREE, True)
        sold = await rig.submit("s", make_spec("AAPL", "sell", 4, limit_price="150", reduce_only=True))
        await rig.gateway.engine.cancel(OrderRef(order_id=sold.order.order_id), 0, rig.call())
        await settle()
        assert rig.order("s").state is OrderState.CANCELED
        down[0] = False
        await rig.clock.advance(5)
        assert (await rig.submit("k1", BUY)).order.venue_order_id
        rig.venue.streaming.orders.break_off("cut")
        with pytest.raises(OrderFeedBlind):
            await rig.submit("k2", BUY)
        await rig.stop()

    async def test_what_happened_while_nobody_ran_is_told_once_with_its_executions(self, rig: Rig) -> None:
        await rig.submit("k1", BUY)
        await settle()
        keep_books(rig)
        await rig.stop()
        rig.quote("AAPL", 88.0, 89.0, size=4)
        rig.quote("AAPL", 87.0, 88.0, size=6)
        await rig.venue.trading.submit_order(rig.call(), "by hand", make_spec("MSFT", "buy", 3))
        rig.gateway = rig.new_gateway()
        await rig.gateway.engine.start()
        await settle()
        assert rig.gateway.feed.is_live
        told = [(fill.symbol, fill.quantity, fill.synthesized) for fill in fills(rig)]
        assert told == [("AAPL", 4, False), ("AAPL", 6, False), ("MSFT", 3, False)]
        assert rig.order("k1").state is OrderState.FILLED
        (outside,) = (
            order for order in (await rig.gateway.orders.list(OrderFilter(None), 0, "")).items if order.external
        )
        assert (outside.state, outside.filled_quantity) == (OrderState.FILLED, 3)
        await rig.clock.advance(120)
        assert not rig.gateway.alarms.counts
        assert len(fills(rig)) == 3

    async def test_executions_are_read_once_for_all_old_orders_that_ended_while_nobody_ran(self, rig: Rig) -> None:
        """Older than what a start lists anew: each is asked for, and a list of executions each would be twice that."""
        for number in range(5):
            await rig.submit(f"k{number}", make_spec("AAPL", "buy", 1, limit_price=str(90 - number), tif="gtc"))
        await rig.clock.advance(3_600)
        await rig.submit("young", make_spec("MSFT", "buy", 1, limit_price="90"))
        keep_books(rig)
        await rig.stop()
        rig.quote("AAPL", 80.0, 81.0)
        asked = []
        inner = rig.venue.account.list_fill_activities

        async def list_activities(*arguments: Any, **options: Any) -> Any:
            asked.append(arguments)
            return await inner(*arguments, **options)

        rig.venue.account.list_fill_activities = list_activities  # type: ignore[method-assign]
        rig.gateway = rig.new_gateway()
        await rig.gateway.engine.start()
        await settle()
        assert [(fill.quantity, fill.synthesized) for fill in fills(rig)] == [(1, False)] * 5
        assert len(asked) == 1

    async def test_a_leg_that_was_filled_while_nobody_ran_is_told_too(self, rig: Rig) -> None:
        spec = make_spec(
            "AAPL", "buy", 5, limit_price="99", order_class="bracket", take_profit="110", stop_loss="80", tif="gtc"
        )
        rig.trouble.after.append(OutcomeUnknown("lost"))
        rig.venue.streaming.orders.is_connected = False
        rig.trouble.blind_lookups = 1_000
        await rig.submit("b", spec)
        keep_books(rig)
        await rig.stop()
        rig.trouble.blind_lookups = 0
        rig.quote("AAPL", 98.0, 98.5)
        rig.quote("AAPL", 111.0, 111.5)
        rig.gateway = rig.new_gateway()
        await rig.gateway.engine.start()
        await settle()
        parent = rig.order("b")
        profit, loss = rig.gateway.orders.legs(parent)
        assert (parent.state, profit.state, loss.state) == (OrderState.FILLED, OrderState.FILLED, OrderState.CANCELED)
        assert [(fill.side.value, fill.quantity, fill.synthesized) for fill in fills(rig)] == [
            ("buy", 5, False),
            ("sell", 5, False),
        ]
        assert not [
            order for order in (await rig.gateway.orders.list(OrderFilter(None), 0, "")).items if order.external
        ]
        await rig.clock.advance(90)
        assert not rig.gateway.alarms.counts

    async def test_orders_of_ours_without_a_row_stop_new_risk(self, rig: Rig) -> None:
        await rig.submit("k1", BUY)
        await settle()
        rig.settings["is_journal_kept"] = True
        await rig.restart()  # its journal is gone
        assert rig.gateway.alarms.counts == {"orphan_adopted": 1}
        assert (rig.order("k1").state, rig.order("k1").strategy_id) == (OrderState.WORKING, "default")
        state = rig.gateway.states.current
        assert (state.mode, state.automatic, state.set_by) == (TradingMode.REDUCING, True, "orphan_adopted")
        assert (await rig.submit("k1", BUY)).replayed

    async def test_a_journal_that_is_not_kept_is_expected_to_be_empty(self, rig: Rig) -> None:
        await rig.submit("k1", BUY)
        await settle()
        await rig.restart()
        assert rig.gateway.alarms.counts == {"orphan_adopted": 1}
        assert rig.gateway.states.mode is TradingMode.ACTIVE


class TestHoldings:
    @staticmethod
    def _distort(rig: Rig, symbol: str, by: str) -> None:
        inner = rig.venue.account.list_positions

        async def list_positions(context: Any) -> Any:
            return [
                replace(position, quantity=position.quantity + Decimal(by)) if position.symbol == symbol else position
                for position in await inner(context)
            ]

        rig.venue.account.list_positions = list_positions  # type: ignore[method-assign]

    async def test_a_difference_counts_when_it_is_read_twice(self, rig: Rig) -> None:
        await rig.submit("k1", make_spec("AAPL", "buy", 10))
        await settle()
        self._distort(rig, "AAPL", "1")
        await rig.clock.advance(31)
        assert rig.gateway.states.mode is TradingMode.ACTIVE
        await rig.clock.advance(8)
        assert rig.gateway.states.mode is TradingMode.REDUCING
        assert rig.gateway.states.current.set_by == "position_drift"
        await rig.clock.advance(120)
        assert rig.gateway.alarms.counts == {"position_drift": 1}
        assert [fill.quantity for fill in fills(rig)] == [10]

    async def test_a_fill_between_two_readings_is_no_difference(self, rig: Rig) -> None:
        for key in range(12):
            await rig.submit(f"k{key}", make_spec("AAPL", "buy", 1))
            await rig.clock.advance(7)
        assert not rig.gateway.alarms.counts

    async def test_the_count_goes_on_after_a_restart(self, rig: Rig) -> None:
        await rig.submit("k1", make_spec("AAPL", "buy", 10))
        await rig.clock.advance(40)
        await rig.submit("k2", make_spec("AAPL", "buy", 5))
        keep_books(rig)
        await rig.restart()
        await rig.clock.advance(60)
        assert not rig.gateway.alarms.counts
        baseline = rig.gateway.baselines.current()
        assert baseline is not None
        assert baseline.positions == {"AAPL": 15}

    async def test_a_fill_while_the_count_is_taken_up_is_counted_once_like_those_before_it(self) -> None:
        journal, baselines = MemoryJournal(), MemoryPositionBaselines()
        books = Books(journal)
        story = Story(1, books)
        await baselines.put(PositionBaseline(0, {}, {}))
        await story.tell(3 * READ_PAGE)
        states = TradingStates(MemoryTradingStates(), OwnedTasks(), books.wall)
        check = PositionCheck(journal, baselines, Alarms(states, OwnedTasks()), lambda: 0.0)
        books.orders.news.add_listener(check.on_event)
        loading = asyncio.create_task(check.load())
        await asyncio.sleep(0)
        assert not loading.done()
        await story.tell(30)
        await loading
        await story.tell(30)
        counted: Counter[str] = Counter()
        for event in journal.read(0, 100_000):
            if event.fill is not None:
                counted[event.fill.symbol] += event.fill.quantity
        assert await check.compare(counted, 100.0)
        assert not await check.compare(counted | {"AAPL": 0}, 200.0)

    async def test_nothing_is_counted_from_a_reading_that_may_or_may_not_contain_a_fill(self, rig: Rig) -> None:
        rig.gateway.holdings._sequence = None  # as with a new journal, or one whose baseline is too old
        inner = rig.venue.account.list_positions

        async def list_positions(context: Any) -> Any:
            read = await inner(context)
            rig.venue.account.list_positions = inner  # type: ignore[method-assign]
            await rig.venue.trading.submit_order(rig.call(), "by hand", make_spec("AAPL", "buy", 10))
            await settle()
            return read

        rig.venue.account.list_positions = list_positions  # type: ignore[method-assign]
        await rig.clock.advance(30)
        await rig.clock.advance(90)
        assert [fill.quantity for fill in fills(rig)] == [10]
        baseline = rig.gateway.baselines.current()
        assert baseline is not None
        assert baseline.positions == {"AAPL": 10}
        assert not rig.gateway.alarms.counts

    async def test_a_fee_in_coins_is_allowed_for(self, rig: Rig) -> None:
        await rig.submit("k1", make_spec("BTC/USD", "buy", "0.5", tif="gtc"))
        await rig.clock.advance(90)
        assert rig.gateway.positions.held("BTC/USD") < Decimal("0.5")
        assert not rig.gateway.alarms.counts
        self._distort(rig, "BTC/USD", "-0.001")
        await rig.clock.advance(90)
        assert rig.gateway.alarms.counts == {"position_drift": 1}

    async def test_an_execution_that_nobody_told_is_found(self, rig: Rig) -> None:
        """A whole order from outside, between two looks at the open orders, on a mute feed."""
        rig.venue.streaming.orders.is_connected = False
        await rig.venue.trading.submit_order(rig.call(), "by hand", make_spec("AAPL", "buy", 3))
        await rig.clock.advance(50)
        assert [(fill.quantity, fill.synthesized) for fill in fills(rig)] == [(3, False)]
        await rig.clock.advance(60)
        assert not rig.gateway.alarms.counts


async def test_one_order_that_cannot_be_read_does_not_hide_the_others(rig: Rig) -> None:
    for key in ("k1", "k2"):
        await rig.submit(key, BUY)
    await settle()
    rig.venue.streaming.orders.is_connected = False
    await rig.venue.trading.replace_order(
        rig.call(), rig.order("k2").venue_order_id, "by hand", OrderChanges(limit_price=Decimal(91))
    )
    inner, hidden = rig.venue.trading.list_orders, rig.order("k1").venue_order_id

    async def list_orders(*arguments: Any, **options: Any) -> Any:
        return [
            replace(order, venue_status=UNREADABLE, quantity=None, limit_price=None, symbol="")
            if order.venue_order_id == hidden
            else order
            for order in await inner(*arguments, **options)
        ]

    rig.trouble.list_orders = list_orders  # type: ignore[attr-defined]
    asked = rig.trouble.lookups
    await rig.clock.advance(12)
    assert (rig.order("k1").state, rig.order("k1").spec.limit_price) == (OrderState.WORKING, 90)
    assert rig.order("k2").spec.limit_price == 91
    assert rig.trouble.lookups == asked


async def test_more_than_was_ordered_is_counted_and_is_an_alarm(rig: Rig) -> None:
    await rig.submit("k1", BUY)
    await settle()
    found = await rig.venue.trading.get_order(rig.call(), rig.order("k1").venue_order_id)
    over = replace(found, venue_status="filled", filled_quantity=Decimal(12), filled_average_price=Decimal(90))
    update = VenueOrderUpdate("fill", over, rig.clock.now_ns, None, "e1", Decimal(90), Decimal(12), Decimal(12))
    rig.gateway.feed.on_update(update)
    await settle()
    assert (rig.order("k1").state, rig.order("k1").filled_quantity) == (OrderState.FILLED, 12)
    assert rig.gateway.alarms.counts["order_overfilled"] == 1
    assert rig.gateway.positions.held("AAPL") == 12


async def test_a_status_that_nobody_knows_is_open_and_an_alarm(rig: Rig) -> None:
    await rig.submit("k1", BUY)
    await settle()
    found = await rig.venue.trading.get_order(rig.call(), rig.order("k1").venue_order_id)
    odd = replace(found, venue_status="pondering")
    rig.gateway.feed.on_update(VenueOrderUpdate("pondering", odd, rig.clock.now_ns))
    await settle()
    assert rig.order("k1").state is OrderState.UNRECOGNIZED
    assert rig.gateway.alarms.counts == {"status_unrecognized": 1}
    assert rig.gateway.orders.open_count == 1


@pytest.mark.parametrize("way", ["denied", "rejected", "not sent"])
async def test_whatever_never_was_is_watched_for(rig: Rig, way: str) -> None:
    spec = BUY
    if way == "denied":
        spec = make_spec("AAPL", "buy", 5_000, limit_price="90")
    elif way == "rejected":
        rig.trouble.before.append(OrderRejected("no"))
    else:
        rig.trouble.before.append(VenueRateLimited("later", retry_after_ms=60_000))
    with pytest.raises(GatewayError) as caught:
        await rig.submit("k1", spec)
    assert caught.value.key is KeyFate.SPENT
    at_venue = await rig.venue.trading.submit_order(
        rig.call(), "by hand", make_spec("AAPL", "buy", 1, limit_price="80")
    )
    sighted = replace(
        at_venue, venue_client_order_id="default.k1", quantity=spec.quantity, limit_price=spec.limit_price,
        venue_order_id="00000000-0000-4000-8000-000000000001",
    )  # fmt: skip
    rig.gateway.feed.on_update(VenueOrderUpdate("new", sighted, rig.clock.now_ns))
    await settle()
    assert rig.gateway.alarms.counts["order_resurrected"] == 1
    assert rig.order("k1").cancel_request_time_ns is not None
    assert rig.trouble.deletes == [sighted.venue_order_id]


class TestZombies:
    @staticmethod
    async def _give_up(rig: Rig) -> None:
        """An order that was called absent, and arrives then."""
        rig.trouble.before.append(OutcomeUnknown("late"))
        await rig.submit("k1", BUY)
        await rig.clock.advance(100)
        assert rig.order("k1").state is OrderState.ABSENT
        await rig.venue.trading.submit_order(rig.call(), "default.k1", BUY)
        await rig.clock.advance(1)

    async def test_a_zombie_is_canceled(self, rig: Rig) -> None:
        await self._give_up(rig)
        assert rig.gateway.alarms.counts == {"order_resurrected": 1}
        assert "resurrected" in rig.kinds("k1")
        assert rig.order("k1").state is OrderState.CANCELED

    async def test_a_zombie_is_kept_where_that_is_wanted(self) -> None:
        rig = await Rig(on_zombie=OnZombie.ADOPT).start()
        await self._give_up(rig)
        assert rig.gateway.alarms.counts == {"order_resurrected": 1}
        assert rig.order("k1").state is OrderState.WORKING
        assert (await rig.submit("k1", BUY)).replayed
        await rig.stop()

    async def test_a_zombie_that_was_filled_already_is_an_alarm_too(self, rig: Rig) -> None:
        rig.trouble.before.append(OutcomeUnknown("late"))
        await rig.submit("k1", make_spec("AAPL", "buy", 10))
        await rig.clock.advance(100)
        await rig.venue.trading.submit_order(rig.call(), "default.k1", make_spec("AAPL", "buy", 10))
        await rig.clock.advance(1)
        assert rig.gateway.alarms.counts == {"order_resurrected": 1}
        assert rig.order("k1").state is OrderState.FILLED
        assert [fill.quantity for fill in fills(rig)] == [10]

    async def test_an_acknowledged_order_that_the_venue_denies_stops_trading(self, rig: Rig) -> None:
        await rig.submit("k1", BUY)
        await rig.clock.advance(20)

        async def nothing(*_: Any, **__: Any) -> list[Any]:
            return []

        async def unknown(*_: Any, **__: Any) -> Any:
            raise OrderNotFound("the venue does not know this order")

        rig.trouble.list_orders, rig.trouble.get_order = nothing, unknown  # type: ignore[attr-defined]
        await rig.clock.advance(50)
        assert rig.gateway.states.mode is TradingMode.ACTIVE
        await rig.clock.advance(40)
        assert rig.gateway.states.mode is TradingMode.HALTED
        assert rig.order("k1").state is OrderState.WORKING  # nothing is guessed

    async def test_an_order_under_an_id_of_ours_stops_trading(self, rig: Rig) -> None:
        rig.venue.streaming.orders.is_connected = False
        await rig.venue.trading.submit_order(rig.call(), "default.k1", make_spec("AAPL", "buy", 7, limit_price="80"))
        with pytest.raises(Exception, match="another order") as caught:
            await rig.submit("k1", BUY)
        assert caught.value.key is KeyFate.TAKEN  # type: ignore[attr-defined]
        await settle()
        assert rig.gateway.states.mode is TradingMode.HALTED

    async def test_unless_it_is_older_than_what_is_remembered(self) -> None:
        rig = await Rig(ExchangeConfig()).start()
        rig.venue.streaming.orders.is_connected = False
        old = make_spec("AAPL", "buy", 7, limit_price="80", tif="gtc")
        await rig.venue.trading.submit_order(rig.call(), "default.k1", old)
        rig.clock.now_ns += 31 * 86_400 * 10**9
        rig.quote("AAPL", 99.99, 100.0)
        with pytest.raises(Exception, match="another order"):
            await rig.submit("k1", BUY)
        await settle()
        assert rig.gateway.states.mode is TradingMode.ACTIVE
        await rig.stop()
