"""The order feed between the exchange and one life of the gateway: late, lossy, doubled, mute, cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gateway.domain.interfaces import OrderUpdateListener
from gateway.domain.types import DataFeed, FeedState
from gateway.emulator.exchange import TradeUpdate
from gateway.emulator.in_process import venue_update_of
from tests.chaos.simulation.life import Life
from tests.chaos.simulation.venue import Exchange
from tests.chaos.simulation.weather import Fault

DELAY_S: Final = (0.000_5, 0.020)
LATE_S: Final = (0.5, 60.0)
SWAPPED_S: Final = (0.02, 0.5)
CONNECT_S: Final = (0.01, 0.3)
MUTE_S: Final = (1.0, 30.0)
CUT_S: Final = (0.05, 10.0)


class FeedRoad:
    """`StreamingRepository` of one life: the order feed; market data comes another way."""

    def __init__(self, exchange: Exchange, life: Life) -> None:
        self._exchange = exchange
        self._life = life
        self._random = exchange.weather.random
        self._listener: OrderUpdateListener | None = None
        self._is_connected = False
        self._is_closed = False
        self._mute_until = 0.0
        self._last_due = 0.0

    async def open_market_data(self, feed: DataFeed, listener: Any) -> Any:
        """Nobody asks."""
        raise AssertionError("the simulation has no market data feed")

    async def open_order_updates(self, listener: OrderUpdateListener) -> FeedRoad:
        """Begin to connect."""
        self._listener = listener
        self._exchange.venue.floor.listen(self)
        listener.on_state(FeedState.CONNECTING, "", 0)
        self._life.later(self._random.uniform(*CONNECT_S), self._connect)
        return self

    async def close(self) -> None:
        """Hear nothing any more."""
        self._is_closed = True

    def heal(self) -> None:
        """Speak again."""
        self._mute_until = 0.0

    def on_events(self, events: Sequence[Any]) -> None:
        """Prices come another way."""

    def on_updates(self, updates: Sequence[TradeUpdate]) -> None:
        """The exchange's news, as far as this life hears them."""
        if self._life.is_dead or self._is_closed or not self._is_connected:
            return
        weather = self._exchange.weather
        if weather.strikes(weather.mute_rate / 10):
            self._mute_until = self._now() + self._random.uniform(*MUTE_S)
        if weather.strikes(weather.cut_rate / 5):
            self._cut()
            return
        if self._now() < self._mute_until:
            self._exchange.fire(Fault.FEED_MUTE)
            return
        for update in updates:
            self._send(update)

    def _send(self, update: TradeUpdate) -> None:
        fault = self._exchange.weather.of_event()
        if fault is not None:
            self._exchange.fire(fault)
        if fault is Fault.EVENT_DROPPED:
            return
        due = max(self._last_due, self._now() + self._random.uniform(*DELAY_S))
        if fault is Fault.EVENT_LATE:
            due = self._now() + self._random.uniform(*LATE_S)
        elif fault is Fault.EVENT_SWAPPED:
            due += self._random.uniform(*SWAPPED_S)
        else:
            self._last_due = due
        self._life.later(due - self._now(), self._tell, update, fault)
        if fault is Fault.EVENT_DOUBLED:
            self._life.later(due - self._now() + self._random.choice((0.0, 0.3, 5.0)), self._tell, update, None)

    def _tell(self, update: TradeUpdate, fault: Fault | None) -> None:
        if self._is_closed or self._listener is None or not self._is_connected:
            return
        self._life.crash_point("update")
        if self._life.is_dead:
            return
        if fault is Fault.EVENT_UNREADABLE:
            self._listener.on_unreadable("no JSON", update.order.id if self._random.random() < 0.5 else "")
            return
        self._listener.on_update(venue_update_of(update, self._exchange.record.now()))

    def _cut(self) -> None:
        self._exchange.fire(Fault.FEED_CUT)
        self._is_connected = False
        assert self._listener is not None
        self._listener.on_state(FeedState.DISCONNECTED, "cut", 0)
        self._life.later(self._random.uniform(*CUT_S), self._connect)

    def _connect(self) -> None:
        if self._is_closed or self._listener is None:
            return
        self._is_connected = True
        self._listener.on_state(FeedState.CONNECTING, "", 0)
        self._listener.on_state(FeedState.RECONCILING, "", 0)

    def _now(self) -> float:
        return self._exchange.loop.time()
