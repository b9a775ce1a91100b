"""Iterators over live values that also know how far behind they are; one for threads, one for asyncio.

What is iterated, judged and told is for `market_streams`; connections are for the clients.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import Generic, Self, TypeVar

from trading_gateway.market_streams import Values
from trading_gateway.values import NANOS_PER_SECOND

T = TypeVar("T")


class Position(Generic[T]):
    """How far behind a reader is."""

    def __init__(self, values: Values[T]) -> None:
        self._values = values

    @property
    def lag_s(self) -> float:
        """Seconds between the sending of what was taken last, a heartbeat too, and its taking; clocks may differ."""
        return self._values.lag_ns / NANOS_PER_SECOND

    @property
    def gateway_ns(self) -> int:
        """The time by the gateway's clock, in nanoseconds since the Unix epoch: a value's age is since receive_time."""
        return self._values.gateway_ns


class Following(Position[T], Iterator[T]):
    """Values for a thread; a context manager, or closed with `close`.

    Args:
        items: Values, statuses, breaks.
        values: What makes them.
    """

    def __init__(self, items: Generator[T, None, None], values: Values[T]) -> None:
        super().__init__(values)
        self._items = items

    def __next__(self) -> T:
        return next(self._items)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the stream."""
        self._items.close()


class AsyncFollowing(Position[T], AsyncIterator[T]):
    """Values for an event loop; an asynchronous context manager, or closed with `aclose`.

    Args:
        items: Values, statuses, breaks.
        values: What makes them.
    """

    def __init__(self, items: AsyncGenerator[T], values: Values[T]) -> None:
        super().__init__(values)
        self._items = items

    async def __anext__(self) -> T:
        return await anext(self._items)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Leave the stream."""
        await self._items.aclose()
