"""A wire that can be cut: a TCP proxy before a gateway, which drops connections when told to, or at a given byte."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Iterable


class CuttableWire:
    """Forwards bytes to a target; `cut` drops what is open, `target` takes new connections at once.

    Args:
        upstream: HOST:PORT.
        bytes_left: How many bytes of answers each new connection carries before it breaks, in the middle of whatever
            that is; when the list is used up, connections last.
    """

    def __init__(self, upstream: str, bytes_left: Iterable[int] = ()) -> None:
        self._bytes_left = deque(bytes_left)
        self.broken = 0
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
        bytes_left = self._bytes_left.popleft() if self._bytes_left else None
        await asyncio.gather(self._forward(reader, there_writer), self._forward(there_reader, writer, bytes_left))
        self._connections.discard(connection)
        self._open -= {writer, there_writer}

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, bytes_left: int | None = None
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536 if bytes_left is None else min(65_536, bytes_left)):
                writer.write(data)
                await writer.drain()
                if bytes_left is not None and not (bytes_left := bytes_left - len(data)):
                    self.broken += 1
                    writer.close()  # what was written goes out before the end
                    await writer.wait_closed()
                    break
        writer.transport.abort()
