"""Every enum of the dictionary is total both ways, but for what is listed with its reason."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import pytest

from gateway.application.order_timeline import EntryKind
from gateway.domain.models.orders import OrderEventKind
from gateway.domain.models.risk import TradingMode
from gateway.domain.types import (
    AssetClass,
    DataFeed,
    FeedState,
    LegRole,
    OrderClass,
    OrderSide,
    OrderState,
    OrderType,
    TimeInForce,
    TwoWay,
    Venue,
)
from gateway.servicers.wire import common, order_history, order_updates, orders, risk
from trading_gateway.v1 import common_pb2, risk_pb2, trading_pb2

TABLES: dict[str, tuple[TwoWay[Any, Any], type[StrEnum], Any]] = {
    "venue": (common.VENUE, Venue, common_pb2.Venue),
    "asset class": (common.ASSET_CLASS, AssetClass, common_pb2.AssetClass),
    "feed state": (common.FEED_STATE, FeedState, common_pb2.FeedState),
    "order side": (orders.ORDER_SIDE, OrderSide, trading_pb2.OrderSide),
    "order type": (orders.ORDER_TYPE, OrderType, trading_pb2.OrderType),
    "time in force": (orders.TIME_IN_FORCE, TimeInForce, trading_pb2.TimeInForce),
    "order class": (orders.ORDER_CLASS, OrderClass, trading_pb2.OrderClass),
    "leg role": (orders.LEG_ROLE, LegRole, trading_pb2.OrderLegRole),
    "order state": (orders.ORDER_STATE, OrderState, trading_pb2.OrderState),
    "entry kind": (order_history.ENTRY_KIND, EntryKind, trading_pb2.OrderTimeline.Entry.Kind),
    "trading mode": (risk.TRADING_MODE, TradingMode, risk_pb2.TradingMode),
    "event kind": (order_updates.EVENT_KIND, OrderEventKind, trading_pb2.OrderEvent.Kind),
}


UNSERVED = {"venue": {Venue.LIVE}}
"""Live is refused at start: no answer can come from it."""


@pytest.mark.parametrize("name", TABLES)
def test_every_member_of_ours_has_a_value_and_every_value_a_member(name: str) -> None:
    table, ours, theirs = TABLES[name]
    assert set(table) == set(ours) - UNSERVED.get(name, set())
    # UNSPECIFIED is no value: it is absence in requests and "not known to this build" in answers.
    assert {table[member] for member in table} | {0} == set(theirs.values())
    for member in table:
        assert table.back(table[member]) is member


@pytest.mark.parametrize("name", TABLES)
def test_names_agree_on_both_sides(name: str) -> None:
    table, _, theirs = TABLES[name]
    for member in table:
        if table[member] != 0:
            assert theirs.Name(table[member]).endswith(f"_{_last_words(member)}")


def _last_words(member: StrEnum) -> str:
    return {"IEX": "FEED_IEX", "CRYPTO_US": "CRYPTO_US"}.get(member.name, member.name)


def test_only_an_unknown_asset_class_is_written_as_unspecified() -> None:
    unspecified = [(name, member) for name, (table, *_) in TABLES.items() for member in table if table[member] == 0]
    assert unspecified == [("asset class", AssetClass.UNRECOGNIZED)]


def test_every_feed_that_a_request_may_name_has_a_value() -> None:
    """Articles have one feed, which nobody chooses."""
    assert set(common.DATA_FEED) == set(DataFeed) - {DataFeed.NEWS}
    values = {value.number for value in common_pb2.DataFeed.DESCRIPTOR.values}
    assert {common.DATA_FEED[feed] for feed in common.DATA_FEED} == values - {common_pb2.DATA_FEED_UNSPECIFIED}
