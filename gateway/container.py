"""The wiring: which class stands behind which interface. The only file that knows injector.

One provider per class, everything a singleton, resolved once at start and never per call. Later modules win:
tests and benchmarks append one that binds other repositories or clocks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib import metadata

from injector import Binder, Injector, Module, provider, singleton

from gateway.application.account_guard import AccountGuard
from gateway.application.alarms import Alarms
from gateway.application.cancellations import Cancellations
from gateway.application.fill_log import FillLog
from gateway.application.key_desk import KeyDesk
from gateway.application.kill_switch import KillSwitch
from gateway.application.kill_watch import KillWatch
from gateway.application.order_feed import OrderFeed
from gateway.application.order_manager import OrderManager
from gateway.application.order_retention import OrderRetention, Retention
from gateway.application.order_timeline import OrderTimelines
from gateway.application.order_updates import OrderUpdates
from gateway.application.outcome_resolver import OutcomeResolver
from gateway.application.owned_tasks import OwnedTasks
from gateway.application.position_check import PositionCheck
from gateway.application.reconciler import Reconciler
from gateway.application.replacements import Replacements
from gateway.application.risk_manager import RiskManager
from gateway.application.submissions import Submissions
from gateway.application.trading_engine import TradingEngine
from gateway.application.trading_state import TradingStates
from gateway.application.venue_calls import VenueCalls
from gateway.application.venue_gate import VenueGate
from gateway.application.venue_readings import VenueReadings
from gateway.application.workflows import TradingWorkflow
from gateway.application.zombie_watch import ZombieWatch
from gateway.config import Settings
from gateway.domain.interfaces import (
    AccountRepository,
    MarketDataRepository,
    OrderJournal,
    PositionBaselineStore,
    RequestGate,
    StreamingRepository,
    TradingRepository,
    TradingStateStore,
    VenueControl,
)
from gateway.domain.types import Venue
from gateway.infrastructure.alpaca.account_adapter import AccountAdapter
from gateway.infrastructure.alpaca.asset_table import AssetTable
from gateway.infrastructure.alpaca.clients import ClientConfig, ClientFactory
from gateway.infrastructure.alpaca.market_data_adapter import MarketDataAdapter
from gateway.infrastructure.alpaca.streaming_adapter import StreamingAdapter
from gateway.infrastructure.alpaca.trading_adapter import TradingAdapter
from gateway.infrastructure.emulator_control import EmulatorControl
from gateway.infrastructure.kill_file import KillFile
from gateway.infrastructure.persistence.stores import Stores, open_stores
from gateway.servicers.account import AccountServicer
from gateway.servicers.frames import FrameEncoder
from gateway.servicers.market_data import MarketDataServicer
from gateway.servicers.reference import ReferenceDataServicer
from gateway.servicers.risk import RiskServicer
from gateway.servicers.server import GatewayServer, ServerOptions, Servicers
from gateway.servicers.simulation import SimulationServicer
from gateway.servicers.trading import TradingServicer
from gateway.services.account import AccountService, BalanceService
from gateway.services.cache import CacheService
from gateway.services.latest_reads import LatestReads
from gateway.services.market_data import PriceService, QuoteService
from gateway.services.recovery import ErrorService
from gateway.services.reference import AssetService, MarketCalendarService
from gateway.services.request_budget import RequestBudget
from gateway.services.streaming import StreamingService, StreamLimits
from gateway.services.trading import OrderService, PositionService
from gateway.services.validation import ValidationService
from gateway.telemetry import Telemetry, TelemetryOptions

__all__ = ["Clocks", "Module", "build", "client_config"]


@dataclass(frozen=True, slots=True)
class Clocks:
    """Time, as everything here is given it.

    Attributes:
        wall: Nanoseconds since the Unix epoch.
        monotonic: Seconds, the clock of deadlines.
        sleep: Seconds.
    """

    wall: Callable[[], int] = time.time_ns
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class SettingsModule(Module):
    """What is given: settings and clocks."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def configure(self, binder: Binder) -> None:
        """Bind both."""
        binder.bind(Settings, to=self._settings)
        binder.bind(Clocks, to=Clocks())

    @provider
    @singleton
    def telemetry(self, settings: Settings) -> Telemetry:
        """Spans and metrics."""
        options = TelemetryOptions(settings.otlp_endpoint, service_version=metadata.version("trading-gateway"))
        return Telemetry.from_options(options)


