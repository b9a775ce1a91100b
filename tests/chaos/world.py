"""A correct world on paper: the three records of a run in which everything was done right, from a seed.

Promises: what a `World` writes down obeys the protocol, so the checker must find nothing; the records are plain lines
as the real programs write them. It is a small model of its own: it shares nothing with the gateway, the emulator or the
checker. `fates` tells what becomes of single orders; `damage` spoils a world before or after `finish`.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

Json = dict[str, Any]

MS: Final = 1_000_000
SECOND: Final = 1_000 * MS
START_NS: Final = 1_767_000_000_000_000_000
INITIAL_CASH: Final = Decimal(100_000)
FEE_RATE: Final = Decimal("0.0025")
CHAIN_BYTES: Final = 16
KILL_NS: Final = START_NS + 1_200 * MS
UP_NS: Final = KILL_NS + 1_000 * MS
STOP_NS: Final = START_NS + 8_000 * MS
RELEASE_NS: Final = START_NS + 10_000 * MS
HEALED_NS: Final = START_NS + 10_500 * MS
END_NS: Final = START_NS + 200_000 * MS
ALL: Final = "account"

_STATES: Final = {"new": "working", "accepted": "accepted", "partially_filled": "partially_filled"}
_ENDED: Final = frozenset({"filled", "canceled", "expired", "rejected"})


def text_of(value: Decimal) -> str:
    """A decimal without exponent and trailing zeros."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


@dataclass
class AtVenue:
    """One order at the venue of the model."""

    venue_order_id: str
    client_id: str
    spec: Json
    replaces: str = ""
    status: str = "new"
    filled: Decimal = Decimal(0)
    value: Decimal = Decimal(0)

    def report(self) -> Json:
        """As the journal keeps it; defaults are left out."""
        found = {
            "venue_order_id": self.venue_order_id,
            "venue_client_order_id": self.client_id,
            "venue_status": self.status,
            "symbol": self.spec["symbol"],
            "asset_class": "crypto" if "/" in self.spec["symbol"] else "us_equity",
            "side": self.spec["side"],
            "order_type": self.spec["order_type"],
            "time_in_force": self.spec["time_in_force"],
            "quantity": self.spec["quantity"],
        }
        if self.filled:
            average = (self.value / self.filled).quantize(Decimal("1e-9"))
            found |= {"filled_quantity": text_of(self.filled), "filled_average_price": text_of(average)}
        return found | ({"replaces": self.replaces} if self.replaces else {})


@dataclass
class Row:
    """A journal row before it has its number."""

    time_ns: int
    strategy_id: str
    order_id: str
    kind: str
    body: Json
    sequence: int = 0
    book_sequence: int | None = None
    order: Json = field(default_factory=dict)


@dataclass
class Call:
    """A call and its return; `shows` is the order whose state at the end it carries."""

    line: Json
    end: Json | None
    shows: str = ""


@dataclass
class Lines:
    """The three records."""

    ledger: list[Json]
    journal: list[Json]
    history: list[Json]


