"""One data directory over several lives of the gateway: nothing drifts, nothing is forgotten, nothing is mixed up."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import grpc
import pytest
from typer.testing import CliRunner

from gateway.application.account_guard import WrongAccount
from gateway.application.resume_tokens import Book, read_token, write_token
from gateway.cli.app import app
from gateway.infrastructure.persistence.database import FILE_NAME
from gateway.infrastructure.persistence.schema import DatabaseRefused
from gateway.infrastructure.persistence.stores import Stores
from tests.gateway_host import GatewayHost, RunningGateway
from trading_gateway.v1 import trading_pb2 as pb, trading_pb2_grpc

MINE = Book("default")
WAIT_S = 20


@contextmanager
def stub_of(gateway: RunningGateway) -> Iterator[trading_pb2_grpc.TradingServiceStub]:
    with grpc.insecure_channel(gateway.target) as channel:
        yield trading_pb2_grpc.TradingServiceStub(channel)


def limit(key: str, price: str = "1") -> pb.SubmitOrderRequest:
    """An order that rests."""
    spec = pb.OrderSpec(
        symbol="AAPL", side=pb.ORDER_SIDE_BUY, quantity="1", order_type=pb.ORDER_TYPE_LIMIT,
        time_in_force=pb.TIME_IN_FORCE_DAY, limit_price=price,
    )  # fmt: skip
    return pb.SubmitOrderRequest(client_order_id=key, spec=spec)


def market(key: str) -> pb.SubmitOrderRequest:
    """An order that fills."""
    request = limit(key)
    request.spec.order_type = pb.ORDER_TYPE_MARKET
    request.spec.ClearField("limit_price")
    return request


def read(stub: Any, **start: Any) -> list[pb.StreamOrderUpdatesResponse]:
    """The stream until its first heartbeat, which comes after everything that there is."""
    request = pb.StreamOrderUpdatesRequest(**start)
    request.heartbeat_interval.FromMilliseconds(1_000)
    stream = stub.StreamOrderUpdates(request, timeout=WAIT_S)
    found = []
    for message in stream:
        found.append(message)
        if message.WhichOneof("payload") == "heartbeat":
            break
    stream.cancel()
    return found


def token_now(stub: Any) -> str:
    """From which everything resumes that has not happened yet."""
    stream = stub.StreamOrderUpdates(pb.StreamOrderUpdatesRequest(live_only=True), timeout=WAIT_S)
    token: str = next(stream).resume_token
    stream.cancel()
    return token


def events_of(messages: list[pb.StreamOrderUpdatesResponse]) -> list[pb.StreamOrderUpdatesResponse]:
    return [message for message in messages if message.WhichOneof("payload") == "event"]


def refusal(stub: Any, token: str) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        read(stub, resume_token=token)
    return caught.value


def at_venue(gateway: RunningGateway) -> list[str]:
    """The ids that the venue's orders were sent under, oldest first."""
    url = f"{gateway.emulator.url}/v2/orders?status=all&limit=500&direction=asc"
    keys = {"APCA-API-KEY-ID": "test", "APCA-API-SECRET-KEY": "test"}
    with urlopen(Request(url, headers=keys)) as answer:
        return [order["client_order_id"] for order in json.load(answer)]


def orders_of(stub: Any) -> list[pb.Order]:
    return list(stub.ListOrders(pb.ListOrdersRequest(page_size=500)).orders)


