"""The right side: the same programs through the gateway. Each prints what it saw as one JSON line.

python -m tests.demo.through quotes TARGET SECONDS
python -m tests.demo.through order TARGET
python -m tests.demo.through fills TARGET NOTEBOOK
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from tests.demo.killed import QUANTITY, SYMBOL
from tests.demo.notebook import Notebook
from trading_gateway import Client, GatewayError, is_terminal, new_key, word
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


def fills(target: str, path: str) -> dict[str, Any]:
    """Buy, and note every event until the order is done; run again, go on after the last line, with the same key.

    An event and the token that continues after it are one line: however this program dies, the line is there with
    both or with neither.
    """
    notebook = Notebook(path)
    noted = notebook.lines()
    key = next((line["key"] for line in noted if "key" in line), "")
    if not key:
        key = new_key("demo")
        notebook.note({"key": key})  # before the call: it is how the order is asked for
    token = next((line["token"] for line in reversed(noted) if "token" in line), "")
    with Client(target) as client:
        updates = client.stream_order_updates(resume_token=token, live_only=not token)
        if not token:
            first = next(updates)
            notebook.note({"token": first.resume_token})
        order = client.submit_order(
            client_order_id=key, symbol=SYMBOL, side="buy", quantity=QUANTITY, order_type="market", time_in_force="day"
        ).order
        for update in updates:
            if update.WhichOneof("payload") != "event":
                continue
            event = update.event
            line = {"sequence": update.sequence, "token": update.resume_token, "event": event.kind}
            if event.HasField("fill"):
                line |= {"id": event.fill.fill_id, "quantity": event.fill.quantity}
            notebook.note(line)
            if event.order.order_id == order.order_id and is_terminal(event.order):
                return {}
    return {}


if __name__ == "__main__":
    print(json.dumps({"quotes": quotes, "order": order, "fills": fills}[sys.argv[1]](*sys.argv[2:])))
