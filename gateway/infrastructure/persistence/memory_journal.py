"""The order journal in memory: gapless, chained, bounded, and gone when the process ends.

Promises what `OrderJournal` promises but for durability: each life has a random epoch of its own, so that a token of an
earlier life is told apart. At the bound the oldest events go; the projection that was built from them stays.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from typing import Final

from gateway.domain.models.orders import JournalEvent

EVENTS_MAX: Final = 1_000_000
HASH_BYTES: Final = 8
EPOCH_BYTES: Final = 8
_COMPACTED_PART: Final = 16
"""At the bound one sixteenth goes at once, so that dropping is rare."""


def random_epoch() -> str:
    """A new life's id."""
    return secrets.token_hex(EPOCH_BYTES)


class MemoryJournal:
    """Implements `OrderJournal`.

    Args:
        events_max: Events kept.
        new_epoch: Makes the id of this life.
    """

    def __init__(self, events_max: int = EVENTS_MAX, new_epoch: Callable[[], str] = random_epoch) -> None:
        if events_max < 1:
            raise ValueError("events_max must be 1 or more")
        self._epoch = new_epoch()
        self._events_max = events_max
        self._events: list[JournalEvent] = []
        self._hashes: list[bytes] = []
        self._before = 0  # the sequence just before the oldest kept
        self._hash_before = hashlib.blake2b(self._epoch.encode(), digest_size=HASH_BYTES).digest()
        self._last_hash = self._hash_before

    @property
    def epoch(self) -> str:
        """The random id of this life."""
        return self._epoch

    @property
    def head(self) -> int:
        """The sequence of the newest event; 0 when there is none."""
        return self._before + len(self._events)

    @property
    def oldest(self) -> int:
        """The sequence of the oldest event kept; head + 1 when there is none."""
        return self._before + 1

    async def append(self, events: Sequence[JournalEvent]) -> tuple[JournalEvent, ...]:
        """Record events together and return them with their sequences."""
        sequence = self.head
        for event in events:
            assert not event.sequence, "an event is recorded once"
            sequence += 1
            event.sequence = sequence
            self._last_hash = _chained(self._last_hash, event)
            self._events.append(event)
            self._hashes.append(self._last_hash)
        if len(self._events) > self._events_max:
            self._compact()
        return tuple(events)

    def read(self, after: int, limit: int) -> tuple[JournalEvent, ...]:
        """At most `limit` events with a sequence greater than `after`, in order."""
        start = max(after - self._before, 0)
        return tuple(self._events[start : start + limit])

    def chain_hash(self, sequence: int) -> bytes:
        """8 bytes that bind all events up to a sequence.

        Raises:
            KeyError: The sequence is compacted away, or lies in the future.
        """
        index = sequence - self._before
        if index == 0:
            return self._hash_before
        if not 0 < index <= len(self._hashes):
            raise KeyError(sequence)
        return self._hashes[index - 1]

    def _compact(self) -> None:
        surplus = len(self._events) - self._events_max
        dropped = max(surplus, min(self._events_max // _COMPACTED_PART, len(self._events) - 1))
        self._hash_before = self._hashes[dropped - 1]
        self._before += dropped
        del self._events[:dropped]
        del self._hashes[:dropped]


def _chained(previous: bytes, event: JournalEvent) -> bytes:
    """The next link: over what identifies the event, not over every figure of it."""
    venue_order = event.venue_order
    text = "|".join(
        (
            event.kind,
            event.order_id,
            str(event.record_time_ns),
            event.fingerprint,
            event.venue_event_id,
            f"{venue_order.venue_order_id}:{venue_order.filled_quantity}" if venue_order is not None else "",
        )
    )
    return hashlib.blake2b(previous + text.encode(), digest_size=HASH_BYTES).digest()
