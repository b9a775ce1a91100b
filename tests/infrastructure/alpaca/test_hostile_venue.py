"""A venue that means harm, or is broken beyond all documents: never a crash, never a number that it did not say."""

from __future__ import annotations

import copy
import dataclasses
import gzip
import json
import time
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from math import isfinite
from typing import Any

import msgpack
import orjson
import pytest

from gateway.domain.errors import OutcomeUnknown, VenueUnreachable
from gateway.domain.types import AssetClass, DataFeed
from gateway.infrastructure.alpaca.account_adapter import AccountAdapter
from gateway.infrastructure.alpaca.asset_table import AssetTable
from gateway.infrastructure.alpaca.converters import account as accounts, market_data, orders, reference
from gateway.infrastructure.alpaca.converters.fields import CONTAINERS_MAX, NESTING_MAX, Unreadable, exact_json
from gateway.infrastructure.alpaca.converters.market_data import MESSAGES_PER_FRAME_MAX, market_json, unpack_frame
from gateway.infrastructure.alpaca.market_data_adapter import MarketDataAdapter
from gateway.infrastructure.alpaca.trading_adapter import TradingAdapter
from gateway.infrastructure.alpaca.transport import ANSWER_BYTES_MAX, Answer
from tests.infrastructure.alpaca import samples
from tests.infrastructure.alpaca.scripted import (
    KEY,
    SECRET,
    Reply,
    ScriptedHttp,
    context,
    factory_at,
    json_reply,
    order_context,
)

HOSTILE = (
    "null", "true", "[]", "{}", "[[]]", "-1", "0", "1e400", "-1e400", "1e99999999999999999999", "NaN", "-Infinity",
    "1" * 5_000, "0." + "1" * 200, '""', '"NaN"', '"1e400"', '"-Infinity"', '"0x10"', '"1_0"', '"\u0661"',
    '"\\ud800"', '"AA\\udfffPL"', '"\\u0000"', '"AAPL\\u0000"', '"../orders"', json.dumps("x" * 100_000),
    '"0000-01-01T00:00:00Z"', '"9999-12-31T23:59:60Z"', '"2026-02-30T00:00:00Z"', '"2026-03-02T14:30:00+99:99"',
    "9" * 18, "-9223372036854775809", "18446744073709551616",
)  # fmt: skip

MARK = '"the hostile value"'


def quote() -> dict[str, Any]:
    return {"t": "2026-03-02T14:30:00Z", "bp": 1.0, "bs": 1, "ap": 1.0, "as": 1, "bx": "V", "ax": "V", "c": ["R"]}


def trade() -> dict[str, Any]:
    return {"t": "2026-03-02T14:30:00Z", "p": 1.0, "s": 1, "i": 1, "x": "V", "c": ["@"], "z": "C", "tks": "B"}


def bar() -> dict[str, Any]:
    return {"t": "2026-03-02T14:30:00Z", "o": 1.0, "h": 1.0, "l": 1.0, "c": 1.0, "v": 1, "n": 1, "vw": 1.0}


def clock() -> dict[str, Any]:
    now = "2026-03-02T14:30:00Z"
    return {"timestamp": now, "is_open": True, "next_open": now, "next_close": now}


def update() -> dict[str, Any]:
    return {
        "event": "fill", "timestamp": "2026-03-02T14:30:00Z", "execution_id": samples.ORDER_ID, "price": "1",
        "qty": "1", "position_qty": "1", "order": samples.order(),
    }  # fmt: skip


def fill() -> dict[str, Any]:
    return {
        "id": "20260302000000000::x", "activity_type": "FILL", "transaction_time": "2026-03-02T14:30:00Z",
        "type": "fill", "price": "1", "qty": "1", "side": "buy", "symbol": "AAPL", "leaves_qty": "0",
        "order_id": samples.ORDER_ID, "cum_qty": "1", "order_status": "filled",
    }  # fmt: skip


