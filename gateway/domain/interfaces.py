"""What the inner rooms need of the outside: four repositories, the journal and the request gate.

Every repository method takes a `CallContext` first, returns domain nouns and raises domain errors alone.
Repositories report facts; they never retry, judge or cache. In-process and Alpaca implementations give the
same answers: one contract suite runs over both.

Errors, unless a method says otherwise: `VenueUnreachable` (a read failed, or certainly nothing was sent),
`VenueRateLimited`, `VenueAuthentication`. A change adds `OutcomeUnknown` (it may have taken effect) and
`OrderRejected` (the venue proved that it had none).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from enum import StrEnum
from typing import Protocol

from gateway.domain.journal import OrderArchive as OrderArchive, OrderJournal as OrderJournal  # noqa: PLC0414 - named here too
from gateway.domain.models.account import Account, AccountPin, Activity, Position, PositionBaseline
from gateway.domain.models.audit import AuditEntry, AuditRecord
from gateway.domain.models.identity import Token
from gateway.domain.models.market_data import (
    Adjustment,
    Bar,
    LiveValue,
    OrderBook,
    Page,
    Quote,
    Snapshot,
    SubscriptionSet,
    Timeframe,
    Trade,
)
from gateway.domain.models.orders import (
    OrderChanges,
    OrderSpec,
    VenueOrder,
    VenueOrderUpdate,
)
from gateway.domain.models.reference import Asset, MarketClock, MarketDay
from gateway.domain.models.risk import CancelAnswer, TradingState
from gateway.domain.models.simulation import FaultOrder, InjectedFault, LedgerPage, LedgerQuery, Simulation
from gateway.domain.types import AssetClass, BudgetLane, CallContext, Channel, DataFeed, FeedState


class VenueOrderFilter(StrEnum):
    """Which of the venue's orders to list; open means that the venue does not call it terminal."""

    OPEN = "open"
    CLOSED = "closed"
    ALL = "all"


class TradingRepository(Protocol):
    """Orders at the venue."""

    async def submit_order(self, context: CallContext, venue_client_order_id: str, spec: OrderSpec) -> VenueOrder:
        """Send one order, once.

        Raises:
            OutcomeUnknown: The request left and no proof came back; `duplicate_id` when the venue knows the id.
        """
        ...

    async def replace_order(
        self, context: CallContext, venue_order_id: str, venue_client_order_id: str, changes: OrderChanges
    ) -> VenueOrder:
        """Ask for a change; the answer is the new venue order. `changes.quantity` is sent as it is.

        Raises:
            OrderRejected: Nothing changed; `venue_http_status` tells a missing order (404) from a refusal.
            OutcomeUnknown: It may have been taken.
        """
        ...

    async def cancel_order(self, context: CallContext, venue_order_id: str) -> None:
        """Ask for the end of an order; returning means asked, not canceled. Safe to repeat.

        Raises:
            OrderNotFound: The venue does not know it.
            OrderRejected: It cannot be canceled, usually because it is terminal: look it up.
        """
        ...

    async def cancel_all_orders(self, context: CallContext) -> list[CancelAnswer]:
        """Ask for the end of every open order of the account, in one request; asked, not canceled. Safe to repeat.

        The kill switch's alone: it knows no strategy.
        """
        ...

    async def get_order(self, context: CallContext, venue_order_id: str) -> VenueOrder:
        """One order with its legs; OrderNotFound when the venue does not know it."""
        ...

    async def find_order(self, context: CallContext, venue_client_order_id: str) -> VenueOrder | None:
        """Look an order up by the id it was sent under; None when the venue does not know it (yet)."""
        ...

    async def list_orders(
        self,
        context: CallContext,
        status: VenueOrderFilter,
        *,
        after_ns: int | None = None,
        until_ns: int | None = None,
        oldest_first: bool = False,
        limit: int = 500,
    ) -> list[VenueOrder]:
        """Orders by submit time, legs nested in their parents; both bounds exclusive, at most 500.

        One that cannot be read has the status UNREADABLE and its ids: it is there, and nothing more is known of it.
        """
        ...


class AccountRepository(Protocol):
    """The account, its positions and what changed it."""

    async def get_account(self, context: CallContext) -> Account:
        """The account as the venue sees it now."""
        ...

    async def list_positions(self, context: CallContext) -> list[Position]:
        """All open positions, symbols in the gateway's spelling."""
        ...

    async def list_fill_activities(
        self, context: CallContext, *, after_ns: int | None = None, page_token: str = "", page_size: int = 100
    ) -> Page[Activity]:
        """Fills, oldest first; `page_token` is the id of the last one seen."""
        ...


