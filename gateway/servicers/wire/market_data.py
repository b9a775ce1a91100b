"""market_data.proto: values, streams and reads, message to noun and back.

What a symbol list means for a stream (a bad one is told in an ack) and for a read (a bad one refuses the
request) differs, and is decided here and in the services; the feed's class is the services' to check.
"""

from __future__ import annotations

from typing import Final

from google.rpc import code_pb2, status_pb2

from gateway.domain.models.market_data import (
    Bar,
    Greeks,
    Latest,
    OrderBook,
    Quote,
    Selection,
    Snapshot,
    StreamRequest,
    StreamStatus,
    Subscription,
    SubscriptionAck,
    Trade,
)
from gateway.domain.types import AssetClass, Channel, ConflationPolicy, DataFeed, TwoWay
from gateway.servicers.wire.common import (
    ASSET_CLASS,
    DATA_FEED,
    RequestReader,
    feed_status_to_proto,
    gap_to_proto,
    timestamp_to_proto,
)
from gateway.servicers.wire.errors import error_to_proto
from gateway.servicers.wire.market_values import (
    CHANNEL,
    bar_to_proto,
    order_book_to_proto,
    quote_to_proto,
    trade_to_proto,
)
from trading_gateway.v1 import common_pb2, market_data_pb2 as pb

BARS_CHANNEL: Final = TwoWay({channel: CHANNEL[channel] for channel in Channel if channel.is_bars})
CONFLATION_POLICY: Final = TwoWay(
    {
        ConflationPolicy.NONE: pb.CONFLATION_POLICY_NONE,
        ConflationPolicy.LATEST_PER_SYMBOL: pb.CONFLATION_POLICY_LATEST_PER_SYMBOL,
        ConflationPolicy.DROP_OLDEST: pb.CONFLATION_POLICY_DROP_OLDEST,
    }
)

READ_SYMBOLS_MAX: Final = 500
BOOK_SYMBOLS_MAX: Final = 100
HEARTBEAT_INTERVAL_MIN_MS: Final = 500
HEARTBEAT_INTERVAL_MAX_MS: Final = 60_000
HEARTBEAT_INTERVAL_DEFAULT_MS: Final = 5_000
BATCH_DELAY_MAX_MS: Final = 1_000
BATCH_DELAY_DEFAULT_MS: Final = 5
INTERVAL_MAX_MS: Final = 60_000
_THINNED: Final = (pb.CONFLATION_POLICY_UNSPECIFIED, pb.CONFLATION_POLICY_LATEST_PER_SYMBOL)
STALENESS_MAX_MS: Final = 24 * 3_600_000
"""A read that may be older than a day wants history."""


def snapshot_to_proto(snapshot: Snapshot, *, stale: bool = False) -> pb.Snapshot:
    """The state of a symbol; `stale` is said by each of its values."""
    return pb.Snapshot(
        symbol=snapshot.symbol,
        latest_trade=None if snapshot.latest_trade is None else trade_to_proto(snapshot.latest_trade, stale=stale),
        latest_quote=None if snapshot.latest_quote is None else quote_to_proto(snapshot.latest_quote, stale=stale),
        minute_bar=_bar(snapshot.minute_bar, stale),
        daily_bar=_bar(snapshot.daily_bar, stale),
        previous_daily_bar=None
        if snapshot.previous_daily_bar is None
        else bar_to_proto(snapshot.previous_daily_bar, stale=stale),
        implied_volatility=snapshot.implied_volatility,
        greeks=None if snapshot.greeks is None else greeks_to_proto(snapshot.greeks),
    )


def greeks_to_proto(greeks: Greeks) -> pb.Greeks:
    """The sensitivities of an option."""
    return pb.Greeks(delta=greeks.delta, gamma=greeks.gamma, theta=greeks.theta, vega=greeks.vega, rho=greeks.rho)


