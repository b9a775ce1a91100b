"""Quotes, trades, bars and snapshots, as the venue measured them.

Prices and sizes are floats, bit for bit what the venue sent; a price of 0 means that there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Generic, TypeVar

from gateway.domain.errors import GatewayError
from gateway.domain.types import AssetClass, Channel, ConflationPolicy, DataFeed, FeedState


@dataclass(slots=True)
class Quote:
    """The best bid and offer. Treat as immutable: it is shared by every reader (frozen costs 0.6 µs each)."""

    symbol: str
    time_ns: int
    bid_price: float
    bid_size: float
    ask_price: float
    ask_size: float
    feed: DataFeed
    receive_time_ns: int
    bid_exchange: str = ""
    ask_exchange: str = ""
    conditions: tuple[str, ...] = ()
    tape: str = ""


@dataclass(slots=True)
class Trade:
    """One print. Treat as immutable.

    Attributes:
        trade_id: The venue's; 0 where it gives none.
        taker_side: "B" or "S", crypto alone.
        update: "canceled", "corrected" or "incorrect", in history alone.
    """

    symbol: str
    time_ns: int
    price: float
    size: float
    feed: DataFeed
    receive_time_ns: int
    exchange: str = ""
    trade_id: int = 0
    conditions: tuple[str, ...] = ()
    tape: str = ""
    taker_side: str = ""
    update: str = ""


@dataclass(slots=True)
class Bar:
    """Open, high, low, close and volume over a timeframe. Treat as immutable.

    Attributes:
        start_time_ns: When it begins.
        vwap: None when the venue gives none.
        final: Complete, though an updated bar may follow; False for the running minute or day.
        channel: On which of the three channels of bars it came; BARS when it was read by request.
    """

    symbol: str
    start_time_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    feed: DataFeed
    receive_time_ns: int
    trade_count: int = 0
    vwap: float | None = None
    final: bool = True
    channel: Channel = Channel.BARS


@dataclass(slots=True)
class TradeCorrection:
    """The venue corrected a trade. Treat as immutable.

    Attributes:
        time_ns: When it said so.
        original, corrected: The trade as reported first, and as it stands now. The venue does not repeat when the
            trade was made: their time is the correction's.
    """

    symbol: str
    time_ns: int
    original: Trade
    corrected: Trade
    feed: DataFeed
    receive_time_ns: int


@dataclass(slots=True)
class TradeCancel:
    """The venue annulled a trade. Treat as immutable.

    Attributes:
        time_ns: When it said so.
        price, size: The annulled trade's.
        action: "C" canceled, "E" an error; verbatim.
    """

    symbol: str
    time_ns: int
    trade_id: int
    price: float
    size: float
    feed: DataFeed
    receive_time_ns: int
    exchange: str = ""
    action: str = ""


@dataclass(slots=True)
class BookLevel:
    """One price of an order book. A size of 0 in a change: the level is gone. Treat as immutable."""

    price: float
    size: float


@dataclass(slots=True)
class OrderBook:
    """Bids and offers of a pair, best first: the whole book (`reset`), or what changed in it. Treat as immutable."""

    symbol: str
    time_ns: int
    bids: tuple[BookLevel, ...]
    asks: tuple[BookLevel, ...]
    reset: bool
    feed: DataFeed
    receive_time_ns: int

    def changed_by(self, change: OrderBook) -> OrderBook:
        """The whole book after a change of it, or the change itself if that is whole."""
        if change.reset:
            return change
        return OrderBook(
            symbol=self.symbol,
            time_ns=change.time_ns,
            bids=_levels_after(self.bids, change.bids, best_is_highest=True),
            asks=_levels_after(self.asks, change.asks, best_is_highest=False),
            reset=True,
            feed=change.feed,
            receive_time_ns=change.receive_time_ns,
        )


def _levels_after(
    levels: tuple[BookLevel, ...], changes: tuple[BookLevel, ...], *, best_is_highest: bool
) -> tuple[BookLevel, ...]:
    if not changes:
        return levels
    sizes = {level.price: level for level in levels}
    sizes.update({level.price: level for level in changes})
    return tuple(sizes[price] for price in sorted(sizes, reverse=best_is_highest) if sizes[price].size)


@dataclass(slots=True)
class TradingStatus:
    """A halt, a resumption or the like; codes and texts are the venue's own. Treat as immutable.

    Attributes:
        status_code: "H" halted, "T" resumed and others.
    """

    symbol: str
    time_ns: int
    status_code: str
    feed: DataFeed
    receive_time_ns: int
    status_message: str = ""
    reason_code: str = ""
    reason_message: str = ""
    tape: str = ""


@dataclass(slots=True)
class Luld:
    """Limit up, limit down: the band in which a stock may trade. Treat as immutable."""

    symbol: str
    time_ns: int
    limit_up: float
    limit_down: float
    feed: DataFeed
    receive_time_ns: int
    indicator: str = ""
    tape: str = ""


@dataclass(slots=True)
class News:
    """An article, or an article again after a change: the id stays. Treat as immutable.

    Attributes:
        symbols: What it is about, as articles spell them (`article_symbol`); one at least.
        create_time_ns, update_time_ns: When it was published, and changed; None where the venue does not say.
        time_ns: The later of them; when it was received, where there is neither.
    """

    news_id: int
    headline: str
    symbols: tuple[str, ...]
    create_time_ns: int | None
    update_time_ns: int | None
    feed: DataFeed
    receive_time_ns: int
    summary: str = ""
    author: str = ""
    source: str = ""
    url: str = ""

    @property
    def symbol(self) -> str:
        """The first that it names."""
        return self.symbols[0]

    @property
    def time_ns(self) -> int:
        """When it came to be what it is."""
        return self.update_time_ns or self.create_time_ns or self.receive_time_ns


LiveValue = Quote | Trade | TradeCorrection | TradeCancel | Bar | OrderBook | TradingStatus | Luld | News
"""What a market-data feed brings. TRADES brings trades, corrections and cancels; every other channel one noun."""


@dataclass(frozen=True, slots=True)
class Greeks:
    """The sensitivities of an option's price.

    Attributes:
        delta, gamma: To the price of the underlying, and of delta to it.
        theta: To time, per day.
        vega, rho: To volatility and to the interest rate, per percentage point.
    """

    delta: float
    gamma: float
    theta: float
    vega: float
    rho: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of one symbol; what is not known is None.

    Attributes:
        implied_volatility: Of an option, per year: 0.25 is 25 %.
        greeks: Of an option; None when they cannot be computed.
    """

    symbol: str
    latest_trade: Trade | None = None
    latest_quote: Quote | None = None
    minute_bar: Bar | None = None
    daily_bar: Bar | None = None
    previous_daily_bar: Bar | None = None
    implied_volatility: float | None = None
    greeks: Greeks | None = None


