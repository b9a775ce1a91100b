"""Faults that strike feeds: order events on their way, and the connections themselves."""

from __future__ import annotations

import asyncio
import json
from functools import partial

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from gateway.emulator.faults import UNKNOWN_WORD
from gateway.emulator.streams.data import StreamSettings
from tests.emulator.host import EmulatorHost, RunningEmulator
from tests.emulator.rest_client import RestClient
from tests.emulator.test_data_streams import client as data_client
from tests.emulator.test_order_stream import AUTHENTICATE, LISTEN, ask, hear, listening, rest_of


def place(emulator: RunningEmulator, key: str, symbol: str = "AAPL") -> None:
    """An order that rests: one event."""
    rest = RestClient(emulator)
    assert rest.order(client_order_id=key, symbol=symbol).status_code == 200
    rest.close()


async def keys_told(emulator: RunningEmulator, socket: ClientConnection, *keys: str) -> list[str]:
    """Orders that are placed, and then what the feed says until the last of them."""
    for key in (*keys, "end"):
        await asyncio.to_thread(place, emulator, key)
    told: list[str] = []
    while not told or told[-1] != "end":
        told.append((await hear(socket))["data"]["order"]["client_order_id"])
    return told[:-1]


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("event_dropped", ["a", "d"]),
        ("event_duplicated", ["a", "b", "b", "c", "c", "d"]),
        ("events_reordered", ["a", "c", "b", "d"]),
    ],
)
async def test_events_that_do_not_come_as_they_happened(emulator: RunningEmulator, fault: str, told: list[str]) -> None:
    ordered = emulator.fault(fault, skip=1, count=1 if fault == "events_reordered" else 2)
    async with listening(emulator) as socket:
        assert await keys_told(emulator, socket, "a", "b", "c", "d") == told
    assert ordered.fired == ordered.order.count


async def test_events_are_swapped_in_pairs(emulator: RunningEmulator) -> None:
    emulator.fault("events_reordered", count=2)
    async with listening(emulator) as socket:
        assert await keys_told(emulator, socket, "a", "b", "c", "d") == ["b", "a", "d", "c"]


async def test_a_held_event_comes_when_the_faults_are_cleared(emulator: RunningEmulator) -> None:
    emulator.fault("events_reordered")
    rest = RestClient(emulator)
    async with listening(emulator) as socket:
        await asyncio.to_thread(place, emulator, "held")
        assert (await asyncio.to_thread(rest.get, "/emulator/v1/status"))["late_events"] == 1
        await asyncio.to_thread(rest.ask, "DELETE", "/emulator/v1/faults")
        assert (await hear(socket))["data"]["order"]["client_order_id"] == "held"
    rest.close()


async def test_an_event_that_is_late_is_overtaken(emulator: RunningEmulator) -> None:
    emulator.fault("event_late", delay_ms=200)
    async with listening(emulator) as socket:
        assert await keys_told(emulator, socket, "late", "a") == ["a"]
        assert (await hear(socket))["data"]["order"]["client_order_id"] == "late"


async def test_events_of_one_symbol_alone(emulator: RunningEmulator) -> None:
    fault = emulator.fault("event_dropped", symbol="MSFT")
    async with listening(emulator) as socket:
        await asyncio.to_thread(place, emulator, "soft", "MSFT")
        assert await keys_told(emulator, socket, "apple") == ["apple"]
    assert fault.fired == 1


async def test_events_that_cannot_be_read(emulator: RunningEmulator) -> None:
    for fault in ("event_empty", "event_unknown", "frame_truncated"):
        emulator.fault(fault)
    async with listening(emulator) as socket:
        for key in ("empty", "unknown", "broken"):
            await asyncio.to_thread(place, emulator, key)
        assert await hear(socket) == {"stream": "trade_updates", "data": None}
        assert (await hear(socket))["data"]["event"] == UNKNOWN_WORD
        frame = await asyncio.wait_for(socket.recv(), 5)
        with pytest.raises(json.JSONDecodeError):
            json.loads(frame)
        assert b'"event":"new"' in frame


async def test_the_feed_refuses_connections_for_a_while(emulator: RunningEmulator) -> None:
    fault = emulator.fault("connection_limit", delay_ms=300)
    refused = 0
    async with asyncio.timeout(5):
        while True:
            async with connect(emulator.ws_url + "/stream") as socket:
                said = await ask(socket, AUTHENTICATE)
                if said.get("T") != "error":
                    break
                assert said == {"T": "error", "code": 406, "msg": "connection limit exceeded"}
                refused += 1
                with pytest.raises(ConnectionClosedError):
                    await socket.recv()
            await asyncio.sleep(0.05)
    assert refused >= 2
    assert fault.fired == 1


async def test_a_market_data_feed_refuses_a_connection(emulator: RunningEmulator) -> None:
    emulator.fault("connection_limit", "stocks:iex")
    async with connect(emulator.ws_url + "/v2/iex") as socket:
        await socket.send(json.dumps({"action": "auth", "key": "k", "secret": "s"}))
        assert (await rest_of(socket))[-1]["code"] == 406
    async with data_client(emulator):
        pass


