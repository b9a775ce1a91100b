"""The four repositories straight onto the trading floor: no socket, no JSON, for fast application tests.

Promises: the same answers and the same domain errors as the Alpaca adapters pointed at this emulator; one contract
suite runs over both. The clock is the floor's: a test moves it and calls `InProcessVenue.catch_up`. Leaves deadlines,
budgets and retries out: nothing here can be slow or lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from gateway.domain.errors import OrderNotFound, OrderRejected, OutcomeUnknown, SymbolUnknown, VenueUnreachable
from gateway.domain.interfaces import (
    AccountRepository,
    MarketDataListener,
    MarketDataRepository,
    OrderUpdateListener,
    StreamingRepository,
    TradingRepository,
    VenueOrderFilter,
)
from gateway.domain.models.account import Account, Activity, Position
from gateway.domain.models.market_data import Page
from gateway.domain.models.orders import OrderChanges, OrderSpec, VenueOrder, VenueOrderUpdate
from gateway.domain.models.risk import CancelAnswer
from gateway.domain.types import CallContext, DataFeed, FeedState, is_symbol
from gateway.emulator.exchange import ExchangeOrder, NewOrder, Refusal, TradeUpdate
from gateway.emulator.exchange.refusals import client_order_id_taken
from gateway.emulator.floor import TradingFloor
from gateway.emulator.in_process_feed import InProcessFeed
from gateway.emulator.in_process_market import InProcessMarketData
from gateway.emulator.market import Event

ORDERS_PER_PAGE_MAX: Final = 500
ACTIVITIES_PER_PAGE_MAX: Final = 100

_NOT_FOUND: Final = 404
_BAD_VALUE: Final = 422


class InProcessVenue:
    """One floor and its four repositories.

    Attributes:
        floor: Opened by the constructor; `floor.run()` keeps it up with the clock, or `catch_up` does by hand.
        trading, account, market_data, streaming: The repositories.

    Args:
        floor: One account at one market.
        clock: The floor's own; the receive time of what is told.
    """

    def __init__(self, floor: TradingFloor, clock: Callable[[], int]) -> None:
        self.floor = floor
        floor.open()
        self.trading = InProcessTrading(floor)
        self.account = InProcessAccount(floor)
        self.market_data = InProcessMarketData(floor, clock)
        self.streaming = InProcessStreaming(floor, clock)

    @property
    def repositories(self) -> tuple[TradingRepository, AccountRepository, MarketDataRepository, StreamingRepository]:
        """All four, as the gateway knows them."""
        return self.trading, self.account, self.market_data, self.streaming

    def catch_up(self) -> int:
        """Let everything happen that is due by the clock; listeners hear it before this returns."""
        return self.floor.now()


class InProcessTrading:
    """TradingRepository."""

    def __init__(self, floor: TradingFloor) -> None:
        self._floor = floor

    async def submit_order(self, context: CallContext, venue_client_order_id: str, spec: OrderSpec) -> VenueOrder:
        """Place one order."""
        if not is_symbol(spec.symbol):
            raise SymbolUnknown("no asset is spelled like this")
        with _changing(), self._floor.command() as now_ns:
            return venue_order_of(self._floor.exchange.submit(now_ns, NewOrder(spec, venue_client_order_id)))

    async def replace_order(
        self,
        context: CallContext,
        venue_order_id: str,
        venue_client_order_id: str,
        changes: OrderChanges,
    ) -> VenueOrder:
        """Change one order; `changes.quantity` is passed on as it is."""
        with _changing(), self._floor.command() as now_ns:
            return venue_order_of(self._floor.exchange.replace(now_ns, venue_order_id, changes, venue_client_order_id))

    async def cancel_order(self, context: CallContext, venue_order_id: str) -> None:
        """End one order."""
        try:
            with _changing(), self._floor.command() as now_ns:
                self._floor.exchange.cancel(now_ns, venue_order_id)
        except OrderRejected as error:
            if error.metadata["venue_http_status"] == str(_NOT_FOUND):
                raise OrderNotFound("the venue does not know this order") from error
            raise

    async def cancel_all_orders(self, context: CallContext) -> list[CancelAnswer]:
        """End every open order."""
        with _changing(), self._floor.command() as now_ns:
            canceled = self._floor.exchange.cancel_all(now_ns)
        return [CancelAnswer(entry.order_id, entry.status) for entry in canceled]

    async def get_order(self, context: CallContext, venue_order_id: str) -> VenueOrder:
        """One order with its legs."""
        self._floor.now()
        try:
            return venue_order_of(self._floor.exchange.order(venue_order_id, nested=True))
        except Refusal as refusal:
            raise OrderNotFound("the venue does not know this order") from refusal

    async def find_order(self, context: CallContext, venue_client_order_id: str) -> VenueOrder | None:
        """One order by the id it was sent under; None when the venue does not know it."""
        self._floor.now()
        try:
            return venue_order_of(self._floor.exchange.order_by_client_id(venue_client_order_id))
        except Refusal:
            return None

    async def list_orders(
        self,
        context: CallContext,
        status: VenueOrderFilter,
        *,
        after_ns: int | None = None,
        until_ns: int | None = None,
        oldest_first: bool = False,
        limit: int = ORDERS_PER_PAGE_MAX,
    ) -> list[VenueOrder]:
        """Orders by submit time, legs nested in their parents."""
        self._floor.now()
        orders = self._floor.exchange.orders(
            status=status.value,
            limit=max(1, min(limit, ORDERS_PER_PAGE_MAX)),
            after_ns=after_ns,
            until_ns=until_ns,
            direction="asc" if oldest_first else "desc",
            nested=True,
        )
        return [venue_order_of(order) for order in orders]


class InProcessAccount:
    """AccountRepository."""

    def __init__(self, floor: TradingFloor) -> None:
        self._floor = floor

    async def get_account(self, context: CallContext) -> Account:
        """The account now."""
        return self._floor.exchange.account(self._floor.now())

    async def list_positions(self, context: CallContext) -> list[Position]:
        """All positions, by symbol."""
        return self._floor.exchange.positions(self._floor.now())

    async def list_fill_activities(
        self,
        context: CallContext,
        *,
        after_ns: int | None = None,
        page_token: str = "",
        page_size: int = ACTIVITIES_PER_PAGE_MAX,
    ) -> Page[Activity]:
        """Fills, oldest first."""
        self._floor.now()
        size = max(1, min(page_size, ACTIVITIES_PER_PAGE_MAX))
        with _reading():
            found = self._floor.exchange.activities(
                types=["FILL"], after_ns=after_ns, direction="asc", page_size=size, page_token=page_token or None
            )
        return Page(tuple(found), found[-1].activity_id if len(found) == size else "")


class InProcessStreaming:
    """StreamingRepository: one connection per feed, and one of the order feed.

    Attributes:
        orders: The order feed's connection, for a test to break.
    """

    def __init__(self, floor: TradingFloor, clock: Callable[[], int]) -> None:
        self._floor = floor
        self._clock = clock
        self._feeds: dict[DataFeed, InProcessFeed] = {}
        self.orders: InProcessOrders | None = None
        floor.listen(self)

    async def open_market_data(self, feed: DataFeed, listener: MarketDataListener) -> InProcessFeed:
        """A connection that is live from its first subscription on.

        Raises:
            RuntimeError: The feed has one already.
        """
        taken = self._feeds.get(feed)
        if taken is not None and not taken.is_closed:
            raise RuntimeError(f"{feed.value} has its connection already")
        self._feeds[feed] = InProcessFeed(self._floor, feed, listener, self._clock, time.monotonic)
        return self._feeds[feed]

    async def open_order_updates(self, listener: OrderUpdateListener) -> InProcessOrders:
        """Listen from now on.

        Raises:
            RuntimeError: Somebody listens already.
        """
        if self.orders is not None and not self.orders.is_closed:
            raise RuntimeError("the order feed has its connection already")
        self.orders = InProcessOrders(listener, self._clock)
        listener.on_state(FeedState.CONNECTING, "", 0)
        listener.on_state(FeedState.RECONCILING, "", 0)
        return self.orders

    def on_events(self, events: Sequence[Event]) -> None:
        """The floor's market events."""
        for feed in self._feeds.values():
            feed.publish(events)

    def on_updates(self, updates: Sequence[TradeUpdate]) -> None:
        """The floor's order updates."""
        if self.orders is not None:
            self.orders.publish(updates)


