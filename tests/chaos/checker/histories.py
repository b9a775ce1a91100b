"""H: what the clients wrote down, indexed: calls by key, streams with their messages, acts of the run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from tests.chaos.checker.plain import ZERO, Json, Spec, decimal, number, spec_of, whole, word

KEYED: Final = frozenset({"SubmitOrder", "ReplaceOrder", "ClosePosition"})
Key = tuple[str, str]


@dataclass(slots=True)
class OrderSeen:
    """An order as a client was told it."""

    order_id: str
    strategy_id: str
    key: str
    state: str
    filled: Decimal
    average: Decimal | None
    version: int
    spec: Spec
    venue_ids: tuple[str, ...]
    venue_filled: Decimal


@dataclass(slots=True)
class Call:
    """One call; `end_ns` is None when it never returned, and `code` is empty then.

    Attributes:
        key: Strategy and client_order_id, or None when it carries no key.
        fate: What the answer said about the key: free, spent, taken or empty.
        mode: Of SetTradingState, in capitals.
    """

    call_id: str
    client: str
    rpc: str
    key: Key | None
    fingerprint: str
    spec: Spec | None
    valid_until_ns: int | None
    deadline_ns: int | None
    start_ns: int
    mode: str = ""
    end_ns: int | None = None
    code: str = ""
    reason: str = ""
    fate: str = ""
    order: OrderSeen | None = None
    replayed: bool = False

    @property
    def is_ok(self) -> bool:
        """It returned OK."""
        return self.code == "OK"


@dataclass(slots=True)
class Message:
    """One message of a stream; `identity` of an event is what its journal row must agree in."""

    time_ns: int
    sequence: int
    payload: str
    resume_token: str
    identity: tuple[str, str, str, int] | None
    order: OrderSeen | None
    count: int


@dataclass(slots=True)
class Stream:
    """One stream and what came on it; `end_code` is empty when its end was not seen."""

    stream_id: str
    client: str
    book: str
    start: str
    resume_token: str
    start_ns: int
    messages: list[Message] = field(default_factory=list)
    end_ns: int | None = None
    end_code: str = ""


@dataclass(slots=True)
class Act:
    """Something that was done to the run."""

    act: str
    time_ns: int
    facts: Json


class History:
    """The index over all clients' files."""

    def __init__(self, lines: Iterable[Json]) -> None:
        self.calls: dict[str, Call] = {}
        self.streams: dict[str, Stream] = {}
        self.acts: list[Act] = []
        readers = {
            "call": self._call,
            "return": self._return,
            "stream": self._stream,
            "message": self._message,
            "stream_end": self._stream_end,
            "act": self._act,
        }
        for line in lines:
            readers[line["line"]](line)
        self.acts.sort(key=lambda act: act.time_ns)
        self.by_key: dict[Key, list[Call]] = defaultdict(list)
        for call in self.calls.values():
            if call.key is not None:
                self.by_key[call.key].append(call)

    def named(self, name: str) -> list[Act]:
        """The acts of one kind, oldest first."""
        return [act for act in self.acts if act.act == name]

    @property
    def quiescent(self) -> Act | None:
        """The end of the run, when nothing moved any more; None when it was not waited for."""
        found = self.named("quiescent")
        return found[-1] if found else None

    @property
    def strategies(self) -> set[str]:
        """Who called with a key."""
        return {strategy_id for strategy_id, _ in self.by_key}

    @property
    def foreign_ids(self) -> set[str]:
        """Ids of orders that somebody else placed at the venue."""
        return {act.facts["venue_client_order_id"] for act in self.named("foreign_order")}

    def _call(self, line: Json) -> None:
        request = line.get("request") or {}
        key = line.get("client_order_id") or ""
        mode = str(request.get("mode") or "").upper().removeprefix("TRADING_MODE_")
        self.calls[line["call_id"]] = Call(
            call_id=line["call_id"],
            client=word(line["client"]),
            rpc=word(line["rpc"]),
            key=(word(line["strategy_id"]), key) if key and line["rpc"] in KEYED else None,
            fingerprint=word(line.get("fingerprint")),
            spec=spec_of(request["spec"]) if "spec" in request else None,
            valid_until_ns=line.get("valid_until_ns"),
            deadline_ns=line.get("deadline_ns"),
            start_ns=whole(line["start_ns"]),
            mode=mode,
        )

    def _return(self, line: Json) -> None:
        call = self.calls[line["call_id"]]
        call.end_ns = whole(line["end_ns"])
        call.code = word(line["code"])
        call.reason = word(line.get("reason"))
        call.fate = word(line.get("key"))
        call.order = _order(line["order"]) if line.get("order") else None
        call.replayed = bool(line.get("replayed"))

    def _stream(self, line: Json) -> None:
        self.streams[line["stream_id"]] = Stream(
            stream_id=line["stream_id"],
            client=word(line["client"]),
            book=word(line["book"]),
            start=word(line["start"]),
            resume_token=line.get("resume_token") or "",
            start_ns=whole(line["start_ns"]),
        )

    def _message(self, line: Json) -> None:
        event = line.get("event")
        identity = None
        if event:
            fill_id = word(event.get("fill_id"))
            identity = (word(event["kind"]), word(event["order_id"]), fill_id, whole(event["record_time_ns"]))
        self.streams[line["stream_id"]].messages.append(
            Message(
                time_ns=whole(line["time_ns"]),
                sequence=whole(line["sequence"]),
                payload=word(line["payload"]),
                resume_token=line.get("resume_token") or "",
                identity=identity,
                order=_order(line["order"], with_spec=False) if line.get("order") else None,
                count=whole(line.get("count")),
            )
        )

    def _stream_end(self, line: Json) -> None:
        stream = self.streams[line["stream_id"]]
        stream.end_ns = whole(line["time_ns"])
        stream.end_code = word(line["code"])

    def _act(self, line: Json) -> None:
        self.acts.append(Act(word(line["act"]), whole(line["time_ns"]), line))


def _order(found: Json, *, with_spec: bool = True) -> OrderSeen:
    """An order; what was asked for is kept with answers alone: there are many more events."""
    known = found.get("venue_orders") or ()
    return OrderSeen(
        order_id=word(found["order_id"]),
        strategy_id=word(found.get("strategy_id")),
        key=found.get("client_order_id") or "",
        state=word(found["state"]),
        filled=number(found.get("filled_quantity")),
        average=decimal(found.get("filled_average_price")),
        version=whole(found.get("version")),
        spec=spec_of(found["spec"]) if with_spec else {},
        venue_ids=tuple([word(one["venue_order_id"]) for one in known]),
        venue_filled=sum([number(one.get("filled_quantity")) for one in known], ZERO),
    )
