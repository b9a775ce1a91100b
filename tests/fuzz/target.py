"""A gateway to throw things at: real sockets, an emulator that counts behind it, and what a call costs its event loop.

Costs are counted in processor time of the gateway's own thread, so that a busy machine changes nothing.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor
from google.protobuf.duration_pb2 import Duration

from gateway.domain.models.identity import Scope
from gateway.services.identity import Grant, IdentityService
from tests.bad_requests import spec, submit
from tests.gateway_host import GatewayHost, RunningGateway
from tests.servicers.fakes import Refused, read_error
from tests.stage import Stage
from trading_gateway.v1 import market_data_pb2, risk_pb2 as risk, trading_pb2 as pb

CALL_S_MAX: Final = 20.0
STREAM_BEGINS_S_MAX: Final = 5.0
"""A stream's first message, or its refusal."""
OPEN_SESSION: Final = market_data_pb2.MarketDataSessionRequest(
    open=market_data_pb2.SessionOptions(heartbeat_interval=Duration(nanos=500_000_000))
).SerializeToString()
"""A session that says something soon, whatever it is told."""
LOOP_TICK_S: Final = 0.005
IN_FLIGHT: Final = (
    pb.ORDER_STATE_SUBMITTING,
    pb.ORDER_STATE_PENDING_CANCEL,
    pb.ORDER_STATE_PENDING_REPLACE,
    pb.ORDER_STATE_OUTCOME_UNKNOWN,
)
STALENESS_MS: Final = 60_000
"""What is read once is not asked for again meanwhile, so that requests at the venue can be told apart."""
_CALL_TASK: Final = "HandleExceptions["
"""So gRPC names the task of a call."""
_KNOWN_ORDERS: Final = 3


@dataclass(frozen=True, slots=True)
class Rpc:
    """One method.

    Attributes:
        path: As gRPC has it.
        request: What it takes.
        is_stream: It answers with a stream.
        takes_stream: It takes one, too.
    """

    path: str
    request: Descriptor
    is_stream: bool
    takes_stream: bool

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def service(self) -> str:
        """The middle part, without its package."""
        return self.path.split("/")[1].rpartition(".")[2]


def rpc_of(path: str) -> Rpc:
    """The method behind a path."""
    _, service, name = path.split("/")
    described = service.replace(
        ".v1.ServerReflection", ".v1alpha.ServerReflection"
    )  # the same, known before a server is
    found = descriptor_pool.Default().FindServiceByName(described).methods_by_name[name]
    return Rpc(path, found.input_type, found.server_streaming, found.client_streaming)


@dataclass(slots=True)
class Answer:
    """What came back.

    Attributes:
        refusal: None: it was answered, or the stream has begun.
        cpu_ms: That it took of the gateway's event loop.
        wall_ms: Until it came.
        venue: Requests that reached the venue meanwhile, by method.
    """

    refusal: Refused | None
    cpu_ms: float
    wall_ms: float
    venue: Counter[str] = field(default_factory=Counter)


