"""Who hears every event of orders: one that fails is an alarm, and neither the journal's end nor anybody else's."""

from __future__ import annotations

import asyncio

import pytest

from gateway.application.order_updates import OrderUpdates, StartLive
from gateway.application.resume_tokens import Book
from gateway.domain.models.orders import JournalEvent, Order, OrderEvent
from gateway.domain.models.risk import TradingMode
from tests.application.rig import Rig, settle
from tests.emulator.exchange.desk import make_spec


class Surprise(Exception):
    """Nobody expects it."""


class Deaf:
    """Takes nothing in."""

    def on_event(self, event: JournalEvent, order: Order) -> None:
        raise Surprise


async def test_a_part_that_does_not_take_an_event_in_halts_trading_and_breaks_nothing(rig: Rig) -> None:
    orders = rig.gateway.orders
    heard: list[int] = []
    orders.news.add_listener(Deaf().on_event)
    orders.news.add_listener(lambda event, _: heard.append(event.sequence))
    submitted = await rig.submit("k1", make_spec("AAPL", "buy", 10))
    await settle()
    assert submitted.order.order_id
    assert not rig.gateway.journal.fault
    assert heard == list(range(1, rig.gateway.journal.head + 1))
    assert rig.gateway.alarms.counts["event_not_heard"] == len(heard)
    assert rig.gateway.states.mode is TradingMode.HALTED
    assert rig.gateway.states.current.set_by == "event_not_heard"


async def test_a_stream_whose_waking_fails_reads_the_journal_all_the_same(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = rig.gateway.orders

    def surprise(self: OrderUpdates, event: JournalEvent, order: Order) -> None:
        raise Surprise

    monkeypatch.setattr(OrderUpdates, "_on_event", surprise)
    updates = OrderUpdates(orders, rig.gateway.feed, rig.clock.wall)
    steps = updates.follow(Book(None), StartLive(), heartbeat_ms=20)
    told: list[int] = []

    async def read() -> None:
        async for step in steps:
            if isinstance(step.payload, OrderEvent):
                told.append(step.sequence)
            if told and told[-1] == rig.gateway.journal.head:
                return

    reading = asyncio.create_task(read())
    await settle()
    await rig.submit("k1", make_spec("AAPL", "buy", 10))
    await settle()
    async with asyncio.timeout(20):
        await reading
    assert told == list(range(1, rig.gateway.journal.head + 1))
    assert rig.gateway.alarms.counts["event_not_heard"] >= len(told)
    assert rig.gateway.states.mode is TradingMode.ACTIVE
