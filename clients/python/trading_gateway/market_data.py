"""MarketDataService: one function per rpc. Prices and sizes are doubles, as the venue sent them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, Unpack

from trading_gateway.call import Call, Pages, read, whole
from trading_gateway.market_streams import BarItem, Batches, Disconnected, QuoteItem, TradeItem, Values
from trading_gateway.session import CREDITS, NewOutbox, SessionFollower
from trading_gateway.v1 import common_pb2, market_data_pb2 as pb
from trading_gateway.values import Instant, calendar_date, duration, number, require_names, symbol_list, timestamp

if TYPE_CHECKING:
    AssetClass: TypeAlias = Literal["us_equity", "crypto", "us_option"] | common_pb2.AssetClass.ValueType
    DataFeed: TypeAlias = Literal["iex", "sip", "crypto_us", "indicative", "opra"] | common_pb2.DataFeed.ValueType
    Conflation: TypeAlias = Literal["none", "latest_per_symbol", "drop_oldest"] | pb.ConflationPolicy.ValueType
    TimeframeUnit: TypeAlias = Literal["minute", "hour", "day", "week", "month"] | common_pb2.Timeframe.Unit.ValueType
    Adjustment: TypeAlias = Literal["raw", "split", "dividend", "spin_off", "all"] | pb.Adjustment.ValueType
    BarChannel: TypeAlias = Literal["bars", "updated_bars", "daily_bars"] | pb.Channel.ValueType
    Channel: TypeAlias = (
        Literal[
            "quotes",
            "trades",
            "bars",
            "updated_bars",
            "daily_bars",
            "order_books",
            "trading_status",
            "luld",
            "news",
        ]
        | pb.Channel.ValueType
    )
    OnNotice: TypeAlias = Callable[[Disconnected], object] | None


class LatestOptions(TypedDict, total=False):
    """How the newest values are read. max_staleness_s: None: 1 s, or the live stream's; 0: ask the venue."""

    asset_class: AssetClass
    feed: DataFeed
    max_staleness_s: float | None


class StreamOptions(TypedDict, total=False):
    """How a live stream behaves; seconds where the contract has a Duration, its defaults where left out."""

    asset_class: AssetClass
    feed: DataFeed
    skip_snapshot: bool
    conflation: Conflation
    heartbeat_interval_s: float
    max_batch_delay_s: float


class SessionOptions(TypedDict, total=False):
    """How a session behaves. credits: batches that may be on their way without having been taken; 0: any number."""

    skip_snapshot: bool
    conflation: Conflation
    heartbeat_interval_s: float
    max_batch_delay_s: float
    credits: int


def get_latest_quotes(
    symbols: str | Iterable[str], **options: Unpack[LatestOptions]
) -> Call[pb.GetLatestQuotesResponse]:
    """The newest quote of each symbol, and the symbols that have none."""
    request = pb.GetLatestQuotesRequest(symbols=symbol_list(symbols), **_latest(options))
    return read("MarketDataService/GetLatestQuotes", request, pb.GetLatestQuotesResponse, whole)


def get_latest_trades(
    symbols: str | Iterable[str], **options: Unpack[LatestOptions]
) -> Call[pb.GetLatestTradesResponse]:
    """The newest trade of each symbol, and the symbols that have none."""
    request = pb.GetLatestTradesRequest(symbols=symbol_list(symbols), **_latest(options))
    return read("MarketDataService/GetLatestTrades", request, pb.GetLatestTradesResponse, whole)


def get_latest_bars(symbols: str | Iterable[str], **options: Unpack[LatestOptions]) -> Call[pb.GetLatestBarsResponse]:
    """The newest minute bar of each symbol, and the symbols that have none."""
    request = pb.GetLatestBarsRequest(symbols=symbol_list(symbols), **_latest(options))
    return read("MarketDataService/GetLatestBars", request, pb.GetLatestBarsResponse, whole)


def get_latest_order_books(
    symbols: str | Iterable[str], **options: Unpack[LatestOptions]
) -> Call[pb.GetLatestOrderBooksResponse]:
    """The whole order book of each of 1 to 100 crypto pairs, and the pairs that have none."""
    request = pb.GetLatestOrderBooksRequest(symbols=symbol_list(symbols), **_latest(options))
    return read("MarketDataService/GetLatestOrderBooks", request, pb.GetLatestOrderBooksResponse, whole)