class Target:
    """One gateway that fuzzers may use up.

    Args:
        gateway: It runs, without limits for a client.
        is_halted: Nothing that opens may leave.
    """

    def __init__(self, gateway: RunningGateway, *, is_halted: bool = True) -> None:
        self.gateway = gateway
        self.is_halted = is_halted
        self.stage = Stage(gateway)
        self._channel = grpc.insecure_channel(
            gateway.target,
            options=[("grpc.use_local_subchannel_pool", 1), ("grpc.max_metadata_size", 1 << 20)],
        )
        self._identity: IdentityService = gateway.gateway.injector.get(IdentityService)
        self._clock = gateway.call(_thread_clock())
        self.secrets = {
            "trader": self._mint("momentum", frozenset({Scope.ORDERS_TRADE, Scope.ORDERS_READ})),
            "nobody": self._mint("idle", frozenset({Scope.ACCOUNT_READ_SENSITIVE})),
        }
        self._mint("spare", frozenset({Scope.ORDERS_READ}))
        self.known = self._known_texts()
        if is_halted:
            self.halt()
        venue = self.venue()
        self.orders_before = venue["POST"] + venue["PATCH"]

    def close(self) -> None:
        """Hang up."""
        self._channel.close()
        self.stage.close()

    def venue(self) -> Counter[str]:
        """Requests at the venue so far, by method; what is said to the emulator itself does not count."""
        counted: Counter[str] = Counter()
        for label, count in self.stage.asked().items():
            method, _, route = label.partition(" ")
            if route.startswith(("/v1", "/v2")):
                counted[method] += count
        return counted

    def halt(self) -> None:
        """Nothing that opens leaves from here on."""
        state = self.stage.wire.call("GetTradingState", b"").trading_state
        if state.mode != risk.TRADING_MODE_HALTED:
            wanted = risk.SetTradingStateRequest(
                mode=risk.TRADING_MODE_HALTED, reason="fuzzing", expected_version=state.version
            )
            self.stage.wire.call("SetTradingState", wanted)

    def settle(self) -> None:
        """Wait until nothing is under way at the venue any more."""
        ends_at = time.monotonic() + CALL_S_MAX
        request = pb.ListOrdersRequest(all_strategies=True, page_size=500, states=IN_FLIGHT)
        while self.stage.wire.call("ListOrders", request).orders:
            assert time.monotonic() < ends_at, "orders are in flight for ever"
            time.sleep(LOOP_TICK_S)

    def try_out(self, rpc: Rpc, payload: bytes, headers: Sequence[tuple[str, str]], timeout_s: float) -> Answer:
        """One call."""
        venue, cpu_s, wall_s = self.venue(), time.clock_gettime(self._clock), time.monotonic()
        refusal = None
        try:
            self._call(rpc, payload, headers, timeout_s)
        except grpc.RpcError as error:
            refusal = read_error(error)
        took_s, used_s = time.monotonic() - wall_s, time.clock_gettime(self._clock) - cpu_s
        return Answer(refusal, used_s * 1_000, took_s * 1_000, self.venue() - venue)

    def _call(self, rpc: Rpc, payload: bytes, headers: Sequence[tuple[str, str]], timeout_s: float) -> None:
        if rpc.name == "MarketDataSession":
            # What comes first must be an `open`; the other half meets a session that has begun.
            commands = [payload] if zlib.crc32(payload) & 1 else [OPEN_SESSION, payload]
            call = self._channel.stream_stream(rpc.path)(iter(commands), timeout=timeout_s, metadata=headers)
            with suppress(StopIteration):
                for _ in commands:
                    next(call)
            call.cancel()
        elif rpc.takes_stream:
            for _ in self._channel.stream_stream(rpc.path)(iter([payload]), timeout=timeout_s, metadata=headers):
                pass
        elif rpc.is_stream:
            call = self._channel.unary_stream(rpc.path)(
                payload, timeout=min(timeout_s, STREAM_BEGINS_S_MAX), metadata=headers
            )
            with suppress(StopIteration):
                next(call)
            call.cancel()
        else:
            self._channel.unary_unary(rpc.path)(payload, timeout=timeout_s, metadata=headers)

    @contextmanager
    def watched(self) -> Iterator[LoopWatch]:
        """Watch the event loop meanwhile."""
        watch = LoopWatch()
        self.gateway.call(watch.start())
        try:
            yield watch
        finally:
            self.gateway.call(watch.stop())

    def calls(self) -> int:
        """Calls and streams that the gateway serves."""
        return self.gateway.call(_call_count())

    def _mint(self, strategy_id: str, scopes: frozenset[Scope]) -> str:
        return self.gateway.call(self._identity.mint(Grant(strategy_id, scopes), 3_600_000)).secret

    def _known_texts(self) -> Mapping[str, Sequence[str]]:
        """What means something here: orders that work, one that has ended, tokens of pages and of streams."""
        stage = self.stage
        orders = [stage.submit(f"fuzz-{number}", spec(limit_price="1")) for number in range(1, _KNOWN_ORDERS + 1)]
        ended = stage.ended(stage.submit("known", spec()))
        request = submit(strategy_id="momentum", wanted=spec(limit_price="1"))
        theirs = stage.wire.call("SubmitOrder", request).order
        page = stage.wire.call("ListOrders", pb.ListOrdersRequest(page_size=1)).next_page_token
        stream = stage.wire.stream("StreamOrderUpdates", pb.StreamOrderUpdatesRequest())
        resume = next(step.resume_token for step in stream if step.resume_token)
        stream.cancel()
        known = [*orders, ended, theirs]
        minted = self._identity.list()
        return {
            "order_id": [order.order_id for order in known] + [f"{orders[0].order_id}/stop-loss"],
            "venue_order_id": [order.venue_order_id for order in known],
            "client_order_id": [order.client_order_id for order in known],
            "page_token": ["", page],
            "resume_token": [resume],
            "token_id": [token.token_id for token in minted if token.strategy_id == "spare"],
        }


def start_target(gateways: GatewayHost, *, is_halted: bool = True) -> Target:
    """A gateway of its own for a fuzzer, which no limit of a client slows down."""
    gateway = gateways(default_staleness_ms=STALENESS_MS, authentication_failures_per_minute=0)
    return Target(gateway, is_halted=is_halted)


class LoopWatch:
    """How long the event loop did not come round, in its own processor time."""

    def __init__(self) -> None:
        self.worst_ms = 0.0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin; on the loop that is watched."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        before = time.thread_time()
        while True:
            await asyncio.sleep(LOOP_TICK_S)
            now = time.thread_time()
            self.worst_ms = max(self.worst_ms, (now - before) * 1_000)
            before = now


@contextmanager
def collector_still() -> Iterator[None]:
    """What the tests' own process holds is not the gateway's to walk through, nor a parser's."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def memory_mib() -> float:
    """What this process has resident, garbage aside."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / (1 << 20)


async def _thread_clock() -> int:
    ident = threading.current_thread().ident
    assert ident is not None
    return time.pthread_getcpuclockid(ident)


async def _call_count() -> int:
    return sum(task.get_name().startswith(_CALL_TASK) for task in asyncio.all_tasks())
