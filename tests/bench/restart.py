"""S1: from the start of a process to serving, new and after `kill -9`; and how long a whole book takes to resume.

Printed with the machine, and no test: absolute times. Starts are those of an installed program, with its modules
compiled. A resume is one message an event, and writing one is most of it: a bare grpc.aio server that writes the same
messages needs BARE_WRITE_US of CPU for each, the gateway some 26 µs more.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import grpc

from tests.bench.journal import EVENTS_PER_PAST_ORDER, write_past
from tests.bench.processes import python
from trading_gateway.v1 import trading_pb2, trading_pb2_grpc

OPEN_ORDERS: Final = 1_000
EVENTS: Final = 100_000
EVENTS_PER_OPEN_ORDER: Final = 3
GOAL_S: Final = 3.0
RESUME_GOAL_S: Final = 2.0
BARE_WRITE_US: Final = (56, 91)
"""On an idle and on a busy machine of two cores."""
EMULATOR: Final = ("-m", "gateway", "emulator", "--listen", "127.0.0.1:0", "--rate-limit", "0", "--cash", "1000000000")


def s1(make_order: Callable[[str], trading_pb2.SubmitOrderRequest]) -> str:
    """Three lines: a new start, one after a kill, a resume."""
    with tempfile.TemporaryDirectory() as folder, python(*EMULATOR, ready="emulator ready at ") as (_, ready):
        venue = ready.rsplit(" ", 1)[1]
        _serving(venue, Path(folder) / "compiled", lambda _: None)  # so that what is measured has compiled modules
        fresh_s = _serving(venue, Path(folder) / "new", lambda _: None)
        past = Path(folder) / "past"
        past.mkdir(mode=0o700)
        token = write_past(past, (EVENTS - OPEN_ORDERS * EVENTS_PER_OPEN_ORDER) // EVENTS_PER_PAST_ORDER)
        _serving(venue, past, lambda target: _fill(target, make_order), kill=True)
        took_s: list[float] = []
        counts: list[int] = []

        def resume(target: str) -> None:
            began = time.monotonic()
            counts.append(_resumed(target, token))
            took_s.append(time.monotonic() - began)

        again_s = _serving(venue, past, resume)
    return (
        f"S1 start  new: {fresh_s:.2f} s to serving\n"
        f"    kill -9 with {OPEN_ORDERS:,} open orders and {counts[0]:,} events: {again_s:.2f} s to serving "
        f"(goal at most {GOAL_S:g} s: {_met(again_s <= GOAL_S)})\n"
        f"    resume of {counts[0]:,} events: {took_s[0]:.2f} s, {counts[0] / took_s[0]:,.0f} events/s "
        f"(goal at most {RESUME_GOAL_S:g} s: {_met(took_s[0] <= RESUME_GOAL_S)}; "
        f"grpc.aio's own writes: {BARE_WRITE_US[0]} to {BARE_WRITE_US[1]} us of CPU each)"
    )


def _met(is_met: bool) -> str:
    return "met" if is_met else "MISSED"


def _serving(venue: str, folder: Path, then: Callable[[str], None], *, kill: bool = False) -> float:
    """Start a gateway, do something with it, end it; seconds until it served."""
    folder.mkdir(mode=0o700, exist_ok=True)
    began = time.monotonic()
    with python("-m", "tests.bench.gateway", venue, str(folder), ready="gateway at ") as (child, line):
        took_s = time.monotonic() - began
        then(line.rsplit(" ", 1)[1])
        if kill:
            child.kill()
            child.wait()
    return took_s


def _fill(target: str, make_order: Callable[[str], trading_pb2.SubmitOrderRequest]) -> None:
    """Orders that rest."""
    with grpc.insecure_channel(target) as channel:
        stub = trading_pb2_grpc.TradingServiceStub(channel)
        waiting: list[grpc.Future] = []
        for number in range(OPEN_ORDERS):
            waiting.append(stub.SubmitOrder.future(make_order(f"open-{number}"), timeout=30))
            if len(waiting) == 16:
                waiting.pop(0).result()
        for answer in waiting:
            answer.result()


def _resumed(target: str, token: str) -> int:
    """Read a book from a token to its end; how many events came, the one before the token included."""
    with grpc.insecure_channel(target) as channel:
        stub = trading_pb2_grpc.TradingServiceStub(channel)
        request = trading_pb2.StreamOrderUpdatesRequest(resume_token=token)
        request.heartbeat_interval.FromMilliseconds(1_000)
        stream = stub.StreamOrderUpdates(request, timeout=120)
        sequence = 1
        for message in stream:
            if message.WhichOneof("payload") == "event":
                assert message.sequence == sequence + 1, f"{message.sequence} after {sequence}"
                sequence = message.sequence
            elif message.WhichOneof("payload") == "heartbeat":
                break
            if sequence >= EVENTS:
                break
        stream.cancel()
    return sequence
