"""What a client writes down: one JSON line per call, return, stream, message and act, so that a checker can judge.

Promises: a line is handed to the operating system in one write before the writer returns, so it survives `kill -9` of
the client; a torn last line is closed at the next start. A call is written before it is made and again when it has
returned: one that never returned may have taken effect at any time. The file is bounded. Leaves every judgement to
`tests.chaos.checker`.

Lines, told apart by `line` (absent fields are null, empty or false; instants are nanoseconds since the Unix epoch):

| line | fields |
|---|---|
| call | call_id, client, rpc, strategy_id, client_order_id, fingerprint, request, valid_until_ns, deadline_ns, start_ns
| return | call_id, end_ns, code ("OK", "ALREADY_EXISTS"), reason, key (free, spent, taken or null), order, replayed |
| stream | stream_id, client, book (or "account"), start (snapshot, token, time, live), resume_token, start_ns |
| message | stream_id, time_ns, sequence, payload, resume_token, event, order, count (of snapshot_begin and _end) |
| stream_end | stream_id, time_ns, code, reason, resume_token |
| act | act, time_ns, and what belongs to it: see `ACTS` |

`order` is `order_json`'s dictionary, `event` is {kind, order_id, fill_id, record_time_ns}. A request's `spec` has the
names of `spec_json`: the plain words of the order, decimals minimal, what is at its default left out.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import grpc
import orjson
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from trading_gateway.v1 import trading_pb2 as pb

Json = dict[str, Any]

HISTORY_BYTES_MAX: Final = 8 * 1024**3
"""Past it nothing more is written and the run fails. An event with its order is some 700 bytes."""

ACCOUNT_BOOK: Final = "account"

ACTS: Final[Mapping[str, str]] = {
    "kill_gateway": "kill -9 of the gateway",
    "start_gateway": "a process was started",
    "kill_client": "client: whose calls need not return",
    "fault": "fault_id, fault, route, count: a fault was ordered; source: emulator (default) or proxy",
    "fault_fired": "fault_id, count: a fault of another source than the emulator fired so often",
    "foreign_order": "venue_client_order_id: somebody else placed it at the venue",
    "journal_wiped": "the journal was lost or replaced by an older one",
    "health": "status: what a health check said",
    "stop_gateway": "SIGTERM; exit_code, elapsed_ms",
    "freeze_gateway": "SIGSTOP for so many ms: frozen_ms",
    "resources": "of the gateway's process: rss_kib, fds, threads, tasks; is_baseline: the others are compared with it",
    "secrets": "files: how many were searched for planted secrets; found: those that have one",
    "healed": "no fault is left: from now on everything must work again",
    "quiescent": "settle + 30 s have passed; venue: `venue_truth`; gateway: {open_orders, reserved_usd}",
}
"""Acts of the run, and what they carry."""

_DECIMALS: Final = frozenset(
    {"quantity", "notional", "limit_price", "stop_price", "trail_price", "trail_percent", "trail", "percentage"}
)
_NOT_CONTENT: Final = frozenset({"strategy_id", "client_order_id", "valid_until"})
_FILE_MODE: Final = 0o600


class HistoryWriter:
    """The notebook of one client; calls may come from several threads.

    Args:
        path: Appended to.
        client: Its name, the same in every life.
        life: Distinguishes this life of the client from the one before, in call and stream ids.
        fsync: Also survive the death of the machine; costs a disk write per line.
    """

    def __init__(
        self, path: Path, client: str, life: str, *, fsync: bool = False, bytes_max: int = HISTORY_BYTES_MAX
    ) -> None:
        self._client = client
        self._life = life
        self._fsync = fsync
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._count = 0
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, _FILE_MODE)
        self._size = os.fstat(self._fd).st_size
        if self._size and os.pread(self._fd, 1, self._size - 1) != b"\n":
            self._size += os.write(self._fd, b"\n")  # a torn line of the life before: readers leave it out

    def call(
        self, rpc: str, request: Message, *, strategy_id: str, start_ns: int, deadline_ns: int | None = None
    ) -> str:
        """A call is about to be made; returns its id, for `returned`."""
        return self.call_json(call_json(rpc, request, strategy_id), start_ns=start_ns, deadline_ns=deadline_ns)

    def call_json(self, call: Json, *, start_ns: int, deadline_ns: int | None = None) -> str:
        """The same for a caller without protobuf messages; `call` as `call_json` makes it."""
        call_id = self._new_id()
        times = {"start_ns": start_ns, "deadline_ns": deadline_ns}
        self._write({"line": "call", "call_id": call_id, "client": self._client, **call, **times})
        return call_id

    def returned(self, call_id: str, answer: Json, *, end_ns: int) -> None:
        """A call has returned; `answer` is `answer_json`'s or `error_json`'s."""
        self._write({"line": "return", "call_id": call_id, "end_ns": end_ns, **answer})

    def stream(self, request: pb.StreamOrderUpdatesRequest, *, strategy_id: str, start_ns: int) -> str:
        """A stream is about to be opened; returns its id, for `message` and `stream_ended`."""
        start = request.WhichOneof("start")
        names = {None: "snapshot", "resume_token": "token", "start_time": "time", "live_only": "live"}
        book = ACCOUNT_BOOK if request.all_strategies else request.strategy_id or strategy_id
        return self.stream_json(book, names[start], request.resume_token, start_ns=start_ns)

    def stream_json(self, book: str, start: str, resume_token: str, *, start_ns: int) -> str:
        """The same for a caller without protobuf messages."""
        stream_id = self._new_id()
        what = {"book": book, "start": start, "resume_token": resume_token, "start_ns": start_ns}
        self._write({"line": "stream", "stream_id": stream_id, "client": self._client, **what})
        return stream_id

    def message(self, stream_id: str, message: pb.StreamOrderUpdatesResponse, *, time_ns: int) -> None:
        """A message was received."""
        self.message_json(stream_id, message_json(message), time_ns=time_ns)

    def message_json(self, stream_id: str, message: Json, *, time_ns: int) -> None:
        """The same for a caller without protobuf messages."""
        self._write({"line": "message", "stream_id": stream_id, "time_ns": time_ns, **message})

    def stream_ended(self, stream_id: str, answer: Json, *, time_ns: int) -> None:
        """A stream has ended: by the gateway, the transport or the client; `answer` as of `returned`."""
        self._write({"line": "stream_end", "stream_id": stream_id, "time_ns": time_ns, **answer})

    def act(self, act: str, *, time_ns: int, **facts: Any) -> None:
        """Something that was done to the run."""
        assert act in ACTS, act
        self._write({"line": "act", "act": act, "time_ns": time_ns, **facts})

    def close(self) -> None:
        """Close the file. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _new_id(self) -> str:
        with self._lock:
            self._count += 1
            return f"{self._client}/{self._life}/{self._count}"

    def _write(self, line: Json) -> None:
        text = orjson.dumps(line) + b"\n"
        with self._lock:
            if self._size + len(text) > self._bytes_max:
                raise OSError(f"the history is full ({self._size} of {self._bytes_max} bytes)")
            written = os.write(self._fd, text)
            assert written == len(text), "the disk took a part of a line"
            self._size += written
            if self._fsync:
                os.fdatasync(self._fd)


