"""TradingAdapter: what it sends, and what it makes of answers."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from gateway.domain.errors import OrderNotFound, OrderRejected, OutcomeUnknown, SymbolUnknown, VenueUnreachable
from gateway.domain.interfaces import VenueOrderFilter
from gateway.domain.models.orders import UNREADABLE, OrderChanges, OrderSpec
from gateway.domain.types import OrderSide, OrderType, TimeInForce
from gateway.infrastructure.alpaca.trading_adapter import TradingAdapter
from tests.infrastructure.alpaca.samples import ORDER_ID, error, order
from tests.infrastructure.alpaca.scripted import (
    Gate,
    Reply,
    ScriptedHttp,
    context,
    factory_at,
    json_reply,
    order_context,
)

SPEC = OrderSpec(
    "AAPL", OrderSide.BUY, OrderType.LIMIT, TimeInForce.DAY, quantity=Decimal(15), limit_price=Decimal("107.10")
)
NOT_FOUND = json_reply(error(40410000, "order not found"), 404)


async def test_submit_sends_strings_under_our_id_once() -> None:
    async with ScriptedHttp(json_reply(order(), X_Request_ID="rid")) as venue, factory_at(venue.url) as factory:
        sent = await TradingAdapter(factory).submit_order(order_context(), "default.k1", SPEC)
        (asked,) = venue.asked
        assert (asked.method, asked.target) == ("POST", "/v2/orders")
        assert asked.json == {
            "symbol": "AAPL",
            "side": "buy",
            "type": "limit",
            "time_in_force": "day",
            "client_order_id": "default.k1",
            "qty": "15",
            "limit_price": "107.1",
        }
        assert (sent.venue_order_id, sent.venue_request_id) == (ORDER_ID, "rid")
        assert sent.create_time_ns == 1_772_461_800_123_456_789


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body=b""),
        Reply(body=b"null"),
        Reply(body=b"[]"),
        Reply(body=b"<html>welcome</html>"),
        Reply(body=b'{"id": "' + ORDER_ID.encode()),
        json_reply({}),
        json_reply(order(id=None)),
        json_reply(order(filled_qty="NaN")),
        json_reply(order(client_order_id=None)),
        Reply(body=json.dumps(order()).replace('"15"', "1e400").encode()),
        Reply(204, b""),
    ],
)
async def test_an_accepted_order_whose_answer_cannot_be_read_is_unknown_never_failed(reply: Reply) -> None:
    async with ScriptedHttp(reply) as venue, factory_at(venue.url) as factory:
        with pytest.raises(OutcomeUnknown):
            await TradingAdapter(factory).submit_order(order_context(), "default.k1", SPEC)
        assert len(venue.asked) == 1


async def test_an_accepted_order_with_unknown_words_is_accepted() -> None:
    strange = order(status="pending_emulation", asset_class="ipo", source="mars", submitted_at=None, updated_at=None)
    async with ScriptedHttp(json_reply(strange)) as venue, factory_at(venue.url) as factory:
        sent = await TradingAdapter(factory).submit_order(order_context(), "default.k1", SPEC)
        assert sent.venue_status == "pending_emulation"


@pytest.mark.parametrize("symbol", ["", "../orders", "AAPL/../..", "aapl", "BTCUSD?x=1", "ＡＡＰＬ"])
async def test_what_is_no_symbol_never_leaves(symbol: str, gate: Gate) -> None:
    spec = OrderSpec(symbol, OrderSide.BUY, OrderType.MARKET, TimeInForce.DAY, quantity=Decimal(1))
    async with ScriptedHttp(json_reply(order())) as venue, factory_at(venue.url, gate) as factory:
        with pytest.raises(SymbolUnknown):
            await TradingAdapter(factory).submit_order(order_context(), "default.k1", spec)
        assert venue.asked == []
        assert gate.admitted == []


@pytest.mark.parametrize("venue_order_id", ["", "../positions", "1", ORDER_ID + "?x", "%2e%2e/orders"])
async def test_what_is_no_venue_id_never_reaches_a_path(venue_order_id: str) -> None:
    async with ScriptedHttp(json_reply(order())) as venue, factory_at(venue.url) as factory:
        adapter = TradingAdapter(factory)
        with pytest.raises(OrderNotFound):
            await adapter.get_order(context(), venue_order_id)
        with pytest.raises(OrderNotFound):
            await adapter.cancel_order(order_context(), venue_order_id)
        with pytest.raises(OrderRejected) as caught:
            await adapter.replace_order(order_context(), venue_order_id, "default.k2", OrderChanges())
        assert caught.value.metadata["venue_http_status"] == "404"
        assert venue.asked == []


async def test_replace_answers_with_the_new_order() -> None:
    new_id = "0d46a3ba-6b5b-4f7c-9b6e-4f2e5a3a1d11"
    reply = json_reply(order(id=new_id, client_order_id="default.k2", replaces=ORDER_ID, status="pending_new"))
    async with ScriptedHttp(reply) as venue, factory_at(venue.url) as factory:
        changes = OrderChanges(quantity=Decimal(20), limit_price=Decimal("107.20"))
        new = await TradingAdapter(factory).replace_order(order_context(), ORDER_ID, "default.k2", changes)
        (asked,) = venue.asked
        assert (asked.method, asked.target) == ("PATCH", f"/v2/orders/{ORDER_ID}")
        assert asked.json == {"client_order_id": "default.k2", "qty": "20", "limit_price": "107.2"}
        assert (new.venue_order_id, new.replaces) == (new_id, ORDER_ID)


async def test_a_replace_of_a_missing_order_is_a_refusal_that_says_404() -> None:
    async with ScriptedHttp(NOT_FOUND) as venue, factory_at(venue.url) as factory:
        with pytest.raises(OrderRejected) as caught:
            await TradingAdapter(factory).replace_order(order_context(), ORDER_ID, "default.k2", OrderChanges())
        assert caught.value.metadata["venue_http_status"] == "404"


async def test_an_answer_with_another_order_is_told_as_it_is() -> None:
    """Whether it speaks of what was sent is seen where the row is, and trading stops there."""
    async with ScriptedHttp(json_reply(order(client_order_id="default.other"))) as venue, factory_at(venue.url) as at:
        adapter = TradingAdapter(at)
        answer = await adapter.submit_order(order_context(), "default.k1", SPEC)
        assert answer.venue_client_order_id == "default.other"
        answer = await adapter.replace_order(order_context(), ORDER_ID, "default.k2", OrderChanges())
        assert answer.venue_client_order_id == "default.other"


async def test_cancel_is_asked_and_no_more() -> None:
    async with ScriptedHttp(Reply(204, b"")) as venue, factory_at(venue.url) as factory:
        await TradingAdapter(factory).cancel_order(order_context(), ORDER_ID.upper())
        assert [(asked.method, asked.target) for asked in venue.asked] == [("DELETE", f"/v2/orders/{ORDER_ID}")]


@pytest.mark.parametrize(
    ("reply", "wanted"),
    [
        (NOT_FOUND, OrderNotFound),
        (json_reply(error(42210000, 'order is already in "filled" state'), 422), OrderRejected),
        (Reply(404, b"not here"), OutcomeUnknown),
        (Reply(500, b""), OutcomeUnknown),
    ],
)
async def test_what_a_refused_cancel_means(reply: Reply, wanted: type[Exception]) -> None:
    async with ScriptedHttp(reply) as venue, factory_at(venue.url) as factory:
        with pytest.raises(wanted):
            await TradingAdapter(factory).cancel_order(order_context(), ORDER_ID)


async def test_a_found_order_has_its_legs() -> None:
    legs = [order(id="11111111-1111-4111-8111-111111111111", status="held", type="stop", stop_price="100")]
    reply = json_reply(order(order_class="bracket", legs=legs))
    async with ScriptedHttp(reply) as venue, factory_at(venue.url) as factory:
        adapter = TradingAdapter(factory)
        by_id = await adapter.get_order(context(), ORDER_ID)
        by_key = await adapter.find_order(context(), "default.k 1&status=all")
        assert by_id == by_key
        assert [leg.venue_status for leg in by_id.legs] == ["held"]
        assert venue.asked[0].path == f"/v2/orders/{ORDER_ID}"
        assert venue.asked[1].path == "/v2/orders:by_client_order_id"
        assert venue.asked[1].query == {"client_order_id": "default.k 1&status=all", "nested": "true"}


async def test_only_the_venue_can_say_that_there_is_no_such_order() -> None:
    async with ScriptedHttp(NOT_FOUND) as venue, factory_at(venue.url) as factory:
        adapter = TradingAdapter(factory)
        assert await adapter.find_order(context(), "default.k1") is None
        with pytest.raises(OrderNotFound):
            await adapter.get_order(context(), ORDER_ID)
    for reply in (Reply(404, b'{"detail":"Not Found"}'), Reply(404, b""), json_reply({"message": "no route"}, 404)):
        async with ScriptedHttp(reply) as venue, factory_at(venue.url) as factory:
            adapter = TradingAdapter(factory)
            for look in (adapter.find_order(context(), "default.k1"), adapter.get_order(context(), ORDER_ID)):
                with pytest.raises(VenueUnreachable):
                    await look


async def test_list_asks_for_one_page_with_exact_bounds() -> None:
    async with (
        ScriptedHttp(json_reply([order(), order(status="who knows")])) as venue,
        factory_at(venue.url) as factory,
    ):
        found = await TradingAdapter(factory).list_orders(
            context(), VenueOrderFilter.ALL, after_ns=1_772_461_800_123_456_789, until_ns=1_772_461_801_000_000_000,
            oldest_first=True, limit=9_999,
        )  # fmt: skip
        assert [one.venue_status for one in found] == ["new", "who knows"]
        assert venue.asked[0].query == {
            "status": "all",
            "limit": "500",
            "direction": "asc",
            "nested": "true",
            "after": "2026-03-02T14:30:00.123456789Z",
            "until": "2026-03-02T14:30:01.000000000Z",
        }


async def test_one_order_that_cannot_be_read_does_not_hide_the_others() -> None:
    bad = order(qty="NaN", client_order_id="default.k1")
    async with ScriptedHttp(json_reply([order(), bad, order()])) as venue, factory_at(venue.url) as factory:
        found = await TradingAdapter(factory).list_orders(context(), VenueOrderFilter.OPEN)
    assert [one.venue_status for one in found] == ["new", UNREADABLE, "new"]
    assert (found[1].venue_order_id, found[1].venue_client_order_id) == (bad["id"], "default.k1")
    assert found[1].submit_time_ns == found[0].submit_time_ns
    assert found[1].quantity is None


@pytest.mark.parametrize(
    "body", [{"orders": []}, "x", [order(id=None)], [order(id="../orders", qty="NaN")], [order()] * 501, [7]]
)
async def test_a_list_that_cannot_be_read_whole_fails_as_a_read(body: Any) -> None:
    async with ScriptedHttp(json_reply(body)) as venue, factory_at(venue.url) as factory:
        with pytest.raises(VenueUnreachable):
            await TradingAdapter(factory).list_orders(context(), VenueOrderFilter.OPEN)
