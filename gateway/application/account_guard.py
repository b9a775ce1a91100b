"""AccountGuard: a data directory belongs to one account at one venue, for ever.

Promises: before anything is sent the account that the venue shows is compared with the one that the data directory is
pinned to; the first one met is the one. Another one, whenever it is met, ends recording, and with it sending. A journal
that met another account's orders would call its own ones absent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from gateway.application.venue_calls import VenueCalls
from gateway.domain.errors import GatewayError, VenueAuthentication, VenueUnreachable
from gateway.domain.interfaces import AccountPinStore, AccountRepository
from gateway.domain.models.account import AccountPin
from gateway.domain.types import BudgetLane, Venue

VERIFY_TIMEOUT_S: Final = 10.0
"""How long a start waits for the account; it serves anyway, and sends nothing until the account is read."""
RETRY_EVERY_S: Final = 1.0
RETRY_AFTER_MS: Final = 1_000

_log = structlog.get_logger(__name__)


class WrongAccount(Exception):
    """The data directory is another account's; the text says whose."""


class AccountGuard:
    """Compares the venue's account with the pin.

    Args:
        pins: Where the pin is kept.
        latch: Ends recording for the life of the process.
        sleep: Seconds, as `asyncio.sleep`.
    """

    def __init__(
        self,
        pins: AccountPinStore,
        accounts: AccountRepository,
        venue: Venue,
        calls: VenueCalls,
        latch: Callable[[str], None],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._pins = pins
        self._accounts = accounts
        self._venue = venue
        self._calls = calls
        self._latch = latch
        self._sleep = sleep
        self._is_refused = False
        self.is_verified = False

    async def verify(self) -> bool:
        """Read the account and compare; False when the venue does not answer, or a new pin cannot be recorded.

        Raises:
            WrongAccount: Nothing will ever be sent.
        """
        pin = self._pins.current()
        if pin is not None and pin.venue is not self._venue:
            raise self._wrong(f"it was begun with the venue {pin.venue}, and this is {self._venue}")
        try:
            account = await self._accounts.get_account(self._calls.own(BudgetLane.LOOKUP, VERIFY_TIMEOUT_S))
            if pin is None:
                await self._pins.put(AccountPin(self._venue, account.account_id))
        except GatewayError as error:
            _log.warning("account_unread", error=type(error).__name__)
            self._is_refused = isinstance(error, VenueAuthentication)
            return False
        if pin is not None and pin.account_id != account.account_id:
            raise self._wrong("the venue shows another account than the one it was begun with")
        self.is_verified = True
        return True

    async def run(self) -> None:
        """Try until the account was read."""
        while not self.is_verified:
            await self._sleep(RETRY_EVERY_S)
            try:
                await self.verify()
            except WrongAccount as error:
                _log.critical("wrong_account", problem=str(error))
                return
            except Exception:  # whatever it is: nobody else would ever open the door
                _log.exception("account_unread")

    def check_door(self) -> None:
        """Refuse new commands until it is known whose account this is.

        Raises:
            VenueUnreachable, VenueAuthentication: Nothing was sent.
        """
        if not self.is_verified and self._is_refused:
            raise VenueAuthentication("The venue refuses the gateway's credentials; nothing was sent.")
        if not self.is_verified:
            raise VenueUnreachable(
                "The venue has not said yet which account this is; nothing was sent.", retry_after_ms=RETRY_AFTER_MS
            )

    async def verify_at_start(self) -> asyncio.Task[None] | None:
        """Verify, and go on trying in a task when the venue does not answer; the task.

        Raises:
            WrongAccount: Nothing will ever be sent.
        """
        if await self.verify():
            return None
        return asyncio.create_task(self.run())

    def _wrong(self, why: str) -> WrongAccount:
        problem = f"the data directory belongs to another account: {why}. Use a directory of its own for each account."
        self._latch(problem)
        return WrongAccount(problem)
