"""Who listens to which market data, and the sending of it in batches.

Promises: every subscriber gets every event of its symbols, in order, exactly once; a message is encoded once per
encoding; many messages share a frame, of at most MESSAGES_PER_FRAME_MAX and FRAME_BYTES_MAX (alpaca-py takes no frame
above 1 MiB). A session that reads too slowly is ended with 407. Leaves the conversation to `data`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.domain.models.market_data import Bar, News, Quote
from gateway.domain.types import Channel
from gateway.emulator.books import Books
from gateway.emulator.exchange import TradeUpdate
from gateway.emulator.market import Event, Market, day_so_far
from gateway.emulator.option_market import OptionMarket
from gateway.emulator.streams.codec import Codec
from gateway.emulator.streams.outbox import Outbox
from gateway.emulator.wire import JsonObject
from gateway.emulator.wire_events import channel_of, message_of

MESSAGES_PER_FRAME_MAX: Final = 500
FRAME_BYTES_MAX: Final = 256 * 1024
CONNECTION_LIMIT: Final = 406
SLOW_CLIENT: Final = 407
POLICY_VIOLATION: Final = 1008

STOCKS: Final = "stocks"
CRYPTO: Final = "crypto"
OPTIONS: Final = "options"
NEWS: Final = "news"
EVERYTHING: Final = "*"


@dataclass(eq=False, slots=True)
class DataSession:
    """One authenticated socket of market data.

    Attributes:
        path: The endpoint, such as /v2/iex.
        kind: STOCKS, CRYPTO, OPTIONS or NEWS.
        subscriptions: Channel → symbols, in order of subscription.
        pending: Messages encoded in this batch and not yet framed.
    """

    session_id: int
    path: str
    kind: str
    codec: Codec
    outbox: Outbox
    key: str = ""
    subscriptions: dict[str, dict[str, None]] = field(default_factory=dict)
    pending: list[bytes] = field(default_factory=list)

    def say(self, message: JsonObject) -> None:
        """Send a control message, alone in its array."""
        if not self.outbox.put(self.codec.frame([self.codec.encode(message)])):
            self.end_slow()

    def flush(self) -> None:
        """Frame what is pending."""
        messages, self.pending = self.pending, []
        for frame_messages in _frames(messages):
            if not self.outbox.put(self.codec.frame(frame_messages)):
                self.end_slow()
                return

    def end_slow(self) -> None:
        """Tell a slow client that it is slow, and hang up."""
        words = {"T": "error", "code": SLOW_CLIENT, "msg": "slow client"}
        self.outbox.finish(self.codec.frame([self.codec.encode(words)]), POLICY_VIOLATION)


class DataHub:
    """All sessions of market data.

    Args:
        options: What the contracts do that somebody reads.

    Attributes:
        delivered: Messages put into frames, since the start.
    """

    def __init__(self, market: Market, options: OptionMarket) -> None:
        self._market = market
        self._books = Books()
        self._options = options
        self._index: dict[tuple[str, str, str], dict[DataSession, None]] = defaultdict(dict)
        self.sessions: dict[int, DataSession] = {}
        self.delivered = 0

    def count(self, path: str, key: str) -> int:
        """Sessions of one key at one endpoint."""
        return sum(1 for session in self.sessions.values() if (session.path, session.key) == (path, key))

    def join(self, session: DataSession) -> None:
        """Count a session from now on."""
        self.sessions[session.session_id] = session

    def leave(self, session: DataSession) -> None:
        """Forget a session."""
        self.sessions.pop(session.session_id, None)
        for channel, symbols in session.subscriptions.items():
            for symbol in symbols:
                self._unlink(session, channel, symbol)
        session.subscriptions.clear()

    def subscribe(self, session: DataSession, channel: str, symbols: Iterable[str]) -> None:
        """Add symbols to a channel."""
        for symbol in symbols:
            session.subscriptions.setdefault(channel, {})[symbol] = None
            self._index[session.kind, channel, symbol][session] = None

    def show_books(self, session: DataSession, symbols: Iterable[str], now_ns: int) -> None:
        """Order books begin with the whole book of each pair."""
        named = [*symbols]
        for symbol in self._market.symbols if EVERYTHING in named else named:
            quote = self._market.latest_quote(symbol, now_ns) if symbol in self._market.symbols else None
            book = self._books.stand(symbol, quote) if "/" in symbol else None
            if book is not None:
                session.pending.append(session.codec.encode(message_of(book, session.codec.time)))
        session.flush()

    def unsubscribe(self, session: DataSession, channel: str, symbols: Iterable[str]) -> None:
        """Take symbols from a channel; unknown ones are no error."""
        for symbol in symbols:
            session.subscriptions.get(channel, {}).pop(symbol, None)
            self._unlink(session, channel, symbol)

    def on_events(self, events: Sequence[Event]) -> None:
        """Encode and queue a batch."""
        touched: dict[DataSession, None] = {}
        for event in events:
            if isinstance(event, News):
                self._send(event, self._readers_of_article(event), touched)
            else:
                self._tell_event(CRYPTO if "/" in event.symbol else STOCKS, event, touched)
        for event in self._options.events(events, self._contracts()):
            self._tell_event(OPTIONS, event, touched)
        for session in touched:
            session.flush()

    def _tell_event(self, kind: str, event: Event, touched: dict[DataSession, None]) -> None:
        self._tell(kind, event, touched)
        if isinstance(event, Quote) and kind == CRYPTO:
            self._tell_book(event, touched)
        elif isinstance(event, Bar) and event.channel is Channel.BARS:
            self._tell_day(kind, event, touched)

    def _contracts(self) -> set[str]:
        """The option contracts that somebody reads: nobody may ask for all."""
        return {symbol for kind, _, symbol in self._index if kind == OPTIONS}

    def on_updates(self, updates: Sequence[TradeUpdate]) -> None:
        """Orders are no market data."""

    def _readers(self, kind: str, channel: str, symbol: str) -> dict[DataSession, None]:
        index = self._index
        named, all_symbols = index.get((kind, channel, symbol)), index.get((kind, channel, EVERYTHING))
        if named and all_symbols:
            return named | all_symbols
        return named or all_symbols or {}

    def _tell(self, kind: str, event: Event, touched: dict[DataSession, None]) -> None:
        self._send(event, self._readers(kind, channel_of(event), event.symbol), touched)

    def _readers_of_article(self, article: News) -> dict[DataSession, None]:
        """Who reads about one of its symbols, or everything: each is sent it once."""
        found: dict[DataSession, None] = {}
        for symbol in (*article.symbols, EVERYTHING):
            found |= self._index.get((NEWS, "news", symbol), {})
        return found

    def _send(self, event: Event, readers: Mapping[DataSession, None], touched: dict[DataSession, None]) -> None:
        if not readers:
            return
        encoded: dict[str, bytes] = {}
        for session in readers:
            codec = session.codec
            if codec.name not in encoded:
                encoded[codec.name] = codec.encode(message_of(event, codec.time))
            session.pending.append(encoded[codec.name])
            touched[session] = None
        self.delivered += len(readers)

    def _tell_book(self, quote: Quote, touched: dict[DataSession, None]) -> None:
        """What a quote changes in the order book of its pair; nobody's book is not kept."""
        if not self._readers(CRYPTO, "orderbooks", quote.symbol):
            self._books.forget(quote.symbol)
            return
        book = self._books.follow(quote)
        if book is not None:
            self._tell(CRYPTO, book, touched)

    def _tell_day(self, kind: str, bar: Bar, touched: dict[DataSession, None]) -> None:
        """With each minute's bar, the day's bar so far; it is computed only when somebody listens."""
        day = day_so_far(self._market, bar) if self._readers(kind, "dailyBars", bar.symbol) else None
        if day is not None:
            self._tell(kind, day, touched)

    def _unlink(self, session: DataSession, channel: str, symbol: str) -> None:
        place = (session.kind, channel, symbol)
        readers = self._index.get(place)
        if readers is not None:
            readers.pop(session, None)
            if not readers:
                del self._index[place]


def _frames(messages: list[bytes]) -> Iterable[list[bytes]]:
    """Cut messages into frames within both limits."""
    frame: list[bytes] = []
    size = 0
    for message in messages:
        if frame and (len(frame) == MESSAGES_PER_FRAME_MAX or size + len(message) > FRAME_BYTES_MAX):
            yield frame
            frame, size = [], 0
        frame.append(message)
        size += len(message) + 1
    if frame:
        yield frame