class TimeframeUnit(StrEnum):
    """The unit of a timeframe; the value is Alpaca's suffix."""

    MINUTE = "Min"
    HOUR = "Hour"
    DAY = "Day"
    WEEK = "Week"
    MONTH = "Month"


@dataclass(frozen=True, slots=True)
class Timeframe:
    """The span of a bar. Legal: 1-59 MINUTE, 1-23 HOUR, 1 DAY, 1 WEEK, and 1, 2, 3, 4, 6 or 12 MONTH."""

    amount: int
    unit: TimeframeUnit

    @property
    def is_legal(self) -> bool:
        """Whether Alpaca has such bars."""
        match self.unit:
            case TimeframeUnit.MINUTE:
                return 1 <= self.amount <= 59
            case TimeframeUnit.HOUR:
                return 1 <= self.amount <= 23
            case TimeframeUnit.MONTH:
                return self.amount in (1, 2, 3, 4, 6, 12)
            case _:
                return self.amount == 1


class Adjustment(StrEnum):
    """What past prices are adjusted for; the value is Alpaca's word."""

    RAW = "raw"
    SPLIT = "split"
    DIVIDEND = "dividend"
    SPIN_OFF = "spin-off"
    ALL = "all"


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list; an empty token ends it."""

    items: tuple[T, ...]
    next_page_token: str = ""


@dataclass(frozen=True, slots=True)
class FeedStatus:
    """The state of one upstream feed.

    Attributes:
        feed: A DataFeed's value, or ORDER_FEED.
        since_ns: When it entered this state.
        venue_error_code: The venue's code when it refused or closed the feed, such as 406; 0 when it gave none.
    """

    feed: str
    state: FeedState
    since_ns: int
    detail: str = ""
    venue_error_code: int = 0


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch of time for which the gateway received nothing from a feed."""

    feed: str
    from_time_ns: int | None
    to_time_ns: int
    symbols: tuple[str, ...] = ()
    backfilled: bool = False
    backfilled_count: int = 0


