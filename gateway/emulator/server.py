"""Starting and stopping the emulator.

Promises: one port for REST and websockets; the data directory is held by an exclusive lock, so two emulators never
share one; SIGTERM and SIGINT end it cleanly; run as a child, it ends when its parent does. Leaves the command line
to `gateway.cli`: `run(options)` is what `trading-gateway emulator` calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fractions import Fraction
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from gateway.domain.models.simulation import LedgerKind
from gateway.emulator.app import App, make_app
from gateway.emulator.exchange import ExchangeConfig, SessionRule, make_assets
from gateway.emulator.exchange.sessions import make_hours
from gateway.emulator.floor import TradingFloor
from gateway.emulator.later import Sleep
from gateway.emulator.ledger import LedgerError
from gateway.emulator.market import Hours, Market, SyntheticMarket
from gateway.emulator.option_chain import OptionChain
from gateway.emulator.option_market import OptionMarket
from gateway.emulator.record import FLUSH_S, RECORD_FILE, Record
from gateway.emulator.reopening import open_exchange
from gateway.emulator.rest.gate import Credentials
from gateway.emulator.rest.misbehavior import HANG_UP_EXTENSION, LATE_ARRIVAL
from gateway.emulator.streams.data import StreamSettings
from gateway.emulator.streams.outbox import ABORT_EXTENSION
from gateway.emulator.tape import Tape, TapeOptions

DEFAULT_LISTEN: Final = "127.0.0.1:0"
DEFAULT_RATE_LIMIT: Final = 200
SAID_BYTES_MAX: Final = 1024 * 1024
"""The longest message that a websocket client may say."""

LOCK_FILE: Final = "emulator.lock"
STOP_S_MAX: Final = 2.0
"""How long open requests may take to end when the emulator stops; then they are cut."""

KEEP_ALIVE_S: Final = 60
"""How long a connection without requests stays open."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class EmulatorOptions:
    """Everything that can be chosen.

    Attributes:
        listen: HOST:PORT; port 0: any free one.
        data_dir: Where the account lives; None: it is forgotten at the end.
        session: "always" or "nyse".
        tape: A folder of a recording; None: the synthetic market.
        tape_speed: Recorded time over replayed time; exact.
        tape_start: "on-subscribe" or "now".
        cash: US dollars of a new account.
        rate_limit: Requests per minute and key; 0: no limit.
        key, secret: The only good credentials; empty: anything that is not empty.
        exchange: What else the exchange may be told: fields of ExchangeConfig by name.
        streams: Limits of the websockets.
    """

    listen: str = DEFAULT_LISTEN
    data_dir: Path | None = None
    seed: int = 1
    session: str = "always"
    tape: Path | None = None
    tape_speed: Fraction = Fraction(1)
    tape_start: str = "on-subscribe"
    tape_loop: bool = False
    cash: Decimal = Decimal(100_000)
    rate_limit: int = DEFAULT_RATE_LIMIT
    key: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)
    exchange: dict[str, Any] = field(default_factory=dict)
    streams: StreamSettings = field(default_factory=StreamSettings)

    @property
    def session_rule(self) -> SessionRule:
        """The session as the exchange's word.

        Raises:
            ValueError: When there is no such session.
        """
        if self.session not in set(SessionRule):
            raise ValueError(f"session must be one of {', '.join(SessionRule)}")
        return SessionRule(self.session)

    @property
    def host_and_port(self) -> tuple[str, int]:
        """The address in parts.

        Raises:
            ValueError: When it is no HOST:PORT.
        """
        host, colon, port = self.listen.rpartition(":")
        if not colon or not port.isdigit() or int(port) > 65535:
            raise ValueError(f"listen address {self.listen!r} is no HOST:PORT")
        return host.strip("[]") or "127.0.0.1", int(port)


