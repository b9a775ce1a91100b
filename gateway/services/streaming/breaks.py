"""Gaps in what a feed brought: who had which symbols when one began, and what they are told of it.

Promises that a stream is told of those symbols alone that it had when the gap began and has still: one that it asked
for within the gap lacks nothing, and begins with its snapshot. Leaves to `silence` what a gap is that no break of
the connection explains, and to `hand_out` what is made up for.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, replace
from typing import Final

from gateway.domain.models.market_data import Gap
from gateway.domain.types import Channel, DataFeed
from gateway.services.streaming.session import MarketDataStream

ALL_CHANNELS: Final = frozenset(Channel)


@dataclass(frozen=True, slots=True)
class Lack:
    """What one stream lacks: of which symbols, and since when; None: nobody knows."""

    symbols: frozenset[str]
    from_ns: int | None


class OpenGap:
    """One gap, from its beginning on; of the next break, too, as long as this one is not told.

    Args:
        from_ns: When the last value before it was received; None when there never was one.
        streams: Those that are there when it begins.
        symbols: What it is a gap of; None: of everything that they have.
    """

    def __init__(
        self,
        feed: DataFeed,
        from_ns: int | None = None,
        streams: Iterable[MarketDataStream] = (),
        symbols: frozenset[str] | None = None,
    ) -> None:
        self._feed = feed
        self._lacks: dict[MarketDataStream, Lack] = {}
        for stream in streams:
            self.add(stream, from_ns, symbols)

    def __bool__(self) -> bool:
        return bool(self._lacks)

    def add(self, stream: MarketDataStream, from_ns: int | None, symbols: frozenset[str] | None = None) -> None:
        """It broke for this stream, with the symbols that it has now; since it came, at the earliest."""
        broken = stream.symbols if symbols is None else stream.symbols & symbols
        lack = self._lacks.get(stream)
        if lack is not None:
            self._lacks[stream] = replace(lack, symbols=lack.symbols | broken)
        else:
            self._lacks[stream] = Lack(broken, None if from_ns is None else max(from_ns, stream.since_ns))

    def part(self, stream: MarketDataStream, symbols: frozenset[str]) -> None:
        """A stream let go of symbols: should it take them again, they are new to it."""
        lack = self._lacks.get(stream)
        if lack is not None:
            self._lacks[stream] = replace(lack, symbols=lack.symbols - symbols)

    def discard(self, stream: MarketDataStream) -> None:
        """A stream is gone, or has been told."""
        self._lacks.pop(stream, None)

    def lacks(self) -> dict[MarketDataStream, Lack]:
        """By stream, of those that are not told yet."""
        return dict(self._lacks)

    def tell(self, to_ns: int, channels: Container[Channel] = ALL_CHANNELS) -> None:
        """Tell everybody of these channels, once."""
        for stream, lack in self.lacks().items():
            if stream.terms.channel not in channels:
                continue
            self.discard(stream)
            listed = tuple(symbol for symbol in stream.listed if symbol in lack.symbols)
            if listed:
                stream.tell_gap(Gap(self._feed.value, lack.from_ns, to_ns, listed))
