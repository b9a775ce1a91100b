"""Replacing: the order keeps its id, the venue is asked for what is left, once."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from gateway.domain.errors import (
    BuyingPowerExceeded,
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
    VenueUnreachable,
    VersionMismatch,
)
from gateway.domain.models.orders import JournalEvent, OrderChanges, OrderEventKind
from gateway.domain.types import OrderState
from tests.application.changes import cancel, changes, replace
from tests.application.rig import Rig, settle, until
from tests.emulator.exchange.desk import make_spec

BUY = make_spec("AAPL", "buy", 10, limit_price="90")


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
