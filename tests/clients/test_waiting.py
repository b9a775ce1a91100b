"""Waiting for an order, with both clients against a scripted server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clients.messages import BEGIN, END, EPOCH_CHANGED, LOST, update
from tests.clients.scripted import OPEN, ScriptedGateway
from trading_gateway.v1 import trading_pb2 as pb


def order(state: Any, version: int, **fields: Any) -> pb.Order:
    """The order that the waits below wait for."""
    return pb.Order(order_id="o-1", strategy_id="momentum", state=state, version=version, **fields)


def test_waiting_ends_with_the_event(client: Any, scripted: ScriptedGateway) -> None:
    working, filled = order(pb.ORDER_STATE_WORKING, 2), order(pb.ORDER_STATE_FILLED, 3)
    scripted.script("GetOrder", pb.GetOrderResponse(order=working))
    requests = scripted.script(
        "StreamOrderUpdates",
        [update(5, BEGIN), update(5, END), update(6, order_id="another", state=pb.ORDER_STATE_FILLED), LOST],
        [update(7, order_id="o-1", state=pb.ORDER_STATE_FILLED, version=3, strategy_id="momentum"), OPEN],
    )
    assert client.wait_for(working) == filled
    assert [(one.strategy_id, one.resume_token) for one in requests] == [("momentum", ""), ("momentum", "t-6")]


def test_waiting_for_what_already_happened_ends_at_once(client: Any, scripted: ScriptedGateway) -> None:
    filled = order(pb.ORDER_STATE_FILLED, 3)
    assert client.wait_for(filled) is filled
    scripted.script("GetOrder", pb.GetOrderResponse(order=filled))
    scripted.script("StreamOrderUpdates", [update(5, BEGIN), update(5, END), OPEN])
    assert client.wait_for(order(pb.ORDER_STATE_SUBMITTING, 1)) == filled


def test_waiting_goes_on_in_another_life_of_the_gateway(client: Any, scripted: ScriptedGateway) -> None:
    """It counts versions anew; what it answers to a read is true all the same."""
    old, new = order(pb.ORDER_STATE_WORKING, 9), order(pb.ORDER_STATE_WORKING, 1)
    scripted.script("GetOrder", pb.GetOrderResponse(order=old), pb.GetOrderResponse(order=new))
    ending = update(2, order_id="o-1", state=pb.ORDER_STATE_CANCELED, version=2)
    scripted.script(
        "StreamOrderUpdates",
        [update(50, BEGIN), update(50, END), LOST],
        [EPOCH_CHANGED],
        [update(1, BEGIN), update(1, END), ending, OPEN],
    )
    assert client.wait_for(old, timeout_s=5).state == pb.ORDER_STATE_CANCELED


def test_waiting_ends_in_time_and_says_where_the_order_stands(client: Any, scripted: ScriptedGateway) -> None:
    working = order(pb.ORDER_STATE_WORKING, 2)
    scripted.script("GetOrder", pb.GetOrderResponse(order=working))
    scripted.script("StreamOrderUpdates", [update(5, BEGIN), update(5, END), OPEN])
    with pytest.raises(TimeoutError, match="still working"):
        client.wait_for(working, timeout_s=0.2)


def test_waiting_takes_any_condition(client: Any, scripted: ScriptedGateway) -> None:
    partly = {"order_id": "o-1", "version": 4, "filled_quantity": "2"}
    scripted.script("StreamOrderUpdates", [update(5, BEGIN), update(5, "snapshot_order", **partly), OPEN])
    waited = client.wait_for(
        order(pb.ORDER_STATE_WORKING, 2, external=True), until=lambda one: one.filled_quantity == "2"
    )
    assert waited.version == 4
    assert scripted.requests["StreamOrderUpdates"][0].all_strategies
