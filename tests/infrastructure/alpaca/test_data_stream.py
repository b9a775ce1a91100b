"""One market-data connection against a scripted server: everything it must survive, and say."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from typing import Any

import msgpack
import pytest
from websockets.asyncio.server import ServerConnection

from gateway.domain.models.market_data import SubscriptionSet
from gateway.domain.types import Channel, DataFeed, FeedState
from gateway.infrastructure.alpaca import reconnect, sockets
from gateway.infrastructure.alpaca.reconnect import BackOff
from gateway.infrastructure.alpaca.streaming_adapter import StreamingAdapter
from tests.infrastructure.alpaca.feeds import NOW_NS, QUICK, T_NS, feed_at, forever, quote, serving, wanted
from tests.infrastructure.alpaca.listeners import MarketNotes
from tests.infrastructure.alpaca.scripted import (
    KEY,
    SECRET,
    ScriptedSocket,
    Talk,
    acknowledge,
    factory_at,
    greet,
    until,
)


def trade(symbol: str = "AAPL") -> dict[str, Any]:
    return {"T": "t", "S": symbol, "i": 1, "x": "V", "p": 240.24, "s": 5, "c": ["@"], "z": "C", "t": quote()["t"]}


def bar(symbol: str = "AAPL") -> dict[str, Any]:
    return {"T": "b", "S": symbol, "o": 1.0, "h": 1.0, "l": 1.0, "c": 1.0, "v": 1, "n": 1, "vw": 1.0, "t": quote()["t"]}


async def test_from_first_subscription_to_quotes_and_what_is_told() -> None:
    notes = MarketNotes()
    async with ScriptedSocket(serving([quote(), quote("MSFT")])) as venue, feed_at(venue, notes) as feed:
        await asyncio.sleep(0.02)
        assert venue.opened == [], "nothing connects before something is wanted"
        await feed.set_subscriptions(wanted(quotes="AAPL MSFT"))
        await until(lambda: notes.quotes)
        assert [one.symbol for one in notes.frames[0]] == ["AAPL", "MSFT"], "one call for the frame"
        assert (notes.quotes[0].time_ns, notes.quotes[0].receive_time_ns) == (T_NS, NOW_NS)
        assert notes.states == [(FeedState.CONNECTING, "", 0), (FeedState.LIVE, "", 0)]
        assert notes.sets[-1].symbols[Channel.QUOTES] == {"AAPL", "MSFT"}
        request = venue.opened[0].request
        assert request is not None
        assert (request.path, request.headers["Content-Type"]) == ("/v2/iex", "application/msgpack")


async def test_idling_before_the_first_subscription_costs_nothing() -> None:
    async with ScriptedSocket(serving()) as venue, feed_at(venue, MarketNotes()):
        began = time.thread_time()  # of this thread alone: whatever else runs on the machine
        await asyncio.sleep(0.3)
        assert time.thread_time() - began < 0.15  # a loop that spins takes all 0.3 s
        assert len(asyncio.all_tasks()) <= 3


async def test_subscriptions_change_by_difference_on_the_running_loop() -> None:
    changes: list[dict[str, Any]] = []

    async def talk(connection: ServerConnection) -> None:
        await greet(connection)
        have: dict[str, set[str]] = {}
        while True:
            changes.append(await acknowledge(connection, have))

    notes = MarketNotes()
    async with ScriptedSocket(talk) as venue, feed_at(venue, notes) as feed:
        await feed.set_subscriptions(wanted(quotes="AAPL"))
        await until(lambda: len(notes.sets) == 1)
        await feed.set_subscriptions(wanted(quotes="AAPL MSFT", bars="AAPL"))
        await feed.set_subscriptions(wanted(quotes="MSFT", bars="AAPL"))
        await feed.set_subscriptions(wanted(quotes="MSFT", bars="AAPL"))
        await until(lambda: notes.sets[-1].symbols[Channel.QUOTES] == {"MSFT"})
        assert changes == [
            {"action": "subscribe", "quotes": ["AAPL"]},
            {"action": "subscribe", "bars": ["AAPL"], "quotes": ["MSFT"]},
            {"action": "unsubscribe", "quotes": ["AAPL"]},
        ]
        assert len(venue.opened) == 1


async def test_changes_while_connecting_are_all_in_place_once_connected() -> None:
    greeted = asyncio.Event()

    async def slowly(connection: ServerConnection) -> None:
        await connection.send(msgpack.packb([{"T": "success", "msg": "connected"}]))
        await connection.recv()
        greeted.set()
        await asyncio.sleep(0.05)
        await connection.send(msgpack.packb([{"T": "success", "msg": "authenticated"}]))
        have: dict[str, set[str]] = {}
        while True:
            await acknowledge(connection, have)

    notes = MarketNotes()
    async with ScriptedSocket(slowly) as venue, feed_at(venue, notes) as feed:
        await feed.set_subscriptions(wanted(quotes="AAPL"))
        await greeted.wait()
        for symbols in ("AAPL MSFT", "MSFT", "MSFT NVDA"):
            await feed.set_subscriptions(wanted(quotes=symbols))
        await until(lambda: notes.sets and notes.sets[-1].symbols[Channel.QUOTES] == {"MSFT", "NVDA"})


async def test_a_listener_that_raises_loses_nothing_and_stops_nothing() -> None:
    notes = MarketNotes(failing=True)
    frames = [[quote(f"S{number}") for number in range(13)], [trade(), quote(), bar()]]
    async with ScriptedSocket(serving(*frames)) as venue, feed_at(venue, notes) as feed:
        await feed.set_subscriptions(wanted(quotes="AAPL"))
        await until(lambda: notes.bars)
        assert [len(frame) for frame in notes.frames] == [13, 1]
        assert (len(notes.trades), len(venue.opened)) == (1, 1)


async def test_a_mixed_frame_is_one_call_for_each_kind() -> None:
    notes = MarketNotes()
    other = {"T": "x", "S": "AAPL", "i": 1}
    frame = [trade(), quote(), bar(), quote("MSFT"), trade("MSFT"), other]
    async with ScriptedSocket(serving(frame)) as venue, feed_at(venue, notes) as feed:
        await feed.set_subscriptions(wanted(quotes="AAPL"))
        await until(lambda: notes.bars)
        assert [[one.symbol for one in part] for part in notes.frames] == [["AAPL", "MSFT"]]
        assert [one.symbol for one in notes.trades] == ["AAPL", "MSFT"]


UNREADABLE: dict[str, Any] = {
    "no msgpack": b"\xc1\xc1",
    "cut": msgpack.packb([quote()])[:-5],
    "no array": msgpack.packb({"T": "q"}),
    "no maps": msgpack.packb([1, 2]),
    "no kind": msgpack.packb([{"S": "AAPL"}]),
    "empty": b"",
    "text that is no JSON": "hello",
    "a kind that is no word": msgpack.packb([{"T": [1]}]),
}


@pytest.mark.parametrize("bad", UNREADABLE.values(), ids=UNREADABLE.keys())
async def test_an_unreadable_frame_is_told_and_the_stream_goes_on(bad: Any) -> None:
    notes = MarketNotes()
    async with ScriptedSocket(serving([quote()], bad, [quote("MSFT")])) as venue, feed_at(venue, notes) as feed:
        await feed.set_subscriptions(wanted(quotes="AAPL"))
        await until(lambda: len(notes.quotes) == 2)
        assert len(venue.opened) == 1
        state, detail, code = notes.states[-1]
        assert (state, code) == (FeedState.LIVE, 0)
        assert detail.startswith("unreadable")


@pytest.mark.parametrize("quotes", [1, "AAPL", {"AAPL": 1}, True])
async def test_an_acknowledgement_that_cannot_be_read_begins_the_connection_anew(quotes: Any) -> None:
    """What flows after it is unknown."""
    notes = MarketNotes()
    bad = {"T": "subscription", "quotes": quotes, "trades": [], "bars": []}
    async with ScriptedSocket(serving([bad]), serving([quote()])) as venue, feed_at(venue, notes) as feed:
        await feed.set_subscriptions(wanted(quotes="AAPL"))
        await until(lambda: notes.quotes)
        assert len(venue.opened) == 2
        details = [detail for state, detail, _ in notes.states if state is FeedState.DISCONNECTED]
        assert details == ["an acknowledgement whose quotes cannot be read"]


async def test_one_broken_quote_takes_no_other_of_its_frame_down() -> None:
    notes = MarketNotes()
    frame = [quote(), quote("BAD", bp=float("nan")), quote("MSFT"), quote("WORSE", t="soon")]
    async with ScriptedSocket(serving(frame)) as venue, feed_at(venue, notes) as feed:
        await feed.set_subscriptions(wanted(quotes="AAPL"))
        await until(lambda: notes.frames)
        assert [one.symbol for one in notes.quotes] == ["AAPL", "MSFT"]
        (told,) = [detail for _, detail, _ in notes.states if detail.startswith("unreadable")]
        assert told == "unreadable: 2 of a frame, the first because bp is no finite number of 0 or more"


async def test_json_from_a_venue_that_ignores_what_was_asked_for_is_read_too() -> None:
    text = json.dumps([quote(t="2026-09-21T14:13:19.123456789Z")])
    notes = MarketNotes()
    async with ScriptedSocket(serving(text)) as venue, feed_at(venue, notes) as feed:
        await feed.set_subscriptions(wanted(quotes="AAPL"))
        await until(lambda: notes.quotes)
        assert notes.quotes[0].time_ns == T_NS


async def test_a_large_frame_is_taken() -> None:
    large = [quote(f"S{number}") for number in range(28_000)]
    packed = msgpack.packb(large)
    assert len(packed) > 2 * 1024 * 1024
    notes = MarketNotes()
    async with ScriptedSocket(serving(packed)) as venue, feed_at(venue, notes) as feed:
        await feed.set_subscriptions(wanted(quotes="AAPL"))
        await until(lambda: len(notes.quotes) == 28_000, 10.0)
        assert len(venue.opened) == 1


def refusing(code: int, text: str) -> Talk:
    async def talk(connection: ServerConnection) -> None:
        await connection.send(msgpack.packb([{"T": "success", "msg": "connected"}]))
        await connection.recv()
        await connection.send(msgpack.packb([{"T": "error", "code": code, "msg": text}]))

    return talk


@pytest.mark.parametrize(
    ("code", "text", "apart_s"),
    [(402, "auth failed", 0.2), (406, "connection limit exceeded", 0.1), (409, "insufficient subscription", 0.2)],
)
async def test_a_refusal_is_told_with_its_code_and_asked_about_slowly(code: int, text: str, apart_s: float) -> None:
    notes = MarketNotes()
    async with ScriptedSocket(refusing(code, text), serving()) as venue, feed_at(venue, notes) as feed:
        await feed.set_subscriptions(wanted(quotes="AAPL"))
        await until(lambda: FeedState.LIVE.value in notes.state_names())
        assert (FeedState.DISCONNECTED, text, code) in notes.states
        first, second = venue.opened_at
        assert second - first >= apart_s
        assert notes.state_names() == ["connecting", "disconnected", "connecting", "live"]


async def test_an_http_refusal_is_told_and_a_redirect_is_not_followed() -> None:
    stranger = ScriptedSocket(serving())
    async with stranger:

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            location = stranger.url.replace("http", "ws")
            writer.write(f"HTTP/1.1 302 Found\r\nLocation: {location}/\r\nContent-Length: 0\r\n\r\n".encode())
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        notes = MarketNotes()
        async with server, factory_at(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as factory:
            adapter = StreamingAdapter(factory, lambda: NOW_NS, QUICK, random.Random(7))
            feed = await adapter.open_market_data(DataFeed.IEX, notes)
            await feed.set_subscriptions(wanted(quotes="AAPL"))
            await until(lambda: len(notes.states) > 3)
            assert (FeedState.DISCONNECTED, "HTTP 302", 302) in notes.states
            await adapter.close()
        assert stranger.opened == [], "the key went nowhere else"


async def test_an_error_frame_while_running_is_told_and_changes_no_state() -> None:
    async def talk(connection: ServerConnection) -> None:
        await greet(connection)
        have: dict[str, set[str]] = {}
        await acknowledge(connection, have)
        await connection.recv()
        await connection.send(msgpack.packb([{"T": "error", "code": 405, "msg": "symbol limit exceeded"}]))
        await forever()

    notes = MarketNotes()
    async with ScriptedSocket(talk) as venue, feed_at(venue, notes) as feed:
        await feed.set_subscriptions(wanted(quotes="AAPL"))
        await until(lambda: FeedState.LIVE.value in notes.state_names())
        await feed.set_subscriptions(wanted(quotes="AAPL MSFT"))
        await until(lambda: notes.states[-1] == (FeedState.LIVE, "symbol limit exceeded", 405))
        assert notes.sets[-1].symbols[Channel.QUOTES] == {"AAPL"}, "what was refused was never acknowledged"


async def test_a_reset_is_told_and_everything_is_subscribed_again() -> None:
    changes: list[dict[str, Any]] = []

    async def talk(connection: ServerConnection) -> None:
        await greet(connection)
        have: dict[str, set[str]] = {}
        changes.append(await acknowledge(connection, have))
        if len(venue.opened) == 1:
            connection.transport.abort()
            return
        await forever()

    notes = MarketNotes()
    async with ScriptedSocket(talk) as venue, feed_at(venue, notes) as feed:
        await feed.set_subscriptions(wanted(quotes="AAPL MSFT"))
        await until(lambda: len(notes.sets) == 2)
        await until(lambda: notes.state_names()[-1] == "live")
        assert changes == [{"action": "subscribe", "quotes": ["AAPL", "MSFT"]}] * 2
        assert [name for name in notes.state_names() if name != "live"][:3] == [
            "connecting",
            "disconnected",
            "connecting",
        ]


async def test_the_wait_stays_short_when_a_handshake_succeeded_though_no_data_came() -> None:
    """S9: six quiet connections in a row, each authenticated and then dropped: no wait grows."""

    async def talk(connection: ServerConnection) -> None:
        await greet(connection)
        await acknowledge(connection, {})
        if len(venue.opened) > 6:
            await forever()

    slow_growth = BackOff(first_s=0.04, max_s=30.0, spacing_s=0.0)
    notes = MarketNotes()
    async with ScriptedSocket(talk) as venue, feed_at(venue, notes, slow_growth) as feed:
        await feed.set_subscriptions(wanted(quotes="AAPL"))
        await until(lambda: len(venue.opened) == 7)
        apart = [later - earlier for earlier, later in zip(venue.opened_at, venue.opened_at[1:], strict=False)]
        assert max(apart) < 0.5, apart


async def test_leaving_a_symbol_that_was_never_there_is_nothing() -> None:
    """S13: nothing to unsubscribe, no KeyError, no message without a channel."""
    notes = MarketNotes()
    async with ScriptedSocket(serving()) as venue, feed_at(venue, notes) as feed:
        await feed.set_subscriptions(wanted())
        await feed.set_subscriptions(wanted(quotes=""))
        await asyncio.sleep(0.02)
        assert venue.opened == []


async def test_a_half_open_peer_is_noticed_by_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (sockets.PING_INTERVAL_S, sockets.PING_TIMEOUT_S) == (10.0, 10.0)
    monkeypatch.setattr(sockets, "PING_INTERVAL_S", 0.1)
    monkeypatch.setattr(sockets, "PING_TIMEOUT_S", 0.1)

    async def gone(connection: ServerConnection) -> None:
        await greet(connection)
        await acknowledge(connection, {})
        connection.transport.pause_reading()  # the network eats everything from here on
        await forever()

    notes = MarketNotes()
    async with ScriptedSocket(gone, serving()) as venue, feed_at(venue, notes) as feed:
        await feed.set_subscriptions(wanted(quotes="AAPL"))
        await until(lambda: len(venue.opened) == 2)
        assert "disconnected" in notes.state_names()


async def test_a_venue_that_never_finishes_its_handshake_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconnect, "HANDSHAKE_TIMEOUT_S", 0.1)

    async def silent(connection: ServerConnection) -> None:
        await connection.wait_closed()

    notes = MarketNotes()
    async with ScriptedSocket(silent, serving()) as venue, feed_at(venue, notes) as feed:
        await feed.set_subscriptions(wanted(quotes="AAPL"))
        await until(lambda: "live" in notes.state_names())
        assert (FeedState.DISCONNECTED, "no handshake in time", 0) in notes.states
        assert venue.closed == 1, "the first socket was closed before the second was opened"


async def test_few_frames_wait_in_front_of_us() -> None:
    assert sockets.FRAMES_WAITING_MAX == 64
    notes = MarketNotes()
    async with ScriptedSocket(serving()) as venue, feed_at(venue, notes) as feed:
        await feed.set_subscriptions(wanted(quotes="AAPL"))
        await until(lambda: "live" in notes.state_names())
        socket: Any = feed._stream._ws
        assert socket.recv_messages.high == 64
        assert (socket.ping_interval, socket.ping_timeout) == (10.0, 10.0)
        assert socket.protocol.max_message_size == 16 * 1024 * 1024
        assert socket.protocol.extensions == []


async def test_a_slow_client_that_is_thrown_out_hears_why_and_comes_back() -> None:
    async def throws_out(connection: ServerConnection) -> None:
        await greet(connection)
        await acknowledge(connection, {})
        await connection.send(msgpack.packb([{"T": "error", "code": 407, "msg": "slow client"}]))

    notes = MarketNotes()
    async with ScriptedSocket(throws_out, serving([quote()])) as venue, feed_at(venue, notes) as feed:
        await feed.set_subscriptions(wanted(quotes="AAPL"))
        await until(lambda: notes.quotes)
        assert (FeedState.LIVE, "slow client", 407) in notes.states
        assert [(state, code) for state, _, code in notes.states if code][-1] == (FeedState.DISCONNECTED, 407)


async def test_one_connection_of_a_feed_and_never_a_second() -> None:
    async with ScriptedSocket(serving()) as venue, factory_at(venue.url) as factory:
        adapter = StreamingAdapter(factory)
        first = await adapter.open_market_data(DataFeed.IEX, MarketNotes())
        await adapter.open_market_data(DataFeed.CRYPTO_US, MarketNotes())
        with pytest.raises(RuntimeError, match="its connection already"):
            await adapter.open_market_data(DataFeed.IEX, MarketNotes())
        await first.close()
        await adapter.open_market_data(DataFeed.IEX, MarketNotes())
        await adapter.close()


@pytest.mark.parametrize("symbol", ["BTC/USD", "aapl", "*", ""])
async def test_a_symbol_of_another_spelling_is_not_subscribed(symbol: str) -> None:
    async with ScriptedSocket(serving()) as venue, feed_at(venue, MarketNotes()) as feed:
        with pytest.raises(ValueError, match="spelled"):
            await feed.set_subscriptions(SubscriptionSet({Channel.QUOTES: frozenset({symbol})}))
        await asyncio.sleep(0.02)
        assert venue.opened == []


async def test_the_key_is_sent_and_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    sent: list[dict[str, Any]] = []

    async def talk(connection: ServerConnection) -> None:
        sent.append(await greet(connection))
        await acknowledge(connection, {})
        await forever()

    notes = MarketNotes()
    async with ScriptedSocket(talk) as venue, feed_at(venue, notes) as feed:
        logging.getLogger("websockets.server").setLevel(logging.WARNING)  # the test's own server logs what it reads
        await feed.set_subscriptions(wanted(quotes="AAPL"))
        await until(lambda: notes.sets)
        assert sent == [{"action": "auth", "key": KEY, "secret": SECRET}]
        seen = caplog.text + repr(vars(feed)) + repr(vars(feed._stream)) + repr(feed._stream._ws)
        assert not any(word in seen for word in (KEY, SECRET))
