"""`make bench`: U1 to J1 as ratios of one run; isolation; neighbors; S1; the kill; the tape. ARGS="u1 f1" runs some.

Server flags are as `serve` ships them, but for the venue's request limit, which is off, and so is the journal: on
disk. U1, U2 and isolation need a token for each call, and keep the limits of a client as shipped: U1 and U2 come from
as many clients as that takes. The others are one client alone, without limits. "--pairs 3" takes fewer pairs.
"""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import grpc

from gateway.infrastructure.persistence.database import FILE_NAME
from tests.bench.decode import d1
from tests.bench.fan_out import FanOut
from tests.bench.gateway import TOKENS_FILE
from tests.bench.isolation import isolation
from tests.bench.journal import j1
from tests.bench.kill import report as kill_report
from tests.bench.neighbors import neighbors
from tests.bench.processes import build_generator, cpu_s, load, python
from tests.bench.ratios import Ratio
from tests.bench.restart import s1
from tests.bench.tape import tape
from trading_gateway.v1 import trading_pb2, trading_pb2_grpc

SUBMIT: Final = "/trading_gateway.v1.TradingService/SubmitOrder"
GET: Final = "/trading_gateway.v1.TradingService/GetOrder"
KEY_MARKER: Final = "@" * 24
SECONDS: Final = 0.6
SLICES_PER_PAIR: Final = 3
"""Of calls; short and many, because what else the machine does comes in bursts, and the median forgets them."""
U3_ORDERS: Final = 100
Headers = tuple[tuple[str, str], ...]
TOKENS: Final = 128
"""Clients that share the calls of U1 and U2, so that each stays within its 200 reads and 50 orders a second."""


def limit_order(key: str) -> trading_pb2.SubmitOrderRequest:
    """An order that rests."""
    spec = trading_pb2.OrderSpec(
        symbol="AAPL",
        side=trading_pb2.ORDER_SIDE_BUY,
        quantity="1",
        order_type=trading_pb2.ORDER_TYPE_LIMIT,
        time_in_force=trading_pb2.TIME_IN_FORCE_DAY,
        limit_price="1",
    )
    return trading_pb2.SubmitOrderRequest(client_order_id=key, spec=spec)


class Bench:
    """One run: its generator, its number of pairs."""

    def __init__(self, generator: Path, pairs: int) -> None:
        self._generator = generator
        self._pairs = pairs
        self._slices = pairs * SLICES_PER_PAIR

    def u1(self) -> Ratio:
        """GetOrder on a live order, 16 in flight."""
        ratio = Ratio("U1 question", "GetOrder/s", "bare/s", 0.80, "per_second")
        with _gateway_with_tokens() as (target, folder):
            with grpc.insecure_channel(target) as channel:
                stub, shown = trading_pb2_grpc.TradingServiceStub(channel), _first_token(folder)
                stub.SubmitOrder(limit_order("bench-live"), metadata=shown)
                request = trading_pb2.GetOrderRequest(order=trading_pb2.OrderRef(client_order_id="bench-live"))
                response = stub.GetOrder(request, metadata=shown)
            with self._bare(GET, response.SerializeToString()) as bare:
                ours = self._unary(target, GET, request, folder)
                return ratio.run(ours, self._unary(bare, GET, request, folder), self._slices)

    def u2(self) -> Ratio:
        """SubmitOrder with fresh keys, each found afterwards by ListOrders and in the journal's file."""
        ratio = Ratio("U2 command", "SubmitOrder/s", "bare/s", 0.50, "per_second")
        with _gateway_with_tokens() as (target, folder), grpc.insecure_channel(target) as channel:
            stub, shown = trading_pb2_grpc.TradingServiceStub(channel), _first_token(folder)
            response = stub.SubmitOrder(limit_order("bench-shape"), metadata=shown)
            request = limit_order(KEY_MARKER)
            with self._bare(SUBMIT, response.SerializeToString()) as bare:
                ours = self._submits(target, request, folder)
                ratio.run(ours, self._unary(bare, SUBMIT, request, folder), self._slices)
            sent = sum(a["sent"] for a, _ in ratio.pairs) + 1
            _check_all_found(stub, shown, sent)
            _check_journal(folder, sent)
        return ratio

    def isolation(self) -> str:
        """What honest clients notice of hostile ones."""
        return isolation(self._generator, self._pairs, limit_order, KEY_MARKER)

    def j1(self) -> Ratio:
        """The journal alone."""
        return j1(self._slices)

    def u3(self) -> Ratio:
        """The gateway's CPU for an order through adapters and emulator, against alpaca-py's own for one POST."""
        ratio = Ratio("U3 whole", "gateway CPU ms/order", "alpaca-py CPU ms/POST", 1.5, "cpu_ms", at_most=True)
        emulator = ("-m", "gateway", "emulator", "--listen", "127.0.0.1:0", "--rate-limit", "0", "--cash", "1000000000")
        with (
            python(*emulator, ready="emulator ready at ") as (_, ready),
            python("-m", "tests.bench.gateway", ready.rsplit(" ", 1)[1], ready="gateway at ") as (child, line),
        ):
            venue, target = ready.rsplit(" ", 1)[1], line.rsplit(" ", 1)[1]
            with grpc.insecure_channel(target) as channel:
                stub = trading_pb2_grpc.TradingServiceStub(channel)
                return ratio.run(_gateway_cpu(stub, child.pid), _alpaca_cpu(venue), self._slices)

    def f1(self) -> Ratio:
        """Distinct quotes a second to 100 subscribers of one set of 500 symbols, every quote different."""
        return FanOut(self._generator, self._pairs, limit_order).f1()

    def f2(self) -> Ratio:
        """The same, each subscriber with its own 20 of the 500 symbols."""
        return FanOut(self._generator, self._pairs, limit_order).f2()

    def neighbors(self) -> Ratio:
        """What 198 subscribers notice of a stalled and a flooding one."""
        return neighbors(self._generator, self._pairs)

    def d1(self) -> Ratio:
        """The CPU from a frame to its quotes' bodies."""
        return d1(self._slices)

    @contextmanager
    def _bare(self, method: str, response: bytes) -> Iterator[str]:
        with python("-m", "tests.bench.bare", method, response.hex()) as (_, port):
            yield f"127.0.0.1:{port}"

    def _unary(self, target: str, method: str, request: Any, folder: Path) -> Callable[[], dict[str, Any]]:
        arguments = ["-target", target, "-method", method, "-request", request.SerializeToString().hex()]
        shown = ["-tokens", str(folder / TOKENS_FILE)]
        return lambda: load(self._generator, "unary", *arguments, *shown, "-seconds", str(SECONDS))

    def _submits(self, target: str, request: Any, folder: Path) -> Callable[[], dict[str, Any]]:
        arguments = ["-target", target, "-method", SUBMIT, "-request", request.SerializeToString().hex()]
        arguments += ["-tokens", str(folder / TOKENS_FILE)]
        runs = iter(range(1_000_000))
        return lambda: load(
            self._generator, "unary", *arguments, "-seconds", str(SECONDS), "-prefix", f"r{next(runs)}-"
        )