def get_snapshots(symbols: str | Iterable[str], **options: Unpack[LatestOptions]) -> Call[pb.GetSnapshotsResponse]:
    """The newest trade and quote, and the minute and daily bars, of each symbol."""
    request = pb.GetSnapshotsRequest(symbols=symbol_list(symbols), **_latest(options))
    return read("MarketDataService/GetSnapshots", request, pb.GetSnapshotsResponse, whole)


def list_bars(
    symbols: str | Iterable[str],
    *,
    amount: int = 1,
    unit: TimeframeUnit,
    start_time: Instant | None = None,
    end_time: Instant | None = None,
    adjustments: Iterable[Adjustment] = (),
    as_of_date: date | None = None,
    newest_first: bool = False,
    asset_class: AssetClass = common_pb2.ASSET_CLASS_UNSPECIFIED,
    feed: DataFeed = common_pb2.DATA_FEED_UNSPECIFIED,
    page_size: int = 0,
) -> Pages[pb.Bar]:
    """Past bars by symbol, then by time, page after page as they are taken.

    Args:
        symbols: 1 to 500.
        amount: Units in one bar.
        unit: "minute", "hour", "day", "week" or "month".
        start_time: Bars that begin at or after; None: start of the current trading day.
        end_time: Bars that begin at or before; None: now.
        adjustments: Which corporate actions to adjust for; empty: none.
        as_of_date: Read the symbols as they were named on this day.
        newest_first: Within a symbol, from new to old.
        asset_class: UNSPECIFIED: told by the symbols.
        feed: UNSPECIFIED: the best that the account has.
        page_size: Bars fetched at once; 0: 1000, at most 10000.
    """
    request = pb.ListBarsRequest(
        symbols=symbol_list(symbols),
        asset_class=number(common_pb2.AssetClass, asset_class),
        timeframe=common_pb2.Timeframe(amount=amount, unit=number(common_pb2.Timeframe.Unit, unit)),
        start_time=timestamp("start_time", start_time),
        end_time=timestamp("end_time", end_time),
        adjustments=[number(pb.Adjustment, one) for one in adjustments],
        feed=number(common_pb2.DataFeed, feed),
        as_of_date=calendar_date(as_of_date),
        newest_first=newest_first,
        page_size=page_size,
    )
    return Pages("MarketDataService/ListBars", request, pb.ListBarsResponse, lambda page: page.bars)


def stream_quotes(
    symbols: str | Iterable[str],
    *,
    min_interval_s: float | None = None,
    on_notice: OnNotice = None,
    **options: Unpack[StreamOptions],
) -> Batches[pb.StreamQuotesResponse]:
    """Live quotes in batches, for as long as they are taken; a lost connection is opened again.

    Gaps are told in `status.gaps` of a batch: those of the venue's feed, and under the feed name "gateway"
    those of the connection to the gateway. `lag_s(batch)` measures how far behind this reader is; values of a batch
    that is taken more than 2 s after it was sent are flagged stale. A reader who takes long for one batch follows
    values: `follow_quotes`.

    Args:
        symbols: "AAPL", "BTC/USD".
        min_interval_s: At most one quote per symbol in this time, the newest; None: as they come.
        on_notice: Told `Disconnected` at a break, before the stream is opened again.
        options: As `StreamOptions`.
    """
    request = _quotes_request(symbols, min_interval_s, options)
    return Batches("MarketDataService/StreamQuotes", request, pb.StreamQuotesResponse, _quotes, on_notice)


def stream_trades(
    symbols: str | Iterable[str], *, on_notice: OnNotice = None, **options: Unpack[StreamOptions]
) -> Batches[pb.StreamTradesResponse]:
    """Live trades with the venue's corrections and cancels, as `stream_quotes`; without conflation unless asked for."""
    request = pb.StreamTradesRequest(symbols=symbol_list(symbols), **_stream(options))
    return Batches("MarketDataService/StreamTrades", request, pb.StreamTradesResponse, _trades, on_notice)


def stream_bars(
    symbols: str | Iterable[str],
    *,
    channel: BarChannel = pb.CHANNEL_UNSPECIFIED,
    on_notice: OnNotice = None,
    **options: Unpack[StreamOptions],
) -> Batches[pb.StreamBarsResponse]:
    """Live bars, as `stream_quotes`; without conflation unless asked for.

    Args:
        symbols: "AAPL", "BTC/USD".
        channel: Minute bars when the minute is over, when late trades changed them, or the running day.
        on_notice: Told `Disconnected` at a break.
        options: As `StreamOptions`.
    """
    request = _bars_request(symbols, channel, options)
    return Batches("MarketDataService/StreamBars", request, pb.StreamBarsResponse, _bars, on_notice)