def ack_to_proto(ack: SubscriptionAck) -> pb.SubscriptionAck:
    """What became of one symbol."""
    return pb.SubscriptionAck(
        command_id=ack.command_id,
        channel=pb.CHANNEL_UNSPECIFIED if ack.channel is None else CHANNEL[ack.channel],
        symbol=ack.symbol,
        asset_class=ASSET_CLASS[ack.asset_class or AssetClass.UNRECOGNIZED],
        feed=_feed_to_proto(ack.feed),
        unsubscribed=ack.unsubscribed,
        status=status_pb2.Status(code=code_pb2.OK)
        if ack.refusal is None
        else error_to_proto(ack.refusal, carries_key=False),
    )


def subscription_to_proto(held: Subscription) -> pb.Subscription:
    """What a session holds of one channel."""
    return pb.Subscription(
        channel=CHANNEL[held.channel],
        symbols=held.symbols,
        asset_class=ASSET_CLASS[held.asset_class or AssetClass.UNRECOGNIZED],
        feed=_feed_to_proto(held.feed),
    )


def _feed_to_proto(feed: DataFeed | None) -> common_pb2.DataFeed.ValueType:
    """A feed that a request may name; articles come by one that none does."""
    return common_pb2.DATA_FEED_UNSPECIFIED if feed in (None, DataFeed.NEWS) else DATA_FEED[feed]


def stream_status_to_proto(status: StreamStatus) -> pb.StreamStatus:
    """Where a stream stands."""
    return pb.StreamStatus(
        feeds=map(feed_status_to_proto, status.feeds),
        acks=map(ack_to_proto, status.acks),
        subscriptions=map(subscription_to_proto, status.subscriptions),
        list_command_id=status.list_command_id,
        stale_symbols=status.stale_symbols,
        gaps=map(gap_to_proto, status.gaps),
        conflated_total=status.conflated_total,
        dropped_total=status.dropped_total,
        snapshot_end=status.snapshot_end,
        heartbeat=status.heartbeat,
    )


StreamMessage = pb.StreamQuotesRequest | pb.StreamTradesRequest | pb.StreamBarsRequest
ReadMessage = (
    pb.GetLatestQuotesRequest
    | pb.GetLatestTradesRequest
    | pb.GetLatestBarsRequest
    | pb.GetLatestOrderBooksRequest
    | pb.GetSnapshotsRequest
)
ListMessage = pb.ListBarsRequest | pb.ListQuotesRequest | pb.ListTradesRequest | pb.StreamHistoricalBarsRequest


def stream_request_from_proto(request: StreamMessage, channel: Channel) -> StreamRequest:
    """A subscription. Its symbols are taken as they are: a bad one is told in an ack. Bars name their channel.

    Raises:
        FieldInvalid: With every violation.
    """
    reader = RequestReader()
    if not request.symbols:
        reader.refuse("symbols", "is required")
    min_interval_ms = 0
    if isinstance(request, pb.StreamQuotesRequest) and request.HasField("min_interval"):
        min_interval_ms = reader.duration_ms("min_interval", request.min_interval, least_ms=0, most_ms=INTERVAL_MAX_MS)
        if min_interval_ms and request.conflation not in _THINNED:
            reader.refuse("min_interval", "needs LATEST_PER_SYMBOL")
    if isinstance(request, pb.StreamBarsRequest):
        channel = reader.optional_choice("channel", BARS_CHANNEL, request.channel) or Channel.BARS
    wanted = StreamRequest(
        channel=channel,
        selection=Selection(
            symbols=tuple(request.symbols),
            asset_class=reader.optional_choice("asset_class", ASSET_CLASS, request.asset_class),
            feed=reader.optional_choice("feed", DATA_FEED, request.feed),
        ),
        skip_snapshot=request.skip_snapshot,
        conflation=reader.optional_choice("conflation", CONFLATION_POLICY, request.conflation),
        heartbeat_interval_ms=heartbeat_interval_from_proto(reader, "heartbeat_interval", request),
        max_batch_delay_ms=batch_delay_from_proto(reader, "max_batch_delay", request),
        min_interval_ms=min_interval_ms,
    )
    reader.finish()
    return wanted


def heartbeat_interval_from_proto(reader: RequestReader, path: str, request: StreamMessage | pb.SessionOptions) -> int:
    """The longest silence of a stream, in milliseconds."""
    if not request.HasField("heartbeat_interval"):
        return HEARTBEAT_INTERVAL_DEFAULT_MS
    return reader.duration_ms(
        path, request.heartbeat_interval, least_ms=HEARTBEAT_INTERVAL_MIN_MS, most_ms=HEARTBEAT_INTERVAL_MAX_MS
    )


