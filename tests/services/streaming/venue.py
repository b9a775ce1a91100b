"""A scripted venue: streams and market data by request, as the tests say and as the interfaces promise."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from gateway.domain.errors import FieldInvalid, FieldViolation, GatewayError, SymbolUnknown
from gateway.domain.interfaces import MarketDataListener
from gateway.domain.models.market_data import Bar, BookLevel, OrderBook, Page, Quote, Snapshot, SubscriptionSet, Trade
from gateway.domain.models.reference import Asset
from gateway.domain.types import (
    CallContext,
    Caller,
    Channel,
    DataFeed,
    FeedState,
    asset_class_of,
    is_symbol,
)

SECOND_NS = 1_000_000_000
T0_NS = 1_700_000_000 * SECOND_NS


class Clocks:
    """A wall clock and a monotonic clock that tests can move on together."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_s

    def wall(self) -> int:
        return time.time_ns() + int(self.ahead_s * SECOND_NS)


class ScriptedConnection:
    """One feed's connection. It acknowledges what it is asked for, unless `refuses` has it or it is `mute`."""

    def __init__(self, venue: ScriptedVenue, feed: DataFeed, listener: MarketDataListener) -> None:
        self.venue, self.feed, self.listener = venue, feed, listener
        self.changes: list[SubscriptionSet] = []
        self.is_connected = False
        self.is_closed = False

    @property
    def wanted(self) -> SubscriptionSet:
        return self.changes[-1] if self.changes else SubscriptionSet()

    async def set_subscriptions(self, wanted: SubscriptionSet) -> None:
        self.changes.append(wanted)
        if not wanted.symbols:
            self.cut("nothing is subscribed")
        elif not self.venue.is_mute:
            asyncio.get_running_loop().call_soon(self.answer)

    async def close(self) -> None:
        self.is_closed = True

    def answer(self) -> None:
        """What follows a change: connect first, then the venue's whole set."""
        if not self.is_connected:
            self.listener.on_state(FeedState.CONNECTING, "", 0)
        self.is_connected = True
        self.listener.on_subscriptions(
            SubscriptionSet({channel: held - self.venue.refuses for channel, held in self.wanted.symbols.items()})
        )
        self.listener.on_state(FeedState.LIVE, "", 0)

    def cut(self, detail: str = "connection reset", code: int = 0) -> None:
        self.is_connected = False
        self.listener.on_state(FeedState.DISCONNECTED, detail, code)


class ScriptedVenue:
    """StreamingRepository and the reading half of MarketDataRepository."""

    def __init__(self, clocks: Clocks) -> None:
        self.clocks = clocks
        self.connections: list[ScriptedConnection] = []
        self.refuses: frozenset[str] = frozenset()
        self.is_mute = False
        self.newest: dict[tuple[Channel, str], Any] = {}
        self.snapshots: dict[str, Snapshot] = {}
        self.pages: dict[str, Page[Any]] = {}
        self.requests: list[tuple[str, tuple[str, ...]]] = []
        self.pages_asked: list[dict[str, Any]] = []
        self.error: GatewayError | None = None
        self.error_of_request: Callable[[], GatewayError | None] = lambda: None
        self.gate: asyncio.Event | None = None

    @property
    def connection(self) -> ScriptedConnection:
        assert len(self.connections) == 1, "one connection for each feed"
        return self.connections[0]

    async def open_market_data(self, feed: DataFeed, listener: MarketDataListener) -> ScriptedConnection:
        connection = ScriptedConnection(self, feed, listener)
        self.connections.append(connection)
        return connection

    async def open_order_updates(self, listener: Any) -> Any:
        raise AssertionError("not a matter of market data")

    async def get_latest_quotes(self, context: CallContext, feed: DataFeed, symbols: Sequence[str]) -> list[Quote]:
        return await self._newest(Channel.QUOTES, symbols)

    async def get_latest_trades(self, context: CallContext, feed: DataFeed, symbols: Sequence[str]) -> list[Trade]:
        return await self._newest(Channel.TRADES, symbols)

    async def get_latest_bars(self, context: CallContext, feed: DataFeed, symbols: Sequence[str]) -> list[Bar]:
        return await self._newest(Channel.BARS, symbols)

    async def get_latest_order_books(
        self, context: CallContext, feed: DataFeed, symbols: Sequence[str]
    ) -> list[OrderBook]:
        return await self._newest(Channel.ORDER_BOOKS, symbols)

    async def get_snapshots(self, context: CallContext, feed: DataFeed, symbols: Sequence[str]) -> list[Snapshot]:
        await self._asked("snapshots", symbols)
        return [self.snapshots[symbol] for symbol in symbols if symbol in self.snapshots]

    async def list_bars(
        self, context: CallContext, feed: DataFeed, symbols: Sequence[str], timeframe: Any, **options: Any
    ) -> Page[Bar]:
        return await self._page("bars", symbols, {"feed": feed, "timeframe": timeframe, **options})

    async def list_quotes(
        self, context: CallContext, feed: DataFeed, symbols: Sequence[str], **options: Any
    ) -> Page[Any]:
        return await self._page("quotes", symbols, {"feed": feed, **options})

    async def list_trades(
        self, context: CallContext, feed: DataFeed, symbols: Sequence[str], **options: Any
    ) -> Page[Any]:
        return await self._page("trades", symbols, {"feed": feed, **options})

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} is not a matter of market data")

    async def _page(self, what: str, symbols: Sequence[str], asked: dict[str, Any]) -> Page[Any]:
        await self._asked(what, symbols)
        self.pages_asked.append(asked)
        return self.pages.get(asked["page_token"], Page(()))

    async def _newest(self, channel: Channel, symbols: Sequence[str]) -> list[Any]:
        await self._asked(channel.value, symbols)
        held = [self.newest[channel, symbol] for symbol in symbols if (channel, symbol) in self.newest]
        return [replace(value, receive_time_ns=self.clocks.wall()) for value in held]

    async def _asked(self, what: str, symbols: Sequence[str]) -> None:
        self.requests.append((what, tuple(symbols)))
        if self.gate is not None:
            await self.gate.wait()
        error = self.error or self.error_of_request()
        if error is not None:
            raise error


