"""Who is owed what a break swallowed gets it, flagged, and is told what is lost for good.

Promises that the gap's notice never says more than is true: a symbol counts as made up for when all that the venue has
of it was read and put in; the rest is named in a notice of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from gateway.domain.models.market_data import Gap
from gateway.domain.types import ConflationPolicy
from gateway.services.streaming.backfill import Filled
from gateway.services.streaming.breaks import Lack
from gateway.services.streaming.encoder import Encoder, writable
from gateway.services.streaming.feed_health import Receipt
from gateway.services.streaming.last_values import LastValues, Stamped, time_of
from gateway.services.streaming.mailbox import BATCH_VALUES_MAX, Batch
from gateway.services.streaming.session import MarketDataStream


def wants_every_value(stream: MarketDataStream) -> bool:
    """Whether values that were missed are of any use to it: the newest alone comes by itself."""
    return stream.terms.conflation is not ConflationPolicy.LATEST_PER_SYMBOL


def hand_out(
    filled: Filled,
    owed: Mapping[MarketDataStream, Lack],
    values: LastValues,
    encoder: Encoder,
    receipt: Receipt,
    told: Gap,
) -> None:
    """Give one channel's missed values to the streams that were open when the feed broke, with their notices.

    Args:
        filled: What came of the channel.
        owed: The streams, with what each lacks: what it has asked for since, or came before it, it did not miss.
        values: The channel's newest values: the last missed one may be such.
        encoder: Writes and flags what was read.
        receipt: When the values were read.
        told: Of which feed, and until when.
    """
    readable = writable(encoder, filled.values)
    # The last of each symbol alone: merged one after another, the first would stand. Of half a symbol nobody knows it.
    last = {value.symbol: (value, element) for value, element in readable if value.symbol in filled.complete}
    values.merge([value for value, _ in last.values()], [element for _, element in last.values()], receipt)
    stamped: list[Stamped] = [
        (value, encoder.flagged(filled.channel, element, backfill=True), receipt) for value, element in readable
    ]
    earliest_ns = min((lack.from_ns or 0 for lack in owed.values()), default=0)
    chosen: dict[tuple[frozenset[str], int], list[Stamped]] = {}
    for stream, lack in owed.items():
        symbols, from_ns = lack.symbols & stream.symbols, lack.from_ns or 0
        mine = chosen.get((symbols, from_ns))
        if mine is None:
            its = [entry for entry in stamped if entry[0].symbol in symbols]
            # Who was there when it broke lacks also what was on its way then, with times before that.
            mine = [entry for entry in its if from_ns == earliest_ns or time_of(entry[0]) > from_ns]
            chosen[symbols, from_ns] = mine
        room = stream.terms.unread_values_max // 2
        for start in range(0, min(len(mine), room), BATCH_VALUES_MAX):
            stream.deliver(Batch(mine[start : min(start + BATCH_VALUES_MAX, room)], ConflationPolicy.NONE))
        listed = tuple(symbol for symbol in stream.listed if symbol in symbols)
        for gap in _notices(filled, listed, replace(told, from_time_ns=lack.from_ns), mine, room):
            stream.tell_gap(gap)


def _notices(filled: Filled, listed: tuple[str, ...], told: Gap, mine: list[Stamped], room: int) -> Iterable[Gap]:
    """What was made up for, and what was not: symbols that could not be read, and time too long ago."""
    cut_off = {value.symbol for value, _, _ in mine[room:]}
    whole = tuple(symbol for symbol in listed if symbol in filled.complete and symbol not in cut_off)
    lost = tuple(symbol for symbol in listed if symbol not in whole)
    counted = dict.fromkeys(listed, 0)
    for value, _, _ in mine[:room]:
        counted[value.symbol] = counted.get(value.symbol, 0) + 1
    begins_ns = told.from_time_ns or 0
    if whole and filled.from_ns > begins_ns:
        yield replace(told, to_time_ns=filled.from_ns, symbols=whole)
        begins_ns = filled.from_ns
    if whole:
        count = sum(counted[symbol] for symbol in whole)
        yield replace(told, from_time_ns=begins_ns, symbols=whole, backfilled=True, backfilled_count=count)
    if lost:
        yield replace(told, symbols=lost, backfilled_count=sum(counted[symbol] for symbol in lost))
