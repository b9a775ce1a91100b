"""What somebody who follows quotes has to see: the newest of each symbol, how old, and whether it can be relied on.

Promises that nothing stays without its mark: what the gateway calls stale, and everything while the connection is lost.
How it is drawn is for `watch`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from gateway.domain.types import NANOS_PER_SECOND
from trading_gateway.market_streams import Disconnected, QuoteItem
from trading_gateway.v1 import common_pb2, market_data_pb2

COLUMNS: Final = ("symbol", "bid", "size", "ask", "size", "age", "feed", "")
_GAPS_TOLD_MAX: Final = 3
"""Gaps that are shown at once, the newest; all of them are counted."""


@dataclass(frozen=True, slots=True)
class Line:
    """One symbol's cells, under `COLUMNS`."""

    symbol: str
    cells: tuple[str, ...]


class QuoteBoard:
    """Takes what a stream of quotes tells, and says where it stands."""

    def __init__(self) -> None:
        self._quotes: dict[str, market_data_pb2.Quote] = {}
        self._stale: set[str] = set()
        self._feeds: dict[str, str] = {}
        self._refused: dict[str, str] = {}
        self._gaps: list[str] = []
        self._gaps_count = 0
        self._conflated = _Total()
        self._dropped = _Total()
        self._lost = ""
        self._is_connected = False

    def take(self, item: QuoteItem) -> None:
        """A quote, a status, or a break."""
        if isinstance(item, Disconnected):
            self._break(item)
        elif isinstance(item, market_data_pb2.Quote):
            self._quotes[item.symbol] = item
            (self._stale.add if item.stale else self._stale.discard)(item.symbol)
        else:
            self._read(item)

    def lines(self, now_ns: int) -> list[Line]:
        """The newest quote of each symbol.

        Args:
            now_ns: By the gateway's clock, in nanoseconds since the Unix epoch.
        """
        return [self.line(symbol, now_ns) for symbol in sorted(self._quotes)]

    def line(self, symbol: str, now_ns: int) -> Line:
        """The newest quote of one."""
        quote = self._quotes[symbol]
        age_s = max(0, now_ns - quote.receive_time.ToNanoseconds()) / NANOS_PER_SECOND
        marks = [word for word, is_set in (("stale", symbol in self._stale), ("snapshot", quote.snapshot)) if is_set]
        cells = (
            symbol,
            f"{quote.bid_price:g}",
            f"{quote.bid_size:g}",
            f"{quote.ask_price:g}",
            f"{quote.ask_size:g}",
            f"{age_s:.1f} s",
            common_pb2.DataFeed.Name(quote.feed).removeprefix("DATA_FEED_").lower(),
            " ".join(marks),
        )
        return Line(symbol, cells)

    def standing(self) -> list[str]:
        """The state of the connection and of the feeds, gaps, and which symbols are refused."""
        if self._lost:
            states = [f"connection lost, trying again: {self._lost}"]
        else:
            states = list(self._feeds.values()) if self._is_connected else ["connecting"]
        gaps = [f"{self._gaps_count} gaps", *self._gaps] if self._gaps else []
        return [*states, *gaps, *self._refused.values()]

    def measures(self, lag_s: float) -> list[str]:
        """What was left out, and how far behind this reader is.

        Args:
            lag_s: Seconds since what was taken last was sent, when it was taken.
        """
        return [f"{self._conflated} conflated", f"{self._dropped} dropped", f"lag {max(0.0, lag_s):.2f} s"]

    def _break(self, broken: Disconnected) -> None:
        self._lost = broken.error.message
        self._stale.update(self._quotes)
        self._conflated.begin_anew()
        self._dropped.begin_anew()

    def _read(self, status: market_data_pb2.StreamStatus) -> None:
        self._lost = ""
        self._is_connected = True
        self._stale.update(status.stale_symbols)
        for feed in status.feeds:
            state = common_pb2.FeedState.Name(feed.state).removeprefix("FEED_STATE_")
            self._feeds[feed.feed] = f"{feed.feed} {state} {feed.detail}".rstrip()
        for ack in status.acks:
            self._refused.pop(ack.symbol, None)
            if ack.status.code:
                self._refused[ack.symbol] = f"{ack.symbol}: {ack.status.message}"
        for gap in status.gaps:
            self._gaps_count += 1
            self._gaps = [*self._gaps, gap_words(gap)][-_GAPS_TOLD_MAX:]
        self._conflated.see(status.conflated_total)
        self._dropped.see(status.dropped_total)


class _Total:
    """A counter of the stream that begins anew with each connection, added up."""

    def __init__(self) -> None:
        self._before = 0
        self._now = 0

    def __str__(self) -> str:
        return str(self._before + self._now)

    def see(self, total: int) -> None:
        """The newest reading."""
        self._now = max(self._now, total)

    def begin_anew(self) -> None:
        """The connection ended."""
        self._before += self._now
        self._now = 0


def gap_words(gap: common_pb2.GapNotice) -> str:
    """A gap in words: "nothing from gateway 14:03:07.512 to 14:03:09.020"."""
    began, ended = _clock(gap.from_time.ToNanoseconds()), _clock(gap.to_time.ToNanoseconds())
    return f"nothing from {gap.feed} {began} to {ended}"


def _clock(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / NANOS_PER_SECOND, UTC).strftime("%H:%M:%S.%f")[:-3]