IEX = DataFeed.IEX
NOUNS: Mapping[str, tuple[Callable[[], dict[str, Any]], Callable[[bytes], object]]] = {
    "order": (samples.order, lambda body: orders.order_from_alpaca(exact_json(body))),
    "update": (update, lambda body: orders.update_from_alpaca(exact_json(body), 0)),
    "position": (samples.position, lambda body: accounts.position_from_alpaca(exact_json(body), "AAPL", 0)),
    "account": (samples.account, lambda body: accounts.account_from_alpaca(exact_json(body), "emulator", 0)),  # type: ignore[arg-type]
    "fill": (fill, lambda body: accounts.activity_from_alpaca(exact_json(body))),
    "asset": (samples.asset, lambda body: reference.assets_from_alpaca([exact_json(body)])),
    "clock": (clock, lambda body: reference.clock_from_alpaca(exact_json(body))),
    "day": (
        lambda: {"date": "2026-03-02", "open": "09:30", "close": "16:00", "settlement_date": "2026-03-03"},
        lambda body: reference.market_day_from_alpaca(exact_json(body)),
    ),
    "quote": (quote, lambda body: market_data.quote_from_alpaca("AAPL", market_json(body), IEX, 0)),
    "trade": (trade, lambda body: market_data.trade_from_alpaca("AAPL", market_json(body), IEX, 0)),
    "bar": (bar, lambda body: market_data.bar_from_alpaca("AAPL", market_json(body), IEX, 0)),
    "snapshot": (
        lambda: {"latestTrade": trade(), "latestQuote": quote(), "minuteBar": bar(), "dailyBar": bar()},
        lambda body: market_data.snapshot_from_alpaca("AAPL", market_json(body), IEX, 0),
    ),
}