class VenueModule(Module):
    """The way out: Alpaca's adapters, whatever the address."""

    @provider
    @singleton
    def request_budget(self, settings: Settings, clocks: Clocks) -> RequestBudget:
        """The venue's requests a minute."""
        return RequestBudget(settings.venue_requests_per_minute, clocks.wall, clocks.monotonic)

    @provider
    @singleton
    def request_gate(self, budget: RequestBudget, states: TradingStates) -> RequestGate:
        """What the adapters ask."""
        return VenueGate(budget, states)

    @provider
    @singleton
    def client_factory(self, settings: Settings, gate: RequestGate) -> ClientFactory:
        """Clients, threads and pools of one venue."""
        return ClientFactory(client_config(settings), gate)

    @provider
    @singleton
    def trading(self, factory: ClientFactory) -> TradingRepository:
        """Orders."""
        return TradingAdapter(factory)

    @provider
    @singleton
    def market_data(self, factory: ClientFactory, clocks: Clocks) -> MarketDataRepository:
        """Market and reference data."""
        return MarketDataAdapter(factory, clocks.wall)

    @provider
    @singleton
    def asset_table(self, repository: MarketDataRepository, clocks: Clocks) -> AssetTable:
        """Asset ids → symbols."""
        return AssetTable(repository.list_assets, clocks.monotonic)

    @provider
    @singleton
    def account(self, factory: ClientFactory, assets: AssetTable, clocks: Clocks) -> AccountRepository:
        """The account."""
        return AccountAdapter(factory, assets, clocks.wall)

    @provider
    @singleton
    def streaming(self, factory: ClientFactory, clocks: Clocks) -> StreamingRepository:
        """Sockets."""
        return StreamingAdapter(factory, clocks.wall)

    @provider
    @singleton
    def stores(self, settings: Settings, clocks: Clocks) -> Stores:
        """What the data directory keeps."""
        return open_stores(settings.data_dir, clocks.wall(), settings.journal_events_max)

    @provider
    @singleton
    def journal(self, stores: Stores) -> OrderJournal:
        """What happened to orders."""
        return stores.journal

    @provider
    @singleton
    def position_baselines(self, stores: Stores) -> PositionBaselineStore:
        """What the account held when its fills began to be counted."""
        return stores.position_baselines

    @provider
    @singleton
    def kill_file(self, settings: Settings) -> KillFile:
        """The file that stops everything."""
        return KillFile(settings.data_dir)

    @provider
    @singleton
    def trading_state_store(self, stores: Stores) -> TradingStateStore:
        """The account's modes."""
        return stores.trading_states


