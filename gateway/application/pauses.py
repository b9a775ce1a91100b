"""Waiting for a while, or until something is wanted sooner."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


async def pause(event: asyncio.Event, delay_s: float, sleep: Callable[[float], Awaitable[None]]) -> bool:
    """Sleep, unless the event is set; True when it is, and it is cleared.

    Args:
        event: What ends the pause early.
        delay_s: Its length otherwise.
        sleep: Seconds, as `asyncio.sleep`.
    """
    sleeper = asyncio.ensure_future(sleep(delay_s))
    waker = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait((sleeper, waker), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for future in (sleeper, waker):
            future.cancel()
        await asyncio.gather(sleeper, waker, return_exceptions=True)
    is_wanted = event.is_set()
    event.clear()
    return is_wanted
