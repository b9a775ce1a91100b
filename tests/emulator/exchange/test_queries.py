"""Reads: orders, activities and assets, with every filter."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from typing import Any

import pytest

from gateway.domain.types import AssetClass, OrderSide
from gateway.emulator.exchange import ExchangeOrder, Refusal, make_asset
from gateway.emulator.exchange.activities import activity_id
from tests.emulator.exchange.desk import Desk, instant, refused

SYNTAX = 40010001


@pytest.fixture
def desk() -> Desk:
    """a: filled AAPL buy; b: canceled MSFT sell; c: open bitcoin buy; d: open bracket on AAPL, its legs e and f."""
    desk = Desk()
    for symbol, price in (("AAPL", 100.0), ("MSFT", 40.0), ("BTC/USD", 50_000.0)):
        desk.quote(symbol, price, price, size=1e6)
    desk.buy("AAPL", 1, client_order_id="a")
    desk.cancel(desk.sell("MSFT", 1, limit_price=50, client_order_id="b"))
    desk.buy("BTC/USD", 1, limit_price=40_000, client_order_id="c")
    bracket = {"order_class": "bracket", "take_profit": 110, "stop_loss": 80}
    desk.buy("AAPL", 1, limit_price=90, client_order_id="d", **bracket)
    return desk


def named(orders: Collection[ExchangeOrder]) -> str:
    """The client's ids; legs, whose ids the venue made, are a `+`."""
    return "".join(order.client_order_id if len(order.client_order_id) == 1 else "+" for order in orders)


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, "++dc"),
        ({"status": "all"}, "++dcba"),
        ({"status": "closed"}, "ba"),
        ({"status": "all", "direction": "asc"}, "abcd++"),
        ({"status": "all", "direction": "asc", "limit": 2}, "ab"),
        ({"status": "all", "limit": 2}, "++"),
        ({"status": "all", "nested": True}, "dcba"),
        ({"nested": True}, "dc"),
        ({"status": "closed", "nested": True}, "ba"),
        ({"status": "all", "side": OrderSide.SELL}, "++b"),
        ({"status": "all", "symbols": ["BTCUSD", "MSFT"]}, "cb"),
        ({"status": "all", "symbols": ["btc/usd"]}, "c"),
        ({"status": "all", "symbols": ["ZZZZ"]}, ""),
        ({"status": "all", "asset_classes": [AssetClass.CRYPTO]}, "c"),
        ({"status": "all", "nested": True, "asset_classes": [AssetClass.US_EQUITY]}, "dba"),
    ],
)
def test_filters(desk: Desk, filters: dict[str, Any], found: str) -> None:
    assert named(desk.exchange.orders(**filters)) == found


def test_bounds_are_exclusive(desk: Desk) -> None:
    times = {name: desk.exchange.order_by_client_id(name).submitted_ns for name in "abcd"}
    ids = {name: desk.exchange.order_by_client_id(name).id for name in "abcd"}
    orders = desk.exchange.orders
    assert named(orders(status="all", nested=True, after_ns=times["a"], until_ns=times["d"])) == "cb"
    assert named(orders(status="all", nested=True, after_ns=times["a"] - 1, until_ns=times["b"] + 1)) == "ba"
    assert named(orders(status="all", before_order_id=ids["c"])) == "ba"
    assert named(orders(status="all", nested=True, after_order_id=ids["b"])) == "dc"
    with refused(40410000, "order not found: none"):
        orders(after_order_id="none")


@pytest.mark.parametrize(
    ("filters", "name"),
    [
        ({"status": "new"}, "status"),
        ({"direction": "up"}, "direction"),
        ({"limit": 0}, "limit"),
        ({"limit": 501}, "limit"),
    ],
)
def test_filters_that_make_no_sense(desk: Desk, filters: dict[str, Any], name: str) -> None:
    with refused(SYNTAX, f"invalid {name}"):
        desk.exchange.orders(**filters)


def test_flat_orders_have_no_legs_and_nested_ones_do(desk: Desk) -> None:
    parent = desk.exchange.order_by_client_id("d")
    assert parent.legs is None
    assert desk.exchange.order(parent.id).legs is None
    [nested] = desk.exchange.orders(nested=True, symbols=["AAPL"])
    assert nested.legs is not None
    assert [leg.leg_role for leg in nested.legs] == ["take-profit", "stop-loss"]
    assert all(leg.legs is None for leg in nested.legs)


def test_a_filled_parent_is_open_while_its_legs_are(desk: Desk) -> None:
    desk.quote("AAPL", 90.0, 90.0)
    assert named(desk.exchange.orders(nested=True)) == "dc"
    assert named(desk.exchange.orders()) == "++c"