class ServiceModule(Module):
    """One noun each."""

    @provider
    @singleton
    def cache(self, clocks: Clocks) -> CacheService:
        """Time-bounded reads."""
        return CacheService(clocks.monotonic)

    @provider
    @singleton
    def errors(self, clocks: Clocks) -> ErrorService:
        """What is tried again."""
        return ErrorService(clocks.wall, clocks.monotonic, clocks.sleep)

    @provider
    @singleton
    def validation(self) -> ValidationService:
        """The closed table of legal orders."""
        return ValidationService()

    @provider
    @singleton
    def assets(
        self, repository: MarketDataRepository, cache: CacheService, errors: ErrorService, clocks: Clocks
    ) -> AssetService:
        """What can be traded."""
        return AssetService(repository, cache, errors, clocks.monotonic)

    @provider
    @singleton
    def calendar(
        self, repository: MarketDataRepository, cache: CacheService, errors: ErrorService
    ) -> MarketCalendarService:
        """When."""
        return MarketCalendarService(repository, cache, errors)

    @provider
    @singleton
    def accounts(
        self, repository: AccountRepository, cache: CacheService, errors: ErrorService, settings: Settings
    ) -> AccountService:
        """The account."""
        return AccountService(repository, cache, errors, settings.default_staleness_ms)

    @provider
    @singleton
    def balances(self, accounts: AccountService, clocks: Clocks) -> BalanceService:
        """Buying power less orders in flight."""
        return BalanceService(accounts, clocks.monotonic)

    @provider
    @singleton
    def orders(self, repository: TradingRepository, accounts: AccountRepository, errors: ErrorService) -> OrderService:
        """Orders at the venue."""
        return OrderService(repository, accounts, errors)

    @provider
    @singleton
    def positions(
        self,
        repository: AccountRepository,
        cache: CacheService,
        errors: ErrorService,
        settings: Settings,
        clocks: Clocks,
    ) -> PositionService:
        """What the account holds."""
        return PositionService(repository, cache, errors, clocks.wall, clocks.monotonic, settings.default_staleness_ms)

    @provider
    @singleton
    def streaming(
        self,
        streaming: StreamingRepository,
        market_data: MarketDataRepository,
        assets: AssetService,
        errors: ErrorService,
        settings: Settings,
        clocks: Clocks,
    ) -> StreamingService:
        """The quote corridor."""
        return StreamingService(
            streaming,
            market_data,
            assets,
            errors,
            FrameEncoder(),
            stock_feed=settings.stock_feed,
            wall=clocks.wall,
            monotonic=clocks.monotonic,
            limits=StreamLimits(settings.symbols_per_stream_max, settings.unread_values_max),
        )

    @provider
    @singleton
    def latest_reads(
        self,
        streaming: StreamingService,
        assets: AssetService,
        cache: CacheService,
        errors: ErrorService,
        settings: Settings,
        clocks: Clocks,
    ) -> LatestReads:
        """Newest values, from the stream or the venue."""
        return LatestReads(
            streaming,
            assets,
            cache,
            errors,
            stock_feed=settings.stock_feed,
            default_staleness_ms=settings.default_staleness_ms,
            wall=clocks.wall,
            monotonic=clocks.monotonic,
        )

    @provider
    @singleton
    def quotes(
        self,
        repository: MarketDataRepository,
        streaming: StreamingService,
        reads: LatestReads,
        settings: Settings,
        clocks: Clocks,
    ) -> QuoteService:
        """Latest quotes, vouched or not."""
        return QuoteService(
            repository,
            streaming,
            reads,
            stock_feed=settings.stock_feed,
            monotonic=clocks.monotonic,
            price_wait_ms=settings.reference_price_wait_ms,
        )

    @provider
    @singleton
    def prices(
        self,
        repository: MarketDataRepository,
        streaming: StreamingService,
        reads: LatestReads,
        errors: ErrorService,
        clocks: Clocks,
    ) -> PriceService:
        """Trades, bars, snapshots."""
        return PriceService(repository, streaming, reads, errors, wall=clocks.wall)


