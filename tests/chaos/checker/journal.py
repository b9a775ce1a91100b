"""J: the gateway's journal, indexed: rows by order, by book and by key, and the trading states."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import orjson

from tests.chaos.checker.plain import Json, Spec, decimal, number, spec_of, whole, word

ACCOUNT_BOOK: Final = "account"
CHAIN_BYTES: Final = 16
_READ_ROWS: Final = 4_096


@dataclass(slots=True)
class Report:
    """What a row tells of one order at the venue."""

    venue_order_id: str
    client_id: str
    status: str
    filled: Decimal
    average: Decimal | None
    replaces: str
    side: str
    symbol: str
    leg_ids: tuple[str, ...]


@dataclass(slots=True)
class Fill:
    """An execution as the journal has it."""

    fill_id: str
    venue_order_id: str
    quantity: Decimal
    price: Decimal
    cumulative: Decimal
    symbol: str
    side: str
    is_synthesized: bool


@dataclass(slots=True)
class Row:
    """One row of `events`.

    Attributes:
        key: The client_order_id of RECORDED (of an order of ours) and of REPLACE_REQUESTED.
        spec: What was asked for, in a RECORDED row with a request.
        failure_key: What a failure says about the key; empty without one.
    """

    sequence: int
    strategy_id: str
    book_sequence: int | None
    order_id: str
    kind: str
    record_time_ns: int
    key: str
    spec: Spec | None
    valid_until_ns: int | None
    parent_order_id: str
    report: Report | None
    fill: Fill | None
    failure_reason: str
    failure_key: str

    @property
    def identity(self) -> tuple[str, str, str, int]:
        """What a stream's event must agree in."""
        fill_id = self.fill.fill_id if self.fill is not None else ""
        return self.kind, self.order_id, fill_id, self.record_time_ns


@dataclass(slots=True)
class State:
    """One row of `trading_states`; `mode` in capitals."""

    version: int
    mode: str
    set_time_ns: int


class Journal:
    """The index.

    Attributes:
        rows: By sequence.
        by_order, by_book: The same rows; a book's by its own sequence, the account's is all.
        keys: (strategy, key) → the row that took the key.
        sent: (strategy, key) → its SUBMITTED or REPLACE_REQUESTED rows.
        at_venue: A venue's order id → the orders that claim it.
        breaks: Where numbering or chain is broken, in words.
    """

    def __init__(self, lines: Iterable[Json]) -> None:
        self.meta: dict[str, str] = {}
        self.rows: list[Row] = []
        self.states: list[State] = []
        self.by_order: dict[str, list[Row]] = defaultdict(list)
        self.by_book: dict[str, list[Row]] = defaultdict(list)
        self.keys: dict[tuple[str, str], Row] = {}
        self.sent: dict[tuple[str, str], list[Row]] = defaultdict(list)
        self.at_venue: dict[str, set[str]] = defaultdict(set)
        self.breaks: list[str] = []
        self.links_checked = 0
        self._chain: bytes | None = None
        for line in lines:
            match line.get("table", "events"):
                case "meta":
                    self.meta[line["key"]] = line["value"]
                case "trading_states":
                    self.states.append(State(whole(line["version"]), line["mode"].upper(), whole(line["set_time_ns"])))
                case "events":
                    self._check_chain(line)
                    self._take(_row(line))
        self.states.sort(key=lambda state: state.version)

    @property
    def strategies(self) -> set[str]:
        """Whose books there are."""
        return {book for book in self.by_book if book != ACCOUNT_BOOK}

    def _take(self, row: Row) -> None:
        if self.rows and row.sequence != self.rows[-1].sequence + 1:
            self.breaks.append(f"row {row.sequence} follows row {self.rows[-1].sequence}")
        book = self.by_book[row.strategy_id] if row.strategy_id else None
        if book and row.book_sequence != (book[-1].book_sequence or 0) + 1:
            self.breaks.append(f"{row.strategy_id}: {row.book_sequence} follows {book[-1].book_sequence}")
        self.rows.append(row)
        self.by_order[row.order_id].append(row)
        self.by_book[ACCOUNT_BOOK].append(row)
        if book is not None:
            book.append(row)
        if row.key and row.kind in ("recorded", "replace_requested"):
            self.keys.setdefault((row.strategy_id, row.key), row)
        if row.kind == "submitted":
            self.sent[row.strategy_id, self.by_order[row.order_id][0].key].append(row)
        elif row.kind == "replace_requested" and row.key:
            self.sent[row.strategy_id, row.key].append(row)
        if row.report is not None:
            self.at_venue[row.report.venue_order_id].add(row.order_id)

    def _check_chain(self, line: Json) -> None:
        chain, body = line.get("chain"), line.get("body")
        if chain is None or isinstance(body, dict):
            return
        link = bytes.fromhex(chain) if isinstance(chain, str) else bytes(chain)
        text = body.encode() if isinstance(body, str) else bytes(body or b"")
        if self._chain is not None:
            self.links_checked += 1
            if link != hashlib.blake2b(self._chain + text, digest_size=CHAIN_BYTES).digest():
                self.breaks.append(f"the chain breaks at row {line['sequence']}")
        self._chain = link


