"""A handshake that is refused before there is a socket: what Alpaca answers when connections come too often."""

from __future__ import annotations

from starlette.responses import JSONResponse
from starlette.websockets import WebSocket


async def deny(socket: WebSocket, retry_after_s: int) -> None:
    """Answer a handshake with 429.

    Args:
        socket: Not accepted yet.
        retry_after_s: What Retry-After says; 0: nothing, there is no such header.
    """
    headers = {"Retry-After": str(retry_after_s)} if retry_after_s else {}
    body = {"code": 42910000, "message": "rate limit exceeded"}
    await socket.send_denial_response(JSONResponse(body, status_code=429, headers=headers))
