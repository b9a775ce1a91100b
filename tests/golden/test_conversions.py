"""Alpaca → domain → wire, reviewed as text: `name.alpaca.json` beside `name.txtpb`.

With GOLDEN_WRITE=1 the texts are written anew; their difference is then what a review reads.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from google.protobuf import text_format
from google.protobuf.message import Message

from gateway.domain.models.orders import JournalEvent, OrderEventKind
from gateway.domain.order_lifecycle import apply
from gateway.domain.types import DataFeed, Venue
from gateway.infrastructure.alpaca.converters import (
    account,
    market_data,
    market_pages,
    market_stream,
    orders,
    reference,
)
from gateway.infrastructure.alpaca.converters.fields import exact_json
from gateway.servicers.wire import (
    account as wire_account,
    market_data as wire_market_data,
    market_history,
    market_values,
    orders as wire_orders,
    reference as wire_reference,
)

HERE: Final = Path(__file__).parent
READ_NS: Final = 1_790_000_000_000_000_001


def order(body: bytes) -> Message:
    """An order from outside the gateway, as it is adopted."""
    venue_order = orders.order_from_alpaca(exact_json(body), venue_request_id="golden")
    adopted = JournalEvent(
        OrderEventKind.RECORDED, venue_order.venue_order_id, "", READ_NS, READ_NS, venue_order=venue_order
    )
    return wire_orders.order_to_proto(apply(None, adopted))


def position(body: bytes) -> Message:
    return wire_account.position_to_proto(account.position_from_alpaca(exact_json(body), "BTC/USD", READ_NS))


def the_account(body: bytes) -> Message:
    return wire_account.account_to_proto(account.account_from_alpaca(exact_json(body), Venue.PAPER, READ_NS))


def asset(body: bytes) -> Message:
    return wire_reference.asset_to_proto(reference.asset_from_alpaca(exact_json(body)))


def market_day(body: bytes) -> Message:
    return wire_reference.market_day_to_proto(reference.market_day_from_alpaca(exact_json(body)))


def quote(body: bytes) -> Message:
    raw = market_data.market_json(body)
    return wire_market_data.quote_to_proto(market_data.quote_from_alpaca("AAPL", raw, DataFeed.IEX, READ_NS))


def trade(body: bytes) -> Message:
    raw = market_data.market_json(body)
    return wire_market_data.trade_to_proto(market_data.trade_from_alpaca("BTC/USD", raw, DataFeed.CRYPTO_US, READ_NS))


def bar(body: bytes) -> Message:
    raw = market_data.market_json(body)
    return wire_market_data.bar_to_proto(market_data.bar_from_alpaca("AAPL", raw, DataFeed.SIP, READ_NS))


def stock_trade(body: bytes) -> Message:
    """As history has it: it says what became of a trade."""
    raw = market_data.market_json(body)
    return market_values.trade_to_proto(market_data.trade_from_alpaca("AAPL", raw, DataFeed.SIP, READ_NS))


def order_book(body: bytes) -> Message:
    raw = market_data.market_json(body)
    return market_values.order_book_to_proto(
        market_pages.whole_book_from_alpaca("BTC/USD", raw, DataFeed.CRYPTO_US, READ_NS)
    )


def option_snapshot(body: bytes) -> Message:
    """A contract: its greeks, and quotes and trades with one condition, which is no list."""
    raw = market_data.market_json(body)
    return wire_market_data.snapshot_to_proto(
        market_data.snapshot_from_alpaca("AAPL240426C00162500", raw, DataFeed.OPRA, READ_NS)
    )


async def page_of_quotes(body: bytes) -> Message:
    page = market_pages.page_from_alpaca(
        market_data.market_json(body),
        "quotes",
        market_data.quote_from_alpaca,
        DataFeed.SIP,
        READ_NS,
        newest_first=False,
    )
    return await market_history.quotes_page_to_proto(page)


def live(body: bytes) -> Message:
    """A message of the websocket."""
    raw = market_data.market_json(body)
    feed = DataFeed.CRYPTO_US if "/" in raw["S"] else DataFeed.SIP
    value = market_stream.KINDS[raw["T"]][1](raw["S"], raw, feed, READ_NS)
    return market_values.VALUE_TO_PROTO[type(value)](value)


GOLDEN: Final[dict[str, Callable[[bytes], Message]]] = {
    "order_filled": order,
    "order_bracket": order,
    "order_unknown_words": order,
    "order_by_money": order,
    "position_crypto": position,
    "account": the_account,
    "asset_crypto": asset,
    "market_day_half": market_day,
    "quote_stock": quote,
    "trade_crypto": trade,
    "trade_stock_canceled": stock_trade,
    "order_book_crypto": order_book,
    "page_of_quotes": lambda body: asyncio.run(page_of_quotes(body)),
    "bar_stock": bar,
    "trade_correction": live,
    "trade_cancel": live,
    "bar_updated": live,
    "bar_day_so_far": live,
    "order_book": live,
    "order_book_change": live,
    "trading_status": live,
    "luld": live,
    "snapshot_option": option_snapshot,
}


@pytest.mark.parametrize("name", GOLDEN)
def test_what_alpaca_says_reads_like_this_on_our_wire(name: str) -> None:
    message = GOLDEN[name]((HERE / f"{name}.alpaca.json").read_bytes())
    text = HERE / f"{name}.txtpb"
    if os.environ.get("GOLDEN_WRITE"):
        text.write_text(text_format.MessageToString(message), encoding="utf-8")
    wanted: Any = text_format.Parse(text.read_text(encoding="utf-8"), type(message)())
    assert message == wanted, text_format.MessageToString(message)


def test_every_golden_file_is_read() -> None:
    found = {path.name.removesuffix(".alpaca.json") for path in HERE.glob("*.alpaca.json")}
    assert found == set(GOLDEN)
    assert {path.stem for path in HERE.glob("*.txtpb")} == set(GOLDEN)
