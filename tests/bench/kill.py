"""The kill: how long after its commit the last opening request leaves, and how long until nothing is open.

One gateway before one emulator, VENUE_LATENCY_S away, while orders keep coming. Times are the venue's own and the
store's, on one clock. `make bench` prints them; `tests/test_kill.py` holds them to ten times the goal.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import grpc
from injector import Module, provider, singleton

from gateway.cli.process import Gateway
from gateway.config import Settings
from gateway.domain.interfaces import TradingStateStore
from gateway.domain.models.risk import TradingState
from gateway.domain.models.simulation import FaultKind
from gateway.infrastructure.kill_file import KILL_FILE
from gateway.infrastructure.persistence.memory_trading_states import MemoryTradingStates
from tests.chaos.proxy import TcpProxy
from tests.emulator.host import EmulatorHost, LoopThread, RunningEmulator
from tests.gateway_host import NO_CLIENT_LIMITS
from trading_gateway.v1 import risk_pb2, risk_pb2_grpc, trading_pb2, trading_pb2_grpc

VENUE_LATENCY_S: Final = 0.05
"""There and back."""
OPEN_ORDERS: Final = 100
ORDERS_PER_S: Final = 100
LAST_OPENING_GOAL_S: Final = 0.05
GONE_GOAL_S: Final = 3.0
WAIT_S_MAX: Final = 60.0
SENDERS: Final = 8
SATURATING_RPCS: Final = 40
_NS: Final = 1e9


@dataclass(frozen=True)
class Measured:
    """Seconds after the commit; the last opening request may have left before it: negative.

    Attributes:
        refused: Orders that were told TRADING_HALTED.
        sent: Orders that left.
    """

    last_opening_s: float
    gone_s: float
    sent: int
    refused: int


class NotingStore(MemoryTradingStates):
    """Notes when KILLED was recorded."""

    committed_ns = 0

    async def append(self, state: TradingState) -> None:
        """Take the next one."""
        await super().append(state)
        self.committed_ns = time.time_ns()


class _NotingModule(Module):
    def __init__(self, store: NotingStore) -> None:
        self._store = store

    @provider
    @singleton
    def trading_states(self) -> TradingStateStore:
        """The one that notes."""
        return self._store


class KillStage:
    """A gateway at a distance from its venue, under load.

    Args:
        thread: Runs venue, proxy and gateway.
        venue: The emulator.
        folder: The data directory.
        settings: Of the gateway.
    """

    def __init__(self, thread: LoopThread, venue: RunningEmulator, folder: Path, **settings: Any) -> None:
        self._thread = thread
        self.venue = venue
        self.folder = folder
        self.store = NotingStore()
        self._loop = LoopThread()
        host, port = venue.url.removeprefix("http://").split(":")
        self._proxy = TcpProxy(host, int(port))
        self._proxy.to_client.delay_s = self._proxy.to_server.delay_s = VENUE_LATENCY_S / 2
        thread.run(self._proxy.start())
        wanted: dict[str, Any] = {
            "listen": "127.0.0.1:0",
            "venue_requests_per_minute": 0,
            "data_dir": folder,
            "drain_timeout_ms": 0,
            **NO_CLIENT_LIMITS,
        }
        options = Settings(venue_url=f"http://{self._proxy.address}", **wanted | settings)
        self.gateway, self.target = self._loop.run(self._start(options))
        self._keys = itertools.count()
        self._stop = threading.Event()
        self.refused = 0

    async def _start(self, settings: Settings) -> tuple[Gateway, str]:
        gateway = Gateway(settings, _NotingModule(self.store))
        return gateway, await gateway.start()

    def kill_by_signal(self) -> None:
        """As SIGUSR1 does."""
        self._loop.loop.call_soon_threadsafe(self.gateway.kill, "measured", "signal")

    def kill_by_file(self) -> None:
        """As an operator with a shell does."""
        (self.folder / KILL_FILE).touch()

    def kill_by_rpc(self) -> risk_pb2.SetTradingStateResponse:
        """As a program does."""
        with grpc.insecure_channel(self.target) as channel:
            request = risk_pb2.SetTradingStateRequest(mode=risk_pb2.TRADING_MODE_KILLED)
            answer: risk_pb2.SetTradingStateResponse = risk_pb2_grpc.RiskServiceStub(channel).SetTradingState(
                request, timeout=10
            )
            return answer

    def rest(self, count: int = OPEN_ORDERS) -> None:
        """Have so many orders open."""
        with grpc.insecure_channel(self.target) as channel:
            stub = trading_pb2_grpc.TradingServiceStub(channel)
            for call in [stub.SubmitOrder.future(self._order(), timeout=20) for _ in range(count)]:
                call.result()

    @contextmanager
    def orders_coming(self) -> Iterator[None]:
        """New orders, ORDERS_PER_S of them, as long as this lasts."""
        senders = [threading.Thread(target=self._send, daemon=True) for _ in range(SENDERS)]
        for sender in senders:
            sender.start()
        try:
            yield
        finally:
            self._stop.set()
            for sender in senders:
                sender.join(WAIT_S_MAX)

    def measure(self, kill: Callable[[], Any]) -> Measured:
        """Kill, and wait until nothing is open and nothing new can come."""
        kill()
        deadline = time.monotonic() + WAIT_S_MAX
        while not (self.store.committed_ns and self._is_gone()):
            assert time.monotonic() < deadline, "something stays open"
            time.sleep(0.05)
        time.sleep(3 * VENUE_LATENCY_S)  # what had left by then has arrived
        committed_ns = self.store.committed_ns
        orders = self.venue.call(lambda: self.venue.exchange.orders(status="all", limit=500))
        ours = [order for order in orders if order.client_order_id.startswith("default.")]
        last_ns = max(order.submitted_ns for order in ours) - VENUE_LATENCY_S / 2 * _NS
        gone_ns = max((order.canceled_ns or 0) for order in ours)
        return Measured(
            (last_ns - committed_ns) / _NS, max(0.0, (gone_ns - committed_ns) / _NS), len(ours), self.refused
        )

    def close(self) -> None:
        """End everything that this began."""
        self._loop.run(self.gateway.stop())
        self._thread.run(self._proxy.close())
        self._loop.close()

    def _is_gone(self) -> bool:
        return not self.venue.call(lambda: self.venue.exchange.orders(status="open", limit=1))

    def _send(self) -> None:
        with grpc.insecure_channel(self.target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub = trading_pb2_grpc.TradingServiceStub(channel)
            while not self._stop.wait(SENDERS / ORDERS_PER_S):
                try:
                    stub.SubmitOrder(self._order(), timeout=5)
                except grpc.RpcError as error:
                    self.refused += error.code() is grpc.StatusCode.FAILED_PRECONDITION

    def _order(self) -> trading_pb2.SubmitOrderRequest:
        return trading_pb2.SubmitOrderRequest(
            client_order_id=f"k-{next(self._keys)}",
            spec=trading_pb2.OrderSpec(
                symbol="AAPL",
                side=trading_pb2.ORDER_SIDE_BUY,
                quantity="1",
                order_type=trading_pb2.ORDER_TYPE_LIMIT,
                time_in_force=trading_pb2.TIME_IN_FORCE_DAY,
                limit_price="1",
            ),
        )


@contextmanager
def saturated(target: str, rpcs: int = 2 * SATURATING_RPCS) -> Iterator[None]:
    """Hold so many calls open that never say what they want: gRPC takes no more than its limit, whatever they are.

    Refusals that wait to be told have room beside it, so it takes some more.
    """
    never = threading.Event()

    def nothing() -> Iterator[bytes]:
        never.wait(WAIT_S_MAX)
        yield from ()

    with grpc.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        begin: Any = channel.stream_unary("/trading_gateway.v1.RiskService/GetTradingState")
        held = [begin.future(nothing()) for _ in range(rpcs)]
        time.sleep(0.5)  # they are on their way; nothing tells when they have arrived
        yield
        for call in held:
            call.cancel()
        never.set()


def report(folder: Path) -> str:
    """A line for each way in."""
    lines = []
    for way in ("rpc", "signal", "file"):
        thread = LoopThread()
        venues = EmulatorHost(thread)
        place = folder / f"kill-{way}"
        place.mkdir()
        stage = KillStage(thread, venues(cash=Decimal(1_000_000_000)), place)
        try:
            stage.rest()
            stage.venue.fault(FaultKind.HTTP_429, "POST /v2/orders", count=5)
            with stage.orders_coming():
                time.sleep(0.5)
                found = stage.measure(getattr(stage, f"kill_by_{way}"))
        finally:
            stage.close()
            venues.stop_all()
            thread.close()
        lines.append(
            f"Kill by {way}: last opening request {found.last_opening_s * 1e3:+.0f} ms after the commit "
            f"(goal {LAST_OPENING_GOAL_S * 1e3:.0f}), all of {found.sent} gone after {found.gone_s:.2f} s "
            f"(goal {GONE_GOAL_S:g}), {found.refused} refused"
        )
    return "\n".join(lines)
