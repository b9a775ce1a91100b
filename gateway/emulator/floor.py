"""The trading floor: joins clock, market and exchange, and tells listeners what happened.

Promises: whatever was due happens before anything is asked. A command first catches up: every quote and print up to
now reaches the exchange in order, session boundaries are passed, and only then is the command carried out at now.
Time never runs backwards here. Listeners hear market events and order updates in the order in which they happened.

Leaves what to say on which wire to `rest/` and `streams/`, and memory to the ledger behind `exchange`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

from gateway.domain.models.market_data import Quote, Trade, TradeCancel, TradeCorrection, TradingStatus
from gateway.domain.types import NANOS_PER_MS, NANOS_PER_SECOND, DataFeed
from gateway.emulator.bars import MINUTE_NS
from gateway.emulator.exchange import TradeUpdate
from gateway.emulator.market import Event, Market
from gateway.emulator.option_chain import OptionChain
from gateway.emulator.option_market import OptionMarket
from gateway.emulator.recorded import RecordedExchange

CATCH_UP_NS_MAX: Final = 60 * NANOS_PER_SECOND
"""A market that was not watched for longer (the process slept, a test moved its clock) is joined where it is now."""

EVENTS_PER_TURN_MAX: Final = 512
"""Events told to listeners at once; between turns requests are answered."""

EVENTS_AT_ONCE_MAX: Final = 4096
"""Events told at once when a command must not wait; what is due is never more than a minute or a tape."""

_HALTED: Final = ("H", "Trading Halt", "T12", "Halt")
_RESUMED: Final = ("T", "Trading Resumption", "", "")
"""Codes of the UTP plan, as Alpaca passes them on."""

_PRINTS: Final = (Trade, TradeCorrection, TradeCancel)
_PREPARE_AHEAD_NS: Final = 15 * NANOS_PER_SECOND
_TURN_MS_MIN: Final = 2  # a burst is sent in batches: at most one turn per two milliseconds
_TURN_MS_MAX: Final = 50  # the clock may be moved at any time, so look again


class Listener(Protocol):
    """Somebody who wants to know."""

    def on_events(self, events: Sequence[Event]) -> None:
        """Market events, in order."""
        ...

    def on_updates(self, updates: Sequence[TradeUpdate]) -> None:
        """Order updates, in order."""
        ...


class TradingFloor:
    """One account at one market.

    Args:
        exchange: The exchange with its memory.
        clock: Nanoseconds since the Unix epoch.
        options: Priced on the market; None: there are none.

    Attributes:
        witness: Looks at what happened to orders before anybody is told of it.
    """

    def __init__(
        self,
        exchange: RecordedExchange,
        market: Market,
        clock: Callable[[], int],
        options: OptionMarket | None = None,
    ) -> None:
        self.exchange = exchange
        self.market = market
        self.options = options or OptionMarket(market, OptionChain(()), 0)
        self.witness: Callable[[Sequence[TradeUpdate]], None] = _look_away
        self._clock = clock
        self._seen_ns = 0
        self._listeners: list[Listener] = []
        self._halted: set[str] = set()

    def listen(self, listener: Listener) -> None:
        """Tell somebody from now on."""
        self._listeners.append(listener)

    def open(self) -> None:
        """Show the exchange the quotes that stand, and let the market begin."""
        self._seen_ns = now_ns = self._clock()
        self.market.open(now_ns + 1)
        self._show_standing_prices(now_ns)
        self.exchange.advance(now_ns)
        self.publish_updates()

    def now(self) -> int:
        """The present instant, ns, after everything that was due by then has happened."""
        now_ns = max(self._clock(), self._seen_ns)
        if now_ns - self._seen_ns > CATCH_UP_NS_MAX:
            self._seen_ns = now_ns - CATCH_UP_NS_MAX
            self._show_standing_prices(self._seen_ns)
        while self._seen_ns < now_ns:
            self._happen(self._due(now_ns, EVENTS_AT_ONCE_MAX))
        self.exchange.advance(now_ns)
        self.publish_updates()
        return now_ns

    def begin(self) -> int:
        """Somebody subscribed to market data, now; a tape that waits for that begins right after what was seen."""
        now_ns = self.now()
        self.market.start(now_ns + 1)
        return now_ns

    @contextmanager
    def command(self) -> Iterator[int]:
        """The instant of a command; what the command did to orders is told when it is done, refused or not."""
        try:
            yield self.now()
        finally:
            self.publish_updates()

    def halt(self, symbol: str) -> None:
        """Trading in a symbol stops: it is quoted, but nothing is on offer and nothing is printed. Idempotent."""
        now_ns = self.now()
        if symbol not in self._halted:
            self._halted.add(symbol)
            self._tell_status(symbol, now_ns, *_HALTED)
        self._show_standing_quote(symbol, now_ns)

    def resume(self, symbol: str) -> None:
        """Trading goes on. Idempotent."""
        now_ns = self.now()
        if symbol in self._halted:
            self._halted.discard(symbol)
            self._tell_status(symbol, now_ns, *_RESUMED)
        self._show_standing_quote(symbol, now_ns)
        self.publish_updates()

    def publish_updates(self) -> None:
        """Tell listeners what a command has done to orders."""
        updates = self.exchange.drain_updates()
        self.witness(updates)
        if updates:
            for listener in self._listeners:
                listener.on_updates(updates)

    async def run(self) -> None:
        """Keep up with the clock until canceled; the market gets ready for the next minute on another thread."""
        prepared_minute = 0
        while True:
            self._turn()
            minute = (self._seen_ns + _PREPARE_AHEAD_NS) // MINUTE_NS
            if minute != prepared_minute and minute * MINUTE_NS > self._seen_ns:
                prepared_minute = minute
                await asyncio.to_thread(self.market.prepare, self._seen_ns)
            await asyncio.sleep(self._pause_s())

    def _turn(self) -> None:
        """One step of keeping up, as long as EVENTS_PER_TURN_MAX allows."""
        clock_ns = self._clock()
        if clock_ns - self._seen_ns > CATCH_UP_NS_MAX:
            self.now()
            return
        self._happen(self._due(clock_ns, EVENTS_PER_TURN_MAX))
        self.exchange.advance(self._seen_ns)
        self.publish_updates()

    def _due(self, until_ns: int, limit: int) -> list[Event]:
        """The next events up to an instant, which are seen from then on; equal times are never parted."""
        batch: list[Event] = []
        last_ns = self._seen_ns
        for due_ns, event in self.market.events(self._seen_ns, until_ns):
            if len(batch) >= limit and due_ns != last_ns:
                self._seen_ns = last_ns
                return batch
            batch.append(event)
            last_ns = due_ns
        self._seen_ns = max(self._seen_ns, until_ns)
        return batch

    def _happen(self, events: list[Event]) -> None:
        if self._halted:
            events = [event for event in events if not (isinstance(event, _PRINTS) and event.symbol in self._halted)]
        for event in events:
            if isinstance(event, Quote):
                self._show_quote(event, event.time_ns)
            elif isinstance(event, Trade) and self.market.is_regular(event):
                self.exchange.on_trade(event.time_ns, event.symbol, event.price, event.size)
        if events:
            for listener in self._listeners:
                listener.on_events(events)
        self.publish_updates()

    def _tell_status(self, symbol: str, now_ns: int, code: str, text: str, reason: str, reason_text: str) -> None:
        """A halt or its end, to whoever listens; crypto has no such word for it."""
        if "/" not in symbol:
            status = TradingStatus(symbol, now_ns, code, DataFeed.SIP, now_ns, text, reason, reason_text, "C")
            for listener in self._listeners:
                listener.on_events([status])

    def _show_quote(self, quote: Quote, now_ns: int) -> None:
        """In a halt, nobody can have what is quoted."""
        on_offer = quote.symbol not in self._halted
        bid_size, ask_size = (quote.bid_size, quote.ask_size) if on_offer else (0.0, 0.0)
        self.exchange.on_quote(now_ns, quote.symbol, quote.bid_price, bid_size, quote.ask_price, ask_size)

    def _show_standing_quote(self, symbol: str, now_ns: int) -> None:
        quote = self.market.latest_quote(symbol, now_ns)
        if quote is not None:
            self._show_quote(quote, now_ns)

    def _show_standing_prices(self, now_ns: int) -> None:
        """What a trader sees who looks up: the quote and the last print of every symbol."""
        for symbol in self.market.symbols:
            trade = self.market.latest_trade(symbol, now_ns)
            if trade is not None and symbol not in self._halted:
                self.exchange.on_trade(now_ns, symbol, trade.price, trade.size)
            self._show_standing_quote(symbol, now_ns)

    def _pause_s(self) -> float:
        """Until the next event; not at all when it is due already, though others get their turn."""
        due_ns = self.market.next_event_ns(self._seen_ns)
        wait_ms = _TURN_MS_MAX if due_ns is None else (due_ns - self._clock()) / NANOS_PER_MS
        return 0 if wait_ms <= 0 else min(max(wait_ms, _TURN_MS_MIN), _TURN_MS_MAX) / 1000


def _look_away(updates: Sequence[TradeUpdate]) -> None:
    """Nobody keeps a record."""
