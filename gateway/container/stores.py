"""What outlives the process: everything the data directory keeps."""

from __future__ import annotations

from injector import Module, provider, singleton

from gateway.config import Settings
from gateway.container.settings import Clocks
from gateway.domain.interfaces import OrderJournal, PositionBaselineStore, TradingStateStore
from gateway.infrastructure.kill_file import KillFile
from gateway.infrastructure.persistence.stores import Stores, open_stores


class StoresModule(Module):
    """One database, and a noun for each thing in it; beside it the file KILL."""

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
    def trading_state_store(self, stores: Stores) -> TradingStateStore:
        """The account's modes."""
        return stores.trading_states

    @provider
    @singleton
    def kill_file(self, settings: Settings) -> KillFile:
        """The file that stops everything."""
        return KillFile(settings.data_dir)
