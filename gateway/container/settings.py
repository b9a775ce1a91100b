"""What is given: settings, clocks, and where spans and metrics go."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib import metadata

from injector import Binder, Module, provider, singleton

from gateway.config import Settings
from gateway.telemetry import Telemetry, TelemetryOptions


@dataclass(frozen=True, slots=True)
class Clocks:
    """Time, as everything here is given it.

    Attributes:
        wall: Nanoseconds since the Unix epoch.
        monotonic: Seconds, the clock of deadlines.
        sleep: Seconds.
    """

    wall: Callable[[], int] = time.time_ns
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class SettingsModule(Module):
    """What nobody makes."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def configure(self, binder: Binder) -> None:
        """Bind both."""
        binder.bind(Settings, to=self._settings)
        binder.bind(Clocks, to=Clocks())

    @provider
    @singleton
    def telemetry(self, settings: Settings) -> Telemetry:
        """Spans and metrics."""
        options = TelemetryOptions(settings.otlp_endpoint, service_version=metadata.version("trading-gateway"))
        return Telemetry.from_options(options)
