"""What a client says on its socket, of either kind, read in the encoding it was said in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.websockets import WebSocket, WebSocketDisconnect

from gateway.emulator.streams.codec import JSON, Codec

_NO_CLOSE_CODE: Final = 1005  # RFC 6455 7.4.1: the closing frame had none


async def read_message(socket: WebSocket, codec: Codec) -> Mapping[str, Any] | None:
    """The next message, text always as JSON; None when it cannot be read or is no object.

    Raises:
        WebSocketDisconnect: When the client has gone.
    """
    event = await socket.receive()
    if event["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(event.get("code", _NO_CLOSE_CODE))
    text, data = event.get("text"), event.get("bytes")
    try:
        message = (codec if text is None else JSON).decode(text.encode() if text is not None else data or b"")
    except ValueError:
        return None
    return message if isinstance(message, dict) else None