class ApplicationModule(Module):
    """Commands, and the owner of every order's state."""

    @provider
    @singleton
    def tasks(self) -> OwnedTasks:
        """What goes on when its caller has gone."""
        return OwnedTasks()

    @provider
    @singleton
    def trading_states(
        self, store: TradingStateStore, tasks: OwnedTasks, kill_file: KillFile, clocks: Clocks
    ) -> TradingStates:
        """The account's mode."""
        return TradingStates(store, tasks, clocks.wall, kill_file.is_present, kill_file.leave)

    @provider
    @singleton
    def kill_switch(
        self,
        states: TradingStates,
        orders: OrderManager,
        venue: OrderService,
        cancellations: Cancellations,
        reconciler: Reconciler,
        calls: VenueCalls,
        tasks: OwnedTasks,
        clocks: Clocks,
    ) -> KillSwitch:
        """Cancels everything."""
        return KillSwitch(states, orders, venue, cancellations, reconciler, calls, tasks, clocks.sleep)

    @provider
    @singleton
    def kill_watch(self, states: TradingStates, kill_file: KillFile, settings: Settings, clocks: Clocks) -> KillWatch:
        """Looks for the file KILL."""
        return KillWatch(states, kill_file.is_present, settings.kill_file_poll_ms, clocks.sleep)

    @provider
    @singleton
    def calls(self, clocks: Clocks) -> VenueCalls:
        """Contexts of the gateway's own requests."""
        return VenueCalls(clocks.monotonic)

    @provider
    @singleton
    def order_manager(self, journal: OrderJournal, settings: Settings, clocks: Clocks) -> OrderManager:
        """The one owner of an order's state."""
        return OrderManager(journal, clocks.wall, settings.orders_max)

    @provider
    @singleton
    def account_guard(
        self, stores: Stores, repository: AccountRepository, calls: VenueCalls, settings: Settings, clocks: Clocks
    ) -> AccountGuard:
        """Whose account this is."""
        return AccountGuard(stores.pins, repository, settings.venue, calls, stores.latch, clocks.sleep)

    @provider
    @singleton
    def order_retention(
        self, orders: OrderManager, journal: OrderJournal, settings: Settings, clocks: Clocks
    ) -> OrderRetention:
        """What leaves memory."""
        retention = Retention(settings.journal_events_days, settings.journal_events_max, settings.archive_days)
        return OrderRetention(orders, journal, clocks.wall, clocks.sleep, retention)

    @provider
    @singleton
    def order_feed(self, orders: OrderManager, clocks: Clocks) -> OrderFeed:
        """What the venue says of orders."""
        return OrderFeed(orders, clocks.wall, clocks.sleep)

    @provider
    @singleton
    def order_updates(
        self, orders: OrderManager, feed: OrderFeed, telemetry: Telemetry, clocks: Clocks
    ) -> OrderUpdates:
        """The readers of the journal."""
        updates = OrderUpdates(orders, feed, clocks.wall)
        telemetry.observe_order_lags(updates.lags)
        return updates

    @provider
    @singleton
    def fill_log(self, journal: OrderJournal) -> FillLog:
        """Executions by time."""
        return FillLog(journal)

    @provider
    @singleton
    def timelines(self, orders: OrderManager, journal: OrderJournal) -> OrderTimelines:
        """The story of an order."""
        return OrderTimelines(orders, journal)

    @provider
    @singleton
    def desk(self, orders: OrderManager, tasks: OwnedTasks, settings: Settings, clocks: Clocks) -> KeyDesk:
        """The key first."""
        return KeyDesk(orders, tasks, clocks.monotonic, settings.submit_wait_ms)

    @provider
    @singleton
    def risk(
        self,
        orders: OrderManager,
        balances: BalanceService,
        positions: PositionService,
        quotes: QuoteService,
        tasks: OwnedTasks,
        clocks: Clocks,
    ) -> RiskManager:
        """May this order go?"""
        return RiskManager(orders, balances, positions, quotes, tasks, clocks.monotonic)

    @provider
    @singleton
    def resolver(
        self,
        orders: OrderManager,
        feed: OrderFeed,
        venue: OrderService,
        alarms: Alarms,
        calls: VenueCalls,
        tasks: OwnedTasks,
        settings: Settings,
        clocks: Clocks,
    ) -> OutcomeResolver:
        """Orders whose answer was lost."""
        return OutcomeResolver(
            orders,
            feed,
            venue,
            alarms,
            calls,
            tasks,
            clocks.wall,
            clocks.monotonic,
            clocks.sleep,
            settings.settle_window_ms,
        )

    @provider
    @singleton
    def submissions(
        self,
        orders: OrderManager,
        feed: OrderFeed,
        venue: OrderService,
        assets: AssetService,
        calendar: MarketCalendarService,
        validation: ValidationService,
        risk: RiskManager,
        errors: ErrorService,
        resolver: OutcomeResolver,
        states: TradingStates,
        alarms: Alarms,
        calls: VenueCalls,
        settings: Settings,
        clocks: Clocks,
    ) -> Submissions:
        """From the checks to the venue's answer."""
        return Submissions(
            orders,
            feed,
            venue,
            assets,
            calendar,
            validation,
            risk,
            errors,
            resolver,
            states,
            alarms,
            calls,
            clocks.wall,
            clocks.monotonic,
            settings.submit_wait_ms,
        )

    @provider
    @singleton
    def cancellations(
        self,
        orders: OrderManager,
        venue: OrderService,
        resolver: OutcomeResolver,
        states: TradingStates,
        calls: VenueCalls,
        tasks: OwnedTasks,
        clocks: Clocks,
    ) -> Cancellations:
        """Cancels that are owed."""
        return Cancellations(orders, venue, resolver, states, calls, tasks, clocks.wall, clocks.sleep)

    @provider
    @singleton
    def replacements(
        self,
        orders: OrderManager,
        feed: OrderFeed,
        venue: OrderService,
        assets: AssetService,
        calendar: MarketCalendarService,
        validation: ValidationService,
        risk: RiskManager,
        errors: ErrorService,
        resolver: OutcomeResolver,
        cancellations: Cancellations,
        states: TradingStates,
        alarms: Alarms,
        calls: VenueCalls,
        tasks: OwnedTasks,
        settings: Settings,
        clocks: Clocks,
    ) -> Replacements:
        """New values for working orders."""
        return Replacements(
            orders,
            feed,
            venue,
            assets,
            calendar,
            validation,
            risk,
            errors,
            resolver,
            cancellations,
            states,
            alarms,
            calls,
            tasks,
            clocks.wall,
            clocks.monotonic,
            clocks.sleep,
            settings.settle_window_ms,
        )

    @provider
    @singleton
    def alarms(self, states: TradingStates, tasks: OwnedTasks) -> Alarms:
        """What an operator must see."""
        return Alarms(states, tasks)

    @provider
    @singleton
    def readings(self, venue: OrderService, calls: VenueCalls) -> VenueReadings:
        """What the venue says when it is asked."""
        return VenueReadings(venue, calls)

    @provider
    @singleton
    def position_check(
        self, journal: OrderJournal, store: PositionBaselineStore, alarms: Alarms, clocks: Clocks
    ) -> PositionCheck:
        """What must be held."""
        return PositionCheck(journal, store, alarms, clocks.monotonic)

    @provider
    @singleton
    def zombie_watch(
        self,
        orders: OrderManager,
        cancellations: Cancellations,
        alarms: Alarms,
        tasks: OwnedTasks,
        settings: Settings,
        clocks: Clocks,
    ) -> ZombieWatch:
        """What must not live."""
        return ZombieWatch(orders, cancellations, alarms, tasks, clocks.monotonic, settings.on_zombie)

    @provider
    @singleton
    def reconciler(
        self,
        orders: OrderManager,
        feed: OrderFeed,
        readings: VenueReadings,
        positions: PositionService,
        balances: BalanceService,
        cancellations: Cancellations,
        holdings: PositionCheck,
        zombies: ZombieWatch,
        alarms: Alarms,
        calls: VenueCalls,
        settings: Settings,
        clocks: Clocks,
    ) -> Reconciler:
        """The venue's truth against ours."""
        return Reconciler(
            orders,
            feed,
            readings,
            positions,
            balances,
            cancellations,
            holdings,
            zombies,
            alarms,
            calls,
            clocks.wall,
            clocks.monotonic,
            clocks.sleep,
            is_journal_kept=settings.data_dir is not None,
        )

    @provider
    @singleton
    def engine(
        self,
        orders: OrderManager,
        desk: KeyDesk,
        submissions: Submissions,
        replacements: Replacements,
        cancellations: Cancellations,
        resolver: OutcomeResolver,
        feed: OrderFeed,
        reconciler: Reconciler,
        updates: OrderUpdates,
        states: TradingStates,
        kill: KillSwitch,
        alarms: Alarms,
        streaming: StreamingRepository,
        tasks: OwnedTasks,
        clocks: Clocks,
    ) -> TradingEngine:
        """Every command about orders."""
        return TradingEngine(
            orders,
            desk,
            submissions,
            replacements,
            cancellations,
            resolver,
            feed,
            reconciler,
            updates,
            states,
            kill,
            alarms,
            streaming,
            tasks,
            clocks.wall,
            clocks.monotonic,
        )

    @provider
    @singleton
    def workflow(
        self,
        engine: TradingEngine,
        desk: KeyDesk,
        orders: OrderManager,
        positions: PositionService,
        assets: AssetService,
        calendar: MarketCalendarService,
        clocks: Clocks,
    ) -> TradingWorkflow:
        """Closing positions."""
        return TradingWorkflow(engine, desk, orders, positions, assets, calendar, clocks.wall, clocks.monotonic)


