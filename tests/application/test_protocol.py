"""The protocol's edges: fills out of order, a journal that ends in the middle, cancels, replaces, and what is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pytest

from gateway.application.commands import CancelScope, CloseRequest, ReplaceRequest
from gateway.domain.errors import (
    BuyingPowerExceeded,
    CancelUnconfirmed,
    JournalUnavailable,
    KeyFate,
    OrderNotFound,
    OrderRejected,
    OutcomeUnknown,
    VenueAuthentication,
    VenueRateLimited,
    VenueUnreachable,
)
from gateway.domain.models.orders import JournalEvent, OrderChanges, OrderFilter, OrderRef
from gateway.domain.models.risk import TradingMode
from gateway.domain.types import FeedState, OrderState
from gateway.emulator.exchange import ExchangeConfig
from gateway.infrastructure.persistence.memory_journal import MemoryJournal
from tests.application.rig import Rig, settle
from tests.emulator.exchange.desk import make_spec

BUY = make_spec("AAPL", "buy", 10, limit_price="90")


class FailingJournal(MemoryJournal):
    """Records until it is told to fail; then never again."""

    def __init__(self) -> None:
        super().__init__()
        self._fault = ""
        self._fault_listeners: list[Callable[[str], None]] = []
        self.appends_left = 1_000_000

    @property
    def fault(self) -> str:
        return self._fault

    def add_fault_listener(self, listener: Callable[[str], None]) -> None:
        self._fault_listeners.append(listener)

    def fail(self) -> None:
        self._fault = "the disk is full"
        for listener in self._fault_listeners:
            listener(self._fault)

    async def append(self, events: Sequence[JournalEvent], then: Any = None) -> tuple[JournalEvent, ...]:
        self.appends_left -= 1
        if self.appends_left < 0 and not self._fault:
            self.fail()
        if self._fault:
            raise JournalUnavailable("The journal cannot record; nothing is sent.")
        return await super().append(events, then)


def ref(key: str) -> OrderRef:
    return OrderRef(client_order_id=key, strategy_id="default")


def told(rig: Rig) -> list[tuple[Decimal, Decimal, bool]]:
    events = rig.gateway.journal.read(0, 100_000)
    return [
        (event.fill.quantity, event.fill.cumulative_quantity, event.fill.synthesized)
        for event in events
        if event.fill is not None
    ]


class TestFillsOutOfOrder:
    @staticmethod
    async def _withhold(rig: Rig) -> list[Any]:
        """Two partial fills that the feed has not told yet."""
        await rig.submit("k1", BUY)
        await settle()
        feed = rig.venue.streaming.orders
        assert feed is not None
        withheld: list[Any] = []
        rig.settings["publish"] = feed.publish
        feed.publish = withheld.extend  # type: ignore[method-assign]
        rig.quote("AAPL", 88.0, 89.0, size=4)
        rig.quote("AAPL", 88.0, 89.5, size=3)
        assert len(withheld) == 2
        return withheld

    async def test_the_second_waits_for_the_first(self, rig: Rig) -> None:
        first, second = await self._withhold(rig)
        rig.settings["publish"]([second])
        await settle()
        assert told(rig) == []
        rig.settings["publish"]([first])
        await settle()
        assert told(rig) == [(4, 4, False), (3, 7, False)]
        await rig.clock.advance(2)
        assert len(told(rig)) == 2

    async def test_but_not_for_long(self, rig: Rig) -> None:
        """Then the executions in between are asked for."""
        _, second = await self._withhold(rig)
        rig.settings["publish"]([second])
        await rig.clock.advance(1.1)
        assert told(rig) == [(4, 4, False), (3, 7, False)]
        prices = [e.fill.price for e in rig.gateway.journal.read(0, 1_000) if e.fill is not None]
        assert prices == [89, Decimal("89.5")]

    async def test_and_what_nobody_knows_is_made_up(self, rig: Rig) -> None:
        _, second = await self._withhold(rig)

        async def unreadable(*_: Any, **__: Any) -> Any:
            raise VenueUnreachable("down")

        rig.trouble.get_order = unreadable  # type: ignore[attr-defined]
        rig.settings["publish"]([second])
        await rig.clock.advance(5)
        assert told(rig) == [(4, 4, True), (3, 7, False)]
        (made_up,) = [e.fill for e in rig.gateway.journal.read(0, 1_000) if e.fill is not None and e.fill.synthesized]
        assert made_up.fill_id == f"rest:{made_up.venue_order_id}:4"

    async def test_other_orders_do_not_wait(self, rig: Rig) -> None:
        _, second = await self._withhold(rig)
        rig.settings["publish"]([second])
        rig.venue.streaming.orders.publish = rig.settings["publish"]
        await rig.submit("k2", make_spec("MSFT", "buy", 1))
        await settle()
        assert rig.order("k2").state is OrderState.FILLED


async def test_an_acknowledged_order_that_the_feed_does_not_mention_is_looked_up(rig: Rig) -> None:
    rig.venue.streaming.orders.is_connected = False
    await rig.submit("k1", BUY)
    rig.exchange.cancel(rig.clock.now_ns, rig.order("k1").venue_order_id)
    await rig.clock.advance(2.4)
    assert rig.order("k1").state is OrderState.ACCEPTED
    await rig.clock.advance(1.2)
    assert rig.order("k1").state is OrderState.CANCELED


async def test_a_leg_waits_for_a_parent_whose_answer_was_lost(rig: Rig) -> None:
    spec = make_spec(
        "AAPL", "buy", 5, limit_price="101", order_class="bracket", take_profit="110", stop_loss="80", tif="gtc"
    )
    feed = rig.venue.streaming.orders
    publish = feed.publish
    feed.publish = lambda updates: publish(
        [update for update in updates if update.order.client_order_id != "default.b"]
    )
    rig.trouble.blind_lookups = 8
    rig.trouble.after.append(OutcomeUnknown("lost"))
    inner = rig.venue.trading.list_orders

    async def flat(*arguments: Any, **options: Any) -> Any:
        """Open orders as a venue lists them that nests legs under open parents alone."""
        found = await inner(*arguments, **options)
        return [leg for order in found for leg in (order.legs if order.venue_status == "filled" else (order,))]

    rig.trouble.list_orders = flat  # type: ignore[attr-defined]
    await rig.submit("b", spec)
    assert rig.order("b").state is OrderState.OUTCOME_UNKNOWN
    await rig.clock.advance(20)
    orders = rig.gateway.orders
    assert [order.external for order in (await orders.list(OrderFilter(None), 0, "")).items] == [False]
    await rig.clock.advance(40)
    assert rig.order("b").state is OrderState.FILLED
    assert [leg.state for leg in orders.legs(rig.order("b"))] == [OrderState.WORKING, OrderState.ACCEPTED]
    assert len((await orders.list(OrderFilter(None), 0, "")).items) == 3


class TestJournalFault:
    async def test_an_order_that_left_is_never_called_free(self) -> None:
        """The answer cannot be recorded: the key stands for an order that lives."""
        rig = await Rig(journal=FailingJournal()).start()
        journal = rig.gateway.journal
        assert isinstance(journal, FailingJournal)
        journal.appends_left = 1
        submitted = await rig.submit("k1", BUY)
        assert submitted.order.state is OrderState.SUBMITTING
        assert rig.trouble.posts == ["default.k1"]
        assert (await rig.submit("k1", BUY)).replayed
        await rig.stop()

    async def test_nothing_new_is_sent_and_everybody_is_told(self) -> None:
        rig = await Rig(journal=FailingJournal()).start()
        await rig.submit("k1", BUY)
        await settle()
        rig.gateway.journal.fail()  # type: ignore[attr-defined]
        await rig.clock.advance(1)
        with pytest.raises(JournalUnavailable) as caught:
            rig.gateway.orders.check_room()
        assert caught.value.key is KeyFate.FREE
        with pytest.raises(Exception, match=r"HALTED|record"):
            await rig.submit("k2", BUY)
        assert rig.trouble.posts == ["default.k1"]
        status = rig.gateway.feed.status
        assert (status.state, "journal" in status.detail) == (FeedState.DISCONNECTED, True)
        state = rig.gateway.states.current
        assert (state.mode, state.automatic) == (TradingMode.HALTED, True)
        rig.venue.streaming.orders.break_off("cut")
        rig.venue.streaming.orders.come_back()
        await rig.clock.advance(5)
        assert "journal" in rig.gateway.feed.status.detail
        await rig.stop()

    async def test_cancels_are_tried_and_say_what_is_true(self) -> None:
        rig = await Rig(journal=FailingJournal()).start()
        for key in ("k1", "k3"):
            await rig.submit(key, BUY)
        await rig.submit("k2", make_spec("MSFT", "buy", 1, limit_price="190"))
        await settle()
        rig.venue.streaming.orders.is_connected = False
        rig.quote("MSFT", 188.0, 189.0)
        rig.gateway.journal.fail()  # type: ignore[attr-defined]
        await settle()
        one = await rig.gateway.engine.cancel(ref("k1"), 0, rig.call())
        assert one.order.state is OrderState.PENDING_CANCEL
        assert rig.exchange.order(rig.order("k1").venue_order_id).status.value == "canceled"
        many = await rig.gateway.engine.cancel_orders(CancelScope("default"), rig.call())
        states = {result.order_id: (result.state, result.error) for result in many.results}
        assert states[rig.order("k2").order_id] == (OrderState.FILLED, None)
        assert states[rig.order("k3").order_id] == (OrderState.PENDING_CANCEL, None)
        assert not rig.exchange.orders(status="open", limit=10)
        assert rig.order("k3").state is OrderState.WORKING  # the books say what is recorded
        await rig.stop()

    async def test_a_cancel_that_the_venue_did_not_take_is_refused(self) -> None:
        rig = await Rig(journal=FailingJournal()).start()
        await rig.submit("k1", BUY)
        await settle()
        rig.gateway.journal.fail()  # type: ignore[attr-defined]
        rig.trouble.before.extend(VenueUnreachable("down") for _ in range(3))
        asked = asyncio.create_task(rig.gateway.engine.cancel(ref("k1"), 0, rig.call()))
        await rig.clock.advance(5)
        with pytest.raises(JournalUnavailable):
            await asked
        assert len(rig.trouble.deletes) == 3
        await rig.stop()


class TestReplace:
    @staticmethod
    async def _replace(rig: Rig, key: str, changes: OrderChanges, at: str = "r1") -> Any:
        request = ReplaceRequest(ref(key), "default", at, changes, rig.clock.now_ns + 5 * 10**9)
        return await rig.gateway.engine.replace(request, rig.call())

    async def test_both_sizes_of_a_buy_are_paid_for_until_it_is_settled(self) -> None:
        rig = await Rig(ExchangeConfig(cash=Decimal(1_000), multiplier=1)).start()
        await rig.submit("k1", make_spec("AAPL", "buy", 5, limit_price="90"))
        await settle()
        with pytest.raises(BuyingPowerExceeded):
            await self._replace(rig, "k1", OrderChanges(quantity=Decimal(7)))
        assert (await self._replace(rig, "k1", OrderChanges(quantity=Decimal(6)), "r2")).order
        await rig.stop()

    async def test_a_sell_of_all_that_is_held_can_be_replaced(self, rig: Rig) -> None:
        await rig.submit("b", make_spec("AAPL", "buy", 10))
        await settle()
        await rig.submit("s", make_spec("AAPL", "sell", 10, limit_price="150"))
        await settle()
        await self._replace(rig, "s", OrderChanges(quantity=Decimal(9)))
        await settle()
        await self._replace(rig, "s", OrderChanges(quantity=Decimal(10), limit_price=Decimal(140)), "r2")
        await settle()
        assert (rig.order("s").spec.quantity, rig.order("s").spec.limit_price) == (10, 140)

    async def test_another_order_under_its_id_is_not_taken_for_it(self, rig: Rig) -> None:
        await rig.submit("k1", BUY)
        await settle()
        rig.venue.streaming.orders.is_connected = False
        await rig.venue.trading.submit_order(rig.call(), "default.r1", make_spec("AAPL", "buy", 1, limit_price="80"))
        await self._replace(rig, "k1", OrderChanges(limit_price=Decimal(91)))
        await rig.clock.advance(2)
        assert "replace_rejected" in rig.kinds("k1")
        order = rig.order("k1")
        assert (order.state, order.spec.limit_price, len(order.venue_orders)) == (OrderState.WORKING, 90, 1)
        assert rig.gateway.states.mode is TradingMode.HALTED


async def test_a_shutdown_does_not_wait_for_what_the_journal_knows(rig: Rig) -> None:
    rig.venue.streaming.orders.is_connected = False
    rig.trouble.before.append(OutcomeUnknown("lost"))
    await rig.submit("k1", BUY)
    assert rig.order("k1").state is OrderState.OUTCOME_UNKNOWN
    async with asyncio.timeout(1):
        await rig.gateway.engine.stop(20_000)


async def test_a_shutdown_waits_for_a_request_in_flight(rig: Rig) -> None:
    rig.trouble.hang = asyncio.Event()
    submission = asyncio.create_task(rig.submit("k1", BUY))
    await settle()
    stopping = asyncio.create_task(rig.gateway.engine.stop(20_000))
    await settle()
    assert not stopping.done()
    rig.trouble.hang.set()
    await stopping
    assert (await submission).order.venue_order_id


async def test_a_refused_cancel_before_a_close_leaves_the_key_free(rig: Rig) -> None:
    await rig.submit("b", make_spec("AAPL", "buy", 10))
    await rig.submit("s", make_spec("AAPL", "sell", 10, limit_price="150"))
    await settle()
    rig.trouble.before.extend(OrderRejected("no", metadata={"venue_http_status": "422"}) for _ in range(9))
    request = CloseRequest("default", "AAPL", "close", cancel_orders=True)
    with pytest.raises(CancelUnconfirmed) as caught:
        await rig.gateway.workflow.close_position(request, rig.call())
    assert caught.value.key is KeyFate.FREE


async def test_events_carry_what_they_were_decided_by(rig: Rig) -> None:
    await rig.submit("k1", BUY)
    with pytest.raises(BuyingPowerExceeded):
        await rig.submit("k2", make_spec("AAPL", "buy", 1_000_000, limit_price="90"))
    rig.trouble.before.append(OrderRejected("no", metadata={"venue_http_status": "403", "venue_request_id": "r-7"}))
    with pytest.raises(OrderRejected):
        await rig.submit("k3", BUY)
    events = rig.gateway.journal.read(0, 100)
    checked = {event.kind.value: event.checks for event in events if event.checks}
    assert set(checked) == {"recorded", "denied"}
    assert all(check.passed for check in checked["recorded"])
    assert [check.reason for check in checked["denied"] if not check.passed] == ["RISK_BUYING_POWER"]
    assert [event.venue_request_id for event in events if event.kind.value == "rejected"] == ["r-7"]


async def test_a_cancel_of_an_order_that_the_venue_does_not_know_goes_on(rig: Rig) -> None:
    await rig.submit("k1", BUY)
    await settle()
    rig.trouble.before.append(OrderNotFound("not yet"))
    await rig.gateway.engine.cancel(ref("k1"), 0, rig.call())
    await rig.clock.advance(1)
    assert rig.order("k1").state is OrderState.CANCELED
    assert len(rig.trouble.deletes) == 2


REFUSED = {"venue_http_status": "403", "venue_message": "insufficient buying power"}
REDIRECTED = {"venue_http_status": "302"}


@pytest.mark.parametrize(
    ("met", "state", "key", "mode"),
    [
        (OutcomeUnknown("HTTP 504"), OrderState.OUTCOME_UNKNOWN, None, TradingMode.ACTIVE),
        (RuntimeError("whatever it is"), OrderState.OUTCOME_UNKNOWN, None, TradingMode.ACTIVE),
        (OrderRejected("no", metadata=REFUSED), OrderState.REJECTED, KeyFate.SPENT, TradingMode.ACTIVE),
        (OrderRejected("no", is_bad_value=True), OrderState.REJECTED, KeyFate.SPENT, TradingMode.ACTIVE),
        (OrderRejected("no", metadata=REDIRECTED), OrderState.REJECTED, KeyFate.SPENT, TradingMode.HALTED),
        (VenueAuthentication("no"), OrderState.REJECTED, KeyFate.SPENT, TradingMode.HALTED),
        (VenueRateLimited("later", retry_after_ms=100), OrderState.WORKING, None, TradingMode.ACTIVE),
        (VenueUnreachable("refused"), OrderState.WORKING, None, TradingMode.ACTIVE),
        (VenueRateLimited("later", retry_after_ms=60_000), OrderState.NOT_SENT, KeyFate.SPENT, TradingMode.ACTIVE),
    ],
)
async def test_what_an_answer_means(
    rig: Rig, met: Exception, state: OrderState, key: KeyFate | None, mode: TradingMode
) -> None:
    """What the venue's answer to the only request means for the order, the key and everybody else's orders."""
    rig.trouble.before.append(met)
    submission = asyncio.create_task(rig.submit("k1", BUY))
    await rig.clock.advance(0.2)
    answer = (await asyncio.gather(submission, return_exceptions=True))[0]
    assert rig.order("k1").state is state
    assert getattr(answer, "key", None) is key
    assert rig.gateway.states.mode is mode
    assert len(rig.trouble.posts) == (1 if state is OrderState.WORKING else 0)
    again = (await asyncio.gather(rig.submit("k1", BUY), return_exceptions=True))[0]
    assert (type(again), getattr(again, "key", None)) == (type(answer), key)  # the same for ever, also while halted
    assert len(rig.trouble.posts) <= 1
