"""A real aio server on a free port, its servicers over small fakes of the rooms behind them."""

from __future__ import annotations

import io
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import grpc
import pytest

from gateway.application.token_acts import TokenActs
from gateway.config import Settings
from gateway.container.server import server_options
from gateway.servicers.account import AccountServicer
from gateway.servicers.operations import OperationsServicer
from gateway.servicers.permissions import METHODS, MethodRule
from gateway.servicers.reference import ReferenceDataServicer
from gateway.servicers.risk import RiskServicer
from gateway.servicers.server import GatewayServer, ServerOptions, Servicers
from gateway.servicers.simulation import SimulationServicer
from gateway.servicers.trading import TradingServicer
from gateway.services.client_limits import ClientBounds, ClientLimits
from gateway.services.request_budget import RequestBudget
from gateway.telemetry import Telemetry, configure_logging
from tests.servicers.fake_control import FakeControl, audit_in_memory, identity_in_memory
from tests.servicers.fakes import NOW_NS, Rooms, SilentMarketData

Serve = Callable[..., Awaitable[grpc.aio.Channel]]


def servicers_over(rooms: Rooms, control: FakeControl | None = None, clients: ClientLimits | None = None) -> Servicers:
    """The real servicers, with a wall clock that stands still."""
    identity = identity_in_memory()
    return Servicers(
        trading=TradingServicer(
            rooms.engine,
            rooms.workflow,
            rooms.orders,
            rooms.updates,
            rooms.fills,
            rooms.timelines,
            lambda: NOW_NS,
        ),
        market_data=SilentMarketData(rooms.frames),
        account=AccountServicer(
            rooms.accounts,
            rooms.positions,
            rooms.assets,
            RequestBudget(200, lambda: NOW_NS, lambda: 0.0),
            clients or ClientLimits(ClientBounds(), lambda: 0.0, lambda: NOW_NS),
        ),
        reference=ReferenceDataServicer(rooms.assets, rooms.calendar, lambda: NOW_NS),
        risk=RiskServicer(rooms.states, rooms.kill),
        operations=OperationsServicer(identity, TokenActs(identity, audit_in_memory())),
        simulation=SimulationServicer(control or FakeControl(), audit_in_memory()),
    )


class Served:
    """One running server and what is behind it."""

    def __init__(self, server: GatewayServer, rooms: Rooms, address: str) -> None:
        self.server = server
        self.rooms = rooms
        self.address = address
        self.channels: list[grpc.aio.Channel] = []

    def channel(self, *options: tuple[str, int]) -> grpc.aio.Channel:
        """A connection of its own."""
        channel = grpc.aio.insecure_channel(self.address, options=[("grpc.use_local_subchannel_pool", 1), *options])
        self.channels.append(channel)
        return channel


def shipped(**changed: Any) -> ServerOptions:
    """The options of a gateway without any setting, on a free port; but for what a test changes."""
    return replace(server_options(Settings(listen="127.0.0.1:0")), **changed)


@pytest.fixture
def log() -> io.StringIO:
    """What the gateway logs, as JSON lines."""
    stream = io.StringIO()
    configure_logging("info", "json", stream)
    return stream


@pytest.fixture
def rooms() -> Rooms:
    """Fakes of application and services; tests change what they answer."""
    return Rooms()


@pytest.fixture
def simulation_control() -> FakeControl:
    """The emulator's other side."""
    return FakeControl()


@pytest.fixture
async def serve(
    rooms: Rooms, simulation_control: FakeControl, log: io.StringIO
) -> AsyncIterator[Callable[..., Awaitable[Served]]]:
    """Starts servers: `await serve(streams_max=1)`; keywords are ServerOptions', besides the first three."""
    running: list[Served] = []

    async def start(
        telemetry: Telemetry | None = None,
        rules: dict[str, MethodRule] | None = None,
        clients: ClientLimits | None = None,
        **options: int | str,
    ) -> Served:
        wanted = shipped(**{"stop_grace_ms": 200, **options})
        clients = clients or ClientLimits(ClientBounds(), time.monotonic, time.time_ns)
        servicers = servicers_over(rooms, simulation_control, clients)
        table = METHODS if rules is None else rules
        server = GatewayServer(wanted, servicers, telemetry, table, servicers.trading.key_is_taken, clients=clients)
        served = Served(server, rooms, await server.start())
        running.append(served)
        return served

    yield start
    for served in running:
        for channel in served.channels:
            await channel.close()
        await served.server.stop()


@pytest.fixture
async def served(serve: Callable[..., Awaitable[Served]]) -> Served:
    """One server with the options that `serve` ships."""
    return await serve()


@pytest.fixture
def channel(served: Served) -> grpc.aio.Channel:
    """A connection to it."""
    return served.channel()