@contextmanager
def _gateway_with_tokens() -> Iterator[tuple[str, Path]]:
    """A gateway that lets nobody in without a token: its address, and the folder of its journal and its secrets."""
    with (
        tempfile.TemporaryDirectory() as folder,
        python("-m", "tests.bench.gateway", "", folder, str(TOKENS), ready="gateway at ") as (_, line),
    ):
        yield line.rsplit(" ", 1)[1], Path(folder)


def _first_token(folder: Path) -> Headers:
    return (("authorization", f"Bearer {(folder / TOKENS_FILE).read_text().split()[0]}"),)


def _check_all_found(stub: trading_pb2_grpc.TradingServiceStub, shown: Headers, sent: int) -> None:
    found, token = 0, ""
    while True:
        page = stub.ListOrders(trading_pb2.ListOrdersRequest(page_size=500, page_token=token), metadata=shown)
        found += len(page.orders)
        token = page.next_page_token
        if not token:
            break
    if found != sent:
        raise SystemExit(f"U2: {sent} orders were sent and ListOrders has {found}")


def _check_journal(folder: Path, sent: int) -> None:
    with closing(sqlite3.connect((folder / FILE_NAME).as_uri() + "?mode=ro", uri=True)) as connection:
        query = "SELECT kind, count(DISTINCT order_id) FROM events GROUP BY kind"
        counts = dict(connection.execute(query).fetchall())
    if counts.get("recorded") != sent or counts.get("submitted") != sent:
        raise SystemExit(f"U2: {sent} orders were sent and the journal has {counts}")


def _gateway_cpu(stub: trading_pb2_grpc.TradingServiceStub, pid: int) -> Callable[[], dict[str, Any]]:
    keys = iter(range(1_000_000))

    def measure() -> dict[str, Any]:
        before = cpu_s(pid)
        for _ in range(U3_ORDERS):
            answer = stub.SubmitOrder(limit_order(f"u3-{next(keys)}"), timeout=10)
            assert answer.order.venue_order_id
            assert not answer.replayed
        return {"cpu_ms": (cpu_s(pid) - before) / U3_ORDERS * 1_000}

    return measure


def _alpaca_cpu(venue: str) -> Callable[[], dict[str, Any]]:
    from alpaca.trading.client import TradingClient

    client = TradingClient("bench", "bench", url_override=venue)
    keys = iter(range(1_000_000))

    def measure() -> dict[str, Any]:
        before = time.process_time()
        for _ in range(U3_ORDERS):
            body = {"symbol": "AAPL", "qty": "1", "side": "buy", "type": "limit", "time_in_force": "day"}
            client.post("/orders", body | {"limit_price": "1", "client_order_id": f"alone-{next(keys)}"})
        return {"cpu_ms": (time.process_time() - before) / U3_ORDERS * 1_000}

    return measure


def main() -> None:
    """Measure what was asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "budgets", nargs="*", help="u1 u2 u3 f1 f2 d1 j1 neighbors isolation s1 kill tape; default: all"
    )
    parser.add_argument("--pairs", type=int, default=7)
    arguments = parser.parse_args()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, grpcio {grpc.__version__}"
    )
    print(
        f"U1, U2 and isolation with required authentication and the limits of a client on ({TOKENS} tokens); "
        "the journal is on disk; telemetry as shipped, without a collector"
    )
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(build_generator(Path(folder)), arguments.pairs)
        absolute = {
            "isolation": bench.isolation,
            "s1": lambda: s1(limit_order),
            "tape": tape,
            "kill": lambda: kill_report(Path(folder)),
        }
        for name in arguments.budgets or ["u1", "u2", "u3", "f1", "f2", "d1", "j1", "neighbors", *absolute]:
            print(absolute[name]() if name in absolute else getattr(bench, name)().report(), flush=True)


if __name__ == "__main__":
    main()
