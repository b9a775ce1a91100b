"""One run: the exchange, the gateway's lives, the strategies, the weather; then everything heals and is checked."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import sys
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any, Final

import orjson
import structlog
from injector import Binder, InstanceProvider, Module

from gateway.application.kill_switch import KillSwitch
from gateway.application.order_manager import OrderManager
from gateway.application.order_updates import OrderUpdates
from gateway.application.trading_engine import TradingEngine
from gateway.application.trading_state import TradingStates
from gateway.application.venue_calls import VenueCalls
from gateway.application.workflows import TradingWorkflow
from gateway.config import Settings
from gateway.container import Clocks, build
from gateway.domain.errors import JournalUnavailable
from gateway.domain.interfaces import (
    AccountRepository,
    MarketDataRepository,
    OrderJournal,
    PositionBaselineStore,
    RequestGate,
    StreamingRepository,
    TradingRepository,
    TradingStateStore,
)
from gateway.domain.models.account import Activity
from gateway.domain.models.risk import TradingMode
from gateway.domain.types import BudgetLane, Venue
from gateway.emulator.exchange import ExchangeConfig, SimulatedExchange, make_assets
from gateway.emulator.floor import TradingFloor
from gateway.emulator.in_process import InProcessVenue
from gateway.services.account import BalanceService
from gateway.services.market_data import QuoteService
from tests.chaos.checker import Records, Report, Settings as CheckerSettings, check
from tests.chaos.simulation.clients import Listener, Operator, Trader
from tests.chaos.simulation.doors import Doors, Gateway, Notebook, where
from tests.chaos.simulation.feed import FeedRoad
from tests.chaos.simulation.journal import Disk, LifeBaselines, LifeJournal, LifeStates
from tests.chaos.simulation.ledger import Json, RecordB
from tests.chaos.simulation.life import Life, make_task
from tests.chaos.simulation.loop import VirtualLoop
from tests.chaos.simulation.market import PRICES_USD, Prices, QuietMarket
from tests.chaos.simulation.venue import Exchange, Road, UnreadableAnswer
from tests.chaos.simulation.weather import Fault, Weather

START_NS: Final = 1_704_294_000_000_000_000
"""10:00 in New York on 2024-01-03, an ordinary trading day."""
CASH_USD: Final = Decimal(10_000_000)
STRATEGIES: Final = ("alpha", "beta", "gamma")
ORDERS: Final = 400
"""Intents of one run."""
ORDERS_PER_SECOND: Final = 60.0
CRASHES_MAX: Final = 8
STRATEGY_DEATHS: Final = (0, 0, 1, 2)
"""In one run, by lot."""
STOPS: Final = (
    (),
    (),
    (TradingMode.REDUCING, TradingMode.KILLED),
    (TradingMode.HALTED,),
    (TradingMode.KILLED,),
)
RESTART_S: Final = (0.01, 1.5)
QUOTE_S: Final = 0.2
HEAL_S: Final = 105.0
"""After it no request is under way any more that was late."""
CRASH_WAIT_S: Final = 10
"""So long after the traffic a point is waited for at which the process shall end."""
FEES_PAGE: Final = 100
RESERVED_DECIMALS: Final = 9
"""Sums and differences of quotients leave a rest behind the 24th."""
SETTLE_MS: Final = 60_000
QUIET_S: Final = 95.0
"""The settle window and 30 s more."""


@dataclass(slots=True)
class Plan:
    """What one run does.

    Attributes:
        crash_at: Points at which the process ends, each once, in this order: (name, how many times it is passed first).
        crashes: How many ends at random instants; None: drawn.
        stops: Modes that an operator sets for a while, one after the other; None: drawn.
        ordered: By verb, what the first changes meet, whatever the weather.
        is_fair: Nothing goes wrong by itself.
        modules: More modules for the container, made anew for each life; theirs win.
    """

    seed: int
    orders: int = ORDERS
    crash_at: tuple[tuple[str, int], ...] = ()
    crashes: int | None = None
    stops: tuple[TradingMode, ...] | None = None
    ordered: tuple[tuple[str, tuple[Fault | None, ...]], ...] = ()
    is_fair: bool = False
    modules: tuple[Callable[[], Module], ...] = ()


@dataclass(slots=True)
class Outcome:
    """What a run left.

    Attributes:
        bugs: Exceptions that nobody should see: logged by the engine, or left as INTERNAL.
        passed: How often each named point was passed.
    """

    seed: int
    report: Report
    ledger: list[Json]
    journal: list[Json]
    history: list[Json]
    bugs: list[str]
    fired: dict[str, int]
    crashes: int
    crashed_at: list[str] = field(default_factory=list)
    passed: dict[str, int] = field(default_factory=dict)

    @property
    def orders(self) -> int:
        """Keys under which something was asked for."""
        calls = (line for line in self.history if line["line"] == "call" and line["client_order_id"])
        return len({(call["strategy_id"], call["client_order_id"]) for call in calls})

    @property
    def is_fine(self) -> bool:
        """Nothing violated, nothing logged."""
        return not self.report.violated and not self.bugs

    def digest(self) -> str:
        """Of the three records, byte for byte."""
        found = hashlib.sha256()
        for lines in (self.ledger, self.journal, self.history):
            for line in lines:
                found.update(orjson.dumps(line, default=_bytes, option=orjson.OPT_SORT_KEYS))
        return found.hexdigest()


def simulate(plan: Plan) -> Outcome:
    """Run one plan to its end and check what it left."""
    loop = VirtualLoop(START_NS)
    loop.set_task_factory(make_task)  # type: ignore[arg-type]  # typeshed knows no context of 3.11's factories
    world = World(plan, loop)
    former = structlog.get_config()
    structlog.configure(
        processors=[world.on_log],
        wrapper_class=structlog.make_filtering_bound_logger(40),
        logger_factory=structlog.ReturnLoggerFactory(),
        cache_logger_on_first_use=False,
    )
    is_collecting = gc.isenabled()
    gc.disable()
    try:
        asyncio.set_event_loop(loop)
        loop.set_exception_handler(world.on_loop_error)
        loop.run_until_complete(world.run())
        return world.outcome()
    finally:
        world.bury()
        loop.run_until_complete(asyncio.sleep(1.0))
        loop.close()
        asyncio.set_event_loop(None)
        structlog.configure(**former)
        if is_collecting:
            gc.enable()


class World:
    """Everything of one run."""

    def __init__(self, plan: Plan, loop: VirtualLoop) -> None:
        self._plan = plan
        self._loop = loop
        self._random = Random(plan.seed)
        self._weather = Weather(Random(self._random.random()))
        self._weather.is_fair = plan.is_fair
        self._weather.ordered = {verb: list(faults) for verb, faults in plan.ordered}
        self._bugs: list[str] = []
        config = ExchangeConfig(cash=CASH_USD, wash_trade_check=False, seed=plan.seed)
        floor = TradingFloor(
            SimulatedExchange(config, make_assets(tuple(PRICES_USD)), START_NS),  # type: ignore[arg-type]
            QuietMarket(),  # type: ignore[arg-type]
            loop.wall,
        )
        self._record = RecordB(loop.wall)
        floor.listen(self._record)
        venue = InProcessVenue(floor, loop.wall)
        self._disk = Disk.empty(self._random)
        self._exchange = Exchange(venue, self._record, self._weather, self._disk, loop, {})
        self._prices = Prices(Random(self._random.random()))
        self._doors = Doors(loop, Random(self._random.random()), self._bugs)
        self._history: list[Json] = []
        self._notes = Notebook("run", self._history)
        self._traders = [self._trader(name) for name in STRATEGIES]
        self._listeners = [self._listener(name) for name in (*STRATEGIES, None)]
        notes = Notebook("watcher", self._history)
        random = Random(self._random.random())
        self._listeners.append(Listener(STRATEGIES[0], self._doors, notes, random, always=("snapshot", "live")))
        self._operator = Operator(self._doors, Notebook("operator", self._history), Random(self._random.random()))
        self._strategies_seed = self._random.random()
        self._crash_plan = list(plan.crash_at)
        self._passed: dict[str, int] = {}
        self._crashed_at: list[str] = []
        self._lives = 0
        self._life: Life | None = None
        self._journal: LifeJournal | None = None
        self._road_gate: list[RequestGate] = []
        self._balances: BalanceService | None = None
        self._feed: FeedRoad | None = None
        self._is_traffic_over = False

    def on_log(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
        """Errors with an exception are bugs; others are news."""
        error = event.get("exc_info")
        if error is True:
            error = sys.exc_info()[1]
        is_injected = isinstance(error, UnreadableAnswer | JournalUnavailable)
        if error and not is_injected and not self._is_traffic_over:
            self._bugs.append(f"{event.get('event')}: {where(error)}")
        raise structlog.DropEvent

    def on_loop_error(self, _loop: Any, context: dict[str, Any]) -> None:
        """What nobody awaited."""
        self._bugs.append(f"{context.get('message')}: {where(context.get('exception'))}")

    def bury(self) -> None:
        """End what still runs."""
        if self._life is not None:
            self._life.crash()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()

    async def run(self) -> None:
        """Traffic, healing, quiet."""
        background = [asyncio.create_task(self._move_prices())]
        for symbol in PRICES_USD:
            self._prices.move(self._exchange.venue.floor, self._loop.wall(), symbol)
        self._boot()
        await asyncio.sleep(1.0)
        background += [asyncio.create_task(listener.listen()) for listener in self._listeners]
        during_s = self._plan.orders / ORDERS_PER_SECOND
        killers = [asyncio.create_task(self._kill()), asyncio.create_task(self._kill_strategies(during_s))]
        stops = self._plan.stops if self._plan.stops is not None else self._random.choice(STOPS)
        operating = asyncio.create_task(self._operator.operate(stops, during_s))
        share = self._plan.orders // len(self._traders) + 1
        rate = ORDERS_PER_SECOND / len(self._traders)
        trading = [asyncio.create_task(trader.trade(share, rate)) for trader in self._traders]
        await asyncio.sleep(during_s + self._random.uniform(0, 5))
        for _ in range(CRASH_WAIT_S):
            if self._crash_plan:
                await asyncio.sleep(1.0)
        for killer in killers:
            killer.cancel()
        await asyncio.wait(killers)
        await self._heal()
        await asyncio.gather(*trading, operating)
        await self._come_to_rest()
        for task in background:
            task.cancel()

    def outcome(self) -> Outcome:
        """The records, and what the checker says of them."""
        for venue_order_id in self._record.order_ids:
            self._record.order(self._exchange.venue.floor.exchange.order(venue_order_id))
        journal = self._disk.lines()
        settings = CheckerSettings(settle_ms=SETTLE_MS, initial_cash=CASH_USD, is_void_judged=False)
        report = check(Records(self._record.lines, journal, self._history, settings))
        fired = {fault.value: count for fault, count in sorted(self._weather.fired.items())}
        return Outcome(
            self._plan.seed, report, self._record.lines, journal, self._history, self._bugs, fired,
            self._lives - 1, self._crashed_at, self._passed,
        )  # fmt: skip

    # Lives.

    def _boot(self) -> None:
        """A new process on the surviving disk."""
        self._lives += 1
        life = self._life = Life(self._loop, self._lives)
        life.crash_point = self._pass_point
        journal_random = Random(self._random.random())
        self._notes.act("start_gateway", time_ns=self._loop.wall())
        life.begin(self._start(life, journal_random)).add_done_callback(self._started)

    def _started(self, start: asyncio.Task[None]) -> None:
        error = None if start.cancelled() else start.exception()
        if error is not None:
            raise error

    async def _start(self, life: Life, random: Random) -> None:
        journal = self._journal = LifeJournal(self._disk, life, self._loop, random)
        feed = self._feed = FeedRoad(self._exchange, life)
        gates: list[RequestGate] = []
        road = Road(self._exchange, life, lambda: gates[0])
        stores = LifeStates(self._disk, life, random), LifeBaselines(self._disk, life)
        market_data = self._exchange.venue.market_data
        module = SimulatedModule(journal, *stores, road, feed, market_data, self._prices, self._loop)
        settings = Settings(venue=Venue.EMULATOR, venue_url="http://simulated", venue_requests_per_minute=0)
        container = build(settings, module, *(make() for make in self._plan.modules))
        gates.append(container.get(RequestGate))
        gateway = Gateway(
            life,
            container.get(TradingEngine),
            container.get(TradingWorkflow),
            container.get(OrderUpdates),
            container.get(OrderManager),
            container.get(TradingStates),
            container.get(KillSwitch),
        )
        self._balances = container.get(BalanceService)
        await gateway.engine.start()
        life.at("started")
        self._doors.gateway = gateway

    def _end_life(self, why: str) -> None:
        life = self._life
        if life is None or life.is_dead:
            return
        self._crashed_at.append(why)
        self._doors.gateway = None
        life.crash()
        self._notes.act("kill_gateway", time_ns=self._loop.wall())
        self._loop.call_later(self._random.uniform(*RESTART_S), self._boot)

    def _pass_point(self, name: str) -> None:
        self._passed[name] = self._passed.get(name, 0) + 1
        if not self._crash_plan:
            return
        wanted, left = self._crash_plan[0]
        if name != wanted:
            return
        if left:
            self._crash_plan[0] = (wanted, left - 1)
            return
        self._crash_plan.pop(0)
        self._end_life(name)

    async def _kill(self) -> None:
        """Ends at random instants, of the process and of its disk."""
        random = self._random
        crashes = self._plan.crashes if self._plan.crashes is not None else random.randint(0, CRASHES_MAX)
        during_s = self._plan.orders / ORDERS_PER_SECOND
        instants = sorted(random.uniform(0.3, during_s) for _ in range(crashes))
        began = self._loop.time()
        for instant in instants:
            await asyncio.sleep(max(0.0, began + instant - self._loop.time()))
            if self._weather.strikes(self._weather.disk_rate * 5) and self._journal is not None:
                self._exchange.fire(Fault.DISK_FAILED)
                self._journal.is_failing = True
                self._journal.is_unsure = random.random() < 0.5
                await asyncio.sleep(random.uniform(0.05, 1.0))
            self._end_life("random")

    async def _kill_strategies(self, during_s: float) -> None:
        """Some strategies die in the middle of what they do, and live again on the keys that they had written down."""
        random = Random(self._strategies_seed)
        for _ in range(0 if self._weather.is_fair else random.choice(STRATEGY_DEATHS)):
            await asyncio.sleep(random.uniform(0.1, during_s))
            trader = random.choice(self._traders)
            self._exchange.fire(Fault.STRATEGY_KILLED)
            trader.die()
            try:
                await asyncio.sleep(random.uniform(*RESTART_S))
            finally:
                trader.live_again()

    # The end.

    async def _heal(self) -> None:
        """Nothing goes wrong any more."""
        self._weather.is_fair = True
        self._crash_plan.clear()
        self._exchange.blind_until.clear()
        if self._journal is not None and self._journal.is_failing:
            self._end_life("failed disk")
        await asyncio.sleep(3.0)
        if self._feed is not None:
            self._feed.heal()
        await self._operator.resume()
        self._notes.act("healed", time_ns=self._loop.wall())
        await self._traders[0].probe()
        await asyncio.sleep(HEAL_S)

    async def _come_to_rest(self) -> None:
        """Cancel what is open, wait for the settle window, and read the venue's own account."""
        for listener in self._listeners:
            listener.is_patient = True
        await self._doors.cancel_all(self._notes, None)
        await asyncio.sleep(QUIET_S)
        self._is_traffic_over = True
        gateway = self._doors.gateway
        assert gateway is not None, self._bugs
        assert self._balances is not None
        await gateway.life.begin(self._read_account())
        exchange, now_ns = self._exchange.venue.floor.exchange, self._loop.wall()
        account = exchange.account(now_ns)
        venue = {
            "cash": str(account.cash),
            "positions": {position.symbol: str(position.quantity) for position in exchange.positions(now_ns)},
            "fees": [
                {"symbol": fee.symbol, "quantity": str(fee.quantity), "usd": str(fee.net_amount)}
                for fee in _fees(exchange)
            ],
        }
        reserved = round(self._balances.reserved, RESERVED_DECIMALS)
        held = {"open_orders": gateway.orders.open_count, "reserved_usd": str(reserved)}
        self._notes.act("quiescent", time_ns=now_ns, venue=venue, gateway=held)

    async def _read_account(self) -> None:
        """What was acknowledged is reserved until the venue's next figures contain it."""
        assert self._balances is not None
        await asyncio.sleep(1.0)
        await self._balances.refresh(VenueCalls(self._loop.time).own(BudgetLane.LOOKUP))

    async def _move_prices(self) -> None:
        symbols = tuple(PRICES_USD)
        index = 0
        while True:
            await asyncio.sleep(QUOTE_S / len(symbols) if not self._weather.is_fair else QUOTE_S * 5)
            self._prices.move(self._exchange.venue.floor, self._loop.wall(), symbols[index % len(symbols)])
            index += 1

    def _trader(self, name: str) -> Trader:
        notes = Notebook(name, self._history)
        return Trader(name, self._doors, notes, self._prices, Random(self._random.random()))

    def _listener(self, name: str | None) -> Listener:
        notes = Notebook(f"{name or 'account'}-stream", self._history)
        return Listener(name, self._doors, notes, Random(self._random.random()))