class ServerModule(Module):
    """The doors."""

    @provider
    @singleton
    def trading(
        self,
        engine: TradingEngine,
        workflow: TradingWorkflow,
        orders: OrderManager,
        updates: OrderUpdates,
        fills: FillLog,
        timelines: OrderTimelines,
        clocks: Clocks,
    ) -> TradingServicer:
        """TradingService."""
        return TradingServicer(engine, workflow, orders, updates, fills, timelines, clocks.wall)

    @provider
    @singleton
    def market_data(
        self, quotes: QuoteService, prices: PriceService, streaming: StreamingService
    ) -> MarketDataServicer:
        """MarketDataService."""
        return MarketDataServicer(quotes, prices, streaming)

    @provider
    @singleton
    def account(self, accounts: AccountService, positions: PositionService, assets: AssetService) -> AccountServicer:
        """AccountService."""
        return AccountServicer(accounts, positions, assets)

    @provider
    @singleton
    def reference(self, assets: AssetService, calendar: MarketCalendarService, clocks: Clocks) -> ReferenceDataServicer:
        """ReferenceDataService."""
        return ReferenceDataServicer(assets, calendar, clocks.wall)

    @provider
    @singleton
    def risk(self, states: TradingStates, kill: KillSwitch, clocks: Clocks) -> RiskServicer:
        """RiskService."""
        return RiskServicer(states, kill, clocks.monotonic)

    @provider
    @singleton
    def server(
        self,
        settings: Settings,
        trading: TradingServicer,
        market_data: MarketDataServicer,
        account: AccountServicer,
        reference: ReferenceDataServicer,
        risk: RiskServicer,
        telemetry: Telemetry,
        injector: Injector,
    ) -> GatewayServer:
        """The gRPC server."""
        simulation = injector.get(SimulationServicer) if settings.venue is Venue.EMULATOR else None
        options = ServerOptions(
            listen=settings.listen,
            request_bytes_max=settings.request_bytes_max,
            concurrent_rpcs_max=settings.concurrent_rpcs_max,
            streams_max=settings.streams_max,
            deadline_ms=settings.deadline_default_ms,
            write_blocked_ms=settings.stream_write_blocked_ms,
        )
        return GatewayServer(
            options,
            Servicers(trading, market_data, account, reference, risk, simulation),
            telemetry,
            key_is_taken=trading.key_is_taken,
        )


