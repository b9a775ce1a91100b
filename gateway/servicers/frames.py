"""The corridor's bytes: a value's body encoded once, bodies joined into a response.

Promises: what a reader parses is what `wire.market_data` writes, value for value; a test holds the two
together. Serialised messages that are joined merge, and repeated fields append, so elements of the repeated
field 1 and an envelope (batch_sequence, send_time, status) make one response, and a flag is two bytes more at
the end of a body.

Quotes are packed by hand, because there are many of them: what does not change between two quotes of a symbol
is kept as bytes, the numbers are packed in one step. What is out of the ordinary (a time within
2 ms after a full second, or before 1978) takes the dictionary's own road. The other nouns always do.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from gateway.domain.models.market_data import LiveValue, Quote, StreamStatus, TradeCancel, TradeCorrection
from gateway.domain.types import NANOS_PER_SECOND, Channel, DataFeed
from gateway.servicers.wire import market_data as wire
from gateway.servicers.wire.common import DATA_FEED, timestamp_to_proto
from gateway.servicers.wire.market_values import VALUE_TO_PROTO, quote_to_proto

CACHED_SYMBOLS_MAX: Final = 16_384
CACHED_TAILS_MAX: Final = 4_096
"""Combinations of exchanges, conditions, tape and feed; when a cache is full it begins anew."""

_SHORT_BODY_BYTES_MAX: Final = 127  # a length of one byte
_SECONDS_MIN: Final = 1 << 28  # five bytes of varint from 1978 …
_SECONDS_MAX: Final = (1 << 35) - 1  # … to 3058
_NANOS_4_BYTES: Final = 1 << 21
_NANOS_5_BYTES: Final = 1 << 28

# Tags: field number << 3 | wire type. They are the contract's, and a test parses what they write.
_ELEMENT: Final = b"\x0a"  # repeated Quote quotes = 1, and likewise every other channel's values …
_ELEMENT_OF: Final[dict[type[LiveValue], bytes]] = {TradeCorrection: b"\x2a", TradeCancel: b"\x32"}
"""… but for corrections = 5 and cancels = 6 beside the trades."""
_SYMBOL: Final = b"\x0a"
_TIME: Final = b"\x12"
_RECEIVE_TIME: Final = b"\x62"
_BID_EXCHANGE, _ASK_EXCHANGE, _CONDITION, _TAPE, _FEED = b"\x2a", b"\x42", b"\x4a", b"\x52", b"\x58"
_BID_PRICE, _BID_SIZE, _ASK_PRICE, _ASK_SIZE = 0x19, 0x21, 0x31, 0x39
_BATCH_SEQUENCE, _SEND_TIME, _STATUS = b"\x10", b"\x1a", b"\x22"
_SNAPSHOT_FLAG: Final = {
    Channel.QUOTES: b"\x68\x01",
    Channel.TRADES: b"\x68\x01",
    Channel.BARS: b"\x70\x01",
    Channel.UPDATED_BARS: b"\x70\x01",
    Channel.DAILY_BARS: b"\x70\x01",
    Channel.ORDER_BOOKS: b"\x40\x01",
    Channel.TRADING_STATUS: b"\x50\x01",
    Channel.LULD: b"\x48\x01",
    Channel.NEWS: b"",
}
_STALE_FLAG: Final = {
    Channel.QUOTES: b"\x70\x01",
    Channel.TRADES: b"\x70\x01",
    Channel.BARS: b"\x78\x01",
    Channel.UPDATED_BARS: b"\x78\x01",
    Channel.DAILY_BARS: b"\x78\x01",
    Channel.ORDER_BOOKS: b"\x48\x01",
    Channel.TRADING_STATUS: b"",
    Channel.LULD: b"",
    Channel.NEWS: b"",
}
"""A status, a band and an article have none: what the venue said of them it said."""
_BACKFILL_FLAG: Final = {Channel.TRADES: b"\x78\x01", Channel.BARS: b"\x80\x01\x01"}
"""Alone what is fetched after a break has it."""

_NANOS_5: Final = struct.Struct("<HHB")
_NANOS_4: Final = struct.Struct("<HH")
_TWO_BYTES: Final = struct.Struct("<H")
_DOUBLES: Final = struct.Struct("<BdBdBdBd")


def _two_groups(value: int, *, last: bool) -> int:
    """14 bits as two bytes of a varint: the number that a little-endian uint16 writes them from."""
    return value & 0x7F | 0x80 | (value >> 7) << 8 | (0 if last else 0x8000)


# The 30 bits of nanos, 14 at a time: two look-ups in place of a loop over groups of seven.
_MORE: Final = tuple(_two_groups(value, last=False) for value in range(1 << 14))
_LAST: Final = tuple(_two_groups(value, last=True) for value in range(1 << 14))
_ELEMENT_HEADS: Final = tuple(_ELEMENT + bytes((length,)) for length in range(_SHORT_BODY_BYTES_MAX + 1))

_Tails = dict[tuple[str, str, tuple[str, ...], str], bytes]


def varint(value: int) -> bytes:
    """A number of 0 or more as protobuf writes it."""
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def element(body: bytes, tag: bytes = _ELEMENT) -> bytes:
    """A body as one element of a response's repeated field, 1 unless said otherwise."""
    length = len(body)
    if tag is _ELEMENT and length <= _SHORT_BODY_BYTES_MAX:
        return _ELEMENT_HEADS[length] + body
    return tag + varint(length) + body


