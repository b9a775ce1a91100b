"""Numbers and times out of a venue's JSON: exactly, or not at all."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, strategies as st

from gateway.domain.types import format_decimal
from gateway.infrastructure.alpaca.converters.fields import (
    TIME_NS_MAX,
    Unreadable,
    as_list,
    decimal_or_none,
    exact_json,
    format_time,
    next_page_token_of,
    parse_time_ns,
    uuid_or_none,
)
from tests.infrastructure.alpaca.samples import ORDER_ID


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (b'"1.50"', "1.50"),
        (b'"0.000000001"', "0.000000001"),
        (b'"9007199254740993.123456789"', "9007199254740993.123456789"),
        (b"9007199254740993.123456789", "9007199254740993.123456789"),
        (b"0.1", "0.1"),
        (b"7", "7"),
        (b'"1e-08"', "1E-8"),
        (b"1e-08", "1E-8"),
    ],
)
def test_numbers_are_exact_spelled_as_text_or_as_numbers(body: bytes, wanted: str) -> None:
    value = decimal_or_none(exact_json(b'{"x":' + body + b"}"), "x")
    assert value == Decimal(wanted)


@pytest.mark.parametrize("body", [b"null", b'""'])
def test_no_number_is_none(body: bytes) -> None:
    assert decimal_or_none(exact_json(b'{"x":' + body + b"}"), "x") is None


@pytest.mark.parametrize(
    "body",
    [
        b'"NaN"', b'"Infinity"', b'"-Infinity"', b'"1_000"', b'" 7 "', b'"7\\n"', '"１２"'.encode(), '"٣.٥"'.encode(),
        b'"0x10"', b'"1e400"', b'"1e99999999"', b'"abc"', b'"-1"', b"-1", b"-0.5", b"1e400", b"1e99999999",
        b"true", b"false", b"[]", b"[1]", b"{}", b'"' + b"1" * 65 + b'"', b"1" * 40, b'"1.2.3"', b'"."', b'"1."',
    ],
)  # fmt: skip
def test_what_is_no_number_is_never_one(body: bytes) -> None:
    raw = exact_json(b'{"x":' + body + b"}")
    with pytest.raises(Unreadable) as caught:
        decimal_or_none(raw, "x")
    assert str(caught.value).startswith("x is no number"), "the field is named, its value is not"


@pytest.mark.parametrize(
    "body", [b"NaN", b"Infinity", b"-Infinity", b"1." + b"1" * 70, b"9" * 5_000, b"{", b"\xff", b"", b"[" * 100_000]
)
def test_json_that_is_none_is_refused_quickly(body: bytes) -> None:
    with pytest.raises(Unreadable):
        exact_json(body)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-(10**15), max_value=10**15))
def test_every_decimal_of_ours_reads_back_as_itself(value: Decimal) -> None:
    assert decimal_or_none({"x": format_decimal(value)}, "x", signed=True) == value


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2018-01-02T14:30:00.000000001Z", 1_514_903_400_000_000_001),
        ("2018-01-02T14:30:00.123456789Z", 1_514_903_400_123_456_789),
        ("2018-01-02T09:30:00.5-05:00", 1_514_903_400_500_000_000),
        ("2018-01-02T15:30:00+01:00", 1_514_903_400_000_000_000),
        ("2018-01-02T15:30:00+0100", 1_514_903_400_000_000_000),
        ("2024-02-29T23:59:59.999999999Z", 1_709_251_199_999_999_999),
        ("2018-01-02T14:30:00.1234567891Z", 1_514_903_400_123_456_789),
    ],
)
def test_times_are_exact_to_the_nanosecond(text: str, wanted: int) -> None:
    assert parse_time_ns(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "", "now", "2018-01-02", "2018-01-02T14:30:00", "2018-13-02T14:30:00Z", "2018-02-30T14:30:00Z",
        "2018-01-02T24:30:00Z", "2018-01-02T14:60:00Z", "2018-01-02T14:30:60Z", "0001-01-01T00:00:00Z",
        "9999-01-01T00:00:00Z", "2018-01-02T14:30:00.Z", "２018-01-02T14:30:00Z", "2018-01-02T14:30:00Z\n",
    ],
)  # fmt: skip
def test_what_is_no_time_is_never_one(text: str) -> None:
    assert parse_time_ns(text) is None


@given(st.integers(0, TIME_NS_MAX - 1))
def test_every_instant_reads_back_as_itself(instant_ns: int) -> None:
    assert parse_time_ns(format_time(instant_ns)) == instant_ns


@pytest.mark.parametrize(
    "text", ["", "../orders", "AAPL", ORDER_ID + "/", "{" + ORDER_ID[:-2] + "}", "0" * 32, "x" * 36]
)
def test_only_a_uuid_is_a_venue_id(text: str) -> None:
    assert uuid_or_none(text) is None


def test_a_uuid_is_spelled_in_one_way() -> None:
    assert uuid_or_none(ORDER_ID.upper()) == ORDER_ID


def test_a_list_is_a_list() -> None:
    assert as_list(None, "bars") == []
    for bad in ({}, "x", 1, True):
        with pytest.raises(Unreadable):
            as_list(bad, "bars")


def test_a_page_token_is_whole_or_refused() -> None:
    token = "QUFQTHxNfDIwMjQ" * 50
    assert next_page_token_of({"next_page_token": token}) == token
    assert next_page_token_of({"next_page_token": None}) == ""
    for bad in (7, "x" * 5_000, []):
        with pytest.raises(Unreadable):
            next_page_token_of({"next_page_token": bad})
