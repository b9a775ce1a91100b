"""Who may come in, and who did what: tokens, the doorkeeper who reads them, the audit log."""

from __future__ import annotations

from injector import Module, provider, singleton

from gateway.config import Settings
from gateway.container.settings import Clocks
from gateway.infrastructure.persistence.stores import Stores
from gateway.servicers.identity import Doorkeeper
from gateway.servicers.operations import OperationsServicer
from gateway.services.audit import AuditService
from gateway.services.identity import IdentityService


class AccessModule(Module):
    """Identity, the doors' question to it, and the audit log."""

    @provider
    @singleton
    def identity(self, stores: Stores, settings: Settings, clocks: Clocks) -> IdentityService:
        """Knows every token."""
        return IdentityService(stores.identities, settings.venue, clocks.wall)

    @provider
    @singleton
    def audit(self, stores: Stores, clocks: Clocks) -> AuditService:
        """Writes down who did what."""
        return AuditService(stores.audit, clocks.wall, clocks.monotonic)

    @provider
    @singleton
    def operations(self, identity: IdentityService, audit: AuditService) -> OperationsServicer:
        """OperationsService."""
        return OperationsServicer(identity, audit)

    @provider
    @singleton
    def doorkeeper(self, identity: IdentityService, settings: Settings) -> Doorkeeper:
        """Knows who calls."""
        return Doorkeeper(identity, is_required=settings.requires_token)
