"""The calls of trading.proto: requests to nouns, and answers. Orders themselves are `wire.orders`.

What a request may say is decided by the contract and checked here, field by field; whether the order that it
describes is legal is the closed table of `services.validation`.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from google.rpc import status_pb2

from gateway.application.commands import (
    CANCEL_WAIT_MAX_MS,
    VALID_FOR_MAX_MS,
    Canceled,
    CanceledMany,
    CancelResult,
    CancelScope,
    CloseManyRequest,
    CloseRequest,
    CloseResult,
    Preview,
    ReplaceRequest,
    Submitted,
)
from gateway.application.order_lists import PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX
from gateway.domain.errors import GatewayError
from gateway.domain.models.market_data import Page
from gateway.domain.models.orders import (
    Order,
    OrderChanges,
    OrderFilter,
    OrderRef,
    OrderRequest,
    OrderSpec,
)
from gateway.domain.types import NANOS_PER_MS, Caller
from gateway.servicers.slices import in_slices
from gateway.servicers.wire.common import RequestReader, optional_decimal_to_proto
from gateway.servicers.wire.errors import error_to_proto
from gateway.servicers.wire.orders import (
    ORDER_SIDE,
    ORDER_STATE,
    TIME_IN_FORCE,
    check_to_proto,
    order_to_proto,
    spec_from_proto,
    spec_to_proto,
)
from trading_gateway.v1 import trading_pb2 as pb

VALID_FOR_DEFAULT_MS: Final = 5_000
STATES_MAX: Final = 64
KEY_PREFIX_CHARACTERS_MAX: Final = 40
PERCENT_MAX: Final = Decimal(100)
_ORDER_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}(/take-profit|/stop-loss)?", re.ASCII)
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


def order_request_from_proto(request: pb.SubmitOrderRequest, caller: Caller, now_ns: int) -> OrderRequest:
    """An order and its key.

    Args:
        request: As sent.
        caller: Whose own strategy an empty strategy_id means.
        now_ns: The receipt, from which valid_until is counted.

    Raises:
        FieldInvalid: With every bad field.
    """
    reader = RequestReader()
    strategy_id = reader.strategy("strategy_id", request.strategy_id, caller.strategy_id)
    key = reader.client_order_id("client_order_id", request.client_order_id)
    valid_until_ns = _valid_until(reader, request, now_ns)
    labels = reader.labels("labels", request.labels)
    if not request.HasField("spec"):
        reader.refuse("spec", "is required")
    spec = spec_from_proto(reader, request.spec) if request.HasField("spec") else None
    reader.finish()
    assert spec is not None
    if valid_until_ns is None:
        valid_until_ns = now_ns + VALID_FOR_DEFAULT_MS * NANOS_PER_MS
    return OrderRequest(strategy_id, key, spec, valid_until_ns, labels)


def preview_from_proto(request: pb.PreviewOrderRequest, caller: Caller) -> tuple[str, OrderSpec]:
    """The strategy and the order of a dry run; FieldInvalid with every bad field."""
    reader = RequestReader()
    strategy_id = reader.strategy("strategy_id", request.strategy_id, caller.strategy_id)
    if not request.HasField("spec"):
        reader.refuse("spec", "is required")
    spec = spec_from_proto(reader, request.spec) if request.HasField("spec") else None
    reader.finish()
    assert spec is not None
    return strategy_id, spec


def replace_from_proto(request: pb.ReplaceOrderRequest, caller: Caller, now_ns: int) -> ReplaceRequest:
    """New values for an order, and the key of the replace; FieldInvalid with every bad field."""
    reader = RequestReader()
    ref = _ref_from_proto(reader, request, caller)
    key = reader.client_order_id("client_order_id", request.client_order_id)
    valid_until_ns = _valid_until(reader, request, now_ns)
    changes = OrderChanges(
        quantity=reader.decimal("quantity", request.quantity) if request.HasField("quantity") else None,
        limit_price=reader.decimal("limit_price", request.limit_price) if request.HasField("limit_price") else None,
        stop_price=reader.decimal("stop_price", request.stop_price) if request.HasField("stop_price") else None,
        trail=reader.decimal("trail", request.trail) if request.HasField("trail") else None,
        time_in_force=reader.optional_choice("time_in_force", TIME_IN_FORCE, request.time_in_force),
    )
    reader.finish()
    return ReplaceRequest(
        ref=ref,
        strategy_id=ref.strategy_id or caller.strategy_id,
        client_order_id=key,
        changes=changes,
        valid_until_ns=now_ns + VALID_FOR_DEFAULT_MS * NANOS_PER_MS if valid_until_ns is None else valid_until_ns,
        expected_version=request.expected_version if request.HasField("expected_version") else None,
    )


def cancel_from_proto(request: pb.CancelOrderRequest, caller: Caller) -> tuple[OrderRef, int]:
    """The order, and how long to wait for its end, in milliseconds; FieldInvalid with every bad field."""
    reader = RequestReader()
    ref = _ref_from_proto(reader, request, caller)
    wait_ms = 0
    if request.HasField("wait_for_terminal"):
        wait_ms = reader.duration_ms(
            "wait_for_terminal", request.wait_for_terminal, least_ms=0, most_ms=CANCEL_WAIT_MAX_MS
        )
    reader.finish()
    return ref, wait_ms


def cancel_scope_from_proto(request: pb.CancelOrdersRequest, caller: Caller) -> CancelScope:
    """Which orders to cancel; FieldInvalid with every bad field."""
    reader = RequestReader()
    strategy_id = reader.strategy_or_all(
        "strategy_id", request.strategy_id, caller.strategy_id, all_strategies=request.all_strategies
    )
    symbols = reader.symbols("symbols", request.symbols)
    side = reader.optional_choice("side", ORDER_SIDE, request.side)
    reader.finish()
    return CancelScope(strategy_id, frozenset(symbols), side)


def order_ref_from_proto(request: pb.GetOrderRequest | pb.GetOrderTimelineRequest, caller: Caller) -> OrderRef:
    """Which order to read; FieldInvalid when that cannot be told."""
    reader = RequestReader()
    ref = _ref_from_proto(reader, request, caller)
    reader.finish()
    return ref


def order_filter_from_proto(request: pb.ListOrdersRequest, caller: Caller) -> tuple[OrderFilter, int, str]:
    """Which orders to list, how many, and the page; FieldInvalid with every bad field."""
    reader = RequestReader()
    strategy_id = reader.strategy_or_all(
        "strategy_id", request.strategy_id, caller.strategy_id, all_strategies=request.all_strategies
    )
    if len(request.states) > STATES_MAX:
        reader.refuse("states", f"at most {STATES_MAX}")
    states = frozenset(
        reader.choice(f"states[{position}]", ORDER_STATE, state)
        for position, state in enumerate(request.states[:STATES_MAX])
    )
    symbols = reader.symbols("symbols", request.symbols)
    side = reader.optional_choice("side", ORDER_SIDE, request.side)
    start_ns = reader.timestamp("start_time", request.start_time) if request.HasField("start_time") else None
    end_ns = reader.timestamp("end_time", request.end_time) if request.HasField("end_time") else None
    if start_ns is not None and end_ns is not None and start_ns > end_ns:
        reader.refuse("start_time", "must not be after end_time")
    page_size = reader.page_size("page_size", request.page_size, default=PAGE_SIZE_DEFAULT, most=PAGE_SIZE_MAX)
    page_token = reader.token("page_token", request.page_token)
    reader.finish()
    wanted = OrderFilter(strategy_id, states, frozenset(symbols), side, start_ns, end_ns, request.oldest_first)
    return wanted, page_size, page_token


def close_from_proto(request: pb.ClosePositionRequest, caller: Caller, now_ns: int) -> CloseRequest:
    """Which position to close, and how much of it; FieldInvalid with every bad field."""
    reader = RequestReader()
    strategy_id = reader.strategy("strategy_id", request.strategy_id, caller.strategy_id)
    symbol = reader.symbol("symbol", request.symbol)
    key = reader.client_order_id("client_order_id", request.client_order_id)
    quantity = percentage = None
    match request.WhichOneof("size"):
        case "quantity":
            quantity = reader.decimal("quantity", request.quantity)
        case "percentage":
            percentage = reader.decimal("percentage", request.percentage)
            if percentage > PERCENT_MAX:
                reader.refuse("percentage", "must be 100 or less")
    valid_until_ns = _valid_until(reader, request, now_ns)
    reader.finish()
    return CloseRequest(strategy_id, symbol, key, quantity, percentage, request.cancel_orders, valid_until_ns)


def close_many_from_proto(request: pb.ClosePositionsRequest, caller: Caller) -> CloseManyRequest:
    """Under which keys to close everything; FieldInvalid with every bad field."""
    reader = RequestReader()
    strategy_id = reader.strategy("strategy_id", request.strategy_id, caller.strategy_id)
    prefix = reader.client_order_id("client_order_id_prefix", request.client_order_id_prefix)
    if len(prefix) > KEY_PREFIX_CHARACTERS_MAX:
        reader.refuse("client_order_id_prefix", f"must have {KEY_PREFIX_CHARACTERS_MAX} characters or fewer")
    reader.finish()
    return CloseManyRequest(strategy_id, prefix, request.cancel_orders)


def submitted_to_proto(submitted: Submitted) -> pb.SubmitOrderResponse:
    """The order as it stands, and whether its key was known."""
    return pb.SubmitOrderResponse(order=order_to_proto(submitted.order), replayed=submitted.replayed)


def replaced_to_proto(submitted: Submitted) -> pb.ReplaceOrderResponse:
    """The order after the replace was asked for."""
    return pb.ReplaceOrderResponse(order=order_to_proto(submitted.order), replayed=submitted.replayed)


def closed_to_proto(submitted: Submitted) -> pb.ClosePositionResponse:
    """The closing order."""
    return pb.ClosePositionResponse(order=order_to_proto(submitted.order), replayed=submitted.replayed)


def closed_many_to_proto(results: tuple[CloseResult, ...]) -> pb.ClosePositionsResponse:
    """One result for each position."""
    return pb.ClosePositionsResponse(results=map(_close_result_to_proto, results))


def canceled_to_proto(canceled: Canceled) -> pb.CancelOrderResponse:
    """The order after the cancel was asked for."""
    return pb.CancelOrderResponse(order=order_to_proto(canceled.order), already_terminal=canceled.already_terminal)


def canceled_many_to_proto(canceled: CanceledMany) -> pb.CancelOrdersResponse:
    """One result for each order covered."""
    return pb.CancelOrdersResponse(results=map(cancel_result_to_proto, canceled.results), sequence=canceled.sequence)


def cancel_result_to_proto(result: CancelResult) -> pb.CancelOrdersResponse.Result:
    """One order of a mass cancel."""
    return pb.CancelOrdersResponse.Result(
        order_id=result.order_id,
        state=ORDER_STATE[result.state],
        status=status_pb2.Status() if result.error is None else error_to_proto(result.error, carries_key=False),
    )


def preview_to_proto(preview: Preview) -> pb.PreviewOrderResponse:
    """What would happen to an order now."""
    return pb.PreviewOrderResponse(
        would_be_accepted=preview.would_be_accepted,
        normalized_spec=spec_to_proto(preview.normalized_spec),
        checks=map(check_to_proto, preview.checks),
        estimated_notional=optional_decimal_to_proto(preview.estimated_notional),
        estimated_buying_power_effect=optional_decimal_to_proto(preview.estimated_buying_power_effect),
    )


async def order_page_to_proto(page: Page[Order]) -> pb.ListOrdersResponse:
    """One page of orders."""
    orders = await in_slices(page.items, order_to_proto)
    return pb.ListOrdersResponse(orders=orders, next_page_token=page.next_page_token)


def _close_result_to_proto(result: CloseResult) -> pb.ClosePositionsResponse.Result:
    if isinstance(result.outcome, GatewayError):
        error = error_to_proto(result.outcome, carries_key=True)
        return pb.ClosePositionsResponse.Result(symbol=result.symbol, error=error)
    return pb.ClosePositionsResponse.Result(symbol=result.symbol, response=closed_to_proto(result.outcome))


_Referring = pb.GetOrderRequest | pb.GetOrderTimelineRequest | pb.CancelOrderRequest | pb.ReplaceOrderRequest


def _ref_from_proto(reader: RequestReader, request: _Referring, caller: Caller) -> OrderRef:
    ref = request.order
    match ref.WhichOneof("ref"):
        case "order_id":
            if not _ORDER_ID.fullmatch(ref.order_id):
                reader.refuse("order.order_id", "is not an id of this gateway")
            return OrderRef(order_id=ref.order_id)
        case "client_order_id":
            key = reader.client_order_id("order.client_order_id", ref.client_order_id)
            strategy_id = reader.strategy("order.strategy_id", ref.strategy_id, caller.strategy_id)
            return OrderRef(client_order_id=key, strategy_id=strategy_id)
        case "venue_order_id":
            if not _UUID.fullmatch(ref.venue_order_id):
                reader.refuse("order.venue_order_id", "is not an id of the venue: a UUID in lower case")
            return OrderRef(venue_order_id=ref.venue_order_id)
        case _:
            reader.refuse("order", "is required: order_id, client_order_id or venue_order_id")
            return OrderRef()


_Dated = pb.SubmitOrderRequest | pb.ReplaceOrderRequest | pb.ClosePositionRequest


def _valid_until(reader: RequestReader, request: _Dated, now_ns: int) -> int | None:
    """The instant, None when absent. One in the past is no mistake of the request: it came late."""
    if not request.HasField("valid_until"):
        return None
    valid_until_ns = reader.timestamp("valid_until", request.valid_until)
    if valid_until_ns > now_ns + VALID_FOR_MAX_MS * NANOS_PER_MS:
        reader.refuse("valid_until", "must be at most 60 s after receipt")
    return valid_until_ns
