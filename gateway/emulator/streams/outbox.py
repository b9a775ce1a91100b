"""What waits to be sent on one socket.

Promises: frames leave in order; memory is bounded: a client that reads too slowly is told so and cut off
(Alpaca's 407), never waited for. Leaves what a frame says to `data` and `orders`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from starlette.websockets import WebSocket, WebSocketDisconnect

DEFAULT_OUTGOING_BYTES_MAX: Final = 32 * 1024 * 1024
"""What may wait for one client; a whole day of one symbol's quotes fits."""

LAST_WORDS_S_MAX: Final = 1.0
"""How long a client that is cut off may take to read why."""

ABORT_EXTENSION: Final = "emulator.abort"
"""Where the server puts the means to break a connection off: an ASGI extension of our own."""


class Outbox:
    """The outgoing side of one socket.

    Attributes:
        muted: Frames are dropped in silence while it is set: a socket that is open and says nothing.
        aborted: The connection was broken off on purpose.
        sent: Frames that left.
    """

    def __init__(self, socket: WebSocket, *, binary: bool, bytes_max: int) -> None:
        self._socket = socket
        self._binary = binary
        self._bytes_max = bytes_max
        self._frames: deque[bytes] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        self._last_words: tuple[bytes, int] | None = None
        self._patience: asyncio.TimerHandle | None = None
        self.muted = False
        self.aborted = False
        self.sent = 0

    @property
    def is_ending(self) -> bool:
        """Its end is decided: it was broken off, or its last words are said."""
        return self.aborted or self._last_words is not None

    def put(self, frame: bytes) -> bool:
        """Queue a frame; False when the client is too slow for it, and the frame is not queued.

        Whoever is muted, or has been told the last words, gets nothing more.
        """
        if self.muted or self._last_words is not None:
            return True
        if self._bytes + len(frame) > self._bytes_max:
            return False
        self._frames.append(frame)
        self._bytes += len(frame)
        self._wake.set()
        return True

    def abort(self) -> None:
        """Break the connection off, without a goodbye."""
        self.aborted = True
        transport_abort: Callable[[], None] = self._socket.scope["extensions"][ABORT_EXTENSION]
        transport_abort()

    def finish(self, frame: bytes, close_code: int) -> None:
        """Drop what waits, send a last frame and close; who does not even take that is broken off."""
        if self._last_words is not None:
            return
        self._frames.clear()
        self._bytes = 0
        self._last_words = (frame, close_code)
        self._wake.set()
        self._patience = asyncio.get_running_loop().call_later(LAST_WORDS_S_MAX, self.abort)

    def finish_after_queued(self, frame: bytes, close_code: int) -> None:
        """Send what waits, then a last frame, and close."""
        self._last_words = (frame, close_code)
        self._wake.set()

    async def run(self) -> None:
        """Send until the socket is closed."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._frames:
                    frame = self._frames.popleft()
                    await self._send(frame)
                    self._bytes -= len(frame)
                if self._last_words is not None:
                    frame, close_code = self._last_words
                    if frame:
                        await self._send(frame)
                    await self._socket.close(close_code)
                    return
        except (WebSocketDisconnect, RuntimeError, OSError):
            return  # the client has gone; the reader notices by itself
        finally:
            if self._patience is not None:
                self._patience.cancel()

    async def _send(self, frame: bytes) -> None:
        if self._binary:
            await self._socket.send_bytes(frame)
        else:
            await self._socket.send_text(frame.decode())
        self.sent += 1
