"""A question to the venue about a feed that says nothing: what has it that the feed has not brought?

Every symbol of which the venue has something newer is marked with that value's time. The feed brings a symbol's values
in order, so its next word tells what the silence was. At the mark or before it: the feed was late, and nothing is
lost. Beyond the mark: it swallowed what was marked. No word though the feed speaks again: the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from gateway.domain.types import Channel
from gateway.services.streaming.last_values import LastValues, Stamped, Value, time_of

Held = Mapping[str, int]
"""Symbol → time of the newest value, of those that are vouched for now."""


class Question:
    """One question about one channel. A sink: it hears the feed's first word of each symbol.

    Args:
        held: What the feed has brought of the symbols that are asked about.
        values: Where live values are heard of.
        epoch: The feed's; what comes in another one follows a break, which is told by itself.

    Attributes:
        first: The first live value of each symbol since the question began.
    """

    wants_whole = False

    def __init__(self, channel: Channel, held: Held, values: LastValues, epoch: Callable[[], int]) -> None:
        self.channel = channel
        self.held = held
        self.first: dict[str, Value] = {}
        self._marks: dict[str, int] = {}
        self._values = values
        self._epoch = epoch
        self._began_in = epoch()
        self._received = {symbol: newest[0].receive_time_ns for symbol in held if (newest := values.newest(symbol))}

    @property
    def marked(self) -> list[str]:
        """The symbols of which the venue has something newer."""
        return list(self._marks)

    def add(self, stamped: Stamped) -> None:
        """A live value."""
        if self._epoch() == self._began_in:
            self.first.setdefault(stamped[0].symbol, stamped[0])

    def add_late(self, stamped: Stamped) -> None:
        """A live value that is older than what was held says nothing of what came after that."""

    def add_notice(self, stamped: Stamped) -> None:
        """A correction or a cancel is no word of its own."""

    def supersede(self, stamped: Stamped) -> None:
        """A value that was read is no word of the feed."""

    def mark(self, newer: Iterable[Value]) -> None:
        """What the venue has, newer than what is held."""
        self._marks.update((value.symbol, time_of(value)) for value in newer)

    def swallowed(self) -> list[str]:
        """The symbols of which the feed did not bring what was marked, now that it has had its time."""
        goes_on = self._epoch() == self._began_in
        return [symbol for symbol, mark_ns in self._marks.items() if self._skipped(symbol, mark_ns, goes_on)]

    def received_ns(self, symbol: str) -> int:
        """When the last value before the question was received."""
        return self._received[symbol]

    def _skipped(self, symbol: str, mark_ns: int, goes_on: bool) -> bool:
        first = self.first.get(symbol)
        return goes_on if first is None else time_of(first) > mark_ns

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear the feed for so long."""
        entries = [entry for symbol in self.held if (entry := self._values.entries.get(symbol)) is not None]
        for entry in entries:
            entry.sinks = (*entry.sinks, self)
        try:
            yield
        finally:
            for entry in entries:
                entry.sinks = tuple(sink for sink in entry.sinks if sink is not self)
