"""The way out: Alpaca's adapters, whatever the address, and what every request of theirs asks first."""

from __future__ import annotations

from injector import Module, provider, singleton

from gateway.application.trading_state import TradingStates
from gateway.application.venue_gate import VenueGate
from gateway.config import Settings
from gateway.container.settings import Clocks
from gateway.domain.interfaces import (
    AccountRepository,
    MarketDataRepository,
    OrderJournal,
    RequestGate,
    StreamingRepository,
    TradingRepository,
)
from gateway.domain.types import Venue
from gateway.infrastructure.alpaca.account_adapter import AccountAdapter
from gateway.infrastructure.alpaca.asset_table import AssetTable
from gateway.infrastructure.alpaca.clients import ClientConfig, ClientFactory
from gateway.infrastructure.alpaca.http import RestLimits
from gateway.infrastructure.alpaca.market_data_adapter import MarketDataAdapter
from gateway.infrastructure.alpaca.streaming_adapter import StreamingAdapter
from gateway.infrastructure.alpaca.trading_adapter import TradingAdapter
from gateway.services.request_budget import RequestBudget


class VenueModule(Module):
    """The four repositories and the gate before them."""

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
    def client_factory(self, settings: Settings, gate: RequestGate, journal: OrderJournal) -> ClientFactory:
        """Clients, threads and pools of one venue."""
        return ClientFactory(client_config(settings), gate, requests=journal.requests)

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
        return StreamingAdapter(factory, clocks.wall, monotonic=clocks.monotonic)


def client_config(settings: Settings) -> ClientConfig:
    """Where the adapters are pointed. An emulator is never sent the account's own keys.

    Raises:
        ValueError: The venue's address is none, or paper has no keys.
    """
    limits = RestLimits(
        settings.venue_connect_timeout_ms, settings.venue_read_timeout_ms, threads=settings.venue_threads
    )
    if settings.venue is Venue.EMULATOR:
        key, secret = settings.emulator_key.get_secret_value(), settings.emulator_secret.get_secret_value()
        return ClientConfig.emulator(settings.venue_url, limits, key, secret)
    if settings.venue is Venue.PAPER:
        return ClientConfig.paper(settings.api_key.get_secret_value(), settings.api_secret.get_secret_value(), limits)
    raise ValueError(f"venue {settings.venue} is not served by this build")
