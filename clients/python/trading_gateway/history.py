"""MarketDataService: past quotes and trades, page after page; bars of long ranges. Pages of bars: `market_data`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import date
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from trading_gateway.call import Pages, path
from trading_gateway.errors import GatewayError, SequenceGap
from trading_gateway.streams import is_survivable
from trading_gateway.v1 import common_pb2, market_data_pb2 as pb
from trading_gateway.values import Instant, calendar_date, number, require_names, symbol_list, timestamp

if TYPE_CHECKING:
    from trading_gateway.market_data import Adjustment, AssetClass, DataFeed, TimeframeUnit


class HistoryOptions(TypedDict, total=False):
    """Which past values.

    Attributes:
        start_time: At or after; None: start of the current trading day.
        end_time: At or before; None: now.
        as_of_date: Read the symbols as they were named on this day.
        newest_first: Within a symbol, from new to old.
        asset_class: UNSPECIFIED: told by the symbols.
        feed: UNSPECIFIED: the best that the account has.
        page_size: Values fetched at once; 0: 1000, at most 10000.
    """

    start_time: Instant | None
    end_time: Instant | None
    as_of_date: date | None
    newest_first: bool
    asset_class: AssetClass
    feed: DataFeed
    page_size: int


def list_quotes(symbols: str | Iterable[str], **options: Unpack[HistoryOptions]) -> Pages[pb.Quote]:
    """Past quotes of 1 to 500 symbols by symbol, then by time, page after page as they are taken; none of options."""
    request = pb.ListQuotesRequest(symbols=symbol_list(symbols), **_history(options))
    return Pages("MarketDataService/ListQuotes", request, pb.ListQuotesResponse, lambda page: page.quotes)


def list_trades(symbols: str | Iterable[str], **options: Unpack[HistoryOptions]) -> Pages[pb.Trade]:
    """Past trades, as `list_quotes`; `update` says what became of one since."""
    request = pb.ListTradesRequest(symbols=symbol_list(symbols), **_history(options))
    return Pages("MarketDataService/ListTrades", request, pb.ListTradesResponse, lambda page: page.trades)


def stream_historical_bars(
    symbols: str | Iterable[str],
    *,
    start_time: Instant,
    unit: TimeframeUnit,
    amount: int = 1,
    end_time: Instant | None = None,
    adjustments: Iterable[Adjustment] = (),
    as_of_date: date | None = None,
    newest_first: bool = False,
    asset_class: AssetClass = common_pb2.ASSET_CLASS_UNSPECIFIED,
    feed: DataFeed = common_pb2.DATA_FEED_UNSPECIFIED,
) -> HistoricalBars:
    """Past bars of a long range by symbol, then by time, as fast as they are taken; it ends after the last one.

    A lost connection is opened again and goes on after the last bar that was taken. The arguments are those of
    `list_bars`.
    """
    return HistoricalBars(
        pb.StreamHistoricalBarsRequest(
            symbols=symbol_list(symbols),
            asset_class=number(common_pb2.AssetClass, asset_class),
            timeframe=common_pb2.Timeframe(amount=amount, unit=number(common_pb2.Timeframe.Unit, unit)),
            start_time=timestamp("start_time", start_time),
            end_time=timestamp("end_time", end_time),
            adjustments=[number(pb.Adjustment, one) for one in adjustments],
            feed=number(common_pb2.DataFeed, feed),
            as_of_date=calendar_date(as_of_date),
            newest_first=newest_first,
        )
    )


class HistoricalBars:
    """Follows one long range of bars across connections. See `streams.Stream`.

    Args:
        request: The whole range.
    """

    path = path("MarketDataService/StreamHistoricalBars")
    response = pb.StreamHistoricalBarsResponse
    silence_max_s = None
    is_finite = True

    def __init__(self, request: pb.StreamHistoricalBarsRequest) -> None:
        self._request = request
        self._done: set[str] = set()
        self._last: pb.Bar | None = None
        self._sequence = 0

    def request(self) -> pb.StreamHistoricalBarsRequest:
        """What is left: all but the symbols that are over, and of the last one alone what comes after its last bar."""
        self._sequence = 0
        left = pb.StreamHistoricalBarsRequest()
        left.CopyFrom(self._request)
        left.symbols[:] = [symbol for symbol in self._request.symbols if symbol not in self._done]
        if self._last is not None and list(left.symbols) == [self._last.symbol]:
            edge = left.end_time if left.newest_first else left.start_time
            edge.CopyFrom(self._last.start_time)
        return left

    def opened(self, is_alive: Callable[[], bool]) -> None:
        """Bars that were received stay true, whatever becomes of the connection."""

    def closed(self) -> None:
        """Nothing is to be given back."""

    def items(self, message: pb.StreamHistoricalBarsResponse) -> Iterator[pb.Bar]:
        """Its bars but those that were taken before a break.

        Raises:
            SequenceGap: A batch is missing, which the contract excludes.
        """
        if message.batch_sequence != self._sequence + 1:
            raise SequenceGap(self._sequence + 1, message.batch_sequence)
        self._sequence = message.batch_sequence
        for bar in message.bars:
            if self._is_new(bar):
                if self._last is not None and bar.symbol != self._last.symbol:
                    self._done.add(self._last.symbol)
                self._last = bar
                yield bar

    def handled(self, message: pb.StreamHistoricalBarsResponse) -> None:
        """Nothing: what is left is told by the last bar."""

    def broken(self, error: GatewayError) -> tuple[()]:
        """Go on after the last bar, unless there is no going on."""
        if not is_survivable(error):
            raise error
        return ()

    def _is_new(self, bar: pb.Bar) -> bool:
        last = self._last
        if last is None or bar.symbol != last.symbol:
            return True
        later_ns = bar.start_time.ToNanoseconds() - last.start_time.ToNanoseconds()
        return later_ns < 0 if self._request.newest_first else later_ns > 0


def _history(options: HistoryOptions) -> dict[str, Any]:
    """The fields that both requests share."""
    require_names(options, HistoryOptions)
    return {
        "asset_class": number(common_pb2.AssetClass, options.get("asset_class", 0)),
        "start_time": timestamp("start_time", options.get("start_time")),
        "end_time": timestamp("end_time", options.get("end_time")),
        "feed": number(common_pb2.DataFeed, options.get("feed", 0)),
        "as_of_date": calendar_date(options.get("as_of_date")),
        "newest_first": options.get("newest_first", False),
        "page_size": options.get("page_size", 0),
    }
