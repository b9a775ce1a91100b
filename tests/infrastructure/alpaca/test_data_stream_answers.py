"""Odd answers to a change of subscriptions, and large frames: nothing hangs, storms or holds the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence, Set
from typing import Any

import msgpack
import pytest
from websockets.asyncio.server import ServerConnection

from gateway.domain.types import Channel, DataFeed, FeedState
from gateway.infrastructure.alpaca import data_stream, streaming_adapter
from tests.infrastructure.alpaca.feeds import feed_at, quote, serving, wanted
from tests.infrastructure.alpaca.listeners import MarketNotes
from tests.infrastructure.alpaca.scripted import ScriptedSocket, acknowledge, greet, until


async def unanswering(connection: ServerConnection) -> None:
    await greet(connection)
    await connection.wait_closed()


async def test_a_venue_that_never_answers_the_first_change_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming_adapter, "ANSWER_WAIT_S", 0.1)
    notes = MarketNotes()
    async with ScriptedSocket(unanswering, serving([quote()])) as venue, feed_at(venue, notes) as feed:
        await feed.set_subscriptions(wanted(quotes="AAPL"))
        await until(lambda: notes.quotes)
        assert (FeedState.DISCONNECTED, "the subscriptions were not answered", 0) in notes.states
        assert len(venue.opened) == 2


async def test_a_feed_that_flows_goes_on_without_an_answer_and_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming_adapter, "ANSWER_WAIT_S", 0.1)
    have: dict[str, set[str]] = {}
    lost: list[bytes | str] = []

    async def forgetful(connection: ServerConnection) -> None:
        await greet(connection)
        await acknowledge(connection, have)
        lost.append(await connection.recv())
        while True:
            await acknowledge(connection, have)

    notes = MarketNotes()
    async with ScriptedSocket(forgetful) as venue, feed_at(venue, notes) as feed:
        await feed.set_subscriptions(wanted(quotes="AAPL"))
        await until(lambda: "live" in notes.state_names())
        await feed.set_subscriptions(wanted(quotes="AAPL MSFT"))
        await until(lambda: feed._subscriptions.is_settled and lost)
        assert have["quotes"] == {"AAPL"}
        await feed.set_subscriptions(wanted(quotes="AAPL MSFT"))
        await until(lambda: notes.sets[-1].symbols[Channel.QUOTES] == {"AAPL", "MSFT"})
        assert (len(venue.opened), "disconnected" in notes.state_names()) == (1, False)


async def test_every_one_of_several_unanswered_changes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming_adapter, "ANSWER_WAIT_S", 0.05)
    lost: list[bytes | str] = []

    async def answers_once(connection: ServerConnection) -> None:
        await greet(connection)
        await acknowledge(connection, {})
        while True:
            lost.append(await connection.recv())

    notes = MarketNotes()
    async with ScriptedSocket(answers_once) as venue, feed_at(venue, notes) as feed:
        await feed.set_subscriptions(wanted(quotes="AAPL"))
        await until(lambda: "live" in notes.state_names())
        for symbols in ("AAPL MSFT", "AAPL MSFT NVDA", "AAPL MSFT NVDA SPY"):
            await feed.set_subscriptions(wanted(quotes=symbols))
        await until(lambda: len(lost) == 3)
        await until(lambda: feed._subscriptions.is_settled, 2.0)
        assert (len(venue.opened), "disconnected" in notes.state_names()) == (1, False)


async def test_what_was_refused_for_a_moment_is_had_when_it_is_asked_for_again() -> None:
    async def busy(connection: ServerConnection) -> None:
        await greet(connection)
        await connection.recv()
        await connection.send(msgpack.packb([{"T": "error", "code": 500, "msg": "internal error"}]))
        while True:
            await acknowledge(connection, {})

    notes = MarketNotes()
    async with ScriptedSocket(busy) as venue, feed_at(venue, notes) as feed:
        await feed.set_subscriptions(wanted(quotes="AAPL"))
        await until(lambda: "live" in notes.state_names())
        await feed.set_subscriptions(wanted(quotes="AAPL"))
        await until(lambda: notes.sets and notes.sets[-1].symbols[Channel.QUOTES] == {"AAPL"})
        assert len(venue.opened) == 1


async def test_a_symbol_that_the_venue_keeps_is_asked_to_leave_once() -> None:
    asked: list[dict[str, object]] = []

    async def stubborn(connection: ServerConnection) -> None:
        await greet(connection)
        while True:
            asked.append(msgpack.unpackb(await connection.recv()))
            await connection.send(msgpack.packb([{"T": "subscription", "quotes": ["AAPL", "STRANGE"]}]))

    notes = MarketNotes()
    async with ScriptedSocket(stubborn) as venue, feed_at(venue, notes) as feed:
        await feed.set_subscriptions(wanted(quotes="AAPL"))
        await until(lambda: "live" in notes.state_names())
        await feed.set_subscriptions(wanted(quotes="AAPL MSFT"))
        await until(lambda: len(asked) == 3)
        await until(lambda: feed._subscriptions.is_settled)
        assert [change["action"] for change in asked] == ["subscribe", "unsubscribe", "subscribe"]


async def test_everybody_else_has_a_turn_while_a_large_frame_is_read() -> None:
    turns = 0

    class Counting(MarketNotes):
        def on_quotes(self, quotes: object, read_at: float) -> None:
            self.turns = [*getattr(self, "turns", []), turns]
            super().on_quotes(quotes, read_at)  # type: ignore[arg-type]

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    notes = Counting()
    frame = [quote(bs=number) for number in range(10_000)]
    async with ScriptedSocket(serving(frame)) as venue, feed_at(venue, notes) as feed:
        counting = asyncio.create_task(count())
        await feed.set_subscriptions(wanted(quotes="AAPL"))
        await until(lambda: len(notes.quotes) == len(frame))
        counting.cancel()
    assert [one.bid_size for one in notes.quotes] == list(range(10_000))
    assert max(len(part) for part in notes.frames) <= data_stream.PART_MESSAGES_MAX
    assert len(set(notes.turns)) == len(notes.frames) > 10


async def test_each_part_of_a_large_frame_is_handed_on_with_its_own_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """With those of the whole frame, one message that is no article spoke against each part of a frame of articles."""
    monkeypatch.setattr(data_stream, "PART_MESSAGES_MAX", 2)
    parts: list[tuple[str, Set[str]]] = []

    def note(messages: Sequence[dict[str, Any]], kinds: Set[str], read: object) -> None:
        parts.append(("".join(message["T"] for message in messages), kinds))

    frame = [{"T": kind} for kind in "nnnqnnb"]
    async with ScriptedSocket(serving(frame)) as venue, feed_at(venue, MarketNotes(), feed=DataFeed.NEWS) as feed:
        monkeypatch.setattr(feed, "on_messages", note)
        await feed.set_subscriptions(wanted(news="AAPL"))
        await until(lambda: len(parts) == 4)
    assert parts == [("nn", {"n"}), ("nq", {"n", "q"}), ("nn", {"n"}), ("b", {"b"})]
