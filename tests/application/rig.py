"""The application room on a venue in process: real services, a clock that the test moves, and answers that get lost."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from gateway.application.alarms import Alarms
from gateway.application.cancellations import Cancellations
from gateway.application.commands import Submitted
from gateway.application.key_desk import KeyDesk
from gateway.application.kill_switch import KillSwitch
from gateway.application.lookups import Lookups
from gateway.application.order_feed import OrderFeed
from gateway.application.order_manager import OrderManager
from gateway.application.order_updates import OrderUpdates
from gateway.application.outcome_resolver import OutcomeResolver
from gateway.application.owned_tasks import OwnedTasks
from gateway.application.position_check import PositionCheck
from gateway.application.reconciler import Reconciler
from gateway.application.replacement_outcomes import ReplacementOutcomes
from gateway.application.replacements import Replacements
from gateway.application.risk_manager import RiskManager
from gateway.application.submissions import Submissions
from gateway.application.trading_engine import TradingEngine
from gateway.application.trading_state import TradingStates
from gateway.application.venue_calls import VenueCalls
from gateway.application.venue_readings import VenueReadings
from gateway.application.workflows import TradingWorkflow
from gateway.application.zombie_watch import ZombieWatch
from gateway.domain.interfaces import OrderJournal
from gateway.domain.models.market_data import Quote
from gateway.domain.models.orders import Order, OrderChanges, OrderRef, OrderRequest, OrderSpec, VenueOrder
from gateway.domain.models.risk import CancelAnswer
from gateway.domain.types import NANOS_PER_SECOND, CallContext, Caller, DataFeed, OnZombie
from gateway.emulator.exchange import ExchangeConfig, SimulatedExchange, make_assets
from gateway.emulator.floor import TradingFloor
from gateway.emulator.in_process import InProcessVenue
from gateway.infrastructure.persistence.memory_journal import MemoryJournal
from gateway.infrastructure.persistence.memory_trading_states import MemoryTradingStates
from gateway.infrastructure.persistence.position_baselines import MemoryPositionBaselines
from gateway.services.account import AccountService, BalanceService
from gateway.services.cache import CacheService
from gateway.services.lookup_pace import LookupPace
from gateway.services.recovery import ErrorService
from gateway.services.reference import AssetService, MarketCalendarService
from gateway.services.trading import OrderService, PositionService
from gateway.services.validation import ValidationService
from tests.emulator.exchange.desk import instant

START_NS = instant("2024-01-03 10:00")
SYMBOLS = ("AAPL", "MSFT", "BTC/USD")
SUBMIT_WAIT_MS = 60


async def settle(turns: int = 60) -> None:
    """Let everything run that can run without time passing."""
    for _ in range(turns):
        await asyncio.sleep(0)


class Clock:
    """Wall and monotonic time that only a test moves."""

    def __init__(self, start_ns: int = START_NS) -> None:
        self.now_ns = start_ns
        self._started_ns = start_ns
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._count = itertools.count()

    def wall(self) -> int:
        return self.now_ns

    def monotonic(self) -> float:
        return (self.now_ns - self._started_ns) / NANOS_PER_SECOND

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        due = self.now_ns + int(seconds * NANOS_PER_SECOND)
        heapq.heappush(self._sleepers, (due, next(self._count), future))
        await future

    async def advance(self, seconds: float) -> None:
        """Move time from one sleeper to the next, letting each do what it slept for."""
        until = self.now_ns + int(seconds * NANOS_PER_SECOND)
        await settle()
        while self._sleepers and self._sleepers[0][0] <= until:
            due, _, future = heapq.heappop(self._sleepers)
            self.now_ns = max(self.now_ns, due)
            if not future.done():
                future.set_result(None)
                await settle()
        self.now_ns = until
        await settle()


class QuietMarket:
    """A market that says nothing by itself: a test quotes."""

    symbols = SYMBOLS

    def open(self, now_ns: int) -> None: ...

    def start(self, now_ns: int) -> None: ...

    def events(self, after_ns: int, until_ns: int) -> Any:
        return iter(())

    def quote_at(self, symbol: str, time_ns: int) -> None:
        return None

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


class Trouble:
    """TradingRepository between the gateway and the venue: what is told to go wrong goes wrong, once each.

    Attributes:
        before: Raised instead of asking the venue.
        after: Raised after the venue has done it: the answer is lost.
        posts: The ids of every order that reached the venue, in order.
    """

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.before: list[BaseException | None] = []
        self.after: list[BaseException | None] = []
        self.hang: asyncio.Event | None = None
        self.blind_lookups = 0
        self.posts: list[str] = []
        self.patches: list[tuple[str, OrderChanges]] = []
        self.deletes: list[str] = []
        self.cancel_alls = 0
        self.cancel_all_errors: list[BaseException] = []
        self.lookups = 0

    async def submit_order(self, context: CallContext, venue_client_order_id: str, spec: OrderSpec) -> VenueOrder:
        self._raise(self.before)
        self.posts.append(venue_client_order_id)
        answer = await self._inner.submit_order(context, venue_client_order_id, spec)
        if self.hang is not None:
            await self.hang.wait()
        self._raise(self.after)
        return answer  # type: ignore[no-any-return]

    async def replace_order(
        self, context: CallContext, venue_order_id: str, venue_client_order_id: str, changes: OrderChanges
    ) -> VenueOrder:
        self._raise(self.before)
        self.patches.append((venue_client_order_id, changes))
        answer = await self._inner.replace_order(context, venue_order_id, venue_client_order_id, changes)
        self._raise(self.after)
        return answer  # type: ignore[no-any-return]

    async def cancel_order(self, context: CallContext, venue_order_id: str) -> None:
        self.deletes.append(venue_order_id)
        self._raise(self.before)
        await self._inner.cancel_order(context, venue_order_id)

    async def cancel_all_orders(self, context: CallContext) -> list[CancelAnswer]:
        self.cancel_alls += 1
        await settle()  # the venue is never as fast as the journal
        if self.cancel_all_errors:
            raise self.cancel_all_errors.pop(0)
        return await self._inner.cancel_all_orders(context)  # type: ignore[no-any-return]

    async def find_order(self, context: CallContext, venue_client_order_id: str) -> VenueOrder | None:
        self.lookups += 1
        if self.blind_lookups:
            self.blind_lookups -= 1
            return None
        return await self._inner.find_order(context, venue_client_order_id)  # type: ignore[no-any-return]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def _raise(self, errors: list[BaseException | None]) -> None:
        error = errors.pop(0) if errors else None
        if error is not None:
            raise error


class Prices:
    """PriceSource from what the test quoted."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.quotes: dict[str, Quote] = {}

    async def reference_price(self, symbol: str, call: CallContext) -> Quote | None:
        return self.quotes.get(symbol)


