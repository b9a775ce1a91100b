"""The order socket, and the faults that strike sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError

from gateway.emulator.faults import UNKNOWN_WORD, Fault
from gateway.emulator.streams.data import StreamSettings
from tests.emulator.host import EmulatorHost, RunningEmulator
from tests.emulator.rest_client import RestClient
from tests.emulator.test_data_streams import client as data_client

AUTHENTICATE = {"action": "authenticate", "data": {"key_id": "k", "secret_key": "s"}}
LISTEN = {"action": "listen", "data": {"streams": ["trade_updates"]}}


async def hear(socket: ClientConnection) -> dict:
    frame = await asyncio.wait_for(socket.recv(), 5)
    assert isinstance(frame, bytes), "paper sends JSON in binary frames"
    return json.loads(frame)


async def ask(socket: ClientConnection, message: object) -> dict:
    await socket.send(json.dumps(message))
    return await hear(socket)


@asynccontextmanager
async def listening(emulator: RunningEmulator) -> AsyncIterator[ClientConnection]:
    async with connect(emulator.ws_url + "/stream", compression=None) as socket:
        authorized = await ask(socket, AUTHENTICATE)
        assert authorized == {"stream": "authorization", "data": {"status": "authorized", "action": "authenticate"}}
        assert await ask(socket, LISTEN) == {"stream": "listening", "data": {"streams": ["trade_updates"]}}
        yield socket


def buy(emulator: RunningEmulator) -> None:
    rest = RestClient(emulator)
    assert rest.order(type="market", limit_price=None, time_in_force="day").status_code == 200
    rest.close()


async def events_of_a_fill(socket: ClientConnection) -> list[dict]:
    found: list[dict] = []
    while not found or found[-1]["event"] != "fill":
        message = await hear(socket)
        assert message["stream"] == "trade_updates"
        found.append(message["data"])
    return found


async def test_updates_are_told_to_every_listener(emulator: RunningEmulator) -> None:
    async with listening(emulator) as first, listening(emulator) as second:
        await asyncio.to_thread(buy, emulator)
        told = await events_of_a_fill(first)
        assert told == await events_of_a_fill(second)
    assert told[0]["event"] == "new"
    assert "price" not in told[0]
    fill = told[-1]
    assert {"price", "qty", "position_qty", "timestamp", "execution_id", "order"} <= set(fill)
    assert fill["order"]["status"] == "filled"
    assert fill["order"]["cancel_requested_at"] is None


async def test_who_has_not_authenticated_hears_nothing(start_emulator: EmulatorHost) -> None:
    emulator = start_emulator(key="k", secret="s")
    async with connect(emulator.ws_url + "/stream") as socket:
        refused = {"stream": "authorization", "data": {"status": "unauthorized", "action": "listen"}}
        assert await ask(socket, LISTEN) == refused
        wrong = {"action": "authenticate", "data": {"key_id": "k", "secret_key": "wrong"}}
        assert (await ask(socket, wrong))["data"]["status"] == "unauthorized"
        assert (await ask(socket, {"action": "auth", "key": "k", "secret": "s"}))["data"]["status"] == "authorized"
        assert await ask(socket, {"action": "listen", "data": {"streams": []}}) == {
            "stream": "listening",
            "data": {"streams": []},
        }
        assert (await ask(socket, {"action": "sing"}))["stream"] == "error"


async def test_who_says_nothing_is_sent_away(start_emulator: EmulatorHost) -> None:
    emulator = start_emulator(streams=StreamSettings(auth_timeout_s=0.1))
    async with connect(emulator.ws_url + "/stream") as socket:
        with pytest.raises(ConnectionClosedError):
            await asyncio.wait_for(socket.recv(), 5)


async def test_an_unknown_status_in_an_event(emulator: RunningEmulator) -> None:
    fault = emulator.fault("status_unknown", "orders")
    async with listening(emulator) as socket:
        await asyncio.to_thread(buy, emulator)
        told = await events_of_a_fill(socket)
    assert told[0]["order"]["status"] == UNKNOWN_WORD
    assert told[-1]["order"]["status"] == "filled"
    assert fault.fired == 1


async def test_a_mute_socket_stays_open_and_speaks_again(emulator: RunningEmulator) -> None:
    async with data_client(emulator) as alpaca:
        await alpaca.ask({"action": "subscribe", "quotes": ["*"]})
        fault = emulator.fault("feed_mute", "stocks:iex")
        assert fault.fired == 1
        await (await alpaca.socket.ping())
        (session,) = emulator.emulator.app.sockets.open()
        sent = session.outbox.sent
        await asyncio.sleep(0.4)  # quotes come every few milliseconds to who is not muted
        assert session.outbox.sent == sent > 0
        rest = RestClient(emulator)
        await asyncio.to_thread(rest.ask, "DELETE", f"/emulator/v1/faults/{fault.fault_id}")
        rest.close()
        assert json.loads(await asyncio.wait_for(alpaca.socket.recv(), 5))[0]["T"] == "q"


async def test_a_mute_socket_speaks_again_after_its_delay(emulator: RunningEmulator) -> None:
    async with data_client(emulator) as alpaca:
        await alpaca.ask({"action": "subscribe", "quotes": ["*"]})
        emulator.fault("feed_mute", "stocks:iex", delay_ms=300)
        began = asyncio.get_running_loop().time()
        silences = []
        while not silences or max(silences) < 0.15:
            assert asyncio.get_running_loop().time() < began + 5
            heard_at = asyncio.get_running_loop().time()
            await asyncio.wait_for(alpaca.socket.recv(), 5)
            silences.append(asyncio.get_running_loop().time() - heard_at)


async def wait_until_fired(fault: Fault, times: int) -> None:
    async with asyncio.timeout(5):
        while fault.fired < times:  # noqa: ASYNC110 - it fires in another loop
            await asyncio.sleep(0.01)


async def test_cut_sockets_break_off_without_a_goodbye(emulator: RunningEmulator) -> None:
    """The open one is cut at once, the next one when it has authenticated, and the third lives."""
    async with listening(emulator) as socket:
        fault = emulator.fault("feed_disconnected", count=2)
        with pytest.raises(ConnectionClosedError) as cut:
            await asyncio.wait_for(socket.recv(), 5)
        assert cut.value.rcvd is None
    async with connect(emulator.ws_url + "/stream") as second:
        await second.send(json.dumps(AUTHENTICATE))
        assert [message["stream"] for message in await rest_of(second)] in ([], ["authorization"])
    await wait_until_fired(fault, 2)
    async with listening(emulator) as third:
        await asyncio.to_thread(buy, emulator)
        assert (await hear(third))["data"]["event"] == "new"


async def test_a_slow_client_is_told_and_cut_off(start_emulator: EmulatorHost) -> None:
    emulator = start_emulator(streams=StreamSettings(outgoing_bytes_max=2_000))
    async with data_client(emulator) as alpaca:
        await alpaca.ask({"action": "subscribe", "quotes": ["*"], "trades": ["*"]})
        (session,) = emulator.emulator.app.sockets.open()

        def flood() -> None:
            session.pending += [b"{}"] * 2_000
            session.flush()

        emulator.call(flood)
        messages = await rest_of(alpaca.socket)
    assert messages[-1] == {"T": "error", "code": 407, "msg": "slow client"}
    assert {} not in messages, "what waited is dropped"


async def test_a_client_that_does_not_read_at_all_is_broken_off(start_emulator: EmulatorHost) -> None:
    emulator = start_emulator(streams=StreamSettings(outgoing_bytes_max=1_000_000))
    async with connect(emulator.ws_url + "/v2/iex", compression=None, max_queue=1) as socket:
        await socket.send(json.dumps({"action": "auth", "key": "k", "secret": "s"}))
        async with asyncio.timeout(5):
            while not emulator.connections():  # noqa: ASYNC110 - it joins in another loop
                await asyncio.sleep(0.01)
        (session,) = emulator.emulator.app.sockets.open()

        def flood() -> None:
            session.pending += [b'"' + b"x" * 1_000 + b'"'] * 500
            session.flush()

        async with asyncio.timeout(20):
            while emulator.connections():
                await asyncio.to_thread(emulator.call, flood)
                await asyncio.sleep(0.005)
        with pytest.raises(ConnectionClosedError):
            async for _ in socket:
                pass
        assert socket.close_code == 1006, "nobody said goodbye"


async def rest_of(socket: ClientConnection) -> list[dict]:
    """What is said until the connection ends."""
    messages: list[dict] = []
    try:
        async with asyncio.timeout(5):
            while True:
                said = json.loads(await socket.recv())
                messages += said if isinstance(said, list) else [said]
    except ConnectionClosedError:
        return messages
