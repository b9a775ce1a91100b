"""A loopback venue that answers what a test wrote down: odd answers, byte by byte, that an emulator should not have."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgpack
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from gateway.domain.errors import ExpiredUnsent, TradingStopped, VenueRateLimited
from gateway.domain.types import BudgetLane, CallContext, Caller, DataFeed
from gateway.infrastructure.alpaca.clients import ClientConfig, ClientFactory
from gateway.infrastructure.alpaca.http import RestLimits

KEY, SECRET = "PKTESTKEY0000", "s3cr3t-of-the-tests"
LIMITS = RestLimits(connect_timeout_ms=500, read_timeout_ms=400, threads=8)


@dataclass(frozen=True)
class Asked:
    """A request as it arrived."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.target).query).items()}

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """An answer. `cut_bytes` are left out at its end; with `close` the connection ends after it."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_bytes: int = 0
    close: bool = False

    def to_bytes(self) -> bytes:
        headers = {"Content-Type": "application/json", "Content-Length": str(len(self.body)), **self.headers}
        head = f"HTTP/1.1 {self.status} X\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        whole = head.encode() + b"\r\n" + self.body
        return whole[: len(whole) - self.cut_bytes]


def json_reply(body: Any, status: int = 200, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, json.dumps(body).encode(), named)


@dataclass(frozen=True)
class Hang:
    """Take the request and say nothing."""


@dataclass(frozen=True)
class Drop:
    """Take the request and close without a word."""


@dataclass(frozen=True)
class Drip:
    """Answer one byte at a time."""

    reply: Reply
    pause_s: float


Step = Reply | Hang | Drop | Drip


class ScriptedHttp:
    """Answers each request with the next step; the last one is repeated."""

    def __init__(self, *steps: Step) -> None:
        self.steps: deque[Step] = deque(steps)
        self.asked: list[Asked] = []
        self.connections = 0
        self.closed = 0
        self.url = ""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> ScriptedHttp:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await self._answer(reader, writer):
                pass
        writer.close()
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await writer.wait_closed()
        self.closed += 1
        self._tasks.discard(task)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.asked.append(Asked(method, target, headers, body))
        step = self.steps.popleft() if len(self.steps) > 1 else self.steps[0]
        match step:
            case Reply():
                writer.write(step.to_bytes())
                await writer.drain()
                return not step.close and not step.cut_bytes
            case Hang():
                await asyncio.Event().wait()
            case Drip():
                for byte in step.reply.to_bytes():
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(step.pause_s)
            case Drop():
                pass
        return False


Talk = Callable[[ServerConnection], Awaitable[None]]


class ScriptedSocket:
    """A websocket server that runs one coroutine per connection: the next of the script, the last one repeated."""

    def __init__(self, *talks: Talk) -> None:
        self.talks: deque[Talk] = deque(talks)
        self.opened: list[ServerConnection] = []
        self.opened_at: list[float] = []
        self.closed = 0
        self.url = ""
        self._server: Server | None = None
        self._talking: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> ScriptedSocket:
        self._server = await serve(self._serve, "127.0.0.1", 0, max_size=None, ping_interval=None, close_timeout=0.2)
        self.url = f"http://127.0.0.1:{next(iter(self._server.sockets)).getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._talking:
            task.cancel()
        for connection in self.opened:
            connection.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, connection: ServerConnection) -> None:
        self.opened.append(connection)
        self.opened_at.append(time.monotonic())
        talk = self.talks.popleft() if len(self.talks) > 1 else self.talks[0]
        task = asyncio.create_task(talk(connection))  # type: ignore[arg-type]  # talks are coroutine functions
        self._talking.add(task)
        with contextlib.suppress(asyncio.CancelledError, ConnectionClosed):
            await task
        await connection.close()
        self.closed += 1


class Gate:
    """A RequestGate that notes everything; `refuse_after` lets that many pass.

    Attributes:
        forbids: Raised for new orders that are about to leave.
    """

    def __init__(self, refuse_after: int = 1_000_000) -> None:
        self.admitted: list[BudgetLane] = []
        self.observed: list[tuple[int, int, int]] = []
        self.throttled_ms: list[int] = []
        self.forbids: TradingStopped | ExpiredUnsent | None = None
        self._refuse_after = refuse_after

    def admit(self, lane: BudgetLane) -> None:
        if len(self.admitted) >= self._refuse_after:
            raise VenueRateLimited("the budget is used up", retry_after_ms=250)
        self.admitted.append(lane)

    def permit(self, context: CallContext) -> None:
        if context.lane is BudgetLane.ORDER and self.forbids is not None:
            raise self.forbids

    def observe(self, limit: int, remaining: int, reset_s: int) -> None:
        self.observed.append((limit, remaining, reset_s))

    def throttled(self, retry_after_ms: int) -> None:
        self.throttled_ms.append(retry_after_ms)


def context(wait_s: float = 5.0, lane: BudgetLane = BudgetLane.READ) -> CallContext:
    return CallContext(Caller(), time.monotonic() + wait_s, lane)


def order_context(wait_s: float = 5.0) -> CallContext:
    return context(wait_s, BudgetLane.ORDER)


@contextlib.asynccontextmanager
async def factory_at(
    url: str,
    gate: Gate | None = None,
    *,
    connect_ms: int = LIMITS.connect_timeout_ms,
    read_ms: int = LIMITS.read_timeout_ms,
    threads: int = LIMITS.threads,
    queue_max: int = LIMITS.queue_max,
    **config: Any,
) -> AsyncIterator[ClientFactory]:
    """A factory at an address, with short timeouts and credentials that must never show."""
    limits = RestLimits(connect_ms, read_ms, threads, queue_max)
    ClientFactory.load()  # before any deadline runs
    made = ClientFactory(replace(ClientConfig.emulator(url, limits, KEY, SECRET), **config), gate or Gate())
    try:
        yield made
    finally:
        await made.close()


async def greet(connection: ServerConnection) -> dict[str, Any]:
    """The data stream's handshake, taking any key; what the client sent to authenticate."""
    await connection.send(msgpack.packb([{"T": "success", "msg": "connected"}]))
    message: dict[str, Any] = msgpack.unpackb(await connection.recv())
    await connection.send(msgpack.packb([{"T": "success", "msg": "authenticated"}]))
    return message


async def acknowledge(connection: ServerConnection, have: dict[str, set[str]]) -> dict[str, Any]:
    """Take one change of subscriptions and answer with the whole set; the change."""
    change: dict[str, Any] = msgpack.unpackb(await connection.recv())
    for channel in {"trades", "quotes", "bars", *(change.keys() - {"action"})}:
        symbols = set(change.get(channel, ()))
        before = have.setdefault(channel, set())
        have[channel] = before | symbols if change["action"] == "subscribe" else before - symbols
    await connection.send(
        msgpack.packb([{"T": "subscription", **{channel: sorted(symbols) for channel, symbols in have.items()}}])
    )
    return change


async def until(condition: Callable[[], object], wait_s: float = 5.0) -> None:
    """Wait for something to be true; fails after `wait_s`."""
    async with asyncio.timeout(wait_s):
        while not condition():  # noqa: ASYNC110  # what is waited for happens in a thread, or over a socket
            await asyncio.sleep(0.005)


def at_work() -> list[str]:
    """The adapters' tasks that run: where there is none, nothing is opened any more, however long one waits."""
    running: list[Any] = [task.get_coro() for task in asyncio.all_tasks()]
    return [one.__qualname__ for one in running if "gateway/infrastructure" in one.cr_code.co_filename]


IEX = DataFeed.IEX