@dataclass(frozen=True, slots=True)
class SubscriptionSet:
    """The symbols that the venue acknowledged, channel by channel."""

    symbols: Mapping[Channel, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which symbols of which feed; what is None is told by the symbols, or is the best that the account has."""

    symbols: tuple[str, ...]
    asset_class: AssetClass | None = None
    feed: DataFeed | None = None


@dataclass(frozen=True, slots=True)
class BarsRequest:
    """Which past bars.

    Attributes:
        start_ns: None: the start of the current trading day.
        end_ns: None: now.
        as_of_date: Read the symbols as they were named then; None: today.
    """

    selection: Selection
    timeframe: Timeframe
    start_ns: int | None = None
    end_ns: int | None = None
    adjustments: tuple[Adjustment, ...] = ()
    as_of_date: date | None = None
    newest_first: bool = False
    page_size: int = 1_000
    page_token: str = ""


@dataclass(frozen=True, slots=True)
class HistoryRequest:
    """Which past quotes or trades.

    Attributes:
        channel: QUOTES or TRADES.
        start_ns, end_ns, as_of_date: As in BarsRequest.
    """

    channel: Channel
    selection: Selection
    start_ns: int | None = None
    end_ns: int | None = None
    as_of_date: date | None = None
    newest_first: bool = False
    page_size: int = 1_000
    page_token: str = ""


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """A subscription to live market data.

    Attributes:
        conflation: None takes the channel's own: the newest per symbol for quotes, every value for the rest.
        heartbeat_interval_ms: Silence after which the stream says that it lives.
        max_batch_delay_ms: How long values may wait to travel together.
        min_interval_ms: The least time between two values of one symbol; needs LATEST_PER_SYMBOL.
    """

    channel: Channel
    selection: Selection
    skip_snapshot: bool = False
    conflation: ConflationPolicy | None = None
    heartbeat_interval_ms: int = 5_000
    max_batch_delay_ms: int = 5
    min_interval_ms: int = 0


@dataclass(frozen=True, slots=True)
class Subscription:
    """One channel of one feed, for some symbols. News has no `asset_class`: its symbols are of several."""

    channel: Channel
    symbols: tuple[str, ...]
    asset_class: AssetClass | None
    feed: DataFeed


@dataclass(frozen=True, slots=True)
class SubscriptionAck:
    """What became of one symbol that was asked for; `refusal` is None when it is done.

    Attributes:
        channel, symbol, asset_class, feed: None or empty where a command could not be read so far.
        command_id: The command it answers, where there are such.
        unsubscribed: It was removed, not added.
    """

    channel: Channel | None
    symbol: str
    asset_class: AssetClass | None
    feed: DataFeed | None
    refusal: GatewayError | None = None
    command_id: str = ""
    unsubscribed: bool = False


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """Where a stream stands; the fields are those of the contract's message of this name."""

    feeds: tuple[FeedStatus, ...] = ()
    acks: tuple[SubscriptionAck, ...] = ()
    stale_symbols: tuple[str, ...] = ()
    gaps: tuple[Gap, ...] = ()
    conflated_total: int = 0
    dropped_total: int = 0
    subscriptions: tuple[Subscription, ...] = ()
    list_command_id: str = ""
    snapshot_end: bool = False
    heartbeat: bool = False


@dataclass(frozen=True, slots=True)
class Latest(Generic[T]):
    """The newest values of some symbols.

    Attributes:
        values: One per symbol that has one, in the order of the request.
        stale: The symbols whose value the gateway cannot vouch for.
        missing: Symbols without a value.
        read_time_ns: When the oldest of these was read from the venue.
        from_stream: All come from the live stream: no request was spent.
    """

    values: tuple[T, ...]
    stale: frozenset[str]
    missing: tuple[str, ...]
    read_time_ns: int
    from_stream: bool