class Gateway:
    """One life of the application room."""

    def __init__(self, venue: InProcessVenue, trading: Any, prices: Prices, clock: Clock, **settings: Any) -> None:
        wall, monotonic, sleep = clock.wall, clock.monotonic, clock.sleep
        self.settings = settings
        self.journal: OrderJournal = settings.get("journal") or MemoryJournal()
        errors = ErrorService(wall, monotonic, sleep)
        cache = CacheService(monotonic)
        self.tasks = OwnedTasks()
        self.states = TradingStates(
            settings.get("state_store") or MemoryTradingStates(),
            self.tasks,
            wall,
            lambda: settings.get("kill_file", False),
        )
        self.orders = OrderManager(self.journal, wall, settings.get("orders_max", 10_000))
        self.alarms = Alarms(self.states, self.tasks)
        self.orders.news.on_unheard = self.alarms.tell_deaf
        self.feed = OrderFeed(self.orders, wall, sleep)
        self.assets = AssetService(venue.market_data, cache, errors, monotonic)
        self.positions = PositionService(venue.account, cache, errors, wall, monotonic)
        self.balances = BalanceService(AccountService(venue.account, cache, errors), monotonic)
        service = OrderService(trading, venue.account, errors)
        calls = VenueCalls(monotonic)
        validation = ValidationService()
        self.risk = RiskManager(self.orders, self.balances, self.positions, prices, self.tasks, monotonic)
        self.desk = KeyDesk(self.orders, self.tasks, monotonic, settings.get("submit_wait_ms", SUBMIT_WAIT_MS))
        readings = VenueReadings(service, calls)
        pace = LookupPace(lambda: settings.get("requests_per_minute", 0), monotonic)
        calendar = MarketCalendarService(venue.market_data, cache, errors)
        lookups = Lookups(service, readings, calendar, pace, calls, self.tasks, wall, monotonic, sleep)
        self.resolver = OutcomeResolver(
            self.orders, self.feed, service, lookups, self.alarms, calls, self.tasks, wall, monotonic, sleep
        )
        submissions = Submissions(
            self.orders, self.feed, service, self.assets, calendar, validation, self.risk, errors, self.resolver,
            self.states, self.alarms, calls, wall, monotonic,
        )  # fmt: skip
        self.cancellations = cancellations = Cancellations(
            self.orders, service, self.resolver, self.states, calls, self.tasks, wall, sleep
        )
        outcomes = ReplacementOutcomes(
            self.orders, self.feed, self.risk, self.resolver, self.alarms, self.tasks, wall, monotonic, sleep
        )
        replacements = Replacements(
            self.orders, self.feed, service, self.assets, calendar, validation, self.risk, errors, self.resolver,
            outcomes, cancellations, self.states, self.alarms, calls, self.tasks, wall, monotonic,
        )  # fmt: skip
        self.baselines = settings.get("baselines") or MemoryPositionBaselines()
        self.holdings = PositionCheck(self.journal, self.baselines, self.alarms, monotonic)
        zombies = ZombieWatch(
            self.orders, cancellations, self.alarms, self.tasks, monotonic, settings.get("on_zombie", OnZombie.CANCEL)
        )
        self.reconciler = Reconciler(
            self.orders, self.feed, readings, self.positions, self.balances, cancellations,
            self.holdings, zombies, self.alarms, calls, wall, monotonic, sleep, settings.get("is_journal_kept", False),
        )  # fmt: skip
        self.updates = OrderUpdates(self.orders, self.feed, wall)
        self.kill = KillSwitch(
            self.states, self.orders, service, cancellations, self.reconciler, calls, self.tasks, sleep
        )
        self.engine = TradingEngine(
            self.orders, self.desk, submissions, replacements, cancellations, self.resolver, self.feed,
            self.reconciler, self.updates, self.states, self.kill, self.alarms, venue.streaming, self.tasks,
            wall, monotonic,
        )  # fmt: skip
        self.workflow = TradingWorkflow(
            self.engine, self.desk, self.orders, self.positions, self.assets, calendar, wall, monotonic
        )