class Emulator:
    """One emulator in the running event loop.

    Args:
        clock: Nanoseconds since the Unix epoch; tests may move their own.
        sleep: Waits for seconds of that clock: the delays of faults.

    Raises:
        ValueError: When an option cannot be, or the record in the data directory cannot be gone on with.
        OSError: When the data directory cannot be used, or another emulator holds it.
        LedgerError: When the ledger in it cannot be read.
    """

    def __init__(
        self, options: EmulatorOptions, *, clock: Callable[[], int] = time.time_ns, sleep: Sleep = asyncio.sleep
    ) -> None:
        self.options = options
        self.market = make_market(options)
        life = "" if options.data_dir is not None else str(clock())
        told: dict[str, Any] = {
            "cash": options.cash,
            "seed": options.seed,
            "life": life,
            "session": options.session_rule,
        }
        config = ExchangeConfig(**told | options.exchange)
        self._lock = None if options.data_dir is None else lock_directory(options.data_dir)
        try:
            self.record = Record(None if options.data_dir is None else options.data_dir / RECORD_FILE, clock)
        except BaseException:
            self._unlock()
            raise
        try:
            self.exchange = open_exchange(config, make_assets(self.market.symbols), clock(), options.data_dir)
        except BaseException:
            self.record.close()
            self._unlock()
            raise
        self.floor = TradingFloor(self.exchange, self.market, clock, make_options(options, self.market))
        self.app: App = make_app(
            self.floor,
            credentials=Credentials(options.key, options.secret),
            rate_limit=options.rate_limit,
            settings=options.streams,
            legacy_fields=config.legacy_pdt_fields,
            clock=clock,
            sleep=sleep,
            record=self.record,
            tape="" if options.tape is None else str(options.tape),
        )
        self.url = ""
        self._server: uvicorn.Server | None = None
        self._keeping_up: asyncio.Task[None] | None = None
        self._writing: asyncio.Task[None] | None = None

    @property
    def ws_url(self) -> str:
        """The address of the websockets, without a path."""
        return self.url.replace("http://", "ws://", 1)

    async def start(self) -> None:
        """Listen; `url` has the port that was bound.

        Raises:
            OSError: When the address is taken.
        """
        listener = _bind(*self.options.host_and_port)
        config = uvicorn.Config(
            self.app.gate,
            http=_HttpProtocol,
            ws=_SocketProtocol,
            lifespan="off",
            log_config=None,
            access_log=False,
            ws_per_message_deflate=False,
            ws_max_size=SAID_BYTES_MAX,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        config.load()
        server = uvicorn.Server(config)
        server.lifespan = config.lifespan_class(config)
        self.floor.open()
        await server.startup(sockets=[listener])
        host, port = listener.getsockname()[:2]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        self._server = server
        self._keeping_up = asyncio.create_task(self.floor.run())
        self._writing = asyncio.create_task(self._write_record())

    async def stop(self) -> None:
        """End: no new connections, open requests get STOP_S_MAX, then everything is cut.

        Requests that were to arrive late never do; the record and the log say so.
        """
        self.app.gate.stopping.set()
        running = [task for task in (self._keeping_up, self._writing) if task is not None]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        if self._server is not None:
            await _shut_down(self._server)
        never_arrived = await self.app.later.stop(LATE_ARRIVAL)
        for told in never_arrived:
            self.record.add(LedgerKind.FAULT, **told, body='{"fault":"arrives_late","never_arrived":true}')
        if never_arrived:
            _log.warning("late_requests_never_arrived", count=len(never_arrived))
        self.record.close()
        self.exchange.close()
        self._unlock()

    async def _write_record(self) -> None:
        """Nothing waits longer to be written, whatever the emulator's clock does."""
        while True:
            await asyncio.sleep(FLUSH_S)
            self.record.flush()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def wait(self) -> None:
        """Until keeping up with the market ends, which it does only by a bug."""
        assert self._keeping_up is not None
        await self._keeping_up


class _HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, and the means to end its connection without an answer."""

    def on_message_begin(self) -> None:
        """Give the request our extension."""
        super().on_message_begin()
        self.scope["extensions"] = {HANG_UP_EXTENSION: self._hang_up}  # type: ignore[dict-item]

    def _hang_up(self, reset: bool) -> None:
        if not reset:
            self.transport.close()
            return
        peer = self.transport.get_extra_info("socket")
        if peer is not None:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


class _SocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's websocket protocol, and the means to break its connection off."""

    async def run_asgi(self) -> None:
        """Run the application with our extension."""
        extensions: dict[str, Any] = self.scope["extensions"]
        extensions[ABORT_EXTENSION] = self.transport.abort
        await super().run_asgi()


def lock_directory(folder: Path) -> int:
    """Hold a data directory for this process alone; returns the descriptor whose closing gives it back.

    Raises:
        OSError: When another emulator holds it, or it cannot be made.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise OSError(error.errno, f"another emulator holds the data directory {folder}") from None
    return descriptor


def make_market(options: EmulatorOptions) -> Market:
    """The tape, if there is one; else the synthetic market in the session's hours."""
    if options.tape is not None:
        waits = {"on-subscribe": True, "now": False}
        if options.tape_start not in waits:
            raise ValueError("tape_start must be on-subscribe or now")
        return Tape(TapeOptions(options.tape, options.tape_speed, waits[options.tape_start], options.tape_loop))
    return SyntheticMarket(options.seed, hours=_quoted_hours(options.session_rule))


def make_options(options: EmulatorOptions, market: Market) -> OptionMarket:
    """Options on the synthetic market; on a tape there are none, as nothing says what they cost."""
    underlyings = market.symbols if options.tape is None else ()
    return OptionMarket(market, OptionChain(underlyings), options.seed)


def _quoted_hours(rule: SessionRule) -> Hours | None:
    if rule is SessionRule.ALWAYS:
        return None
    hours = make_hours(rule)

    def bounds(day: date) -> tuple[int, int] | None:
        found = hours.day(day)
        return None if found is None else (found.session_open_time_ns, found.session_close_time_ns)

    return bounds


def _bind(host: str, port: int) -> socket.socket:
    """Listen on the very number that was looked at.

    Raises:
        ValueError: Others than this machine could reach it.
        OSError: It is taken, or no address of this machine.
    """
    family, *_, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    if not ip_address(str(where[0]).partition("%")[0]).is_loopback:
        raise ValueError(f"{host} is not loopback: whoever reaches an emulator may trade, and make it go wrong")
    # The protocol must be named: asyncio turns off the delays of small packets only where it is TCP by name.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


async def _shut_down(server: uvicorn.Server) -> None:
    """Do it faster than uvicorn, whose shutdown polls ten times a second; tests start and stop many emulators."""
    state = server.server_state
    for listening in server.servers:
        listening.close()
    for connection in list(state.connections):
        connection.shutdown()
    if state.tasks:
        _, late = await asyncio.wait(set(state.tasks), timeout=STOP_S_MAX)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=STOP_S_MAX)
    for connection in list(state.connections):
        transport = getattr(connection, "transport", None)
        if transport is not None:
            transport.abort()


