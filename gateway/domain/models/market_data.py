"""Quotes, trades, bars and snapshots, as the venue measured them.

Prices and sizes are floats, bit for bit what the venue sent; a price of 0 means that there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

from gateway.domain.types import Channel, DataFeed, FeedState


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
        final: Complete; False for the running minute or day.
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


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of one symbol; what is not known is None."""

    symbol: str
    latest_trade: Trade | None = None
    latest_quote: Quote | None = None
    minute_bar: Bar | None = None
    daily_bar: Bar | None = None
    previous_daily_bar: Bar | None = None


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
