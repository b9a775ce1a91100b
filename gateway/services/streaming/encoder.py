"""What the corridor needs of the wire, said without it: bytes for values, flags and envelopes.

`servicers.frames` is the implementation; services know no protobuf.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import structlog

from gateway.domain.models.market_data import LiveValue, Quote, StreamStatus
from gateway.domain.types import Channel
from gateway.services.streaming.last_values import V

_log = structlog.get_logger(__name__)


class Encoder(Protocol):
    """Elements of a response's repeated field, which may be joined, and the envelope that makes them one."""

    def quotes(self, quotes: Sequence[Quote]) -> list[bytes]:
        """One element for each quote."""
        ...

    def values(self, values: Sequence[LiveValue]) -> list[bytes]:
        """One element for each value, whatever it is."""
        ...

    def flagged(
        self, channel: Channel, encoded: bytes, *, snapshot: bool = False, stale: bool = False, backfill: bool = False
    ) -> bytes:
        """One element again, with flags that it does not have yet."""
        ...

    def marked_stale(self, channel: Channel, elements: bytes, stale: Sequence[bool]) -> bytes:
        """Joined elements again, some of them flagged stale: one answer for each element."""
        ...

    def split(self, elements: bytes) -> list[bytes]:
        """Joined elements, one by one."""
        ...

    def events(self, channel: Channel, elements: bytes) -> bytes:
        """Joined elements of a channel's own stream as elements of a session's; those asked last are remembered."""
        ...

    def envelope(self, batch_sequence: int, send_time_ns: int, status: StreamStatus | None) -> bytes:
        """What a response has beside its values."""
        ...


def writable(encoder: Encoder, values: Sequence[V]) -> list[tuple[V, bytes]]:
    """Those values that can be written, each with its element; one that cannot takes none of the others with it."""
    pairs: list[tuple[V, bytes]] = []
    for value in values:
        try:
            [element] = encoder.quotes([value]) if isinstance(value, Quote) else encoder.values([value])
        except Exception:  # whatever it is: it is about this value alone
            _log.exception("value_not_encoded", symbol=value.symbol)
        else:
            pairs.append((value, element))
    return pairs
