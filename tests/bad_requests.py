"""Requests that are one mistake away from good ones, and `Case`: a bad input with its answer."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from trading_gateway.v1 import (
    common_pb2 as common,
    market_data_pb2 as data,
    trading_pb2 as pb,
)

Code = grpc.StatusCode
INVALID: Final = Code.INVALID_ARGUMENT
MISSING: Final = Code.NOT_FOUND
FAILED: Final = Code.FAILED_PRECONDITION
EXHAUSTED: Final = Code.RESOURCE_EXHAUSTED

KEYED: Final = frozenset({"SubmitOrder", "ReplaceOrder", "ClosePosition", "ClosePositions"})
"""Rpcs that carry a client_order_id, or the prefix of some: every definite error of them says what becomes of it."""

INACTIVE: Final = "OLDCO"
"""An asset of the stage that cannot be traded; BRK.B is one with a dot, WHOLE one that is not fractionable."""
UNKNOWN_ID: Final = "11111111-2222-4333-8444-555555555555"
TOKEN: Final = "gw_paper_0123abcd_" + "aB3-_" * 8 + "xyz"
"""In the shape of a secret token, which somebody puts where it would be kept."""

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Case:
    """One bad input and its answer.

    Attributes:
        row: Of the reference.
        what: In a word or two.
        reason: In ErrorInfo; empty for what gRPC itself answers, without details.
        fields: Paths that BadRequest must name, among others.
        key: What becomes of the key, on rpcs that carry one.
        asks: The gateway may read from the venue before it refuses (never change anything there).
        note: Where the contract differs from the reference.
    """

    row: str
    what: str
    method: str
    request: Message | bytes
    code: Code = INVALID
    reason: str = "FIELD_INVALID"
    fields: tuple[str, ...] = ()
    key: str = "free"
    asks: bool = False
    note: str = ""
    compression: Any = None

    @property
    def name(self) -> str:
        """For the test's id."""
        return f"{self.row} {self.method} {self.what}"


# --- requests


def spec(**fields: Any) -> pb.OrderSpec:
    """An order that nobody could object to but for `fields`; None takes a field away."""
    usual: dict[str, Any] = {
        "symbol": "AAPL",
        "side": pb.ORDER_SIDE_BUY,
        "quantity": "1",
        "order_type": pb.ORDER_TYPE_LIMIT,
        "time_in_force": pb.TIME_IN_FORCE_DAY,
        "limit_price": "50",
    }
    if "notional" in fields:
        del usual["quantity"]
    if fields.get("order_type", pb.ORDER_TYPE_LIMIT) not in (pb.ORDER_TYPE_LIMIT, pb.ORDER_TYPE_STOP_LIMIT):
        del usual["limit_price"]
    return pb.OrderSpec(**{name: value for name, value in (usual | fields).items() if value is not None})


def submit(*, wanted: pb.OrderSpec | None = None, **fields: Any) -> pb.SubmitOrderRequest:
    """A submit under a key of its own."""
    usual: dict[str, Any] = {"client_order_id": f"bad-{next(_numbers)}", "spec": wanted or spec()}
    return pb.SubmitOrderRequest(**(usual | fields))


def replace(**fields: Any) -> pb.ReplaceOrderRequest:
    """A replace of an order that does not exist; what is malformed is noticed before that."""
    usual: dict[str, Any] = {"client_order_id": f"bad-{next(_numbers)}", "order": pb.OrderRef(order_id=UNKNOWN_ID)}
    return pb.ReplaceOrderRequest(**(usual | fields))


def close(**fields: Any) -> pb.ClosePositionRequest:
    """A close of a position that is not held."""
    usual: dict[str, Any] = {"client_order_id": f"bad-{next(_numbers)}", "symbol": "MSFT"}
    return pb.ClosePositionRequest(**(usual | fields))


def bars(**fields: Any) -> data.ListBarsRequest:
    """Past bars."""
    usual: dict[str, Any] = {"symbols": ["AAPL"], "timeframe": common.Timeframe(amount=1, unit=1)}
    return data.ListBarsRequest(**(usual | fields))


def long_bars(**fields: Any) -> data.StreamHistoricalBarsRequest:
    """Past bars of a long range."""
    usual: dict[str, Any] = {
        "symbols": ["AAPL"],
        "timeframe": common.Timeframe(amount=1, unit=3),
        "start_time": Timestamp(seconds=1_700_000_000),
        "end_time": Timestamp(seconds=1_700_600_000),
    }
    return data.StreamHistoricalBarsRequest(**(usual | fields))


def order_case(row: str, what: str, wanted: pb.OrderSpec, *fields: str, **changes: Any) -> Iterator[Case]:
    """The same order on SubmitOrder and PreviewOrder, which share their checks."""
    named = {"fields": fields} | changes
    yield Case(row, what, "SubmitOrder", submit(wanted=wanted), **named)
    if changes.get("reason", "").startswith("RISK_"):
        return  # PreviewOrder tells failed checks in its answer
    yield Case(row, what, "PreviewOrder", pb.PreviewOrderRequest(spec=wanted), **named)


COMBINATION: Final = {"reason": "ORDER_COMBINATION"}
BUY, SELL = pb.ORDER_SIDE_BUY, pb.ORDER_SIDE_SELL
MARKET, LIMIT, STOP = pb.ORDER_TYPE_MARKET, pb.ORDER_TYPE_LIMIT, pb.ORDER_TYPE_STOP
STOP_LIMIT, TRAILING = pb.ORDER_TYPE_STOP_LIMIT, pb.ORDER_TYPE_TRAILING_STOP
DAY, GTC = pb.TIME_IN_FORCE_DAY, pb.TIME_IN_FORCE_GTC
BRACKET, OCO, OTO = pb.ORDER_CLASS_BRACKET, pb.ORDER_CLASS_OCO, pb.ORDER_CLASS_OTO