class SimulatedModule(Module):
    """The container's outside, simulated."""

    def __init__(
        self,
        journal: LifeJournal,
        states: LifeStates,
        baselines: LifeBaselines,
        road: Road,
        feed: FeedRoad,
        market_data: MarketDataRepository,
        prices: Prices,
        loop: VirtualLoop,
    ) -> None:
        self._journal = journal
        self._states = states
        self._baselines = baselines
        self._road = road
        self._feed = feed
        self._market_data = market_data
        self._prices = prices
        self._clocks = Clocks(loop.wall, loop.time, asyncio.sleep)

    def configure(self, binder: Binder) -> None:
        """Bind what is outside."""
        bind: Callable[..., None] = binder.bind
        bind(Clocks, to=InstanceProvider(self._clocks))
        bind(OrderJournal, to=InstanceProvider(self._journal))
        bind(TradingStateStore, to=InstanceProvider(self._states))
        bind(PositionBaselineStore, to=InstanceProvider(self._baselines))
        bind(TradingRepository, to=InstanceProvider(self._road))
        bind(AccountRepository, to=InstanceProvider(self._road))
        bind(MarketDataRepository, to=InstanceProvider(self._market_data))
        bind(StreamingRepository, to=InstanceProvider(self._feed))
        bind(QuoteService, to=InstanceProvider(self._prices))


def _fees(exchange: SimulatedExchange) -> list[Activity]:
    """Every fee in kind or in dollars, oldest first."""
    found: list[Activity] = []
    while True:
        token = found[-1].activity_id if found else None
        page = exchange.activities(types=["CFEE"], direction="asc", page_size=FEES_PAGE, page_token=token)
        found += page
        if len(page) < FEES_PAGE:
            return found


def _bytes(value: object) -> str:
    assert isinstance(value, bytes)
    return value.hex()
