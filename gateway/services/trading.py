"""OrderService, PositionService, PortfolioService: orders at the venue, what the account holds, and what it is worth.

OrderService adds the retry policy to reads and nothing to changes: whoever sends an order decides about the next try.
PositionService keeps the account's holdings in memory, moved by fills, so that a sell order need not ask first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from gateway.domain.errors import PositionNotFound
from gateway.domain.interfaces import AccountRepository, TradingRepository, VenueOrderFilter
from gateway.domain.models.account import Account, Activity, Position
from gateway.domain.models.market_data import Page
from gateway.domain.models.orders import OrderChanges, OrderSpec, VenueOrder
from gateway.domain.models.risk import CancelAnswer
from gateway.domain.types import CallContext, OrderClass
from gateway.services.account import DEFAULT_STALENESS_MS, AccountService
from gateway.services.cache import CacheService
from gateway.services.recovery import ErrorService

_KEY: Final = "positions"
_ZERO: Final = Decimal(0)


class OrderService:
    """Orders at the venue. Changes go out once; reads are repeated as ErrorService says."""

    def __init__(self, repository: TradingRepository, accounts: AccountRepository, errors: ErrorService) -> None:
        self._repository = repository
        self._accounts = accounts
        self._errors = errors

    async def submit(self, call: CallContext, venue_client_order_id: str, spec: OrderSpec) -> VenueOrder:
        """Send one order, once; errors as `TradingRepository.submit_order`."""
        return await self._repository.submit_order(call, venue_client_order_id, spec)

    async def replace(
        self, call: CallContext, venue_order_id: str, venue_client_order_id: str, changes: OrderChanges
    ) -> VenueOrder:
        """Ask for a change, once; errors as `TradingRepository.replace_order`."""
        return await self._repository.replace_order(call, venue_order_id, venue_client_order_id, changes)

    async def cancel(self, call: CallContext, venue_order_id: str) -> None:
        """Ask for the end of an order, once; errors as `TradingRepository.cancel_order`."""
        await self._repository.cancel_order(call, venue_order_id)

    async def cancel_all(self, call: CallContext) -> list[CancelAnswer]:
        """Ask for the end of every open order of the account; errors as `TradingRepository.cancel_all_orders`."""
        return await self._repository.cancel_all_orders(call)

    async def get(self, call: CallContext, venue_order_id: str) -> VenueOrder:
        """One order with its legs; raises OrderNotFound."""
        return await self._errors.read(call, lambda: self._repository.get_order(call, venue_order_id))

    async def find(self, call: CallContext, venue_client_order_id: str) -> VenueOrder | None:
        """One attempt to look an order up, with its legs; None when the venue does not know it (yet)."""
        found = await self._repository.find_order(call, venue_client_order_id)
        if found is None or found.legs or found.order_class in (None, OrderClass.SIMPLE):
            return found
        # Alpaca nests legs in an order by its own id alone; nobody else would tell of them if it ends soon.
        return await self._repository.get_order(call, found.venue_order_id)

    async def list(
        self,
        call: CallContext,
        status: VenueOrderFilter,
        *,
        after_ns: int | None = None,
        until_ns: int | None = None,
        oldest_first: bool = False,
        limit: int = 500,
        is_repeated: bool = True,
    ) -> list[VenueOrder]:
        """Orders by submit time, legs nested; asked for again after a failure unless `is_repeated` says no."""

        def question() -> Awaitable[list[VenueOrder]]:
            return self._repository.list_orders(
                call, status, after_ns=after_ns, until_ns=until_ns, oldest_first=oldest_first, limit=limit
            )

        return await (self._errors.read(call, question) if is_repeated else question())

    async def fills(self, call: CallContext, after_ns: int, page_token: str, page_size: int) -> Page[Activity]:
        """One page of the account's fills after an instant, oldest first."""
        return await self._errors.read(
            call,
            lambda: self._accounts.list_fill_activities(
                call, after_ns=after_ns, page_token=page_token, page_size=page_size
            ),
        )


@dataclass(frozen=True, slots=True)
class PositionsRead:
    """Every position by symbol, and when the venue said so."""

    positions: tuple[Position, ...]
    read_time_ns: int


