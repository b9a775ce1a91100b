"""What was really asked and done: the record, and the ledger's commands.

| route | what |
|---|---|
| `GET /emulator/v1/ledger?from=N&limit=N&symbol=S&kind=K` | entries of the record, oldest first |
| `GET /emulator/v1/commands?after=N&limit=N` | the lines of the ledger, which is the account's state, after a number |
| `GET /emulator/v1/orders?client_order_id_prefix=P` | one summary for each order command that carried such a key |

An entry of the record has `sequence`, `time_ns`, `kind` (REQUEST, RESPONSE, ORDER, EXECUTION, EVENT, FAULT; several may
be asked for, joined by commas) and, where they apply, `route`, `http_status`, `venue_order_id`,
`venue_client_order_id`, `symbol`, `side`, `quantity`, `price`, `venue_status`, `fault_id`, `body`. The page is
`{"entries": [...], "next": N}`, where N is the sequence at which the next page begins; 0 at the present end.

A summary says what arrived and what came of it, whatever answer the client got: `sequence`, `time_ns`,
`command` (submit or replace), `client_order_id`, `body` as it was sent, `order_id` or `refusal`, and `executions`.
Two summaries with an `order_id` under what was meant as one order are a duplicate.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.domain.models.simulation import LedgerKind
from gateway.emulator.exchange.refusals import field_invalid
from gateway.emulator.ledger import PAGE_MAX, Ledger
from gateway.emulator.record import PAGE_MAX as ENTRIES_MAX, Record
from gateway.emulator.rest.answers import answer, int_of, list_of, text_of
from gateway.emulator.wire import JsonObject

_SEQUENCE_MAX: Final = 2**48
_DEFAULT_LIMIT: Final = 1000


class RecordRoutes:
    """Record and ledger over HTTP."""

    def __init__(self, record: Record, ledger: Ledger) -> None:
        self._record = record
        self._ledger = ledger

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            Route("/emulator/v1/ledger", self.entries, methods=["GET"]),
            Route("/emulator/v1/commands", self.commands, methods=["GET"]),
            Route("/emulator/v1/orders", self.orders, methods=["GET"]),
        ]

    async def entries(self, request: Request) -> Response:
        """GET /emulator/v1/ledger."""
        first = int_of(request, "from", 1, least=0, most=_SEQUENCE_MAX)
        limit = int_of(request, "limit", _DEFAULT_LIMIT, least=1, most=ENTRIES_MAX)
        kinds = frozenset(list_of(request, "kind"))
        if not kinds <= frozenset(LedgerKind):
            raise field_invalid("kind")
        found, following = self._record.page(first, limit, symbol=text_of(request, "symbol"), kinds=kinds)
        return answer({"entries": found, "next": following})

    async def commands(self, request: Request) -> Response:
        """GET /emulator/v1/commands."""
        after = int_of(request, "after", 0, least=0, most=_SEQUENCE_MAX)
        limit = int_of(request, "limit", _DEFAULT_LIMIT, least=1, most=PAGE_MAX)
        return answer(self._ledger.entries(after, limit))

    async def orders(self, request: Request) -> Response:
        """GET /emulator/v1/orders."""
        return answer(await self.records(text_of(request, "client_order_id_prefix")))

    async def records(self, prefix: str) -> list[JsonObject]:
        """Read the whole ledger, a page at a time so that others are served meanwhile."""
        folding = _Folding(prefix)
        after = 0
        while page := self._ledger.entries(after, PAGE_MAX):
            for entry in page:
                folding.add(entry)
            after = page[-1]["n"]
            await asyncio.sleep(0)
        return folding.records


class _Folding:
    """Order commands and what became of them."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._open: dict[int, JsonObject] = {}
        self._by_order: dict[str, JsonObject] = {}
        self.records: list[JsonObject] = []

    def add(self, entry: dict[str, Any]) -> None:
        """One line of the ledger."""
        if entry["op"] in ("submit", "replace"):
            self._begin(entry)
        elif entry["op"] == "done":
            self._end(entry)

    def _begin(self, entry: dict[str, Any]) -> None:
        key = entry["order"]["client_order_id"] if entry["op"] == "submit" else entry["client_order_id"]
        if not (key or "").startswith(self._prefix):
            return
        record: JsonObject = {
            "sequence": entry["n"],
            "time_ns": entry["t"],
            "command": entry["op"],
            "client_order_id": key,
            "body": entry.get("raw", ""),
            "executions": [],
        }
        self._open[entry["n"]] = record
        self.records.append(record)

    def _end(self, entry: dict[str, Any]) -> None:
        record = self._open.pop(entry["of"], None)
        if record is not None:
            record |= {name: entry[name] for name in ("order_id", "refusal") if name in entry}
            if "order_id" in entry:
                self._by_order[entry["order_id"]] = record
        for event in entry["events"]:
            owner = self._by_order.get(event["order_id"])
            if owner is not None and "execution_id" in event:
                owner["executions"].append(event)
