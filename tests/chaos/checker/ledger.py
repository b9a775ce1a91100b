"""B: the emulator's ledger, indexed: what was asked, which orders came of it, what was executed, what was broken."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from tests.chaos.checker.plain import (
    ZERO,
    Json,
    Spec,
    body_of,
    decimal,
    last_word,
    number,
    spec_of_venue,
    whole,
    word,
)

SUBMIT: Final = "POST /v2/orders"
_REPLACE: Final = "PATCH /v2/orders/"
_TERMINAL: Final = frozenset({"filled", "canceled", "expired", "rejected", "replaced"})


@dataclass(slots=True)
class Request:
    """A request that places or changes an order, as it arrived.

    Attributes:
        is_submit: A POST; else a PATCH.
        journal_head: The last durable journal row at that moment, where the run knew it.
    """

    sequence: int
    time_ns: int
    is_submit: bool
    client_id: str
    spec: Spec | None
    journal_head: int | None


@dataclass(slots=True)
class Execution:
    """One execution; `cumulative` is of its venue order, this one included."""

    time_ns: int
    venue_order_id: str
    quantity: Decimal
    price: Decimal
    cumulative: Decimal
    symbol: str
    side: str


@dataclass(slots=True)
class VenueOrder:
    """One order at the venue.

    Attributes:
        spec: As it was asked for; None when the ledger does not tell.
    """

    venue_order_id: str
    client_id: str
    time_ns: int
    status: str = ""
    spec: Spec | None = None
    executions: list[Execution] = field(default_factory=list)

    @property
    def filled(self) -> Decimal:
        """How much was executed."""
        return self.executions[-1].cumulative if self.executions else ZERO

    @property
    def is_open(self) -> bool:
        """Whether it can still change."""
        return self.status not in _TERMINAL


class Ledger:
    """The index.

    Attributes:
        requests: POSTs and PATCHes of orders in the order of arrival; `asked_under` the same by client order id.
        orders: By the venue's id.
        by_client_id: The venue's ids of the orders placed under an id.
        fired: How often each fault fired, by fault id; `fired_kinds` by what the entry calls it.
        first_fault_ns: None when none fired.
    """

    def __init__(self, lines: Iterable[Json]) -> None:
        self.requests: list[Request] = []
        self.asked_under: dict[str, list[Request]] = defaultdict(list)
        self.orders: dict[str, VenueOrder] = {}
        self.by_client_id: dict[str, list[str]] = defaultdict(list)
        self.executions: list[Execution] = []
        self.fired: Counter[str] = Counter()
        self.fired_kinds: Counter[str] = Counter()
        self.first_fault_ns: int | None = None
        self.cash: Decimal | None = None
        self.positions: dict[str, Decimal] | None = None
        self._asked: dict[str, Spec] = {}
        readers = {
            "request": self._request,
            "response": self._response,
            "order": self._order,
            "execution": self._execution,
            "fault": self._fault,
        }
        for line in lines:
            reader = readers.get(last_word(line.get("kind"), "KIND_"))
            if reader is not None:
                reader(line)
        for order in self.orders.values():
            order.spec = order.spec or self._asked.get(order.client_id)

    def _request(self, line: Json) -> None:
        route = str(line.get("route") or "")
        is_submit = route == SUBMIT
        if not is_submit and not route.startswith(_REPLACE):
            return
        body = body_of(line.get("body"))
        client_id = str(line.get("venue_client_order_id") or body.get("client_order_id") or "")
        if not client_id:
            return  # half a request: nothing that could be carried out
        spec = spec_of_venue(body) if is_submit and body.get("symbol") else None
        head = line.get("journal_head")
        sequence, time_ns = whole(line["sequence"]), whole(line["time_ns"])
        request = Request(sequence, time_ns, is_submit, client_id, spec, None if head is None else int(head))
        self.requests.append(request)
        self.asked_under[client_id].append(request)
        if spec is not None:
            self._asked[client_id] = spec

    def _response(self, line: Json) -> None:
        """The last readings of the account count: the run asks for them at its end."""
        if not str(line.get("route") or "").startswith("GET /v2/") or line.get("http_status") != 200:
            return
        if line["route"] == "GET /v2/account":
            self.cash = decimal(body_of(line.get("body")).get("cash"))

    def _order(self, line: Json) -> None:
        venue_order_id = str(line["venue_order_id"])
        body = body_of(line.get("body"))
        order = self.orders.get(venue_order_id)
        if order is None:
            client_id = str(line.get("venue_client_order_id") or body.get("client_order_id") or "")
            order = self.orders[venue_order_id] = VenueOrder(venue_order_id, client_id, whole(line["time_ns"]))
            self.by_client_id[client_id].append(venue_order_id)
            if body.get("symbol"):
                order.spec = spec_of_venue(body)
                self._adopt_legs(order.spec, body)
        order.status = word(line.get("venue_status")) or order.status

    def _adopt_legs(self, spec: Spec, body: Json) -> None:
        """An order in Alpaca's JSON has its legs nested, and no prices of theirs of its own."""
        for leg in body.get("legs") or ():
            if leg.get("type") == "limit":
                spec.setdefault("take_profit", number(leg.get("limit_price")))
            else:
                spec.setdefault("stop_loss", (number(leg.get("stop_price")), decimal(leg.get("limit_price"))))

    def _execution(self, line: Json) -> None:
        order = self.orders.get(str(line["venue_order_id"]))
        if order is None:
            order = VenueOrder(
                str(line["venue_order_id"]), str(line.get("venue_client_order_id") or ""), whole(line["time_ns"])
            )
            self.orders[order.venue_order_id] = order
            self.by_client_id[order.client_id].append(order.venue_order_id)
        quantity = number(line["quantity"])
        found = Execution(
            whole(line["time_ns"]),
            order.venue_order_id,
            quantity,
            number(line["price"]),
            order.filled + quantity,
            word(line["symbol"]),
            last_word(line["side"], "ORDER_SIDE_"),
        )
        order.executions.append(found)
        self.executions.append(found)

    def _fault(self, line: Json) -> None:
        self.fired[str(line.get("fault_id") or "")] += 1
        body = body_of(line.get("body"))
        self.fired_kinds[str(body.get("fault") or body.get("kind") or line.get("fault_id") or "")] += 1
        if self.first_fault_ns is None:
            self.first_fault_ns = whole(line["time_ns"])