def read_sqlite(path: Path) -> Iterator[dict[str, Any]]:
    """The tables of a journal file as lines; opened read-only."""
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    try:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        order = {"meta": "key", "trading_states": "version", "events": "sequence"}
        for table in order.keys() & tables:
            cursor = connection.execute(f"SELECT * FROM {table} ORDER BY {order[table]}")
            while rows := cursor.fetchmany(_READ_ROWS):
                for row in rows:
                    yield {"table": table, **dict(row)}
    finally:
        connection.close()


def _row(line: Json) -> Row:
    body = line.get("body")
    found: Json = body if isinstance(body, dict) else orjson.loads(body) if body else {}
    request, failure = found.get("request"), found.get("failure")
    metadata = (failure or {}).get("metadata") or {}
    report, fill = found.get("venue_order"), found.get("fill")
    key = (request or {}).get("client_order_id") or found.get("client_order_id") or ""
    book_sequence = line.get("book_sequence")
    return Row(
        sequence=whole(line["sequence"]),
        strategy_id=word(line.get("strategy_id")),
        book_sequence=None if book_sequence is None else int(book_sequence),
        order_id=word(line["order_id"]),
        kind=word(line["kind"]),
        record_time_ns=whole(line["record_time_ns"]),
        key=key,
        spec=spec_of(request["spec"]) if request else None,
        valid_until_ns=whole(request.get("valid_until_ns")) if request else None,
        parent_order_id=found.get("parent_order_id") or "",
        report=_report(report) if report else None,
        fill=_fill(fill) if fill else None,
        failure_reason=word((failure or {}).get("reason")),
        failure_key=word(metadata.get("key")),
    )


def _report(found: Json) -> Report:
    return Report(
        venue_order_id=word(found["venue_order_id"]),
        client_id=word(found.get("venue_client_order_id")),
        status=word(found.get("venue_status")),
        filled=number(found.get("filled_quantity")),
        average=decimal(found.get("filled_average_price")),
        replaces=word(found.get("replaces")),
        side=word(found.get("side")),
        symbol=word(found.get("symbol")),
        leg_ids=tuple(word(leg["venue_order_id"]) for leg in found.get("legs") or ()),
    )


def _fill(found: Json) -> Fill:
    return Fill(
        fill_id=word(found.get("fill_id")),
        venue_order_id=word(found["venue_order_id"]),
        quantity=number(found["quantity"]),
        price=number(found["price"]),
        cumulative=number(found["cumulative_quantity"]),
        symbol=word(found["symbol"]),
        side=word(found["side"]),
        is_synthesized=bool(found.get("synthesized")),
    )
