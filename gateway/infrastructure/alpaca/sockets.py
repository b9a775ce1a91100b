"""Opens and closes one websocket, for both kinds of stream.

Promises bounds that alpaca-py does not set: a peer that is gone is noticed within 20 s, a frame may have
16 MiB, few frames wait, a redirect is never followed (the key would go to a stranger), nothing is logged at
debug level (the key is in the first message), and closing really closes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from alpaca.common.utils import get_default_user_agent
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

PING_INTERVAL_S: Final = 10.0
PING_TIMEOUT_S: Final = 10.0
FRAME_BYTES_MAX: Final = 16 * 1024 * 1024
FRAMES_WAITING_MAX: Final = 64
OPEN_TIMEOUT_S: Final = 5.0
CLOSE_TIMEOUT_S: Final = 1.0

_quiet = logging.getLogger("gateway.infrastructure.alpaca.sockets.quiet")
_quiet.setLevel(logging.WARNING)


class _ConnectHere(connect):
    """`connect` that takes a redirect for the failure that it is."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


async def open_socket(url: str, headers: Mapping[str, str]) -> ClientConnection:
    """Open a websocket. Deflate is not offered: it costs more per quote than the bytes it saves."""
    return await _ConnectHere(
        url,
        additional_headers=headers,
        user_agent_header=get_default_user_agent(),
        compression=None,
        proxy=None,
        open_timeout=OPEN_TIMEOUT_S,
        ping_interval=PING_INTERVAL_S,
        ping_timeout=PING_TIMEOUT_S,
        close_timeout=CLOSE_TIMEOUT_S,
        max_size=FRAME_BYTES_MAX,
        max_queue=FRAMES_WAITING_MAX,
        logger=_quiet,
    )


async def close_socket(socket: ClientConnection) -> None:
    """Close it: politely for a moment, then without asking. The socket is closed when this returns."""
    try:
        with suppress(TimeoutError, OSError, WebSocketException):
            async with asyncio.timeout(2 * CLOSE_TIMEOUT_S):
                await socket.close()
    finally:
        socket.transport.abort()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await socket.wait_closed()
