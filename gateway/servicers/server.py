"""The gRPC server: services, health, reflection, limits, where it may listen, and how it ends.

Beyond loopback it serves nobody in plain text or without a token (`exposure.py`), and it refuses a port that another
process holds: gRPC's default would share the port and take part of the other's connections without a word.
Starting and stopping what stands behind the servicers is for whoever wires them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from gateway.servicers.addresses import ServerRefused, bind, numeric_addresses
from gateway.servicers.denials import DenialListener
from gateway.servicers.doorway import Doorway
from gateway.servicers.exposure import check_exposure
from gateway.servicers.identity import Doorkeeper
from gateway.servicers.interceptors import DoorLimits, Doors
from gateway.servicers.permissions import METHODS, MethodRule, require_rules
from gateway.servicers.reflection import add_reflection
from gateway.servicers.tls import Certificates
from gateway.servicers.wire.requests import KeyIsTaken
from gateway.services.client_limits import WAITING_MAX, ClientLimits
from gateway.telemetry import Telemetry
from trading_gateway.v1 import (
    account_pb2_grpc,
    market_data_pb2_grpc,
    operations_pb2_grpc,
    reference_pb2_grpc,
    risk_pb2_grpc,
    simulation_pb2_grpc,
    trading_pb2_grpc,
)

REQUEST_WINDOW_BYTES: Final = 32_768
"""Of one call, read ahead of who serves it: what a stream of commands sends faster than they are done. gRPC would let
it grow to megabytes with the speed of the client."""
RAW_METHODS: Final = "RAW_METHODS"
"""A servicer class's set of method names whose answers are bytes already."""

