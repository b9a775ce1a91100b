"""The simulated exchange: one account, one venue, a pure state machine.

Promises: the same commands, quotes and trades at the same instants give the same orders, events and account, bit for
bit; there is no clock, no I/O and no randomness but ids from the seed. What leaves it is a copy. Leaves
prices to the market, JSON to the wire, and memory to the ledger.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import date
from decimal import Decimal
from typing import Any

from gateway.domain.models.account import Account, Activity, Position
from gateway.domain.models.orders import OrderChanges
from gateway.domain.models.reference import Asset, MarketClock, MarketDay
from gateway.domain.types import AssetClass, OrderSide
from gateway.emulator.exchange.config import AccountConfiguration, ExchangeConfig
from gateway.emulator.exchange.history import PortfolioHistory
from gateway.emulator.exchange.orders import ExchangeOrder, NewOrder, OrderCanceled, PositionClosed, TradeUpdate


class SimulatedExchange:
    """Orders, positions and money of one account.

    Every command and every piece of market data takes the instant at which it happens, ns since the epoch; instants
    never go backwards (an earlier one counts as the latest seen). Session boundaries on the way are passed first.
    """

    def __init__(self, config: ExchangeConfig, assets: Iterable[Asset], created_ns: int) -> None:
        raise NotImplementedError

    # Commands. Each raises Refusal, and then nothing has changed.

    def submit(self, now_ns: int, order: NewOrder) -> ExchangeOrder:
        """Take an order. The answer shows it as it was accepted, with its legs; what follows at once is in updates."""
        raise NotImplementedError

    def replace(
        self, now_ns: int, order_id: str, changes: OrderChanges, client_order_id: str | None = None
    ) -> ExchangeOrder:
        """Put a new order, which is the answer, in the place of an open one."""
        raise NotImplementedError

    def cancel(self, now_ns: int, order_id: str) -> None:
        """End an open order."""
        raise NotImplementedError

    def cancel_all(self, now_ns: int) -> list[OrderCanceled]:
        """End every open order."""
        raise NotImplementedError

    def close_position(
        self, now_ns: int, symbol_or_id: str, *, quantity: Decimal | None = None, percentage: Decimal | None = None
    ) -> ExchangeOrder:
        """Order the end of a position or of a part of it, at the market."""
        raise NotImplementedError

    def close_positions(self, now_ns: int, *, cancel_orders: bool = False) -> list[PositionClosed]:
        """Order the end of every position."""
        raise NotImplementedError

    def configure(self, now_ns: int, **changes: Any) -> AccountConfiguration:
        """Set switches of the account by their Alpaca names; the answer is the whole configuration."""
        raise NotImplementedError

    # Market data and time.

    def on_quote(
        self, now_ns: int, symbol: str, bid_price: float, bid_size: float, ask_price: float, ask_size: float
    ) -> None:
        """The best bid and offer, and what is displayed there: fills what can be filled."""
        raise NotImplementedError

    def on_trade(self, now_ns: int, symbol: str, price: float, size: float) -> None:
        """A regular-way print: sets off stops, moves trailing stops, is the last price."""
        raise NotImplementedError

    def advance(self, now_ns: int) -> None:
        """Pass the session boundaries up to an instant: orders begin, expire and meet their auctions."""
        raise NotImplementedError

    def next_advance_ns(self) -> int:
        """When `advance` has something to do next."""
        raise NotImplementedError

    def drain_updates(self) -> list[TradeUpdate]:
        """The messages of trade_updates since the last call, in order."""
        raise NotImplementedError

    # Reads.

    def order(self, order_id: str, *, nested: bool = False) -> ExchangeOrder:
        """One order; Refusal 40410000 when it is not known."""
        raise NotImplementedError

    def order_by_client_id(self, client_order_id: str) -> ExchangeOrder:
        """One order by its client's id; Refusal 40410000."""
        raise NotImplementedError

    def orders(
        self,
        *,
        status: str = "open",
        limit: int = 50,
        after_ns: int | None = None,
        until_ns: int | None = None,
        direction: str = "desc",
        side: OrderSide | None = None,
        symbols: Collection[str] | None = None,
        asset_classes: Collection[AssetClass] | None = None,
        before_order_id: str | None = None,
        after_order_id: str | None = None,
        nested: bool = False,
    ) -> list[ExchangeOrder]:
        """Orders by time of submission; time bounds are exclusive. `status` is open, closed or all.

        Nested, legs stand in their parents alone; else they are orders like others.
        """
        raise NotImplementedError

    def position(self, now_ns: int, symbol_or_id: str) -> Position:
        """One position, symbols in the domain's spelling; Refusal 40410000."""
        raise NotImplementedError

    def positions(self, now_ns: int) -> list[Position]:
        """All positions, by symbol."""
        raise NotImplementedError

    def account(self, now_ns: int) -> Account:
        """The account, valued at the present prices."""
        raise NotImplementedError

    def configuration(self) -> AccountConfiguration:
        """The customer's switches."""
        raise NotImplementedError

    def activities(
        self,
        *,
        types: Collection[str] | None = None,
        category: str | None = None,
        on_date: date | None = None,
        after_ns: int | None = None,
        until_ns: int | None = None,
        direction: str = "desc",
        page_size: int = 100,
        page_token: str | None = None,
    ) -> list[Activity]:
        """Fills and fees; `page_token` is the id of the last one seen. `category`: trade_activity, non_trade_activity.

        Symbols are in the domain's spelling. A FILL is partial while its leaves_quantity is not zero.
        """
        raise NotImplementedError

    def portfolio_history(self, now_ns: int, *, start_ns: int, end_ns: int, timeframe_s: int) -> PortfolioHistory:
        """Equity in windows of `timeframe_s` within [start, end]."""
        raise NotImplementedError

    def asset(self, symbol_or_id: str) -> Asset:
        """One asset by any spelling; Refusal 40410000."""
        raise NotImplementedError

    def assets(
        self,
        *,
        status: str | None = None,
        asset_class: AssetClass | None = None,
        exchange: str | None = None,
        attributes: Collection[str] = (),
    ) -> list[Asset]:
        """Assets by symbol; an asset needs one of the attributes, if any are given."""
        raise NotImplementedError

    def clock(self, now_ns: int) -> MarketClock:
        """The hours of US equities."""
        raise NotImplementedError

    def calendar(self, start: date, end: date) -> list[MarketDay]:
        """Trading days within [start, end]."""
        raise NotImplementedError
