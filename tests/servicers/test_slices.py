"""Long answers are written a slice at a time."""

from __future__ import annotations

import asyncio

import pytest

from gateway.domain.models.market_data import Page
from gateway.servicers.slices import SLICE_ITEMS, in_slices
from gateway.servicers.wire import order_history, trading
from tests.servicers.fakes import FILL, order


@pytest.mark.parametrize("count", [0, 1, SLICE_ITEMS, 10 * SLICE_ITEMS + 3])
async def test_all_are_written_in_order_and_others_run_in_between(count: int) -> None:
    writing = asyncio.create_task(in_slices(range(count), str))
    turns = 0
    while not writing.done():
        await asyncio.sleep(0)
        turns += 1
    assert writing.result() == [str(number) for number in range(count)]
    assert turns >= count // SLICE_ITEMS


@pytest.mark.parametrize("kind", ["orders", "fills"])
async def test_pages_are(kind: str) -> None:
    count = 8 * SLICE_ITEMS
    write = {
        "orders": lambda: trading.order_page_to_proto(Page(tuple(order(f"o{number}") for number in range(count)), "")),
        "fills": lambda: order_history.fill_page_to_proto(Page((FILL,) * count, ""), shows_account=True),
    }[kind]
    writing = asyncio.create_task(write())
    turns = 0
    while not writing.done():
        await asyncio.sleep(0)
        turns += 1
    assert len(getattr(writing.result(), kind)) == count
    assert turns >= 8
