"""A TCP proxy that breaks connections on request: between gateway and venue, or between client and gateway.

What the kernel's own traffic shaping would do, done in user space: cuts (FIN, RST), half-closes, delays, slow drips,
holds (bytes wait and arrive later, as in a partition that heals), black holes (bytes are swallowed for good), cuts
after exactly N bytes, refused connections. Each way has its own rules, which may change while connections run.

Promises: without a rule, bytes pass unchanged and in order; with one, exactly what was ordered happens, and is counted
when it does; nothing is random. Bounded: CONNECTIONS_MAX at once, CHUNK_BYTES_MAX in memory for each way.

    async with TcpProxy("127.0.0.1", venue_port) as proxy:
        proxy.to_client.cut_after(120, Cut.RST)     # the next connection's answer ends after 120 bytes
        ...                                         # talk to proxy.address
        assert proxy.counts["cut_rst"] == 1
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any, Final, Self

CHUNK_BYTES_MAX: Final = 64 * 1024
CONNECTIONS_MAX: Final = 1024
CONNECT_S_MAX: Final = 5.0
CLOSE_S_MAX: Final = 5.0

Sleep = Callable[[float], Awaitable[None]]
"""Seconds."""


class Cut(StrEnum):
    """How a connection ends."""

    FIN = "cut_fin"
    RST = "cut_rst"
    HALF = "half_closed"
    """This way says that it is done, the other goes on."""


class Way:
    """One direction, of all connections.

    Attributes:
        delay_s: Every chunk waits so long.
        bytes_per_s: No faster than this, byte by byte; 0: no limit.
        is_black_hole: Whatever comes is swallowed.
    """

    def __init__(self, counts: Counter[str]) -> None:
        self._counts = counts
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._cuts: list[tuple[int, Cut]] = []
        self.delay_s = 0.0
        self.bytes_per_s = 0
        self.is_black_hole = False

    def cut_after(self, byte_count: int, cut: Cut = Cut.RST, *, times: int = 1) -> None:
        """End the next connections, each when so many of its bytes have passed this way; orders queue up."""
        self._cuts += [(byte_count, cut)] * times

    def hold(self) -> None:
        """Let nothing pass; what comes waits at its sender."""
        self._flowing.clear()
        self._counts["held"] += 1

    def release(self) -> None:
        """Let everything pass that waits."""
        self._flowing.set()

    def heal(self) -> None:
        """No rules any more; what is held passes, what was swallowed is lost."""
        self._cuts.clear()
        self.delay_s, self.bytes_per_s, self.is_black_hole = 0.0, 0, False
        self.release()

    async def flow(self) -> None:
        """Wait while it is held."""
        await self._flowing.wait()

    def take_cut(self) -> tuple[int, Cut] | None:
        """The cut of a connection that begins now."""
        return self._cuts.pop(0) if self._cuts else None


class TcpProxy:
    """One listener before one server.

    Args:
        host, port: The server.
        sleep: Waits for seconds.

    Attributes:
        counts: What has happened: connected, refused, held, delayed, dripped, swallowed (bytes), cut_fin, cut_rst,
            half_closed, unreachable.
        to_server, to_client: The rules of each way.
    """

    def __init__(self, host: str, port: int, *, sleep: Sleep = asyncio.sleep) -> None:
        self._host, self._port = host, port
        self._sleep = sleep
        self.counts: Counter[str] = Counter()
        self.to_server, self.to_client = Way(self.counts), Way(self.counts)
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._own_port = 0

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._own_port

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self._own_port}"

    @property
    def open(self) -> int:
        """Connections that run."""
        return len(self._links)

    async def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self._own_port, limit=CHUNK_BYTES_MAX, reuse_address=True
        )
        self._own_port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Refuse connections from now on (ECONNREFUSED); those that run go on."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self.counts["refused"] += 1

    async def accept(self) -> None:
        """Take connections again."""
        if self._server is None:
            await self.start()

    def cut(self, cut: Cut = Cut.RST) -> int:
        """End every connection that runs; how many."""
        links = list(self._links)
        for link in links:
            link.end(cut)
        return len(links)

    async def close(self) -> None:
        """End everything."""
        if self._server is not None:
            self._server.close()
        links = list(self._links)
        for link in links:
            link.stop()
        if links:
            await asyncio.wait([link.task for link in links], timeout=CLOSE_S_MAX)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._links) >= CONNECTIONS_MAX:
            _reset(writer)
            return
        try:
            async with asyncio.timeout(CONNECT_S_MAX):
                upstream = await asyncio.open_connection(self._host, self._port, limit=CHUNK_BYTES_MAX)
        except (OSError, TimeoutError):
            self.counts["unreachable"] += 1
            _reset(writer)
            return
        self.counts["connected"] += 1
        link = _Link(self, (reader, writer), upstream, self._sleep)
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)


Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Link:
    """One connection and its continuation."""

    def __init__(self, proxy: TcpProxy, client: Ends, server: Ends, sleep: Sleep) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.task = task
        self._proxy = proxy
        self._client, self._server = client, server
        self._sleep = sleep
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Until both ways are done, or it is cut."""
        ways = [
            asyncio.create_task(self._pump(self._proxy.to_server, self._client[0], self._server[1])),
            asyncio.create_task(self._pump(self._proxy.to_client, self._server[0], self._client[1])),
        ]
        cut = asyncio.create_task(self._ended.wait())
        both = asyncio.gather(*ways, return_exceptions=True)
        ends: list[asyncio.Future[Any]] = [cut, both]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*ways, cut):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await both
            for writer in (self._client[1], self._server[1]):
                writer.close()

    def stop(self) -> None:
        """End it for no reason of its own: nothing is counted."""
        self._ended.set()

    def end(self, cut: Cut) -> None:
        """Cut both sides now; HALF tells the server that the client is done."""
        self._proxy.counts[cut.value] += 1
        if cut is Cut.HALF:
            self._half_close(self._server[1])
            return
        if cut is Cut.RST:
            self._reset_both()
            return
        for writer in (self._client[1], self._server[1]):
            writer.close()
        self._ended.set()

    def _reset_both(self) -> None:
        for writer in (self._client[1], self._server[1]):
            _reset(writer)
        self._ended.set()

    async def _pump(self, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ordered = way.take_cut()
        passed = 0
        while True:
            await way.flow()
            left = CHUNK_BYTES_MAX if ordered is None else ordered[0] - passed
            if ordered is not None and left <= 0:
                self._end_way(ordered[1], writer)
                return
            try:
                data = await reader.read(min(left, CHUNK_BYTES_MAX))
            except OSError:
                self._reset_both()  # one side was reset, so the other is
                return
            await way.flow()  # it may be held since
            if not data:
                self._half_close(writer)
                return
            if way.is_black_hole:
                self._proxy.counts["swallowed"] += len(data)
                continue
            if not await self._pass(way, data, writer):
                return
            passed += len(data)

    async def _pass(self, way: Way, data: bytes, writer: asyncio.StreamWriter) -> bool:
        """Write on, at the pace that is ordered; False when the receiver has gone."""
        if way.delay_s:
            self._proxy.counts["delayed"] += 1
            await self._sleep(way.delay_s)
        try:
            if way.bytes_per_s:
                self._proxy.counts["dripped"] += 1
                for position in range(len(data)):
                    writer.write(data[position : position + 1])
                    await writer.drain()
                    await self._sleep(1 / way.bytes_per_s if way.bytes_per_s else 0)
            else:
                writer.write(data)
                await writer.drain()
        except OSError:
            self._reset_both()
            return False
        return True

    def _end_way(self, cut: Cut, writer: asyncio.StreamWriter) -> None:
        if cut is Cut.HALF:
            self._proxy.counts[cut.value] += 1
            self._half_close(writer)
        else:
            self.end(cut)

    @staticmethod
    def _half_close(writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    """RST in the place of FIN: what waits on its way is lost."""
    peer = writer.get_extra_info("socket")
    if peer is not None:
        with contextlib.suppress(OSError):
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
