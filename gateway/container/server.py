"""The doors: one servicer per proto service, and the server that opens them."""

from __future__ import annotations

from injector import Injector, Module, provider, singleton

from gateway.application.fill_log import FillLog
from gateway.application.kill_switch import KillSwitch
from gateway.application.order_manager import OrderManager
from gateway.application.order_timeline import OrderTimelines
from gateway.application.order_updates import OrderUpdates
from gateway.application.trading_engine import TradingEngine
from gateway.application.trading_state import TradingStates
from gateway.application.workflows import TradingWorkflow
from gateway.config import Settings
from gateway.container.settings import Clocks
from gateway.domain.types import Venue
from gateway.servicers.account import AccountServicer
from gateway.servicers.identity import Doorkeeper
from gateway.servicers.market_data import MarketDataServicer
from gateway.servicers.operations import OperationsServicer
from gateway.servicers.reference import ReferenceDataServicer
from gateway.servicers.risk import RiskServicer
from gateway.servicers.server import GatewayServer, ServerOptions, Servicers
from gateway.servicers.simulation import SimulationServicer
from gateway.servicers.tls import Transport
from gateway.servicers.trading import TradingServicer
from gateway.services.account import AccountService
from gateway.services.audit import AuditService
from gateway.services.client_limits import ClientLimits
from gateway.services.history import HistoryService
from gateway.services.market_data import PriceService, QuoteService
from gateway.services.reference import AssetService, MarketCalendarService
from gateway.services.request_budget import RequestBudget
from gateway.services.streaming import StreamingService
from gateway.services.trading import PositionService
from gateway.telemetry import Telemetry


class ServerModule(Module):
    """Servicers and server."""

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
        audit: AuditService,
    ) -> TradingServicer:
        """TradingService."""
        return TradingServicer(engine, workflow, orders, updates, fills, timelines, clocks.wall, audit.count_refusal)

    @provider
    @singleton
    def market_data(
        self, quotes: QuoteService, prices: PriceService, history: HistoryService, streaming: StreamingService
    ) -> MarketDataServicer:
        """MarketDataService."""
        return MarketDataServicer(quotes, prices, history, streaming)

    @provider
    @singleton
    def account(
        self,
        accounts: AccountService,
        positions: PositionService,
        assets: AssetService,
        budget: RequestBudget,
        clients: ClientLimits,
    ) -> AccountServicer:
        """AccountService."""
        return AccountServicer(accounts, positions, assets, budget, clients)

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
        operations: OperationsServicer,
        doorkeeper: Doorkeeper,
        audit: AuditService,
        clients: ClientLimits,
        transport: Transport,
        injector: Injector,
    ) -> GatewayServer:
        """The gRPC server."""
        simulation = injector.get(SimulationServicer) if settings.venue is Venue.EMULATOR else None
        return GatewayServer(
            server_options(settings),
            Servicers(trading, market_data, account, reference, risk, operations, simulation),
            telemetry,
            key_is_taken=trading.key_is_taken,
            doorkeeper=doorkeeper,
            on_denial=audit.count_refusal,
            clients=clients,
            certificates=transport.certificates,
        )


def server_options(settings: Settings) -> ServerOptions:
    """The server that the settings ask for."""
    return ServerOptions(
        listen=settings.listen,
        request_bytes_max=settings.request_bytes_max,
        concurrent_rpcs_max=settings.concurrent_rpcs_max,
        streams_max=settings.streams_max,
        streams_per_connection_max=settings.streams_per_connection_max,
        connection_age_max_ms=settings.connection_age_max_ms,
        connection_age_grace_ms=settings.connection_age_grace_ms,
        deadline_ms=settings.deadline_default_ms,
        write_blocked_ms=settings.stream_write_blocked_ms,
    )
