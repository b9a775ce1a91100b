"""simulation.proto: faults on request, and the emulator's own record."""

from __future__ import annotations

from typing import Final

from gateway.domain.models.simulation import (
    UNTIL_CLEARED,
    FaultKind,
    FaultOrder,
    InjectedFault,
    LedgerEntry,
    LedgerKind,
    LedgerPage,
    LedgerQuery,
    Simulation,
)
from gateway.domain.types import TwoWay, format_decimal
from gateway.servicers.wire.common import (
    RequestReader,
    duration_to_proto,
    optional_decimal_to_proto,
    timestamp_to_proto,
)
from gateway.servicers.wire.orders import ORDER_SIDE
from trading_gateway.v1 import simulation_pb2 as pb, trading_pb2

FAULT: Final = TwoWay(
    {
        FaultKind.ANSWER_LOST: pb.FAULT_ANSWER_LOST,
        FaultKind.REQUEST_LOST: pb.FAULT_REQUEST_LOST,
        FaultKind.ARRIVES_LATE: pb.FAULT_ARRIVES_LATE,
        FaultKind.HTTP_429: pb.FAULT_HTTP_429,
        FaultKind.HTTP_500: pb.FAULT_HTTP_500,
        FaultKind.HTTP_502_HTML: pb.FAULT_HTTP_502_HTML,
        FaultKind.HTTP_504_ACCEPTED: pb.FAULT_HTTP_504_ACCEPTED,
        FaultKind.HTTP_504_NOT_ACCEPTED: pb.FAULT_HTTP_504_NOT_ACCEPTED,
        FaultKind.BODY_TRUNCATED: pb.FAULT_BODY_TRUNCATED,
        FaultKind.BODY_EMPTY: pb.FAULT_BODY_EMPTY,
        FaultKind.STATUS_UNKNOWN: pb.FAULT_STATUS_UNKNOWN,
        FaultKind.EVENT_DROPPED: pb.FAULT_EVENT_DROPPED,
        FaultKind.EVENT_DUPLICATED: pb.FAULT_EVENT_DUPLICATED,
        FaultKind.EVENTS_REORDERED: pb.FAULT_EVENTS_REORDERED,
        FaultKind.EVENT_LATE: pb.FAULT_EVENT_LATE,
        FaultKind.FEED_MUTE: pb.FAULT_FEED_MUTE,
        FaultKind.FEED_DISCONNECTED: pb.FAULT_FEED_DISCONNECTED,
        FaultKind.CONNECTION_LIMIT: pb.FAULT_CONNECTION_LIMIT,
        FaultKind.SLOW_CLIENT: pb.FAULT_SLOW_CLIENT,
        FaultKind.SYMBOL_HALTED: pb.FAULT_SYMBOL_HALTED,
        FaultKind.ANSWER_RESET: pb.FAULT_ANSWER_RESET,
        FaultKind.HTTP_500_ACCEPTED: pb.FAULT_HTTP_500_ACCEPTED,
        FaultKind.LOOKUP_ABSENT: pb.FAULT_LOOKUP_ABSENT,
        FaultKind.EVENT_EMPTY: pb.FAULT_EVENT_EMPTY,
        FaultKind.EVENT_UNKNOWN: pb.FAULT_EVENT_UNKNOWN,
        FaultKind.FRAME_TRUNCATED: pb.FAULT_FRAME_TRUNCATED,
        FaultKind.HANDSHAKE_429: pb.FAULT_HANDSHAKE_429,
    }
)
LEDGER_KIND: Final = TwoWay(
    {
        LedgerKind.REQUEST: pb.LedgerEntry.KIND_REQUEST,
        LedgerKind.RESPONSE: pb.LedgerEntry.KIND_RESPONSE,
        LedgerKind.ORDER: pb.LedgerEntry.KIND_ORDER,
        LedgerKind.EXECUTION: pb.LedgerEntry.KIND_EXECUTION,
        LedgerKind.EVENT: pb.LedgerEntry.KIND_EVENT,
        LedgerKind.FAULT: pb.LedgerEntry.KIND_FAULT,
    }
)

COUNT_MAX: Final = 1_000_000
DELAY_MS_MAX: Final = 60_000
ROUTE_CHARACTERS_MAX: Final = 256
ENTRIES_PAGE_DEFAULT: Final = 1_000
ENTRIES_PAGE_MAX: Final = 10_000
KINDS_MAX: Final = 16
SEQUENCE_MAX: Final = 2**48
_SEQUENCE_DIGITS_MAX: Final = len(str(SEQUENCE_MAX))


