"""The end of a market-data connection, whoever ends it and in whatever state: bounded, and no socket is left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import ServerConnection

from gateway.domain.types import Channel, FeedState
from gateway.infrastructure.alpaca import sockets
from gateway.infrastructure.alpaca.streaming_adapter import MarketDataFeed
from tests.infrastructure.alpaca.feeds import feed_at, forever, quote, serving, wanted
from tests.infrastructure.alpaca.listeners import MarketNotes
from tests.infrastructure.alpaca.scripted import (
    ScriptedSocket,
    acknowledge,
    at_work,
    greet,
    until,
)


async def test_closing_frees_the_socket_in_every_state() -> None:
    async def mute(connection: ServerConnection) -> None:
        await connection.wait_closed()

    async def half(connection: ServerConnection) -> None:
        await greet(connection)
        greeted.set()
        await connection.wait_closed()

    greeted = asyncio.Event()
    notes = MarketNotes()
    venue: ScriptedSocket
    states = [
        (mute, lambda: venue.opened),
        (half, greeted.is_set),
        (serving([quote()]), lambda: "live" in notes.state_names()),
    ]
    for talk, is_there in states:
        async with ScriptedSocket(talk) as venue, feed_at(venue, notes) as feed:
            await feed.set_subscriptions(wanted(quotes="AAPL"))
            await until(is_there)
            assert at_work()
            began = time.monotonic()
            await feed.close()
            assert time.monotonic() - began < 2.0
            await feed.close()
            await until(lambda venue=venue: venue.closed == 1)
            await feed.set_subscriptions(wanted(quotes="MSFT"))
            assert (at_work(), len(venue.opened)) == ([], 1), "closed is closed"


async def test_closing_a_peer_that_answers_nothing_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "CLOSE_TIMEOUT_S", 0.1)

    async def deaf(connection: ServerConnection) -> None:
        await greet(connection)
        await acknowledge(connection, {})
        connection.transport.pause_reading()
        await forever()

    notes = MarketNotes()
    async with ScriptedSocket(deaf) as venue, feed_at(venue, notes) as feed:
        await feed.set_subscriptions(wanted(quotes="AAPL"))
        await until(lambda: notes.sets)
        began = time.monotonic()
        await feed.close()
        assert time.monotonic() - began < 1.0


async def test_close_before_anything_began_is_nothing() -> None:
    async with ScriptedSocket(serving()) as venue, feed_at(venue, MarketNotes()) as feed:
        await feed.close()
        await feed.set_subscriptions(wanted(quotes="AAPL"))
        assert (at_work(), venue.opened) == ([], [])


async def test_an_empty_set_closes_the_socket_and_a_new_one_opens_it_again() -> None:
    notes = MarketNotes()
    async with ScriptedSocket(serving()) as venue, feed_at(venue, notes) as feed:
        await feed.set_subscriptions(wanted(quotes="AAPL"))
        await until(lambda: "live" in notes.state_names())
        await feed.set_subscriptions(wanted())
        await until(lambda: venue.closed == 1)
        assert notes.states[-1] == (FeedState.DISCONNECTED, "nothing is subscribed", 0)
        await feed.set_subscriptions(wanted(quotes="MSFT"))
        await until(lambda: notes.state_names().count("live") == 2)
        assert notes.sets[-1].symbols[Channel.QUOTES] == {"MSFT"}


async def test_off_and_on_again_at_once_never_holds_two_sockets() -> None:
    open_now = 0
    most = 0

    async def counted(connection: ServerConnection) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        try:
            await serving()(connection)
        finally:
            open_now -= 1

    notes = MarketNotes()
    async with ScriptedSocket(counted) as venue, feed_at(venue, notes) as feed:
        await feed.set_subscriptions(wanted(quotes="AAPL"))
        await until(lambda: "live" in notes.state_names())
        changes = [wanted(), wanted(quotes="MSFT"), wanted(), wanted(quotes="NVDA")]
        await asyncio.gather(*(feed.set_subscriptions(change) for change in changes))
        await until(lambda: notes.sets[-1].symbols[Channel.QUOTES] == {"NVDA"})
        assert most == 1


async def test_a_caller_that_is_canceled_while_it_closes_is_canceled() -> None:
    notes = MarketNotes()
    async with ScriptedSocket(serving()) as venue, feed_at(venue, notes) as feed:
        await feed.set_subscriptions(wanted(quotes="AAPL"))
        await until(lambda: "live" in notes.state_names())
        closing = asyncio.create_task(feed.close())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        await until(lambda: venue.closed == 1)


@asynccontextmanager
async def stopping(venue: ScriptedSocket, notes: MarketNotes) -> AsyncIterator[tuple[MarketDataFeed, asyncio.Event]]:
    """A feed whose stop was begun by an empty set, and left by its caller; its socket closes when the event is set."""
    may_close, is_closing = asyncio.Event(), asyncio.Event()
    async with feed_at(venue, notes) as feed:
        await feed.set_subscriptions(wanted(quotes="AAPL"))
        await until(lambda: "live" in notes.state_names())
        close = feed._stream.close

        async def close_late() -> None:
            is_closing.set()
            await may_close.wait()
            await close()

        feed._stream.close = close_late  # type: ignore[method-assign]
        leaving = asyncio.create_task(feed.set_subscriptions(wanted()))
        await is_closing.wait()
        leaving.cancel()
        await asyncio.wait([leaving])
        try:
            yield feed, may_close
        finally:
            may_close.set()


async def test_closing_waits_for_the_socket_of_a_stop_whose_caller_was_canceled() -> None:
    notes = MarketNotes()
    async with ScriptedSocket(serving()) as venue, stopping(venue, notes) as (feed, may_close):
        closings = [asyncio.create_task(feed.close()) for _ in range(2)]
        await asyncio.sleep(0.02)
        assert not any(closing.done() for closing in closings)
        assert venue.closed == 0
        may_close.set()
        await asyncio.gather(*closings)
        assert at_work() == []
        await until(lambda: venue.closed == 1)


async def test_a_feed_comes_up_again_after_a_stop_whose_caller_was_canceled() -> None:
    notes = MarketNotes()
    async with ScriptedSocket(serving()) as venue, stopping(venue, notes) as (feed, may_close):
        again = asyncio.create_task(feed.set_subscriptions(wanted(quotes="MSFT")))
        await asyncio.sleep(0.02)
        assert len(venue.opened) == 1, "the old socket is closed before a new one opens"
        may_close.set()
        await again
        await until(lambda: notes.state_names()[-1] == "live")
        assert notes.sets[-1].symbols[Channel.QUOTES] == {"MSFT"}
        assert notes.state_names() == ["connecting", "live", "disconnected", "connecting", "live"]
