"""A session's commands: read beside its answers, done one after another.

Promises that a credit is taken at once, though a subscription before it waits for the venue; that commands which wait
are few; and that what breaks the protocol ends the stream with the reason.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import grpc

from gateway.domain.errors import FieldInvalid, FieldViolation
from gateway.domain.models.market_session import SessionCommand, SessionOptions, Subscribe, Unsubscribe
from gateway.servicers.wire import market_session as wire
from gateway.services.streaming import MarketDataSession
from trading_gateway.v1 import market_data_pb2 as pb

OPEN_WAIT_S: Final = 10.0
"""How long the first command may take."""
COMMANDS_WAITING_MAX: Final = 64
"""Read, and not done yet; more are not read."""
SYMBOLS_WAITING_MAX: Final = 500
"""In all commands that wait: with so many, too, no more are read."""


async def first_command(requests: AsyncIterator[pb.MarketDataSessionRequest]) -> SessionOptions:
    """What the session is opened with.

    Raises:
        FieldInvalid: Nothing came, or something else.
    """
    try:
        async with asyncio.timeout(OPEN_WAIT_S):
            first = await anext(requests, None)
    except TimeoutError:
        first = None
    if first is None:
        raise FieldInvalid.of([FieldViolation("open", "is required as the first command")])
    return wire.options_from_proto(first)


class _Waiting:
    """Commands that were read and not done yet, one reader's; a bound for both of their dimensions."""

    def __init__(self) -> None:
        self._commands: deque[SessionCommand] = deque()
        self._symbols = 0
        self._changed = asyncio.Event()

    async def room(self) -> None:
        """Wait until one more may come."""
        while len(self._commands) >= COMMANDS_WAITING_MAX or self._symbols >= SYMBOLS_WAITING_MAX:
            self._changed.clear()
            await self._changed.wait()

    def put(self, given: SessionCommand) -> None:
        """One more."""
        self._commands.append(given)
        self._symbols += _symbols_of(given)
        self._changed.set()

    async def get(self) -> SessionCommand:
        """The oldest."""
        while not self._commands:
            self._changed.clear()
            await self._changed.wait()
        given = self._commands.popleft()
        self._symbols -= _symbols_of(given)
        self._changed.set()
        return given


def _symbols_of(given: SessionCommand) -> int:
    return len(given.command.selection.symbols) if isinstance(given.command, Subscribe | Unsubscribe) else 0


@asynccontextmanager
async def steered(
    session: MarketDataSession, requests: AsyncIterator[pb.MarketDataSessionRequest]
) -> AsyncIterator[None]:
    """A session that obeys its client, and is closed however its reader ends."""
    waiting = _Waiting()
    tasks = [
        asyncio.create_task(_read(session, requests, waiting)),
        asyncio.create_task(_obey(session, waiting)),
    ]
    for task in tasks:
        task.add_done_callback(lambda ended: _tell_end(session, ended))
    try:
        yield
    finally:
        session.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _read(
    session: MarketDataSession,
    requests: AsyncIterator[pb.MarketDataSessionRequest],
    waiting: _Waiting,
) -> None:
    async for request in requests:
        if request.HasField("credit"):
            await session.obey(wire.command_from_proto(request))
        else:
            await waiting.room()
            waiting.put(session.bounded(wire.command_from_proto(request)))
    session.end_commands()


async def _obey(session: MarketDataSession, waiting: _Waiting) -> None:
    while True:
        await session.obey(await waiting.get())


def _tell_end(session: MarketDataSession, ended: asyncio.Task[None]) -> None:
    """The reason, where it did not end by itself; a client that went away is told nothing."""
    if ended.cancelled():
        return
    error = ended.exception()
    if isinstance(error, grpc.aio.BaseError):
        session.close()
    elif error is not None:
        session.fail(error)