class SimulationModule(Module):
    """The emulator's other side. A part of the wiring only where the venue is the emulator."""

    @provider
    @singleton
    def control(self, settings: Settings) -> VenueControl:
        """Faults, and what really happened."""
        return EmulatorControl(settings.venue_url)

    @provider
    @singleton
    def simulation(self, control: VenueControl) -> SimulationServicer:
        """SimulationService."""
        return SimulationServicer(control)


def client_config(settings: Settings) -> ClientConfig:
    """Where the adapters are pointed. An emulator is never sent the account's own keys.

    Raises:
        ValueError: The venue's address is none, or paper has no keys.
    """
    timeouts = {
        "connect_timeout_ms": settings.venue_connect_timeout_ms,
        "read_timeout_ms": settings.venue_read_timeout_ms,
        "threads": settings.venue_threads,
    }
    if settings.venue is Venue.EMULATOR:
        key, secret = settings.emulator_key.get_secret_value(), settings.emulator_secret.get_secret_value()
        return ClientConfig.emulator(settings.venue_url, key, secret, **timeouts)
    if settings.venue is Venue.PAPER:
        return ClientConfig.paper(
            settings.api_key.get_secret_value(), settings.api_secret.get_secret_value(), **timeouts
        )
    raise ValueError(f"venue {settings.venue} is not served by this build")


def build(settings: Settings, *overrides: Module) -> Injector:
    """Everything, not yet started.

    Args:
        settings: With `venue_url` set when the venue is the emulator.
        overrides: Modules whose bindings win.
    """
    modules: list[Module] = [
        SettingsModule(settings),
        VenueModule(),
        ServiceModule(),
        ApplicationModule(),
        ServerModule(),
    ]
    if settings.venue is Venue.EMULATOR:
        modules.append(SimulationModule())
    return Injector([*modules, *overrides], auto_bind=False)
