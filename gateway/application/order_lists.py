"""Lists of orders: those in memory and those in the archive as one, by the time at which they were made.

Promises: a list is complete as far back as the archive keeps orders, wherever each of them is and whatever moves from
one place to the other meanwhile; pages neither repeat nor skip an order. Of the archive one page looks at a bounded
number of orders, a slice at a time, so that nobody else waits: such a page may be short, or empty, and still have a
token. An order in memory is as it is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from gateway.application.order_index import PAGE_LABEL_BYTES_MAX, OrderIndex, Stamp, label_bytes, matches, stamp_of
from gateway.domain.interfaces import OrderArchive
from gateway.domain.models.market_data import Page
from gateway.domain.models.orders import Order, OrderFilter
from gateway.domain.page_tokens import list_digest, number_of, read_page_token, write_page_token

PAGE_SIZE_DEFAULT: Final = 50
PAGE_SIZE_MAX: Final = 500
ARCHIVE_SCAN_MAX: Final = 2_048
"""Archived orders looked at for one page."""
SLICE_ORDERS: Final = 32
"""Of the archive, before others get their turn: one or two milliseconds."""
_FIRST: Final[Stamp] = (-1, "")
_LAST: Final[Stamp] = (2**63 - 1, "")


async def order_page(
    index: OrderIndex, archive: OrderArchive, wanted: OrderFilter, page_size: int, page_token: str
) -> Page[Order]:
    """One page, newest first unless asked otherwise; `page_size` 0 is the default, above the maximum it is cut.

    Raises:
        PageTokenMismatch: The token belongs to another list.
    """
    size = min(page_size or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)
    digest = _digest(wanted)
    after = _read_token(page_token, digest) if page_token else None
    present, reached = index.scan(wanted, size, after)
    found = {order.order_id: order for order in present}
    if not wanted.states or any(state.is_terminal for state in wanted.states):
        archived, reached_there = await _scan(index, archive, wanted, size, after, reached)
        found = {order.order_id: order for order in archived} | found
        reached = _nearer(wanted, reached, reached_there)
    merged = sorted(found.values(), key=stamp_of, reverse=not wanted.oldest_first)
    orders = _cut(wanted, merged, reached, size)
    if len(orders) < len(merged) and orders:
        reached = stamp_of(orders[-1])
    return Page(tuple(orders), write_page_token(digest, *reached) if reached is not None else "")


async def _scan(
    index: OrderIndex, archive: OrderArchive, wanted: OrderFilter, size: int, after: Stamp | None, until: Stamp | None
) -> tuple[list[Order], Stamp | None]:
    """At most `size` archived orders between two positions of a list, and how far was looked; None: to the end."""
    low = _FIRST if wanted.start_time_ns is None else (wanted.start_time_ns, "")
    high = _LAST if wanted.end_time_ns is None else (wanted.end_time_ns + 1, "")
    begin, end = (after, until) if wanted.oldest_first else (until, after)
    low, high = max(low, begin or low), min(high, end or high)
    found: list[Order] = []
    for _ in range(ARCHIVE_SCAN_MAX // SLICE_ORDERS):
        rows = archive.created(wanted.strategy_id, low, high, SLICE_ORDERS, oldest_first=wanted.oldest_first)
        # One that has come back to memory is as it is there, and may not have been there when the index was looked at.
        orders = (index.order(row.order_id) or row for row in rows)
        found += [order for order in orders if matches(wanted, order)]
        if len(rows) < SLICE_ORDERS:
            return found, None
        low, high = (stamp_of(rows[-1]), high) if wanted.oldest_first else (low, stamp_of(rows[-1]))
        if len(found) >= size:
            break
        await asyncio.sleep(0)
    return found, low if wanted.oldest_first else high


def _nearer(wanted: OrderFilter, one: Stamp | None, other: Stamp | None) -> Stamp | None:
    """The position that comes first in a list."""
    if one is None or other is None:
        return one or other
    return min(one, other) if wanted.oldest_first else max(one, other)


def _cut(wanted: OrderFilter, orders: Sequence[Order], reached: Stamp | None, size: int) -> list[Order]:
    """What fits, up to the position that all places were looked at to."""
    page: list[Order] = []
    labels = 0
    for order in orders:
        stamp = stamp_of(order)
        is_beyond = reached is not None and (stamp > reached if wanted.oldest_first else stamp < reached)
        if is_beyond or len(page) == size or labels >= PAGE_LABEL_BYTES_MAX:
            break
        page.append(order)
        labels += label_bytes(order)
    return page


def _digest(wanted: OrderFilter) -> str:
    content: dict[str, object] = {
        "strategy_id": wanted.strategy_id,
        "states": sorted(wanted.states),
        "symbols": sorted(wanted.symbols),
        "side": wanted.side and wanted.side.value,
        "start": wanted.start_time_ns,
        "end": wanted.end_time_ns,
        "oldest_first": wanted.oldest_first,
    }
    return list_digest("ListOrders", content)


def _read_token(token: str, digest: str) -> Stamp:
    time_text, order_id = read_page_token(token, digest, 2)
    return min(number_of(time_text), _LAST[0]), order_id