def batch_delay_from_proto(reader: RequestReader, path: str, request: StreamMessage | pb.SessionOptions) -> int:
    """How long values may wait to travel together, in milliseconds."""
    if not request.HasField("max_batch_delay"):
        return BATCH_DELAY_DEFAULT_MS
    return reader.duration_ms(path, request.max_batch_delay, least_ms=0, most_ms=BATCH_DELAY_MAX_MS)


def read_request_from_proto(request: ReadMessage, *, at_most: int = READ_SYMBOLS_MAX) -> tuple[Selection, int | None]:
    """What to read, and how old it may be, in milliseconds; None when the request does not say.

    Raises:
        FieldInvalid: With every violation.
    """
    reader = RequestReader()
    max_staleness_ms = None
    if request.HasField("max_staleness"):
        max_staleness_ms = reader.duration_ms(
            "max_staleness", request.max_staleness, least_ms=0, most_ms=STALENESS_MAX_MS
        )
    selection = read_selection(reader, request, at_most=at_most)
    reader.finish()
    return selection, max_staleness_ms


def latest_quotes_to_proto(latest: Latest[Quote]) -> pb.GetLatestQuotesResponse:
    """The newest quotes."""
    return pb.GetLatestQuotesResponse(
        quotes=[quote_to_proto(value, stale=value.symbol in latest.stale) for value in latest.values],
        missing_symbols=latest.missing,
        read_time=timestamp_to_proto(latest.read_time_ns),
        from_stream=latest.from_stream,
    )


def latest_trades_to_proto(latest: Latest[Trade]) -> pb.GetLatestTradesResponse:
    """The newest trades."""
    return pb.GetLatestTradesResponse(
        trades=[trade_to_proto(value, stale=value.symbol in latest.stale) for value in latest.values],
        missing_symbols=latest.missing,
        read_time=timestamp_to_proto(latest.read_time_ns),
        from_stream=latest.from_stream,
    )


def latest_bars_to_proto(latest: Latest[Bar]) -> pb.GetLatestBarsResponse:
    """The newest minute bars."""
    return pb.GetLatestBarsResponse(
        bars=[bar_to_proto(value, stale=value.symbol in latest.stale) for value in latest.values],
        missing_symbols=latest.missing,
        read_time=timestamp_to_proto(latest.read_time_ns),
        from_stream=latest.from_stream,
    )


def latest_order_books_to_proto(latest: Latest[OrderBook]) -> pb.GetLatestOrderBooksResponse:
    """The newest order books."""
    return pb.GetLatestOrderBooksResponse(
        order_books=[order_book_to_proto(value, stale=value.symbol in latest.stale) for value in latest.values],
        missing_symbols=latest.missing,
        read_time=timestamp_to_proto(latest.read_time_ns),
        from_stream=latest.from_stream,
    )


def snapshots_to_proto(latest: Latest[Snapshot]) -> pb.GetSnapshotsResponse:
    """The state of some symbols."""
    return pb.GetSnapshotsResponse(
        snapshots=[snapshot_to_proto(value, stale=value.symbol in latest.stale) for value in latest.values],
        missing_symbols=latest.missing,
        read_time=timestamp_to_proto(latest.read_time_ns),
        from_stream=latest.from_stream,
    )


def _bar(bar: Bar | None, stale: bool) -> pb.Bar | None:
    return None if bar is None else bar_to_proto(bar, stale=stale)


def read_selection(
    reader: RequestReader, request: ReadMessage | ListMessage, *, at_most: int = READ_SYMBOLS_MAX
) -> Selection:
    """Which symbols of which feed, for a request that a bad symbol refuses."""
    if not request.symbols:
        reader.refuse("symbols", "is required")
    return Selection(
        symbols=reader.symbols("symbols", request.symbols, at_most=at_most, quoted=True),
        asset_class=reader.optional_choice("asset_class", ASSET_CLASS, request.asset_class),
        feed=reader.optional_choice("feed", DATA_FEED, request.feed),
    )