def run(options: EmulatorOptions, *, ready: Callable[[str], None] | None = None, parent_fd: int | None = None) -> int:
    """Serve until SIGTERM, SIGINT or the parent's end; the exit code.

    Raises:
        ValueError: When an option cannot be, or the ledger in the data directory cannot be read.
        OSError: When the address is taken, or the data directory is held by another emulator or cannot be used.

    Args:
        options: What to serve.
        ready: Called with the URL once connections are accepted.
        parent_fd: The reading end of a pipe whose other end the parent holds: its end of file ends the emulator.
    """
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(options, ready=ready, parent_fd=parent_fd))
    return 0


async def serve(
    options: EmulatorOptions, *, ready: Callable[[str], None] | None = None, parent_fd: int | None = None
) -> None:
    """The same in a running event loop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    try:
        emulator = Emulator(options)
    except LedgerError as error:
        raise ValueError(str(error)) from error
    try:
        await emulator.start()
    except BaseException:
        await emulator.stop()
        raise
    with _ending(loop, stop, parent_fd):
        if ready is not None:
            ready(emulator.url)
        waiters = [asyncio.create_task(stop.wait()), asyncio.create_task(emulator.wait())]
        done, _ = await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
        await emulator.stop()
        for waiter in waiters:
            waiter.cancel()
        for finished in done:
            finished.result()


@contextlib.contextmanager
def _ending(loop: asyncio.AbstractEventLoop, stop: asyncio.Event, parent_fd: int | None) -> Iterator[None]:
    """Signals and the parent's end set the event."""
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if parent_fd is not None:
        loop.add_reader(parent_fd, _read_parent, parent_fd, stop)
    try:
        yield
    finally:
        if parent_fd is not None:
            loop.remove_reader(parent_fd)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _read_parent(parent_fd: int, stop: asyncio.Event) -> None:
    try:
        ended = not os.read(parent_fd, 1024)
    except OSError:
        ended = True
    if ended:
        stop.set()
