"""The emulator's other side: a part of the wiring only where the venue is the emulator."""

from __future__ import annotations

from injector import Module, provider, singleton

from gateway.config import Settings
from gateway.domain.interfaces import VenueControl
from gateway.infrastructure.emulator_control import EmulatorControl
from gateway.servicers.simulation import SimulationServicer
from gateway.services.audit import AuditService


class SimulationModule(Module):
    """Faults on request, and what really happened."""

    @provider
    @singleton
    def control(self, settings: Settings) -> VenueControl:
        """Faults, and what really happened."""
        return EmulatorControl(settings.venue_url)

    @provider
    @singleton
    def simulation(self, control: VenueControl, audit: AuditService) -> SimulationServicer:
        """SimulationService."""
        return SimulationServicer(control, audit)