class InProcessOrders:
    """OrderUpdateConnection: listening from the moment it is opened.

    Attributes:
        is_connected: While False nothing is told, and nobody is told that.
        is_closed: For good.
    """

    def __init__(self, listener: OrderUpdateListener, clock: Callable[[], int]) -> None:
        self._listener = listener
        self._clock = clock
        self.is_connected = True
        self.is_closed = False

    async def close(self) -> None:
        """Hear nothing any more. Idempotent."""
        self.is_closed = True

    def publish(self, updates: Sequence[TradeUpdate]) -> None:
        """Tell the listener, unless the connection is down: the feed replays nothing."""
        if self.is_connected and not self.is_closed:
            for update in updates:
                self._listener.on_update(venue_update_of(update, self._clock()))

    def break_off(self, detail: str, venue_error_code: int = 0) -> None:
        """Lose the connection, as a test wishes; what happens now is never told."""
        self.is_connected = False
        self._listener.on_state(FeedState.DISCONNECTED, detail, venue_error_code)

    def come_back(self) -> None:
        """Be connected again."""
        self.is_connected = True
        self._listener.on_state(FeedState.CONNECTING, "", 0)
        self._listener.on_state(FeedState.RECONCILING, "", 0)


def venue_order_of(order: ExchangeOrder) -> VenueOrder:
    """An exchange's order as the domain knows venue orders."""
    return VenueOrder(
        venue_order_id=order.id,
        venue_client_order_id=order.client_order_id,
        venue_status=order.status.value,
        symbol=order.symbol,
        asset_class=order.asset_class,
        side=order.side,
        order_type=order.order_type,
        time_in_force=order.time_in_force,
        order_class=order.order_class,
        quantity=order.quantity,
        notional=order.notional,
        filled_quantity=order.filled_quantity,
        filled_average_price=order.filled_average_price,
        limit_price=order.limit_price,
        stop_price=order.stop_price,
        trail_price=order.trail_price,
        trail_percent=order.trail_percent,
        high_water_mark=order.hwm,
        extended_hours=order.extended_hours,
        replaces=order.replaces,
        replaced_by=order.replaced_by,
        legs=tuple(venue_order_of(leg) for leg in order.legs or ()),
        create_time_ns=order.created_ns,
        submit_time_ns=order.submitted_ns,
        update_time_ns=order.updated_ns,
        fill_time_ns=order.filled_ns,
        cancel_time_ns=order.canceled_ns,
        fail_time_ns=order.failed_ns,
        expire_time_ns=order.expired_ns,
        expiry_time_ns=order.expires_ns,
    )