def call_json(rpc: str, request: Message, strategy_id: str) -> Json:
    """What a request asks for.

    Args:
        rpc: Its name without the service.
        strategy_id: What an empty one in the request means.
    """
    content = _content(request)
    valid_until = getattr(request, "valid_until", None)
    is_timed = valid_until is not None and request.HasField("valid_until")
    return {
        "rpc": rpc,
        "strategy_id": getattr(request, "strategy_id", "") or strategy_id,
        "client_order_id": getattr(request, "client_order_id", ""),
        "fingerprint": fingerprint(rpc, content),
        "request": content,
        "valid_until_ns": nanos(valid_until) if isinstance(valid_until, Timestamp) and is_timed else None,
    }


def fingerprint(rpc: str, content: Json) -> str:
    """SHA-256 of what a request asks for: two calls with one key and different fingerprints are two intents."""
    text = json.dumps([rpc, content], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def answer_json(answer: Message | None = None) -> Json:
    """The answer of a call that returned OK; with its order, where it has one."""
    found: Json = {"code": "OK"}
    if answer is not None and "order" in answer.DESCRIPTOR.fields_by_name and answer.HasField("order"):
        found["order"] = order_json(answer.order)  # type: ignore[attr-defined]
    if getattr(answer, "replayed", False):
        found["replayed"] = True
    return found


def error_json(error: grpc.RpcError) -> Json:
    """The answer of a call, or the end of a stream, that failed: its code, and what ErrorInfo says."""
    found: Json = {"code": error.code().name}
    status = rpc_status.from_call(error)
    for detail in status.details if status is not None else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            found |= {"reason": info.reason, "key": info.metadata.get("key")}
            if "resume_token" in info.metadata:
                found["resume_token"] = info.metadata["resume_token"]
    return found


def message_json(message: pb.StreamOrderUpdatesResponse) -> Json:
    """One step of a book."""
    payload = message.WhichOneof("payload") or ""
    found: Json = {"sequence": message.sequence, "payload": payload, "resume_token": message.resume_token}
    if payload == "event":
        event = message.event
        found["event"] = {
            "kind": word(pb.OrderEvent.Kind.Name(event.kind), "KIND_"),
            "order_id": event.order.order_id,
            "fill_id": event.fill.fill_id,
            "record_time_ns": nanos(event.record_time),
        }
        found["order"] = order_json(event.order)
    elif payload == "snapshot_order":
        found["order"] = order_json(message.snapshot_order)
    elif payload in ("snapshot_begin", "snapshot_end"):
        found["count"] = getattr(message, payload).count
    return found


def order_json(order: pb.Order) -> Json:
    """An order as a client was told it."""
    return {
        "order_id": order.order_id,
        "strategy_id": order.strategy_id,
        "client_order_id": order.client_order_id,
        "parent_order_id": order.parent_order_id,
        "state": word(pb.OrderState.Name(order.state), "ORDER_STATE_"),
        "filled_quantity": order.filled_quantity,
        "filled_average_price": order.filled_average_price if order.HasField("filled_average_price") else None,
        "version": order.version,
        "spec": spec_json(order.spec),
        "venue_orders": [
            {
                "venue_order_id": known.venue_order_id,
                "venue_client_order_id": known.venue_client_order_id,
                "venue_status": known.venue_status,
                "filled_quantity": known.filled_quantity,
            }
            for known in order.venue_orders
        ],
    }


def spec_json(spec: pb.OrderSpec) -> Json:
    """What to trade, in plain words; what is at its default is left out."""
    found: Json = {
        "symbol": spec.symbol,
        "side": word(pb.OrderSide.Name(spec.side), "ORDER_SIDE_"),
        "order_type": word(pb.OrderType.Name(spec.order_type), "ORDER_TYPE_"),
        "time_in_force": word(pb.TimeInForce.Name(spec.time_in_force), "TIME_IN_FORCE_"),
    }
    if spec.order_class > pb.ORDER_CLASS_SIMPLE:
        found["order_class"] = word(pb.OrderClass.Name(spec.order_class), "ORDER_CLASS_")
    for name in ("quantity", "notional", "limit_price", "stop_price", "trail_price", "trail_percent"):
        if spec.HasField(name):
            found[name] = minimal(getattr(spec, name))
    for name in ("extended_hours", "reduce_only"):
        if getattr(spec, name):
            found[name] = True
    if spec.HasField("take_profit"):
        found["take_profit"] = minimal(spec.take_profit.limit_price)
    if spec.HasField("stop_loss"):
        loss = spec.stop_loss
        limit = minimal(loss.limit_price) if loss.HasField("limit_price") else None
        found["stop_loss"] = [minimal(loss.stop_price), limit]
    return found


def venue_truth(account: Json, positions: list[Json], activities: list[Json]) -> Json:
    """The venue's account as its own wire tells it, for the act `quiescent`.

    Args:
        account: Alpaca's JSON of GET /v2/account.
        positions: Of GET /v2/positions.
        activities: Of GET /v2/account/activities with CFEE among the types; every page.
    """
    return {
        "cash": account["cash"],
        "positions": {position["symbol"]: position["qty"] for position in positions},
        "fees": [
            {"symbol": activity["symbol"], "quantity": activity["qty"], "usd": activity["net_amount"]}
            for activity in activities
            if activity["activity_type"] == "CFEE"
        ],
    }


def word(name: str, prefix: str) -> str:
    """An enum value's name as a plain word; "unspecified" for 0."""
    return name.removeprefix(prefix).lower()


def nanos(time: Timestamp) -> int:
    """Nanoseconds since the Unix epoch, exactly."""
    return time.seconds * 1_000_000_000 + time.nanos


def minimal(text: str) -> str:
    """A decimal without trailing zeros: "1.50" and "1.5" ask for the same."""
    return text.rstrip("0").rstrip(".") if "." in text else text


def _content(request: Message) -> Json:
    """A request's fields but for its key and its time, decimals minimal, specs in plain words."""
    found: Json = {}
    for field, value in request.ListFields():
        if field.name in _NOT_CONTENT:
            continue
        if isinstance(value, pb.OrderSpec):
            found[field.name] = spec_json(value)
        elif field.name in _DECIMALS:
            found[field.name] = minimal(value)
        elif field.name == "labels":
            found[field.name] = dict(value)
        elif field.enum_type is not None and isinstance(value, int):
            found[field.name] = field.enum_type.values_by_number[value].name
        elif isinstance(value, Message):
            found[field.name] = _content(value) | _key_of(value)
        else:
            found[field.name] = value if isinstance(value, str | int | float | bool) else str(value)
    return found


def _key_of(value: Message) -> Json:
    """Of a nested message the ids are content: they say which order is meant."""
    return {name: getattr(value, name) for name in _NOT_CONTENT if isinstance(getattr(value, name, None), str)}
