"""Long lists become messages a slice at a time: a page of a thousand must not make everybody else's quotes wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

SLICE_ITEMS: Final = 32
"""Written before others get their turn: one or two milliseconds, for the longest of them."""

N = TypeVar("N")
M = TypeVar("M")


async def in_slices(items: Iterable[N], write: Callable[[N], M]) -> list[M]:
    """Every item, written; others run in between."""
    written: list[M] = []
    for item in items:
        written.append(write(item))
        if len(written) % SLICE_ITEMS == 0:
            await asyncio.sleep(0)
    return written
