"""What carries a gateway's process: its event loop, and when the garbage collector looks.

`serve` and the benchmarks use the same, so that what is measured is what is shipped.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

COLLECT_AFTER_OBJECTS: Final = 3_000
"""New objects between two looks of the garbage collector at the youngest; Python's default is 700.

An order makes some hundred that stay, and reference counts free nearly all that do not.
"""

T = TypeVar("T")


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
    """To be called once, when the process has started: what start made lives as long as the process."""
    gc.collect()
    gc.freeze()  # the collector need not look at it again
    gc.set_threshold(COLLECT_AFTER_OBJECTS, *gc.get_threshold()[1:])