class World:
    """Three records under way.

    Args:
        seed: Everything that is not said follows from it.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.rows: list[Row] = []
        self.ledger: list[Json] = []
        self.calls: list[Call] = []
        self.acts: list[Json] = []
        self.states: list[Json] = []
        self.placed: dict[str, AtVenue] = {}
        self.heads: dict[str, int] = {}
        self._count = 0
        self._by_order: dict[str, list[Row]] = defaultdict(list)
        self.damage_order: Callable[[Row, Json], None] = lambda row, order: None

    # What the model's programs do.

    def name(self, prefix: str) -> str:
        """A name that nothing else has."""
        self._count += 1
        return f"{prefix}{self._count:05d}"

    def up(self, time_ns: int) -> int:
        """When the gateway does what was due at an instant: later, if it was down then."""
        return UP_NS + (time_ns - KILL_NS) // 10 + 20 * MS if KILL_NS <= time_ns < UP_NS else time_ns

    def row(self, time_ns: int, strategy_id: str, order_id: str, kind: str, **body: Any) -> Row:
        """The gateway journals an event."""
        row = Row(self.up(time_ns), strategy_id, order_id, kind, body)
        self.rows.append(row)
        return row

    def entry(self, time_ns: int, kind: str, **fields: Any) -> Json:
        """The emulator writes a line."""
        line = {"time_ns": time_ns, "kind": kind, **fields}
        self.ledger.append(line)
        return line

    def asked(self, time_ns: int, route: str, body: Json) -> Json:
        """A request arrives at the venue."""
        client_id = body["client_order_id"]
        return self.entry(time_ns, "REQUEST", route=route, venue_client_order_id=client_id, body=json.dumps(body))

    def place(self, time_ns: int, client_id: str, spec: Json, replaces: str = "") -> AtVenue:
        """The venue takes an order."""
        order = AtVenue(self.name("venue-"), client_id, spec, replaces)
        self.placed[order.venue_order_id] = order
        self._tell(time_ns, order)
        return order

    def execute(self, time_ns: int, order: AtVenue, quantity: Decimal, price: Decimal) -> Json:
        """The venue fills a part; returns the fill as the journal keeps it."""
        order.filled += quantity
        order.value += quantity * price
        order.status = "filled" if order.filled == Decimal(order.spec["quantity"]) else "partially_filled"
        names = {"venue_order_id": order.venue_order_id, "venue_client_order_id": order.client_id}
        numbers = {"quantity": text_of(quantity), "price": text_of(price)}
        side = {"symbol": order.spec["symbol"], "side": order.spec["side"]}
        self.entry(time_ns, "EXECUTION", **names, **numbers, **side)
        self._tell(time_ns, order)
        fill = {"fill_id": self.name("execution-"), "venue_order_id": order.venue_order_id, **numbers, **side}
        return fill | {"cumulative_quantity": text_of(order.filled)}

    def end(self, time_ns: int, order: AtVenue, status: str) -> None:
        """The venue ends an order."""
        order.status = status
        self._tell(time_ns, order)

    def _tell(self, time_ns: int, order: AtVenue) -> None:
        names = {"venue_order_id": order.venue_order_id, "venue_client_order_id": order.client_id}
        self.entry(time_ns, "ORDER", **names, symbol=order.spec["symbol"], venue_status=order.status)

    def call(self, start_ns: int, end_ns: int | None, rpc: str, key: tuple[str, str], **what: Any) -> Call:
        """A client calls. `request`, `valid_until_ns`, `client`; then `code`, `reason`, `fate`, `shows`, `replayed`."""
        request = what.get("request") or {}
        line = {
            "line": "call",
            "call_id": self.name("call-"),
            "client": what.get("client", f"client-{key[0]}"),
            "rpc": rpc,
            "strategy_id": key[0],
            "client_order_id": key[1],
            "fingerprint": hashlib.sha256(json.dumps([rpc, request], sort_keys=True).encode()).hexdigest(),
            "request": request,
            "valid_until_ns": what.get("valid_until_ns"),
            "deadline_ns": start_ns + 30_000 * MS,
            "start_ns": start_ns,
        }
        end = None
        if end_ns is not None:
            end = {
                "line": "return",
                "call_id": line["call_id"],
                "end_ns": end_ns,
                "code": what.get("code", "OK"),
                "reason": what.get("reason", ""),
                "key": what.get("fate"),
                "replayed": what.get("replayed", False),
            }
        call = Call(line, end, what.get("shows", ""))
        self.calls.append(call)
        return call

    def act(self, time_ns: int, act: str, **facts: Any) -> None:
        """Something is done to the run."""
        self.acts.append({"line": "act", "act": act, "time_ns": time_ns, **facts})

    # The end: numbers, chain, streams.

    def finish(self) -> Lines:
        """Number everything, work out what clients saw, and write the lines."""
        self.rows.sort(key=lambda row: row.time_ns)
        self.ledger.sort(key=lambda line: line["time_ns"])
        for number, line in enumerate(self.ledger, 1):
            line["sequence"] = number
        self._number_rows()
        self.act(END_NS, "quiescent", venue=self._account(), gateway={"open_orders": 0, "reserved_usd": "0"})
        history = [line for call in self.calls for line in self._call_lines(call)]
        return Lines(self.ledger, self._journal_lines(), [*self.acts, *history, *self._stream_lines()])

    def _number_rows(self) -> None:
        books: dict[str, int] = defaultdict(int)
        orders: dict[str, Json] = {}
        for number, row in enumerate(self.rows, 1):
            row.sequence = number
            self._by_order[row.order_id].append(row)
            if row.strategy_id:
                books[row.strategy_id] += 1
                row.book_sequence = books[row.strategy_id]
            order = after(orders.get(row.order_id), row)
            self.damage_order(row, order)
            orders[row.order_id] = row.order = order
        self.heads = {**books, ALL: len(self.rows)}

    def _journal_lines(self) -> list[Json]:
        lines: list[Json] = [{"table": "meta", "key": "epoch", "value": "e1"}]
        lines += [{"table": "trading_states", "version": n, **state} for n, state in enumerate(self.states, 1)]
        chain = bytes(CHAIN_BYTES)
        for row in self.rows:
            body = json.dumps({"kind": row.kind, "order_id": row.order_id, **row.body})
            chain = hashlib.blake2b(chain + body.encode(), digest_size=CHAIN_BYTES).digest()
            columns = {"sequence": row.sequence, "strategy_id": row.strategy_id, "book_sequence": row.book_sequence}
            what = {"order_id": row.order_id, "kind": row.kind, "record_time_ns": row.time_ns}
            lines.append({"table": "events", **columns, **what, "body": body, "chain": chain.hex()})
        return lines

    def _account(self) -> Json:
        """The venue's account, by the model's own arithmetic."""
        cash, fees = INITIAL_CASH, []
        held: dict[str, Decimal] = defaultdict(Decimal)
        for line in self.ledger:
            if line["kind"] != "EXECUTION":
                continue
            quantity, value = Decimal(line["quantity"]), Decimal(line["quantity"]) * Decimal(line["price"])
            is_buy, is_crypto = line["side"] == "buy", "/" in line["symbol"]
            cash += -value if is_buy else value
            held[line["symbol"]] += quantity if is_buy else -quantity
            if is_crypto:
                fee = ((quantity if is_buy else value) * FEE_RATE).quantize(Decimal("1e-9"), ROUND_HALF_UP)
                held[line["symbol"]] -= fee if is_buy else 0
                cash -= 0 if is_buy else fee
                coins, dollars = (fee, Decimal(0)) if is_buy else (Decimal(0), fee)
                symbol = line["symbol"].replace("/", "")
                fees.append({"symbol": symbol, "quantity": text_of(-coins), "usd": text_of(-dollars)})
        positions = {symbol.replace("/", ""): text_of(quantity) for symbol, quantity in held.items() if quantity}
        return {"cash": text_of(cash), "positions": positions, "fees": fees}

    def _call_lines(self, call: Call) -> list[Json]:
        if call.end is None:
            return [call.line]
        if call.shows and call.end["code"] == "OK":
            known = self._by_order[call.shows]
            if not known:
                return [call.line, call.end]
            told = [row for row in known if row.time_ns <= call.end["end_ns"]] or known[:1]
            call.end["order"] = told[-1].order
        return [call.line, call.end]

    def _stream_lines(self) -> list[Json]:
        lines: list[Json] = []
        books = (*sorted({row.strategy_id for row in self.rows if row.strategy_id}), ALL)
        for book in books:
            rows = [row for row in self.rows if book in (ALL, row.strategy_id)]
            cut = sum(1 for row in rows if row.time_ns < KILL_NS)
            cut = max(0, cut - self.random.randrange(4))  # what was on its way when the gateway died
            first = _Reader(book, rows, f"reader-{book}/1", START_NS, "snapshot", 0)
            lines += first.lines(cut, KILL_NS)
            second = _Reader(book, rows, f"reader-{book}/2", UP_NS, "token", cut)
            lines += second.lines(len(rows), END_NS)
        lines += self._latecomers(self.random.choice(books))
        return lines

    def _latecomers(self, book: str) -> list[Json]:
        """Two readers of a book that begin in the middle: with a snapshot, and with nothing."""
        rows = [row for row in self.rows if book in (ALL, row.strategy_id)]
        middle = self.random.randrange(len(rows) // 2, len(rows))
        time_ns = rows[middle].time_ns
        late = _Reader(book, rows, f"late-{book}/1", time_ns, "snapshot", middle)
        live = _Reader(book, rows, f"live-{book}/1", time_ns, "live", middle)
        return [*late.lines(len(rows), END_NS), *live.lines(min(len(rows), middle + 40), END_NS)]


class _Reader:
    """One stream of a book; sequences are positions, because books begin at 1."""

    def __init__(self, book: str, rows: list[Row], stream_id: str, start_ns: int, start: str, position: int) -> None:
        self._book = book
        self._rows = rows
        self._id = stream_id
        self._start_ns = start_ns
        self._start = start
        self._position = position

    def lines(self, until: int, end_ns: int) -> list[Json]:
        """The stream up to a position, with heartbeats and an end."""
        token = self._token(self._position) if self._start == "token" else ""
        what = {"book": self._book, "start": self._start, "resume_token": token, "start_ns": self._start_ns}
        found: list[Json] = [{"line": "stream", "stream_id": self._id, "client": self._id.split("/")[0], **what}]
        if self._start == "snapshot":
            found += self._snapshot()
        found.append(self._message("feed_status", self._position, self._start_ns))
        for position in range(self._position + 1, until + 1):
            row = self._rows[position - 1]
            event = {
                "kind": row.kind,
                "order_id": row.order_id,
                "fill_id": row.body.get("fill", {}).get("fill_id", ""),
                "record_time_ns": row.time_ns,
            }
            message = self._message("event", position, row.time_ns + MS)
            found.append(message | {"event": event, "order": row.order})
            if position % 17 == 0:
                found.append(self._message("heartbeat", position, row.time_ns + 2 * MS))
        found.append(self._message("heartbeat", until, end_ns))
        found.append({"line": "stream_end", "stream_id": self._id, "time_ns": end_ns, "code": "UNAVAILABLE"})
        return found

    def _snapshot(self) -> list[Json]:
        shown: dict[str, Json] = {}
        for row in self._rows[: self._position]:
            shown[row.order_id] = row.order
        opened = [order for order in shown.values() if order["state"] not in _ENDED | {"denied", "not_sent", "absent"}]
        position, time_ns = self._position, self._start_ns
        begin = self._message("snapshot_begin", position, time_ns) | {"count": len(opened), "resume_token": ""}
        orders = [
            self._message("snapshot_order", position, time_ns) | {"order": one, "resume_token": ""} for one in opened
        ]
        return [begin, *orders, self._message("snapshot_end", position, time_ns) | {"count": len(opened)}]

    def _message(self, payload: str, sequence: int, time_ns: int) -> Json:
        token = self._token(sequence)
        return {
            "line": "message",
            "stream_id": self._id,
            "time_ns": time_ns,
            "sequence": sequence,
            "payload": payload,
            "resume_token": token,
        }

    def _token(self, sequence: int) -> str:
        return f"token:{self._book}:{sequence}"


def after(order: Json | None, row: Row) -> Json:
    """The order after a row, as a client is told it."""
    body = row.body
    if order is None:
        request, report = body.get("request"), body.get("venue_order")
        spec = request["spec"] if request else {name: (report or {})[name] for name in ("symbol", "side", "order_type")}
        order = {
            "order_id": row.order_id,
            "strategy_id": row.strategy_id,
            "client_order_id": request["client_order_id"] if request else body.get("client_order_id", ""),
            "state": "recorded",
            "filled_quantity": "0",
            "filled_average_price": None,
            "version": 0,
            "spec": spec,
            "venue_orders": [],
        }
    order = {**order, "version": order["version"] + 1, "venue_orders": [dict(one) for one in order["venue_orders"]]}
    if row.kind == "replaced":
        for known in order["venue_orders"]:
            known["venue_status"] = "replaced"
        order["spec"] = order["spec"] | body.get("changes_done", {})
    if "venue_order" in body:
        _take_report(order, body["venue_order"])
    simple = {"submitted": "submitting", "outcome_unknown": "outcome_unknown"}
    ends = ("denied", "not_sent", "absent", "rejected")
    if not order["venue_orders"] and (row.kind in simple or row.kind in ends):
        order["state"] = simple.get(row.kind, row.kind)
    elif row.kind == "cancel_requested" and order["state"] not in _ENDED:
        order["state"] = "pending_cancel" if order["venue_orders"] else order["state"]
    elif row.kind == "replace_requested" and order["state"] not in _ENDED:
        order["state"] = "pending_replace"
    elif row.kind == "replace_rejected":
        order["state"] = "working"
    return order


def _take_report(order: Json, report: Json) -> None:
    filled = report.get("filled_quantity", "0")
    known = {
        "venue_order_id": report["venue_order_id"],
        "venue_client_order_id": report["venue_client_order_id"],
        "venue_status": report["venue_status"],
        "filled_quantity": filled,
        "average": report.get("filled_average_price"),
    }
    others = [one for one in order["venue_orders"] if one["venue_order_id"] != known["venue_order_id"]]
    order["venue_orders"] = [*others, known]
    quantity = sum((Decimal(one["filled_quantity"]) for one in order["venue_orders"]), Decimal(0))
    value = sum(
        (Decimal(one["filled_quantity"]) * Decimal(one["average"] or 0) for one in order["venue_orders"]), Decimal(0)
    )
    order["filled_quantity"] = text_of(quantity)
    if quantity:
        order["filled_average_price"] = text_of((value / quantity).quantize(Decimal("1e-9")))
    status = report["venue_status"]
    order["state"] = status if status in _ENDED else _STATES.get(status, "working")
