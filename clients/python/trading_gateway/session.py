"""A session of live data: every channel in one stream, its subscriptions changed while it runs. No I/O.

Promises what `market_streams` does, and: after a break the session holds the same subscriptions again; the gateway has
no more batches on their way to this reader than it has credits for, and gets them back when the values were taken, not
when they were received, so that a reader who is slow finds what is newest and not what the transport kept for him.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Protocol, Self, TypeAlias

from trading_gateway.lag import Lag
from trading_gateway.market_streams import Disconnected, Values
from trading_gateway.v1 import common_pb2, market_data_pb2 as pb

CREDITS: Final = 8
"""Batches on their way: enough for a journey of some milliseconds, and little that can become old."""

COMMANDS_MAX: Final = 4_096
"""Commands that wait for a connection to take them, beyond those that it begins with."""

SYMBOLS_MAX: Final = 500
"""Symbols of one command: the gateway's symbols_per_stream_max as it is unless it was set, and what the protos say of
requests. A command with more is refused whole."""

CONTRACT_CHARACTERS: Final = 16
"""Of an option's symbol at least: its root, six of its expiration, P or C, eight of its strike price (OCC)."""

SessionItem: TypeAlias = (
    pb.Quote
    | pb.Trade
    | pb.TradeCorrection
    | pb.TradeCancel
    | pb.Bar
    | pb.OrderBook
    | pb.TradingStatus
    | pb.Luld
    | pb.News
    | pb.StreamStatus
    | Disconnected
)
"""What a session brings. An order book without `reset` is a change of the one before."""

Key: TypeAlias = tuple[pb.Channel.ValueType, common_pb2.AssetClass.ValueType, common_pb2.DataFeed.ValueType]
"""Channel, asset class and feed of a subscription."""


class Outbox(Protocol):
    """The commands on their way to the gateway over one connection; iterated by the transport."""

    def put(self, command: pb.MarketDataSessionRequest) -> None:
        """One more.

        Raises:
            BufferError: Too many wait.
        """

    def close(self) -> None:
        """No more come."""


NewOutbox: TypeAlias = Callable[[Sequence[pb.MarketDataSessionRequest]], Outbox]
"""Makes one for a connection, of the commands that it begins with."""


