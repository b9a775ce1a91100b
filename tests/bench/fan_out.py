"""F1 and F2: one upstream and a hundred subscribers, of one set of symbols or each of its own.

Every run checks of every subscriber that nothing is missing, repeated or out of order; a run that is not clean voids
the budget. What else must hold is a bound of the budget: cores, p99 and the share delivered at half of the rate, alone
and beside orders and history, and of F1 the slowest of 500 subscribers.
"""

from __future__ import annotations

import math
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import grpc

from tests.bench.processes import cpu_s, load, python
from tests.bench.publisher import SYMBOLS
from tests.bench.ratios import Ratio
from trading_gateway.v1 import common_pb2, market_data_pb2 as md, market_data_pb2_grpc, trading_pb2_grpc

QUOTES: Final = "/trading_gateway.v1.MarketDataService/StreamQuotes"
SUBSCRIBERS: Final = 100
CROWD: Final = 500
SYMBOLS_OF_ONE: Final = 20
OFFERED: Final = 1.1
"""Of what the goal asks for on this machine, as the bare server is then: the ratio is hardly more."""
PUBLISHED_STEP: Final = 4_000
"""Rates are multiples of it: for odd ones the publisher has many frames to pack."""
CROWD_PUBLISHED_PER_S: Final = 2_000
F1_CORES_MAX: Final = 1.0
PUBLISHED_LEAST: Final = 0.95
"""Of the half that is asked for: a publisher that falls behind would make the lag of a smaller rate the budget's."""
LAG_P99_MAX_MS: Final = 10.0
"""From the publisher's frame to the subscriber, at half of the rate."""
SLOWEST_LEAST: Final = 0.9
WARM_S: Final = 1.0
CROWD_WARM_S: Final = 2.0
SECONDS: Final = 3.0
HALVES: Final = 3
ORDERS_PER_S: Final = 10
HISTORY_BARS: Final = 1_000
SEED: Final = 7

Result = dict[str, Any]
NOTHING_CAME: Final[Result] = {"delivered": 0.0, "slowest": 0.0, "lag_p50_ms": math.inf, "lag_p99_ms": math.inf}
"""What the generator cannot tell of a run without a quote; such a run is void."""
Measure = Callable[[], Result]


def request_for(symbols: Sequence[str]) -> md.StreamQuotesRequest:
    """Every quote, from now on."""
    return md.StreamQuotesRequest(symbols=symbols, conflation=md.CONFLATION_POLICY_NONE, skip_snapshot=True)


def own_sets(count: int) -> list[list[str]]:
    """A set of 20 symbols for each subscriber, no two the same; the first 25 have all of them between them."""
    rng = random.Random(SEED)
    sets: list[list[str]] = []
    while len(sets) < count:
        shuffled = rng.sample(SYMBOLS, len(SYMBOLS))
        sets += [shuffled[at : at + SYMBOLS_OF_ONE] for at in range(0, len(shuffled), SYMBOLS_OF_ONE)]
    return sets[:count]


@contextmanager
def fed_gateway(quotes_per_s: int, *more: str) -> Iterator[tuple[str, int]]:
    """A gateway whose venue publishes at a rate: its address and its process."""
    with python("-m", "tests.bench.publisher", str(quotes_per_s), ready="publisher at ") as (_, ready):
        venue = ready.rsplit(" ", 1)[1]
        with python("-m", "tests.bench.gateway", venue, *more, ready="gateway at ") as (child, line):
            yield line.rsplit(" ", 1)[1], child.pid


