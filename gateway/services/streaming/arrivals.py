"""Values of several channels in the order in which the gateway received them, for a session that wants every one.

Promises that order across batches too: before anything is taken every group hands out what it holds, so that what is
taken later was received later. Costs a session of its own sorting: streams of one channel never come here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from operator import itemgetter
from typing import TYPE_CHECKING

from gateway.domain.errors import SlowConsumer
from gateway.services.streaming.encoder import Encoder
from gateway.services.streaming.mailbox import MESSAGE_BYTES_MAX, VALUE_BYTES, Waiting

if TYPE_CHECKING:
    from gateway.services.streaming.outlet import Source


class Arrivals:
    """What waits for one reader, sorted.

    Args:
        values_max: Values that may wait.

    Attributes:
        unread_bytes: What waits.
    """

    def __init__(self, encoder: Encoder, values_max: int) -> None:
        self._encoder = encoder
        self._values_max = values_max
        self._sorted: deque[Waiting] = deque()
        self.unread_bytes = 0

    def take(self, sources: Sequence[Source], now: float) -> bytes:
        """The oldest values that make one message together.

        Raises:
            SlowConsumer: More values wait than may.
        """
        arrived = [waiting for source in sources for waiting in source.take_every()]
        arrived.sort(key=itemgetter(0))
        self._sorted.extend(arrived)
        self.unread_bytes += sum(len(waiting[2]) + VALUE_BYTES for waiting in arrived)
        if len(self._sorted) > self._values_max:
            raise SlowConsumer(
                "More values wait for this reader than the gateway keeps.",
                metadata={"unread_values_max": str(self._values_max)},
            )
        taken: list[bytes] = []
        size = 0
        while self._sorted and size < MESSAGE_BYTES_MAX // 2:
            _, channel, element, receipt, health = self._sorted.popleft()
            unread_bytes = len(element) + VALUE_BYTES
            if receipt.is_stale(health.epoch, now):
                element = self._encoder.flagged(channel, element, stale=True)
            taken.append(self._encoder.events(channel, element))
            size += len(element)
            self.unread_bytes -= unread_bytes
        return b"".join(taken)

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._sorted
