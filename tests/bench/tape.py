"""A recorded day, replayed faster and faster, to a subscriber who wants every quote: how fast nothing is lost.

The recordings stand beside the checkout, or where TRADING_GATEWAY_RECORDINGS says; they are no part of the project.
"""

from __future__ import annotations

import csv
import gzip
import os
import time
from pathlib import Path
from typing import Final

import grpc

from tests.bench.processes import ROOT, python
from trading_gateway.v1 import market_data_pb2 as md, market_data_pb2_grpc

RECORDINGS: Final = Path(os.environ.get("TRADING_GATEWAY_RECORDINGS", ROOT.parent / "shared" / "tape"))
DAY: Final = "us_equity/2018-01-02"
SYMBOL: Final = "XXX"
COLUMNS: Final = ("bid_price", "bid_size", "ask_price", "ask_size")
SPEEDS: Final = (5_000, 10_000, 20_000, 40_000, 80_000, 160_000)
VENUE_LATE_MAX: Final = 2.0
"""So many times as long as it should last: the venue cannot replay it faster."""
REPLAY_S_MAX: Final = 30.0
MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
Row = tuple[float, ...]


def tape() -> str:
    """A line for each speed, and the highest at which every quote came, in order and as recorded."""
    folder = RECORDINGS / DAY
    if not folder.is_dir():
        return f"Tape  skipped: there is no {DAY} in the recordings"
    recorded, lasts_s = _recorded(folder)
    lines, best_per_s = [], 0.0
    for speed in SPEEDS:
        received, took_s = _replay(folder, speed, len(recorded))
        per_s, is_whole = len(received) / took_s, received == recorded
        lines.append(
            f"    {speed:,} times as fast: {len(received):,} of {len(recorded):,} quotes"
            f"{', each as recorded and in order' if is_whole else ''}, "
            f"in {took_s:.2f} s; the day should last {lasts_s / speed:.2f} s"
        )
        if not is_whole:
            break
        best_per_s = max(best_per_s, per_s)
        if took_s > VENUE_LATE_MAX * lasts_s / speed:
            break
    times = best_per_s * lasts_s / len(recorded)
    best = f"Tape  nothing lost at {best_per_s:,.0f} quotes/s, the day {times:,.0f} times as fast as it was"
    return "\n".join([best, *lines])


def _replay(folder: Path, speed: int, count: int) -> tuple[list[Row], float]:
    """What a subscriber of every quote got of the day, and the seconds between its first and its last."""
    emulator = ("-m", "gateway", "emulator", "--listen", "127.0.0.1:0", "--rate-limit", "0")
    with (
        python(*emulator, "--tape", str(folder), "--tape-speed", str(speed), ready="emulator ready at ") as (_, ready),
        python("-m", "tests.bench.gateway", ready.rsplit(" ", 1)[1], ready="gateway at ") as (_, line),
        grpc.insecure_channel(
            line.rsplit(" ", 1)[1], options=[("grpc.max_receive_message_length", MESSAGE_BYTES_MAX)]
        ) as channel,
    ):
        request = md.StreamQuotesRequest(symbols=[SYMBOL], conflation=md.CONFLATION_POLICY_NONE, skip_snapshot=True)
        received: list[Row] = []
        began = ended = 0.0
        try:
            for message in market_data_pb2_grpc.MarketDataServiceStub(channel).StreamQuotes(
                request, timeout=REPLAY_S_MAX
            ):
                if message.quotes:
                    ended = time.monotonic()
                    began = began or ended
                    received += [(q.bid_price, q.bid_size, q.ask_price, q.ask_size) for q in message.quotes]
                if len(received) >= count:
                    break
        except grpc.RpcError as error:
            if error.code() not in {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}:
                raise
        return received, max(ended - began, 1e-9)


def _recorded(folder: Path) -> tuple[list[Row], float]:
    """The day's quotes, and the seconds from the first to the last."""
    with gzip.open(folder / "quotes.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    lasts_s = (int(rows[-1]["ts_ns"]) - int(rows[0]["ts_ns"])) / 1e9
    return [tuple(float(row[name]) for name in COLUMNS) for row in rows], lasts_s
