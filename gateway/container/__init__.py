"""The wiring: which class stands behind which interface. The only room that knows injector.

One provider per class, everything a singleton, resolved once at start and never per call. A module here is one
injector module, named for what it wires. Later modules win: tests and benchmarks append one that binds other
repositories or clocks.
"""

from __future__ import annotations

from injector import Injector, Module

from gateway.config import Settings
from gateway.container.access import AccessModule
from gateway.container.commands import CommandsModule
from gateway.container.orders import OrdersModule
from gateway.container.safety import SafetyModule
from gateway.container.server import ServerModule
from gateway.container.services import ServicesModule
from gateway.container.settings import Clocks, SettingsModule
from gateway.container.simulation import SimulationModule
from gateway.container.stores import StoresModule
from gateway.container.venue import VenueModule, client_config
from gateway.domain.types import Venue

__all__ = ["Clocks", "Module", "build", "client_config", "modules"]


def modules(settings: Settings) -> list[Module]:
    """The gateway's own, from what is given to the doors."""
    wired: list[Module] = [
        SettingsModule(settings),
        StoresModule(),
        VenueModule(),
        ServicesModule(),
        OrdersModule(),
        SafetyModule(),
        CommandsModule(),
        AccessModule(),
        ServerModule(),
    ]
    if settings.venue is Venue.EMULATOR:
        wired.append(SimulationModule())
    return wired


def build(settings: Settings, *overrides: Module) -> Injector:
    """Everything, not yet started.

    Args:
        settings: With `venue_url` set when the venue is the emulator.
        overrides: Modules whose bindings win.
    """
    return Injector([*modules(settings), *overrides], auto_bind=False)
