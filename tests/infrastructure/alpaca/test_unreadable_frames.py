"""Many frames that cannot be read: the listener hears of the first at once, and of the others by their number."""

from __future__ import annotations

import asyncio

import msgpack
import pytest
import structlog
from websockets.asyncio.server import ServerConnection

from gateway.domain.types import FeedState
from gateway.infrastructure.alpaca import unreadable_frames
from tests.infrastructure.alpaca.feeds import feed_at, forever, quote, serving, wanted
from tests.infrastructure.alpaca.listeners import MarketNotes
from tests.infrastructure.alpaca.scripted import ScriptedSocket, acknowledge, greet, until

WITHOUT_KIND = msgpack.packb([{"S": "AAPL"}])
UNKNOWN = [{"T": "?", "S": "AAPL"}]
SAID_OF_UNKNOWN = "1 of a frame, the first because its kind is unknown"


def told(notes: MarketNotes) -> list[str]:
    return [detail for _, detail, _ in notes.states if detail.startswith("unreadable")]


async def test_a_storm_of_unreadable_frames_is_told_once_and_its_rest_before_the_feed_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unreadable_frames, "UNREADABLE_INTERVAL_S", 60.0)
    notes = MarketNotes()
    storm = [WITHOUT_KIND, UNKNOWN] * 25
    with structlog.testing.capture_logs() as logged:
        async with ScriptedSocket(serving(*storm, [quote()])) as venue, feed_at(venue, notes) as feed:
            await feed.set_subscriptions(wanted(quotes="AAPL"))
            await until(lambda: notes.quotes)
            first = "unreadable: a message without its kind"
            assert told(notes) == [first]
            await feed.set_subscriptions(wanted())
            rest = f"unreadable: 49 more, the last: {SAID_OF_UNKNOWN}"
            assert notes.states[-2:] == [
                (FeedState.LIVE, rest, 0),
                (FeedState.DISCONNECTED, "nothing is subscribed", 0),
            ]
            assert told(notes) == [first, rest]
    assert [entry["count"] for entry in logged if entry["event"] == "feed_unreadable"] == [1, 49]


async def test_what_followed_an_unreadable_frame_is_told_though_nothing_else_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unreadable_frames, "UNREADABLE_INTERVAL_S", 0.2)
    again = asyncio.Event()

    async def talk(connection: ServerConnection) -> None:
        await greet(connection)
        await acknowledge(connection, {})
        for _ in range(3):
            await connection.send(WITHOUT_KIND)
        await again.wait()
        await connection.send(msgpack.packb(UNKNOWN))
        await forever()

    notes = MarketNotes()
    async with ScriptedSocket(talk) as venue, feed_at(venue, notes) as feed:
        await feed.set_subscriptions(wanted(quotes="AAPL"))
        await until(lambda: len(told(notes)) == 2)
        await asyncio.sleep(0.5)  # more than two intervals without any
        once = ["unreadable: a message without its kind", "unreadable: 2 more, the last: a message without its kind"]
        assert told(notes) == once
        again.set()
        await until(lambda: len(told(notes)) == 3)
        assert told(notes) == [*once, f"unreadable: {SAID_OF_UNKNOWN}"], "the first after a rest is told as the first"


async def test_the_first_unreadable_frame_of_a_new_connection_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unreadable_frames, "UNREADABLE_INTERVAL_S", 60.0)

    async def cut(connection: ServerConnection) -> None:
        await greet(connection)
        await acknowledge(connection, {})
        await connection.send(WITHOUT_KIND)
        await connection.send(WITHOUT_KIND)

    notes = MarketNotes()
    async with ScriptedSocket(cut, serving(UNKNOWN)) as venue, feed_at(venue, notes) as feed:
        await feed.set_subscriptions(wanted(quotes="AAPL"))
        await until(lambda: len(told(notes)) == 3)
        assert told(notes) == [
            "unreadable: a message without its kind",
            "unreadable: 1 more, the last: a message without its kind",
            f"unreadable: {SAID_OF_UNKNOWN}",
        ]