class SessionFollower(Values[SessionItem]):
    """Follows a session across connections. Its methods may be called from any thread that may use the client.

    Args:
        options: How it behaves.
        new_outbox: Makes one for each connection.
        lag: Measures how late values are.
    """

    def __init__(self, options: pb.SessionOptions, new_outbox: NewOutbox, lag: Lag | None = None) -> None:
        super().__init__("MarketDataService/MarketDataSession", options, pb.MarketDataSessionResponse, _values, lag=lag)
        self._options = options
        self._new_outbox = new_outbox
        self._outbox: Outbox | None = None
        self._held: dict[Key, dict[str, str]] = {}  # symbols with the command that added them
        self._credited = 0
        self._lock = threading.Lock()

    def subscribe(self, wanted: pb.Subscription, command_id: str = "") -> None:
        """Add symbols, now and after every break; what becomes of them is told in acks.

        Raises:
            BufferError: The connection takes no more commands.
            ValueError: No symbols.
        """
        if not wanted.symbols:
            raise ValueError("a subscription without symbols")
        with self._lock:
            self._send(pb.MarketDataSessionRequest(command_id=command_id, subscribe=wanted))
            self._held.setdefault(_key(wanted), {}).update(dict.fromkeys(wanted.symbols, command_id))

    def unsubscribe(self, unwanted: pb.Subscription, command_id: str = "") -> None:
        """Remove symbols, of any class and feed that is not named.

        Raises:
            BufferError: The connection takes no more commands.
        """
        with self._lock:
            self._send(pb.MarketDataSessionRequest(command_id=command_id, unsubscribe=unwanted))
            for key in [key for key in self._held if _is_meant(key, _key(unwanted))]:
                for symbol in unwanted.symbols:
                    self._held[key].pop(symbol, None)
                if not self._held[key]:
                    del self._held[key]

    def list_subscriptions(self, command_id: str = "") -> None:
        """Ask for what the gateway holds: a status with `subscriptions` and its `list_command_id` comes."""
        with self._lock:
            self._send(pb.MarketDataSessionRequest(command_id=command_id, list=pb.ListSubscriptions()))

    def request(self) -> Any:
        """The commands of a connection: how it behaves, then everything that is held."""
        super().request()
        with self._lock:
            self._credited = 0
            self._outbox = self._new_outbox([pb.MarketDataSessionRequest(open=self._options), *self._resubscriptions()])
            return self._outbox

    def items(self, batch: pb.MarketDataSessionResponse) -> Iterator[SessionItem]:
        """As of any live data; the batch is acknowledged when the caller comes back for what follows it."""
        yield from super().items(batch)
        window = self._options.max_unacknowledged_batches
        if window and batch.batch_sequence - self._credited >= max(1, window // 2):
            with self._lock:
                self._credited = batch.batch_sequence
                credit = pb.BatchCredit(batch_sequence=batch.batch_sequence)
                self._send(pb.MarketDataSessionRequest(credit=credit))

    def closed(self) -> None:
        """The connection is over: the transport gets no more commands."""
        with self._lock:
            if self._outbox is not None:
                self._outbox.close()
                self._outbox = None

    def _resubscriptions(self) -> Iterator[pb.MarketDataSessionRequest]:
        """What adds all that is held: symbols of one class that were added under one command_id come together."""
        for key, commands in self._held.items():
            alike: dict[tuple[str, int], list[str]] = {}
            for symbol, command_id in commands.items():
                alike.setdefault((command_id, _class_told_by(symbol)), []).append(symbol)
            for (command_id, _), symbols in alike.items():
                for start in range(0, len(symbols), SYMBOLS_MAX):
                    held = _subscription(key, symbols[start : start + SYMBOLS_MAX])
                    yield pb.MarketDataSessionRequest(command_id=command_id, subscribe=held)

    def _send(self, command: pb.MarketDataSessionRequest) -> None:
        if self._outbox is not None:
            self._outbox.put(command)

    def _symbols(self) -> Iterable[str]:
        with self._lock:
            return dict.fromkeys(symbol for symbols in self._held.values() for symbol in symbols)


class ThreadOutbox(Iterator[pb.MarketDataSessionRequest]):
    """Commands for a transport that reads them in a thread of its own.

    Args:
        first: What the connection begins with. However many: they are of what is held, and a bound for them would be an
            error at each connection from then on.
    """

    def __init__(self, first: Sequence[pb.MarketDataSessionRequest] = ()) -> None:
        self._commands: queue.Queue[pb.MarketDataSessionRequest | None] = queue.Queue()
        for command in first:
            self._commands.put_nowait(command)
        self._waiting_max = len(first) + COMMANDS_MAX

    def put(self, command: pb.MarketDataSessionRequest) -> None:
        """One more."""
        if self._commands.qsize() >= self._waiting_max:
            raise _too_many()
        self._commands.put_nowait(command)

    def close(self) -> None:
        """The iteration ends after what waits."""
        self._commands.put_nowait(None)

    def __next__(self) -> pb.MarketDataSessionRequest:
        command = self._commands.get()
        if command is None:
            raise StopIteration
        return command


class LoopOutbox(AsyncIterator[pb.MarketDataSessionRequest]):
    """Commands for a transport on the caller's event loop.

    Args:
        first: What the connection begins with. However many: they are of what is held, and a bound for them would be an
            error at each connection from then on.
    """

    def __init__(self, first: Sequence[pb.MarketDataSessionRequest] = ()) -> None:
        self._commands: asyncio.Queue[pb.MarketDataSessionRequest | None] = asyncio.Queue()
        for command in first:
            self._commands.put_nowait(command)
        self._waiting_max = len(first) + COMMANDS_MAX

    def put(self, command: pb.MarketDataSessionRequest) -> None:
        """One more."""
        if self._commands.qsize() >= self._waiting_max:
            raise _too_many()
        self._commands.put_nowait(command)

    def close(self) -> None:
        """The iteration ends after what waits."""
        self._commands.put_nowait(None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> pb.MarketDataSessionRequest:
        command = await self._commands.get()
        if command is None:
            raise StopAsyncIteration
        return command


def _values(batch: pb.MarketDataSessionResponse) -> list[Any]:
    """Events of kinds that this build does not know are left out."""
    kinds = ((event, event.WhichOneof("event")) for event in batch.events)
    return [getattr(event, kind) for event, kind in kinds if kind is not None]


def _key(subscription: pb.Subscription) -> Key:
    return subscription.channel, subscription.asset_class, subscription.feed


def _is_meant(held: Key, unwanted: Key) -> bool:
    """Whether an unsubscription is of what was added so; what either does not name may be what the other does."""
    return held[0] == unwanted[0] and all(
        one == other or not one or not other for one, other in zip(held[1:], unwanted[1:], strict=True)
    )


def _class_told_by(symbol: str) -> common_pb2.AssetClass.ValueType:
    """As far as it matters here: a command is of one class."""
    if "/" in symbol:
        return common_pb2.ASSET_CLASS_CRYPTO
    is_contract = len(symbol) >= CONTRACT_CHARACTERS
    return common_pb2.ASSET_CLASS_US_OPTION if is_contract else common_pb2.ASSET_CLASS_US_EQUITY


def _subscription(key: Key, symbols: Iterable[str]) -> pb.Subscription:
    held = pb.Subscription(symbols=symbols)
    held.channel, held.asset_class, held.feed = key
    return held


def _too_many() -> BufferError:
    return BufferError(f"{COMMANDS_MAX} commands wait for the connection to take them")
