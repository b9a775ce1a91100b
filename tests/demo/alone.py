"""The left side: alpaca-py straight at the venue, as shipped. Each program prints what it saw as one JSON line.

python -m tests.demo.alone quotes URL SECONDS
python -m tests.demo.alone order URL
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
import time
from typing import Any

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


if __name__ == "__main__":
    print(json.dumps({"quotes": quotes, "order": order}[sys.argv[1]](*sys.argv[2:])))
