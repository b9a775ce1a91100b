"""The trading gateway's contract in Python (`trading_gateway.v1`, generated) and the client on it.

    from trading_gateway import Client, new_key

    with Client() as client:
        key = new_key()  # keep it: it is how the order is asked for after anything went wrong
        answer = client.submit_order(
            client_order_id=key, symbol="AAPL", side="buy", quantity="1", order_type="market", time_in_force="day"
        )
        order = client.wait_for(answer.order)

Every rpc is a method of `Client` and `AsyncClient` under its own name. Arguments carry the names of the
request's fields; enums are words ("buy") or the contract's numbers, durations seconds (`*_s`). Answers are the
contract's messages; one that wraps a single noun gives the noun, lists and streams iterate.
"""

from trading_gateway.access import AccessRefused
from trading_gateway.aio import AsyncClient
from trading_gateway.bookmarks import Bookmark, FileTokenStore, TokenStore
from trading_gateway.client import Client
from trading_gateway.errors import FailedCheck, FieldViolation, GatewayError, KeyFate, SequenceGap
from trading_gateway.market_streams import Disconnected
from trading_gateway.order_updates import Interrupted, StartedOver, StreamNotice
from trading_gateway.retry import RetryPolicy
from trading_gateway.streams import lag_s
from trading_gateway.trading import describe, order_ref
from trading_gateway.v1.trading_pb2 import OrderRef
from trading_gateway.values import new_key, number, word
from trading_gateway.waiting import is_terminal

__all__ = [
    "AccessRefused",
    "AsyncClient",
    "Bookmark",
    "Client",
    "Disconnected",
    "FailedCheck",
    "FieldViolation",
    "FileTokenStore",
    "GatewayError",
    "Interrupted",
    "KeyFate",
    "OrderRef",
    "RetryPolicy",
    "SequenceGap",
    "StartedOver",
    "StreamNotice",
    "TokenStore",
    "describe",
    "is_terminal",
    "lag_s",
    "new_key",
    "number",
    "order_ref",
    "word",
]
