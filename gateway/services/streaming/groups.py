"""The groups of one feed: streams that want the same symbols by the same terms, given the same bytes.

Promises that a stream which changes its symbols misses nothing and gets nothing twice: the group that it leaves, and
the one that it enters, hand out first what they have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gateway.domain.types import Channel, ConflationPolicy
from gateway.services.streaming.fan_out import Group, Pacing
from gateway.services.streaming.last_values import LastValues
from gateway.services.streaming.session import MarketDataStream

_Key = tuple[Channel, ConflationPolicy, float, float, frozenset[str]]


class Groups:
    """Every group of one feed.

    Args:
        values: Channel by channel, who is told of each symbol's next value.
        monotonic: Seconds, the clock of the event loop.
    """

    def __init__(self, values: Mapping[Channel, LastValues], pacing: Pacing, monotonic: Callable[[], float]) -> None:
        self._values = values
        self._pacing = pacing
        self._monotonic = monotonic
        self._groups: dict[_Key, Group] = {}

    def enter(self, stream: MarketDataStream) -> None:
        """From here on it is given what its equals are given; what came before was theirs."""
        key, terms = _key_of(stream), stream.terms
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(
                terms.conflation, terms.max_batch_delay_s, self._pacing, self._monotonic, terms.min_interval_s
            )
            for symbol in stream.symbols:
                entry = self._values[terms.channel].entries[symbol]
                entry.sinks = (*entry.sinks, group)
        group.flush()
        group.readers.add(stream)

    def leave(self, stream: MarketDataStream) -> None:
        """It has everything that came so far."""
        key = _key_of(stream)
        group = self._groups[key]
        group.flush()
        group.readers.discard(stream)
        if not group.readers:
            group.close()
            del self._groups[key]
            for symbol in stream.symbols:
                entry = self._values[stream.terms.channel].entries[symbol]
                entry.sinks = tuple(sink for sink in entry.sinks if sink is not group)

    def flush(self, stream: MarketDataStream) -> None:
        """Hand out what waits for the time of a stream's group."""
        if (group := self._groups.get(_key_of(stream))) is not None:
            group.flush()

    def close(self) -> None:
        """Stop every timer."""
        for group in self._groups.values():
            group.close()


def _key_of(stream: MarketDataStream) -> _Key:
    terms = stream.terms
    return terms.channel, terms.conflation, terms.max_batch_delay_s, terms.min_interval_s, stream.symbols
