"""What is known of orders: the owner of their state, what feeds it and who reads it."""

from __future__ import annotations

from injector import Module, provider, singleton

from gateway.application.fill_log import FillLog
from gateway.application.order_feed import OrderFeed
from gateway.application.order_manager import OrderManager
from gateway.application.order_retention import OrderRetention, Retention
from gateway.application.order_timeline import OrderTimelines
from gateway.application.order_updates import OrderUpdates
from gateway.application.owned_tasks import OwnedTasks
from gateway.application.venue_calls import VenueCalls
from gateway.config import Settings
from gateway.container.settings import Clocks
from gateway.domain.interfaces import OrderJournal
from gateway.telemetry import Telemetry


class OrdersModule(Module):
    """The journal's projection and its readers."""

    @provider
    @singleton
    def tasks(self) -> OwnedTasks:
        """What goes on when its caller has gone."""
        return OwnedTasks()

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
    def order_retention(
        self, orders: OrderManager, journal: OrderJournal, settings: Settings, clocks: Clocks
    ) -> OrderRetention:
        """What leaves memory."""
        retention = Retention(settings.journal_events_days, settings.journal_events_max, settings.archive_days)
        return OrderRetention(orders, journal, clocks.wall, clocks.sleep, retention)

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