class AssetTable:
    """Every well-formed symbol exists, but those in `unknown`."""

    def __init__(self) -> None:
        self.unknown: set[str] = {"ZZZZZZ"}
        self.odd: set[str] = set()
        self.is_cold = False
        self.gate: asyncio.Event | None = None
        self.error: GatewayError | None = None

    def find(self, symbol: str) -> Asset | None:
        if self.is_cold or symbol in self.unknown or not is_symbol(symbol):
            return None
        return Asset(asset_id=symbol, symbol=symbol, asset_class=asset_class_of(symbol))

    async def get(self, symbol: str, call: CallContext, field: str = "symbol") -> Asset:
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        if not is_symbol(symbol) and symbol not in self.odd:
            raise FieldInvalid("A symbol is malformed.", violations=[FieldViolation(field, "is not a symbol")])
        if symbol in self.unknown:
            raise SymbolUnknown("No asset has this symbol.")
        return Asset(asset_id=symbol, symbol=symbol, asset_class=asset_class_of(symbol))


def quote(symbol: str, number: int = 0, *, time_ns: int | None = None, receive_ns: int | None = None) -> Quote:
    """A quote whose numbers tell it from every other."""
    return Quote(
        symbol=symbol,
        time_ns=T0_NS + number * 1_000_003 + 5 if time_ns is None else time_ns,
        bid_price=100 + number / 100,
        bid_size=1.0,
        ask_price=100.01 + number / 100,
        ask_size=2.0,
        feed=DataFeed.CRYPTO_US if "/" in symbol else DataFeed.IEX,
        receive_time_ns=time.time_ns() if receive_ns is None else receive_ns,
        bid_exchange="V",
        ask_exchange="V",
        conditions=("R",),
        tape="C",
    )


def trade(symbol: str, number: int = 0) -> Trade:
    """A trade whose numbers tell it from every other."""
    return Trade(symbol, T0_NS + number * SECOND_NS, 100.0, 1.0 + number, DataFeed.IEX, time.time_ns(), "V", number)


def bar(symbol: str, minute: int = 0) -> Bar:
    """A minute's bar."""
    start_ns = T0_NS // (60 * SECOND_NS) * 60 * SECOND_NS + minute * 60 * SECOND_NS
    return Bar(symbol, start_ns, 1.0, 2.0, 0.5, 1.5, 100.0, DataFeed.IEX, time.time_ns(), 10, 1.25)


def order_book(symbol: str, number: int = 0) -> OrderBook:
    """A whole book of one level on each side, whose numbers tell it from every other."""
    bids, asks = (BookLevel(100 + number / 100, 1.0),), (BookLevel(100.01 + number / 100, 2.0),)
    return OrderBook(symbol, T0_NS + number * SECOND_NS, bids, asks, True, DataFeed.CRYPTO_US, time.time_ns())


def call_context(seconds: float = 5.0) -> CallContext:
    """A caller who waits so long."""
    return CallContext(Caller(), time.monotonic() + seconds)
