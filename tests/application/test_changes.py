"""Replacing, canceling, brackets, and closing positions."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from gateway.application.cancellations import BURST_MAX
from gateway.application.commands import (
    CancelScope,
    CloseManyRequest,
    CloseRequest,
    ReplaceRequest,
    Submitted,
)
from gateway.domain.errors import (
    BuyingPowerExceeded,
    CancelUnconfirmed,
    ClientOrderIdReused,
    ExpiredUnsent,
    FieldInvalid,
    KeyFate,
    NotReplaceableYet,
    NotSent,
    OrderNotFound,
    OrderNotReplaceable,
    OrderRejected,
    OrderTerminal,
    OutcomeUnknown,
    PositionNotFound,
    VenueUnreachable,
    VersionMismatch,
)
from gateway.domain.models.orders import JournalEvent, OrderChanges, OrderEventKind, OrderRef
from gateway.domain.models.risk import TradingMode
from gateway.domain.types import CallContext, LegRole, OrderSide, OrderState
from tests.application.rig import Rig, settle, until
from tests.emulator.exchange.desk import make_spec

BUY = make_spec("AAPL", "buy", 10, limit_price="90")
BRACKET = make_spec(
    "AAPL", "buy", 10, limit_price="90", order_class="bracket", take_profit="110", stop_loss="80", tif="gtc"
)


def changes(**values: Any) -> OrderChanges:
    return OrderChanges(**{name: Decimal(str(value)) for name, value in values.items()})


async def replace(rig: Rig, key: str, new_key: str, wanted: OrderChanges, version: int | None = None) -> Submitted:
    ref = OrderRef(client_order_id=key, strategy_id="default")
    request = ReplaceRequest(ref, "default", new_key, wanted, rig.clock.now_ns + 5 * 10**9, version)
    return await rig.gateway.engine.replace(request, rig.call())


async def cancel(rig: Rig, key: str, wait_ms: int = 0) -> Any:
    return await rig.gateway.engine.cancel(OrderRef(client_order_id=key, strategy_id="default"), wait_ms, rig.call())


class TestReplace:
    async def test_the_order_stays_and_reads_as_asked(self, rig: Rig) -> None:
        first = (await rig.submit("k1", BUY)).order
        await replace(rig, "k1", "k2", changes(limit_price=91, quantity=12))
        await settle()
        order = rig.order("k1")
        assert order.order_id == first.order_id == rig.order("k2").order_id
        assert order.state is OrderState.WORKING
        assert (order.spec.limit_price, order.spec.quantity, order.leaves_quantity) == (91, 12, 12)
        assert [known.venue_client_order_id for known in order.venue_orders] == ["default.k1", "default.k2"]
        assert order.venue_orders[0].venue_status == "replaced"
        assert "replaced" in rig.kinds("k1")
        again = await replace(rig, "k1", "k2", changes(limit_price=91, quantity=12))
        assert again.replayed
        assert len(rig.trouble.patches) == 1

    async def test_the_venue_is_asked_for_what_is_left(self, rig: Rig) -> None:
        rig.quote("AAPL", 99.99, 100.0, size=4)
        await rig.submit("k1", make_spec("AAPL", "buy", 10, limit_price="100"))
        await settle()
        assert rig.order("k1").filled_quantity == 4
        await replace(rig, "k1", "k2", changes(quantity=20, limit_price=95))
        await settle()
        assert rig.trouble.patches[0][1].quantity == 16
        order = rig.order("k1")
        assert (order.filled_quantity, order.leaves_quantity, order.spec.quantity) == (4, 16, 20)
        rig.quote("AAPL", 94.99, 95.0)
        await settle()
        order = rig.order("k1")
        assert (order.state, order.filled_quantity) == (OrderState.FILLED, 20)
        assert order.filled_average_price == (4 * 100 + 16 * 95) / Decimal(20)

    async def test_what_the_last_hop_finds_too_old_changes_nothing(self, rig: Rig) -> None:
        await rig.submit("k1", BUY)
        await settle()
        rig.trouble.before = [ExpiredUnsent("valid_until passed before it could be sent.")]
        with pytest.raises(ExpiredUnsent) as caught:
            await replace(rig, "k1", "k2", changes(limit_price=91))
        assert caught.value.key is KeyFate.SPENT
        assert (rig.order("k1").state, rig.order("k1").spec.limit_price) == (OrderState.WORKING, 90)
        assert rig.trouble.patches == []

    async def test_a_lost_answer_is_looked_up_and_not_sent_again(self, rig: Rig) -> None:
        await rig.submit("k1", BUY)
        await settle()
        rig.venue.streaming.orders.is_connected = False
        rig.trouble.after = [OutcomeUnknown("504")]
        asked = await replace(rig, "k1", "k2", changes(limit_price=91))
        assert asked.order.state is OrderState.PENDING_REPLACE
        await rig.clock.advance(1)
        assert rig.order("k1").state is OrderState.WORKING
        assert rig.order("k1").spec.limit_price == 91
        assert len(rig.trouble.patches) == 1

    async def test_a_replace_that_never_arrived_is_given_up_after_the_settle_window(self, rig: Rig) -> None:
        await rig.submit("k1", BUY)
        await settle()
        rig.trouble.before = [OutcomeUnknown("504")]
        await replace(rig, "k1", "k2", changes(limit_price=91))
        await rig.clock.advance(30)
        assert rig.order("k1").state is OrderState.PENDING_REPLACE
        await rig.clock.advance(45)
        order = rig.order("k1")
        assert (order.state, order.spec.limit_price) == (OrderState.WORKING, 90)
        assert rig.kinds("k1")[-1] == "replace_rejected"
        assert (await replace(rig, "k1", "k2", changes(limit_price=91))).replayed

    async def test_a_refusal_that_the_feed_has_overtaken_refuses_nothing(
        self, rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A proxy's answer, say: the venue has told meanwhile that the replace took effect."""
        await rig.submit("k1", BUY)
        await settle()
        took = rig.trouble.replace_order

        async def refused(*asked: Any) -> Any:
            await took(*asked)
            await settle()
            raise OrderRejected("no")

        monkeypatch.setattr(rig.trouble, "replace_order", refused)
        asked = await replace(rig, "k1", "k2", changes(limit_price=91))
        assert (asked.order.state, asked.order.spec.limit_price) == (OrderState.WORKING, 91)
        assert "replace_rejected" not in rig.kinds("k1")
        assert (await replace(rig, "k1", "k2", changes(limit_price=91))).replayed

    async def test_what_was_not_found_of_one_replace_says_nothing_of_the_next(self, rig: Rig) -> None:
        """The first is refused by event while it is looked for; the second is on its way when that ends."""
        await rig.submit("k1", BUY)
        await settle()
        order = rig.order("k1")
        rig.trouble.before = [OutcomeUnknown("504")]
        await replace(rig, "k1", "k2", changes(limit_price=91))
        await rig.clock.advance(58)
        refused = JournalEvent(OrderEventKind.REPLACE_REJECTED, order.order_id, "default", 0, 0)
        await rig.gateway.orders.record([refused])
        rig.trouble.before = [OutcomeUnknown("504")]
        await replace(rig, "k1", "k3", changes(limit_price=92))
        await rig.clock.advance(20)
        assert rig.order("k1").pending_replace_id == "default.k3"
        await rig.clock.advance(60)
        assert rig.order("k1").state is OrderState.WORKING
        assert rig.kinds("k1").count("replace_rejected") == 2

    async def test_somebody_elses_replace_is_not_taken_for_ours(self, rig: Rig) -> None:
        """By hand, say, while ours waits to be sent: the order reads as the venue has it, and ours was never sent."""
        await rig.submit("k1", BUY)
        await settle()
        rig.trouble.before = [VenueUnreachable("no connection")]
        asking = asyncio.create_task(replace(rig, "k1", "k2", changes(limit_price=91)))
        await until(lambda: not rig.trouble.before)
        await settle()
        by_hand = changes(limit_price=85, quantity=7)
        await rig.venue.trading.replace_order(rig.call(), rig.order("k1").venue_order_id, "by-hand", by_hand)
        await settle()
        order = rig.order("k1")
        assert (order.spec.limit_price, order.spec.quantity) == (85, 7)
        await rig.clock.advance(1)
        with pytest.raises(NotSent) as caught:
            await asking
        assert (caught.value.key, rig.trouble.patches) == (KeyFate.SPENT, [])
        order = rig.order("k1")
        assert (order.state, order.spec.limit_price, order.leaves_quantity) == (OrderState.WORKING, 85, 7)

    async def test_a_refusal_leaves_the_order_and_is_the_keys_answer(self, rig: Rig) -> None:
        await rig.submit("k1", BUY)
        await settle()
        rig.trouble.before = [OrderRejected("no")]
        for _ in range(2):
            with pytest.raises(OrderRejected) as caught:
                await replace(rig, "k1", "k2", changes(limit_price=91))
            assert caught.value.key is KeyFate.SPENT
        assert rig.order("k1").state is OrderState.WORKING
        assert rig.order("k1").failure is None

    async def test_what_cannot_be_replaced(self, rig: Rig) -> None:
        await rig.submit("k1", BUY)
        await settle()
        with pytest.raises(VersionMismatch):
            await replace(rig, "k1", "k2", changes(limit_price=91), version=1)
        with pytest.raises(FieldInvalid):
            await replace(rig, "k1", "k2", OrderChanges())
        with pytest.raises(FieldInvalid):
            await replace(rig, "k1", "k2", changes(quantity="1.5"))
        with pytest.raises(ClientOrderIdReused):
            await replace(rig, "k1", "k1", changes(limit_price=91))
        with pytest.raises(OrderNotFound):
            await replace(rig, "nobody", "k2", changes(limit_price=91))
        await rig.submit("n1", make_spec("AAPL", "buy", notional="500"))
        await cancel(rig, "k1", 50)
        with pytest.raises(OrderTerminal):
            await replace(rig, "k1", "k2", changes(limit_price=91))
        assert rig.trouble.patches == []

    async def test_a_key_that_is_taken_is_not_called_free_for_want_of_the_order(self, rig: Rig) -> None:
        await rig.submit("k1", BUY)
        with pytest.raises(ClientOrderIdReused) as caught:
            await replace(rig, "nobody", "k1", changes(limit_price=91))
        assert caught.value.key is KeyFate.TAKEN

    async def test_not_yet(self, rig: Rig) -> None:
        rig.trouble.hang = asyncio.Event()
        rig.venue.streaming.orders.is_connected = False
        submission = asyncio.create_task(rig.submit("k1", BUY))
        await settle()
        with pytest.raises(NotReplaceableYet) as caught:
            await replace(rig, "k1", "k2", changes(limit_price=91))
        assert caught.value.retry_after_ms
        rig.trouble.hang.set()
        await submission

    async def test_not_of_an_unknown_outcome(self, rig: Rig) -> None:
        rig.trouble.before = [OutcomeUnknown("504")]
        await rig.submit("k1", BUY)
        with pytest.raises(OrderNotReplaceable):
            await replace(rig, "k1", "k2", changes(limit_price=91))

    async def test_figures_that_hang_keep_nobody_from_hearing_of_fills(self, rig: Rig) -> None:
        await rig.submit("k1", BUY)
        await rig.submit("k2", make_spec("MSFT", "buy", 1, limit_price="150"))
        await rig.clock.advance(2)  # what is known of the account is old
        get_account, answer = rig.venue.account.get_account, asyncio.Event()

        async def hanging(context: Any) -> Any:
            await answer.wait()
            return await get_account(context)

        rig.venue.account.get_account = hanging  # type: ignore[method-assign]
        asking = asyncio.create_task(replace(rig, "k1", "r1", changes(quantity=1_000_000)))
        await settle()
        rig.quote("AAPL", 88.0, 89.0, size=4)
        rig.quote("MSFT", 148.0, 149.0)
        await settle()
        assert rig.order("k1").filled_quantity == 4
        assert rig.order("k2").state is OrderState.FILLED
        answer.set()
        with pytest.raises(BuyingPowerExceeded):
            await asking

    async def test_a_fill_that_crosses_is_corrected(self, rig: Rig) -> None:
        await rig.submit("k1", make_spec("AAPL", "buy", 10, limit_price="95"))
        await settle()
        inner = rig.trouble._inner.replace_order

        async def crossed(*arguments: Any) -> Any:
            rig.trouble._inner.replace_order = inner
            rig.quote("AAPL", 94.0, 95.0, size=6)  # six are filled while the replace is on its way
            return await inner(*arguments)

        rig.trouble._inner.replace_order = crossed
        await replace(rig, "k1", "k2", changes(quantity=8))
        await rig.clock.advance(1)
        order = rig.order("k1")
        assert (order.spec.quantity, order.filled_quantity, order.leaves_quantity) == (8, 6, 2)
        assert order.venue_order is not None
        assert order.venue_order.quantity == 2


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
