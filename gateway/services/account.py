"""AccountService: the account as the venue sees it. BalanceService: buying power less what orders in flight reserve.

An order reserves from the moment it passed the checks until the venue's own figure contains it: until a reading of
the account that was asked for after the venue had acknowledged the order. Erring on the side of too little money
only costs another reading: a denial is never based on an old one (see `application.risk_manager`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from gateway.domain.interfaces import AccountRepository
from gateway.domain.models.account import Account
from gateway.domain.types import CallContext
from gateway.services.cache import CacheService
from gateway.services.recovery import ErrorService

DEFAULT_STALENESS_MS: Final = 1_000
_KEY: Final = "account"
_ZERO: Final = Decimal(0)


class AccountService:
    """The account, cached.

    Args:
        default_staleness_ms: How old an answer may be when the caller does not say.
    """

    def __init__(
        self,
        repository: AccountRepository,
        cache: CacheService,
        errors: ErrorService,
        default_staleness_ms: int = DEFAULT_STALENESS_MS,
    ) -> None:
        self._repository = repository
        self._cache = cache
        self._errors = errors
        self._default_staleness_ms = default_staleness_ms

    async def get_account(self, call: CallContext, max_staleness_ms: int | None = None) -> Account:
        """The account, at most so old; 0 asks the venue.

        Raises:
            VenueUnreachable, VenueRateLimited, VenueAuthentication: It could not be read.
        """
        age_ms = self._default_staleness_ms if max_staleness_ms is None else max_staleness_ms
        return await self._cache.get(_KEY, age_ms, lambda: self._read(call))

    def note_fill(self) -> None:
        """Money moved: what was read before is too old for anybody."""
        self._cache.drop(_KEY)

    async def _read(self, call: CallContext) -> Account:
        return await self._errors.read(call, lambda: self._repository.get_account(call))


@dataclass(slots=True)
class _Reservation:
    amount: Decimal
    acknowledged_at: float | None = None


class BalanceService:
    """What new orders may still cost.

    Args:
        monotonic: Seconds, as `time.monotonic`.
    """

    def __init__(self, accounts: AccountService, monotonic: Callable[[], float]) -> None:
        self._accounts = accounts
        self._monotonic = monotonic
        self._account: Account | None = None
        self._asked_at = float("-inf")
        self._reservations: dict[str, _Reservation] = {}
        self._reserved = _ZERO

    @property
    def account(self) -> Account | None:
        """The newest reading; None before the first."""
        return self._account

    @property
    def age_s(self) -> float:
        """Since the newest reading was asked for."""
        return self._monotonic() - self._asked_at

    @property
    def reserved(self) -> Decimal:
        """US dollars that the newest reading does not contain yet."""
        return self._reserved

    async def refresh(self, call: CallContext) -> None:
        """Read the account anew, and drop the reservations that the reading contains.

        Raises:
            VenueUnreachable, VenueRateLimited, VenueAuthentication: It could not be read.
        """
        asked_at = self._monotonic()
        account = await self._accounts.get_account(call, max_staleness_ms=0)
        if asked_at < self._asked_at:
            return
        self._account = account
        self._asked_at = asked_at
        contained = [
            order_id
            for order_id, held in self._reservations.items()
            if held.acknowledged_at is not None and held.acknowledged_at < asked_at
        ]
        for order_id in contained:
            self.release(order_id)

    def note_fill(self) -> None:
        """Money moved: the next question goes to the venue."""
        self._accounts.note_fill()

    def reserve(self, order_id: str, amount: Decimal) -> None:
        """An order passed the checks. Reserving again replaces the amount."""
        self.release(order_id)
        self._reservations[order_id] = _Reservation(amount)
        self._reserved += amount

    def acknowledge(self, order_id: str) -> None:
        """The venue has the order: the next reading will contain it."""
        held = self._reservations.get(order_id)
        if held is not None and held.acknowledged_at is None:
            held.acknowledged_at = self._monotonic()

    def release(self, order_id: str) -> None:
        """The order costs nothing (any more)."""
        held = self._reservations.pop(order_id, None)
        if held is not None:
            self._reserved -= held.amount
