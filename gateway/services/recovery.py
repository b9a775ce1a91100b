"""ErrorService: what is retried, how often, and when to stop asking.

Adapters raise and never loop; this is the one place that decides to try again. A read may be repeated. A change is
repeated only while it is certain that nothing left for the venue, and only within its `valid_until`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from gateway.domain.errors import GatewayError, OutcomeUnknown, VenueRateLimited, VenueUnreachable
from gateway.domain.types import MS_PER_SECOND, NANOS_PER_MS, RETRY_AFTER_MAX_MS, CallContext

READ_DELAYS_MS: Final = (100, 400)
"""Between the attempts of a read."""
PATIENT_DELAY_MIN_MS: Final = 1_000
"""Between the attempts of who can wait for the venue's budget: those who cannot come first."""
UNSENT_DELAYS_MS: Final = (100, 200, 400, 800, 1_000)
"""Between attempts to send a change that has certainly not left; the last repeats."""
UNSENT_ATTEMPTS_MAX: Final = 64
CERTAINLY_UNSENT: Final = (VenueUnreachable, VenueRateLimited)
"""Errors of a change which prove that nothing left for the venue, or that it was not even looked at."""

T = TypeVar("T")


class ErrorService:
    """The retry policy.

    Args:
        wall: Nanoseconds since the Unix epoch.
        monotonic: Seconds, as `time.monotonic`.
        sleep: Seconds, as `asyncio.sleep`.
    """

    def __init__(
        self, wall: Callable[[], int], monotonic: Callable[[], float], sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._sleep = sleep

    async def read(self, call: CallContext, question: Callable[[], Awaitable[T]]) -> T:
        """Ask, and ask again after a failure, while the caller still waits.

        Raises:
            VenueUnreachable, VenueRateLimited: The last of them.
        """
        for delay_ms in READ_DELAYS_MS:
            try:
                return await question()
            except CERTAINLY_UNSENT as error:
                pause_s = max(delay_ms, min(error.retry_after_ms or 0, RETRY_AFTER_MAX_MS)) / MS_PER_SECOND
                if self._monotonic() + pause_s >= call.deadline:
                    raise
            await self._sleep(pause_s)
        return await question()

    async def read_patiently(self, call: CallContext, question: Callable[[], Awaitable[T]]) -> T:
        """As `read`, but where only the venue's budget is missing, until the caller waits no more."""
        while True:
            try:
                return await self.read(call, question)
            except VenueRateLimited as error:
                wait_ms = min(error.retry_after_ms or 0, RETRY_AFTER_MAX_MS)
                pause_s = max(PATIENT_DELAY_MIN_MS, wait_ms) / MS_PER_SECOND
                if self._monotonic() + pause_s >= call.deadline:
                    raise
            await self._sleep(pause_s)

    async def may_send_again(self, attempts: int, error: GatewayError, valid_until_ns: int) -> bool:
        """Wait before the next attempt to send a change that has certainly not left.

        Args:
            attempts: How many there were.
            error: What the last one met; its `retry_after_ms` is respected.
            valid_until_ns: No attempt begins after it.

        Returns:
            Whether there is to be one: False when `valid_until_ns` would pass, at once.
        """
        if attempts >= UNSENT_ATTEMPTS_MAX:
            return False
        delay_ms = UNSENT_DELAYS_MS[min(attempts, len(UNSENT_DELAYS_MS)) - 1]
        delay_ms = max(delay_ms, error.retry_after_ms or 0)
        if self._wall() + delay_ms * NANOS_PER_MS >= valid_until_ns:
            return False
        await self._sleep(delay_ms / MS_PER_SECOND)
        return True


def is_ambiguous(error: BaseException) -> bool:
    """Whether a change that met this error may have taken effect: everything that is no proof is."""
    return isinstance(error, OutcomeUnknown) or not isinstance(error, GatewayError)