_RICH_ERRORS: Final = error_details_pb2.DESCRIPTOR.name  # Imported so that reflection can decode error details.


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """Where the server listens, and its bounds; what has no default is a setting, and `config` has it.

    Attributes:
        listen: HOST:PORT, [V6]:PORT or unix:PATH; port 0 takes a free one.
        request_bytes_max, response_bytes_max: Of one message. Clients take 4 MiB by default.
        metadata_bytes_max: Of all headers of a call.
        concurrent_rpcs_max: Calls and streams at once, gRPC's own limit; beyond it even a cancel is refused. Refusals
            that wait to be told come on top.
        streams_max: Streams at once. What it leaves of concurrent_rpcs_max is for other calls.
        streams_per_connection_max: Calls and streams at once on one connection; more wait in the client.
        deadline_ms: For calls without a deadline, and the longest that one is honoured.
        write_blocked_ms: A stream whose reader takes nothing for so long is ended.
        keepalive_time_ms, keepalive_timeout_ms: When a silent connection is asked for a sign of life, and how
            long it has to answer.
        ping_interval_min_ms: A client that asks more often than this is sent away ("too many pings").
        request_wait_ms: A call whose request has not come whole by then gives its place back.
        handshake_max_ms: A connection that has not said by then what it speaks is closed: TLS, and HTTP/2's settings.
        idle_max_ms: A connection without calls is closed after so long.
        connection_age_max_ms: A connection is asked to end after so long, give or take a tenth, gRPC's own jitter.
        connection_age_grace_ms: What its calls and streams then still have.
        stop_grace_ms: What calls still running at the very end have.
    """

    listen: str
    request_bytes_max: int
    concurrent_rpcs_max: int
    streams_max: int
    streams_per_connection_max: int
    deadline_ms: int
    write_blocked_ms: int
    connection_age_max_ms: int
    connection_age_grace_ms: int
    response_bytes_max: int = 4 * 1024 * 1024
    metadata_bytes_max: int = 8 * 1024
    keepalive_time_ms: int = 20_000
    keepalive_timeout_ms: int = 10_000
    ping_interval_min_ms: int = 10_000
    handshake_max_ms: int = 10_000
    request_wait_ms: int = 9_000
    idle_max_ms: int = 600_000
    stop_grace_ms: int = 2_000

    def door_limits(self) -> DoorLimits:
        """The part of these bounds that the doors keep."""
        if self.streams_max >= self.concurrent_rpcs_max:
            raise ServerRefused("streams_max must be less than concurrent_rpcs_max, or streams could lock out cancels")
        return DoorLimits(
            deadline_ms=self.deadline_ms,
            # The last tenth is kept for cancels, and for calls with a known key; neither may wait in it.
            calls_max=max(1, (self.concurrent_rpcs_max - self.streams_max) * 9 // 10),
            streams_max=self.streams_max,
            write_blocked_ms=self.write_blocked_ms,
        )

    def channel_arguments(self) -> list[tuple[str, int]]:
        """As gRPC's core spells them."""
        return [
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", self.request_bytes_max),
            ("grpc.max_send_message_length", self.response_bytes_max),
            ("grpc.max_metadata_size", self.metadata_bytes_max),
            ("grpc.absolute_max_metadata_size", 2 * self.metadata_bytes_max),
            ("grpc.max_concurrent_streams", self.streams_per_connection_max),
            ("grpc.keepalive_time_ms", self.keepalive_time_ms),
            ("grpc.keepalive_timeout_ms", self.keepalive_timeout_ms),
            ("grpc.http2.min_ping_interval_without_data_ms", self.ping_interval_min_ms),
            ("grpc.http2.max_ping_strikes", 2),
            ("grpc.http2.bdp_probe", 0),
            ("grpc.http2.lookahead_bytes", REQUEST_WINDOW_BYTES),
            ("grpc.server_handshake_timeout_ms", self.handshake_max_ms),
            ("grpc.max_connection_idle_ms", self.idle_max_ms),
            ("grpc.max_connection_age_ms", self.connection_age_max_ms),
            ("grpc.max_connection_age_grace_ms", self.connection_age_grace_ms),
        ]


@dataclass(frozen=True, slots=True)
class Servicers:
    """One servicer for each service of the contract.

    Attributes:
        simulation: Where the venue is the emulator; None elsewhere, and then it is not registered.
    """

    trading: trading_pb2_grpc.TradingServiceServicer
    market_data: market_data_pb2_grpc.MarketDataServiceServicer
    account: account_pb2_grpc.AccountServiceServicer
    reference: reference_pb2_grpc.ReferenceDataServiceServicer
    risk: risk_pb2_grpc.RiskServiceServicer
    operations: operations_pb2_grpc.OperationsServiceServicer
    simulation: simulation_pb2_grpc.SimulationServiceServicer | None = None


class GatewayServer:
    """One server of one process.

    Args:
        options: Where it listens, and its bounds.
        servicers: What it serves.
        telemetry: Spans and metrics of its calls.
        rules: Method → its row of the permission table.
        key_is_taken: Whether an order holds the key of a request.
        doorkeeper: Knows who calls; None: everybody is `local`.
        on_denial: Told of every refusal of a caller, as `AuditService.count_refusal`.
        clients: What each client may; None: as `serve` ships it.
        certificates: What it serves with; None: plain text.
    """

    def __init__(
        self,
        options: ServerOptions,
        servicers: Servicers,
        telemetry: Telemetry | None = None,
        rules: Mapping[str, MethodRule] = METHODS,
        key_is_taken: KeyIsTaken = lambda _request: False,
        doorkeeper: Doorkeeper | None = None,
        on_denial: DenialListener | None = None,
        clients: ClientLimits | None = None,
        certificates: Certificates | None = None,
    ) -> None:
        self._options = options
        self._certificates = certificates
        self._waiting_max = clients.waiting_max if clients is not None else WAITING_MAX
        self._requires_token = doorkeeper is not None and doorkeeper.is_required
        self._servicers = servicers
        self._rules = rules
        self._doors = Doors(
            telemetry or Telemetry(), options.door_limits(), rules, key_is_taken, doorkeeper, on_denial, clients
        )
        self._health = health.aio.HealthServicer()
        self._server: grpc.aio.Server | None = None
        self._doorway: Doorway | None = None
        self._services: tuple[str, ...] = ()
        self._is_draining = False

    async def start(self) -> str:
        """Bind and serve; returns the address really bound, as 127.0.0.1:50051.

        Raises:
            ExposureRefused: Others could reach it in plain text, or without a token.
            AddressRefused: It is not this machine's, or not for this user.
            ServerRefused: The address is wrong, or taken.
            MethodWithoutPermission: A method has no row in the permission table.
        """
        listen, certificates = self._options.listen, self._certificates
        addresses = numeric_addresses(listen)
        check_exposure(
            addresses, listen=listen, has_tls=certificates is not None, is_token_required=self._requires_token
        )
        methods = self._methods()
        require_rules(methods, self._rules)
        guarded = {path: self._doors.guard(path, handler) for path, handler in methods.items()}
        doorway = Doorway(guarded, self._doors.nowhere(), self._options.request_wait_ms)
        server = grpc.aio.server(
            handlers=[doorway],
            options=self._options.channel_arguments(),
            maximum_concurrent_rpcs=self._options.concurrent_rpcs_max + self._waiting_max,
        )
        bound = bind(server, addresses, listen, None if certificates is None else certificates.credentials)
        await server.start()
        self._doors.start()
        doorway.start()
        self._server, self._doorway = server, doorway
        for service in self._services:
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        return bound

    async def drain(self, stop_work: Callable[[], Awaitable[None]] | None = None) -> None:
        """End in order: not serving, no new risk, work finished, streams ended with a token, closed.

        Cancels and reads are served until the last step. Idempotent.

        Args:
            stop_work: Waits for orders in flight and stops what stands behind the servicers.
        """
        if self._is_draining:
            await self.wait_for_termination()
            return
        self._is_draining = True
        self._doors.begin_drain()
        await self._health.enter_graceful_shutdown()
        try:
            if stop_work is not None:
                await stop_work()
        finally:
            self._doors.end_streams()
            await self.stop()

    async def stop(self) -> None:
        """Close at once but for a short grace to calls that run. Idempotent."""
        if self._server is not None:
            await self._server.stop(self._options.stop_grace_ms / 1_000)
            self._doors.stop()
        if self._doorway is not None:
            self._doorway.stop()

    async def wait_for_termination(self) -> None:
        """Return when the server is closed."""
        if self._server is not None:
            await self._server.wait_for_termination()

    def _methods(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        registrar = _Registrar()
        server = cast(grpc.aio.Server, registrar)
        trading_pb2_grpc.add_TradingServiceServicer_to_server(self._servicers.trading, server)
        market_data_pb2_grpc.add_MarketDataServiceServicer_to_server(self._servicers.market_data, server)
        account_pb2_grpc.add_AccountServiceServicer_to_server(self._servicers.account, server)
        reference_pb2_grpc.add_ReferenceDataServiceServicer_to_server(self._servicers.reference, server)
        risk_pb2_grpc.add_RiskServiceServicer_to_server(self._servicers.risk, server)
        operations_pb2_grpc.add_OperationsServiceServicer_to_server(self._servicers.operations, server)
        if self._servicers.simulation is not None:
            simulation_pb2_grpc.add_SimulationServiceServicer_to_server(self._servicers.simulation, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        self._services = registrar.services
        registrar.keep_bytes(self._servicers.market_data)
        add_reflection(registrar.services, server)
        return registrar.handlers


class _Registrar:
    """Stands in for a server while generated code registers servicers, so that every handler is seen here."""

    def __init__(self) -> None:
        self.handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self.services: tuple[str, ...] = ()

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """The same handlers as below, in another dress."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Take note of one service."""
        self.services = (*self.services, service)
        self.handlers.update({f"/{service}/{name}": handler for name, handler in handlers.items()})

    def keep_bytes(self, servicer: object) -> None:
        """Take away the serializer of the methods that a servicer names as answering in bytes."""
        raw: frozenset[str] = getattr(servicer, RAW_METHODS, frozenset())
        for path, handler in self.handlers.items():
            if path.rpartition("/")[2] not in raw:
                continue
            if handler.unary_stream is not None:
                self.handlers[path] = grpc.unary_stream_rpc_method_handler(
                    handler.unary_stream, handler.request_deserializer, None
                )
            elif handler.stream_stream is not None:
                self.handlers[path] = grpc.stream_stream_rpc_method_handler(
                    handler.stream_stream, handler.request_deserializer, None
                )