class PositionService:
    """What the account holds.

    Args:
        wall: Nanoseconds since the Unix epoch.
        monotonic: Seconds, as `time.monotonic`.
        default_staleness_ms: How old an answer may be when the caller does not say.
    """

    def __init__(
        self,
        repository: AccountRepository,
        cache: CacheService,
        errors: ErrorService,
        wall: Callable[[], int],
        monotonic: Callable[[], float],
        default_staleness_ms: int = DEFAULT_STALENESS_MS,
    ) -> None:
        self._repository = repository
        self._cache = cache
        self._errors = errors
        self._wall = wall
        self._monotonic = monotonic
        self._default_staleness_ms = default_staleness_ms
        self._held: dict[str, Decimal] = {}
        self._moved_at: dict[str, float] = {}
        self._doubtful: set[str] = set()
        self._asked_at = float("-inf")

    async def list_positions(self, call: CallContext, max_staleness_ms: int | None = None) -> PositionsRead:
        """Every position, at most so old; 0 asks the venue.

        Raises:
            VenueUnreachable, VenueRateLimited, VenueAuthentication: They could not be read.
        """
        age_ms = self._default_staleness_ms if max_staleness_ms is None else max_staleness_ms
        return await self._cache.get(_KEY, age_ms, lambda: self._read(call))

    async def get_position(self, symbol: str, call: CallContext, max_staleness_ms: int | None = None) -> Position:
        """One position.

        Raises:
            PositionNotFound: The account holds none.
        """
        read = await self.list_positions(call, max_staleness_ms)
        for position in read.positions:
            if position.symbol == symbol:
                return position
        raise PositionNotFound("The account holds no such position.")

    @property
    def age_s(self) -> float:
        """Since the newest reading was asked for; infinite before the first."""
        return self._monotonic() - self._asked_at

    def is_doubtful(self, symbol: str) -> bool:
        """Whether a fill moved the holding by an amount that only the venue knows (fees in kind, say)."""
        return symbol in self._doubtful

    def held(self, symbol: str) -> Decimal:
        """Signed: the newest reading, moved by the fills since."""
        return self._held.get(symbol, _ZERO)

    async def refresh(self, call: CallContext) -> None:
        """Read the positions anew; raises as `list_positions`."""
        await self.list_positions(call, max_staleness_ms=0)

    def note_fill(self, symbol: str, signed_quantity: Decimal, position_quantity: Decimal | None, exact: bool) -> None:
        """A fill moved a holding: what was read before is too old for anybody.

        Args:
            symbol: Of which.
            signed_quantity: Negative for a sell.
            position_quantity: The holding after it, where the venue said so.
            exact: Whether the result is the venue's own to the last digit.
        """
        if position_quantity is None:
            position_quantity = self.held(symbol) + signed_quantity
        self._cache.drop(_KEY)
        self._held[symbol] = position_quantity
        self._moved_at[symbol] = self._monotonic()
        if exact:
            self._doubtful.discard(symbol)
        else:
            self._doubtful.add(symbol)

    async def _read(self, call: CallContext) -> PositionsRead:
        asked_at = self._monotonic()
        positions = await self._errors.read(call, lambda: self._repository.list_positions(call))
        self._take(positions, asked_at)
        return PositionsRead(tuple(sorted(positions, key=lambda position: position.symbol)), self._wall())

    def _take(self, positions: list[Position], asked_at: float) -> None:
        """A reading replaces what was known when it was asked for; what moved since stays, in doubt."""
        if asked_at < self._asked_at:
            return
        self._asked_at = asked_at
        newer = {symbol for symbol, moved_at in self._moved_at.items() if moved_at >= asked_at}
        held = {position.symbol: position.quantity for position in positions}
        held.update((symbol, self._held[symbol]) for symbol in newer)
        self._held = held
        self._moved_at = {symbol: self._moved_at[symbol] for symbol in newer}
        self._doubtful &= newer


@dataclass(frozen=True, slots=True)
class Portfolio:
    """What the account is worth and how much of it is at risk, US dollars; gross counts shorts as positive."""

    account: Account
    positions: tuple[Position, ...]
    gross_market_value: Decimal
    net_market_value: Decimal


class PortfolioService:
    """The account and its positions as one reading."""

    def __init__(self, accounts: AccountService, positions: PositionService) -> None:
        self._accounts = accounts
        self._positions = positions

    async def get_portfolio(self, call: CallContext, max_staleness_ms: int | None = None) -> Portfolio:
        """Both, each at most so old; positions that the venue gives no value count as nothing."""
        account = await self._accounts.get_account(call, max_staleness_ms)
        positions = (await self._positions.list_positions(call, max_staleness_ms)).positions
        values = [position.market_value or _ZERO for position in positions]
        gross = sum((abs(value) for value in values), _ZERO)
        return Portfolio(account, positions, gross, sum(values, _ZERO))
