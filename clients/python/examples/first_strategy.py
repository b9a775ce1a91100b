"""A first strategy: watch quotes, buy when the offer turns up, wait for the fill.

    python first_strategy.py --target 127.0.0.1:50051 --symbol AAPL --quantity 1

It needs a gateway (`make run` starts one with a market of its own, without keys) and ends within seconds. Where a token
or TLS is wanted, they come from the environment: GATEWAY_TOKEN_FILE or GATEWAY_TOKEN, GATEWAY_TLS_CA.
"""

from __future__ import annotations

import argparse
import sys

from trading_gateway import Client, Disconnected, GatewayError, describe, new_key
from trading_gateway.v1.market_data_pb2 import Quote, StreamStatus

TURN_USD = 0.01
"""How far above its lowest the offer has to be."""

QUOTES_MAX = 5_000
"""Quotes to watch before giving up."""


def wait_for_turn(client: Client, symbol: str) -> Quote | None:
    """The first quote whose offer is above the lowest one seen; None when it never came."""
    lowest, seen = float("inf"), 0
    with client.follow_quotes(symbol) as items:
        for item in items:
            match item:
                case Disconnected():
                    print("the connection broke: it is opened again")
                case StreamStatus():
                    for ack in item.acks:
                        if ack.status.code:
                            raise SystemExit(f"{ack.symbol}: {ack.status.message}")
                    for gap in item.gaps:
                        print(f"nothing was received from {gap.feed} for a while: starting over")
                        lowest = float("inf")
                case Quote() if item.ask_price and not item.stale:
                    lowest = min(lowest, item.ask_price)
                    if item.ask_price >= lowest + TURN_USD:
                        return item
                    seen += 1
                    if seen >= QUOTES_MAX:
                        return None
    return None


def run(client: Client, symbol: str, quantity: str) -> int:
    """Watch, buy, wait; the exit code."""
    account = client.get_account()
    print(f"{account.cash} {account.currency_code} in cash; watching {symbol}")
    quote = wait_for_turn(client, symbol)
    if quote is None:
        print("the offer never turned up: nothing was bought")
        return 1
    print(f"offer turned up to {quote.ask_price}: buying {quantity}")
    # A strategy that must survive its own crash writes the key down before it submits.
    answer = client.submit_order(
        client_order_id=new_key("first"),
        symbol=symbol,
        side="buy",
        quantity=quantity,
        order_type="market",
        time_in_force="gtc" if "/" in symbol else "day",
    )
    order = client.wait_for(answer.order, timeout_s=20)
    print(describe(order))
    position = client.get_position(symbol, max_staleness_s=0)
    print(f"position: {position.quantity} {symbol} at {position.average_entry_price} on average")
    return 0


def main() -> int:
    """Read the arguments, connect, run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", help="HOST:PORT; default: GATEWAY_TARGET, else 127.0.0.1:50051")
    parser.add_argument("--symbol", default="AAPL")
    parser.add_argument("--quantity", default="1")
    arguments = parser.parse_args()
    with Client(arguments.target) as client:
        try:
            return run(client, arguments.symbol, arguments.quantity)
        except GatewayError as error:
            print(error, file=sys.stderr)
            if error.outcome_unknown:
                print("the order may exist: a strategy that kept its key asks again with it", file=sys.stderr)
            return 1
        except TimeoutError as error:
            print(f"{error}; it goes on", file=sys.stderr)
            return 1


if __name__ == "__main__":
    raise SystemExit(main())
