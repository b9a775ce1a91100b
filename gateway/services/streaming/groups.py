"""The groups of one feed: streams that want the same symbols by the same terms, given the same bytes.

Many equals are several groups, which are served in turn.

Promises that a stream which changes its symbols misses nothing and gets nothing twice: the group that it leaves, and
the one that it enters, hand out first what they have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from gateway.domain.types import Channel, ConflationPolicy
from gateway.services.streaming.fan_out import Group, Pacing
from gateway.services.streaming.last_values import LastValues
from gateway.services.streaming.session import MarketDataStream

COHORTS_MAX: Final = 8
"""Equal streams are served in so many parts, one after another: all at once, the last one waits for all the others."""
COHORT_READERS_MIN: Final = 8
"""Fewer are not worth joining the same bytes once more."""
GOLDEN_SHARE: Final = 0.618_033_988_75
"""From one group's turn to the next one's, of the interval: any number of groups is spread evenly over it."""

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
        self._groups: dict[_Key, list[Group]] = {}
        self._group_of: dict[MarketDataStream, Group] = {}
        self._made = 0

    def enter(self, stream: MarketDataStream) -> None:
        """From here on it is given what its equals are given; what came before was theirs."""
        cohorts = self._groups.setdefault(_key_of(stream), [])
        group = min(cohorts, key=lambda cohort: len(cohort.readers), default=None)
        if group is None or (len(group.readers) >= COHORT_READERS_MIN and len(cohorts) < COHORTS_MAX):
            group = self._new_group(stream)
            cohorts.append(group)
        self._group_of[stream] = group
        group.flush()
        group.readers.add(stream)

    def leave(self, stream: MarketDataStream) -> None:
        """It has everything that came so far."""
        group = self._group_of.pop(stream)
        group.flush()
        group.readers.discard(stream)
        if not group.readers:
            self._end(group, stream)

    def flush(self, stream: MarketDataStream) -> None:
        """Hand out what waits for the time of a stream's group."""
        if (group := self._group_of.get(stream)) is not None:
            group.flush()

    def close(self) -> None:
        """Stop every timer."""
        for cohorts in self._groups.values():
            for group in cohorts:
                group.close()

    def _new_group(self, stream: MarketDataStream) -> Group:
        terms = stream.terms
        self._made += 1
        group = Group(
            terms.conflation,
            terms.max_batch_delay_s,
            self._pacing,
            self._monotonic,
            terms.min_interval_s,
            phase=self._made * GOLDEN_SHARE % 1.0,
        )
        for symbol in stream.symbols:
            entry = self._values[terms.channel].entries[symbol]
            entry.sinks = (*entry.sinks, group)
        return group

    def _end(self, group: Group, last: MarketDataStream) -> None:
        """Its last reader has left it."""
        group.close()
        key = _key_of(last)
        self._groups[key].remove(group)
        if not self._groups[key]:
            del self._groups[key]
        for symbol in last.symbols:
            entry = self._values[last.terms.channel].entries[symbol]
            entry.sinks = tuple(sink for sink in entry.sinks if sink is not group)


def _key_of(stream: MarketDataStream) -> _Key:
    terms = stream.terms
    return terms.channel, terms.conflation, terms.max_batch_delay_s, terms.min_interval_s, stream.symbols
