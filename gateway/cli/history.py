"""`fills` and `timeline`: what became of orders."""

from __future__ import annotations

import typer

from gateway.cli.connection import TIMEOUT_S, as_json, connected
from gateway.cli.show import print_table
from gateway.cli.whose import Whose
from trading_gateway.v1 import errors_pb2, trading_pb2, trading_pb2_grpc

_FILL_COLUMNS = ("time", "symbol", "side", "quantity", "price", "key", "order_id", "fill_id", "")
_ENTRY_COLUMNS = ("sequence", "time", "after", "kind", "detail", "venue request")


def fills(target: str, whose: Whose, symbols: list[str], page_size: int, json: bool) -> None:
    """Print the newest executions."""
    with connected(target) as channel:
        stub = trading_pb2_grpc.TradingServiceStub(channel)
        response = whose.ask(stub.ListFills, trading_pb2.ListFillsRequest(symbols=symbols, page_size=page_size))
    if json:
        typer.echo(as_json(response))
        return
    print_table(_FILL_COLUMNS, (_fill_row(fill) for fill in response.fills))


def timeline(target: str, order_id: str, client_order_id: str, strategy_id: str, json: bool) -> None:
    """Print everything that happened to an order, oldest first."""
    ref = (
        trading_pb2.OrderRef(client_order_id=client_order_id, strategy_id=strategy_id)
        if client_order_id
        else trading_pb2.OrderRef(order_id=order_id)
    )
    request = trading_pb2.GetOrderTimelineRequest(order=ref)
    with connected(target) as channel:
        response = trading_pb2_grpc.TradingServiceStub(channel).GetOrderTimeline(request, timeout=TIMEOUT_S)
    if json:
        typer.echo(as_json(response.timeline))
        return
    order = response.timeline.order
    typer.echo(f"{order.order_id} {trading_pb2.OrderState.Name(order.state).removeprefix('ORDER_STATE_')}")
    print_table(_ENTRY_COLUMNS, (row for entry in response.timeline.entries for row in _entry_rows(entry)))


def _fill_row(fill: trading_pb2.Fill) -> tuple[str, ...]:
    return (
        fill.trade_time.ToJsonString(),
        fill.symbol,
        trading_pb2.OrderSide.Name(fill.side).removeprefix("ORDER_SIDE_").lower(),
        fill.quantity,
        fill.price,
        f"{fill.strategy_id}.{fill.client_order_id}" if fill.client_order_id else "",
        fill.order_id,
        fill.fill_id,
        "made up" if fill.synthesized else "",
    )


def _entry_rows(entry: trading_pb2.OrderTimeline.Entry) -> list[tuple[str, ...]]:
    """The step, and below it each check with its numbers."""
    kind = trading_pb2.OrderTimeline.Entry.Kind.Name(entry.kind).removeprefix("KIND_").lower()
    after = f"+{entry.since_previous.ToMicroseconds() / 1_000:.3f} ms" if entry.HasField("since_previous") else ""
    rows: list[tuple[str, ...]] = [
        (str(entry.sequence or ""), entry.time.ToJsonString(), after, kind, entry.detail, entry.venue_request_id)
    ]
    for check in entry.checks:
        verdict = "passed" if check.passed else "FAILED"
        figures = f": {check.observed} of {check.limit} {check.unit}" if check.limit else ""
        reason = errors_pb2.ErrorReason.Name(check.reason).removeprefix("ERROR_REASON_")
        rows.append(("", "", "", "", f"  {verdict} {reason}{figures}", ""))
    return rows
