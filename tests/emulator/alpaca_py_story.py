"""One story told with nothing but alpaca-py: place, replace, cancel, bracket, close, list, stream.

Start an emulator, then run it against that:

    trading-gateway emulator --listen 127.0.0.1:8700
    python tests/emulator/alpaca_py_story.py --url http://127.0.0.1:8700

It prints what it does, and ends with code 1 when anything is not as Alpaca would have it.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from alpaca.data.enums import DataFeed
from alpaca.data.live import StockDataStream
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderClass, OrderSide, OrderStatus, QueryOrderStatus, TimeInForce
from alpaca.trading.models import Order
from alpaca.trading.requests import (
    ClosePositionRequest,
    GetOrdersRequest,
    LimitOrderRequest,
    MarketOrderRequest,
    ReplaceOrderRequest,
    StopLossRequest,
    TakeProfitRequest,
)
from alpaca.trading.stream import TradingStream

WAIT_S_MAX = 10.0
SYMBOL = "AAPL"


class Streams:
    """alpaca-py's two streams, each on a thread of its own, as its users run them; they end with the program."""

    def __init__(self, url: str, key: str, secret: str) -> None:
        base = url.replace("http", "ws", 1)
        self.quotes: list[Any] = []
        self.updates: list[Any] = []
        self._data = StockDataStream(key, secret, feed=DataFeed.IEX, url_override=f"{base}/v2/iex")
        self._trading = TradingStream(key, secret, url_override=f"{base}/stream")
        self._data.subscribe_quotes(self._on_quote, SYMBOL)
        self._trading.subscribe_trade_updates(self._on_update)
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._data.run, self._trading.run)]

    def start(self) -> None:
        """Begin, and wait for the first quote and for the order stream to listen."""
        for thread in self._threads:
            thread.start()
        wait_for("the first quote", lambda: self.quotes)
        wait_for("the order stream", lambda: self._trading._running)

    def events(self, order_id: uuid.UUID) -> list[str]:
        """What was told about an order, in order."""
        return [
            str(getattr(update.event, "value", update.event)) for update in self.updates if update.order.id == order_id
        ]

    async def _on_quote(self, quote: Any) -> None:
        self.quotes.append(quote)

    async def _on_update(self, update: Any) -> None:
        self.updates.append(update)


def tell(url: str, key: str = "key", secret: str = "secret", *, say: Callable[[str], None] = print) -> None:
    """The story.

    Raises:
        AssertionError: When something is not as it should be.
    """
    client = TradingClient(key, secret, paper=True, url_override=url)
    streams = Streams(url, key, secret)
    streams.start()
    bid = float(streams.quotes[-1].bid_price)
    say(f"stream    {SYMBOL} quoted at {bid}")
    _place(client, streams, say)
    _replace_and_cancel(client, streams, round(bid * 0.9, 2), say)
    _bracket(client, streams, bid, say)
    _close(client, streams, say)


def _place(client: TradingClient, streams: Streams, say: Callable[[str], None]) -> None:
    order = client.submit_order(
        MarketOrderRequest(symbol=SYMBOL, qty=10, side=OrderSide.BUY, time_in_force=TimeInForce.DAY)
    )
    filled = wait_for_status(client, order, OrderStatus.FILLED)
    wait_for("the fill on the stream", lambda: "fill" in streams.events(order.id))
    assert filled.filled_qty == "10"
    assert streams.events(order.id)[0] == "new"
    assert client.get_open_position(SYMBOL).qty == "10"
    say(f"place     bought 10 at {filled.filled_avg_price}: {streams.events(order.id)}")


