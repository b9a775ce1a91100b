"""What stops trading and what checks it: modes, kill switch, alarms, the venue's truth against ours."""

from __future__ import annotations

from injector import Module, provider, singleton

from gateway.application.account_guard import AccountGuard
from gateway.application.alarms import Alarms
from gateway.application.cancellations import Cancellations
from gateway.application.kill_switch import KillSwitch
from gateway.application.kill_watch import KillWatch
from gateway.application.order_feed import OrderFeed
from gateway.application.order_manager import OrderManager
from gateway.application.owned_tasks import OwnedTasks
from gateway.application.position_check import PositionCheck
from gateway.application.reconciler import Reconciler
from gateway.application.trading_state import TradingStates
from gateway.application.venue_calls import VenueCalls
from gateway.application.venue_readings import VenueReadings
from gateway.application.zombie_watch import ZombieWatch
from gateway.config import Settings
from gateway.container.settings import Clocks
from gateway.domain.interfaces import AccountRepository, OrderJournal, PositionBaselineStore, TradingStateStore
from gateway.infrastructure.kill_file import KillFile
from gateway.infrastructure.persistence.stores import Stores
from gateway.services.account import BalanceService
from gateway.services.trading import OrderService, PositionService


class SafetyModule(Module):
    """Everything that may halt the account."""

    @provider
    @singleton
    def trading_states(
        self, store: TradingStateStore, tasks: OwnedTasks, kill_file: KillFile, clocks: Clocks
    ) -> TradingStates:
        """The account's mode."""
        return TradingStates(store, tasks, clocks.wall, kill_file.is_present, kill_file.leave)

    @provider
    @singleton
    def alarms(self, states: TradingStates, tasks: OwnedTasks, orders: OrderManager) -> Alarms:
        """What an operator must see."""
        alarms = Alarms(states, tasks)
        orders.news.on_unheard = alarms.tell_deaf
        return alarms

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
        return KillWatch(states, kill_file.look, settings.kill_file_poll_ms, clocks.sleep)

    @provider
    @singleton
    def account_guard(
        self, stores: Stores, repository: AccountRepository, calls: VenueCalls, settings: Settings, clocks: Clocks
    ) -> AccountGuard:
        """Whose account this is."""
        return AccountGuard(stores.pins, repository, settings.venue, calls, stores.latch, clocks.sleep)

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
