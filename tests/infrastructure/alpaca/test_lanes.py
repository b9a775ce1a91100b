"""Lanes at the last hop: what hangs keeps nothing more urgent from leaving, and what may not leave does not."""

from __future__ import annotations

import asyncio
import time

import pytest

from gateway.domain.errors import ExpiredUnsent, OutcomeUnknown, TradingHalted, TradingStopped, VenueRateLimited
from gateway.domain.interfaces import VenueOrderFilter
from gateway.domain.models.risk import CancelAnswer
from gateway.domain.types import BudgetLane, CallContext
from gateway.infrastructure.alpaca.trading_adapter import TradingAdapter
from tests.infrastructure.alpaca.samples import ORDER_ID, error
from tests.infrastructure.alpaca.scripted import (
    Gate,
    Hang,
    Reply,
    ScriptedHttp,
    context,
    factory_at,
    json_reply,
    order_context,
    until,
)
from tests.infrastructure.alpaca.test_trading_adapter import SPEC


def kill() -> CallContext:
    return context(lane=BudgetLane.KILL)


THREADS = 32
"""As shipped."""


async def test_hanging_lookups_keep_no_cancel_from_leaving() -> None:
    """They have threads and connections of their own: eight of them once delayed a cancel by a whole read timeout."""
    gone = Reply(204, b"")
    async with ScriptedHttp(*[Hang()] * 4, gone) as venue, factory_at(venue.url, threads=THREADS) as factory:
        trading = TradingAdapter(factory)
        lookups = [
            asyncio.create_task(trading.find_order(context(2.0, BudgetLane.LOOKUP), f"default.k{number}"))
            for number in range(8)
        ]
        await until(lambda: len(venue.asked) == 4)
        began = time.monotonic()
        await trading.cancel_order(context(lane=BudgetLane.CANCEL), ORDER_ID)
        assert time.monotonic() - began < 0.3, "a read timeout is 0.4 s here"
        for lookup in lookups:
            lookup.cancel()
        await asyncio.gather(*lookups, return_exceptions=True)


async def test_nothing_at_all_keeps_the_kill_switch_from_leaving() -> None:
    answer = json_reply([{"id": ORDER_ID, "status": 200, "body": {}}], 207)
    async with ScriptedHttp(*[Hang()] * 8, answer) as venue, factory_at(venue.url, threads=8) as factory:
        trading = TradingAdapter(factory)
        hanging = [
            asyncio.create_task(work)
            for _ in range(8)
            for work in (
                trading.cancel_order(context(lane=BudgetLane.CANCEL), ORDER_ID),
                trading.find_order(context(lane=BudgetLane.LOOKUP), "default.k"),
                trading.submit_order(order_context(), "default.k", SPEC),
                trading.list_orders(context(), VenueOrderFilter.OPEN),
            )
        ]
        await until(lambda: len(venue.asked) == 8)
        assert await trading.cancel_all_orders(kill()) == [CancelAnswer(ORDER_ID, 200)]
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)


@pytest.mark.parametrize(
    ("body", "answers"),
    [
        (b"[]", []),
        (b"", []),
        (
            b'[{"id": "x", "status": 200}, {"status": 500}, 7, {"id": "%b", "status": 500}]',
            [CancelAnswer(ORDER_ID, 500)],
        ),
    ],
)
async def test_the_answer_to_cancel_everything_is_read_entry_by_entry(body: bytes, answers: list[CancelAnswer]) -> None:
    reply = Reply(207, body.replace(b"%b", ORDER_ID.encode()))
    async with ScriptedHttp(reply) as venue, factory_at(venue.url) as factory:
        assert await TradingAdapter(factory).cancel_all_orders(kill()) == answers
        (asked,) = venue.asked
        assert (asked.method, asked.target) == ("DELETE", "/v2/orders")


async def test_an_unreadable_answer_to_cancel_everything_proves_nothing() -> None:
    async with ScriptedHttp(Reply(500, b"<html>")) as venue, factory_at(venue.url) as factory:
        with pytest.raises(OutcomeUnknown):
            await TradingAdapter(factory).cancel_all_orders(kill())


@pytest.mark.parametrize("forbidden", [TradingHalted("Trading is HALTED."), ExpiredUnsent("It is too late.")])
async def test_an_order_that_may_not_leave_any_more_does_not(
    gate: Gate, forbidden: TradingStopped | ExpiredUnsent
) -> None:
    """The gate is asked on the sending thread, with the connection open and before the first byte."""
    gate.forbids = forbidden
    async with ScriptedHttp(Reply(204, b"")) as venue, factory_at(venue.url, gate) as factory:
        trading = TradingAdapter(factory)
        with pytest.raises(type(forbidden)):
            await trading.submit_order(order_context(), "default.k1", SPEC)
        assert venue.asked == []
        await trading.cancel_order(context(lane=BudgetLane.CANCEL), ORDER_ID)
        assert len(venue.asked) == 1


async def test_the_gate_is_told_of_a_429(gate: Gate) -> None:
    reply = json_reply(error(42910000, "too many requests"), 429, Retry_After="7")
    async with ScriptedHttp(reply) as venue, factory_at(venue.url, gate) as factory:
        with pytest.raises(VenueRateLimited):
            await TradingAdapter(factory).submit_order(order_context(), "default.k1", SPEC)
        await until(lambda: gate.throttled_ms)
        assert gate.throttled_ms == [7_000]
