"""What the last hop tells of requests about an order: when they left, what came back, or that nothing left."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from gateway.domain.errors import OutcomeUnknown, TradingHalted, VenueRateLimited
from gateway.domain.types import CallContext
from gateway.domain.venue_requests import EVERY_ORDER
from gateway.infrastructure.alpaca.trading_adapter import TradingAdapter
from gateway.infrastructure.persistence.memory_journal import MemoryVenueRequests
from tests.infrastructure.alpaca.scripted import (
    Drop,
    Gate,
    Reply,
    ScriptedHttp,
    Step,
    context,
    factory_at,
    json_reply,
    order_context,
)
from tests.infrastructure.alpaca.test_trading_adapter import ORDER_ID, SPEC, order


def about() -> CallContext:
    return replace(order_context(), order_id="order-1")


POST = ("POST", "/v2/orders")


@asynccontextmanager
async def adapter_to(gate: Gate, *steps: Step) -> AsyncIterator[tuple[TradingAdapter, MemoryVenueRequests]]:
    log = MemoryVenueRequests()
    async with ScriptedHttp(*steps) as venue, factory_at(venue.url, gate) as factory:
        factory.road._requests = log
        yield TradingAdapter(factory), log


def told(log: MemoryVenueRequests, order_id: str = "order-1") -> list[tuple[str, str, int, str]]:
    rows = [request for _, request in log.read(order_id, 99)]
    return [(row.method, row.path, row.status, row.venue_request_id) for row in reversed(rows)]


async def test_an_answer_is_noted_with_its_id_and_its_times(gate: Gate) -> None:
    async with adapter_to(gate, json_reply(order(), X_Request_ID="rid-1")) as (adapter, log):
        began_ns = time.time_ns()
        await adapter.submit_order(about(), "default.k1", SPEC)
        assert told(log) == [(*POST, 200, "rid-1")], "before the caller goes on"
        ((_, request),) = log.read("order-1", 9)
        assert request.send_time_ns is not None
        assert began_ns - 1_000 <= request.send_time_ns <= request.end_time_ns <= time.time_ns() + 1_000


async def test_a_refusal_and_a_lost_answer_are_noted(gate: Gate) -> None:
    busy = json_reply({"code": 42910000, "message": "too many requests"}, 429, X_Request_ID="rid-2")
    async with adapter_to(gate, busy, Drop()) as (adapter, log):
        with pytest.raises(VenueRateLimited):
            await adapter.submit_order(about(), "default.k1", SPEC)
        with pytest.raises(OutcomeUnknown):
            await adapter.submit_order(about(), "default.k1", SPEC)
        assert told(log) == [(*POST, 429, "rid-2"), (*POST, 0, "")]


async def test_what_never_left_says_so(gate: Gate) -> None:
    gate.forbids = TradingHalted("stopped")
    async with adapter_to(gate, json_reply(order())) as (adapter, log):
        with pytest.raises(TradingHalted):
            await adapter.submit_order(about(), "default.k1", SPEC)
        ((_, request),) = log.read("order-1", 9)
        assert (request.send_time_ns, request.status) == (None, 0)


async def test_lookups_and_cancels_are_noted_and_what_is_about_no_order_is_not(gate: Gate) -> None:
    gone = json_reply({"code": 40410000, "message": "order not found"}, 404, X_Request_ID="rid-3")
    done = Reply(204, b"", {"X-Request-ID": "rid-4"})
    async with adapter_to(gate, gone, done, done, json_reply([], 207)) as (adapter, log):
        assert await adapter.find_order(about(), "default.k1") is None
        await adapter.cancel_order(about(), ORDER_ID)
        await adapter.cancel_order(order_context(), ORDER_ID)
        await adapter.cancel_all_orders(replace(context(), order_id=EVERY_ORDER))
        assert told(log) == [
            ("GET", "/v2/orders:by_client_order_id", 404, "rid-3"),
            ("DELETE", f"/v2/orders/{ORDER_ID}", 204, "rid-4"),
        ]
        assert [row[:2] for row in told(log, EVERY_ORDER)] == [("DELETE", "/v2/orders")]
