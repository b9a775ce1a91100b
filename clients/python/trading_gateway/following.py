"""Iterators over live values that also know how far behind they are; one for threads, one for asyncio.

What is iterated, judged and told is for `market_streams`; connections are for the clients.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from trading_gateway.market_streams import Values
from trading_gateway.session import SessionFollower, SessionItem
from trading_gateway.v1 import common_pb2, market_data_pb2 as pb
from trading_gateway.values import NANOS_PER_SECOND, number, symbol_list

if TYPE_CHECKING:
    from trading_gateway.market_data import AssetClass, Channel, DataFeed

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


class Subscriptions:
    """What a session holds, changed while it runs; it is held again after every break.

    Args:
        session: The session.
    """

    def __init__(self, session: SessionFollower) -> None:
        self._session = session

    def subscribe(
        self,
        channel: Channel,
        symbols: str | Iterable[str],
        *,
        asset_class: AssetClass = common_pb2.ASSET_CLASS_UNSPECIFIED,
        feed: DataFeed = common_pb2.DATA_FEED_UNSPECIFIED,
        command_id: str = "",
    ) -> None:
        """Add symbols; an ack for each of them, with the command_id, comes in a status.

        Args:
            channel: "quotes", "trades", "bars", "updated_bars", "daily_bars", "order_books" and so on.
            symbols: "AAPL", "BTC/USD".
            asset_class: UNSPECIFIED: told by the symbols.
            feed: UNSPECIFIED: the best that the account has.
            command_id: At most 64 characters.

        Raises:
            BufferError: The connection takes no more commands.
        """
        self._session.subscribe(_subscription(channel, symbols, asset_class, feed), command_id)

    def unsubscribe(
        self,
        channel: Channel,
        symbols: str | Iterable[str],
        *,
        asset_class: AssetClass = common_pb2.ASSET_CLASS_UNSPECIFIED,
        feed: DataFeed = common_pb2.DATA_FEED_UNSPECIFIED,
        command_id: str = "",
    ) -> None:
        """Remove symbols, named as they were added; the same arguments as `subscribe`."""
        self._session.unsubscribe(_subscription(channel, symbols, asset_class, feed), command_id)

    def list_subscriptions(self, command_id: str = "") -> None:
        """Ask for what the gateway holds: a status with `subscriptions` and its `list_command_id` comes."""
        self._session.list_subscriptions(command_id)


class MarketDataSession(Following[SessionItem], Subscriptions):
    """A session for a thread; its subscriptions may be changed by others.

    Args:
        items: Values, statuses, breaks.
        session: What makes them.
    """

    def __init__(self, items: Generator[SessionItem, None, None], session: SessionFollower) -> None:
        Following.__init__(self, items, session)
        Subscriptions.__init__(self, session)


class AsyncMarketDataSession(AsyncFollowing[SessionItem], Subscriptions):
    """A session for an event loop, which also changes its subscriptions.

    Args:
        items: Values, statuses, breaks.
        session: What makes them.
    """

    def __init__(self, items: AsyncGenerator[SessionItem], session: SessionFollower) -> None:
        AsyncFollowing.__init__(self, items, session)
        Subscriptions.__init__(self, session)


def _subscription(
    channel: Channel, symbols: str | Iterable[str], asset_class: AssetClass, feed: DataFeed
) -> pb.Subscription:
    return pb.Subscription(
        channel=number(pb.Channel, channel),
        symbols=symbol_list(symbols),
        asset_class=number(common_pb2.AssetClass, asset_class),
        feed=number(common_pb2.DataFeed, feed),
    )