def fault_order_from_proto(request: pb.InjectFaultRequest) -> FaultOrder:
    """Which fault, and where; FieldInvalid with every bad field."""
    reader = RequestReader()
    fault = reader.choice("fault", FAULT, request.fault)
    route = reader.text("route", request.route, characters_max=ROUTE_CHARACTERS_MAX)
    if request.symbol:
        reader.symbol("symbol", request.symbol)
    if not 0 <= request.skip <= COUNT_MAX:
        reader.refuse("skip", f"must be 0 to {COUNT_MAX}")
    if not UNTIL_CLEARED <= request.count <= COUNT_MAX:
        reader.refuse("count", f"must be -1 to {COUNT_MAX}")
    delay_ms = 0
    if request.HasField("delay"):
        delay_ms = reader.duration_ms("delay", request.delay, least_ms=0, most_ms=DELAY_MS_MAX)
    reader.finish()
    return FaultOrder(fault, route, request.symbol, request.skip, request.count or 1, delay_ms)


def ledger_query_from_proto(request: pb.ListLedgerRequest) -> LedgerQuery:
    """Which part of the record; FieldInvalid with every bad field. A page token is where its page begins."""
    reader = RequestReader()
    if request.symbol:
        reader.symbol("symbol", request.symbol)
    if len(request.kinds) > KINDS_MAX:
        reader.refuse("kinds", f"at most {KINDS_MAX}")
    kinds = frozenset(
        reader.choice(f"kinds[{position}]", LEDGER_KIND, kind)
        for position, kind in enumerate(request.kinds[:KINDS_MAX])
    )
    size = reader.page_size("page_size", request.page_size, default=ENTRIES_PAGE_DEFAULT, most=ENTRIES_PAGE_MAX)
    first = request.from_sequence
    if first > SEQUENCE_MAX:
        reader.refuse("from_sequence", "is beyond any entry")
    token = request.page_token
    is_number = token.isascii() and token.isdigit() and len(token) <= _SEQUENCE_DIGITS_MAX
    if token and not (is_number and 1 <= int(token) <= SEQUENCE_MAX):
        reader.refuse("page_token", "is no token of ListLedger")
    reader.finish()
    return LedgerQuery(int(token) if token else max(first, 1), size, request.symbol, kinds)


def injected_fault_to_proto(fault: InjectedFault) -> pb.InjectedFault:
    """A fault that was ordered."""
    order = fault.order
    return pb.InjectedFault(
        fault_id=fault.fault_id,
        fault=FAULT[order.fault],
        route=order.route,
        symbol=order.symbol,
        skip=order.skip,
        count=order.count,
        delay=duration_to_proto(order.delay_ms) if order.delay_ms else None,
        fired=fault.fired,
    )


def ledger_page_to_proto(page: LedgerPage) -> pb.ListLedgerResponse:
    """A part of the record."""
    token = str(page.next_sequence) if page.next_sequence else ""
    return pb.ListLedgerResponse(entries=map(ledger_entry_to_proto, page.entries), next_page_token=token)


def ledger_entry_to_proto(entry: LedgerEntry) -> pb.LedgerEntry:
    """One thing that happened."""
    return pb.LedgerEntry(
        sequence=entry.sequence,
        time=timestamp_to_proto(entry.time_ns),
        kind=LEDGER_KIND[entry.kind],
        route=entry.route,
        http_status=entry.http_status,
        venue_order_id=entry.venue_order_id,
        venue_client_order_id=entry.venue_client_order_id,
        symbol=entry.symbol,
        side=trading_pb2.ORDER_SIDE_UNSPECIFIED if entry.side is None else ORDER_SIDE[entry.side],
        quantity=optional_decimal_to_proto(entry.quantity),
        price=optional_decimal_to_proto(entry.price),
        venue_status=entry.venue_status,
        fault_id=entry.fault_id,
        body=entry.body,
    )


def simulation_to_proto(simulation: Simulation) -> pb.Simulation:
    """The emulator now."""
    return pb.Simulation(
        seed=simulation.seed,
        tape=simulation.tape,
        speed=simulation.speed,
        initial_cash=format_decimal(simulation.initial_cash),
        start_time=timestamp_to_proto(simulation.start_time_ns),
        now=timestamp_to_proto(simulation.now_ns),
        order_count=simulation.order_count,
        execution_count=simulation.execution_count,
        ledger_sequence=simulation.ledger_sequence,
        late_arrival_count=simulation.late_arrivals,
        late_event_count=simulation.late_events,
    )