def test_what_is_read_is_a_copy(desk: Desk) -> None:
    order = desk.exchange.order_by_client_id("c")
    order.quantity = None
    assert desk.exchange.order_by_client_id("c").quantity == 1


def test_activities_are_numbered_like_alpacas_and_paged_by_id() -> None:
    desk = Desk("2022-02-02 13:55")
    for price in range(1, 8):
        desk.quote("AAPL", price, price, size=1)
        desk.buy("AAPL", 1)
    everything = desk.exchange.activities(direction="asc")
    assert [int(one.price or 0) for one in everything] == [1, 2, 3, 4, 5, 6, 7]
    assert everything[0].activity_id.startswith("20220202135502000::")
    execution_ids = [update.execution_id for update in desk.updates() if update.event == "fill"]
    assert [one.activity_id.partition("::")[2] for one in everything] == execution_ids
    pages, token = [], None
    while page := desk.exchange.activities(page_size=3, page_token=token):
        pages.append([int(one.price or 0) for one in page])
        token = page[-1].activity_id
    assert pages == [[7, 6, 5], [4, 3, 2], [1]]


def test_fills_say_what_is_left() -> None:
    desk = Desk()
    desk.quote("AAPL", 100.0, 100.0, size=4)
    order = desk.buy("AAPL", 10)
    desk.quote("AAPL", 101.0, 101.0, size=6)
    fills = desk.exchange.activities(direction="asc")
    told = [(one.quantity, one.cumulative_quantity, one.leaves_quantity, one.venue_order_id) for one in fills]
    assert told == [(4, 4, 6, order.id), (6, 10, 0, order.id)]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, ["CFEE", "FILL", "FILL"]),
        ({"types": ["FILL"]}, ["FILL", "FILL"]),
        ({"types": ["CFEE", "DIV"]}, ["CFEE"]),
        ({"category": "trade_activity"}, ["FILL", "FILL"]),
        ({"category": "non_trade_activity"}, ["CFEE"]),
        ({"on_date": date(2024, 1, 3)}, ["CFEE", "FILL", "FILL"]),
        ({"on_date": date(2024, 1, 4)}, []),
        ({"after_ns": instant("2024-01-03 10:30")}, ["CFEE", "FILL"]),
        ({"until_ns": instant("2024-01-03 10:30")}, ["FILL"]),
    ],
)
def test_activity_filters(filters: dict[str, Any], found: list[str]) -> None:
    desk = Desk()
    desk.hold("AAPL", 1, 100.0)
    desk.at("2024-01-03 11:00")
    desk.hold("BTC/USD", 1, 50_000.0)
    assert [one.activity_type for one in desk.exchange.activities(**filters)] == found


@pytest.mark.parametrize(
    ("filters", "name"),
    [
        ({"category": "other"}, "category"),
        ({"category": "trade_activity", "types": ["FILL"]}, "category"),
        ({"page_size": 101}, "page_size"),
        ({"page_token": "none"}, "page_token"),
        ({"direction": ""}, "direction"),
    ],
)
def test_activity_filters_that_make_no_sense(filters: dict[str, Any], name: str) -> None:
    with refused(SYNTAX, f"invalid {name}"):
        Desk().exchange.activities(**filters)


def test_activity_ids_are_in_new_yorks_time() -> None:
    assert activity_id(instant("2022-02-02 13:55") + 9_981_482_000, "u") == "20220202135509981::u"


def test_assets() -> None:
    exchange = Desk().exchange
    assert [asset.symbol for asset in exchange.assets(asset_class=AssetClass.CRYPTO)] == ["BTC/USD", "ETH/USD"]
    assert len(exchange.assets()) == 12
    assert [asset.symbol for asset in exchange.assets(exchange="ARCA")] == ["SPY"]
    assert exchange.assets(status="inactive") == []
    assert exchange.assets(attributes=["ipo"]) == []
    assert exchange.asset(exchange.asset("AAPL").asset_id.upper()).symbol == "AAPL"
    with refused(40410000, "asset not found for BTCUSDT"):
        exchange.asset("BTCUSDT")


def test_assets_that_are_gone_stay_known_and_cannot_be_traded() -> None:
    desk = Desk()
    desk.hold("AAPL", 1, 100.0)
    desk.exchange.set_assets([make_asset("XXX")])
    assert desk.exchange.asset("AAPL").status == "inactive"
    assert desk.exchange.position(desk.now_ns, "AAPL").quantity == 1
    with pytest.raises(Refusal, match="not active"):
        desk.sell("AAPL", 1)
    assert [asset.symbol for asset in desk.exchange.assets(status="active")] == ["XXX"]


def test_ids_are_a_function_of_the_seed() -> None:
    def first_order_id(seed: int) -> str:
        return Desk(seed=seed).buy("AAPL", 1, limit_price=1).id

    assert first_order_id(1) == first_order_id(1) != first_order_id(2)
