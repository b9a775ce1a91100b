"""F1's upstream: a venue with 500 symbols that sends every quote different, at a given rate, over a real websocket.

python -m tests.bench.publisher QUOTES_PER_SECOND      prints its address

Speaks as much of Alpaca's wire as a subscriber of quotes needs. Frames are packed once and patched, so that it
stays far from a core: `bid_size` of each quote is a running number, `ask_size` the Unix time in seconds at which its
frame was sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
import time
import uuid
from typing import Any, Final

import msgpack
import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

SYMBOLS: Final = [f"S{index:03d}" for index in range(500)]
TICK_S: Final = 0.005
_NUMBER: Final = 1.0e9 + 0.5  # a float in the packed frame where each quote's own number goes
_TIME: Final = 2.0e9 + 0.5  # the same for the time


def make_frame(symbols: list[str]) -> tuple[bytearray, list[int], list[int]]:
    """A packed frame of one quote for each symbol, and where each one's number and time stand."""
    now = msgpack.Timestamp.from_unix_nano(time.time_ns())
    quotes = [
        {"T": "q", "S": symbol, "bx": "V", "bp": 100.25, "bs": _NUMBER, "ax": "V", "ap": 100.27, "as": _TIME}
        | {"t": now, "c": ["R"], "z": "C"}
        for symbol in symbols
    ]
    packed = bytearray(msgpack.packb(quotes))
    numbers, times = _places(packed, _NUMBER), _places(packed, _TIME)
    assert len(numbers) == len(times) == len(symbols)
    return packed, numbers, times


def _places(packed: bytearray, value: float) -> list[int]:
    wanted = struct.pack(">d", value)
    places, at = [], packed.find(wanted)
    while at >= 0:
        places.append(at)
        at = packed.find(wanted, at + len(wanted))
    return places


async def stocks(websocket: WebSocket) -> None:
    """Authenticate, acknowledge, then publish until the reader goes."""
    await websocket.accept()
    await websocket.send_bytes(msgpack.packb([{"T": "success", "msg": "connected"}]))
    await websocket.receive()
    await websocket.send_bytes(msgpack.packb([{"T": "success", "msg": "authenticated"}]))
    wanted: set[str] = set()
    publishing: asyncio.Task[None] | None = None
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        while True:
            message = await websocket.receive()
            body = message.get("bytes") or (message.get("text") or "").encode()
            if not body:
                break
            command: dict[str, Any] = msgpack.unpackb(body) if body[:1] != b"{" else orjson.loads(body)
            change = wanted.update if command["action"] == "subscribe" else wanted.difference_update
            change(command.get("quotes") or ())
            answer = {"T": "subscription", "quotes": sorted(wanted), "trades": [], "bars": []}
            await websocket.send_bytes(msgpack.packb([answer]))
            if len(wanted) == len(SYMBOLS) and publishing is None:
                publishing = asyncio.create_task(publish(websocket, float(sys.argv[1])))
    if publishing is not None:
        publishing.cancel()


async def publish(websocket: WebSocket, per_second: float) -> None:
    """Send one frame a tick, symbols in turn, at the wanted rate; a late tick is made up for."""
    per_frame = max(1, round(per_second * TICK_S))
    frames = [make_frame([SYMBOLS[(start + i) % 500] for i in range(per_frame)]) for start in range(0, 500, 100)]
    number, began, sent = 0, time.monotonic(), 0
    pack = struct.Struct(">d").pack_into
    while True:
        packed, numbers, times = frames[sent % len(frames)]
        for place in numbers:
            number += 1
            pack(packed, place, number)
        now = time.time()
        for place in times:
            pack(packed, place, now)
        await websocket.send_bytes(bytes(packed))
        sent += 1
        await asyncio.sleep(max(0.0, began + sent * TICK_S - time.monotonic()))


async def assets(request: Request) -> Response:
    """Every symbol is an asset."""
    if request.query_params.get("asset_class") == "crypto":
        return Response("[]", media_type="application/json")
    listed = [
        {"id": str(uuid.UUID(int=index + 1)), "class": "us_equity", "exchange": "NASDAQ", "symbol": symbol}
        | {"name": symbol, "status": "active", "tradable": True, "marginable": True, "shortable": True}
        | {"easy_to_borrow": True, "fractionable": True}
        for index, symbol in enumerate(SYMBOLS)
    ]
    return Response(orjson.dumps(listed), media_type="application/json")


async def latest(_request: Request) -> Response:
    """No quotes before the first."""
    return Response('{"quotes": {}}', media_type="application/json")


async def no_orders(_request: Request) -> Response:
    """Nobody trades here."""
    return Response("[]", media_type="application/json")


def main() -> None:
    """Serve until ended."""
    routes = [
        Route("/v2/assets", assets),
        Route("/v2/stocks/quotes/latest", latest),
        Route("/v2/orders", no_orders),
        WebSocketRoute("/v2/iex", stocks),
    ]
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        Starlette(routes=routes), log_level="error", ws="websockets-sansio", ws_per_message_deflate=False
    )
    print(f"publisher at http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