def test_a_restart_forgets_nothing_and_adds_nothing(start_gateway: GatewayHost, tmp_path: Path) -> None:
    first = start_gateway(data_dir=tmp_path)
    with stub_of(first) as stub:
        begin = token_now(stub)
        stub.SubmitOrder(limit("rests"))
        stub.SubmitOrder(market("fills"))
        denied = limit("too-much", price="1000000")
        denied.spec.quantity = "1000000"
        with pytest.raises(grpc.RpcError) as refused:
            stub.SubmitOrder(denied)
        stub.CancelOrder(pb.CancelOrderRequest(order=pb.OrderRef(client_order_id="rests")))
        stub.SubmitOrder(limit("stays"))
        while not all(
            order.state in (pb.ORDER_STATE_CANCELED, pb.ORDER_STATE_FILLED) for order in orders_of(stub)[-2:]
        ):
            pass
        told = events_of(read(stub, resume_token=begin))
        before = orders_of(stub)
    first.drain()
    second = start_gateway(first.emulator, data_dir=tmp_path)
    with stub_of(second) as stub:
        assert orders_of(stub) == before
        again = events_of(read(stub, resume_token=begin))
        assert [message.event for message in again] == [message.event for message in told]
        assert [message.resume_token for message in again] == [message.resume_token for message in told]
        for place in (0, len(told) // 2, len(told) - 1):
            rest = events_of(read(stub, resume_token=told[place].resume_token))
            assert [found.sequence for found in rest] == [found.sequence for found in told[place + 1 :]]
        for key in ("rests", "fills", "stays"):
            request = market(key) if key == "fills" else limit(key)
            assert stub.SubmitOrder(request).replayed
        with pytest.raises(grpc.RpcError) as refused_again:
            stub.SubmitOrder(denied)
        assert refused_again.value.details() == refused.value.details()
        with pytest.raises(grpc.RpcError) as reused:
            stub.SubmitOrder(limit("rests", price="2"))
        assert reused.value.code() is grpc.StatusCode.ALREADY_EXISTS
        stub.SubmitOrder(limit("new"))
        assert events_of(read(stub, resume_token=told[-1].resume_token))[0].sequence == told[-1].sequence + 1
    assert [name.split(".")[1] for name in at_venue(first)] == ["rests", "fills", "stays", "new"]


def test_another_account_or_venue_is_refused(start_gateway: GatewayHost, tmp_path: Path) -> None:
    start_gateway(data_dir=tmp_path).drain()
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("UPDATE meta SET value = 'somebody else' WHERE key = 'account_id'")
    connection.close()
    with pytest.raises(WrongAccount, match="another account"):
        start_gateway(data_dir=tmp_path)
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("UPDATE meta SET value = 'paper' WHERE key = 'venue'")
    connection.close()
    with pytest.raises(WrongAccount, match="begun with the venue paper"):
        start_gateway(data_dir=tmp_path)
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("UPDATE meta SET value = '999' WHERE key = 'schema_version'")
    connection.close()
    with pytest.raises(DatabaseRefused, match="schema version 999"):
        start_gateway(data_dir=tmp_path)


def test_a_journal_at_fault_sends_nothing_and_says_so(start_gateway: GatewayHost, tmp_path: Path) -> None:
    gateway = start_gateway(data_dir=tmp_path)
    with stub_of(gateway) as stub:
        stub.SubmitOrder(limit("before"))
        database = gateway.gateway.injector.get(Stores).journal._database  # type: ignore[attr-defined]
        pages = database._writer.execute("PRAGMA page_count").fetchone()[0]
        database._writer.execute(f"PRAGMA max_page_count = {pages}")
        failures = []
        for number in range(200):
            try:
                stub.SubmitOrder(limit(f"k{number}"))
            except grpc.RpcError as error:
                failures.append(error)
                break
        assert failures, "the disk never got full"
        posted = at_venue(gateway)
        for number in range(3):
            with pytest.raises(grpc.RpcError) as caught:
                stub.SubmitOrder(limit(f"later-{number}"))
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert failures[0].details() == "The journal cannot record; nothing is sent."
        assert stub.SubmitOrder(limit("before")).replayed
        assert stub.GetOrder(pb.GetOrderRequest(order=pb.OrderRef(client_order_id="before"))).order.order_id
        assert at_venue(gateway) == posted


def test_a_back_up_is_taken_while_it_runs_and_its_tokens_are_told_apart(
    start_gateway: GatewayHost, tmp_path: Path
) -> None:
    live, saved, restored = tmp_path / "live", tmp_path / "saved", tmp_path / "restored"
    live.mkdir()
    first = start_gateway(data_dir=live)
    with stub_of(first) as stub, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: stub.SubmitOrder(limit(f"a{n}")), range(8)))
        kept = token_now(stub)
        writing = pool.map(lambda n: stub.SubmitOrder(limit(f"b{n}")), range(6))
        done = CliRunner().invoke(app, ["backup", "--data-dir", str(live), str(saved)])
        assert (done.exit_code, "events" in done.output) == (0, True), done.output
        list(writing)
        stub.SubmitOrder(limit("c0"))
        lost = token_now(stub)
        list(pool.map(lambda n: stub.SubmitOrder(limit(f"c{n}")), range(1, 5)))
    first.drain()
    restored.mkdir()
    shutil.copy(saved, restored / FILE_NAME)
    second = start_gateway(first.emulator, data_dir=restored)
    with stub_of(second) as stub:
        assert events_of(read(stub, resume_token=kept)) is not None
        epoch, sequence, chain_hash = read_token(MINE, lost)
        stub.CancelOrders(pb.CancelOrdersRequest())  # cancels pass whatever else is refused, and are events
        while read_token(MINE, token_now(stub))[1] < sequence:
            pass
        error = refusal(stub, lost)
        assert (error.code(), "anew" in error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, True)
        error = refusal(stub, write_token(MINE, epoch, sequence + 10_000, chain_hash))
        assert error.code() is grpc.StatusCode.OUT_OF_RANGE
        names = {order.client_order_id for order in orders_of(stub)}
        assert {*(f"b{n}" for n in range(6)), *(f"c{n}" for n in range(5))} <= names  # found again at the venue
        assert stub.SubmitOrder(limit("c0")).replayed
    again = CliRunner().invoke(app, ["backup", "--data-dir", str(live), str(saved)])
    assert again.exit_code == 1
