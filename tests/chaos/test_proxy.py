"""The proxy itself: bytes pass unchanged, and every way of breaking them does what it says."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator

import pytest
import requests

from tests.chaos.proxy import CHUNK_BYTES_MAX, Cut, TcpProxy
from tests.emulator.host import RunningEmulator
from tests.emulator.rest_client import KEYS

PATIENCE_S = 5


class Echo:
    """A server that says back what it hears, and notes how its connections ended."""

    def __init__(self) -> None:
        self.ends: list[str] = []
        self.heard = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until the other side is done."""
        try:
            while data := await reader.read(CHUNK_BYTES_MAX):
                self.heard += data
                writer.write(data)
                await writer.drain()
            self.ends.append("eof")
            writer.write(b"|bye")
            await writer.drain()
        except ConnectionResetError:
            self.ends.append("reset")
        finally:
            writer.close()


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
async def proxy(echo: Echo) -> AsyncIterator[TcpProxy]:
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    async with TcpProxy("127.0.0.1", server.sockets[0].getsockname()[1]) as running:
        yield running
    server.close()


async def dial(proxy: TcpProxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", proxy.port)


async def said(reader: asyncio.StreamReader, byte_count: int) -> bytes:
    return await asyncio.wait_for(reader.readexactly(byte_count), PATIENCE_S)


async def until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - what it waits for has no event
            await asyncio.sleep(0.005)


async def test_bytes_pass_unchanged_and_an_end_is_passed_on(proxy: TcpProxy, echo: Echo) -> None:
    reader, writer = await dial(proxy)
    sent = bytes(range(256)) * 2_000
    writer.write(sent)
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(-1), PATIENCE_S) == sent + b"|bye"
    assert echo.ends == ["eof"]
    await until(lambda: proxy.open == 0)
    assert proxy.counts == {"connected": 1}
    writer.close()


@pytest.mark.parametrize("cut", [Cut.FIN, Cut.RST])
async def test_an_answer_ends_after_so_many_bytes(proxy: TcpProxy, cut: Cut) -> None:
    proxy.to_client.cut_after(5, cut)
    reader, writer = await dial(proxy)
    writer.write(b"0123456789")
    if cut is Cut.FIN:
        assert await asyncio.wait_for(reader.read(-1), PATIENCE_S) == b"01234"
    else:
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(-1), PATIENCE_S)
    assert proxy.counts[cut.value] == 1
    writer.close()
    reader, writer = await dial(proxy)
    writer.write(b"0123456789")
    assert await said(reader, 10) == b"0123456789", "once"
    writer.close()


async def test_a_request_ends_after_so_many_bytes(proxy: TcpProxy, echo: Echo) -> None:
    proxy.to_server.cut_after(3, Cut.RST)
    reader, writer = await dial(proxy)
    writer.write(b"abcdef")
    await until(lambda: echo.ends)
    assert (echo.ends, len(echo.heard) <= 3) == (["reset"], True)
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(-1), PATIENCE_S)
    writer.close()


async def test_a_reset_is_passed_on(proxy: TcpProxy, echo: Echo) -> None:
    reader, writer = await dial(proxy)
    writer.write(b"hello")
    assert await said(reader, 5) == b"hello"
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    await until(lambda: echo.ends)
    assert echo.ends == ["reset"]


async def test_one_way_is_done_and_the_other_goes_on(proxy: TcpProxy, echo: Echo) -> None:
    proxy.to_server.cut_after(3, Cut.HALF)
    reader, writer = await dial(proxy)
    writer.write(b"abcdef")
    assert await said(reader, 7) == b"abc|bye"
    assert (echo.ends, proxy.counts["half_closed"]) == (["eof"], 1)
    writer.close()


@pytest.mark.parametrize("cut", [Cut.FIN, Cut.RST])
async def test_what_runs_is_cut(proxy: TcpProxy, cut: Cut) -> None:
    lines = [await dial(proxy) for _ in range(3)]
    await until(lambda: proxy.open == 3)
    assert proxy.cut(cut) == 3
    for reader, writer in lines:
        if cut is Cut.FIN:
            assert await asyncio.wait_for(reader.read(-1), PATIENCE_S) == b""
        else:
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(-1), PATIENCE_S)
        writer.close()
    assert proxy.counts[cut.value] == 3
    await until(lambda: proxy.open == 0)


async def test_what_is_held_comes_later(proxy: TcpProxy, echo: Echo) -> None:
    reader, writer = await dial(proxy)
    writer.write(b"one")
    assert await said(reader, 3) == b"one"
    proxy.to_server.hold()
    writer.write(b"two")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.1)
    assert echo.heard == b"one"
    proxy.to_server.release()
    assert await said(reader, 3) == b"two"
    writer.close()


async def test_a_black_hole_swallows_one_way(proxy: TcpProxy, echo: Echo) -> None:
    proxy.to_client.is_black_hole = True
    reader, writer = await dial(proxy)
    writer.write(b"hello")
    await until(lambda: proxy.counts["swallowed"] == 5)
    assert echo.heard == b"hello"
    proxy.to_client.heal()
    writer.write(b"again")
    assert await said(reader, 5) == b"again", "what was swallowed is lost"
    writer.close()


async def test_delays_and_drips_keep_the_time_they_are_given() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    echo = Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    async with TcpProxy("127.0.0.1", server.sockets[0].getsockname()[1], sleep=sleep) as proxy:
        proxy.to_server.delay_s = 7
        proxy.to_client.bytes_per_s = 4
        reader, writer = await dial(proxy)
        writer.write(b"drip")
        assert await said(reader, 4) == b"drip"
        await until(lambda: len(slept) == 5)
        assert slept == [7, 0.25, 0.25, 0.25, 0.25]
        assert (proxy.counts["delayed"], proxy.counts["dripped"]) == (1, 1)
        writer.close()
    server.close()


async def test_connections_are_refused_and_taken_again_on_the_same_port(proxy: TcpProxy) -> None:
    reader, writer = await dial(proxy)
    await until(lambda: proxy.open == 1)
    port = proxy.port
    await proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        await dial(proxy)
    writer.write(b"still")
    assert await said(reader, 5) == b"still", "what runs goes on"
    await proxy.accept()
    assert proxy.port == port
    _, again = await dial(proxy)
    for line in (writer, again):
        line.close()
    assert proxy.counts["refused"] == 1


async def test_a_server_that_is_not_there_resets(proxy: TcpProxy) -> None:
    async with TcpProxy("127.0.0.1", 1) as nowhere:
        reader, writer = await dial(nowhere)
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(-1), PATIENCE_S)
        assert nowhere.counts == {"unreachable": 1}
        writer.close()
    assert proxy.counts == {}


async def test_it_stands_between_a_client_and_the_emulator(emulator: RunningEmulator) -> None:
    """An answer cut in its body: the order is there, and its client does not know."""
    host, _, port = emulator.url.removeprefix("http://").rpartition(":")

    def order(key: str) -> requests.Response:
        body = {"symbol": "AAPL", "qty": "1", "side": "buy", "type": "limit", "limit_price": "9",
                "time_in_force": "day", "client_order_id": key}  # fmt: skip
        return requests.post(f"http://{between.address}/v2/orders", json=body, headers=KEYS, timeout=5)

    async with TcpProxy(host, int(port)) as between:
        between.to_client.cut_after(400, Cut.FIN)
        with pytest.raises(requests.exceptions.RequestException):
            await asyncio.to_thread(order, "cut")
        assert (await asyncio.to_thread(order, "whole")).status_code == 200
    assert emulator.exchange.counts[0] == 2
