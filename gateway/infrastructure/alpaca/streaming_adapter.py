"""StreamingRepository on alpaca-py: one socket per feed, kept up, changed by difference, and never silent.

A connection runs as one task. It starts with the first subscription and is gone, socket included, when the
last one leaves or `close` returns. Listeners hear every step; one that raises is logged and costs nobody else
anything. What a gap means, and filling it, is left to the services above.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence, Set
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import structlog
from websockets.exceptions import ConnectionClosed

from gateway.domain.interfaces import MarketDataListener, OrderUpdateListener
from gateway.domain.models.market_data import SubscriptionSet
from gateway.domain.models.orders import VenueOrderUpdate
from gateway.domain.types import AssetClass, Channel, DataFeed, FeedState, asset_class_of, is_quoted_symbol
from gateway.infrastructure.alpaca.clients import ClientFactory
from gateway.infrastructure.alpaca.converters.fields import JsonObject, Unreadable
from gateway.infrastructure.alpaca.converters.market_data import quotes_from_frame
from gateway.infrastructure.alpaca.converters.market_stream import KINDS
from gateway.infrastructure.alpaca.reconnect import BackOff, Crowding, StreamRefused, keep_connected
from gateway.infrastructure.alpaca.subscriptions import Subscriptions
from gateway.infrastructure.alpaca.unreadable_frames import UnreadableFrames

if TYPE_CHECKING:  # it imports alpaca-py, which takes its time
    from gateway.infrastructure.alpaca.data_stream import ReadTime

ANSWERS_TO_A_CHANGE: Final = frozenset({400, 405, 409, 410, 411, 500})
"""Error frames that answer a subscribe or unsubscribe; 407, say, speaks about the connection."""

ARTICLE_CLASSES: Final = frozenset({AssetClass.US_EQUITY, AssetClass.CRYPTO})
"""What articles are about; the venue's name underlyings, no option contracts."""

ANSWER_WAIT_S: Final = 10.0
"""How long the venue may take to answer a change of the subscriptions."""

_log = structlog.get_logger(__name__)


