"""What costs money: a command's way from its key to the venue's answer."""

from __future__ import annotations

from injector import Module, provider, singleton

from gateway.application.alarms import Alarms
from gateway.application.cancellations import Cancellations
from gateway.application.key_desk import KeyDesk
from gateway.application.kill_switch import KillSwitch
from gateway.application.lookups import Lookups
from gateway.application.order_feed import OrderFeed
from gateway.application.order_manager import OrderManager
from gateway.application.order_updates import OrderUpdates
from gateway.application.outcome_resolver import OutcomeResolver
from gateway.application.owned_tasks import OwnedTasks
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
from gateway.config import Settings
from gateway.container.settings import Clocks
from gateway.domain.interfaces import StreamingRepository
from gateway.services.account import BalanceService
from gateway.services.lookup_pace import LookupPace
from gateway.services.market_data import QuoteService
from gateway.services.recovery import ErrorService
from gateway.services.reference import AssetService, MarketCalendarService
from gateway.services.request_budget import RequestBudget
from gateway.services.trading import OrderService, PositionService
from gateway.services.validation import ValidationService


class CommandsModule(Module):
    """Submit, cancel, replace, close."""

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
    def lookups(
        self,
        venue: OrderService,
        readings: VenueReadings,
        calendar: MarketCalendarService,
        budget: RequestBudget,
        calls: VenueCalls,
        tasks: OwnedTasks,
        clocks: Clocks,
    ) -> Lookups:
        """The questions for them, at a pace that leaves the others room."""
        pace = LookupPace(lambda: budget.limit, clocks.monotonic)
        return Lookups(venue, readings, calendar, pace, calls, tasks, clocks.wall, clocks.monotonic, clocks.sleep)

    @provider
    @singleton
    def resolver(
        self,
        orders: OrderManager,
        feed: OrderFeed,
        venue: OrderService,
        lookups: Lookups,
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
            lookups,
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
    def replacement_outcomes(
        self,
        orders: OrderManager,
        feed: OrderFeed,
        risk: RiskManager,
        resolver: OutcomeResolver,
        alarms: Alarms,
        tasks: OwnedTasks,
        settings: Settings,
        clocks: Clocks,
    ) -> ReplacementOutcomes:
        """Replaces whose answer was lost."""
        return ReplacementOutcomes(
            orders,
            feed,
            risk,
            resolver,
            alarms,
            tasks,
            clocks.wall,
            clocks.monotonic,
            clocks.sleep,
            settings.settle_window_ms,
        )

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
        outcomes: ReplacementOutcomes,
        cancellations: Cancellations,
        states: TradingStates,
        alarms: Alarms,
        calls: VenueCalls,
        tasks: OwnedTasks,
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
            outcomes,
            cancellations,
            states,
            alarms,
            calls,
            tasks,
            clocks.wall,
            clocks.monotonic,
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
