"""The emulator's dictionary: what comes in however it is spelled, and what goes out as Alpaca spells it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgpack
import orjson
import pytest

from gateway.domain.models.market_data import Bar, Quote, Trade
from gateway.domain.types import DataFeed, OrderClass, OrderSide, OrderType, TimeInForce
from gateway.emulator.exchange import Refusal
from gateway.emulator.streams.codec import JSON, MSGPACK
from gateway.emulator.wire import bar_fields, format_time, quote_fields, trade_fields
from gateway.emulator.wire_events import message_of
from gateway.emulator.wire_trading import new_order_from_json, order_changes_from_json

ORDER = {"symbol": "AAPL", "side": "buy", "type": "limit", "time_in_force": "day", "qty": "1", "limit_price": "10"}
QUOTE = Quote("XXX", 1_514_903_400_115_000_000, 158.39, 100.0, 158.5, 1800.0, DataFeed.SIP, 0, "N", "P", ("R",), "A")
PAIR = Quote("BTC/USD", 1, 61837.63, 3.78826, 61837.64, 1.0, DataFeed.CRYPTO_US, 0)


@pytest.mark.parametrize(
    ("spelled", "number"),
    [
        ("1", "1"),
        ("1.50", "1.50"),
        (1, "1"),
        (2.5, "2.5"),
        (1e-08, "1e-08"),
        ("1e-08", "1e-08"),
        ("1.", "1"),
        ("-1", "-1"),
    ],
)
def test_numbers_are_taken_however_they_are_spelled(spelled: Any, number: str) -> None:
    order = new_order_from_json(orjson.loads(orjson.dumps({**ORDER, "qty": spelled})))
    assert order.spec.quantity == Decimal(number)


@pytest.mark.parametrize("spelled", ["one", "1,5", "NaN", "Infinity", "0x1", "1_000", "1e400", "١", True, [], {}])
def test_what_is_no_number_is_refused(spelled: Any) -> None:
    with pytest.raises(Refusal) as refused:
        new_order_from_json({**ORDER, "qty": spelled})
    assert (refused.value.code, refused.value.message) == (40010001, "invalid qty")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"symbol": None}, "symbol is required"),
        ({"symbol": 7}, "symbol is required"),
        ({"side": None}, "side is required"),
        ({"side": "hold"}, "invalid side"),
        ({"side": ["buy"]}, "invalid side"),
        ({"type": "iceberg"}, "invalid type"),
        ({"time_in_force": "week"}, "invalid time_in_force"),
        ({"order_class": "mleg"}, "invalid order_class"),
        ({"order_class": 1}, "invalid order_class"),
        ({"extended_hours": "perhaps"}, "invalid extended_hours"),
        ({"client_order_id": 12}, "invalid client_order_id"),
        ({"take_profit": "12"}, "invalid take_profit"),
        ({"take_profit": {}}, "take_profit.limit_price is required"),
        ({"stop_loss": {"limit_price": "1"}}, "stop_loss.stop_price is required"),
    ],
)
def test_bodies_that_cannot_be_read(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(Refusal) as refused:
        new_order_from_json({**ORDER, **changes})
    assert (refused.value.http_status, refused.value.code, refused.value.message) == (422, 40010001, message)


def test_a_bracket_is_read_whole() -> None:
    order = new_order_from_json(
        {**ORDER, "order_class": "bracket", "extended_hours": False, "client_order_id": "key",
         "take_profit": {"limit_price": 12}, "stop_loss": {"stop_price": "9.5", "limit_price": None}}
    )  # fmt: skip
    spec = order.spec
    assert (spec.side, spec.order_type, spec.time_in_force) == (OrderSide.BUY, OrderType.LIMIT, TimeInForce.DAY)
    assert spec.order_class is OrderClass.BRACKET
    assert spec.take_profit.limit_price == 12
    assert (spec.stop_loss.stop_price, spec.stop_loss.limit_price) == (Decimal("9.5"), None)
    assert order.client_order_id == "key"
    assert new_order_from_json({**ORDER, "order_class": "", "client_order_id": ""}).client_order_id is None


def test_changes_are_read() -> None:
    changes, key = order_changes_from_json({"qty": "3", "limit_price": None, "trail": 1.5, "time_in_force": "gtc"})
    assert (changes.quantity, changes.limit_price, changes.trail) == (3, None, Decimal("1.5"))
    assert (changes.time_in_force, key) == (TimeInForce.GTC, None)


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_514_903_400_115_000_000, "2018-01-02T14:30:00.115Z"),
        (1_514_903_400_000_000_001, "2018-01-02T14:30:00.000000001Z"),
    ],
)
def test_times_keep_their_nanoseconds(time_ns: int, text: str) -> None:
    assert format_time(time_ns) == text


def test_stock_sizes_are_whole_numbers_and_crypto_sizes_are_not() -> None:
    assert orjson.dumps(quote_fields(QUOTE, "t")) == (
        b'{"bx":"N","bp":158.39,"bs":100,"ax":"P","ap":158.5,"as":1800,"t":"t","c":["R"],"z":"A"}'
    )
    assert quote_fields(PAIR, "t") == {"bp": 61837.63, "bs": 3.78826, "ap": 61837.64, "as": 1.0, "t": "t"}
    assert isinstance(quote_fields(PAIR, "t")["as"], float)
    trade = Trade("XXX", 1, 10.5, 7.0, DataFeed.SIP, 1, "D", 12, ("F", " ", "I"), "A")
    assert trade_fields(trade, "t") == {
        "i": 12, "x": "D", "p": 10.5, "s": 7, "t": "t", "c": ("F", " ", "I"), "z": "A",
    }  # fmt: skip
    bar = Bar("XXX", 1, 1.0, 2.0, 0.5, 1.5, 300.0, DataFeed.SIP, 1, 3)
    assert bar_fields(bar, "t") == {"o": 1.0, "h": 2.0, "l": 0.5, "c": 1.5, "v": 300, "n": 3, "vw": 0.0, "t": "t"}


@pytest.mark.parametrize("count", [1, 15, 16, 70_000])
def test_frames_are_arrays_of_messages(count: int) -> None:
    for codec, read in ((JSON, orjson.loads), (MSGPACK, msgpack.unpackb)):
        message = codec.encode({"T": "q", "n": 1})
        assert read(codec.frame([message] * count)) == [{"T": "q", "n": 1}] * count


def test_messages_begin_with_their_type() -> None:
    for codec in (JSON, MSGPACK):
        assert next(iter(message_of(QUOTE, codec.time).items())) == ("T", "q")
    stamp = message_of(QUOTE, MSGPACK.time)["t"]
    assert (stamp.seconds, stamp.nanoseconds) == (1_514_903_400, 115_000_000)


@pytest.mark.parametrize("said", [b"", b"\xc1", b"\x81\xa1"])
def test_what_is_no_msgpack_is_a_value_error(said: bytes) -> None:
    with pytest.raises(ValueError, match="not msgpack"):
        MSGPACK.decode(said)
