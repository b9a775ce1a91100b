"""Strangers: callers who show no valid token, counted by the address they come from.

Promises: an address from which too many calls fail within a minute is answered RESOURCE_EXHAUSTED for the next one,
in the place of the refusal itself; what a valid token asks is never touched by it, as everybody on loopback has one
address. What is remembered is bounded, and each such refusal is told. Leaves to the doorkeeper who is a stranger.

Source: OWASP Application Security Verification Standard 4.0.3, 2.2.1: controls against guessing, that lock nobody out.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Network
from typing import Final

import structlog

from gateway.domain.errors import GatewayError, TooManyFailures, Unauthenticated
from gateway.domain.models.identity import IPAddress

FAILURES_PER_MINUTE_MAX: Final = 10
ADDRESSES_MAX: Final = 4_096
"""Remembered at once; the one that began first makes room."""

_TOO_MANY: Final = "too many calls from this address showed no valid token; one that does is let in at any time"
_MINUTE_S: Final = 60.0
_IPV6_PREFIX: Final = 64
"""One subscriber has that many addresses of their own."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Record:
    since_s: float
    failures: int = 0
    is_refused: bool = False


class Strangers:
    """Knows which addresses fail too often. On the event loop alone.

    Args:
        failures_max: From one address within a minute; 0: nobody counts.
        monotonic: Seconds.
        on_refused: Told the address of each failure that was one too many.
    """

    def __init__(
        self,
        failures_max: int = FAILURES_PER_MINUTE_MAX,
        monotonic: Callable[[], float] = time.monotonic,
        on_refused: Callable[[IPAddress], None] = lambda _: None,
    ) -> None:
        self._failures_max = failures_max
        self._monotonic = monotonic
        self._on_refused = on_refused
        self._records: OrderedDict[object, _Record] = OrderedDict()

    def answer(self, address: IPAddress, refusal: Unauthenticated) -> GatewayError:
        """Count a failure; what the caller is told: that refusal, or that there were too many."""
        if not self._failures_max:
            return refusal
        now_s = self._monotonic()
        record = self._record(address, now_s)
        record.failures += 1
        if not record.is_refused:
            if record.failures <= self._failures_max:
                return refusal
            record.is_refused, record.since_s = True, now_s
            _log.warning("authentication_failures", address=str(address), failures=record.failures)
        self._on_refused(address)
        return TooManyFailures(_TOO_MANY, retry_after_ms=round((record.since_s + _MINUTE_S - now_s) * 1_000))

    def _record(self, address: IPAddress, now_s: float) -> _Record:
        place = address if isinstance(address, IPv4Address) else IPv6Network((address, _IPV6_PREFIX), strict=False)
        record = self._records.get(place)
        if record is None or now_s - record.since_s >= _MINUTE_S:
            self._records.pop(place, None)
            record = self._records[place] = _Record(now_s)
            if len(self._records) > ADDRESSES_MAX:
                self._records.popitem(last=False)
        return record
