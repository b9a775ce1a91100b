"""Holes in what a feed brought: who had which symbols when one began, and what they are told of it.

Promises that a stream is told of those symbols alone that it had when the hole began and has still: one that it asked
for within the hole lacks nothing, and begins with its snapshot. Leaves to `silence` what a hole is that no break of
the connection explains, and to `hand_out` what is made up for.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Final

from gateway.domain.models.market_data import Gap
from gateway.domain.types import Channel, DataFeed
from gateway.services.streaming.session import MarketDataStream

ALL_CHANNELS: Final = frozenset(Channel)


class Hole:
    """One hole, from its beginning on.

    Args:
        streams: Those that are there when it begins.
        symbols: What it is a hole of; None: of everything that they have.

    Attributes:
        from_ns: When the last value before it was received; None when there never was one.
    """

    def __init__(
        self,
        feed: DataFeed,
        from_ns: int | None = None,
        streams: Iterable[MarketDataStream] = (),
        symbols: frozenset[str] | None = None,
    ) -> None:
        self._feed = feed
        self.from_ns = from_ns
        self._held = {s: s.symbols if symbols is None else s.symbols & symbols for s in streams}

    def __bool__(self) -> bool:
        return bool(self._held)

    def add(self, stream: MarketDataStream) -> None:
        """It broke for this stream, with all the symbols that it has now."""
        self._held[stream] = self._held.get(stream, frozenset()) | stream.symbols

    def part(self, stream: MarketDataStream, symbols: frozenset[str]) -> None:
        """A stream let go of symbols: should it take them again, they are new to it."""
        if stream in self._held:
            self._held[stream] -= symbols

    def discard(self, stream: MarketDataStream) -> None:
        """A stream is gone, or has been told."""
        self._held.pop(stream, None)

    def held(self) -> dict[MarketDataStream, frozenset[str]]:
        """The symbols by stream, of those that are not told yet."""
        return dict(self._held)

    def gap(self, to_ns: int, symbols: tuple[str, ...] = ()) -> Gap:
        """The hole, until then."""
        return Gap(self._feed.value, self.from_ns, to_ns, symbols)

    def tell(self, to_ns: int, channels: Container[Channel] = ALL_CHANNELS) -> None:
        """Tell everybody of these channels, once."""
        for stream, symbols in self.held().items():
            if stream.terms.channel not in channels:
                continue
            self.discard(stream)
            listed = tuple(symbol for symbol in stream.listed if symbol in symbols)
            if listed:
                stream.tell_gap(self.gap(to_ns, listed))
