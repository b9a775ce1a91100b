"""The newest value of each symbol of one channel: the owner of that fact.

Never goes backwards: an older value than the one held is not kept, whichever road it came by. Unless the one held
claims a time that had not come yet: it would stand in the way of everything until then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Final, Protocol, TypeVar

from gateway.domain.models.market_data import Bar, LiveValue
from gateway.domain.types import NANOS_PER_SECOND, Channel
from gateway.services.streaming.feed_health import NO_EPOCH, FeedHealth, Receipt

Value = LiveValue
Stamped = tuple[Value, bytes, Receipt]
"""A value, the element it is encoded as, and its receipt. A plain tuple: one is made for every quote."""

V = TypeVar("V", bound=Value)

NO_SYMBOLS: Final[frozenset[str]] = frozenset()
AHEAD_MAX_NS: Final = 5 * NANOS_PER_SECOND
"""A time that lies so far after its own receipt is wrong, and not one that others are too old for."""


class Sink(Protocol):
    """Where live values go: a group of streams, or who waits for what comes next."""

    @property
    def wants_whole(self) -> bool:
        """Whether not every change is taken: instead of what changed in a value, the whole of it is wanted."""
        ...

    def add(self, stamped: Stamped) -> None:
        """A live value."""
        ...

    def add_late(self, stamped: Stamped) -> None:
        """A live value that is older than what is held."""
        ...

    def add_notice(self, stamped: Stamped) -> None:
        """A live value that no other replaces."""
        ...

    def supersede(self, stamped: Stamped) -> None:
        """A newer value was read: what came before it must not follow it."""
        ...


class Entry:
    """One symbol: its newest value, and who is to be told of the next."""

    __slots__ = ("newest", "sinks")

    def __init__(self) -> None:
        self.newest: Stamped | None = None
        self.sinks: tuple[Sink, ...] = ()


def time_of(value: Value) -> int:
    """When the venue says it happened, nanoseconds; a bar's beginning."""
    return value.start_time_ns if isinstance(value, Bar) else value.time_ns


class LastValues:
    """Entries by symbol. An entry lives while its symbol is subscribed.

    Args:
        channel: The kind of value; bars are ordered by their beginning.
    """

    def __init__(self, health: FeedHealth, channel: Channel) -> None:
        self._health = health
        # The same as `time_of`, at a fifth of its price: it is asked twice for every quote.
        self._time_of: Callable[[Value], int] = attrgetter("start_time_ns" if channel.is_bars else "time_ns")
        self.entries: dict[str, Entry] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def add(self, symbols: Iterable[str]) -> None:
        """Make room for symbols; those that have an entry keep it."""
        for symbol in symbols:
            if symbol not in self.entries:
                self.entries[symbol] = Entry()

    def forget(self, symbols: Iterable[str]) -> None:
        """Nobody keeps these up to date any more."""
        for symbol in symbols:
            self.entries.pop(symbol, None)

    def disown(self, symbols: Iterable[str]) -> frozenset[str]:
        """The venue brings these no more: nobody can vouch for their values. Those for which somebody could."""
        turned = frozenset(symbol for symbol in symbols if self.is_vouched(symbol))
        for symbol in turned:
            entry = self.entries[symbol]
            if entry.newest is not None:
                value, element, receipt = entry.newest
                entry.newest = (value, element, Receipt(receipt.received_at, NO_EPOCH))
        return turned

    def break_off(self) -> None:
        """The connection ended: what comes next does not follow what came before."""

    def newest(self, symbol: str) -> Stamped | None:
        """The newest value, vouched for or not."""
        entry = self.entries.get(symbol)
        return None if entry is None else entry.newest

    def is_vouched(self, symbol: str) -> bool:
        """Whether there is a value, and it is still the venue's latest."""
        held = self.newest(symbol)
        return held is not None and self._health.vouches(held[2])

    def received_in(self, epoch: int) -> frozenset[str]:
        """Symbols whose newest value was received in an epoch."""
        return frozenset(
            symbol
            for symbol, entry in self.entries.items()
            if entry.newest is not None and entry.newest[2].epoch == epoch
        )

    def publish(self, values: Sequence[V], encoded: Iterable[bytes], receipt: Receipt) -> frozenset[str]:
        """Take live values in, in order, and pass them on; the symbols that nobody can vouch for because of them."""
        find, time_of = self.entries.get, self._time_of
        for value, element in zip(values, encoded, strict=True):
            entry = find(value.symbol)
            if entry is None:
                continue
            stamped = (value, element, receipt)
            held = entry.newest
            if held is not None and time_of(value) < time_of(held[0]) and not self._is_misdated(held[0], value):
                for sink in entry.sinks:
                    sink.add_late(stamped)
                continue
            entry.newest = stamped
            for sink in entry.sinks:
                sink.add(stamped)
        return NO_SYMBOLS

    def merge(self, values: Iterable[V], encoded: Iterable[bytes], receipt: Receipt) -> frozenset[str]:
        """Take in values that were read by request; the symbols for which they are now the newest.

        A live value that can be vouched for stands: what the feed has brought is at least as new, or the feed
        will bring it.
        """
        taken = set()
        for value, element in zip(values, encoded, strict=True):
            entry = self.entries.get(value.symbol)
            if entry is None:
                continue
            held = entry.newest
            if held is not None and self._stands(held, value):
                continue
            entry.newest = stamped = (value, element, receipt)
            taken.add(value.symbol)
            for sink in entry.sinks:
                sink.supersede(stamped)
        return frozenset(taken)

    def _stands(self, held: Stamped, value: Value) -> bool:
        is_newer = self._health.vouches(held[2]) or self._time_of(value) < self._time_of(held[0])
        return is_newer and not self._is_misdated(held[0], value)

    def _is_misdated(self, held: Value, value: Value) -> bool:
        """Whether the time of what is held cannot be; a clock of ours that is wrong is so for the other value too."""
        return self._is_ahead(held) and not self._is_ahead(value)

    def _is_ahead(self, value: Value) -> bool:
        return self._time_of(value) > value.receive_time_ns + AHEAD_MAX_NS
