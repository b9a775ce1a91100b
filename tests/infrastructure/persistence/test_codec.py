"""Bodies: every field of every noun both ways, small, strict, and the same bytes as ever."""

from __future__ import annotations

import json
from dataclasses import fields
from decimal import Decimal

import orjson
import pytest

from gateway.domain.models.orders import JournalEvent, KeyEntry, Order, OrderEventKind
from gateway.infrastructure.persistence.codec import BodyUnreadable, decode, encode
from tests.infrastructure.persistence.samples import (
    GIVEN_BY_THE_JOURNAL,
    Filler,
    all_kinds,
    followed,
    recorded,
)


def test_every_kind_of_event_is_read_back_equal() -> None:
    seen = set()
    for event in all_kinds():
        assert decode(JournalEvent, encode(event)) == event
        seen |= {field.name for field in fields(event) if getattr(event, field.name)}
    assert seen == {field.name for field in fields(JournalEvent)} - set(GIVEN_BY_THE_JOURNAL)


@pytest.mark.parametrize("kind", [Order, KeyEntry])
@pytest.mark.parametrize("seed", range(20))
def test_what_the_archive_holds_is_read_back_equal(kind: type, seed: int) -> None:
    noun = Filler(seed, seed % 3 / 2).noun(kind)
    assert decode(kind, encode(noun)) == noun
    assert type(decode(kind, encode(noun))) is kind


@pytest.mark.parametrize("seed", range(50))
def test_any_event_is_read_back_equal(seed: int) -> None:
    event = Filler(seed, 0.7).noun(JournalEvent)
    again = decode(JournalEvent, encode(event))
    assert again == event
    assert encode(again) == encode(event)


def test_bodies_are_plain_json_with_names_as_declared() -> None:
    event = recorded(1)
    body = json.loads(encode(event))
    assert body["kind"] == "recorded"
    assert body["request"]["spec"]["side"] == "buy"
    assert body["request"]["spec"]["limit_price"] == "100.25"
    assert set(body) == {"kind", "order_id", "strategy_id", "record_time_ns", "event_time_ns", "request", "fingerprint"}
    assert "sequence" not in body


def test_decimals_have_no_exponent() -> None:
    order = Filler(1, 0.0).noun(Order, filled_quantity=Decimal("1E+3"), leaves_quantity=Decimal("1E-9"))
    body = json.loads(encode(order))
    assert (body["filled_quantity"], body["leaves_quantity"]) == ("1000", "0.000000001")


@pytest.mark.parametrize(
    "change",
    [
        {"surprise": 1},
        {"request": {"surprise": 1}},
        {"kind": "invented"},
        {"fill": {"fill_id": "x"}},
        {"venue_order": {"quantity": "many"}},
        {"venue_order": []},
    ],
)
def test_what_this_build_does_not_know_is_refused(change: dict[str, object]) -> None:
    body = orjson.loads(encode(recorded(1)))
    for name, value in change.items():
        body[name] = body[name] | value if isinstance(body.get(name), dict) and isinstance(value, dict) else value
    with pytest.raises(BodyUnreadable):
        decode(JournalEvent, orjson.dumps(body))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b"null", b'{"kind": "recorded"}', b"\xff"])
def test_damage_is_refused(body: bytes) -> None:
    with pytest.raises(BodyUnreadable):
        decode(JournalEvent, body)


def test_what_cannot_be_written_raises() -> None:
    event = followed(1, OrderEventKind.WORKING)
    event.failure = object()  # type: ignore[assignment]
    with pytest.raises(TypeError):
        encode(event)
