"""Listeners that note what they hear."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.domain.models.market_data import Bar, LiveValue, Quote, SubscriptionSet, Trade
from gateway.domain.models.orders import VenueOrderUpdate
from gateway.domain.types import Channel, FeedState


class MarketNotes:
    """A MarketDataListener; with `failing` it raises at every call, after noting it."""

    def __init__(self, *, failing: bool = False) -> None:
        self.frames: list[list[Quote]] = []
        self.values: dict[Channel, list[LiveValue]] = {}
        self.calls = 0
        self.sets: list[SubscriptionSet] = []
        self.states: list[tuple[FeedState, str, int]] = []
        self._failing = failing

    @property
    def quotes(self) -> list[Quote]:
        return [quote for frame in self.frames for quote in frame]

    @property
    def trades(self) -> list[Trade]:
        return [value for value in self.values.get(Channel.TRADES, ()) if isinstance(value, Trade)]

    @property
    def bars(self) -> list[Bar]:
        return [value for value in self.values.get(Channel.BARS, ()) if isinstance(value, Bar)]

    def state_names(self) -> list[str]:
        return [state.value for state, _, _ in self.states]

    def on_quotes(self, quotes: Sequence[Quote], read_at: float) -> None:
        self.frames.append(list(quotes))
        self._fail()

    def on_values(self, channel: Channel, values: Sequence[LiveValue], read_at: float) -> None:
        self.calls += 1
        self.values.setdefault(channel, []).extend(values)
        self._fail()

    def on_subscriptions(self, acknowledged: SubscriptionSet) -> None:
        self.sets.append(acknowledged)
        self._fail()

    def on_state(self, state: FeedState, detail: str, venue_error_code: int) -> None:
        self.states.append((state, detail, venue_error_code))
        self._fail()

    def _fail(self) -> None:
        if self._failing:
            raise TimeoutError("a listener must not raise, and this one does")


class OrderNotes:
    """An OrderUpdateListener."""

    def __init__(self, *, failing: bool = False) -> None:
        self.updates: list[VenueOrderUpdate] = []
        self.unreadable: list[tuple[str, str]] = []
        self.states: list[tuple[FeedState, str, int]] = []
        self._failing = failing

    def state_names(self) -> list[str]:
        return [state.value for state, _, _ in self.states]

    def on_update(self, update: VenueOrderUpdate) -> None:
        self.updates.append(update)
        self._fail()

    def on_unreadable(self, detail: str, venue_order_id: str) -> None:
        self.unreadable.append((detail, venue_order_id))
        self._fail()

    def on_state(self, state: FeedState, detail: str, venue_error_code: int) -> None:
        self.states.append((state, detail, venue_error_code))
        self._fail()

    def _fail(self) -> None:
        if self._failing:
            raise ValueError("a listener must not raise, and this one does")
