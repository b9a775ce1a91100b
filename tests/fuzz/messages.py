"""Requests from the contract's descriptors: a good one with some fields changed, or one that is made up altogether.

A field's values are drawn by its type and its name: what a caller would write there, what belongs elsewhere, and what
nobody should write anywhere.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor as F
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from tests.bad_input import BAD_DECIMALS, BAD_KEYS, BAD_ORDER_IDS, BAD_SYMBOLS
from tests.bad_requests import UNKNOWN_ID

CHANGES_MAX: Final = 4
"""Fields of one message that are changed, or set."""
ELEMENTS_MAX: Final = 3
"""Of a repeated field, drawn one by one; a crowd repeats or numbers them."""
CROWD: Final = (100, 501, 5_000)
DEPTH_MAX: Final = 4

GOOD_TEXTS: Final[Mapping[str, tuple[str, ...]]] = {
    "symbol": ("AAPL", "MSFT", "BTC/USD", "BRK.B", "ZZZZZZ"),
    "symbols": ("AAPL", "MSFT", "TSLA", "BTC/USD"),
    "symbol_or_id": ("AAPL", "BTC/USD", UNKNOWN_ID),
    "quantity": ("1", "2", "0.5", "100", "1000000000"),
    "notional": ("1", "100", "100.25"),
    "percentage": ("1", "50", "100", "100.1"),
    "limit_price": ("1", "50", "50.01", "9000", "0.0001"),
    "stop_price": ("1", "40", "9000"),
    "trail": ("1", "0.5"),
    "trail_price": ("1", "0.01"),
    "trail_percent": ("1", "99.9"),
    "max_order_notional": ("100", "0.01"),
    "strategy_id": ("", "default", "momentum"),
    "client_order_id": ("fuzz-1", "fuzz-2", "known"),
    "client_order_id_prefix": ("fuzz", "close-"),
    "order_id": (UNKNOWN_ID,),
    "venue_order_id": (UNKNOWN_ID,),
    "scopes": ("orders:read", "orders:trade", "market_data:read", "operations:admin"),
    "networks": ("10.0.0.0/8", "127.0.0.1/32", "::1/128"),
    "certificate": ("spiffe://gateway/momentum",),
    "token_id": ("00000000",),
    "exchange": ("NASDAQ", "NYSE"),
    "reason": ("because",),
    "route": ("POST /v2/orders", "orders", "*"),
    "service": ("", "trading_gateway.v1.TradingService"),
    "file_containing_symbol": ("trading_gateway.v1.TradingService",),
    "file_by_filename": ("trading_gateway/v1/trading.proto",),
    "list_services": ("",),
}
NASTY_TEXTS: Final = tuple(
    {
        *(text for texts in BAD_SYMBOLS.values() for text in texts),
        *(text for texts in BAD_DECIMALS.values() for text in texts),
        *BAD_ORDER_IDS,
        *BAD_KEYS,
        *("account", "unattributed", "a\x1b[31mred", "x\r\ny: z", "\x00", "0" * 4_096, "1e9999999999", "-" * 65),
        *("0.0.0.0/0", "10.0.0.1/8", "fe80::1%eth0", "Bearer gw_emu_0", "gw_emu_0", "\u0085", "\u2028", "\ud7ff"),
        *("0" * 19 + "1" + "0" * 5_000, "1" * 5_000, "0" * 20 + "5"),
    }
)
WHOLE_NUMBERS: Final = (0, 1, 2, 3, 5, 10, 59, 60, 99, 500, 1_000, 10_001, -1, -2, 77)
_BITS: Final = {
    F.TYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    F.TYPE_SINT32: (-(1 << 31), (1 << 31) - 1),
    F.TYPE_SFIXED32: (-(1 << 31), (1 << 31) - 1),
    F.TYPE_UINT32: (0, (1 << 32) - 1),
    F.TYPE_FIXED32: (0, (1 << 32) - 1),
    F.TYPE_INT64: (-(1 << 63), (1 << 63) - 1),
    F.TYPE_SINT64: (-(1 << 63), (1 << 63) - 1),
    F.TYPE_SFIXED64: (-(1 << 63), (1 << 63) - 1),
    F.TYPE_UINT64: (0, (1 << 64) - 1),
    F.TYPE_FIXED64: (0, (1 << 64) - 1),
}
_SECONDS: Final = (
    *(0, 1, 2, 5, 30, 60, 61, 3_600, 86_400, -1, 1_600_000_000, 1_700_000_000, 1_704_000_000, 4_000_000_000),
    *(253_402_300_799, 253_402_300_800, -62_135_596_800, -62_135_596_801, 315_576_000_000, 315_576_000_001),
    *(2**63 - 1, -(2**63), 2**62, 9_223_372_036, 9_223_372_037),
)
_NANOS: Final = (0, 0, 0, 0, 1, 500_000_000, 999_999_999, 1_000_000_000, -1, -999_999_999, 2**31 - 1, -(2**31))

Texts = Mapping[str, Sequence[str]]
"""By a field's name: what is known at the gateway, as order ids and tokens."""
Change = Callable[[Any], None]


def requests(
    descriptor: Descriptor, good: Sequence[Message] = (), known: Texts | None = None
) -> st.SearchStrategy[Any]:
    """Requests of one kind: a good one, or an empty one, with some fields changed.

    Args:
        descriptor: Of the request.
        good: Requests that nobody could object to.
        known: Texts that mean something to this gateway.
    """
    return _Maker(known).requests(descriptor, good)