def spoilt(noun: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """The noun with each field in turn replaced by each hostile value, also inside an order of an update."""
    for path in [(name,) for name in noun] + [("order", name) for name in noun.get("order", ())]:
        changed = copy.deepcopy(noun)
        owner = changed if len(path) == 1 else changed[path[0]]
        owner[path[-1]] = json.loads(MARK)
        whole = json.dumps(changed)
        for value in HOSTILE:
            yield f"{'.'.join(path)}={value[:40]}", whole.replace(MARK, value).encode()


def leaves(value: object) -> Iterator[object]:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from leaves(getattr(value, field.name))
    elif isinstance(value, dict):
        for pair in value.items():
            yield from leaves(pair)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from leaves(item)
    else:
        yield value


@pytest.mark.parametrize("name", NOUNS)
def test_every_field_of_every_noun_is_read_or_refused_whatever_it_holds(name: str) -> None:
    """What comes through is finite, bounded, and text that a journal and a message can hold."""
    make, convert = NOUNS[name]
    assert convert(json.dumps(make()).encode())
    refused = 0
    for case, body in spoilt(make()):
        try:
            noun = convert(body)
        except Unreadable:
            refused += 1
            continue
        for leaf in leaves(noun):
            if isinstance(leaf, float):
                assert isfinite(leaf), case
            elif isinstance(leaf, Decimal):
                assert leaf.is_finite(), case
                assert abs(leaf.adjusted()) <= 30, case
            elif isinstance(leaf, str):
                leaf.encode()
                assert len(leaf) <= 4_096, case
    assert refused


@pytest.mark.parametrize(
    "body",
    [
        b"[" * (NESTING_MAX + 2) + b"]" * (NESTING_MAX + 2),
        b"[" * 900 + b"]" * 900,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"[" + b"{}," * CONTAINERS_MAX + b"{}]",
        b"\xff\xfe{}",
        b'{"a": "\xc3\x28"}',
        b"",
        b"{} {}",
        b"<html>",
        b"\x00",
    ],
)
def test_a_body_that_is_no_answer_is_refused_before_it_costs_anything(body: bytes) -> None:
    began = time.thread_time()
    for read in (exact_json, market_json):
        if read is market_json and body.startswith((b"[[", b"[{")):
            continue  # shallower than its reader's own limit, and nothing of ours walks down it
        with pytest.raises(Unreadable):
            read(body)
    assert time.thread_time() - began < 1


def test_a_deep_order_is_read_as_far_as_an_order_goes() -> None:
    nested = samples.order(legs=[samples.order(legs=[samples.order()])])
    assert len(orders.order_from_alpaca(exact_json(json.dumps(nested).encode())).legs) == 1


@pytest.mark.parametrize(
    "frame",
    [
        b"\x91" * 2_000 + b"\x01",
        b"\xdd\xff\xff\xff\xff",
        b"\xd9\x01\xff",
        msgpack.packb([{"T": "q"}] * (MESSAGES_PER_FRAME_MAX + 1)),
        "[" * 100_000,
        '[{"T": "\\ud800"}]',
    ],
)
def test_a_frame_that_is_none_is_refused(frame: bytes | str) -> None:
    with pytest.raises(Unreadable):
        unpack_frame(frame)


def test_extension_types_and_strange_symbols_become_no_quote() -> None:
    good = {"T": "q", "S": "AAPL", "t": 1_772_461_800_000_000_000, "bp": 1.0, "bs": 1.0, "ap": 1.0, "as": 1.0}
    for name in good:
        for value in (msgpack.ExtType(5, b"x"), b"bytes", float("nan"), float("inf"), -1.0, None, [1], 2**64 - 1):
            (message,) = unpack_frame(msgpack.packb([{**good, name: value}]))
            try:
                (made,) = market_data.quotes_from_frame([message], IEX, 0)
            except Unreadable:
                continue
            assert name in {"T", "bs", "as", "bp", "ap"}, (name, value)
            assert all(isfinite(leaf) for leaf in leaves(made) if isinstance(leaf, float))


HUGE = Reply(body=b"[" + b" " * (ANSWER_BYTES_MAX + 1), headers={"Content-Length": str(100 * 1024 * 1024)})
BOMB = Reply(body=gzip.compress(b" " * 10_000_000), headers={"Content-Encoding": "gzip"})
BAD_ANSWERS = {
    "100 MB": HUGE,
    "gzip bomb": BOMB,
    "invalid UTF-8": Reply(body=b'{"id": "\xff"}'),
    "a list in the place of an object": Reply(body=b"[" + b"1," * 1_000_000 + b"1]"),
    "half of a character": json_reply(samples.order(status="\ud800")),
    "an exponent beyond reason": Reply(body=b'{"id": 1e99999999999999999999}'),
    "a redirect": Reply(302, b"", {"Location": "http://127.0.0.2:9/v2/account"}),
}


@pytest.mark.parametrize("reply", BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
async def test_a_hostile_answer_fails_its_read_and_leaves_a_change_unknown(reply: Reply) -> None:
    """Never a crash and never taken for an answer; a redirect goes nowhere, so its change had certainly no effect."""
    async with ScriptedHttp(reply) as venue, factory_at(venue.url, read_ms=2_000) as factory:
        trading, market = TradingAdapter(factory), MarketDataAdapter(factory)
        with pytest.raises(VenueUnreachable):
            await trading.get_order(context(), samples.ORDER_ID)
        with pytest.raises(VenueUnreachable):
            await AccountAdapter(factory, AssetTable(market.list_assets)).get_account(context())
        if reply.status == 200:
            client = factory.trading()
            read = factory.road.changing(lambda answer: orders.order_from_alpaca(exact_json(answer.body)))
            with pytest.raises(OutcomeUnknown):
                await factory.road.change(order_context(), lambda: client.post("/orders", {}), read)
        assert all(asked.path.startswith("/v2/") for asked in venue.asked)


async def test_only_the_list_of_assets_may_be_large() -> None:
    padded = json.dumps([samples.asset()]).encode() + b" " * (ANSWER_BYTES_MAX + 1)
    async with ScriptedHttp(Reply(body=padded)) as venue, factory_at(venue.url, read_ms=2_000) as factory:
        found = await MarketDataAdapter(factory).list_assets(context(), AssetClass.US_EQUITY)
        assert [asset.symbol for asset in found] == ["AAPL"]


@pytest.mark.parametrize("told", ["r" * 129, "a\x1b[31m", f"leak-{SECRET}", f"{KEY}"])
async def test_the_venues_name_for_a_request_is_plain_or_nothing(told: str) -> None:
    async with ScriptedHttp(json_reply({}, X_Request_ID=told)) as venue, factory_at(venue.url) as factory:
        answer = await factory.road.read(context(), factory.trading(), "/account", {}, lambda answer: answer)
        assert answer.request_id in {"", "***"}
        assert orjson.dumps(answer.request_id)


async def test_a_shape_that_no_reader_expects_is_a_failed_read_and_no_bug_of_the_caller() -> None:
    def reads_it_wrongly(answer: Answer) -> str:
        return {404: "never"}[answer.status]

    async with ScriptedHttp(json_reply({})) as venue, factory_at(venue.url) as factory:
        read = factory.road.reading(reads_it_wrongly)
        with pytest.raises(VenueUnreachable, match="KeyError"):
            await factory.road.read(context(), factory.trading(), "/account", {}, read)