class FanOut:
    """The two budgets.

    Args:
        make_order: A resting order with a key.
    """

    def __init__(self, generator: Path, pairs: int, make_order: Callable[[str], Any]) -> None:
        self._generator = generator
        self._pairs = pairs
        self._make_order = make_order

    def f1(self) -> Ratio:
        """One set of 500 symbols."""
        ratio = Ratio("F1 fan-out", "quotes delivered/s", "bare messages/s", 50, "figure")
        self._measure(ratio, [SYMBOLS])
        cores = statistics.median(ours["server_cores"] for ours, _ in ratio.pairs)
        ratio.bounds.append(("cores", cores, F1_CORES_MAX))
        with fed_gateway(CROWD_PUBLISHED_PER_S) as (target, pid):
            crowd = self._stream(target, [SYMBOLS], CROWD, pid, warm_s=CROWD_WARM_S)()
        ratio.beside.append(crowd)
        ratio.floors.append((f"slowest of {CROWD} / mean", crowd["slowest"], SLOWEST_LEAST))
        ratio.notes.append(_told(f"{CROWD} subscribers", crowd))
        return ratio

    def f2(self) -> Ratio:
        """Each subscriber its own 20 of them."""
        ratio = Ratio("F2 mixed sets", "quotes delivered/s", "bare messages/s", 10, "figure")
        self._measure(ratio, own_sets(SUBSCRIBERS))
        return ratio

    def _measure(self, ratio: Ratio, sets: list[list[str]]) -> None:
        """The pairs at the whole rate; then half of it, alone and beside orders and history in turn."""
        with self._bare() as bare:
            published_per_s = _rate(ratio.goal * bare()["figure"], sets)
            with fed_gateway(published_per_s) as (target, pid):
                ratio.run(self._stream(target, sets, SUBSCRIBERS, pid), bare, self._pairs)
        alone, beside = [], []
        with fed_gateway(published_per_s // 2) as (target, pid):
            measure = self._stream(target, sets, SUBSCRIBERS, pid)
            for _ in range(min(HALVES, self._pairs)):
                alone.append(measure())
                with self._orders_and_history(target) as told:
                    beside.append(measure())
                ratio.notes.append(f"{told[-1]}")
        ratio.beside += alone + beside
        ratio.bounds.append(("p99 ms at half of it", _median(alone, "lag_p99_ms"), LAG_P99_MAX_MS))
        ratio.floors.append(("delivered at half of it", min(run["delivered"] for run in alone + beside), 1.0))
        published = min(run["published_per_second"] for run in alone + beside)
        ratio.floors.append(("published of that half", published / (published_per_s // 2), PUBLISHED_LEAST))
        ratio.notes = [
            _told("the whole rate", *(ours for ours, _ in ratio.pairs)),
            _told("half of it", *alone),
            f"{_told('half of it beside orders and history', *beside)}; {ratio.notes[-1]}",
        ]

    @contextmanager
    def _bare(self) -> Iterator[Measure]:
        """A server that sends one constant message again and again."""
        quote = md.Quote(symbol="S001", bid_price=100.25, bid_size=1.0, ask_price=100.27, ask_size=3.0)
        constant = md.StreamQuotesResponse(quotes=[quote], batch_sequence=1).SerializeToString()
        with python("-m", "tests.bench.bare", QUOTES, constant.hex()) as (_, port):
            measure = self._stream(f"127.0.0.1:{port}", [SYMBOLS], SUBSCRIBERS)

            def measured() -> Result:
                result = measure()
                result["figure"] = result["messages_per_second"]
                for checked in ("gaps", "astray"):  # the constant message repeats its sequence and its number
                    del result[checked]
                return result

            yield measured

    def _stream(
        self, target: str, sets: list[list[str]], count: int, pid: int | None = None, warm_s: float = WARM_S
    ) -> Measure:
        def measure() -> Result:
            before, began = cpu_s(pid) if pid else 0.0, time.monotonic()
            result = read_streams(self._generator, target, sets, "-streams", str(count), "-warm", str(warm_s))
            if pid:
                result = NOTHING_CAME | result
                result["server_cores"] = (cpu_s(pid) - before) / (time.monotonic() - began)
            return result | {"figure": result["quotes_per_second"]}

        return measure

    @contextmanager
    def _orders_and_history(self, target: str) -> Iterator[list[str]]:
        """Ten orders a second and a page of history a second, while this lasts; then how long they took."""
        ended, took_ms, told = threading.Event(), {"SubmitOrder": [0.0], "ListBars": [0.0]}, [""]
        worker = threading.Thread(target=self._work, args=(target, ended, took_ms), daemon=True)
        worker.start()
        try:
            yield told
        finally:
            ended.set()
            worker.join()
        told.append(
            ", ".join(
                f"{len(all_ms) - 1} {name} of {statistics.median(all_ms):.1f} ms, at most {max(all_ms):.1f}"
                for name, all_ms in took_ms.items()
            )
        )

    def _work(self, target: str, ended: threading.Event, took_ms: dict[str, list[float]]) -> None:
        with grpc.insecure_channel(target) as channel:
            trading = trading_pb2_grpc.TradingServiceStub(channel)
            market_data = market_data_pb2_grpc.MarketDataServiceStub(channel)
            prefix, number, due = time.time_ns(), 0, time.monotonic()
            while not ended.wait(max(0.0, due - time.monotonic())):
                due += 1 / ORDERS_PER_S
                _timed(took_ms["SubmitOrder"], trading.SubmitOrder, self._make_order(f"f-{prefix}-{number}"))
                if number % ORDERS_PER_S == 0:
                    page = _timed(took_ms["ListBars"], market_data.ListBars, _history())
                    assert len(page.bars) == HISTORY_BARS
                number += 1


def read_streams(generator: Path, target: str, sets: list[list[str]], *more: str) -> Result:
    """Run the generator's streams, each with the next of these sets."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(request_for(symbols).SerializeToString().hex() for symbols in sets))
        file.flush()
        where = ("-target", target, "-method", QUOTES, "-requests", file.name)
        return load(generator, "stream", *where, "-seconds", str(SECONDS), *more)


def _rate(wanted_per_s: float, sets: list[list[str]]) -> int:
    """What is to be published, that so much is delivered, and a little more."""
    delivered_of_each = SUBSCRIBERS * len(sets[0]) / len(SYMBOLS)
    return max(1, round(OFFERED * wanted_per_s / delivered_of_each / PUBLISHED_STEP)) * PUBLISHED_STEP


def _history() -> md.ListBarsRequest:
    request = md.ListBarsRequest(symbols=["AAPL"], page_size=HISTORY_BARS)
    request.timeframe.amount, request.timeframe.unit = 1, common_pb2.Timeframe.UNIT_MINUTE
    request.start_time.FromSeconds(int(time.time()) - 5 * 86_400)
    return request


def _timed(took_ms: list[float], call: Callable[..., Any], request: Any) -> Any:
    began = time.monotonic()
    answer = call(request, timeout=10)
    took_ms.append((time.monotonic() - began) * 1_000)
    return answer


def _median(runs: Sequence[Result], key: str) -> float:
    return float(statistics.median(run[key] for run in runs))


def _told(what: str, *runs: Result) -> str:
    """The figures behind the ratio, of some runs of one kind."""
    least, most = min(run["min_quotes"] for run in runs), max(run["max_quotes"] for run in runs)
    return (
        f"{what}: published {_median(runs, 'published_per_second'):,.0f}/s, "
        f"delivered {min(run['delivered'] for run in runs):.4f}, "
        f"p50 {_median(runs, 'lag_p50_ms'):.1f} ms, p99 {_median(runs, 'lag_p99_ms'):.1f} ms "
        f"(of runs {', '.join(format(run['lag_p99_ms'], '.1f') for run in runs)}), "
        f"{_median(runs, 'server_cores'):.2f} cores, generator {max(run['generator_cores'] for run in runs):.2f}; "
        f"one subscriber got {least:,.0f} to {most:,.0f}, the slowest / mean {min(run['slowest'] for run in runs):.3f}"
    )
