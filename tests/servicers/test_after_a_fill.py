"""What is told of one fill by four rpcs agrees to the cent, at once."""

from __future__ import annotations

from decimal import Decimal

from tests.bad_requests import spec
from tests.gateway_host import GatewayHost
from tests.stage import Stage
from trading_gateway.v1 import account_pb2 as account, trading_pb2 as pb


def test_order_position_and_cash_agree_at_once(start_gateway: GatewayHost) -> None:
    """However often account and positions were asked for just before the fill."""
    stage = Stage(start_gateway())
    try:
        before = stage.wire.call("GetAccount", account.GetAccountRequest()).account
        stage.wire.call("ListPositions", account.ListPositionsRequest())
        order = stage.submit("filled", spec(order_type=pb.ORDER_TYPE_MARKET, quantity="3"))
        if order.state != pb.ORDER_STATE_FILLED:
            order = stage.until(order, pb.ORDER_STATE_FILLED)
        (position,) = stage.wire.call("ListPositions", account.ListPositionsRequest()).positions
        after = stage.wire.call("GetAccount", account.GetAccountRequest()).account
        paid = Decimal(order.filled_average_price) * 3
        assert (position.symbol, position.quantity, Decimal(position.cost_basis)) == ("AAPL", "3", paid)
        assert Decimal(before.cash) - Decimal(after.cash) == paid
    finally:
        stage.close()
