"""Everything the exchange remembers, in one place, so that its parts can be separate modules.

Nothing here decides. `admission` reads it to say yes or no, `engine` changes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from gateway.domain.models.reference import Asset
from gateway.domain.types import NANOS_PER_SECOND
from gateway.emulator.exchange.account import Holdings, Valuation
from gateway.emulator.exchange.activities import ActivityLog
from gateway.emulator.exchange.assets import AssetTable, derived_uuid
from gateway.emulator.exchange.config import AccountConfiguration, ExchangeConfig
from gateway.emulator.exchange.history import EquityHistory
from gateway.emulator.exchange.matching import Book, RestingOrders
from gateway.emulator.exchange.orders import ZERO, ExchangeOrder, TradeUpdate
from gateway.emulator.exchange.sessions import make_hours
from gateway.emulator.exchange.store import OrderStore

UPDATES_MAX: Final = 1_000_000
"""How many trade updates may wait to be drained; more is a server that forgot to."""


class State:
    """The memory of one exchange.

    Attributes:
        now_ns: The latest instant seen.
        next_boundary_ns: When a session opens or closes next.
        next_sample_ns: When the equity is noted next.
        last_equity, last_maintenance_margin: At the last close.
    """

    def __init__(self, config: ExchangeConfig, assets: Iterable[Asset], created_ns: int) -> None:
        self.config = config
        self.created_ns = created_ns
        self.configuration = AccountConfiguration()
        self.hours = make_hours(config.session)
        self.assets = AssetTable(assets)
        self.store = OrderStore()
        self.holdings = Holdings(config.cash)
        self.activities = ActivityLog()
        self.history = EquityHistory(created_ns, config.cash)
        self.updates: list[TradeUpdate] = []
        self.now_ns = created_ns
        self.phase = self.hours.phase(created_ns)
        self.next_boundary_ns = self.hours.next_boundary_ns(created_ns)
        self.next_sample_ns = 0
        self.last_equity = config.cash
        self.last_maintenance_margin = ZERO
        self.last_close_ns: int | None = None
        self._books: dict[str, Book] = {}
        self._resting: dict[str, RestingOrders] = {}
        self._counters: dict[str, int] = {}
        self.schedule_sample()

    def new_id(self, kind: str) -> str:
        """The next UUID of a kind, a function of seed, account, life and count."""
        count = self._counters.get(kind, 0) + 1
        self._counters[kind] = count
        life = (self.config.life,) if self.config.life else ()
        return derived_uuid(self.config.seed, self.config.account_id, *life, kind, count)

    def book(self, symbol: str) -> Book:
        """Prices of a symbol, none yet if it is new."""
        found = self._books.get(symbol)
        if found is None:
            found = self._books[symbol] = Book()
        return found

    def resting(self, symbol: str) -> RestingOrders:
        """The working orders of a symbol."""
        found = self._resting.get(symbol)
        if found is None:
            found = self._resting[symbol] = RestingOrders()
        return found

    def has_resting(self, symbol: str) -> bool:
        """Whether market data of the symbol can change an order."""
        found = self._resting.get(symbol)
        return found is not None and bool(found)

    def symbols_with_resting(self) -> list[str]:
        """Symbols that have working orders."""
        return [symbol for symbol, resting in self._resting.items() if resting]

    def price(self, symbol: str) -> Decimal | None:
        """The present price of a symbol."""
        return self.book(symbol).mark()

    @property
    def multiplier(self) -> int:
        """Of buying power: the account's, the customer's, and 1 for a small account."""
        if self.last_equity < self.config.margin_equity_min_usd:
            return 1
        return min(self.config.multiplier, int(self.configuration.max_margin_multiplier))

    def valuation(self) -> Valuation:
        """The account's numbers now."""
        return self.holdings.value(self.price, self.assets.__getitem__, self.multiplier)

    def nested(self, order: ExchangeOrder) -> ExchangeOrder:
        """A copy with copies of its legs."""
        if not order.leg_ids:
            return order.copy()
        return order.copy(tuple(self.store.get(leg_id).copy() for leg_id in order.leg_ids))

    def tell(self, update: TradeUpdate) -> None:
        """Add a message to the trade_updates stream."""
        if len(self.updates) >= UPDATES_MAX:
            raise RuntimeError(f"{UPDATES_MAX} trade updates wait and nobody drains them")
        self.updates.append(update)

    def schedule_sample(self) -> None:
        """The equity is noted on whole multiples of its interval."""
        step_ns = self.config.equity_sample_s * NANOS_PER_SECOND
        self.next_sample_ns = (self.now_ns // step_ns + 1) * step_ns