class StreamingAdapter:
    """What Alpaca says by itself.

    Args:
        factory: Makes the streams.
        clock_ns: Nanoseconds since the epoch; the receive time of every value.
        back_off: Waits between attempts to connect.
        rng: For their jitter.
        monotonic: Seconds: by it, too, is noted when a frame was read.
    """

    def __init__(
        self,
        factory: ClientFactory,
        clock_ns: Callable[[], int] = time.time_ns,
        back_off: BackOff | None = None,
        rng: random.Random | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._factory = factory
        self._clock_ns = clock_ns
        self._back_off = back_off or BackOff()
        self._rng = rng or random.Random()  # noqa: S311  # jitter, no secret
        self._monotonic = monotonic
        self._open: dict[DataFeed | None, MarketDataFeed | OrderFeed] = {}

    async def open_market_data(self, feed: DataFeed, listener: MarketDataListener) -> MarketDataFeed:
        """A connection object; the socket opens with its first subscription.

        Raises:
            RuntimeError: The feed has one already: Alpaca gives an account one connection per feed.
        """
        self._check_free(feed)
        connection = MarketDataFeed(
            self._factory,
            feed,
            listener,
            clock_ns=self._clock_ns,
            monotonic=self._monotonic,
            back_off=self._back_off,
            rng=self._rng,
        )
        self._open[feed] = connection
        return connection

    async def open_order_updates(self, listener: OrderUpdateListener) -> OrderFeed:
        """Begin to listen; returns at once, connecting goes on behind.

        Raises:
            RuntimeError: Somebody listens already.
        """
        self._check_free(None)
        connection = OrderFeed(self._factory, listener, clock_ns=self._clock_ns, back_off=self._back_off, rng=self._rng)
        self._open[None] = connection
        connection.start()
        return connection

    async def close(self) -> None:
        """Close every connection; their sockets are closed when this returns."""
        await asyncio.gather(*(connection.close() for connection in self._open.values()))

    def _check_free(self, feed: DataFeed | None) -> None:
        taken = self._open.get(feed)
        if taken is not None and not taken.is_closed:
            raise RuntimeError(f"{feed.value if feed else 'the order feed'} has its connection already")


class _Kept:
    """A connection that runs as one task, and is closed once; its children open, read and shut it.

    Args:
        name: In the log.
        on_state: The listener's.
        back_off: Waits between attempts to connect.
        rng: For their jitter.
    """

    def __init__(
        self, name: str, on_state: Callable[[FeedState, str, int], None], back_off: BackOff, rng: random.Random
    ) -> None:
        self._name = name
        self._on_state = on_state
        self._state = FeedState.DISCONNECTED
        self._back_off = back_off
        self._crowding = Crowding(back_off)
        self._rng = rng
        self._task: asyncio.Task[None] | None = None
        self._is_stopping = False
        self._turning = asyncio.Lock()  # on or off: the old socket is closed before a new one opens
        self.is_closed = False
        self.last_code = 0

    def start(self) -> None:
        """Begin to connect; nothing happens while it already does."""
        if self._task is None and not self.is_closed:
            loop = keep_connected(self, self._back_off, rng=self._rng, crowding=self._crowding)  # type: ignore[arg-type]  # by its children
            self._task = asyncio.create_task(loop, name=f"alpaca-{self._name}")

    async def close(self) -> None:
        """End it; the socket is closed when this returns. Idempotent."""
        self.is_closed = True
        async with self._turning:
            await self._stop()

    def on_attempt(self) -> None:
        """An attempt begins."""
        self.last_code = 0
        self._set_state(FeedState.CONNECTING, "", 0)

    def on_lost(self, detail: str, code: int) -> None:
        """The attempt failed, or the connection ended."""
        _log.warning("feed_disconnected", feed=self._name, detail=detail, venue_error_code=code)
        self._set_state(FeedState.DISCONNECTED, detail, code)

    def on_error_frame(self, code: int, text: str) -> None:
        """Told with the state as it is."""
        self.last_code = code
        _log.warning("feed_error", feed=self._name, detail=text, venue_error_code=code)
        self._tell(self._on_state, self._state, text, code)

    async def _stop(self) -> bool:
        """Whether there was something to stop. Where its caller is canceled, the next one waits for what is left."""
        if self._task is None:
            return False
        if not self._is_stopping:  # once: the second time would break off the closing of the socket
            self._is_stopping = True
            self._task.cancel()
        await asyncio.wait([self._task])
        self._task, self._is_stopping = None, False
        return True

    def _set_state(self, state: FeedState, detail: str, code: int) -> None:
        self._state = state
        self._tell(self._on_state, state, detail, code)

    def _tell(self, told: Callable[..., None], *facts: Any) -> None:
        try:
            told(*facts)
        except Exception:  # a bug of a listener: the socket goes on
            _log.exception("listener_failed", feed=self._name)


class MarketDataFeed(_Kept):
    """MarketDataConnection of one feed."""

    def __init__(
        self,
        factory: ClientFactory,
        feed: DataFeed,
        listener: MarketDataListener,
        *,
        clock_ns: Callable[[], int],
        monotonic: Callable[[], float],
        back_off: BackOff,
        rng: random.Random,
    ) -> None:
        super().__init__(feed.value, listener.on_state, back_off, rng)
        self._feed = feed
        self._listener = listener
        self._subscriptions = Subscriptions()
        self._is_open = False
        self._sending = asyncio.Lock()
        self._unreadable = UnreadableFrames(self._tell_unreadable)
        self._answer_timer: asyncio.TimerHandle | None = None
        self._reading: asyncio.Timeout | None = None
        self._stream = factory.data_stream(feed)
        self._stream.listen(self, clock_ns, monotonic)

    async def set_subscriptions(self, wanted: SubscriptionSet) -> None:
        """Change the subscriptions by difference.

        Raises:
            ValueError: A symbol is not spelled as those of this feed are; nothing changed.
        """
        _check_spelling(self._feed, wanted)
        self._subscriptions.want(wanted)
        async with self._turning:
            if self.is_closed:
                return
            if (self._subscriptions.is_empty or self._is_stopping) and await self._stop():
                self._set_state(FeedState.DISCONNECTED, "nothing is subscribed", 0)
            if not self._subscriptions.is_empty:
                self.start()
        await self._flush()

    # What `keep_connected` asks for.

    async def open(self) -> None:
        """Connect, authenticate, and ask for everything that is wanted."""
        await self._stream.open()
        self._is_open = True
        self._subscriptions.connected()
        await self._flush()

    async def serve(self) -> None:
        """Read until the connection ends.

        Raises:
            StreamRefused: What was asked for first is not answered: nothing would ever come.
        """
        try:
            async with asyncio.timeout(None) as self._reading:
                await self._stream.serve()
        except TimeoutError:
            raise StreamRefused("the subscriptions were not answered") from None

    async def shut(self) -> None:
        """Close the socket."""
        self._is_open = False
        self._reading = None
        self._answered()
        self._unreadable.end()
        await self._stream.close()

    # What the stream tells.

    def on_messages(self, messages: Sequence[JsonObject], kinds: Set[str], read: ReadTime) -> None:
        """A frame of market data, or a part of a large one: one call of the listener for each channel in it."""
        if self._feed is DataFeed.NEWS and kinds != {"n"}:
            self.on_unreadable("no article")
            messages = [message for message in messages if message["T"] == "n"]
        elif kinds == {"q"}:
            self._quotes(messages, read)
            return
        quotes = [message for message in messages if message["T"] == "q"]
        if quotes:
            self._quotes(quotes, read)
            messages = [message for message in messages if message["T"] != "q"]
        for channel, values in self._each(messages, read.wall_ns).items():
            self._tell(self._listener.on_values, channel, values, read.monotonic_s)

    def on_acknowledgement(self, message: JsonObject) -> None:
        """The venue's whole set."""
        self._answered()
        self._subscriptions.acknowledge(message)
        self._tell(self._listener.on_subscriptions, self._subscriptions.acknowledged)

    def on_error_frame(self, code: int, text: str) -> None:
        """Told with the state as it is."""
        if code in ANSWERS_TO_A_CHANGE:
            self._answered()
            self._subscriptions.refuse()
        super().on_error_frame(code, text)

    def on_unreadable(self, detail: str) -> None:
        """Told, or counted for a moment; the stream goes on."""
        self._unreadable.note(detail)

    async def after_control(self) -> None:
        """Send what follows, and be live once everything is answered."""
        await self._flush()
        if self._state is not FeedState.LIVE and self._subscriptions.is_settled:
            self._set_state(FeedState.LIVE, "", 0)

    def _tell_unreadable(self, count: int, detail: str) -> None:
        _log.warning("feed_unreadable", feed=self._name, detail=detail, count=count)
        self._tell(self._on_state, self._state, f"unreadable: {detail}", 0)

    def _quotes(self, messages: Sequence[JsonObject], read: ReadTime) -> None:
        try:
            quotes = quotes_from_frame(messages, self._feed, read.wall_ns)
        except Unreadable:
            found: dict[Channel, list[Any]] = self._each(messages, read.wall_ns)
            quotes = found.get(Channel.QUOTES, [])
        if quotes:
            self._tell(self._listener.on_quotes, quotes, read.monotonic_s)

    def _each(self, messages: Sequence[JsonObject], now_ns: int) -> dict[Channel, list[Any]]:
        """Message by message: the values of each channel in order; what cannot be read is told and left out."""
        values: dict[Channel, list[Any]] = {}
        unreadable: list[str] = []
        for message in messages:
            known = KINDS.get(message["T"])
            if known is None:
                unreadable.append("its kind is unknown")
                continue
            channel, convert = known
            try:
                value = convert(message.get("S"), message, self._feed, now_ns)
            except Unreadable as error:
                unreadable.append(str(error))
            else:
                values.setdefault(channel, []).append(value)
        if unreadable:
            self.on_unreadable(f"{len(unreadable)} of a frame, the first because {unreadable[0]}")
        return values

    async def _flush(self) -> None:
        async with self._sending:
            if not self._is_open:
                return  # everything is sent when it is
            with suppress(ConnectionClosed):  # the reading side notices, and everything is sent anew
                for change in self._subscriptions.next_changes():
                    await self._stream.send(change.to_alpaca())
            self._wait_for_answers()

    def _wait_for_answers(self) -> None:
        if self._is_open and self._answer_timer is None and not self._subscriptions.is_settled:
            self._answer_timer = asyncio.get_running_loop().call_later(ANSWER_WAIT_S, self._on_unanswered)

    def _answered(self) -> None:
        if self._answer_timer is not None:
            self._answer_timer.cancel()
            self._answer_timer = None

    def _on_unanswered(self) -> None:
        """A feed that flows goes on without what was asked for; one that never came up is connected anew."""
        self._answer_timer = None
        _log.warning("feed_unanswered", feed=self._name, state=self._state.value)
        if self._state is FeedState.LIVE:
            self._subscriptions.give_up()
            self._wait_for_answers()  # the changes asked for since then may stay unanswered as well
        elif self._reading is not None:
            self._reading.reschedule(asyncio.get_running_loop().time())


class OrderFeed(_Kept):
    """OrderUpdateConnection."""

    def __init__(
        self,
        factory: ClientFactory,
        listener: OrderUpdateListener,
        *,
        clock_ns: Callable[[], int],
        back_off: BackOff,
        rng: random.Random,
    ) -> None:
        super().__init__("orders", listener.on_state, back_off, rng)
        self._listener = listener
        self._stream = factory.order_stream()
        self._stream.listen(self, clock_ns)

    async def open(self) -> None:
        """Connect, authenticate, listen."""
        await self._stream.open()

    async def serve(self) -> None:
        """Read until the connection ends."""
        await self._stream.serve()

    async def shut(self) -> None:
        """Close the socket."""
        await self._stream.close()

    def on_listening(self) -> None:
        """Updates come from here on; what came before has to be read another way."""
        self._set_state(FeedState.RECONCILING, "", 0)

    def on_update(self, update: VenueOrderUpdate) -> None:
        """One update."""
        self._tell(self._listener.on_update, update)

    def on_unreadable(self, detail: str, venue_order_id: str) -> None:
        """A frame that could not be read; the stream goes on."""
        _log.warning("order_update_unreadable", detail=detail, venue_order_id=venue_order_id)
        self._tell(self._listener.on_unreadable, detail, venue_order_id)


def _check_spelling(feed: DataFeed, wanted: SubscriptionSet) -> None:
    classes = ARTICLE_CLASSES if feed.asset_class is None else {feed.asset_class}
    for symbols in wanted.symbols.values():
        if not all(is_quoted_symbol(symbol) for symbol in symbols) or not {*map(asset_class_of, symbols)} <= classes:
            raise ValueError(f"a symbol is not spelled as those of {feed.value} are")
