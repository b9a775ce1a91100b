"""When to try again, and when to stop: no I/O, and time is an argument.

Only ambiguous codes are tried again, and only calls that may be repeated: reads, and commands under their
own client_order_id. Every try is the same request, key and valid_until included. Definite errors are the
caller's to judge.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from trading_gateway.call import Call
from trading_gateway.errors import GatewayError, KeyFate
from trading_gateway.values import not_before

_DOUBLINGS_MAX: Final = 30
"""Enough for any ceiling, and no overflow however often a stream breaks."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Bounds of repeating.

    Attributes:
        attempts_max: Tries of one call, the first included; all within the call's own timeout. Eight of them, with the
            pauses between, go on for 5 s at least: longer than a gateway takes to come back.
        try_timeout_s: Seconds for one try of a command that the gateway answers promptly: after it the same is asked
            again. A read may use up the whole timeout.
        reconnects_max: Tries to reopen a stream without a message in between.
        backoff_initial_s: The first pause, in seconds; it doubles, and a random half of it is waited less.
        backoff_max_s: The longest pause, in seconds.
    """

    attempts_max: int = 8
    try_timeout_s: float = 4.0
    reconnects_max: int = 20
    backoff_initial_s: float = 0.1
    backoff_max_s: float = 5.0

    def pause_s(self, failures: int, error: GatewayError | None, chance: Callable[[], float]) -> float:
        """Seconds to wait after so many failures in a row; never less than the error asks for."""
        ceiling = min(self.backoff_max_s, self.backoff_initial_s * 2.0 ** min(failures - 1, _DOUBLINGS_MAX))
        asked = error.retry_after_s if error else None
        return max(ceiling * (1 - chance() / 2), asked or 0.0)


class Attempts:
    """The tries of one call.

    Args:
        policy: How often.
        call: What is tried.
        timeout_s: Seconds for all tries together.
        now_s: A monotonic clock, in seconds.
        chance: Random numbers in [0, 1).
    """

    def __init__(
        self,
        policy: RetryPolicy,
        call: Call[Any],
        *,
        timeout_s: float,
        now_s: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._policy = policy
        self._call = call
        self._now_s = now_s
        self._chance = chance
        self._end_s = now_s() + timeout_s
        self._failures = 0
        self._may_have_arrived = False

    @property
    def try_s(self) -> float:
        """Seconds for the next try."""
        left_s = max(0.0, self._end_s - self._now_s())
        prompt = self._call.prompt and self._call.repeatable
        return min(left_s, self._policy.try_timeout_s + self._call.wait_s) if prompt else left_s

    def pause_after(self, error: GatewayError) -> float:
        """Seconds to wait before the next try.

        Args:
            error: How this one failed.

        Raises:
            GatewayError: The same one, when there is no next try. Its outcome is unknown as well when an
                earlier try may have arrived and this error says nothing about the key. `may_arrive_until` says
                how long an unanswered try may still be on its way.
        """
        self._failures += 1
        self._judge(error)
        if error.token_replaced and self._failures < self._policy.attempts_max and self._now_s() < self._end_s:
            return 0.0  # it did nothing, so that it is made again at once, with the token that is there now
        if not (self._call.repeatable and error.ambiguous) or self._failures >= self._policy.attempts_max:
            raise error
        pause_s = self._policy.pause_s(self._failures, error, self._chance)
        if pause_s >= self._end_s - self._now_s():
            raise error
        level = logging.WARNING if self._failures == 1 else logging.INFO  # once a call: it may take seconds more
        _log.log(level, "%s is repeated in %.2f s: %s", self._call.path, pause_s, error)
        return pause_s

    def _judge(self, error: GatewayError) -> None:
        """Add to an error what it cannot know: whether the call acts, and that there were other tries."""
        may_act = self._call.acts and (error.outcome_unknown or self._may_have_arrived)
        error.outcome_unknown = error.key is None and may_act
        self._may_have_arrived = self._may_have_arrived or error.outcome_unknown
        is_settled = error.key in (KeyFate.SPENT, KeyFate.TAKEN)  # for ever, whatever arrives
        if self._may_have_arrived and not is_settled and self._call.valid_until_ns is not None:
            error.may_arrive_until = not_before(self._call.valid_until_ns)


class Reconnects:
    """The tries to reopen one stream; a message in between starts the count anew.

    The pauses grow on while connections break soon, messages or not: a gateway that takes a stream and ends it at once
    is not asked ten times a second.

    Args:
        policy: How often.
        end_s: An instant of the clock after which the stream is not wanted any more.
        now_s: A monotonic clock, in seconds.
        chance: Random numbers in [0, 1).
    """

    def __init__(
        self,
        policy: RetryPolicy,
        *,
        end_s: float = math.inf,
        now_s: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._policy = policy
        self._end_s = end_s
        self._now_s = now_s
        self._chance = chance
        self._failures = 0
        self._soon_broken = 0
        self._opened_s = now_s()

    @property
    def remaining_s(self) -> float | None:
        """Seconds left: the deadline of the next try; None: no end."""
        return None if math.isinf(self._end_s) else max(0.0, self._end_s - self._now_s())

    @property
    def is_over(self) -> bool:
        """The end has come."""
        return self._now_s() >= self._end_s

    def opened(self) -> None:
        """The next try begins."""
        self._opened_s = self._now_s()

    def received(self) -> None:
        """A message came: the stream works."""
        self._failures = 0
        if self._soon_broken and self._now_s() - self._opened_s >= self._policy.backoff_max_s:
            self._soon_broken = 0

    def pause_after(self, error: GatewayError, what: str) -> float:
        """Seconds to wait before the stream is opened again.

        Args:
            error: How it broke.
            what: The stream, for the log.

        Raises:
            GatewayError: The same one, after `reconnects_max` failures in a row.
        """
        self._failures += 1
        self._soon_broken += 1
        if self._failures > self._policy.reconnects_max:
            raise error
        asked_s = self._policy.pause_s(self._soon_broken, error, self._chance)
        pause_s = min(asked_s, self._end_s - self._now_s())
        _log.info("%s is opened again in %.2f s: %s", what, max(0.0, pause_s), error)
        return max(0.0, pause_s)
