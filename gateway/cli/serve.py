"""`serve`: the gateway, and with the venue `emulator` the emulator as its child.

Promises: one gateway for one data directory and one port; a signal drains it; what it started it ends.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog
import typer
from pydantic import ValidationError

from gateway.application.account_guard import WrongAccount
from gateway.application.replaying import ReplayFailed
from gateway.cli.connection import DEFAULT_TARGET
from gateway.cli.embedded_emulator import Credentials, EmbeddedEmulator
from gateway.cli.hardening import LOCK_FILE, FolderExposed, keep_folder_private, let_be_traced
from gateway.cli.killer import Killer
from gateway.cli.program import program
from gateway.cli.runtime import run, settle_collector
from gateway.config import Settings
from gateway.domain.errors import JournalUnavailable
from gateway.domain.types import Venue
from gateway.infrastructure.kill_file import KILL_FILE
from gateway.infrastructure.persistence.schema import DatabaseRefused
from gateway.infrastructure.start_record import StartRecord
from gateway.servicers.addresses import AddressRefused, ServerRefused, check_free, numeric_addresses
from gateway.servicers.certificates import CertificateRefused
from gateway.servicers.exposure import check_exposure, is_token_required
from gateway.servicers.tls import CertificateFiles, load
from gateway.telemetry import configure_logging
from trading_gateway.access import VARIABLES
from trading_gateway.transport import TARGET_VARIABLE

if TYPE_CHECKING:
    from gateway.cli.process import Gateway

EXIT_CONFIG: Final = 78
"""sysexits.h EX_CONFIG: what was asked for is not allowed; starting again does not help."""

_LIVE_REFUSAL: Final = (
    "--venue live is refused: this build has no risk limits.\nUse --venue paper to rehearse with real market data."
)
_PAPER_WARNING: Final = (
    "paper without --data-dir: a restart of this gateway forgets the replies to earlier keys and the resume tokens of\n"
    "order streams; orders themselves are found again at the venue."
)
_NOBODY: Final = (
    "{listen} takes a token with every call, and {where}: nobody could come in. Mint one, and start again:\n"
    "  {program} token mint --role operator --venue {venue} --data-dir {folder}"
)
_NO_FOLDER: Final = (
    "\nTokens live in the data directory: start with --data-dir {folder}. On loopback alone, --authentication off does"
    " without them."
)
_FOLDER_OPEN: Final = (
    "--data-dir {folder}: others on this machine may look into it, or more. It has other things in it, or another\n"
    "owner, so it was left alone: chmod 700 {folder}"
)
CRASHED_STARTS_MAX: Final = 3
"""So many starts in a minute that end without a word before they serve are a loop: the next one begins HALTED."""
_CRASH_LOOP: Final = (
    "The last {count} starts within a minute ended without a word before they served. Look into the log, then resume."
)
_EVERY_ADDRESS: Final = frozenset({"0.0.0.0", "[::]"})  # noqa: S104 - what it is called, not where to listen
_SET_BY_START: Final = "start"
_CLIENT_NAMES: Final = VARIABLES | {TARGET_VARIABLE}
"""What the command line and the clients read, in whose environment a gateway may well be started."""
_log = structlog.get_logger(__name__)


class Refused(Exception):
    """The gateway will not start; the text says why and what to do."""

    def __init__(self, problem: str, code: int = EXIT_CONFIG) -> None:
        super().__init__(problem)
        self.code = code


def serve(flags: Mapping[str, Any], emulator_options: Mapping[str, Any]) -> int:
    """Run until a signal; the exit code."""
    try:
        settings = read_settings(flags)
        check_venue(settings, emulator_options)
        check_reach(settings)
        if settings.traceable:
            let_be_traced()
        with data_directory(settings.data_dir) as folder:
            return run(_run(settings, folder, emulator_options))
    except Refused as refusal:
        typer.echo(str(refusal), err=True)
        return refusal.code


def read_settings(flags: Mapping[str, Any]) -> Settings:
    """Flags over environment; a misspelt GATEWAY_ name is refused instead of ignored."""
    known = {f"GATEWAY_{name.upper()}" for name in Settings.model_fields} | _CLIENT_NAMES
    unknown = sorted(name for name in os.environ if name.startswith("GATEWAY_") and name not in known)
    if unknown:
        raise Refused(f"unknown settings in the environment: {', '.join(unknown)}")
    try:
        return Settings(**flags)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, part['loc']))}: {part['msg']}" for part in error.errors(include_input=False)]
        raise Refused("settings are wrong:\n  " + "\n  ".join(lines)) from None


def check_venue(settings: Settings, emulator_options: Mapping[str, Any]) -> None:
    """Refuse what this build must not do, and options that would be ignored."""
    if settings.venue is Venue.LIVE:
        raise Refused(_LIVE_REFUSAL)
    check_combination(settings)
    embedded = settings.venue is Venue.EMULATOR and not settings.venue_url
    if emulator_options and not embedded:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in emulator_options)
        raise Refused(f"{names}: for the emulator that 'serve' starts itself, and it starts none here", code=2)
    if settings.venue is Venue.PAPER:
        if not (settings.api_key.get_secret_value() and settings.api_secret.get_secret_value()):
            raise Refused("paper needs keys: set GATEWAY_API_KEY and GATEWAY_API_SECRET (or Alpaca's own names)")
        if settings.data_dir is None:
            typer.echo(_PAPER_WARNING, err=True)


def check_combination(settings: Settings) -> None:
    """Refuse settings that do not go together."""
    if settings.traceable and settings.venue is not Venue.EMULATOR:
        raise Refused("GATEWAY_TRACEABLE is for the emulator alone: who traces this process reads the account's keys")
    if settings.venue is Venue.PAPER and settings.venue_url:
        raise Refused("--venue-url points at an emulator; paper has Alpaca's own address", code=2)


def check_reach(settings: Settings) -> None:
    """Refuse an address that will not be served, or not so, before an emulator is started for it."""
    listen = settings.listen
    try:
        addresses = numeric_addresses(listen)
        files = CertificateFiles.of(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
        needs_token = is_token_required(settings.authentication, settings.venue, addresses)
        check_exposure(addresses, listen=listen, has_tls=files is not None, is_token_required=needs_token)
        if files is not None:
            load(files, time.time_ns())
    except (ServerRefused, CertificateRefused) as error:
        raise Refused(f"cannot serve on {listen}: {error}") from None
    if needs_token and settings.data_dir is None:
        raise Refused(nobody_text(settings))
    try:
        check_free(addresses, listen)
    except AddressRefused as error:
        raise Refused(f"cannot serve on {listen}: {error}") from None
    except ServerRefused as error:  # it may be free the next time
        raise Refused(f"cannot serve on {listen}: {error}", code=1) from None


def nobody_text(settings: Settings) -> str:
    """That tokens are required, that there are none, and how to have one."""
    folder = settings.data_dir or Path("data")
    where = f"{folder} has none that is usable" if settings.data_dir else "there is no data directory to keep any"
    text = _NOBODY.format(listen=settings.listen, where=where, folder=folder, venue=settings.venue, program=program())
    return text if settings.data_dir else text + _NO_FOLDER.format(folder=folder)


@contextmanager
def data_directory(folder: Path | None) -> Iterator[Path]:
    """The folder, made if need be and locked for this process; without one a temporary folder."""
    if folder is None:
        temporary = Path(tempfile.mkdtemp(prefix="trading-gateway-"))
        try:
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return
    import fcntl  # noqa: PLC0415 - POSIX alone; --data-dir is what needs it

    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not keep_folder_private(folder):
            typer.echo(_FOLDER_OPEN.format(folder=folder), err=True)
        lock = (folder / LOCK_FILE).open("w")
    except FolderExposed as exposed:
        raise Refused(f"--data-dir: {exposed}") from None
    except OSError as error:
        raise Refused(f"--data-dir {folder}: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"another gateway runs on the data directory {folder}", code=1) from None
        yield folder


async def _run(settings: Settings, folder: Path, emulator_options: Mapping[str, Any]) -> int:
    configure_logging(settings.log_level, settings.log_format, secrets=settings.secrets)
    _log.info("starting; it takes seconds, the first time some more", venue=str(settings.venue), data_dir=str(folder))
    from gateway.cli.process import Gateway  # noqa: PLC0415 - imports everything; refusals come before it

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    killer = Killer(folder)
    killer.listen()
    settings = settings.model_copy(update={"data_dir": folder})
    start = StartRecord(folder, time.time_ns())
    async with AsyncExitStack() as stack:
        stack.callback(killer.outlive_loop)
        emulator = _embedded(settings, folder, emulator_options)
        with _settling(start, settings.listen, folder):
            if emulator is not None:
                stack.push_async_callback(emulator.stop)
                venue_url = await _start_emulator(emulator)
                settings = settings.model_copy(update={"venue_url": venue_url} | _as_settings(emulator_options))
            gateway = Gateway(settings)
            if gateway.is_shut:
                await gateway.stop()
                raise Refused(nobody_text(settings))
            killer.arm(gateway)
            if start.crashed_before >= CRASHED_STARTS_MAX:
                await _halt(gateway, start.crashed_before)
            address = await gateway.start()
        stack.push_async_callback(gateway.stop)
        stack.callback(killer.note_ending)
        if settings.tls_cert is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, gateway.reload_certificates)
        settle_collector()
        _announce(settings, address, folder, embedded=emulator is not None)
        return await _until_stopped(stop, emulator)


def _embedded(settings: Settings, folder: Path, options: Mapping[str, Any]) -> EmbeddedEmulator | None:
    """The emulator that is to be started here, if any is."""
    if settings.venue is not Venue.EMULATOR or settings.venue_url:
        return None
    credentials = Credentials(settings.emulator_key, settings.emulator_secret)
    return EmbeddedEmulator(folder / "emulator", options, credentials)


async def _start_emulator(emulator: EmbeddedEmulator) -> str:
    """Its address.

    Raises:
        Refused: It does not start; the text says why.
    """
    try:
        return await emulator.start()
    except (RuntimeError, OSError) as error:
        raise Refused(str(error), code=1) from None


@contextmanager
def _settling(start: StartRecord, listen: str, folder: Path) -> Iterator[None]:
    """A start that comes to its end, or is refused in words, is no crash; whatever else ends it stays on record.

    Raises:
        Refused: With the words.
    """
    try:
        yield
    except Refused:
        start.settle()
        raise
    except (DatabaseRefused, ReplayFailed, WrongAccount) as error:
        start.settle()
        raise Refused(f"--data-dir {folder}: {error}") from None
    except (AddressRefused, CertificateRefused) as error:
        start.settle()
        raise Refused(f"cannot serve on {listen}: {error}") from None
    except OSError as error:
        start.settle()
        raise Refused(f"cannot serve on {listen}: {error}", code=1) from None
    except ValueError as error:
        start.settle()
        raise Refused(str(error), code=2) from None
    start.settle()


async def _halt(gateway: Gateway, crashed: int) -> None:
    """Begin with nothing new: cancels, reads and streams may be what a crash loop leaves time for."""
    reason = _CRASH_LOOP.format(count=crashed)
    typer.echo(f"HALTED: {reason}", err=True)
    with suppress(JournalUnavailable):  # in effect all the same
        await gateway.halt(reason, _SET_BY_START)


def _as_settings(emulator_options: Mapping[str, Any]) -> dict[str, Any]:
    """What the emulator was told and its client must know too: its limit."""
    limit = emulator_options.get("rate_limit")
    return {} if limit is None else {"venue_requests_per_minute": limit}


async def _until_stopped(stop: asyncio.Event, emulator: EmbeddedEmulator | None) -> int:
    waiting: set[asyncio.Task[Any]] = {asyncio.create_task(stop.wait())}
    if emulator is not None:
        waiting.add(asyncio.create_task(emulator.wait()))
    _, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    if stop.is_set():
        _log.info("stopping: new orders are refused, those in flight are finished")
        # A second signal is a crash: whoever sends it wants the process gone.
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().remove_signal_handler(number)
        return 0
    _log.error("the emulator ended by itself; a gateway without its venue is of no use")
    return 1


def _announce(settings: Settings, address: str, folder: Path, *, embedded: bool) -> None:
    where = f"{settings.venue} at {settings.venue_url}" if settings.venue_url else str(settings.venue)
    typer.echo(f"trading-gateway: venue {where}{' (started here)' if embedded else ''}, serving on {address}")
    typer.echo("Try, in another terminal:")
    target = _target_of(address)
    shown = _grpcurl_options(settings, address)
    typer.echo(f"  grpcurl {shown} {target} list")
    typer.echo(
        f"""  grpcurl {shown} -d '{{"symbols": ["AAPL", "MSFT"]}}' {target} """
        "trading_gateway.v1.MarketDataService/StreamQuotes"
    )
    elsewhere = "" if target == DEFAULT_TARGET else f" --target {target}"
    if settings.tls_cert is not None:
        elsewhere += " --tls-ca ca.pem"
    if is_token_required(settings.authentication, settings.venue, numeric_addresses(address)):
        elsewhere += " --token-file operator.token"
    typer.echo(f"  {program()} quotes --follow AAPL MSFT{elsewhere}")
    typer.echo("Stop everything, whatever else works:")
    typer.echo(f"  {program()} kill{elsewhere}  |  kill -USR1 {os.getpid()}  |  touch {folder / KILL_FILE}")


def _target_of(address: str) -> str:
    """Where somebody on this machine finds it: all addresses of a machine are no target, and in no certificate."""
    host, _, port = address.rpartition(":")
    return f"localhost:{port}" if host in _EVERY_ADDRESS else address


def _grpcurl_options(settings: Settings, address: str) -> str:
    """What grpcurl must be told of TLS and tokens; it reads the variable itself: a command line is no place for one."""
    options = ["-plaintext"] if settings.tls_cert is None else ["-cacert ca.pem"]
    if settings.tls_client_ca is not None:
        options.append("-cert client.pem -key client.key")
    if is_token_required(settings.authentication, settings.venue, numeric_addresses(address)):
        options.append("-expand-headers -H 'authorization: Bearer ${GATEWAY_TOKEN}'")
    return " ".join(options)