@pytest.mark.parametrize(("feed", "path"), [("orders", "/stream"), ("stocks:iex", "/v2/iex")])
async def test_a_handshake_that_comes_too_often_is_answered_with_429(
    emulator: RunningEmulator, feed: str, path: str
) -> None:
    for delay_ms, told in ((0, None), (1_500, "2")):
        fault = emulator.fault("handshake_429", feed, delay_ms=delay_ms)
        with pytest.raises(InvalidStatus) as refused:
            async with connect(emulator.ws_url + path):
                pass
        response = refused.value.response
        assert (response.status_code, response.headers.get("Retry-After"), fault.fired) == (429, told, 1)
        assert json.loads(response.body or b"") == {"code": 42910000, "message": "rate limit exceeded"}
        emulator.call(partial(emulator.faults.remove, fault.fault_id))
        async with connect(emulator.ws_url + path):
            pass


@pytest.mark.parametrize("feed", ["orders", "stocks:iex"])
async def test_a_slow_client_on_request(emulator: RunningEmulator, feed: str) -> None:
    if feed == "orders":
        async with listening(emulator) as socket:
            emulator.fault("slow_client", feed)
            assert (await rest_of(socket))[-1] == {"T": "error", "code": 407, "msg": "slow client"}
    else:
        async with data_client(emulator) as alpaca:
            emulator.fault("slow_client", feed)
            assert (await rest_of(alpaca.socket))[-1]["code"] == 407


async def test_a_fault_without_end_strikes_every_connection(emulator: RunningEmulator) -> None:
    fault = emulator.fault("feed_disconnected", count=-1)
    for _ in range(3):
        async with connect(emulator.ws_url + "/stream") as socket:
            await socket.send(json.dumps(AUTHENTICATE))
            assert await rest_of(socket) in ([], [{"stream": "authorization", "data": AUTHORIZED}])
    assert fault.fired == 3
    rest = RestClient(emulator)
    await asyncio.to_thread(rest.ask, "DELETE", "/emulator/v1/faults")
    rest.close()
    async with listening(emulator):
        pass


AUTHORIZED = {"status": "authorized", "action": "authenticate"}


async def test_a_mute_order_feed_loses_what_it_would_have_said(emulator: RunningEmulator) -> None:
    async with listening(emulator) as socket:
        fault = emulator.fault("feed_mute")
        await asyncio.to_thread(place, emulator, "unheard")
        await (await socket.ping())
        emulator.call(lambda: emulator.emulator.app.desk.remove(fault.fault_id))
        assert await keys_told(emulator, socket, "heard") == ["heard"]


async def test_a_halt_is_told_to_who_listens(emulator: RunningEmulator) -> None:
    async with data_client(emulator) as alpaca:
        await alpaca.ask({"action": "subscribe", "statuses": ["AAPL"]})
        fault = emulator.fault("symbol_halted", symbol="AAPL")
        emulator.call(lambda: emulator.emulator.app.desk.remove(fault.fault_id))
        words = []
        while len(words) < 2:
            words += json.loads(await asyncio.wait_for(alpaca.socket.recv(), 5))
    assert [(word["T"], word["S"], word["sc"]) for word in words] == [("s", "AAPL", "H"), ("s", "AAPL", "T")]


async def test_no_trade_of_a_halted_symbol_is_printed(emulator: RunningEmulator) -> None:
    emulator.fault("symbol_halted", symbol="AAPL")
    async with data_client(emulator) as alpaca:
        await alpaca.ask({"action": "subscribe", "trades": ["AAPL", "MSFT", "SPY", "TSLA", "NVDA"]})
        heard: list[str] = []
        async with asyncio.timeout(10):
            while len(heard) < 6:
                heard += [trade["S"] for trade in json.loads(await alpaca.socket.recv())]
    assert "AAPL" not in heard


@pytest.mark.parametrize(("code", "text"), [(408, "v2 not enabled"), (409, "insufficient subscription"),
                                            (411, "insufficient scope")])  # fmt: skip
async def test_a_plan_without_a_feed_is_told_why(start_emulator: EmulatorHost, code: int, text: str) -> None:
    """Which code a plan gets is Alpaca's to say; each ends the connection, and other feeds are served."""
    emulator = start_emulator(streams=StreamSettings(refused_paths={"/v2/sip": code}))
    async with connect(emulator.ws_url + "/v2/sip") as socket:
        await socket.send(json.dumps({"action": "auth", "key": "k", "secret": "s"}))
        assert (await rest_of(socket))[-1] == {"T": "error", "code": code, "msg": text}
        assert socket.close_code == 1008
    async with data_client(emulator):
        pass


async def test_listening_is_asked_for_once(emulator: RunningEmulator) -> None:
    """A fault is taken once for an event, however many listen."""
    fault = emulator.fault("event_dropped")
    async with listening(emulator) as first, listening(emulator) as second:
        assert await keys_told(emulator, first, "a") == []
        assert (await hear(second))["data"]["order"]["client_order_id"] == "end"
        assert await ask(second, LISTEN) == {"stream": "listening", "data": {"streams": ["trade_updates"]}}
    assert fault.fired == 1
