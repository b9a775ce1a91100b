"""A gateway before a venue that counts, and short words for what a client does with it."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.bad_requests import spec
from tests.gateway_host import RunningGateway
from tests.refusals import Wire
from trading_gateway.v1 import account_pb2 as account, trading_pb2 as pb


class Stage:
    """One gateway and a connection to it.

    Args:
        gateway: It runs.
        is_warm: Have it read now what it reads once: assets, account, positions.
    """

    def __init__(self, gateway: RunningGateway, *, is_warm: bool = True) -> None:
        self.gateway = gateway
        self.emulator = gateway.emulator
        self.wire = Wire(gateway.target, ("grpc.max_metadata_size", 1 << 20))
        self._health = health_pb2_grpc.HealthStub(self.wire.channel)
        if is_warm:
            self.warm()

    def warm(self) -> None:
        """Have the gateway read what it reads once."""
        self.wire.call("PreviewOrder", pb.PreviewOrderRequest(spec=spec(order_type=pb.ORDER_TYPE_MARKET)))
        self.wire.call("ListPositions", account.ListPositionsRequest())

    def asked(self) -> Counter[str]:
        """Requests at the venue so far, by method and route."""
        return Counter(self.emulator.emulator.app.gate.requests)

    def changes(self) -> int:
        """Requests at the venue that could change something."""
        return sum(count for label, count in self.asked().items() if not label.startswith("GET "))

    def orders(self) -> dict[str, int]:
        """Every order that the gateway knows, with its state."""
        answer = self.wire.call("ListOrders", pb.ListOrdersRequest(all_strategies=True, page_size=500))
        return {order.order_id: order.state for order in answer.orders}

    def is_healthy(self) -> bool:
        """Serving, and quick to say so."""
        answer = self._health.Check(health_pb2.HealthCheckRequest(service=""), timeout=5)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def submit(self, key: str, wanted: pb.OrderSpec, **fields: Any) -> pb.Order:
        """An order that is taken."""
        request = pb.SubmitOrderRequest(client_order_id=key, spec=wanted, **fields)
        answer: pb.SubmitOrderResponse = self.wire.call("SubmitOrder", request)
        return answer.order

    def ended(self, order: pb.Order) -> pb.Order:
        """The order when it has been canceled, or had ended before."""
        request = pb.CancelOrderRequest(order=pb.OrderRef(order_id=order.order_id))
        request.wait_for_terminal.seconds = 5
        answer: pb.CancelOrderResponse = self.wire.call("CancelOrder", request)
        return answer.order

    def until(self, order: pb.Order, *states: int) -> pb.Order:
        """The order when it is in one of these states, which the update stream tells."""
        updates = self.wire.stream("StreamOrderUpdates", pb.StreamOrderUpdatesRequest())
        request = pb.GetOrderRequest(order=pb.OrderRef(order_id=order.order_id))
        for update in updates:
            known = update.event.order if update.HasField("event") else None
            if update.HasField("snapshot_end"):
                known = self.wire.call("GetOrder", request).order
            if known is not None and known.order_id == order.order_id and known.state in states:
                updates.cancel()
                found: pb.Order = known
                return found
        raise AssertionError("the stream ended")

    def bought(self, key: str, symbol: str, quantity: str) -> pb.Order:
        """A position."""
        tif = pb.TIME_IN_FORCE_GTC if "/" in symbol else pb.TIME_IN_FORCE_DAY
        wanted = spec(symbol=symbol, quantity=quantity, order_type=pb.ORDER_TYPE_MARKET, time_in_force=tif)
        return self.until(self.submit(key, wanted), pb.ORDER_STATE_FILLED)

    def close(self) -> None:
        """Hang up."""
        self.wire.close()


Staging = Callable[..., Stage]

_HEADER = "ts_ns,symbol,bid_price,bid_size,bid_exchange,ask_price,ask_size,ask_exchange,conditions\n"
_QUOTE = "{time},XYZ,100.00,{size},N,100.10,{size},N,R\n"


def tape(folder: Path, *, quotes: int = 1, size: int = 100) -> Path:
    """A recording of so many quotes of XYZ, a millisecond apart."""
    rows = "".join(_QUOTE.format(time=1_700_000_000_000_000_000 + 1_000_000 * n, size=size) for n in range(quotes))
    (folder / "quotes.csv.gz").write_bytes(gzip.compress((_HEADER + rows).encode()))
    return folder
