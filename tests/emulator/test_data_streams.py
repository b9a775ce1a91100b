"""Market-data websockets, byte for byte as Alpaca's documents have them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgpack
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from gateway.emulator.streams.data import StreamSettings
from tests.emulator.host import EmulatorHost, RunningEmulator

AUTH = {"action": "auth", "key": "k", "secret": "s"}


class JsonClient:
    """Speaks JSON text; keeps the rest of a frame."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self._waiting: list[dict] = []

    async def say(self, message: object) -> None:
        await self.socket.send(json.dumps(message))

    async def hear(self) -> dict:
        while not self._waiting:
            frame = await asyncio.wait_for(self.socket.recv(), 5)
            assert isinstance(frame, str)
            self._waiting = json.loads(frame)
            assert isinstance(self._waiting, list)
        return self._waiting.pop(0)

    async def ask(self, message: object) -> dict:
        await self.say(message)
        while True:
            answer = await self.hear()
            if answer["T"] in ("success", "error", "subscription"):
                return answer


@asynccontextmanager
async def client(emulator: RunningEmulator, path: str = "/v2/iex", *, login: bool = True) -> AsyncIterator[JsonClient]:
    async with connect(emulator.ws_url + path, compression=None) as socket:
        speaker = JsonClient(socket)
        assert await speaker.hear() == {"T": "success", "msg": "connected"}
        if login:
            assert await speaker.ask(AUTH) == {"T": "success", "msg": "authenticated"}
        yield speaker


async def test_first_quotes_come_at_once(emulator: RunningEmulator) -> None:
    async with client(emulator) as alpaca:
        acknowledged = await alpaca.ask({"action": "subscribe", "quotes": ["AAPL", "MSFT"], "trades": ["AAPL"]})
        assert acknowledged == {
            "T": "subscription", "trades": ["AAPL"], "quotes": ["AAPL", "MSFT"], "bars": [], "updatedBars": [],
            "dailyBars": [], "statuses": [], "lulds": [], "corrections": ["AAPL"], "cancelErrors": ["AAPL"],
        }  # fmt: skip
        async with asyncio.timeout(3):
            seen = {(await alpaca.hear())["S"] for _ in range(4)}
    assert seen <= {"AAPL", "MSFT"}


async def test_msgpack_has_timestamps_and_type_first(emulator: RunningEmulator) -> None:
    headers = {"Content-Type": "application/msgpack"}
    async with connect(emulator.ws_url + "/v2/sip", additional_headers=headers) as socket:
        assert msgpack.unpackb(await socket.recv()) == [{"T": "success", "msg": "connected"}]
        await socket.send(msgpack.packb(AUTH))
        assert msgpack.unpackb(await socket.recv()) == [{"T": "success", "msg": "authenticated"}]
        subscribe = msgpack.packb({"action": "subscribe", "quotes": ["SPY"]})
        await socket.send([subscribe[:7], subscribe[7:]])  # a fragmented message, as alpaca-py sends it
        assert msgpack.unpackb(await socket.recv())[0]["quotes"] == ["SPY"]
        quote = msgpack.unpackb(await asyncio.wait_for(socket.recv(), 5))[0]
    assert next(iter(quote)) == "T"
    assert set(quote) == {"T", "S", "bx", "bp", "bs", "ax", "ap", "as", "t", "c", "z"}
    assert isinstance(quote["t"], msgpack.Timestamp)


async def test_crypto_has_no_exchange_and_books_are_whole(emulator: RunningEmulator) -> None:
    async with client(emulator, "/v1beta3/crypto/us") as alpaca:
        await alpaca.ask({"action": "subscribe", "quotes": ["BTC/USD"], "orderbooks": ["BTC/USD"]})
        messages = {}
        while set(messages) != {"q", "o"}:
            message = await alpaca.hear()
            messages[message["T"]] = message
    assert set(messages["q"]) == {"T", "S", "bp", "bs", "ap", "as", "t"}
    assert messages["o"]["r"] is True


async def test_errors_that_change_nothing(start_emulator: EmulatorHost) -> None:
    emulator = start_emulator(streams=StreamSettings(symbol_limit=2))
    async with client(emulator, login=False) as alpaca:
        assert (await alpaca.ask({"action": "subscribe", "quotes": ["AAPL"]}))["code"] == 401
        await alpaca.socket.send("no json")
        assert (await alpaca.hear())["code"] == 400
        await alpaca.ask(AUTH)
        assert (await alpaca.ask(AUTH))["code"] == 403
        assert (await alpaca.ask({"action": "dance"}))["code"] == 400
        assert (await alpaca.ask({"action": "subscribe", "quotes": "AAPL"}))["code"] == 400
        assert (await alpaca.ask({"action": "subscribe", "orderbooks": ["BTC/USD"]}))["code"] == 410
        limit = await alpaca.ask({"action": "subscribe", "quotes": ["AAPL", "MSFT"], "trades": ["AAPL"]})
        assert limit == {"T": "error", "code": 405, "msg": "symbol limit exceeded"}
        full = await alpaca.ask({"action": "subscribe", "bars": ["AAPL"]})
        assert (full["quotes"], full["trades"], full["bars"]) == ([], [], ["AAPL"])


async def test_unsubscribing_ends_the_flow(emulator: RunningEmulator) -> None:
    async with client(emulator) as alpaca:
        await alpaca.ask({"action": "subscribe", "quotes": ["*"]})
        assert (await alpaca.hear())["T"] == "q"
        left = await alpaca.ask({"action": "unsubscribe", "quotes": ["*", "AAPL"]})
        assert left["quotes"] == []
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(alpaca.socket.recv(), 0.4)


async def fatal(emulator: RunningEmulator, message: object, path: str = "/v2/iex") -> int:
    """The code of an error after which the connection ends."""
    async with client(emulator, path, login=False) as alpaca:
        if message:
            await alpaca.say(message)
        error = await alpaca.hear()
        assert error["T"] == "error"
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(alpaca.socket.recv(), 5)
        return error["code"]


async def test_errors_that_end_the_connection(start_emulator: EmulatorHost) -> None:
    settings = StreamSettings(auth_timeout_s=0.1, refused_paths={"/v2/sip": 409})
    emulator = start_emulator(streams=settings, key="k", secret="s")
    assert await fatal(emulator, AUTH | {"secret": "other"}) == 402
    assert await fatal(emulator, None) == 404
    assert await fatal(emulator, AUTH, "/v2/sip") == 409


async def test_one_connection_per_key_and_endpoint(emulator: RunningEmulator) -> None:
    async with client(emulator):
        assert await fatal(emulator, AUTH) == 406
        async with client(emulator, "/v2/sip"):
            pass
        async with client(emulator, login=False) as other:
            assert (await other.ask(AUTH | {"key": "another"}))["msg"] == "authenticated"
    await emulator.no_connections()
    async with client(emulator) as again:
        assert (await again.ask({"action": "subscribe", "quotes": ["AAPL"]}))["quotes"] == ["AAPL"]
