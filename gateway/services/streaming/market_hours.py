"""Is the market of a feed open? Answered from memory, so that a watchdog may ask it four times a second.

Promises that the venue's clock is read seldom: when nothing is known, when the session has changed since, and every
ten minutes. Not known counts as open: silence is suspicious then, which costs a question and hides nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from gateway.domain.errors import GatewayError
from gateway.domain.models.reference import MarketClock
from gateway.domain.types import NANOS_PER_SECOND, AssetClass, CallContext, Caller

HOURS_KNOWN_S: Final = 600.0
"""After so long the venue's clock is read again, unless the session changes before."""
HOURS_TRUSTED_S: Final = 1_200.0
"""So long the last answer is used while it is: a closed market must not look open whenever it is asked about."""
HOURS_RETRY_S: Final = 30.0
"""Between two questions at least, answered or not."""
HOURS_DEADLINE_S: Final = 5.0
_CALLER: Final = Caller(name="streaming")

_log = structlog.get_logger(__name__)


class Calendar(Protocol):
    """MarketCalendarService is the implementation."""

    async def get_clock(self, call: CallContext) -> MarketClock:
        """The venue's clock."""
        ...


class MarketHours:
    """The regular session, remembered. Crypto never closes.

    Args:
        monotonic: Seconds, the clock of the event loop.
    """

    def __init__(self, calendar: Calendar, monotonic: Callable[[], float]) -> None:
        self._calendar = calendar
        self._monotonic = monotonic
        self._is_open = True
        self._known_until = self._trusted_until = float("-inf")
        self._ask_at = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    def is_open(self, asset_class: AssetClass | None) -> bool:
        """Whether something is to be expected of a feed now; must be called on the event loop. None: of news."""
        if asset_class in (AssetClass.CRYPTO, None):
            return True
        now = self._monotonic()
        if now < self._known_until:
            return self._is_open
        if self._asking is None and now >= self._ask_at:
            self._ask_at = now + HOURS_RETRY_S
            self._asking = asyncio.get_running_loop().create_task(self._ask())
        return self._is_open or now >= self._trusted_until

    async def close(self) -> None:
        """End the question under way."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    async def _ask(self) -> None:
        try:
            clock = await self._calendar.get_clock(CallContext(_CALLER, self._monotonic() + HOURS_DEADLINE_S))
            changes_ns = clock.next_close_time_ns if clock.is_open else clock.next_open_time_ns
            left_s = max(0.0, (changes_ns - clock.time_ns) / NANOS_PER_SECOND)
            self._is_open = clock.is_open
            now = self._monotonic()
            self._known_until, self._trusted_until = (
                now + min(HOURS_KNOWN_S, left_s),
                now + min(HOURS_TRUSTED_S, left_s),
            )
        except GatewayError as error:
            _log.info("market_hours_unread", error=str(error))
        except Exception:  # whatever it is: without hours every silence is suspicious, and nothing worse
            _log.exception("market_hours_unread")
        finally:
            self._asking = None