def follow_quotes(
    symbols: str | Iterable[str], *, min_interval_s: float | None = None, **options: Unpack[StreamOptions]
) -> Values[QuoteItem]:
    """Live quotes one by one, with what befalls their stream among them; a lost connection is opened again.

    Each quote is judged when it is taken: more than 2 s after the gateway sent it, or after its connection broke, it is
    flagged stale. `Disconnected` is told at a break, a `StreamStatus` wherever the gateway has something to say: feeds,
    acks of the symbols, gaps (the gap of a break among them, under the feed "gateway"), counters, heartbeats.

    Args:
        symbols: "AAPL", "BTC/USD".
        min_interval_s: At most one quote per symbol in this time, the newest; None: as they come.
        options: As `StreamOptions`.
    """
    request = _quotes_request(symbols, min_interval_s, options)
    return Values("MarketDataService/StreamQuotes", request, pb.StreamQuotesResponse, _quotes)


def follow_trades(symbols: str | Iterable[str], **options: Unpack[StreamOptions]) -> Values[TradeItem]:
    """Live trades, corrections and cancels one by one, as `follow_quotes`; without conflation unless asked for."""
    request = pb.StreamTradesRequest(symbols=symbol_list(symbols), **_stream(options))
    return Values("MarketDataService/StreamTrades", request, pb.StreamTradesResponse, _trades)


def follow_bars(
    symbols: str | Iterable[str], *, channel: BarChannel = pb.CHANNEL_UNSPECIFIED, **options: Unpack[StreamOptions]
) -> Values[BarItem]:
    """Live bars one by one, as `follow_quotes`; without conflation unless asked for. `channel` as in `stream_bars`."""
    request = _bars_request(symbols, channel, options)
    return Values("MarketDataService/StreamBars", request, pb.StreamBarsResponse, _bars)


def _quotes_request(
    symbols: str | Iterable[str], min_interval_s: float | None, options: StreamOptions
) -> pb.StreamQuotesRequest:
    return pb.StreamQuotesRequest(
        symbols=symbol_list(symbols), min_interval=duration(min_interval_s), **_stream(options)
    )


def market_data_session(new_outbox: NewOutbox, **options: Unpack[SessionOptions]) -> SessionFollower:
    """Live data of every channel in one stream."""
    require_names(options, SessionOptions)
    wanted = pb.SessionOptions(
        skip_snapshot=options.get("skip_snapshot", False),
        conflation=number(pb.ConflationPolicy, options.get("conflation", 0)),
        heartbeat_interval=duration(options.get("heartbeat_interval_s")),
        max_batch_delay=duration(options.get("max_batch_delay_s")),
        max_unacknowledged_batches=options.get("credits", CREDITS),
    )
    return SessionFollower(wanted, new_outbox)


def _bars_request(symbols: str | Iterable[str], channel: BarChannel, options: StreamOptions) -> pb.StreamBarsRequest:
    return pb.StreamBarsRequest(symbols=symbol_list(symbols), channel=number(pb.Channel, channel), **_stream(options))


def _quotes(batch: pb.StreamQuotesResponse) -> Sequence[Any]:
    return batch.quotes


def _trades(batch: pb.StreamTradesResponse) -> Sequence[Any]:
    """What was corrected was printed before."""
    return [*batch.trades, *batch.corrections, *batch.cancels]


def _bars(batch: pb.StreamBarsResponse) -> Sequence[Any]:
    return batch.bars


def _latest(options: LatestOptions) -> dict[str, Any]:
    """The fields that the four requests for newest values share."""
    require_names(options, LatestOptions)
    return {
        "asset_class": number(common_pb2.AssetClass, options.get("asset_class", 0)),
        "feed": number(common_pb2.DataFeed, options.get("feed", 0)),
        "max_staleness": duration(options.get("max_staleness_s")),
    }


def _stream(options: StreamOptions) -> dict[str, Any]:
    """The fields that the three subscriptions share."""
    require_names(options, StreamOptions)
    return {
        "asset_class": number(common_pb2.AssetClass, options.get("asset_class", 0)),
        "feed": number(common_pb2.DataFeed, options.get("feed", 0)),
        "skip_snapshot": options.get("skip_snapshot", False),
        "conflation": number(pb.ConflationPolicy, options.get("conflation", 0)),
        "heartbeat_interval": duration(options.get("heartbeat_interval_s")),
        "max_batch_delay": duration(options.get("max_batch_delay_s")),
    }
