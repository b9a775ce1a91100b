"""How far behind the gateway a reader is, though the two clocks may not agree. No I/O.

Promises: nothing is called fresher than it is, but for the journey of the quickest message. The clocks are taken to
agree unless the stream proves that they do not, and then by no more than it proves: nothing was sent before the stream
was opened, and nothing arrives before it was sent. What a clock that is set does to a stream ends with its connection.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable


class Lag:
    """Measures what was sent by the gateway's clock with this machine's.

    Args:
        wall_ns: Nanoseconds since the Unix epoch.
        monotonic_ns: A clock that nobody sets, in nanoseconds.
    """

    def __init__(
        self, wall_ns: Callable[[], int] = time.time_ns, monotonic_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._wall_ns = wall_ns
        self._monotonic_ns = monotonic_ns
        self.opened()

    def opened(self) -> None:
        """A connection begins: forget what the one before proved of its gateway's clock."""
        self._wall_from_ns, self._monotonic_from_ns = self._wall_ns(), self._monotonic_ns()
        self._ahead_min_ns = -math.inf
        self._ahead_max_ns = math.inf

    def arrived(self, send_ns: int) -> None:
        """A message is taken: by how much this clock can be ahead of the gateway's is known better.

        Args:
            send_ns: When it was sent, by the gateway's clock.
        """
        self._ahead_min_ns = max(self._ahead_min_ns, self._wall_from_ns - send_ns)
        self._ahead_max_ns = min(self._ahead_max_ns, self._now_ns() - send_ns)

    @property
    def gateway_ns(self) -> int:
        """The time by the gateway's clock, as far as it is known; nanoseconds since the Unix epoch."""
        return self._now_ns() - int(min(max(0, self._ahead_min_ns), self._ahead_max_ns))

    def since_ns(self, send_ns: int) -> int:
        """Nanoseconds since the gateway sent something."""
        return self.gateway_ns - send_ns

    def _now_ns(self) -> int:
        """This clock: not put back when it is set back, and no standstill while the machine sleeps."""
        elapsed_ns = max(self._wall_ns() - self._wall_from_ns, self._monotonic_ns() - self._monotonic_from_ns)
        return self._wall_from_ns + elapsed_ns