# A session's element is an event around the same body: its field in MarketEvent takes the place of the response's.
_EVENT: Final = {
    Channel.QUOTES: b"\x0a",
    Channel.TRADES: b"\x12",
    Channel.BARS: b"\x2a",
    Channel.UPDATED_BARS: b"\x2a",
    Channel.DAILY_BARS: b"\x2a",
    Channel.ORDER_BOOKS: b"\x32",
    Channel.TRADING_STATUS: b"\x3a",
    Channel.LULD: b"\x42",
    Channel.NEWS: b"\x4a",
}
_NOTICE_EVENT: Final = {
    _ELEMENT_OF[TradeCorrection][0]: b"\x1a",
    _ELEMENT_OF[TradeCancel][0]: b"\x22",
}


class FrameEncoder:
    """Writes values, flags and envelopes. One per process: it remembers what repeats."""

    def __init__(self) -> None:
        self._heads: dict[str, bytes] = {}
        self._tails: dict[DataFeed, _Tails] = {feed: {} for feed in DataFeed}
        self._second = self._sent_second = -1
        self._time_heads: tuple[bytes, bytes] | None = None
        self._sent_heads: tuple[bytes, bytes] | None = None
        self._receive_time_ns: int | None = None
        self._events: dict[Channel, tuple[bytes, bytes]] = {}
        self._receive_time = b""

    def quotes(self, quotes: Sequence[Quote]) -> list[bytes]:
        """Each quote as an element of StreamQuotesResponse."""
        elements = []
        heads, join, pack_doubles = self._heads, b"".join, _DOUBLES.pack
        feed: DataFeed | None = None
        for quote in quotes:
            if quote.feed is not feed:
                feed = quote.feed
                tails, feed_bytes = self._tails[feed], _FEED + varint(DATA_FEED[feed])
            head = heads.get(quote.symbol) or self._head(quote.symbol)
            key = (quote.bid_exchange, quote.ask_exchange, quote.conditions, quote.tape)
            tail = tails.get(key) or self._tail(tails, key, feed_bytes)
            if quote.receive_time_ns != self._receive_time_ns:
                self._note_receive_time(quote.receive_time_ns)
            second, nanos = divmod(quote.time_ns, NANOS_PER_SECOND)
            if second != self._second:
                self._second, self._time_heads = second, _time_heads(_TIME, second)
            time_heads = self._time_heads
            if nanos < _NANOS_4_BYTES or time_heads is None:
                elements.append(element(quote_to_proto(quote).SerializeToString()))
                continue
            if nanos >= _NANOS_5_BYTES:
                time = time_heads[1] + _NANOS_5.pack(_MORE[nanos & 0x3FFF], _MORE[nanos >> 14 & 0x3FFF], nanos >> 28)
            else:
                time = time_heads[0] + _NANOS_4.pack(_MORE[nanos & 0x3FFF], _LAST[nanos >> 14])
            doubles = pack_doubles(
                _BID_PRICE,
                quote.bid_price,
                _BID_SIZE,
                quote.bid_size,
                _ASK_PRICE,
                quote.ask_price,
                _ASK_SIZE,
                quote.ask_size,
            )
            body = join((head, time, doubles, tail, self._receive_time))
            length = len(body)
            elements.append(_ELEMENT_HEADS[length] + body if length <= _SHORT_BODY_BYTES_MAX else element(body))
        return elements

    def values(self, values: Sequence[LiveValue]) -> list[bytes]:
        """Each value as an element of its channel's response; corrections and cancels have fields of their own."""
        return [
            element(VALUE_TO_PROTO[type(value)](value).SerializeToString(), _ELEMENT_OF.get(type(value), _ELEMENT))
            for value in values
        ]

    def flagged(
        self, channel: Channel, encoded: bytes, *, snapshot: bool = False, stale: bool = False, backfill: bool = False
    ) -> bytes:
        """One element again, with flags that it does not have yet."""
        if encoded[:1] != _ELEMENT:
            return encoded  # corrections and cancels have no flags
        flags = (_SNAPSHOT_FLAG[channel] if snapshot else b"") + (_STALE_FLAG[channel] if stale else b"")
        if backfill:
            flags += _BACKFILL_FLAG[channel]
        return element(encoded[_body_start(encoded, 0)[0] :] + flags)

    def marked_stale(self, channel: Channel, elements: bytes, stale: Sequence[bool]) -> bytes:
        """Joined elements again, some of them flagged stale: one answer in `stale` for each element."""
        written, position = [], 0
        for is_stale in stale:
            start, end = _body_start(elements, position)
            encoded = elements[position:end]
            has_flag = is_stale and encoded[:1] == _ELEMENT
            written.append(element(elements[start:end] + _STALE_FLAG[channel]) if has_flag else encoded)
            position = end
        return b"".join(written)

    def split(self, elements: bytes) -> list[bytes]:
        """Joined elements, one by one."""
        found, position = [], 0
        while position < len(elements):
            _, end = _body_start(elements, position)
            found.append(elements[position:end])
            position = end
        return found

    def events(self, channel: Channel, elements: bytes) -> bytes:
        """Joined elements of a channel's own stream as elements of a session's.

        Sessions that want the same take the same bytes one after another, so those asked last are remembered.
        """
        last = self._events.get(channel)
        if last is not None and last[0] is elements:
            return last[1]
        written, position = [], 0
        while position < len(elements):
            _, end = _body_start(elements, position)
            tag = _NOTICE_EVENT.get(elements[position], _EVENT[channel])
            written.append(element(tag + elements[position + 1 : end]))
            position = end
        events = b"".join(written)
        self._events[channel] = (elements, events)
        return events

    def envelope(self, batch_sequence: int, send_time_ns: int, status: StreamStatus | None) -> bytes:
        """What a response has beside its values. Each message to each reader has its own: written as a quote's time."""
        second, nanos = divmod(send_time_ns, NANOS_PER_SECOND)
        if second != self._sent_second:
            self._sent_second, self._sent_heads = second, _time_heads(_SEND_TIME, second)
        heads = self._sent_heads
        if nanos < _NANOS_4_BYTES or heads is None:
            written = _timestamp(send_time_ns)
            time = _SEND_TIME + varint(len(written)) + written
        elif nanos >= _NANOS_5_BYTES:
            time = heads[1] + _NANOS_5.pack(_MORE[nanos & 0x3FFF], _MORE[nanos >> 14 & 0x3FFF], nanos >> 28)
        else:
            time = heads[0] + _NANOS_4.pack(_MORE[nanos & 0x3FFF], _LAST[nanos >> 14])
        if 0x7F < batch_sequence < len(_LAST):
            sequence = _TWO_BYTES.pack(_LAST[batch_sequence])
        else:
            sequence = varint(batch_sequence)
        envelope = _BATCH_SEQUENCE + sequence + time
        if status is None:
            return envelope
        body = wire.stream_status_to_proto(status).SerializeToString()
        return b"".join((envelope, _STATUS, varint(len(body)), body))

    def _head(self, symbol: str) -> bytes:
        if len(self._heads) >= CACHED_SYMBOLS_MAX:
            self._heads.clear()
        head = self._heads[symbol] = _text(_SYMBOL, symbol)
        return head

    def _tail(self, tails: _Tails, key: tuple[str, str, tuple[str, ...], str], feed: bytes) -> bytes:
        bid_exchange, ask_exchange, conditions, tape = key
        if len(tails) >= CACHED_TAILS_MAX:
            tails.clear()
        listed = [_CONDITION + varint(len(code.encode())) + code.encode() for code in conditions]
        tail = tails[key] = b"".join(
            (_text(_BID_EXCHANGE, bid_exchange), _text(_ASK_EXCHANGE, ask_exchange), *listed, _text(_TAPE, tape), feed)
        )
        return tail

    def _note_receive_time(self, receive_time_ns: int) -> None:
        self._receive_time_ns = receive_time_ns
        time = _timestamp(receive_time_ns)
        self._receive_time = _RECEIVE_TIME + varint(len(time)) + time


def _text(tag: bytes, text: str) -> bytes:
    encoded = text.encode()
    return tag + varint(len(encoded)) + encoded if encoded else b""


def _time_heads(tag: bytes, second: int) -> tuple[bytes, bytes] | None:
    """Times of one second share all but the nanos, whose four or five bytes decide the length; None: out of range."""
    if not _SECONDS_MIN <= second <= _SECONDS_MAX:
        return None
    seconds = b"\x08" + varint(second) + b"\x10"
    return tag + varint(len(seconds) + 4) + seconds, tag + varint(len(seconds) + 5) + seconds


def _timestamp(time_ns: int) -> bytes:
    if time_ns < 0:
        return timestamp_to_proto(time_ns).SerializeToString()
    seconds, nanos = divmod(time_ns, NANOS_PER_SECOND)
    return (b"\x08" + varint(seconds) if seconds else b"") + (b"\x10" + varint(nanos) if nanos else b"")


def _body_start(elements: bytes, position: int) -> tuple[int, int]:
    """Where the body of the element at a position begins and ends."""
    position += 1
    length = shift = 0
    while True:
        byte = elements[position]
        position += 1
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            return position, position + length
        shift += 7