def _replace_and_cancel(client: TradingClient, streams: Streams, price: float, say: Callable[[str], None]) -> None:
    order = client.submit_order(
        LimitOrderRequest(
            symbol=SYMBOL, qty=2, side=OrderSide.BUY, time_in_force=TimeInForce.GTC, limit_price=price,
            client_order_id=f"story-{uuid.uuid4()}",
        )
    )  # fmt: skip
    replacement = client.replace_order_by_id(order.id, ReplaceOrderRequest(qty=3, limit_price=price - 1))
    assert replacement.replaces == order.id
    assert (replacement.qty, float(replacement.limit_price)) == ("3", round(price - 1, 2))
    wait_for_status(client, order, OrderStatus.REPLACED)
    open_ids = {found.id for found in client.get_orders(GetOrdersRequest(status=QueryOrderStatus.OPEN))}
    assert open_ids == {replacement.id}
    say(f"replace   {order.id} by {replacement.id}")
    client.cancel_order_by_id(replacement.id)
    wait_for_status(client, replacement, OrderStatus.CANCELED)
    wait_for("the cancel on the stream", lambda: "canceled" in streams.events(replacement.id))
    assert client.get_order_by_client_id(order.client_order_id).id == order.id
    say(f"cancel    {streams.events(replacement.id)}")


def _bracket(client: TradingClient, streams: Streams, bid: float, say: Callable[[str], None]) -> None:
    order = client.submit_order(
        MarketOrderRequest(
            symbol=SYMBOL, qty=1, side=OrderSide.BUY, time_in_force=TimeInForce.GTC, order_class=OrderClass.BRACKET,
            take_profit=TakeProfitRequest(limit_price=round(bid * 1.2, 2)),
            stop_loss=StopLossRequest(stop_price=round(bid * 0.8, 2)),
        )
    )  # fmt: skip
    assert order.legs is not None
    assert len(order.legs) == 2
    wait_for_status(client, order, OrderStatus.FILLED)
    legs = {leg.order_type.value: client.get_order_by_id(leg.id) for leg in order.legs}
    assert set(legs) == {"limit", "stop"}
    wait_for("the take-profit to work", lambda: client.get_order_by_id(legs["limit"].id).status is OrderStatus.NEW)
    say(f"bracket   filled; legs: { {kind: leg.status.value for kind, leg in legs.items()} }")
    canceled = client.cancel_orders()
    assert {answer.status for answer in canceled} == {200}
    wait_for("no open order", lambda: not client.get_orders(GetOrdersRequest(status=QueryOrderStatus.OPEN)))
    say(f"cancel    all: {len(canceled)} answers")


def _close(client: TradingClient, streams: Streams, say: Callable[[str], None]) -> None:
    part = client.close_position(SYMBOL, ClosePositionRequest(qty="4"))
    wait_for_status(client, part, OrderStatus.FILLED)
    assert client.get_open_position(SYMBOL).qty == "7"
    answers = client.close_all_positions(cancel_orders=True)
    assert [answer.status for answer in answers] == [200]
    wait_for("no position", lambda: not client.get_all_positions())
    orders = client.get_orders(GetOrdersRequest(status=QueryOrderStatus.ALL, limit=500))
    cash = float(client.get_account().cash)
    assert len(orders) >= 7
    say(f"close     flat; {len(orders)} orders listed, {len(streams.updates)} updates streamed, cash {cash:.2f}")


def wait_for_status(client: TradingClient, order: Order, status: OrderStatus) -> Order:
    """The order once it has a status."""
    found: list[Order] = []

    def reached() -> bool:
        found[:] = [client.get_order_by_id(order.id)]
        return found[0].status is status

    wait_for(f"order {order.id} to be {status.value}", reached)
    return found[0]


def wait_for(what: str, reached: Callable[[], Any]) -> None:
    """Ask again and again, up to WAIT_S_MAX."""
    deadline = time.monotonic() + WAIT_S_MAX
    while not reached():
        assert time.monotonic() < deadline, f"waited {WAIT_S_MAX:g} s for {what}"
        time.sleep(0.01)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--url", default="http://127.0.0.1:8700")
    parser.add_argument("--key", default="key")
    parser.add_argument("--secret", default="secret")
    arguments = parser.parse_args()
    try:
        tell(arguments.url, arguments.key, arguments.secret)
    except AssertionError as error:
        sys.exit(f"not as it should be: {error}")
