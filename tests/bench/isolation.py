"""Isolation: what ten honest clients notice of two hostile ones, over real processes and sockets.

Each client is a token with the limits as shipped. The honest ones ask and order at a fixed rate; in one half of each
pair one client sends garbage in a loop (malformed bytes, missing fields, methods that do not exist, a wrong token) and
another one has five times as many calls under way as it may, of the right kind. What is compared is the honest p99.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc

from tests.bench.gateway import TOKENS_FILE
from tests.bench.processes import cpu_s, load, python
from tests.bench.ratios import Ratio
from trading_gateway.v1 import trading_pb2, trading_pb2_grpc

GOAL: Final = 1.25
HONEST: Final = 10
HONEST_PER_S: Final = 50
GARBAGE_IN_FLIGHT: Final = 16
GREEDY_IN_FLIGHT: Final = 160
"""Five times what one client may have."""
SECONDS: Final = 4.0
AHEAD_S: Final = 3.0
"""The hostile ones begin so much before what is counted: they have spent what may come at once, and go on."""
END_S_MAX: Final = 30
SUBMIT: Final = "/trading_gateway.v1.TradingService/SubmitOrder"
GET: Final = "/trading_gateway.v1.TradingService/GetOrder"


@dataclass(frozen=True)
class Place:
    """Where the clients go, and what they send."""

    generator: Path
    target: str
    tokens: Path
    pid: int
    question: bytes
    order: bytes

    def arguments(self, prefix: str) -> list[str]:
        """What every kind of client is told."""
        return [
            *("-target", self.target, "-tokens", str(self.tokens), "-prefix", prefix),
            *("-method", GET, "-request", self.question.hex()),
            *("-order-method", SUBMIT, "-order", self.order.hex()),
        ]


def isolation(generator: Path, pairs: int, make_order: Callable[[str], Any], marker: str) -> str:
    """The ratios of p99 for questions and for orders, and what the hostile ones were answered."""
    with (
        tempfile.TemporaryDirectory() as folder,
        python("-m", "tests.bench.gateway", "", folder, str(HONEST + 2), ready="gateway at ") as (child, line),
    ):
        target, tokens = line.rsplit(" ", 1)[1], Path(folder) / TOKENS_FILE
        garbage, greedy = _files_for(tokens)
        with grpc.insecure_channel(target) as channel:
            stub = trading_pb2_grpc.TradingServiceStub(channel)
            bearer = f"Bearer {tokens.read_text().split()[0]}"
            stub.SubmitOrder(make_order("bench-live"), metadata=(("authorization", bearer),))
        question = trading_pb2.GetOrderRequest(order=trading_pb2.OrderRef(client_order_id="bench-live"))
        order = make_order(marker).SerializeToString()
        place = Place(generator, target, tokens, child.pid, question.SerializeToString(), order)
        return _report(_measured(place, garbage, greedy, pairs))


def _files_for(tokens: Path) -> tuple[Path, Path]:
    """The last two tokens, each in a file of its own for a hostile client."""
    *_, first, second = tokens.read_text().split()
    files = tokens.with_name("garbage"), tokens.with_name("greedy")
    for file, secret in zip(files, (first, second), strict=True):
        file.write_text(secret)
    return files


def _measured(place: Place, garbage: Path, greedy: Path, pairs: int) -> Ratio:
    runs = iter(range(1_000_000))

    def alone() -> dict[str, Any]:
        warm = ("-warm", str(AHEAD_S), "-seconds", str(SECONDS))
        rate = ("-clients", str(HONEST), "-rate", str(HONEST_PER_S))
        before = cpu_s(place.pid)
        result: dict[str, Any] = load(place.generator, "paced", *place.arguments(f"h{next(runs)}-"), *warm, *rate)
        result["server_cores"] = (cpu_s(place.pid) - before) / (AHEAD_S + SECONDS)
        return result

    def beside() -> dict[str, Any]:
        for_s = ("-seconds", str(AHEAD_S + SECONDS + 0.2))
        loops = (
            [
                *place.arguments(f"w{next(runs)}-"),
                "-tokens",
                str(garbage),
                "-garbage",
                "-in-flight",
                str(GARBAGE_IN_FLIGHT),
            ],
            [*place.arguments(f"g{next(runs)}-"), "-tokens", str(greedy), "-in-flight", str(GREEDY_IN_FLIGHT)],
        )
        hostile = [
            subprocess.Popen([place.generator, "hostile", *loop, *for_s], stdout=subprocess.PIPE, text=True)
            for loop in loops
        ]
        try:
            result = alone()
            told = [json.loads(one.communicate(timeout=END_S_MAX)[0]) for one in hostile]
        finally:
            for one in hostile:
                one.kill()
                one.wait()
        return result | {"garbage": told[0], "greedy": told[1]}

    ratio = Ratio("Isolation", "honest p99 us beside hostile ones", "without them", GOAL, "p99_us", at_most=True)
    return ratio.run(beside, alone, pairs)


def _report(ratio: Ratio) -> str:
    orders = sorted(a["order_p99_us"] / b["order_p99_us"] for a, b in ratio.pairs)
    told = {
        kind: statistics.median(a[kind]["answered_per_second"] for a, _ in ratio.pairs)
        for kind in ("garbage", "greedy")
    }
    cores = [statistics.median(side[at]["server_cores"] for side in ratio.pairs) for at in (0, 1)]
    codes: dict[str, dict[str, int]] = {kind: ratio.pairs[-1][0][kind]["codes"] for kind in told}
    return (
        f"{ratio.report()}\n"
        f"    orders' p99: {statistics.median(orders):.2f} times ({orders[0]:.2f} to {orders[-1]:.2f}); gateway "
        f"{cores[0]:.2f} cores beside them, {cores[1]:.2f} without\n"
        f"    answered: garbage {told['garbage']:.0f}/s {codes['garbage']}\n"
        f"              greedy {told['greedy']:.0f}/s {codes['greedy']}"
    )