def venue_update_of(update: TradeUpdate, receive_time_ns: int) -> VenueOrderUpdate:
    """A message of the order feed."""
    return VenueOrderUpdate(
        event=update.event,
        order=venue_order_of(update.order),
        receive_time_ns=receive_time_ns,
        event_time_ns=update.time_ns,
        execution_id=update.execution_id,
        price=update.price,
        quantity=update.quantity,
        position_quantity=update.position_quantity,
    )


@contextmanager
def _changing() -> Iterator[None]:
    """Refusals of a change as the adapters raise them."""
    try:
        yield
    except Refusal as refusal:
        if refusal == client_order_id_taken():
            raise OutcomeUnknown(refusal.message, duplicate_id=True) from refusal
        metadata = {
            "venue_http_status": str(refusal.http_status),
            "venue_code": str(refusal.code),
            "venue_message": refusal.message,
        }
        is_bad_value = refusal.http_status == _BAD_VALUE
        raise OrderRejected(
            f"the venue refused: {refusal.message}", is_bad_value=is_bad_value, metadata=metadata
        ) from refusal


@contextmanager
def _reading() -> Iterator[None]:
    """Refusals of a read as the adapters raise them."""
    try:
        yield
    except Refusal as refusal:
        raise VenueUnreachable(f"the venue answered a read with HTTP {refusal.http_status}") from refusal
