"""F1's and F2's upstream: a venue whose 500 symbols bring every quote different, at a rate, over a real websocket.

python -m tests.bench.publisher QUOTES_PER_SECOND      prints its address

Speaks as much of Alpaca's wire as a subscriber of quotes needs. Frames are packed once, and their numbers changed, so
that it stays far from a core: `bid_size` of each quote is a running number from 1, `ask_size` the Unix time in seconds
at which its frame was sent. Symbols come in turn: number n is of the symbol (n - 1) mod 500.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import struct
import sys
import time
import uuid
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

import msgpack
import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from gateway.emulator.rest.gate import Gate
from gateway.emulator.server import Emulator, EmulatorOptions

SYMBOLS: Final = [f"S{index:03d}" for index in range(500)]
FEED: Final = "/v2/iex"
CASH: Final = Decimal(10**9)
TICK_S: Final = 0.005
_NUMBER: Final = 1.0e9 + 0.5  # a float in the packed frame where each quote's own number goes
_TIME: Final = 2.0e9 + 0.5  # the same for the time
_VENUE_TIME_NS: Final = 1_700_000_000_123_456_789  # the same for the venue's: a feed of old times is told to be late


class Frame:
    """A packed frame of one quote for each symbol; their numbers and times are put into it in one step."""

    def __init__(self, symbols: list[str]) -> None:
        then = msgpack.Timestamp.from_unix_nano(_VENUE_TIME_NS)
        quotes = [
            {"T": "q", "S": symbol, "bx": "V", "bp": 100.25, "bs": _NUMBER, "ax": "V", "ap": 100.27, "as": _TIME}
            | {"t": then, "c": ["R"], "z": "C"}
            for symbol in symbols
        ]
        packed = msgpack.packb(quotes)
        self.count = len(quotes)
        pieces = [
            piece for part in packed.split(_packed_double(_NUMBER)) for piece in part.split(_packed_double(_TIME))
        ]
        assert len(pieces) == 2 * self.count + 1
        # piece, number, piece, time, piece, number, ...
        self._values: list[Any] = [None] * (len(pieces) * 2 - 1)
        self._values[::2] = pieces
        self._pack = struct.Struct(">" + "d".join(f"{len(piece)}s" for piece in pieces)).pack

    def written(self, number: int, now: float) -> bytes:
        """The frame with the number of its first quote, those that follow, and its time."""
        values = self._values
        values[1::4] = range(number, number + self.count)
        values[3::4] = [now] * self.count
        packed: bytes = self._pack(*values)
        return packed.replace(_packed_time(_VENUE_TIME_NS), _packed_time(round(now * 1e9) | 1))


def _packed_double(value: float) -> bytes:
    return struct.pack(">d", value)


def _packed_time(time_ns: int) -> bytes:
    """Always of the same length, as no time is a whole second."""
    packed: bytes = msgpack.packb(msgpack.Timestamp.from_unix_nano(time_ns))
    return packed


def make_frames(per_frame: int) -> list[Frame]:
    """Frames of so many quotes that bring every symbol in turn, and then begin again."""
    count = math.lcm(per_frame, len(SYMBOLS)) // per_frame
    turns = itertools.cycle(SYMBOLS)
    return [Frame(list(itertools.islice(turns, per_frame))) for _ in range(count)]


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
            if publishing is None and wanted.issuperset(SYMBOLS):
                publishing = asyncio.create_task(publish(websocket, float(sys.argv[1])))
    if publishing is not None:
        publishing.cancel()


async def publish(websocket: WebSocket, per_second: float) -> None:
    """Send one frame a tick, symbols in turn, at the wanted rate; a late tick is made up for."""
    per_frame = max(1, round(per_second * TICK_S))
    tick_s = per_frame / per_second
    number, began = 1, time.monotonic()
    for sent, frame in enumerate(itertools.cycle(make_frames(per_frame)), start=1):
        await websocket.send_bytes(frame.written(number, time.time()))
        number += frame.count
        await asyncio.sleep(max(0.0, began + sent * tick_s - time.monotonic()))


async def assets(request: Request) -> Response:
    """Every symbol is an asset, and so is what the orders are for."""
    if request.query_params.get("asset_class", "us_equity") != "us_equity":
        return Response("[]", media_type="application/json")
    listed = [
        {"id": str(uuid.UUID(int=index + 1)), "class": "us_equity", "exchange": "NASDAQ", "symbol": symbol}
        | {"name": symbol, "status": "active", "tradable": True, "marginable": True, "shortable": True}
        | {"easy_to_borrow": True, "fractionable": True}
        for index, symbol in enumerate([*SYMBOLS, "AAPL"])
    ]
    return Response(orjson.dumps(listed), media_type="application/json")


async def latest(_request: Request) -> Response:
    """No quotes before the first."""
    return Response('{"quotes": {}}', media_type="application/json")


class Publisher:
    """Its own routes, and the emulator's gate for all others: orders, the account, history."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        routes: list[Route | WebSocketRoute] = [
            Route("/v2/assets", assets),
            Route("/v2/stocks/quotes/latest", latest),
            WebSocketRoute(FEED, stocks),
        ]
        self._own = Starlette(routes=routes)
        self._paths = frozenset(route.path for route in routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self._own if scope.get("path") in self._paths else self._gate)(scope, receive, send)

    @property
    def stopping(self) -> asyncio.Event:
        """The emulator's."""
        return self._gate.stopping


async def main() -> None:
    """Serve until ended."""
    server = Emulator(EmulatorOptions(rate_limit=0, cash=CASH))
    server.app = replace(server.app, gate=Publisher(server.app.gate))  # type: ignore[arg-type]
    await server.start()
    print(f"publisher at {server.url}", flush=True)
    await server.wait()


if __name__ == "__main__":
    asyncio.run(main())
