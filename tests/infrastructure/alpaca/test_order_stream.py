"""The order feed against a scripted server."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from gateway.domain.types import FeedState
from gateway.infrastructure.alpaca import reconnect
from gateway.infrastructure.alpaca.reconnect import BackOff
from gateway.infrastructure.alpaca.streaming_adapter import OrderFeed, StreamingAdapter
from tests.infrastructure.alpaca.listeners import OrderNotes
from tests.infrastructure.alpaca.samples import ORDER_ID, order
from tests.infrastructure.alpaca.scripted import KEY, SECRET, ScriptedSocket, Talk, at_work, factory_at, until

QUICK = BackOff(first_s=0.01, max_s=0.05, spacing_s=0.02, crowded_s=0.2, refused_s=0.4)
NOW_NS = 1_790_000_000_000_000_000


def update(event: str = "fill", **changes: Any) -> dict[str, Any]:
    data = {
        "event": event,
        "execution_id": "2f63ea93-423d-4169-b3f6-3fdafc10c418",
        "timestamp": "2026-09-21T14:13:20.000000007Z",
        "price": "107.08",
        "qty": "9007199254740993.123456789",
        "position_qty": "15",
        "order": order(status="filled"),
    } | changes
    return {"stream": "trade_updates", "data": data}


async def authorize(connection: ServerConnection, *, binary: bool = True) -> list[dict[str, Any]]:
    """The handshake, taking any key; what the client said."""
    said = [json.loads(await connection.recv())]
    await send(
        connection, {"stream": "authorization", "data": {"status": "authorized", "action": "authenticate"}}, binary
    )
    said.append(json.loads(await connection.recv()))
    await send(connection, {"stream": "listening", "data": {"streams": ["trade_updates"]}}, binary)
    return said


async def send(connection: ServerConnection, message: Any, binary: bool = True) -> None:
    text = message if isinstance(message, str) else json.dumps(message)
    await connection.send(text.encode() if binary else text)


def serving(*messages: Any, binary: bool = True) -> Talk:
    async def talk(connection: ServerConnection) -> None:
        await authorize(connection, binary=binary)
        for message in messages:
            await send(connection, message, binary)
        await connection.wait_closed()

    return talk


@asynccontextmanager
async def orders_at(venue: ScriptedSocket, notes: OrderNotes) -> AsyncIterator[OrderFeed]:
    async with factory_at(venue.url) as factory:
        adapter = StreamingAdapter(factory, lambda: NOW_NS, QUICK, random.Random(7))
        yield await adapter.open_order_updates(notes)
        await adapter.close()


@pytest.mark.parametrize("binary", [True, False])
async def test_updates_come_with_exact_numbers_in_binary_and_in_text_frames(binary: bool) -> None:
    notes = OrderNotes()
    async with ScriptedSocket(serving(update(), binary=binary)) as venue, orders_at(venue, notes):
        await until(lambda: notes.updates)
        (told,) = notes.updates
        assert (told.event, told.order.venue_status, told.receive_time_ns) == ("fill", "filled", NOW_NS)
        assert told.quantity == Decimal("9007199254740993.123456789")
        assert told.event_time_ns == 1_790_000_000_000_000_007
        assert notes.states == [(FeedState.CONNECTING, "", 0), (FeedState.RECONCILING, "", 0)]
        request = venue.opened[0].request
        assert request is not None
        assert request.path == "/stream"


async def test_the_key_is_sent_then_the_wish_to_listen() -> None:
    said: list[dict[str, Any]] = []

    async def talk(connection: ServerConnection) -> None:
        said.extend(await authorize(connection))
        await connection.wait_closed()

    async with ScriptedSocket(talk) as venue, orders_at(venue, OrderNotes()):
        await until(lambda: len(said) == 2)
        assert said == [
            {"action": "authenticate", "data": {"key_id": KEY, "secret_key": SECRET}},
            {"action": "listen", "data": {"streams": ["trade_updates"]}},
        ]


UNREADABLE: dict[str, tuple[Any, str]] = {
    "data is null": ({"stream": "trade_updates", "data": None}, ""),
    "order is null": (update(order=None), ""),
    "a number that is none": (update(price="NaN"), ORDER_ID),
    "an order without a status": (update(order=order(status=None)), ORDER_ID),
    "cut": (json.dumps(update())[:-300], ORDER_ID),
    "no JSON": ("hello", ""),
    "a list": ([1, 2], ""),
    "a number": (7, ""),
    "too large a number": (json.dumps(update()).replace('"107.08"', "1e999999999"), ORDER_ID),
    "no stream": ({"data": {}}, ""),
}


@pytest.mark.parametrize(("bad", "order_id"), UNREADABLE.values(), ids=UNREADABLE.keys())
async def test_an_unreadable_frame_is_told_with_the_orders_id_and_the_next_ones_come(bad: Any, order_id: str) -> None:
    notes = OrderNotes()
    async with ScriptedSocket(serving(update("new"), bad, update("fill"))) as venue, orders_at(venue, notes):
        await until(lambda: len(notes.updates) == 2)
        assert [told for _, told in notes.unreadable] == [order_id]
        assert len(venue.opened) == 1


@pytest.mark.parametrize("event", ["trade_bust", "pending_emulation"])
async def test_unknown_events_and_statuses_are_data(event: str) -> None:
    notes = OrderNotes()
    strange = update(event, order=order(status="pending_emulation", asset_class="ipo"))
    async with ScriptedSocket(serving(strange)) as venue, orders_at(venue, notes):
        await until(lambda: notes.updates)
        assert (notes.updates[0].event, notes.updates[0].order.venue_status) == (event, "pending_emulation")


async def test_a_listener_that_raises_stops_nothing() -> None:
    notes = OrderNotes(failing=True)
    async with ScriptedSocket(serving(update("new"), "x", update("fill"))) as venue, orders_at(venue, notes):
        await until(lambda: len(notes.updates) == 2)
        assert len(venue.opened) == 1


async def test_an_update_before_the_answer_to_listen_is_not_lost() -> None:
    async def eager(connection: ServerConnection) -> None:
        await connection.recv()
        await send(connection, {"stream": "authorization", "data": {"status": "authorized"}})
        await connection.recv()
        await send(connection, update("new"))
        await send(connection, {"stream": "listening", "data": {"streams": ["trade_updates"]}})
        await connection.wait_closed()

    notes = OrderNotes()
    async with ScriptedSocket(eager) as venue, orders_at(venue, notes):
        await until(lambda: "reconciling" in notes.state_names())
        assert [told.event for told in notes.updates] == ["new"]


async def unauthorized(connection: ServerConnection) -> None:
    await connection.recv()
    await send(connection, {"stream": "authorization", "data": {"status": "unauthorized", "action": "authenticate"}})


async def deaf_to_listen(connection: ServerConnection) -> None:
    await connection.recv()
    await send(connection, {"stream": "authorization", "data": {"status": "authorized"}})
    await connection.recv()
    await send(connection, {"stream": "authorization", "data": {"status": "unauthorized", "action": "listen"}})


async def listens_to_nothing(connection: ServerConnection) -> None:
    await connection.recv()
    await send(connection, {"stream": "authorization", "data": {"status": "authorized"}})
    await connection.recv()
    await send(connection, {"stream": "listening", "data": {"streams": []}})


async def crowded(connection: ServerConnection) -> None:
    await connection.recv()
    await send(connection, [{"T": "error", "code": 406, "msg": "connection limit exceeded"}])


@pytest.mark.parametrize(
    ("talk", "told", "apart_s"),
    [
        (unauthorized, (FeedState.DISCONNECTED, "the order feed refuses the key", 401), 0.2),
        (deaf_to_listen, (FeedState.DISCONNECTED, "the order feed refuses the key", 401), 0.2),
        (listens_to_nothing, (FeedState.DISCONNECTED, "the order feed does not send trade updates", 0), 0.0),
        (crowded, (FeedState.DISCONNECTED, "connection limit exceeded", 406), 0.1),
    ],
)
async def test_a_refusal_is_told_and_tried_again_at_its_own_pace(talk: Talk, told: Any, apart_s: float) -> None:
    notes = OrderNotes()
    async with ScriptedSocket(talk, serving()) as venue, orders_at(venue, notes):
        await until(lambda: "reconciling" in notes.state_names())
        assert told in notes.states
        assert venue.opened_at[1] - venue.opened_at[0] >= apart_s


async def test_silence_after_listen_is_no_listening(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconnect, "HANDSHAKE_TIMEOUT_S", 0.1)

    async def forgets(connection: ServerConnection) -> None:
        await connection.recv()
        await send(connection, {"stream": "authorization", "data": {"status": "authorized"}})
        await connection.wait_closed()

    notes = OrderNotes()
    async with ScriptedSocket(forgets, serving()) as venue, orders_at(venue, notes):
        await until(lambda: "reconciling" in notes.state_names())
        assert (FeedState.DISCONNECTED, "no handshake in time", 0) in notes.states


async def test_every_reconnect_is_told_so_that_what_was_missed_can_be_read() -> None:
    async def breaks(connection: ServerConnection) -> None:
        await authorize(connection)
        await send(connection, update("new"))
        await until(lambda: len(notes.updates) == len(venue.opened))
        connection.transport.abort()

    notes = OrderNotes()
    async with ScriptedSocket(breaks, breaks, serving(update("fill"))) as venue, orders_at(venue, notes):
        await until(lambda: notes.updates and notes.updates[-1].event == "fill")
        expected = ["connecting", "reconciling", "disconnected"] * 2 + ["connecting", "reconciling"]
        assert notes.state_names() == expected
        assert len(venue.opened) == 3


async def test_a_quiet_feed_never_learns_to_wait_long() -> None:
    async def drops(connection: ServerConnection) -> None:
        await authorize(connection)

    notes = OrderNotes()
    async with ScriptedSocket(*[drops] * 6, serving()) as venue, orders_at(venue, notes):
        await until(lambda: len(venue.opened) == 7)
        apart = [later - earlier for earlier, later in zip(venue.opened_at, venue.opened_at[1:], strict=False)]
        assert max(apart) < 0.3, apart


async def test_closing_frees_the_socket() -> None:
    notes = OrderNotes()
    async with ScriptedSocket(serving()) as venue, orders_at(venue, notes) as feed:
        await until(lambda: "reconciling" in notes.state_names())
        assert at_work()
        await feed.close()
        await feed.close()
        await until(lambda: venue.closed == 1)
        assert (at_work(), len(venue.opened)) == ([], 1)


async def test_only_one_listens() -> None:
    async with ScriptedSocket(serving()) as venue, factory_at(venue.url) as factory:
        adapter = StreamingAdapter(factory)
        await adapter.open_order_updates(OrderNotes())
        with pytest.raises(RuntimeError):
            await adapter.open_order_updates(OrderNotes())
        await adapter.close()
