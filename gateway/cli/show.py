"""`account`, `orders`, `positions` and `health`: one question, one table."""

from __future__ import annotations

from collections.abc import Iterable

import typer
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rich.console import Console
from rich.table import Table

from gateway.cli.connection import TIMEOUT_S, as_json, connected, fail
from gateway.cli.whose import Whose
from trading_gateway.v1 import account_pb2, account_pb2_grpc, trading_pb2, trading_pb2_grpc

_ORDER_COLUMNS = ("symbol", "side", "quantity", "type", "limit", "state", "filled", "average", "key", "order_id")
_FILE_WIDTH = 500
"""Of a line in a pipe or a file, in characters: no cell is cut there. A table is as wide as its cells all the same."""
_POSITION_COLUMNS = ("symbol", "quantity", "available", "average entry", "price", "value", "unrealized")


def account(target: str, json: bool) -> None:
    """Print cash, equity and buying power."""
    with connected(target) as channel:
        stub = account_pb2_grpc.AccountServiceStub(channel)
        response = stub.GetAccount(account_pb2.GetAccountRequest(), timeout=TIMEOUT_S)
    if json:
        typer.echo(as_json(response.account))
        return
    held = response.account
    rows = (
        ("account", f"{held.account_number} ({held.status})"),
        ("cash", held.cash),
        ("equity", held.equity),
        ("buying power", held.buying_power),
        ("long market value", held.long_market_value),
        ("short market value", held.short_market_value),
    )
    print_table(("", held.currency_code), rows)


def positions(target: str, json: bool) -> None:
    """Print what the account holds."""
    with connected(target) as channel:
        stub = account_pb2_grpc.AccountServiceStub(channel)
        response = stub.ListPositions(account_pb2.ListPositionsRequest(), timeout=TIMEOUT_S)
    if json:
        typer.echo(as_json(response))
        return
    print_table(
        _POSITION_COLUMNS,
        (
            (
                held.symbol,
                held.quantity,
                held.available_quantity,
                held.average_entry_price,
                held.current_price,
                held.market_value,
                held.unrealized_pl,
            )
            for held in response.positions
        ),
    )


def orders(target: str, whose: Whose, symbols: list[str], page_size: int, json: bool) -> None:
    """Print the newest orders."""
    with connected(target) as channel:
        stub = trading_pb2_grpc.TradingServiceStub(channel)
        response = whose.ask(stub.ListOrders, trading_pb2.ListOrdersRequest(symbols=symbols, page_size=page_size))
    if json:
        typer.echo(as_json(response))
        return
    print_table(_ORDER_COLUMNS, (_order_row(order) for order in response.orders))


def health(target: str, service: str, json: bool) -> None:
    """Print the health of the server or one of its services; exit code 1 unless it is SERVING."""
    with connected(target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        response = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S)
    name = health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)
    if json:
        typer.echo(as_json(response))
    if response.status != health_pb2.HealthCheckResponse.SERVING:
        fail(name)
    if not json:
        typer.echo(name)


def _order_row(order: trading_pb2.Order) -> tuple[str, ...]:
    spec = order.spec
    return (
        spec.symbol,
        trading_pb2.OrderSide.Name(spec.side).removeprefix("ORDER_SIDE_").lower(),
        spec.quantity or f"${spec.notional}",
        trading_pb2.OrderType.Name(spec.order_type).removeprefix("ORDER_TYPE_").lower(),
        spec.limit_price,
        trading_pb2.OrderState.Name(order.state).removeprefix("ORDER_STATE_"),
        order.filled_quantity,
        order.filled_average_price,
        f"{order.strategy_id}.{order.client_order_id}" if order.client_order_id else "",
        order.order_id,
    )


def print_table(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    """A table as wide as its cells; what somebody else wrote is shown as it is."""
    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*row)
    console = Console(markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _FILE_WIDTH
    console.print(table)
