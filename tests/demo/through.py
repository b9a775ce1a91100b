"""The right side: the same programs through the gateway. Each prints what it saw as one JSON line.

python -m tests.demo.through quotes TARGET SECONDS
python -m tests.demo.through order TARGET
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from trading_gateway import Client, GatewayError, new_key, word
from trading_gateway.v1 import trading_pb2


def quotes(target: str, seconds: str) -> dict[str, Any]:
    """Follow AAPL's quotes for a while."""
    end = time.monotonic() + float(seconds)
    received = 0
    with Client(target) as client:
        for message in client.stream_quotes(["AAPL"]):
            received += len(message.quotes)
            if time.monotonic() >= end:
                break
    return {"quotes": received}


def order(target: str) -> dict[str, Any]:
    """Buy one share under a key; whatever happens, ask again with the same key."""
    key = new_key()
    wanted = {"client_order_id": key, "symbol": "AAPL", "side": "buy", "quantity": "1"}
    wanted |= {"order_type": "market", "time_in_force": "day"}
    with Client(target) as client:
        began = time.monotonic()
        try:
            first = client.submit_order(**wanted)
        except GatewayError as error:
            return {"answer": f"{error.code.name} {error.reason}", "replayed": False, "final": ""}
        took_s = time.monotonic() - began
        again = client.submit_order(**wanted)
        final = client.wait_for(first.order)
    return {
        "answer": f"OK {word(trading_pb2.OrderState, first.order.state)}",
        "took_s": took_s,
        "replayed": again.replayed,
        "final": word(trading_pb2.OrderState, final.state),
    }


if __name__ == "__main__":
    print(json.dumps({"quotes": quotes, "order": order}[sys.argv[1]](*sys.argv[2:])))
