"""What happens to values while a reader is busy: three policies, three mailboxes.

A batch is what a group of streams is given at one time. Its bytes are joined once and shared by all who take
it as it is. Whether a value is stale is decided when it is taken, not when it is put in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

from gateway.domain.types import Channel, ConflationPolicy
from gateway.services.streaming.channel_values import is_notice
from gateway.services.streaming.encoder import Encoder
from gateway.services.streaming.feed_health import NO_EPOCH, WAIT_MAX_S, FeedHealth, Receipt
from gateway.services.streaming.last_values import Stamped

MESSAGE_BYTES_MAX: Final = 262_144
"""A message is not made longer by joining batches; clients take 4 MiB unless they say otherwise."""
BATCH_VALUES_MAX: Final = 1_024
"""Some 100 KB of quotes."""
DROP_OLDEST_VALUES_MAX: Final = 1_024
VALUE_BYTES: Final = 112
"""What Python keeps beside the bytes of a value that waits by itself: a pair, and the head of the bytes."""
DROP_OLDEST_BYTES_MAX: Final = 229_376
"""What waits for a reader under DROP_OLDEST, with that."""
STALLED_BYTES_MAX: Final = 98_304
"""What may wait for a reader under NONE who takes nothing at all; the batch that is being written comes on top."""

Waiting = tuple[int, Channel, bytes, Receipt, FeedHealth]
"""One value that waits: the order of its arrival, its channel, its element, its receipt, and who vouches for it."""


class Batch:
    """Values that travel together.

    Args:
        values: In the order received.
        policy: LATEST_PER_SYMBOL keeps the last of each symbol; the others every value, as bytes alone.
        has_notices: Some of the values are such that no other replaces.
        is_mixed: They do not come in the order in which they were received.
    """

    __slots__ = (
        "_body",
        "_marked",
        "_receipts",
        "by_symbol",
        "count",
        "epoch",
        "notice_bytes",
        "oldest_at",
        "replaced",
    )

    def __init__(
        self,
        values: Sequence[Stamped],
        policy: ConflationPolicy,
        *,
        has_notices: bool = False,
        is_mixed: bool = False,
    ) -> None:
        self.by_symbol: dict[str | int, Stamped] = {}
        self._receipts: list[Receipt] = []
        self._body: bytes | None = None
        self._marked: tuple[list[bool], bytes] | None = None
        self.notice_bytes = 0
        if policy is ConflationPolicy.LATEST_PER_SYMBOL:
            if has_notices:
                self.by_symbol = {_place_of(stamped): stamped for stamped in values}
                self.notice_bytes = sum(len(element) + VALUE_BYTES for value, element, _ in values if is_notice(value))
            else:
                self.by_symbol = {stamped[0].symbol: stamped for stamped in values}
            self.count = len(self.by_symbol)
        else:
            self._body = b"".join([stamped[1] for stamped in values])
            self._receipts = [stamped[2] for stamped in values]
            self.count = len(values)
        self.replaced = len(values) - self.count
        first, last = values[0][2], values[-1][2]
        self.oldest_at = first.received_at
        self.epoch = first.epoch if first.epoch == last.epoch else NO_EPOCH
        if is_mixed:
            self.oldest_at = min(stamped[2].received_at for stamped in values)
            self.epoch = first.epoch if all(stamped[2].epoch == first.epoch for stamped in values) else NO_EPOCH

    def body(self, channel: Channel, epoch: int, now: float, encoder: Encoder) -> bytes:
        """The joined elements as they are to be written now."""
        if self._body is None:
            self._body = b"".join([stamped[1] for stamped in self.by_symbol.values()])
        if self.epoch == epoch != NO_EPOCH and now - self.oldest_at <= WAIT_MAX_S:
            return self._body
        if epoch == NO_EPOCH or self.epoch not in (NO_EPOCH, epoch):
            stale = [True] * self.count
        else:
            stale = [receipt.is_stale(epoch, now) for receipt in self.receipts()]
        if not any(stale):
            return self._body
        if self._marked is None or self._marked[0] != stale:  # the next reader's are the same, as a rule
            self._marked = (stale, encoder.marked_stale(channel, self._body, stale))
        return self._marked[1]

    def receipts(self) -> list[Receipt]:
        """One for each value."""
        return self._receipts or [stamped[2] for stamped in self.by_symbol.values()]

    def each(self, encoder: Encoder) -> list[tuple[bytes, Receipt]]:
        """Value by value, where every one is kept: the element and its receipt."""
        return list(zip(encoder.split(self._body or b""), self._receipts, strict=True))

    @property
    def size_bytes(self) -> int:
        """Of the joined elements, where they are joined already."""
        return 0 if self._body is None else len(self._body)


def _place_of(stamped: Stamped) -> str | int:
    """Values of one symbol take one another's place; a notice has its own, for as long as it waits."""
    return id(stamped[0]) if is_notice(stamped[0]) else stamped[0].symbol


