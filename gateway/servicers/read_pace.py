"""What a long stream of past values counts as, beyond its opening: it waits, it is not refused.

Promises that history costs its client as many reads in one stream as in pages: one for each page that the venue was
asked for, and one for each 16 KiB of what is sent. Beyond its reads a stream goes on a second later at most, and again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar

from gateway.services.client_limits import BYTES_PER_READ, Client


class ReadPace:
    """One stream's reads.

    Args:
        client: Whose they are.
        monotonic: Seconds.
        sleep: Seconds.
    """

    def __init__(
        self, client: Client, monotonic: Callable[[], float], sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self._client = client
        self._monotonic = monotonic
        self._sleep = sleep

    async def page(self) -> None:
        """Before the venue is asked for one more page."""
        await self._spend(1)

    async def sent(self, answer_bytes: int) -> None:
        """After a message of so many bytes."""
        await self._spend(answer_bytes // BYTES_PER_READ)

    async def _spend(self, reads: int) -> None:
        wait_s = self._client.reads.owe(self._monotonic(), reads)
        if wait_s:
            await self._sleep(wait_s)


_PACE: ContextVar[ReadPace] = ContextVar("gateway_read_pace")


def enter_pace(pace: ReadPace) -> None:
    """Make this the pace of the running stream; each runs in a task of its own, so nothing is undone."""
    _PACE.set(pace)


def read_pace() -> ReadPace:
    """The pace of the running stream.

    Raises:
        LookupError: Outside a stream.
    """
    return _PACE.get()
