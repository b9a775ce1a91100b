"""Who may come in and how, and who did what: tokens, the doorkeeper who reads them, TLS, the audit log."""

from __future__ import annotations

from collections.abc import Mapping

from injector import Module, provider, singleton

from gateway.application.token_acts import TokenActs
from gateway.config import Settings
from gateway.container.settings import Clocks
from gateway.domain.errors import TooManyFailures
from gateway.domain.models.audit import AuditAction
from gateway.domain.models.identity import IPAddress
from gateway.domain.types import NANOS_PER_SECOND
from gateway.infrastructure.persistence.stores import Stores
from gateway.servicers.addresses import numeric_addresses
from gateway.servicers.exposure import is_token_required
from gateway.servicers.identity import Doorkeeper
from gateway.servicers.operations import OperationsServicer
from gateway.servicers.strangers import Strangers
from gateway.servicers.tls import CertificateFiles, Certificates, Transport
from gateway.services.audit import GATEWAY, AuditService
from gateway.services.client_limits import WAITING_MAX, ClientBounds, ClientLimits
from gateway.services.identity import IdentityService
from gateway.telemetry import Telemetry


class AccessModule(Module):
    """Identity, the doors' question to it, TLS, and the audit log."""

    @provider
    @singleton
    def identity(self, stores: Stores, settings: Settings, clocks: Clocks) -> IdentityService:
        """Knows every token."""
        return IdentityService(stores.identities, settings.venue, clocks.wall)

    @provider
    @singleton
    def client_limits(self, settings: Settings, clocks: Clocks) -> ClientLimits:
        """What each client may."""
        bounds = ClientBounds(
            calls_in_flight_max=settings.client_calls_in_flight_max,
            streams_max=settings.client_streams_max,
            connections_max=settings.client_connections_max,
            symbols_max=settings.client_symbols_max,
            reads_per_second=settings.client_reads_per_second,
            orders_per_second=settings.client_orders_per_second,
            faults_per_second=settings.client_faults_per_second,
            request_bytes_max=settings.request_bytes_max,
        )
        waiting_max = min(WAITING_MAX, settings.concurrent_rpcs_max // 2)
        return ClientLimits(bounds, clocks.monotonic, clocks.wall, waiting_max=waiting_max)

    @provider
    @singleton
    def audit(self, stores: Stores, clocks: Clocks) -> AuditService:
        """Writes down who did what."""
        return AuditService(stores.audit, clocks.wall, clocks.monotonic)

    @provider
    @singleton
    def token_acts(self, identity: IdentityService, audit: AuditService) -> TokenActs:
        """Changes who may come in, on record."""
        return TokenActs(identity, audit)

    @provider
    @singleton
    def operations(self, identity: IdentityService, acts: TokenActs) -> OperationsServicer:
        """OperationsService."""
        return OperationsServicer(identity, acts)

    @provider
    @singleton
    def doorkeeper(
        self, identity: IdentityService, settings: Settings, audit: AuditService, clocks: Clocks
    ) -> Doorkeeper:
        """Knows who calls."""

        def tell(address: IPAddress) -> None:
            audit.count_refusal(str(address), AuditAction.AUTHENTICATION_FAIL, "", TooManyFailures.reason)

        addresses = numeric_addresses(settings.listen)
        return Doorkeeper(
            identity,
            is_required=is_token_required(settings.authentication, settings.venue, addresses),
            reads_certificates=settings.tls_client_ca is not None,
            strangers=Strangers(settings.authentication_failures_per_minute, clocks.monotonic, tell),
        )

    @provider
    @singleton
    def transport(self, settings: Settings, audit: AuditService, telemetry: Telemetry, clocks: Clocks) -> Transport:
        """TLS, or none."""
        files = CertificateFiles.of(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
        if files is None:
            return Transport()

        def tell(fingerprint: str, facts: Mapping[str, str], outcome: str) -> None:
            audit.note(GATEWAY, AuditAction.CERTIFICATE_LOAD, fingerprint, facts, outcome)

        certificates = Certificates(files, clocks.wall, tell)
        telemetry.observe_certificate(lambda: (certificates.expire_time_ns - clocks.wall()) / NANOS_PER_SECOND)
        return Transport(certificates)