class Mailbox(Protocol):
    """What one reader has not taken yet."""

    conflated: int
    """Values that a newer one replaced, since the stream began."""
    dropped: int
    """Values that were lost because newer ones came, since the stream began."""
    unread_bytes: int
    """What waits and nobody else keeps."""

    def put(self, batch: Batch, *, is_private: bool = False) -> bool:
        """Add a batch; False when there is no room. A private one is the reader's own snapshot."""
        ...

    def take(self, epoch: int, now: float) -> bytes:
        """What is to be written now; empty when there is nothing."""
        ...

    def shed(self, bytes_max: int) -> bool:
        """Let the oldest go until so little waits; False when none may be let go."""
        ...

    @property
    def holds_private(self) -> bool:
        """Whether some of the reader's own snapshot waits."""
        ...


class EveryValue:
    """Policy NONE: every value, in order, up to a bound.

    Args:
        values_max: Values that may wait; the batch that would go beyond is refused.
    """

    def __init__(self, channel: Channel, encoder: Encoder, values_max: int) -> None:
        self._channel = channel
        self._encoder = encoder
        self._values_max = values_max
        self._batches: deque[tuple[Batch, bool]] = deque()
        self._waiting = 0
        self._private = 0
        self.conflated = self.dropped = self.unread_bytes = 0

    def put(self, batch: Batch, *, is_private: bool = False) -> bool:
        """Add a batch to the end."""
        if self._waiting + batch.count > self._values_max:
            return False
        self._batches.append((batch, is_private))
        self._waiting += batch.count
        self.unread_bytes += batch.size_bytes
        self._private += is_private
        return True

    def take(self, epoch: int, now: float) -> bytes:
        """The oldest batches that make one message together."""
        pieces: list[bytes] = []
        size = 0
        while self._batches and size < MESSAGE_BYTES_MAX // 2:
            batch, is_private = self._batches.popleft()
            self._waiting -= batch.count
            self.unread_bytes -= batch.size_bytes
            self._private -= is_private
            piece = batch.body(self._channel, epoch, now, self._encoder)
            pieces.append(piece)
            size += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def shed(self, bytes_max: int) -> bool:
        """Every value is wanted."""
        return self.unread_bytes <= bytes_max

    def drain(self) -> list[tuple[bytes, Receipt]]:
        """All that waits, value by value."""
        batches, self._batches = self._batches, deque()
        self._waiting = self._private = self.unread_bytes = 0
        return [pair for batch, _ in batches for pair in batch.each(self._encoder)]

    @property
    def holds_private(self) -> bool:
        """Whether some of the reader's own snapshot waits."""
        return self._private > 0


