"""What carries a gateway's process: its event loop, and when the garbage collector looks.

`serve` and the benchmarks use the same, so that what is measured is what is shipped.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import structlog

from gateway.domain.types import MS_PER_SECOND

COLLECT_AFTER_OBJECTS: Final = 2_000
"""New objects between two looks of the garbage collector at the youngest; Python's default is 700.

An order makes some hundred that stay, and reference counts free nearly all that do not.
"""
COLLECT_OLDER_AFTER: Final = 1
"""Looks at the youngest between two at those that outlived one. Each takes some 2 ms, in which nothing else runs."""
COLLECT_EVERYTHING_S: Final = 3_600
"""Seconds between two looks at everything: some 100 ms for 10,000 orders."""

T = TypeVar("T")

_log = structlog.get_logger(__name__)


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` on uvloop, which exists on POSIX: it serves a sixth more calls a second than asyncio's own."""
    if sys.platform == "win32":
        return asyncio.run(main)
    import uvloop  # noqa: PLC0415 - not to be had on Windows

    return uvloop.run(main)


@contextmanager
def collector_at_rest() -> Iterator[None]:
    """Make a great many objects that stay, without the garbage collector looking through them again and again."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def settle_collector() -> None:
    """To be called once, on the event loop, when the process has started: what start made lives as long as it does.

    From now on what outlives two looks at the young is not looked at again before the next look at everything: an
    order's history stays for weeks, and going through all of it holds every call (50 ms with 5,000 orders).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER_OBJECTS, COLLECT_OLDER_AFTER, gc.get_threshold()[2])
    gc.callbacks.append(_retire)
    _look_through_later()


def _retire(phase: str, info: dict[str, int]) -> None:
    if phase == "stop" and info["generation"] > 0:
        gc.freeze()


def _look_through_later() -> None:
    asyncio.get_running_loop().call_later(COLLECT_EVERYTHING_S, _look_through)


def _look_through() -> None:
    """What was retired in the middle of a circle, and has died since: some objects an hour."""
    began = time.perf_counter()
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    _log.info("collected", took_ms=round((time.perf_counter() - began) * MS_PER_SECOND))
    _look_through_later()
