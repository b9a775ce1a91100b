"""The blocking client on grpcio-testing's fake channel: how a strategy is tested without any server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import grpc
import grpc_testing
import pytest

from trading_gateway import Client, GatewayError
from trading_gateway.v1 import trading_pb2 as pb

TRADING = pb.DESCRIPTOR.services_by_name["TradingService"]


def test_a_call_on_a_channel_that_is_given() -> None:
    channel = grpc_testing.channel([TRADING], grpc_testing.strict_real_time())
    with ThreadPoolExecutor(1) as pool, Client(channel=channel) as client:
        answer = pool.submit(client.get_order, "o-1")
        _, request, rpc = channel.take_unary_unary(TRADING.methods_by_name["GetOrder"])
        rpc.terminate(pb.GetOrderResponse(order=pb.Order(order_id="o-1")), (), grpc.StatusCode.OK, "")
        assert request == pb.GetOrderRequest(order=pb.OrderRef(order_id="o-1"))
        assert answer.result(timeout=5) == pb.Order(order_id="o-1")


def test_an_error_on_a_channel_that_is_given() -> None:
    channel = grpc_testing.channel([TRADING], grpc_testing.strict_real_time())
    with ThreadPoolExecutor(1) as pool, Client(channel=channel) as client:
        answer = pool.submit(client.get_order, "o-1")
        _, _, rpc = channel.take_unary_unary(TRADING.methods_by_name["GetOrder"])
        rpc.terminate(None, (), grpc.StatusCode.NOT_FOUND, "no such order")
        with pytest.raises(GatewayError, match="no such order") as caught:
            answer.result(timeout=5)
        assert caught.value.code is grpc.StatusCode.NOT_FOUND
