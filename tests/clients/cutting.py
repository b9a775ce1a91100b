"""A wire that can be cut: a TCP proxy in front of a gateway, which drops every connection when told to."""

from __future__ import annotations

import asyncio
import contextlib
import threading


class CuttableWire:
    """Forwards bytes to a target; `cut` drops what is open, `target` takes new connections at once.

    Args:
        upstream: HOST:PORT.
    """

    def __init__(self, upstream: str) -> None:
        self._host, _, self._port = upstream.rpartition(":")
        self._open: set[asyncio.StreamWriter] = set()
        self._connections: set[asyncio.Task[None] | None] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        starting = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._accept, "127.0.0.1", 0), self._loop)
        self._server = starting.result(timeout=5)
        self.target = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> int:
        """Drop every connection; how many there were."""
        return asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result(timeout=5)

    def stop(self) -> None:
        """Drop everything and take no more."""
        self._loop.call_soon_threadsafe(self._server.close)
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _cut(self) -> int:
        for writer in self._open:
            writer.transport.abort()
        ended = await asyncio.gather(*self._connections)
        return len(ended)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        there_reader, there_writer = await asyncio.open_connection(self._host, int(self._port))
        self._open |= {writer, there_writer}
        self._connections.add(connection)
        await asyncio.gather(self._forward(reader, there_writer), self._forward(there_reader, writer))
        self._connections.discard(connection)
        self._open -= {writer, there_writer}

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
