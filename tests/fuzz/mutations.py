"""What becomes of a request's bytes on the way: mostly nothing, else what breaks a message or makes another of it.

The same for what a venue says: a document or a frame with one place in it that means harm.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgpack
from hypothesis import strategies as st

WHOLE: Final = 12
"""For so many requests that arrive as they were written, one each is spoiled in each way."""
REQUEST_BYTES_MAX: Final = 65_000
"""What the server reads. What is larger is gRPC's to refuse, 0.1 s later: that is tried by the table of bad input."""
_TAIL: Final = st.binary(min_size=1, max_size=16)
_DEEP: Final = b"\xbb\x3e" * 150 + b"\xbc\x3e" * 150  # 150 groups within each other
_FOREIGN: Final = (
    b"\xb8\x3e\x01",  # field 999 = 1
    b"\xba\x3e\x02hi",
    b"\xfa\xff\xff\xff\x0f\x00",  # the largest field number
    b"\x00",  # field 0
    b"\x0f",  # wire type 7
    b"\x0c",  # an end without a beginning
    b"\x0a\xff\xff\xff\xff\x07",  # 2 GiB that are not there
    b"\x08" + b"\x80" * 11,  # an endless number
    b"\x12\x02\xff\xfe",  # no UTF-8
    _DEEP,
)


def spoiled(requests: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """The bytes of requests, of which some are spoiled."""
    either = st.one_of(
        *[requests] * WHOLE,
        st.builds(_cut, requests, st.integers(0, 1 << 16)),
        st.builds(_flipped, requests, st.lists(st.integers(0, 1 << 20), min_size=1, max_size=4)),
        st.builds(bytes.__add__, requests, st.sampled_from(_FOREIGN)),
        st.builds(bytes.__add__, st.sampled_from(_FOREIGN), requests),
        st.builds(bytes.__add__, requests, requests),  # every field twice, of a oneof several
        st.builds(_repeated, requests, st.integers(2, 1 << 10)),
        st.builds(bytes.__add__, requests, _TAIL),
        st.binary(max_size=200),
    )
    return either.map(lambda raw: raw[:REQUEST_BYTES_MAX])


def _cut(raw: bytes, at: int) -> bytes:
    return raw[: at % (len(raw) + 1)]


def _flipped(raw: bytes, places: list[int]) -> bytes:
    spoilt = bytearray(raw)
    for place in places if raw else ():
        spoilt[place // 8 % len(raw)] ^= 1 << place % 8
    return bytes(spoilt)


def _repeated(raw: bytes, times: int) -> bytes:
    return (raw * times)[:REQUEST_BYTES_MAX]


# --- what a venue says

HOSTILE: Final = (
    *(None, True, {}, [], [[]], -1, 0, 1 << 63, -(1 << 63) - 1, 10**18, 1e308, -0.5, 5e-324, "", "NaN", "1e400", "-1"),
    *("0x10", "1_0", "\u0661", "\x00", "AAPL\x00", "../orders", "x" * 5_000, "0000-01-01T00:00:00Z", "9" * 400),
    *("9999-12-31T23:59:60Z", "2026-02-30T00:00:00Z", "2026-03-02T14:30:00+99:99", "\u202e", "a\nb", "\x1b[31m"),
)
_JSON_WORDS: Final = (
    b"NaN",
    b"-Infinity",
    b"1e400",
    b"-1e99999999999999999999",
    b"1e-99999999999999999999",
    b"9" * 5_000,
    b'"\\ud800"',
    b'"\\u0000"',
    b"[" * 2_000,
    b'{"a":' * 200,
)
Json = Any
Path = tuple[Any, ...]


def leaves(document: Json, at: Path = ()) -> Iterator[Path]:
    """The places in a document, itself among them."""
    yield at
    inside: Iterable[tuple[Any, Json]] = ()
    if isinstance(document, dict):
        inside = document.items()
    elif isinstance(document, list):
        inside = enumerate(document)
    for name, value in inside:
        yield from leaves(value, (*at, name))


def with_value(document: Json, at: Path, value: Json) -> Json:
    """The document with something else in one place."""
    if not at:
        return value
    changed = copy.copy(document)
    changed[at[0]] = with_value(changed[at[0]], at[1:], value)
    return changed


def spoiled_json(seed: bytes) -> st.SearchStrategy[bytes]:
    """A document with a hostile value, or a hostile word that no document could hold, in one place."""
    document = json.loads(seed)
    places = st.sampled_from(list(leaves(document)))
    values = st.builds(lambda at, value: json.dumps(with_value(document, at, value)).encode(), places, _values())
    mark = '"here"'
    words = st.builds(
        lambda at, word: json.dumps(with_value(document, at, "here")).encode().replace(mark.encode(), word, 1),
        places,
        st.sampled_from(_JSON_WORDS),
    )
    return st.one_of(values, words)


def spoiled_frame(seed: bytes) -> st.SearchStrategy[bytes]:
    """A msgpack frame with a hostile value, or a value that JSON does not have, in one place."""
    frame = msgpack.unpackb(seed, timestamp=0)
    foreign = st.sampled_from(
        [msgpack.ExtType(7, b"x"), msgpack.Timestamp(0), msgpack.Timestamp(2**62), b"\xff", float("nan"), float("inf")]
    )
    places = st.sampled_from(list(leaves(frame)))
    values = st.one_of(_values().filter(_fits_msgpack), foreign)
    return st.builds(lambda at, value: bytes(msgpack.packb(with_value(frame, at, value))), places, values)


def _values() -> st.SearchStrategy[Json]:
    return st.one_of(
        st.sampled_from(HOSTILE),
        st.integers(-(2**70), 2**70),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=20),
    )


def _fits_msgpack(value: Json) -> bool:
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    return not isinstance(value, int) or -(2**63) <= value < 2**64