class MarketDataRepository(Protocol):
    """Market data by request, and reference data: what can be traded, and when.

    `feed` decides the asset class of market data; symbols of one call belong to it. Symbols without a value
    are left out of the answer.
    """

    async def get_latest_quotes(self, context: CallContext, feed: DataFeed, symbols: Sequence[str]) -> list[Quote]:
        """The newest quote of each symbol."""
        ...

    async def get_latest_trades(self, context: CallContext, feed: DataFeed, symbols: Sequence[str]) -> list[Trade]:
        """The newest trade of each symbol."""
        ...

    async def get_latest_bars(self, context: CallContext, feed: DataFeed, symbols: Sequence[str]) -> list[Bar]:
        """The newest minute bar of each symbol."""
        ...

    async def get_latest_order_books(
        self, context: CallContext, feed: DataFeed, symbols: Sequence[str]
    ) -> list[OrderBook]:
        """The whole order book of each crypto pair."""
        ...

    async def get_snapshots(self, context: CallContext, feed: DataFeed, symbols: Sequence[str]) -> list[Snapshot]:
        """Newest trade and quote, minute and daily bars of each symbol."""
        ...

    async def list_bars(
        self,
        context: CallContext,
        feed: DataFeed,
        symbols: Sequence[str],
        timeframe: Timeframe,
        *,
        start_ns: int,
        end_ns: int,
        adjustments: Sequence[Adjustment] = (),
        as_of_date: date | None = None,
        newest_first: bool = False,
        page_size: int = 1000,
        page_token: str = "",
    ) -> Page[Bar]:
        """One page of past bars, by symbol, then by time; bars that begin within [start, end]. See `list_quotes`."""
        ...

    async def list_quotes(
        self,
        context: CallContext,
        feed: DataFeed,
        symbols: Sequence[str],
        *,
        start_ns: int,
        end_ns: int,
        as_of_date: date | None = None,
        newest_first: bool = False,
        page_size: int = 1000,
        page_token: str = "",
    ) -> Page[Quote]:
        """One page of past quotes within [start, end], by symbol, then by time. An empty one need not be the last."""
        ...

    async def list_trades(
        self,
        context: CallContext,
        feed: DataFeed,
        symbols: Sequence[str],
        *,
        start_ns: int,
        end_ns: int,
        as_of_date: date | None = None,
        newest_first: bool = False,
        page_size: int = 1000,
        page_token: str = "",
    ) -> Page[Trade]:
        """One page of past trades; as `list_quotes`."""
        ...

    async def list_assets(self, context: CallContext, asset_class: AssetClass) -> list[Asset]:
        """Every asset of a class, active or not, by symbol."""
        ...

    async def list_option_contracts(self, context: CallContext, root: str, expiration: date) -> list[Asset]:
        """The active option contracts of one root and one day of expiration, by symbol."""
        ...

    async def get_market_clock(self, context: CallContext) -> MarketClock:
        """The hours of US equities, by the venue's clock."""
        ...

    async def list_market_days(self, context: CallContext, start: date, end: date) -> list[MarketDay]:
        """Trading days within [start, end], oldest first."""
        ...


class MarketDataListener(Protocol):
    """Who hears a market-data feed. Called on the event loop; must neither block nor raise.

    `read_at` is when the frame was read, seconds of the monotonic clock: it may have waited since.
    """

    def on_quotes(self, quotes: Sequence[Quote], read_at: float) -> None:
        """Quotes in the order received; one call per part of a frame."""
        ...

    def on_values(self, channel: Channel, values: Sequence[LiveValue], read_at: float) -> None:
        """Values of any other channel in the order received; one call per part of a frame and channel."""
        ...

    def on_subscriptions(self, acknowledged: SubscriptionSet) -> None:
        """The venue's whole set after a change: what is missing in it was not accepted."""
        ...

    def on_state(self, state: FeedState, detail: str, venue_error_code: int) -> None:
        """CONNECTING, LIVE (authenticated, subscribed) or DISCONNECTED; an error frame: state kept, code set."""
        ...


class MarketDataConnection(Protocol):
    """One upstream connection of one feed. It reconnects by itself, resubscribes, and tells the listener."""

    async def set_subscriptions(self, wanted: SubscriptionSet) -> None:
        """Change the subscriptions by difference while it runs.

        Returns when the change is sent or noted for the next connect; the acknowledgement comes to the
        listener. An empty set closes the socket; the same set once more is another try of what was refused.
        """
        ...

    async def close(self) -> None:
        """End it; the socket is closed when this returns. Idempotent."""
        ...


class OrderUpdateListener(Protocol):
    """Who hears the venue's order feed. Called on the event loop; must neither block nor raise."""

    def on_update(self, update: VenueOrderUpdate) -> None:
        """One message of the feed."""
        ...

    def on_unreadable(self, detail: str, venue_order_id: str) -> None:
        """A frame that could not be read; the order's id when it could be found: look it up."""
        ...

    def on_state(self, state: FeedState, detail: str, venue_error_code: int) -> None:
        """CONNECTING, RECONCILING (listening; what was missed is not known yet) or DISCONNECTED."""
        ...


