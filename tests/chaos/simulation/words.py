"""The gateway's nouns in the words of the clients' histories: what a client would have seen on the wire."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from gateway.application.commands import CloseRequest, ReplaceRequest
from gateway.application.order_updates import Heartbeat, SnapshotBegin, SnapshotEnd, SnapshotOrder, Step
from gateway.domain.errors import GatewayError
from gateway.domain.models.market_data import FeedStatus
from gateway.domain.models.orders import Order, OrderEvent, OrderRequest, OrderSpec
from gateway.domain.types import FeedState, OrderClass, format_decimal
from gateway.servicers.errors import code_of
from tests.chaos.history import fingerprint

Json = dict[str, Any]

_PAYLOADS: Final[dict[type, str]] = {
    SnapshotBegin: "snapshot_begin",
    SnapshotOrder: "snapshot_order",
    SnapshotEnd: "snapshot_end",
    OrderEvent: "event",
    Heartbeat: "heartbeat",
    FeedStatus: "feed_status",
}
_GAP: Final = "gap"
_NUMBERS: Final = ("quantity", "notional", "limit_price", "stop_price", "trail_price", "trail_percent")


def submit_call(request: OrderRequest) -> Json:
    """A SubmitOrder."""
    content: Json = {"spec": spec_words(request.spec)}
    return _call("SubmitOrder", request.strategy_id, request.client_order_id, content, request.valid_until_ns)


def replace_call(request: ReplaceRequest) -> Json:
    """A ReplaceOrder."""
    changes = request.changes
    content: Json = {"order": _ref(request.ref), "expected_version": request.expected_version}
    for name in ("quantity", "limit_price", "stop_price", "trail"):
        value = getattr(changes, name)
        if value is not None:
            content[name] = format_decimal(value)
    return _call("ReplaceOrder", request.strategy_id, request.client_order_id, content, request.valid_until_ns)


def close_call(request: CloseRequest) -> Json:
    """A ClosePosition."""
    content: Json = {"symbol": request.symbol, "cancel_orders": request.cancel_orders}
    if request.quantity is not None:
        content["quantity"] = format_decimal(request.quantity)
    if request.percentage is not None:
        content["percentage"] = format_decimal(request.percentage)
    return _call("ClosePosition", request.strategy_id, request.client_order_id, content, request.valid_until_ns)


def other_call(rpc: str, strategy_id: str, **content: Any) -> Json:
    """A call without a key."""
    return _call(rpc, strategy_id, "", content, None)


def answer_words(order: Order | None, *, replayed: bool = False) -> Json:
    """OK."""
    found: Json = {"code": "OK"}
    if order is not None:
        found["order"] = order_words(order)
    if replayed:
        found["replayed"] = True
    return found


def error_words(error: GatewayError, *, carries_key: bool) -> Json:
    """A refusal."""
    key = error.key.value if carries_key and error.key is not None else None
    found: Json = {"code": code_of(error).name, "reason": error.reason, "key": key}
    if "resume_token" in error.metadata:
        found["resume_token"] = error.metadata["resume_token"]
    return found


def transport_words(code: str) -> Json:
    """What gRPC itself says."""
    return {"code": code}


def message_words(step: Step) -> Json:
    """One message of an order stream."""
    payload = step.payload
    name = _PAYLOADS.get(type(payload), _GAP)
    found: Json = {"sequence": step.sequence, "payload": name, "resume_token": step.resume_token}
    if isinstance(payload, OrderEvent):
        event = payload.event
        found["event"] = {
            "kind": event.kind.value,
            "order_id": event.order_id,
            "fill_id": event.fill.fill_id if event.fill is not None else "",
            "record_time_ns": event.record_time_ns,
        }
        found["order"] = order_words(payload.order)
    elif isinstance(payload, SnapshotOrder):
        found["order"] = order_words(payload.order)
    elif isinstance(payload, SnapshotBegin | SnapshotEnd):
        found["count"] = payload.count
    elif isinstance(payload, FeedStatus):
        found["live"] = payload.state is FeedState.LIVE
    return found


def order_words(order: Order) -> Json:
    """An order."""
    return {
        "order_id": order.order_id,
        "strategy_id": order.strategy_id,
        "client_order_id": order.client_order_id,
        "parent_order_id": order.parent_order_id,
        "state": order.state.value,
        "filled_quantity": _text(order.filled_quantity),
        "filled_average_price": _text(order.filled_average_price),
        "version": order.version,
        "spec": spec_words(order.spec),
        "venue_orders": [
            {
                "venue_order_id": known.venue_order_id,
                "venue_client_order_id": known.venue_client_order_id,
                "venue_status": known.venue_status,
                "filled_quantity": _text(known.filled_quantity),
            }
            for known in order.venue_orders
        ],
    }


def spec_words(spec: OrderSpec) -> Json:
    """What to trade."""
    found: Json = {
        "symbol": spec.symbol,
        "side": spec.side.value,
        "order_type": spec.order_type.value,
        "time_in_force": spec.time_in_force.value,
    }
    if spec.order_class is not OrderClass.SIMPLE:
        found["order_class"] = spec.order_class.value
    for name in _NUMBERS:
        value = getattr(spec, name)
        if value is not None:
            found[name] = format_decimal(value)
    if spec.extended_hours:
        found["extended_hours"] = True
    if spec.reduce_only:
        found["reduce_only"] = True
    if spec.take_profit is not None:
        found["take_profit"] = format_decimal(spec.take_profit.limit_price)
    if spec.stop_loss is not None:
        found["stop_loss"] = [format_decimal(spec.stop_loss.stop_price), _text(spec.stop_loss.limit_price)]
    return found


def _call(rpc: str, strategy_id: str, key: str, content: Json, valid_until_ns: int | None) -> Json:
    return {
        "rpc": rpc,
        "strategy_id": strategy_id,
        "client_order_id": key,
        "fingerprint": fingerprint(rpc, content),
        "request": content,
        "valid_until_ns": valid_until_ns,
    }


def _ref(ref: Any) -> Json:
    return {"order_id": ref.order_id, "client_order_id": ref.client_order_id, "strategy_id": ref.strategy_id}


def _text(value: Decimal | None) -> str | None:
    return None if value is None else format_decimal(value)
