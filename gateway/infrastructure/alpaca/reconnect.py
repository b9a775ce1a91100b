"""Keeps one upstream connection up: connect, serve, close, wait, again; and tells every step.

Promises that the socket of one attempt is closed before the next begins (Alpaca counts connections), that the
waits grow and are jittered, that a successful handshake makes them small again, that being refused is asked about
slowly, and that a venue whose one slot is still taken, by a session of ours that it has not noticed is dead or by
somebody else, is asked for it a bounded number of times a minute, however often the connection is wanted anew in
between. What the connection carries is left to the streams.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

import structlog
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

HANDSHAKE_TIMEOUT_S: Final = 10.0
"""From the first packet to authenticated; alpaca-py would wait for ever."""
RETRY_AFTER_MAX_S: Final = 60.0
"""What a refused handshake may say is honoured so far."""
_DOUBLINGS_MAX: Final = 16  # enough for any longest pause

REFUSED_CODES: Final = frozenset({401, 402, 403, 409, 411})
"""Key or plan refused: trying again soon cannot help. (403 as an HTTP status; as a frame it cannot come first.)"""
CROWDED_CODES: Final = frozenset({406, 429})
"""Connection limit, too many requests: an old connection has to be noticed as gone first."""

_log = structlog.get_logger(__name__)


class StreamRefused(Exception):
    """The venue said no: an error frame in the handshake, or one that ends a connection.

    Args:
        detail: The venue's text.
        code: Its code; 0 when it gave none.
    """

    def __init__(self, detail: str, code: int = 0) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code


@dataclass(frozen=True, slots=True)
class BackOff:
    """How long to wait before the next attempt; seconds. Each wait is anything up to the whole of its step.

    Full jitter: gateways that lost their connections together must not come back together. Where a soon return
    cannot help, half of the step is waited at least.

    Attributes:
        first_s, max_s: The first step after a connection was lost, doubling with each failure up to the last.
        spacing_s: Between the beginnings of two attempts at least, so that a venue that takes and drops us at
            once is not stormed.
        crowded_s: The first step after 406 or 429: half of it is still a second.
        refused_s: Every step after the key or the plan was refused.
        crowded_max: Attempts that were answered with 406 or 429 within `crowded_window_s`, at most: the next one
            waits until the oldest of them is so long ago.
        crowded_window_s: See there.
    """

    first_s: float = 0.5
    max_s: float = 30.0
    spacing_s: float = 1.0
    crowded_s: float = 2.0
    refused_s: float = 60.0
    crowded_max: int = 8
    crowded_window_s: float = 60.0

    def delay_s(self, failures: int, code: int, since_attempt_s: float, chance: float) -> float:
        """The wait before the next attempt.

        Args:
            failures: Attempts that failed since the last successful handshake, this one included: 1 or more.
            code: The venue's last word, or 0.
            since_attempt_s: Since the failed attempt began.
            chance: Between 0 and 1.
        """
        first_s = self.crowded_s if code in CROWDED_CODES else self.first_s
        doublings = min(max(failures - 1, 0), _DOUBLINGS_MAX)
        step_s = self.refused_s if code in REFUSED_CODES else max(first_s, min(self.max_s, first_s * 2**doublings))
        least = 0.5 if code in CROWDED_CODES | REFUSED_CODES else 0.0
        return max(step_s * (least + chance * (1.0 - least)), self.spacing_s - since_attempt_s, 0.0)


class Crowding:
    """The attempts that found the venue's slot taken: it outlives the loop that connects.

    Args:
        back_off: How many there may be, and in what time.
        monotonic: Seconds.
    """

    def __init__(self, back_off: BackOff, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._window_s = back_off.crowded_window_s
        self._monotonic = monotonic
        self._refused_at: deque[float] = deque(maxlen=back_off.crowded_max)
        self._not_before = float("-inf")

    def note(self, code: int, began: float) -> None:
        """An attempt ended with this code."""
        if code in CROWDED_CODES:
            self._refused_at.append(began)

    def heed(self, retry_after_s: float) -> None:
        """The venue said how long to wait."""
        if retry_after_s > 0:
            self._not_before = self._monotonic() + retry_after_s

    @property
    def wait_s(self) -> float:
        """Until the next attempt may begin."""
        not_before = self._not_before
        if len(self._refused_at) == self._refused_at.maxlen:
            not_before = max(not_before, self._refused_at[0] + self._window_s)
        return max(0.0, not_before - self._monotonic())


class Upstream(Protocol):
    """What is kept up."""

    async def open(self) -> None:
        """Connect and authenticate."""
        ...

    async def serve(self) -> None:
        """Read until the connection ends; ends by raising."""
        ...

    async def shut(self) -> None:
        """Close the socket, whatever state it is in; bounded, never raises."""
        ...

    def on_attempt(self) -> None:
        """An attempt begins."""
        ...

    def on_lost(self, detail: str, code: int) -> None:
        """The attempt failed, or the connection ended."""
        ...

    @property
    def last_code(self) -> int:
        """The code of the last error frame of this connection; 0 when there was none."""
        ...


async def keep_connected(
    upstream: Upstream,
    back_off: BackOff,
    *,
    rng: random.Random,
    crowding: Crowding | None = None,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> None:
    """Run until canceled; the socket is closed when it ends.

    Args:
        upstream: The connection.
        back_off: The waits.
        rng: For the jitter.
        crowding: Remembers between two loops that the venue was crowded.
        monotonic: Seconds.
        sleep: Waits.
    """
    failures = 0
    crowding = crowding or Crowding(back_off, monotonic)
    if crowding.wait_s > 0:
        await sleep(crowding.wait_s)
    while True:
        began = monotonic()
        upstream.on_attempt()
        try:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
                await upstream.open()
            failures = 0
            await upstream.serve()
            detail, code = "ended", upstream.last_code
        except Exception as error:  # nothing that a venue sends may end this loop
            detail, code = _describe(error)
            code = code or upstream.last_code
            crowding.heed(_told_to_wait_s(error))
        finally:
            await _shut(upstream)
        failures += 1
        crowding.note(code, began)
        upstream.on_lost(detail, code)
        delay_s = back_off.delay_s(failures, code, monotonic() - began, rng.random())
        await sleep(max(delay_s, crowding.wait_s))


async def _shut(upstream: Upstream) -> None:
    """Ended by an error of closing, this loop would leave a feed that is said to be live and never comes again."""
    try:
        await upstream.shut()
    except Exception:  # whatever it is: the next attempt needs this one to be over
        _log.exception("upstream_not_shut")


def _told_to_wait_s(error: Exception) -> float:
    """What a refused handshake says in Retry-After, in seconds; of an outage nobody foresees more than a minute."""
    if not isinstance(error, InvalidStatus):
        return 0.0
    told = error.response.headers.get("Retry-After", "")
    return min(float(told), RETRY_AFTER_MAX_S) if told.isascii() and told.isdigit() else 0.0


def _describe(error: Exception) -> tuple[str, int]:
    if isinstance(error, StreamRefused):
        return error.detail, error.code
    if isinstance(error, InvalidStatus):
        return f"HTTP {error.response.status_code}", error.response.status_code
    if isinstance(error, ConnectionClosed):
        return f"closed ({error.rcvd.code if error.rcvd else 'without a word'})", 0
    if isinstance(error, TimeoutError):
        return "no handshake in time", 0
    if isinstance(error, (OSError, WebSocketException)):
        return type(error).__name__, 0
    _log.exception("upstream_failed")
    return f"failed ({type(error).__name__})", 0
