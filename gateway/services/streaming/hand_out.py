"""Who is owed what a break swallowed gets it, flagged, and is told what is lost for good.

Promises that the hole's notice never says more than is true: a symbol counts as made up for when all that the venue has
of it was read and put in; the rest is named in a notice of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from gateway.domain.models.market_data import Gap
from gateway.domain.types import ConflationPolicy
from gateway.services.streaming.backfill import Filled
from gateway.services.streaming.encoder import Encoder, writable
from gateway.services.streaming.feed_health import Receipt
from gateway.services.streaming.last_values import LastValues, Stamped
from gateway.services.streaming.mailbox import BATCH_VALUES_MAX, Batch
from gateway.services.streaming.session import MarketDataStream


def wants_every_value(stream: MarketDataStream) -> bool:
    """Whether values that were missed are of any use to it: the newest alone comes by itself."""
    return stream.terms.conflation is not ConflationPolicy.LATEST_PER_SYMBOL


def hand_out(
    filled: Filled,
    owed: Mapping[MarketDataStream, frozenset[str]],
    values: LastValues,
    encoder: Encoder,
    receipt: Receipt,
    hole: Gap,
) -> None:
    """Give one channel's missed values to the streams that were open when the feed broke, with their notices.

    Args:
        filled: What came of the channel.
        owed: The streams, with the symbols that each had then: what it has asked for since, it did not miss.
        values: The channel's newest values: the last missed one may be such.
        encoder: Writes and flags what was read.
        receipt: When the values were read.
        hole: From when to when the feed was down.
    """
    readable = writable(encoder, filled.values)
    values.merge([value for value, _ in readable], [element for _, element in readable], receipt)
    stamped: list[Stamped] = [
        (value, encoder.flagged(filled.channel, element, backfill=True), receipt) for value, element in readable
    ]
    chosen: dict[frozenset[str], list[Stamped]] = {}
    for stream, held in owed.items():
        symbols = held & stream.symbols
        mine = chosen.get(symbols)
        if mine is None:
            mine = chosen[symbols] = [entry for entry in stamped if entry[0].symbol in symbols]
        room = stream.terms.unread_values_max // 2
        for start in range(0, min(len(mine), room), BATCH_VALUES_MAX):
            stream.deliver(Batch(mine[start : min(start + BATCH_VALUES_MAX, room)], ConflationPolicy.NONE))
        listed = tuple(symbol for symbol in stream.listed if symbol in symbols)
        for gap in _notices(filled, listed, hole, mine, room):
            stream.tell_gap(gap)


def _notices(filled: Filled, listed: tuple[str, ...], hole: Gap, mine: list[Stamped], room: int) -> Iterable[Gap]:
    """What was made up for, and what was not: symbols that could not be read, and time too long ago."""
    cut_off = {value.symbol for value, _, _ in mine[room:]}
    whole = tuple(symbol for symbol in listed if symbol in filled.complete and symbol not in cut_off)
    lost = tuple(symbol for symbol in listed if symbol not in whole)
    counted = dict.fromkeys(listed, 0)
    for value, _, _ in mine[:room]:
        counted[value.symbol] = counted.get(value.symbol, 0) + 1
    begins_ns = hole.from_time_ns or 0
    if whole and filled.from_ns > begins_ns:
        yield replace(hole, to_time_ns=filled.from_ns, symbols=whole)
        begins_ns = filled.from_ns
    if whole:
        count = sum(counted[symbol] for symbol in whole)
        yield replace(hole, from_time_ns=begins_ns, symbols=whole, backfilled=True, backfilled_count=count)
    if lost:
        yield replace(hole, symbols=lost, backfilled_count=sum(counted[symbol] for symbol in lost))
