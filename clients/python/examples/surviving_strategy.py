"""A strategy that may be killed at any line: it places one order and tells every event of it once.

    python surviving_strategy.py --state strategy.json --symbol AAPL --quantity 1

Run it, kill it (`kill -9`), run it again with the same file. The file has the key of the order, written before the
order is submitted, and the token of the newest event, in one replacement with what was made of that event.
Where a token or TLS is wanted, they come from the environment: GATEWAY_TOKEN_FILE or GATEWAY_TOKEN, GATEWAY_TLS_CA.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from trading_gateway import (
    Client,
    GatewayError,
    KeyFate,
    OrderRef,
    StartedOver,
    StreamNotice,
    describe,
    is_terminal,
    new_key,
)

TRIES_MAX = 10
"""Calls under one key, each of which is repeated by the client as well, before giving up for this run."""


class State:
    """What the strategy remembers: a JSON file that is replaced, so that a crash leaves the old one or the new one.

    Args:
        path: Made when it is missing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        fresh: dict[str, Any] = {"key": new_key("survivor"), "token": "", "filled": "0", "done": False}
        self._values: dict[str, Any] = json.loads(path.read_text()) if path.exists() else fresh

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def save(self, **changes: Any) -> None:
        """Change the values, all or none."""
        self._values |= changes
        beside = self._path.with_suffix(".new")
        with beside.open("w") as file:
            json.dump(self._values, file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)


def on_notice(notice: StreamNotice) -> None:
    """Say what befell the stream."""
    if isinstance(notice, StartedOver):
        print(f"the events since {notice.closed_since} cannot be had ({notice.reason}): reading the order instead")


def submit(client: Client, key: str, symbol: str, quantity: str) -> None:
    """Submit until the gateway has spoken about this key, never under another one."""
    for _ in range(TRIES_MAX):
        try:
            client.submit_order(
                client_order_id=key,
                symbol=symbol,
                side="buy",
                quantity=quantity,
                order_type="market",
                time_in_force="gtc" if "/" in symbol else "day",
            )
            return
        except GatewayError as error:
            if error.key in (KeyFate.SPENT, KeyFate.TAKEN) or not (error.ambiguous or error.outcome_unknown):
                raise  # it says what is so; a strategy decides here whether it wants another order, under another key
            print(f"{error}: asking again with the same key")
    raise TimeoutError(f"nothing is known of {key}: run this again")


def run(client: Client, state: State, symbol: str, quantity: str) -> int:
    """Follow the book from the kept token, submit under the kept key, until the order is done; the exit code."""
    state.save()  # the key, before the call
    updates = client.stream_order_updates(
        resume_token=state["token"], live_only=not state["token"], on_notice=on_notice
    )
    if not state["token"]:
        state.save(token=next(updates).resume_token)  # from here on, before the order can exist
    submit(client, state["key"], symbol, quantity)
    for update in updates:
        order = update.event.order
        if update.HasField("snapshot_end"):  # events were lost: the order may have ended among them
            order = client.get_order(OrderRef(client_order_id=state["key"]))
        if order.client_order_id != state["key"]:
            continue
        # One replacement: what was made of the event, and that it was.
        token = update.resume_token or state["token"]
        state.save(token=token, filled=order.filled_quantity, done=is_terminal(order))
        print(f"{update.sequence}: {describe(order)}")
        if state["done"]:
            return 0
    return 1


def main() -> int:
    """Read the arguments, connect, run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", help="HOST:PORT; default: GATEWAY_TARGET, else 127.0.0.1:50051")
    parser.add_argument("--state", type=Path, required=True, help="the file that it remembers in")
    parser.add_argument("--symbol", default="AAPL")
    parser.add_argument("--quantity", default="1")
    arguments = parser.parse_args()
    state = State(arguments.state)
    if state["done"]:
        print(f"done in an earlier run: {state['filled']} filled")
        return 0
    with Client(arguments.target) as client:
        try:
            return run(client, state, arguments.symbol, arguments.quantity)
        except (GatewayError, TimeoutError) as error:
            print(error, file=sys.stderr)
            return 1


if __name__ == "__main__":
    raise SystemExit(main())
