"""The left side: alpaca-py straight at the venue, as shipped. Each program prints what it saw as one JSON line.

python -m tests.demo.alone quotes URL SECONDS
python -m tests.demo.alone order URL
python -m tests.demo.alone fills URL NOTEBOOK
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
import time
from typing import Any

from tests.demo.killed import QUANTITY, SYMBOL
from tests.demo.notebook import Notebook

KEYS = ("demo-key", "demo-secret")


class Refusals(logging.Handler):
    """What alpaca-py tells only its log."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(record.getMessage())


def quotes(url: str, seconds: str) -> dict[str, Any]:
    """Follow AAPL's quotes for a while."""
    from alpaca.data.live import StockDataStream

    refusals = Refusals()
    logging.getLogger("alpaca.data.live.websocket").addHandler(refusals)
    stream = StockDataStream(*KEYS, url_override=f"{url.replace('http', 'ws', 1)}/v2/iex")
    received = 0

    async def count(_quote: object) -> None:
        nonlocal received
        received += 1

    stream.subscribe_quotes(count, "AAPL")

    async def run() -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stream._run_forever(), float(seconds))
        await stream.close()

    asyncio.run(run())
    refused = [text for text in refusals.seen if "limit" in text]
    return {"quotes": received, "refused": len(refused), "why": refused[0] if refused else ""}


def order(url: str) -> dict[str, Any]:
    """Buy one share, once, in the obvious way."""
    from alpaca.common.exceptions import APIError
    from alpaca.trading.client import TradingClient
    from alpaca.trading.enums import OrderSide, TimeInForce
    from alpaca.trading.requests import MarketOrderRequest

    client = TradingClient(*KEYS, url_override=url)
    began = time.monotonic()
    try:
        client.submit_order(MarketOrderRequest(symbol="AAPL", qty=1, side=OrderSide.BUY, time_in_force=TimeInForce.DAY))
        answer = "accepted"
    except APIError as error:
        answer = f"APIError {error.status_code}"
    took_s = time.monotonic() - began
    return {"answer": answer, "took_s": took_s}


def fills(url: str, path: str) -> dict[str, Any]:
    """Buy, and note every fill that the stream tells until the order is done; run again, go on listening."""
    from alpaca.trading.client import TradingClient
    from alpaca.trading.enums import OrderSide, TimeInForce
    from alpaca.trading.requests import MarketOrderRequest
    from alpaca.trading.stream import TradingStream

    notebook = Notebook(path)
    client = TradingClient(*KEYS, url_override=url)
    stream = TradingStream(*KEYS, url_override=f"{url.replace('http', 'ws', 1)}/stream")
    wanted = MarketOrderRequest(symbol=SYMBOL, qty=QUANTITY, side=OrderSide.BUY, time_in_force=TimeInForce.DAY)

    async def note(update: Any) -> None:
        if update.event in ("partial_fill", "fill") and update.order.symbol == SYMBOL:
            notebook.note({"id": str(update.execution_id), "quantity": str(update.qty)})
        if update.event == "fill" and update.order.symbol == SYMBOL:
            await stream.stop_ws()

    async def once_connected(is_first_life: bool) -> None:
        while not stream._running:  # noqa: ASYNC110 - alpaca-py says it no other way
            await asyncio.sleep(0.01)
        if is_first_life:
            await asyncio.to_thread(client.submit_order, wanted)
        elif not await asyncio.to_thread(client.get_orders):  # open ones: it was done before this program was back
            await stream.stop_ws()

    async def run() -> None:
        stream.subscribe_trade_updates(note)
        beginning = asyncio.create_task(once_connected(is_first_life=not notebook.lines()))
        await stream._run_forever()
        await beginning

    asyncio.run(run())
    return {}


if __name__ == "__main__":
    print(json.dumps({"quotes": quotes, "order": order, "fills": fills}[sys.argv[1]](*sys.argv[2:])))