class LatestPerSymbol:
    """Policy LATEST_PER_SYMBOL: a newer value takes the place of the unread one, and is counted.

    A reader who keeps up takes the group's batch as it is; one who does not has a table of its own.

    Args:
        values_max: Values that may wait: notices, which nothing replaces, are what may exceed it.
    """

    def __init__(self, channel: Channel, encoder: Encoder, values_max: int) -> None:
        self._channel = channel
        self._encoder = encoder
        self._values_max = values_max
        self._batch: Batch | None = None
        self._unread: dict[str | int, Stamped] = {}
        self._private = False
        self.conflated = self.dropped = self.unread_bytes = 0

    def put(self, batch: Batch, *, is_private: bool = False) -> bool:
        """Add a batch; there is room for the newest of every symbol, and for so many notices."""
        self.conflated += batch.replaced
        self.unread_bytes += batch.notice_bytes
        self._private |= is_private
        if not self._unread and self._batch is None:
            self._batch = batch
            return batch.count <= self._values_max
        if self._batch is not None:
            self._unread.update(self._batch.by_symbol)
            self._batch = None
        waiting = len(self._unread)
        self._unread.update(batch.by_symbol)
        self.conflated += waiting + batch.count - len(self._unread)
        return len(self._unread) <= self._values_max

    def shed(self, bytes_max: int) -> bool:
        """Every notice is wanted; the newest values are kept for everybody who comes later."""
        return self.unread_bytes <= bytes_max

    def take(self, epoch: int, now: float) -> bytes:
        """Everything that waits."""
        self._private = False
        self.unread_bytes = 0
        if self._batch is not None:
            batch, self._batch = self._batch, None
            return batch.body(self._channel, epoch, now, self._encoder)
        if not self._unread:
            return b""
        unread, self._unread = self._unread, {}
        return b"".join(
            self._encoder.flagged(self._channel, element, stale=True) if receipt.is_stale(epoch, now) else element
            for _, element, receipt in unread.values()
        )

    @property
    def holds_private(self) -> bool:
        """Whether some of the reader's own snapshot waits."""
        return self._private


class DropOldest:
    """Policy DROP_OLDEST: a short queue that loses its oldest values, and counts them.

    A reader who keeps up takes the group's batch as it is; one who does not has a queue of its own.
    """

    def __init__(self, channel: Channel, encoder: Encoder) -> None:
        self._channel = channel
        self._encoder = encoder
        self._batch: Batch | None = None
        self._queue: deque[tuple[bytes, Receipt]] = deque()
        self._private = False
        self.conflated = self.dropped = self.unread_bytes = 0

    def put(self, batch: Batch, *, is_private: bool = False) -> bool:
        """Add a batch; there is always room."""
        self._private |= is_private
        if not self._queue and self._batch is None and batch.count <= DROP_OLDEST_VALUES_MAX:
            self._batch, self.unread_bytes = batch, batch.size_bytes
            return True
        self._unpack()
        self._enqueue(batch)
        self._drop(DROP_OLDEST_BYTES_MAX)
        return True

    def shed(self, bytes_max: int) -> bool:
        """The oldest go."""
        if self.unread_bytes > bytes_max:
            self._unpack()
            self._drop(bytes_max)
        return True

    def _unpack(self) -> None:
        if self._batch is not None:
            batch, self._batch, self.unread_bytes = self._batch, None, 0
            self._enqueue(batch)

    def _enqueue(self, batch: Batch) -> None:
        self._queue.extend(batch.each(self._encoder))
        self.unread_bytes += batch.size_bytes + batch.count * VALUE_BYTES

    def _drop(self, bytes_max: int) -> None:
        while self._queue and (len(self._queue) > DROP_OLDEST_VALUES_MAX or self.unread_bytes > bytes_max):
            self.unread_bytes -= len(self._queue.popleft()[0]) + VALUE_BYTES
            self.dropped += 1

    def take(self, epoch: int, now: float) -> bytes:
        """Everything that waits."""
        self._private = False
        self.unread_bytes = 0
        if self._batch is not None:
            batch, self._batch = self._batch, None
            return batch.body(self._channel, epoch, now, self._encoder)
        if not self._queue:
            return b""
        queue, self._queue = self._queue, deque()
        return b"".join(
            self._encoder.flagged(self._channel, element, stale=True) if receipt.is_stale(epoch, now) else element
            for element, receipt in queue
        )

    @property
    def holds_private(self) -> bool:
        """Whether some of the reader's own snapshot waits."""
        return self._private
