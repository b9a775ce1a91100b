"""MarketDataService: reads are questions to the services; streams are the corridor's bytes, passed on as they are."""

# ruff: noqa: ARG002 - gRPC's signature; what a call carries beside its request is in call_context()
from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, ClassVar

from gateway.domain.types import Channel
from gateway.servicers.identity import call_context
from gateway.servicers.read_pace import read_pace
from gateway.servicers.session_commands import first_command, steered
from gateway.servicers.symbol_room import symbol_room
from gateway.servicers.wire import market_data as wire, market_history as history
from gateway.services.history import HistoryService
from gateway.services.market_data import PriceService, QuoteService
from gateway.services.streaming import MarketDataStream, StreamingService
from trading_gateway.v1 import market_data_pb2 as pb, market_data_pb2_grpc


class MarketDataServicer(market_data_pb2_grpc.MarketDataServiceServicer):
    """Market data over gRPC.

    Attributes:
        RAW_METHODS: Whose answers are bytes already, not the stub's messages; the server takes their serializer away.
    """

    RAW_METHODS: ClassVar[frozenset[str]] = frozenset(
        {"StreamQuotes", "StreamTrades", "StreamBars", "MarketDataSession"}
    )

    def __init__(
        self, quotes: QuoteService, prices: PriceService, history: HistoryService, streaming: StreamingService
    ) -> None:
        self._quotes = quotes
        self._prices = prices
        self._history = history
        self._streaming = streaming

    async def GetLatestQuotes(self, request: pb.GetLatestQuotesRequest, context: Any) -> pb.GetLatestQuotesResponse:
        """The newest quotes."""
        selection, max_staleness_ms = wire.read_request_from_proto(request)
        latest = await self._quotes.latest_quotes(selection, max_staleness_ms, call_context())
        return wire.latest_quotes_to_proto(latest)

    async def GetLatestTrades(self, request: pb.GetLatestTradesRequest, context: Any) -> pb.GetLatestTradesResponse:
        """The newest trades."""
        selection, max_staleness_ms = wire.read_request_from_proto(request)
        latest = await self._prices.latest_trades(selection, max_staleness_ms, call_context())
        return wire.latest_trades_to_proto(latest)

    async def GetLatestBars(self, request: pb.GetLatestBarsRequest, context: Any) -> pb.GetLatestBarsResponse:
        """The newest minute bars."""
        selection, max_staleness_ms = wire.read_request_from_proto(request)
        latest = await self._prices.latest_bars(selection, max_staleness_ms, call_context())
        return wire.latest_bars_to_proto(latest)

    async def GetLatestOrderBooks(
        self, request: pb.GetLatestOrderBooksRequest, context: Any
    ) -> pb.GetLatestOrderBooksResponse:
        """The newest order books."""
        selection, max_staleness_ms = wire.read_request_from_proto(request, at_most=wire.BOOK_SYMBOLS_MAX)
        latest = await self._quotes.latest_order_books(selection, max_staleness_ms, call_context())
        return wire.latest_order_books_to_proto(latest)

    async def GetSnapshots(self, request: pb.GetSnapshotsRequest, context: Any) -> pb.GetSnapshotsResponse:
        """The state of some symbols."""
        selection, max_staleness_ms = wire.read_request_from_proto(request)
        latest = await self._prices.snapshots(selection, max_staleness_ms, call_context())
        return wire.snapshots_to_proto(latest)

    async def ListBars(self, request: pb.ListBarsRequest, context: Any) -> pb.ListBarsResponse:
        """One page of past bars."""
        page = await self._history.list_bars(history.bars_request_from_proto(request), call_context())
        return await history.bars_page_to_proto(page)

    async def ListQuotes(self, request: pb.ListQuotesRequest, context: Any) -> pb.ListQuotesResponse:
        """One page of past quotes."""
        wanted = history.history_request_from_proto(request, Channel.QUOTES)
        return await history.quotes_page_to_proto(await self._history.list_quotes(wanted, call_context()))

    async def ListTrades(self, request: pb.ListTradesRequest, context: Any) -> pb.ListTradesResponse:
        """One page of past trades."""
        wanted = history.history_request_from_proto(request, Channel.TRADES)
        return await history.trades_page_to_proto(await self._history.list_trades(wanted, call_context()))

    async def StreamHistoricalBars(
        self, request: pb.StreamHistoricalBarsRequest, context: Any
    ) -> AsyncIterator[pb.StreamHistoricalBarsResponse]:
        """Past bars of a long range, as fast as they are taken."""
        wanted, number, pace = history.long_request_from_proto(request), 0, read_pace()
        async with aclosing(self._history.stream_bars(wanted, call_context(), pace.page)) as batches:
            async for bars in batches:
                number += 1
                batch = await history.bars_batch_to_proto(bars, number)
                yield batch
                await pace.sent(batch.ByteSize())

    async def StreamQuotes(self, request: pb.StreamQuotesRequest, context: Any) -> AsyncIterator[bytes]:  # type: ignore[override]
        """Live quotes."""
        async with self._opened(request, Channel.QUOTES) as stream:
            async for message in stream.messages():
                yield message

    async def StreamTrades(self, request: pb.StreamTradesRequest, context: Any) -> AsyncIterator[bytes]:  # type: ignore[override]
        """Live trades."""
        async with self._opened(request, Channel.TRADES) as stream:
            async for message in stream.messages():
                yield message

    async def StreamBars(self, request: pb.StreamBarsRequest, context: Any) -> AsyncIterator[bytes]:  # type: ignore[override]
        """Live minute bars."""
        async with self._opened(request, Channel.BARS) as stream:
            async for message in stream.messages():
                yield message

    async def MarketDataSession(  # type: ignore[override]
        self, request_iterator: AsyncIterator[pb.MarketDataSessionRequest], context: Any
    ) -> AsyncIterator[bytes]:
        """Every channel in one stream."""
        options = await first_command(request_iterator)
        session = self._streaming.open_session(options, symbol_room(), call_context())
        async with steered(session, request_iterator):
            async for message in session.messages():
                yield message

    @asynccontextmanager
    async def _opened(self, request: wire.StreamMessage, channel: Channel) -> AsyncIterator[MarketDataStream]:
        """A stream that is closed however its reader ends."""
        stream = await self._streaming.open(wire.stream_request_from_proto(request, channel), call_context())
        try:
            yield stream
        finally:
            stream.close()