class OrderUpdateConnection(Protocol):
    """The one connection to the venue's order feed. It reconnects by itself and tells the listener."""

    async def close(self) -> None:
        """End it; the socket is closed when this returns. Idempotent."""
        ...


class StreamingRepository(Protocol):
    """What the venue says by itself."""

    async def open_market_data(self, feed: DataFeed, listener: MarketDataListener) -> MarketDataConnection:
        """A connection object; the socket opens with its first subscription."""
        ...

    async def open_order_updates(self, listener: OrderUpdateListener) -> OrderUpdateConnection:
        """Begin to listen; returns at once, connecting goes on behind."""
        ...


class AccountPinStore(Protocol):
    """Whose the data directory is."""

    def current(self) -> AccountPin | None:
        """The pin; None in a new directory."""
        ...

    async def put(self, pin: AccountPin) -> None:
        """Pin it, once: an older pin stays. Durable when this returns.

        Raises:
            JournalUnavailable: It was not recorded.
        """
        ...


class PositionBaselineStore(Protocol):
    """Where the account's holdings stand that the journal's fills are counted from."""

    def current(self) -> PositionBaseline | None:
        """The newest; None while the account was never compared."""
        ...

    async def put(self, baseline: PositionBaseline) -> None:
        """Keep another one in its place; durable when this returns.

        Raises:
            JournalUnavailable: It was not recorded.
        """
        ...


class TradingStateStore(Protocol):
    """The append-only record of the account's trading states."""

    def current(self) -> TradingState:
        """The newest; ACTIVE with version 0 before the first."""
        ...

    async def append(self, state: TradingState) -> None:
        """Record the next state, version one higher than the current one; durable when this returns.

        Raises:
            JournalUnavailable: It was not recorded.
        """
        ...


class IdentityStore(Protocol):
    """Keeps tokens, never their secrets."""

    def all(self) -> Sequence[Token]:
        """Every token, ended ones included."""
        ...

    async def put(self, tokens: Sequence[Token], forget: Sequence[str] = ()) -> None:
        """Keep these, in place of what had their ids, and forget others by id: both or neither, durable on return.

        Raises:
            JournalUnavailable: It was not recorded.
        """
        ...

    async def end(self, token: Token) -> None:
        """Keep that a token has ended, if need be where the journal is not; durable on return.

        Raises:
            JournalUnavailable: It was not recorded: a restart would bring the token back.
        """
        ...


class AuditLog(Protocol):
    """The append-only, chained record of who did what."""

    @property
    def head(self) -> tuple[int, bytes]:
        """The newest sequence and its hash; 0 and zeros before the first."""
        ...

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        """Record entries together, all or none; durable when this returns.

        Raises:
            JournalUnavailable: They were not recorded.
        """
        ...

    def read(self, after: int = 0) -> Iterator[AuditRecord]:
        """Every record behind a sequence, in order."""
        ...


class RequestGate(Protocol):
    """May a request go to the venue now? Fed by the venue's rate-limit headers."""

    def admit(self, lane: BudgetLane) -> None:
        """Count one request.

        Raises:
            VenueRateLimited: Not now; `retry_after_ms` says when.
        """
        ...

    def permit(self, context: CallContext) -> None:
        """Asked on the sending thread, right before the first byte of a change leaves.

        Raises:
            TradingStopped, ExpiredUnsent: It must not leave any more; nothing did.
        """
        ...

    def observe(self, limit: int, remaining: int, reset_s: int) -> None:
        """The venue's own count: X-RateLimit-Limit, -Remaining, and -Reset in Unix seconds."""
        ...

    def throttled(self, retry_after_ms: int) -> None:
        """The venue answered 429: it wants to hear nothing more for so long."""
        ...


class PriceSource(Protocol):
    """Where a risk check gets its price."""

    async def reference_price(self, symbol: str, call: CallContext) -> Quote | None:
        """The newest quote that the gateway can vouch for; None when none can be had in time. Never raises."""
        ...


class VenueControl(Protocol):
    """The emulator's other side: faults on request, and what really happened. Never bound for paper or live."""

    async def inject(self, order: FaultOrder) -> InjectedFault:
        """Order a fault; what strikes open feeds has struck when this returns. FieldInvalid says what cannot be."""
        ...

    async def list_faults(self) -> list[InjectedFault]:
        """Faults ordered since the last clearing, oldest first, fired or not."""
        ...

    async def clear_faults(self) -> None:
        """Forget every fault: mute feeds speak again, halts end. Requests that are late arrive all the same."""
        ...

    async def read_ledger(self, query: LedgerQuery) -> LedgerPage:
        """A part of the emulator's record."""
        ...

    async def get_simulation(self) -> Simulation:
        """Its settings and counters."""
        ...
