"""One gateway in this process: everything wired, started and stopped in order."""

from __future__ import annotations

import asyncio
from importlib import metadata
from typing import Final

from gateway.application.account_guard import AccountGuard
from gateway.application.kill_watch import KillWatch
from gateway.application.order_feed import Notice, OrderFeed
from gateway.application.order_retention import OrderRetention
from gateway.application.owned_tasks import OwnedTasks
from gateway.application.trading_engine import TradingEngine
from gateway.application.trading_state import TradingStates
from gateway.cli.runtime import collector_at_rest
from gateway.config import Settings
from gateway.container import Clocks, Module, build
from gateway.domain.interfaces import OrderJournal
from gateway.domain.models.audit import AuditAction
from gateway.domain.models.risk import TradingMode, TradingState
from gateway.infrastructure.alpaca.clients import ClientFactory
from gateway.servicers.identity import Doorkeeper
from gateway.servicers.server import GatewayServer
from gateway.servicers.tls import Transport
from gateway.services.audit import GATEWAY, AuditService
from gateway.services.identity import IdentityService
from gateway.services.streaming import StreamingService
from gateway.telemetry import Telemetry

FEED_WAIT_S: Final = 3.0
"""How long a start waits for the venue's order feed, so that a first order meets an open door. It serves anyway."""


class Gateway:
    """Wired when made, inside the event loop that it will run in.

    Args:
        settings: With `venue_url` set when the venue is the emulator.
        overrides: Modules whose bindings win: other repositories, other clocks.

    Raises:
        DatabaseRefused, ReplayFailed: What the data directory keeps cannot be used.
        CertificateRefused: The server's certificate cannot be used.
    """

    def __init__(self, settings: Settings, *overrides: Module) -> None:
        self._drain_ms = settings.drain_timeout_ms
        self.injector: Final = build(settings, *overrides)
        with collector_at_rest():  # the journal is replayed
            self._server = self.injector.get(GatewayServer)
        self._engine = self.injector.get(TradingEngine)
        self._states = self.injector.get(TradingStates)
        self._kill_watch = self.injector.get(KillWatch)
        self._audit = self.injector.get(AuditService)
        self._states.add_listener(self._tell_state)
        self._identity = self.injector.get(IdentityService)
        self._certificates = self.injector.get(Transport).certificates
        self._clocks = self.injector.get(Clocks)
        self._aside: list[asyncio.Task[None]] = []
        self._is_on_record = False
        self._guard = self.injector.get(AccountGuard)
        self._engine.add_door(self._guard.check_door)
        self._retention = self.injector.get(OrderRetention)

    async def start(self) -> str:
        """Listen to the venue and serve; the address that was bound.

        Raises:
            OSError: The address is taken, or must not be served so.
            WrongAccount: The data directory belongs to another one.
        """
        try:
            self._aside.append(asyncio.create_task(self._kill_watch.run()))
            verifying = await self._guard.verify_at_start()
            self._aside += [] if verifying is None else [verifying]
            state = self._states.current  # a change whose entry a crash has kept from the log shows here
            found = {"trading_state": state.mode.value, "trading_state_version": str(state.version)}
            self._audit.note(GATEWAY, AuditAction.GATEWAY_START, metadata.version("trading-gateway"), found)
            self._is_on_record = True
            works = [
                self._retention.run(),
                self._audit.run(self._clocks.sleep),
                self._identity.run(self._clocks.sleep),
            ]
            if self._certificates is not None:
                works.append(self._certificates.run(self._clocks.sleep))
            for work in works:
                self._aside.append(asyncio.create_task(work))
            live = self._order_feed_live()
            await self._engine.start()
            await asyncio.wait([live], timeout=FEED_WAIT_S)
            return await self._server.start()
        except BaseException:
            await self._stop_work(0)
            raise

    async def stop(self) -> None:
        """Drain: no new risk, orders in flight finished, streams ended with a token, everything closed. Idempotent."""
        await self._server.drain(lambda: self._stop_work(self._drain_ms))

    @property
    def is_shut(self) -> bool:
        """Whether nobody could come in: a token is required, and none is usable."""
        return self.injector.get(Doorkeeper).is_required and not self._identity.has_usable_token()

    def reload_certificates(self) -> None:
        """Look at the files of the certificate now, from the event loop; returns at once."""
        if self._certificates is not None:
            self.injector.get(OwnedTasks).spawn(self._certificates.look(at_once=True))

    def kill(self, reason: str, set_by: str) -> None:
        """Stop everything, from the event loop; returns at once, and needs no gRPC."""
        self.injector.get(OwnedTasks).spawn(self._states.set(TradingMode.KILLED, reason, set_by))

    async def halt(self, reason: str, set_by: str) -> None:
        """Let nothing new be sent until people say so; what is stricter stays.

        Raises:
            JournalUnavailable: It is in effect, and was not recorded.
        """
        if self._states.mode.severity < TradingMode.HALTED.severity:
            await self._states.set(TradingMode.HALTED, reason, set_by, automatic=True)

    def _tell_state(self, state: TradingState) -> None:
        facts = {"reason": state.reason, "version": str(state.version), "automatic": str(state.automatic).lower()}
        self._audit.note(state.set_by, AuditAction.TRADING_STATE, state.mode.value, facts)

    def _order_feed_live(self) -> asyncio.Future[None]:
        feed = self.injector.get(OrderFeed)
        live = asyncio.get_running_loop().create_future()

        def look(_notice: Notice) -> None:
            if feed.is_live and not live.done():
                live.set_result(None)

        feed.add_listener(look)
        return live

    async def _stop_work(self, drain_ms: int) -> None:
        await self._engine.stop(drain_ms)
        for task in self._aside:
            task.cancel()
        await asyncio.gather(*self._aside, return_exceptions=True)
        await self._identity.keep_uses()
        if self._is_on_record:  # what was refused before it began has no end either
            self._audit.note(GATEWAY, AuditAction.GATEWAY_STOP, "")
        await self._audit.write_notes()
        await self.injector.get(OrderJournal).close()
        await self.injector.get(StreamingService).close()
        await self.injector.get(ClientFactory).close()
        await asyncio.to_thread(self.injector.get(Telemetry).shutdown)