class _Maker:
    def __init__(self, known: Texts) -> None:
        self._known = known

    def requests(self, descriptor: Descriptor, good: Sequence[Message]) -> st.SearchStrategy[Any]:
        begun = [GetMessageClass(descriptor)(), *good, *good]
        changes = self._changes(descriptor, 0)
        if changes is None:
            return st.sampled_from(begun)
        few, some = st.lists(changes, max_size=1), st.lists(changes, max_size=CHANGES_MAX)
        many = st.lists(changes, min_size=CHANGES_MAX, max_size=3 * CHANGES_MAX)
        return st.builds(_changed, st.sampled_from(begun), st.one_of(few, few, some, many))

    def _changes(self, descriptor: Descriptor, depth: int) -> st.SearchStrategy[Change] | None:
        """One field of a message, set to something; None for a message without fields."""
        each = [
            self._change(field, depth) for field in descriptor.fields if depth < DEPTH_MAX or not field.message_type
        ]
        return st.one_of(each) if each else None

    def _change(self, field: F, depth: int) -> st.SearchStrategy[Change]:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            keys = self._values(field.message_type.fields_by_name["key"], depth)
            values = self._values(field.message_type.fields_by_name["value"], depth)
            maps = st.dictionaries(keys, values, max_size=ELEMENTS_MAX)
            return st.builds(functools.partial(_set_map, field.name), st.one_of(maps, _crowded_maps()))
        values = self._values(field, depth)
        if field.is_repeated:
            lists = st.lists(values, max_size=ELEMENTS_MAX)
            crowds = st.builds(_crowd, values, st.sampled_from(CROWD), st.booleans())
            return st.builds(functools.partial(_set_list, field.name), st.one_of(lists, lists, crowds))
        return st.builds(functools.partial(_set, field.name), values)

    def _values(self, field: F, depth: int) -> st.SearchStrategy[Any]:
        if field.message_type is not None:
            return self._messages(field.message_type, depth + 1)
        if field.enum_type is not None:
            numbers = [value.number for value in field.enum_type.values]
            return st.sampled_from([*numbers, *numbers, -1, 77, 2**31 - 1, -(2**31)])
        match field.type:
            case F.TYPE_STRING:
                return self._texts(field.name)
            case F.TYPE_BYTES:
                return st.binary(max_size=256)
            case F.TYPE_BOOL:
                return st.booleans()
            case F.TYPE_DOUBLE | F.TYPE_FLOAT:
                return st.floats(width=64 if field.type == F.TYPE_DOUBLE else 32)
        least, most = _BITS[field.type]
        few = [number for number in WHOLE_NUMBERS if least <= number <= most]
        return st.one_of(st.sampled_from(few), st.sampled_from([least, most]), st.integers(least, most))

    def _messages(self, descriptor: Descriptor, depth: int) -> st.SearchStrategy[Any]:
        kind = GetMessageClass(descriptor)
        if {"seconds", "nanos"} == set(descriptor.fields_by_name):
            return st.builds(_instant, st.just(kind), st.sampled_from(_SECONDS), st.sampled_from(_NANOS))
        changes = self._changes(descriptor, depth)
        if changes is None:
            return st.builds(kind)
        return st.builds(_changed, st.builds(kind), st.lists(changes, max_size=CHANGES_MAX))

    def _texts(self, name: str) -> st.SearchStrategy[str]:
        good = [*GOOD_TEXTS.get(name, ("x",)), *self._known.get(name, ())]
        everybody = [text for texts in (*GOOD_TEXTS.values(), *self._known.values()) for text in texts]
        return st.one_of(
            st.sampled_from(good),
            st.sampled_from(good),
            st.sampled_from(NASTY_TEXTS),
            st.sampled_from(everybody),
            st.text(st.characters(exclude_categories=["Cs"]), max_size=80),
        )


def _changed(begun: Message, changes: Sequence[Change]) -> Message:
    message = type(begun)()
    message.CopyFrom(begun)
    for change in changes:
        change(message)
    return message


def _set(name: str, value: Any) -> Change:
    def change(message: Any) -> None:
        if isinstance(value, Message):
            getattr(message, name).CopyFrom(value)
        else:
            setattr(message, name, value)

    return change


def _set_list(name: str, values: Sequence[Any]) -> Change:
    def change(message: Any) -> None:
        message.ClearField(name)
        getattr(message, name).extend(values)

    return change


def _set_map(name: str, values: Mapping[Any, Any]) -> Change:
    def change(message: Any) -> None:
        message.ClearField(name)
        entries = getattr(message, name)
        for key, value in values.items():
            if isinstance(value, Message):
                entries[key].CopyFrom(value)
            else:
                entries[key] = value

    return change


def _crowd(value: Any, count: int, differ: bool) -> list[Any]:
    if differ and isinstance(value, str):
        return [f"{value[:16]}{number}" for number in range(count)]
    return [value] * count


def _crowded_maps() -> st.SearchStrategy[dict[str, str]]:
    return st.sampled_from([{str(number): "x" for number in range(count)} for count in CROWD[:2]])


def _instant(kind: type[Any], seconds: int, nanos: int) -> Any:
    return kind(seconds=seconds, nanos=nanos)
