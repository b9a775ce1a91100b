"""The garbage collector of a gateway: what stays is looked at no more, and what dies in a circle goes all the same."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator

import pytest

from gateway.cli import runtime


class Node:
    """Something that can be part of a circle."""

    def __init__(self) -> None:
        self.other: Node | None = None


@pytest.fixture
async def settled() -> AsyncIterator[None]:
    """A collector that is settled, and put back."""
    thresholds = gc.get_threshold()
    runtime.settle_collector()
    yield
    gc.callbacks.remove(runtime._retire)
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def circle() -> tuple[Node, weakref.ref[Node]]:
    node = Node()
    node.other = Node()
    node.other.other = node
    return node, weakref.ref(node)


@pytest.mark.usefixtures("settled")
async def test_what_outlives_a_look_at_the_older_is_not_looked_at_again() -> None:
    kept = [Node() for _ in range(10)]
    gc.collect(1)
    assert not {id(node) for node in kept} & {id(found) for found in gc.get_objects()}


@pytest.mark.usefixtures("settled")
async def test_a_circle_that_was_retired_and_died_goes_with_the_next_look_at_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node, seen = circle()
    gc.collect(1)
    del node
    gc.collect()
    assert seen() is not None, "it was looked at again"
    monkeypatch.setattr(runtime, "COLLECT_EVERYTHING_S", 0.0)
    runtime._look_through_later()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    runtime._look_through()
    assert seen() is None
