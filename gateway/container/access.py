"""Who may come in: tokens, and the doorkeeper who reads them."""

from __future__ import annotations

from injector import Module, provider, singleton

from gateway.config import Settings
from gateway.container.settings import Clocks
from gateway.infrastructure.persistence.stores import Stores
from gateway.servicers.identity import Doorkeeper
from gateway.services.identity import IdentityService


class AccessModule(Module):
    """Identity, and the doors' question to it."""

    @provider
    @singleton
    def identity(self, stores: Stores, settings: Settings, clocks: Clocks) -> IdentityService:
        """Knows every token."""
        return IdentityService(stores.identities, settings.venue, clocks.wall)

    @provider
    @singleton
    def doorkeeper(self, identity: IdentityService, settings: Settings) -> Doorkeeper:
        """Knows who calls."""
        return Doorkeeper(identity, is_required=settings.requires_token)