class Rig:
    """A venue, its clock, and a gateway on it."""

    def __init__(self, config: ExchangeConfig | None = None, **settings: Any) -> None:
        self.clock = Clock()
        self.exchange = SimulatedExchange(config or ExchangeConfig(), make_assets(SYMBOLS), START_NS)
        self.floor = TradingFloor(self.exchange, QuietMarket(), self.clock.wall)  # type: ignore[arg-type]
        self.venue = InProcessVenue(self.floor, self.clock.wall)
        self.trouble = Trouble(self.venue.trading)
        self.prices = Prices(self.clock)
        self.settings = settings
        self.gateway = self.new_gateway()

    def new_gateway(self) -> Gateway:
        return Gateway(self.venue, self.trouble, self.prices, self.clock, **self.settings)

    async def start(self) -> Rig:
        self.quote("AAPL", 99.99, 100.0)
        self.quote("MSFT", 199.99, 200.0)
        self.quote("BTC/USD", 49_990.0, 50_000.0, 10.0)
        await self.gateway.engine.start()
        await settle()
        assert self.gateway.feed.is_live
        return self

    async def stop(self) -> None:
        await self.gateway.engine.stop(0)

    async def restart(self) -> None:
        """The gateway dies and comes back; its journal is gone, the venue is not."""
        await self.stop()
        self.gateway = self.new_gateway()
        await self.gateway.engine.start()
        await settle()

    def quote(self, symbol: str, bid: float, ask: float, size: float = 1_000.0) -> None:
        now_ns = self.clock.now_ns
        self.prices.quotes[symbol] = Quote(symbol, now_ns, bid, size, ask, size, DataFeed.SIP, now_ns)
        self.exchange.on_quote(now_ns, symbol, bid, size, ask, size)
        self.floor.publish_updates()

    def call(self, timeout_s: float = 30.0) -> CallContext:
        return CallContext(Caller(), self.clock.monotonic() + timeout_s)

    def request(self, key: str, spec: OrderSpec, strategy_id: str = "default", valid_s: float = 5.0) -> OrderRequest:
        return OrderRequest(strategy_id, key, spec, self.clock.now_ns + int(valid_s * NANOS_PER_SECOND))

    async def submit(self, key: str, spec: OrderSpec, **fields: Any) -> Submitted:
        timeout_s = fields.pop("timeout_s", 30.0)
        return await self.gateway.engine.submit(self.request(key, spec, **fields), self.call(timeout_s))

    def order(self, key: str, strategy_id: str = "default") -> Order:
        return self.gateway.orders.get(OrderRef(client_order_id=key, strategy_id=strategy_id))

    def events(self) -> list[str]:
        return [event.kind.value for event in self.gateway.journal.read(0, 100_000)]

    def kinds(self, key: str) -> list[str]:
        order_id = self.order(key).order_id
        return [event.kind.value for event in self.gateway.journal.read(0, 100_000) if event.order_id == order_id]


async def until(condition: Callable[[], bool], turns: int = 2_000) -> None:
    """Let the loop run until something is so."""
    for _ in range(turns):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to be")


def dollars(value: str) -> Decimal:
    return Decimal(value)
