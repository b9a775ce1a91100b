"""A client's own limits, at the doors: whose they are, what is said beyond them, and how a loop of refusals slows down.

What a client may is `services/client_limits.py`; what is done with it at a call is `interceptors.py`. A refusal that
a client earned by itself (malformed, not allowed, too much) is answered the later the more of them it earns: a loop
that waits for its answers slows itself down, and one that sends without waiting is stopped by the number of calls that
HTTP/2 lets one connection have under way. Who gives its calls up within milliseconds, again and again, is refused as
cheaply as gRPC can, but not slowed: nothing in gRPC's Python closes one client's connection.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from gateway.domain.errors import (
    InvalidRequest,
    PermissionDenied,
    TooManyCalls,
    TooManyFailures,
    TooManyStreams,
    Unauthenticated,
)
from gateway.domain.types import MS_PER_SECOND, Caller
from gateway.servicers.identity import PUBLIC, peer_address
from gateway.servicers.read_pace import ReadPace, enter_pace
from gateway.services.client_limits import BYTES_PER_READ, STREAM_READS, Client, ClientLimits

EARNED: Final = (
    InvalidRequest,
    Unauthenticated,
    PermissionDenied,
    TooManyCalls,
    TooManyStreams,
    TooManyFailures,
)
"""Refusals that only the client can prevent."""

ALL_CLIENTS: Final = "all clients"
"""What stands in the place of a quota when it is all clients together who have too much under way."""

LIGHT_COMMAND_READS: Final = 0.05
"""What a credit counts as: a session that acknowledges a batch each 5 ms spends a twentieth of what it may read."""
STRANGERS_PART: Final = 8
_ROOM_RETRY_MS: Final = 100
_WORDS: Final = {
    "client:orders": "more orders in two seconds than one client may send",
    "client:reads": "more reads in two seconds than one client may make",
    "client:calls": "more calls at once than one client may have",
    "client:connections": "more connections in use than one client may have",
    "client:streams": "more streams at once than one client may have",
    "client:symbols": "more symbols followed than one client may follow",
}
QUOTA_METADATA: Final = "quota"
"""Beside the reason: the name of the limit, as GetQuota has it."""

Sleep = Callable[[float], Awaitable[None]]


def client_name(caller: Caller, peer: str) -> str:
    """Whose limits a call draws on: its token's, or those of its connection where nobody showed one."""
    return peer if caller is PUBLIC else caller.token_id or peer


def strangers_share(streams_max: int) -> int:
    """How many of all streams those may have who show nothing, from however many connections: Watch of Health."""
    return max(1, streams_max // STRANGERS_PART)


def too_many_calls(quota: str, wait_s: float = 0.0) -> TooManyCalls:
    """A call beyond a limit of its client, or of all; `wait_s` says when there is room, where that is known."""
    if quota == ALL_CLIENTS:
        return TooManyCalls("too many calls at once", retry_after_ms=_ROOM_RETRY_MS)
    retry_after_ms = math.ceil(wait_s * MS_PER_SECOND) if wait_s else _ROOM_RETRY_MS
    return TooManyCalls(_WORDS[quota], metadata={QUOTA_METADATA: quota}, retry_after_ms=retry_after_ms)


class Turnstile:
    """Counts streams and slows refusals down.

    Args:
        limits: Every client's record.
        monotonic: Seconds.
        sleep: Seconds.
    """

    def __init__(self, limits: ClientLimits, monotonic: Callable[[], float], sleep: Sleep = asyncio.sleep) -> None:
        self._limits = limits
        self._monotonic = monotonic
        self._sleep = sleep
        self.find: Final = limits.find

    def open_stream(self, client: Client, peer: str, symbols: int) -> None:
        """Count a stream in; the client's `leave_stream` is owed.

        Raises:
            TooManyStreams: Its client has as many streams, or symbols, as it may.
            TooManyCalls: It has too many connections, or asks too often.
        """
        quota = client.lacks_stream_room(peer, symbols)
        if quota == "client:connections":
            raise too_many_calls(quota)
        if quota:
            raise TooManyStreams(_WORDS[quota], metadata={QUOTA_METADATA: quota}, retry_after_ms=_ROOM_RETRY_MS)
        wait_s = client.reads.take(self._monotonic())
        if wait_s:
            raise too_many_calls("client:reads", wait_s)
        client.reads.owe(self._monotonic(), STREAM_READS - 1)
        client.enter_stream(peer, symbols)
        enter_pace(ReadPace(client, self._monotonic, self._sleep))

    def charge(self, client: Client, answer_bytes: int) -> None:
        """Count a large answer as the reads that it is worth."""
        client.reads.owe(self._monotonic(), answer_bytes // BYTES_PER_READ)

    async def delay(self, wait_s: float) -> None:
        """Hold what may not be refused."""
        await self._sleep(wait_s)

    async def slow_down(self, client: Client | None, peer: str) -> bool:
        """Wait before an earned refusal is told, if its client earned many; whether it did wait.

        Args:
            client: Whose it is; None when nobody knows, and then it is its machine's.
            peer: gRPC's word for the other end.
        """
        wrongdoer = self.find(_host_of(peer)) if client is None else client
        wait_s = self._limits.delay_of_fault(wrongdoer)
        if not wait_s:
            return False
        self._limits.begin_wait(wrongdoer)
        try:
            await self._sleep(wait_s)
        finally:
            self._limits.end_wait(wrongdoer)
        return True

    async def paced(self, requests: AsyncIterator[Any], client: Client, light_command: str = "") -> AsyncIterator[Any]:
        """The requests of a stream, each of which counts as a read, or as a part of one: too many are read later.

        Args:
            requests: As they come.
            client: Whose they are.
            light_command: The field of the oneof `command` that makes a request a light one.
        """
        async for request in requests:
            is_light = light_command and request.WhichOneof("command") == light_command
            wait_s = client.reads.owe(self._monotonic(), LIGHT_COMMAND_READS if is_light else 1.0)
            if wait_s:
                await self._sleep(wait_s)
            yield request


def _host_of(peer: str) -> str:
    """One record for all connections of a machine that cannot say who it is: they cost nothing to open anew."""
    return f"host:{peer_address(peer)}"
