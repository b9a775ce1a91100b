"""One run of real processes: traffic, kills at drawn instants, faults; then all heals, and the checker judges."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Final

from tests.chaos.checker import Records, Report, Settings, check
from tests.chaos.history import HistoryWriter, venue_truth
from tests.chaos.processes import machine, programs
from tests.chaos.processes.endings import FROZEN_S, RECOVERIES_KILLED, Endings
from tests.chaos.processes.mischief import Mischief
from tests.chaos.processes.network import Network
from tests.chaos.processes.strategies import Strategy, wall_ns
from tests.chaos.proxy import TcpProxy

STRATEGIES: Final = ("alpha", "beta", "gamma")
HANDS: Final = 8
"""Of each strategy: order after order, each hand one at a time."""
BURST: Final = 16
"""Orders that each strategy begins at once just before a kill, so that enough are in flight."""
IN_FLIGHT_MIN: Final = 20
UNDISTURBED_S: Final = 4.0
"""Traffic before anything goes wrong."""
BETWEEN_KILLS_S: Final = (0.05, 0.6)
"""From the first order that a new life answers to its end."""
UP_S_MAX: Final = 60.0
FIRED_S_MAX: Final = 20.0
IN_FLIGHT_LOOKS_S: Final = 0.001
SETTLE_MS: Final = 60_000
QUIET_S: Final = 95.0
GATEWAY_LOOKS_S: Final = 0.05


@dataclass(slots=True)
class Wanted:
    """What a run is to consist of.

    Attributes:
        on_disturbed: Called when the undisturbed traffic is over: others may have what is left of the machine.
        on_quiet: Called when the settle window begins: nothing is asked of the machine any more.
        with_network: Break connections as well; an order whose request is lost there is unknown for the settle window.
        endings: Ends of other kinds than a kill, one after the other, spread among the kills.
        frozen_s: How long a stopped process sleeps.
        recoveries: How many starts in a row are killed.
        is_settled: Wait for the settle window at the end; without it only what needs no quiescence is judged.
    """

    folder: Path
    seed: int = 1
    orders: int = 3_000
    kills: int = 60
    with_faults: bool = True
    with_network: bool = False
    endings: int = 6
    frozen_s: float = FROZEN_S
    recoveries: int = RECOVERIES_KILLED
    is_settled: bool = True
    undisturbed_s: float = UNDISTURBED_S
    until: float = float("inf")
    tell: Callable[[str], None] = field(default=print)
    on_disturbed: Callable[[], None] = field(default=lambda: None)
    on_quiet: Callable[[], None] = field(default=lambda: None)


@dataclass(slots=True)
class Result:
    """What it left."""

    report: Report
    orders: int
    kills: int
    fired: dict[str, int]
    per_second: float
    failures: list[str]


def run(wanted: Wanted) -> Result:
    """The whole of it."""
    return asyncio.run(_Run(wanted).run())


class _Run:
    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._random = Random(wanted.seed)
        folder = wanted.folder
        folder.mkdir(parents=True, exist_ok=True)
        self._notes = HistoryWriter(folder / "run.history.jsonl", "run", "1")
        self._emulator = programs.emulator(folder)
        self._port = programs.free_port()
        self._kills = self._ended = 0
        self._is_trading = True
        self._bursts: list[asyncio.Task[None]] = []
        self._fired: dict[str, int] = {}

    async def run(self) -> Result:
        """Traffic, kills, healing, quiet, judgement."""
        self._emulator.start()
        try:
            url = await asyncio.to_thread(self._emulator.wait_said, programs.EMULATOR_READY)
            host, _, port = url.removeprefix("http://").rpartition(":")
            async with TcpProxy(host, int(port)) as proxy:
                self._network = Network(proxy, self._notes, Random(self._wanted.seed))
                self._gateway = programs.gateway(self._wanted.folder, f"http://{proxy.address}", self._port)
                return await self._with_gateway(url)
        finally:
            self._emulator.stop()

    async def _with_gateway(self, url: str) -> Result:
        address = f"127.0.0.1:{self._port}"
        seeds = [self._random.randrange(2**32) for _ in STRATEGIES]
        folder = self._wanted.folder
        self._strategies = [Strategy(name, address, folder, seed) for name, seed in zip(STRATEGIES, seeds, strict=True)]
        self._mischief = Mischief(url, self._notes)
        self._endings = Endings(
            self._gateway, self._port, self._strategies, self._notes, self._random,
            self._wanted.frozen_s, self._wanted.recoveries,
        )  # fmt: skip
        listeners = [asyncio.create_task(strategy.listen()) for strategy in self._strategies]
        try:
            await self._endings.boot()
            await self._strategies[0].submit("first", self._strategies[0]._spec())
            began = time.monotonic()
            hands = [
                asyncio.create_task(strategy.trade(self._is_wanted))
                for strategy in self._strategies
                for _ in range(HANDS)
            ]
            await asyncio.sleep(self._wanted.undisturbed_s)
            per_second = self._orders / (time.monotonic() - began)
            await self._disturb(hands)
            await self._heal(hands, url, address)
        finally:
            for task in listeners:
                task.cancel()
            await asyncio.gather(*listeners, return_exceptions=True)
            for strategy in self._strategies:
                await strategy.close()
            self._gateway.stop()
        self._emulator.stop()
        return Result(self._judge(), self._orders, self._kills, self._fired, per_second, self._endings.failures)

    @property
    def _orders(self) -> int:
        return sum(strategy.keys for strategy in self._strategies)

    def _is_wanted(self) -> bool:
        return self._is_trading

    async def _disturb(self, hands: list[asyncio.Task[None]]) -> None:
        """Kill and be in the way until there are enough orders and kills, or time is over."""
        wanted = self._wanted
        playing: asyncio.Task[None] | None = None
        while self._is_short() and time.monotonic() < wanted.until:
            if self._is_another_ending_due():
                self._ended += 1
                await self._endings.play_next()
            elif self._kills < wanted.kills:
                await self._kill()
            else:
                await asyncio.sleep(0.2)
            wanted.on_disturbed()
            if wanted.with_network:
                playing = playing or asyncio.create_task(self._network.play())
            if wanted.with_faults:
                with contextlib.suppress(TimeoutError, ConnectionError):  # a busy machine; the next kill orders another
                    await self._mischief.order_next()
        self._is_trading = False
        if playing is not None:
            playing.cancel()
            await asyncio.wait([playing])
        await self._network.heal()

    def _is_another_ending_due(self) -> bool:
        wanted, between = self._wanted, self._wanted.kills // (self._wanted.endings + 1) + 1
        return self._ended < wanted.endings and self._kills >= min(wanted.kills, (self._ended + 1) * between)

    def _is_short(self) -> bool:
        wanted = self._wanted
        return self._orders < wanted.orders or self._kills < wanted.kills or self._ended < wanted.endings

    async def _kill(self) -> None:
        """Wait for traffic, then end the process in the middle of it, and start it at once."""
        begun = self._orders
        await programs.wait_until(lambda: self._orders != begun, UP_S_MAX, GATEWAY_LOOKS_S)
        await asyncio.sleep(self._random.uniform(*BETWEEN_KILLS_S))
        for strategy in self._strategies:
            self._bursts += [asyncio.create_task(strategy.trade_once()) for _ in range(BURST)]
        await programs.wait_until(lambda: self._in_flight() >= IN_FLIGHT_MIN, UP_S_MAX, IN_FLIGHT_LOOKS_S)
        self._endings.kill()
        self._kills += 1
        if self._kills % 10 == 0:
            self._wanted.tell(f"  {self._kills} kills, {self._orders} orders")
        await self._endings.boot()

    def _in_flight(self) -> int:
        return sum(strategy.in_flight for strategy in self._strategies)

    async def _heal(self, hands: list[asyncio.Task[None]], url: str, address: str) -> None:
        """Let the last faults fire, forget the others, and wait until nothing moves any more."""
        self._is_trading = True
        stragglers = [asyncio.create_task(self._strategies[0].trade(self._is_wanted)) for _ in range(4)]
        until = time.monotonic() + FIRED_S_MAX
        while True:  # the last faults find somebody to strike
            is_over = time.monotonic() > until or not self._wanted.with_faults
            if is_over or await self._mischief.are_all_fired():
                break
            await asyncio.sleep(GATEWAY_LOOKS_S)
        self._is_trading = False
        await asyncio.gather(*hands, *stragglers, *self._bursts)
        self._fired = await self._mischief.fired()
        if self._wanted.endings:
            self._fired |= self._endings.fired
        if self._wanted.with_network:
            self._fired |= self._network.fired
        await self._mischief.heal()
        self._notes.act("healed", time_ns=wall_ns())
        await self._strategies[0].submit("last", self._strategies[0]._spec())
        await machine.compare_with_baseline(self._gateway.pid, address, self._strategies, self._notes)
        await self._strategies[0].cancel_all()
        if not self._wanted.is_settled:
            return
        self._wanted.tell(f"  {self._orders} orders, {self._kills} kills; now the settle window of 60 s, and 30 s more")
        self._wanted.on_quiet()
        await asyncio.sleep(QUIET_S)
        account, positions, fees = await asyncio.to_thread(programs.venue_truth, url)
        told = {"open_orders": await self._strategies[0].open_orders()}
        self._notes.act("quiescent", time_ns=wall_ns(), venue=venue_truth(account, positions, fees), gateway=told)

    def _judge(self) -> Report:
        folder = self._wanted.folder
        machine.search_secrets(folder, self._notes)
        self._notes.close()
        settings = Settings(settle_ms=SETTLE_MS, initial_cash=Decimal(programs.CASH_USD))
        records = Records.read(
            [folder / "venue" / "record.jsonl"],
            folder / "gateway" / "journal.sqlite3",
            sorted(folder.glob("*.history.jsonl")),
            settings,
        )
        return check(records)
